use std::sync::Arc;

use bytes::Bytes;
use offhook::ErrorKind;
use offhook::provider::Store;
use offhook::provider::store::{Append, Batch, LIMIT_MAX, LogKey, Operation};

use super::{batch, log, refusal, tenant};
use crate::behaviour::{Case, Verdict, on_threads};
use crate::case;

pub(super) fn cases() -> Vec<Case<Arc<dyn Store>>> {
    vec![
        case!(logs_give_back_what_was_appended),
        case!(logs_have_no_gap_and_no_double),
        case!(logs_take_empty_appends_at_their_end_only),
        case!(logs_grow_several_times_in_a_batch),
        case!(logs_hold_any_bytes),
        case!(logs_are_read_in_limited_pieces),
        case!(logs_belong_to_a_tenant),
        case!(logs_that_are_removed_begin_anew),
        case!(logs_take_one_of_several_racing_writers),
    ]
}

async fn logs_give_back_what_was_appended(store: Arc<dyn Store>) -> Verdict {
    assert!(store.read_log(log("call"), 0, 10).await?.is_empty());
    store.append(log("call"), 0, entries(["a", "b"])).await?;
    store.append(log("call"), 2, entries(["c"])).await?;
    assert_eq!(store.read_log(log("call"), 0, 10).await?, entries(["a", "b", "c"]));
    assert_eq!(store.read_log(log("call"), 1, 1).await?, entries(["b"]));
    assert!(store.read_log(log("call"), 3, 10).await?.is_empty());
    assert!(store.read_log(log("call"), u64::MAX, 10).await?.is_empty());
    assert!(store.read_log(log("other"), 0, 10).await?.is_empty());
    Ok(())
}

async fn logs_that_are_removed_begin_anew(store: Arc<dyn Store>) -> Verdict {
    let removed = || {
        let mut batch = Batch::default();
        batch.delete_log(log("call"));
        batch
    };
    store.commit(removed()).await?;
    store.append(log("call"), 0, entries(["a", "b"])).await?;
    store.append(log("other"), 0, entries(["x"])).await?;
    store.commit(removed()).await?;
    assert!(store.read_log(log("call"), 0, 10).await?.is_empty());
    assert_eq!(refusal(store.append(log("call"), 2, entries(["c"])).await), Some(ErrorKind::Conflict));
    store.append(log("call"), 0, entries(["d"])).await?;
    // In their order within a batch, and all of it or nothing.
    let mut anew = removed();
    anew.append(log("call"), 0, entries(["e", "f"]));
    store.commit(anew).await?;
    assert_eq!(store.read_log(log("call"), 0, 10).await?, entries(["e", "f"]));
    let mut refused = removed();
    refused.append(log("call"), 2, entries(["g"]));
    assert_eq!(refusal(store.commit(refused).await.map(|_| ())), Some(ErrorKind::Conflict));
    assert_eq!(store.read_log(log("call"), 0, 10).await?, entries(["e", "f"]));
    assert_eq!(store.read_log(log("other"), 0, 10).await?, entries(["x"]));
    Ok(())
}

async fn logs_have_no_gap_and_no_double(store: Arc<dyn Store>) -> Verdict {
    for seq in [1, u64::MAX] {
        assert_eq!(refusal(store.append(log("call"), seq, entries(["x"])).await), Some(ErrorKind::Conflict));
    }
    store.append(log("call"), 0, entries(["a", "b"])).await?;
    for seq in [0, 1, 3, u64::MAX] {
        assert_eq!(refusal(store.append(log("call"), seq, entries(["x"])).await), Some(ErrorKind::Conflict), "{seq}");
    }
    assert_eq!(store.read_log(log("call"), 0, 10).await?, entries(["a", "b"]));
    Ok(())
}

async fn logs_take_empty_appends_at_their_end_only(store: Arc<dyn Store>) -> Verdict {
    store.append(log("call"), 0, Vec::new()).await?;
    assert!(store.read_log(log("call"), 0, 10).await?.is_empty());
    store.append(log("call"), 0, entries(["a"])).await?;
    store.append(log("call"), 1, Vec::new()).await?;
    assert_eq!(refusal(store.append(log("call"), 0, Vec::new()).await), Some(ErrorKind::Conflict));
    assert_eq!(refusal(store.append(log("call"), 2, Vec::new()).await), Some(ErrorKind::Conflict));
    assert_eq!(store.read_log(log("call"), 0, 10).await?, entries(["a"]));
    Ok(())
}

async fn logs_grow_several_times_in_a_batch(store: Arc<dyn Store>) -> Verdict {
    store.commit(batch([append("a", 0, ["1", "2"]), append("b", 0, ["x"]), append("a", 2, ["3"])])).await?;
    assert_eq!(store.read_log(log("a"), 0, 10).await?, entries(["1", "2", "3"]));
    assert_eq!(store.read_log(log("b"), 0, 10).await?, entries(["x"]));
    let doubled = store.commit(batch([append("a", 3, ["4"]), append("a", 3, ["5"])])).await;
    assert_eq!(refusal(doubled), Some(ErrorKind::Conflict));
    assert_eq!(store.read_log(log("a"), 3, 10).await?, entries([]));
    Ok(())
}

async fn logs_hold_any_bytes(store: Arc<dyn Store>) -> Verdict {
    let every_byte = Bytes::from_iter(0..=255);
    let large = Bytes::from(vec![0xff; 1 << 20]);
    let written = vec![Bytes::new(), every_byte, large];
    store.append(log("name of a log: ☎ '\"%"), 0, written.clone()).await?;
    assert_eq!(store.read_log(log("name of a log: ☎ '\"%"), 0, 10).await?, written);
    Ok(())
}

async fn logs_are_read_in_limited_pieces(store: Arc<dyn Store>) -> Verdict {
    let total = LIMIT_MAX as usize + 1;
    let written: Vec<Bytes> = (0..total).map(|number| Bytes::from(number.to_string())).collect();
    store.append(log("call"), 0, written.clone()).await?;
    assert_eq!(store.read_log(log("call"), 0, 0).await?, written[..1]);
    assert_eq!(store.read_log(log("call"), 0, u32::MAX).await?, written[..total - 1]);
    assert_eq!(store.read_log(log("call"), 1, u32::MAX).await?, written[1..]);
    Ok(())
}

async fn logs_belong_to_a_tenant(store: Arc<dyn Store>) -> Verdict {
    store.append(log("call"), 0, entries(["mine"])).await?;
    let theirs = LogKey::new(tenant(2), "call");
    assert!(store.read_log(theirs.clone(), 0, 10).await?.is_empty());
    store.append(theirs.clone(), 0, entries(["theirs"])).await?;
    assert_eq!(store.read_log(theirs, 0, 10).await?, entries(["theirs"]));
    assert_eq!(store.read_log(log("call"), 0, 10).await?, entries(["mine"]));
    Ok(())
}

async fn logs_take_one_of_several_racing_writers(store: Arc<dyn Store>) -> Verdict {
    let won = on_threads(8, |writer| {
        let store = Arc::clone(&store);
        async move {
            let mut won = Vec::new();
            for seq in 0..20 {
                let entry = format!("{writer}:{seq}");
                match store.append(log("call"), seq, vec![Bytes::from(entry.clone())]).await {
                    Ok(()) => won.push(entry),
                    Err(error) if error.kind() == ErrorKind::Conflict => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(won)
        }
    });
    let mut won: Vec<String> = won.await?.into_iter().flatten().collect();
    let read = store.read_log(log("call"), 0, LIMIT_MAX).await?;
    let mut read: Vec<String> = read.iter().map(|entry| String::from_utf8_lossy(entry).into_owned()).collect();
    for (seq, entry) in read.iter().enumerate() {
        assert!(entry.ends_with(&format!(":{seq}")), "{entry} is number {seq}");
    }
    assert_eq!(read.len(), 20);
    won.sort();
    read.sort();
    assert_eq!(won, read);
    Ok(())
}

fn entries<const N: usize>(texts: [&'static str; N]) -> Vec<Bytes> {
    texts.map(|text| Bytes::from_static(text.as_bytes())).to_vec()
}

fn append<const N: usize>(name: &str, seq: u64, texts: [&'static str; N]) -> Operation {
    Operation::Append(Append { log: log(name), seq, entries: entries(texts) })
}
