//! What every [`Blob`] promises.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future::poll_once;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use offhook::provider::Blob;
use offhook::provider::blob::BlobPart;
use offhook::{Error, ErrorKind, Result};

use crate::behaviour::{Suite, Verdict};
use crate::case;

type Subject = Arc<dyn Blob>;

/// The suite. Every case wants an empty store of its own.
pub fn suite() -> Suite<Subject> {
    Suite::new(vec![
        case!(an_object_comes_back_whole),
        case!(an_object_is_replaced_whole),
        case!(an_object_may_be_empty),
        case!(deleting_removes_and_may_be_repeated),
        case!(head_is_replaced_last, needs_head),
        case!(heads_out_of_place_are_refused),
        case!(keys_that_could_escape_are_refused),
        case!(keys_with_slashes_are_apart),
        case!(large_objects_come_in_pieces),
        case!(lengths_are_those_of_the_objects),
        case!(missing_objects_are_not_found),
        case!(puts_that_are_dropped_keep_nothing),
        case!(puts_that_fail_keep_nothing),
        case!(ranges_are_cut_at_the_end),
        case!(urls_are_signed_or_refused),
        case!(writers_of_one_key_do_not_mix),
    ])
}

fn needs_head(blob: &Subject) -> Option<&'static str> {
    (blob.capabilities().head_bytes_max == 0).then_some("head_bytes_max")
}

async fn an_object_comes_back_whole(blob: Subject) -> Verdict {
    let place = put(&blob, "greeting.txt", &["hello", "", ", ", "world"]).await?;
    assert!(!place.is_empty(), "the object's place is said");
    assert_eq!(get(&blob, "greeting.txt").await?, "hello, world");
    Ok(())
}

async fn an_object_is_replaced_whole(blob: Subject) -> Verdict {
    put(&blob, "key", &["a longer first object"]).await?;
    put(&blob, "key", &["second"]).await?;
    assert_eq!(get(&blob, "key").await?, "second");
    Ok(())
}

async fn an_object_may_be_empty(blob: Subject) -> Verdict {
    put(&blob, "empty", &[]).await?;
    assert_eq!(get(&blob, "empty").await?, "");
    Ok(())
}

async fn deleting_removes_and_may_be_repeated(blob: Subject) -> Verdict {
    put(&blob, "folder/key", &["x"]).await?;
    put(&blob, "folder/other", &["y"]).await?;
    for _ in 0..2 {
        blob.delete("folder/key".into()).await?;
        assert_eq!(failure(get(&blob, "folder/key").await), Some(ErrorKind::NotFound));
    }
    blob.delete("folder".into()).await?;
    blob.delete("folder/other/never".into()).await?;
    assert_eq!(get(&blob, "folder/other").await?, "y");
    Ok(())
}

async fn head_is_replaced_last(blob: Subject) -> Verdict {
    let head_max = blob.capabilities().head_bytes_max;
    let body = vec![b'.'; 3 * head_max];
    for head_length in [0, 1, head_max] {
        let head = Bytes::from(vec![b'#'; head_length]);
        let parts = vec![Ok(BlobPart::Append(body.clone().into())), Ok(BlobPart::PatchHead(head.clone()))];
        blob.put("key".into(), stream::iter(parts).boxed()).await?;
        let found = get(&blob, "key").await?;
        assert_eq!(found.len(), body.len(), "with a head of {head_length}");
        assert_eq!((&found[..head_length], &found[head_length..]), (&head[..], &body[head_length..]));
    }
    Ok(())
}

async fn heads_out_of_place_are_refused(blob: Subject) -> Verdict {
    let head_max = blob.capabilities().head_bytes_max;
    let body = || BlobPart::Append(vec![b'.'; 2 * head_max + 2].into());
    let head = |length: usize| BlobPart::PatchHead(vec![b'#'; length].into());
    let mut wrong = vec![vec![body(), head(head_max + 1)]];
    if head_max > 0 {
        wrong.push(vec![head(1)]);
        wrong.push(vec![body(), head(1), head(1)]);
        wrong.push(vec![body(), head(1), body()]);
    }
    let expected = if head_max == 0 { ErrorKind::Unsupported } else { ErrorKind::Rejected };
    for parts in wrong {
        let result = blob.put("key".into(), stream::iter(parts.into_iter().map(Ok)).boxed()).await;
        assert_eq!(failure(result), Some(expected));
        assert_eq!(failure(get(&blob, "key").await), Some(ErrorKind::NotFound));
    }
    Ok(())
}

async fn keys_that_could_escape_are_refused(blob: Subject) -> Verdict {
    for key in ["", ".", "..", "../key", "a/../../key", "a/..", "a/./b", "a//b", "/key", "key/", "a\0b", "a\\..\\b"] {
        assert_eq!(failure(put(&blob, key, &["x"]).await), Some(ErrorKind::ConfigInvalid), "put {key:?}");
        assert_eq!(failure(get(&blob, key).await), Some(ErrorKind::ConfigInvalid), "get {key:?}");
        assert_eq!(failure(blob.delete(key.into()).await), Some(ErrorKind::ConfigInvalid), "delete {key:?}");
    }
    Ok(())
}

async fn keys_with_slashes_are_apart(blob: Subject) -> Verdict {
    let keys = ["calls/1/audio.wav", "calls/1/text.json", "calls/2/audio.wav", "audio.wav", "calls 1 audio.wav", "é/ü"];
    for key in keys {
        put(&blob, key, &[key]).await?;
    }
    for key in keys {
        assert_eq!(get(&blob, key).await?, key);
    }
    assert_eq!(failure(get(&blob, "calls/1").await), Some(ErrorKind::NotFound));
    Ok(())
}

async fn large_objects_come_in_pieces(blob: Subject) -> Verdict {
    const BYTES: usize = 3 * 1024 * 1024 + 1;
    let whole: Bytes = (0..BYTES).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
    let mut rest = whole.clone();
    let mut parts = Vec::new();
    for size in (1..).map(|n: usize| n * 997) {
        if rest.is_empty() {
            break;
        }
        parts.push(Ok(BlobPart::Append(rest.split_to(size.min(rest.len())))));
    }
    blob.put("large".into(), stream::iter(parts).boxed()).await?;
    let pieces: Vec<Bytes> = blob.get_range("large".into(), 0, u64::MAX).await?.try_collect().await?;
    assert!(pieces.len() > 1, "the object came in one piece");
    assert!(pieces.concat() == whole, "the object came back changed");
    Ok(())
}

async fn lengths_are_those_of_the_objects(blob: Subject) -> Verdict {
    for text in ["", "0123456789"] {
        put(&blob, "key", &[text]).await?;
        assert_eq!(blob.length("key".into()).await?, text.len() as u64);
    }
    assert_eq!(failure(blob.length("other".into()).await), Some(ErrorKind::NotFound));
    assert_eq!(failure(blob.length("../key".into()).await), Some(ErrorKind::ConfigInvalid));
    Ok(())
}

async fn missing_objects_are_not_found(blob: Subject) -> Verdict {
    put(&blob, "folder/key", &["x"]).await?;
    for key in ["key", "folder", "folder/key/below", "other/key"] {
        assert_eq!(failure(get(&blob, key).await), Some(ErrorKind::NotFound), "{key}");
    }
    Ok(())
}

async fn puts_that_are_dropped_keep_nothing(blob: Subject) -> Verdict {
    for before in [None, Some("before")] {
        if let Some(before) = before {
            put(&blob, "key", &[before]).await?;
        }
        let (sender, parts) = async_channel::bounded(1);
        let mut putting = blob.put("key".into(), parts.boxed());
        for _ in 0..100 {
            // Parts are fed until the put waits for the next one with work behind it.
            let _ = sender.try_send(Ok(BlobPart::Append(Bytes::from_static(&[b'.'; 1024]))));
            assert!(poll_once(&mut putting).await.is_none(), "the put ended before its parts");
            futures_lite::future::yield_now().await;
        }
        drop(putting);
        drop(sender);
        match before {
            None => assert_eq!(failure(get(&blob, "key").await), Some(ErrorKind::NotFound)),
            Some(before) => assert_eq!(get(&blob, "key").await?, before),
        }
    }
    Ok(())
}

async fn puts_that_fail_keep_nothing(blob: Subject) -> Verdict {
    let failing = || -> BoxStream<'static, Result<BlobPart>> {
        let failure = Error::new(ErrorKind::InsufficientFunds, "test.parts", "the source failed");
        stream::iter([Ok(BlobPart::Append(Bytes::from_static(b"half"))), Err(failure)]).boxed()
    };
    assert_eq!(
        failure(blob.put("key".into(), failing()).await),
        Some(ErrorKind::InsufficientFunds),
        "the cause is passed on"
    );
    assert_eq!(failure(get(&blob, "key").await), Some(ErrorKind::NotFound));
    put(&blob, "key", &["before"]).await?;
    assert_eq!(failure(blob.put("key".into(), failing()).await), Some(ErrorKind::InsufficientFunds));
    assert_eq!(get(&blob, "key").await?, "before");
    Ok(())
}

async fn ranges_are_cut_at_the_end(blob: Subject) -> Verdict {
    put(&blob, "key", &["0123456789"]).await?;
    let ranges = [
        (0, 10, "0123456789"),
        (2, 3, "234"),
        (8, 5, "89"),
        (9, u64::MAX, "9"),
        (10, 1, ""),
        (u64::MAX, u64::MAX, ""),
        (3, 0, ""),
    ];
    for (offset, length, expected) in ranges {
        let pieces: Vec<Bytes> = blob.get_range("key".into(), offset, length).await?.try_collect().await?;
        assert_eq!(pieces.concat(), expected.as_bytes(), "{length} from {offset}");
    }
    Ok(())
}

async fn urls_are_signed_or_refused(blob: Subject) -> Verdict {
    let signed = blob.sign_url("calls/1.wav".into(), Duration::from_secs(60)).await;
    match signed {
        Ok(url) => assert!(blob.capabilities().signs_urls && url.contains("calls/1.wav?"), "{url}"),
        Err(error) => assert!(!blob.capabilities().signs_urls && error.kind() == ErrorKind::Unsupported, "{error}"),
    }
    Ok(())
}

async fn writers_of_one_key_do_not_mix(blob: Subject) -> Verdict {
    let texts: Vec<String> = (0..8).map(|n| n.to_string().repeat(10_000 + n)).collect();
    let puts = texts.iter().map(|text| {
        let parts: Vec<_> =
            text.as_bytes().chunks(999).map(|part| Ok(BlobPart::Append(part.to_vec().into()))).collect();
        blob.put("key".into(), stream::iter(parts).boxed())
    });
    for result in futures_util::future::join_all(puts).await {
        result?;
    }
    let found = get(&blob, "key").await?;
    assert!(texts.iter().any(|text| found == *text), "the object is none of those written");
    Ok(())
}

async fn put(blob: &Subject, key: &str, parts: &[&str]) -> Result<String> {
    let parts: Vec<_> =
        parts.iter().map(|part| Ok(BlobPart::Append(Bytes::copy_from_slice(part.as_bytes())))).collect();
    blob.put(key.into(), stream::iter(parts).boxed()).await
}

async fn get(blob: &Subject, key: &str) -> Result<Bytes> {
    let pieces: Vec<Bytes> = blob.get_range(key.into(), 0, u64::MAX).await?.try_collect().await?;
    Ok(pieces.concat().into())
}

fn failure<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}
