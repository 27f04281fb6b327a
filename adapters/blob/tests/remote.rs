//! Objects in a server that speaks as S3 does.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use offhook::ErrorKind;
use offhook::error::Result;
use offhook::provider::blob::BlobPart;
use offhook::provider::transport::{HttpMethod, HttpRequest};
use offhook::provider::{Blob, HttpTransport};
use offhook_blob::{ObjectBlob, limits};
use offhook_tokio::{ReqwestTransport, Tls};

use support::S3;

#[tokio::test]
async fn an_object_of_many_parts_is_one_object() {
    let whole: Bytes = (0..2 * limits::PART_BYTES + 1).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
    let head = Bytes::from_static(b"RIFF");
    let server = S3::start();
    let blob = server.open("large").unwrap();
    let parts = [BlobPart::Append(whole.clone()), BlobPart::PatchHead(head.clone())];
    let place = blob.put("calls/1.wav".into(), stream::iter(parts.map(Ok)).boxed()).await.unwrap();
    assert_eq!(place, "s3://recordings/large/calls/1.wav");
    let found: Vec<Bytes> =
        blob.get_range("calls/1.wav".into(), 0, u64::MAX).await.unwrap().try_collect().await.unwrap();
    let found = found.concat();
    assert_eq!(found.len(), whole.len());
    assert!(found[..4] == head[..] && found[4..] == whole[4..], "the object came back changed");
}

#[tokio::test]
async fn a_signed_url_reads_the_object_until_it_expires() {
    let server = S3::start();
    let blob = server.open("links").unwrap();
    put(&blob, "calls/1.wav").await.unwrap();
    let url = blob.sign_url("calls/1.wav".into(), Duration::from_secs(1)).await.unwrap();
    assert!(url.contains("&X-Amz-Expires=1&") && url.contains("&X-Amz-Signature="), "{url}");
    assert_eq!(get(&url).await.unwrap(), (200, "hello".to_owned()));
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(get(&url).await.unwrap().0, 403);
}

#[tokio::test]
async fn a_server_that_is_gone_is_told_in_the_end() {
    let blob = S3::start().open("gone").unwrap();
    let error = put(&blob, "calls/1.wav").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

#[tokio::test]
async fn what_cannot_work_is_a_typed_error() {
    let server = S3::start();
    put(&server.open("links").unwrap(), "calls/1.wav").await.unwrap();
    let stranger = server.open_as("links", "nobody").unwrap();
    let error = stranger.length("calls/1.wav".into()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unauthenticated), "{error:?}");
    for (place, options) in [
        ("s3://bucket", [("aws_no_such_option", "1")]),
        ("s3://bucket", [("google_service_account", "1")]),
        ("ftp://host/folder", [("aws_region", "x")]),
        ("http://host/folder", [("aws_region", "x")]),
        ("s3://", [("aws_region", "x")]),
        ("recordings", [("aws_region", "x")]),
        ("gs://bucket", [("google_service_account_key", "no key")]),
        ("memory:///", [("aws_region", "x")]),
    ] {
        let error = ObjectBlob::open(place, options).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{place}: {error:?}");
    }
}

async fn put(blob: &ObjectBlob, key: &str) -> Result<String> {
    let part = BlobPart::Append(Bytes::from_static(b"hello"));
    blob.put(key.to_owned(), stream::iter([Ok(part)]).boxed()).await
}

async fn get(url: &str) -> Result<(u16, String)> {
    let http = ReqwestTransport::new(&Tls::public()?)?;
    let response = http.send(HttpRequest::new(HttpMethod::Get, url, Duration::from_secs(10))).await?;
    let status = response.status;
    let body = response.bytes(4_096).await?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
