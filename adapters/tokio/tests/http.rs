//! The HTTP transport against peers on loopback.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use offhook::provider::HttpTransport;
use offhook::provider::reach::Reach;
use offhook::provider::transport::{HttpMethod, HttpRequest};
use offhook::{Error, ErrorKind, Retry};
use offhook_tokio::{ReqwestTransport, Tls};
use support::{Authority, answer, hold, nobody, read_request, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex, Notify, oneshot};

const PATIENT: Duration = Duration::from_secs(20);
const HASTY: Duration = Duration::from_millis(100);

fn transport() -> ReqwestTransport {
    ReqwestTransport::new(&Tls::public().unwrap()).unwrap()
}

fn get(url: String) -> HttpRequest {
    HttpRequest::new(HttpMethod::Get, url, PATIENT)
}

async fn failure(request: HttpRequest) -> Error {
    let Err(error) = transport().send(request).await else { panic!("the request went through") };
    error
}

#[tokio::test]
async fn request_and_response_arrive_as_written() {
    let (seen, see) = oneshot::channel();
    let seen = Arc::new(Mutex::new(Some(seen)));
    let addr = serve(move |mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            let request = read_request(&mut stream).await;
            seen.lock().await.take().unwrap().send(request).unwrap();
            stream
                .write_all(b"HTTP/1.1 201 Created\r\nX-Two: a\r\nx-two: b\r\ncontent-length: 2\r\n\r\nok")
                .await
                .unwrap();
        }
    })
    .await;
    let request = HttpRequest::new(HttpMethod::Put, format!("http://{addr}/a/b?c=d"), PATIENT)
        .header("x-call", "7")
        .header("user-agent", "mine")
        .body("the body");
    let response = transport().send(request).await.unwrap();
    assert_eq!((response.status, response.header("x-two")), (201, Some("a")));
    assert_eq!(response.headers.iter().filter(|(name, _)| name == "x-two").count(), 2);
    assert_eq!(response.bytes(2).await.unwrap(), "ok");
    let request = see.await.unwrap();
    assert!(request.starts_with("PUT /a/b?c=d HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("x-call: 7\r\n") && request.contains("user-agent: mine\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\nthe body"), "{request}");
}

#[tokio::test]
async fn body_arrives_piece_by_piece() {
    let more = Arc::new(Notify::new());
    let asked = Arc::clone(&more);
    let addr = serve(move |mut stream| {
        let asked = Arc::clone(&asked);
        async move {
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await.unwrap();
            asked.notified().await;
            stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let mut response = transport().send(get(format!("http://{addr}/"))).await.unwrap();
    assert_eq!(response.body.next().await.unwrap().unwrap(), "first");
    more.notify_one();
    assert_eq!(response.body.next().await.unwrap().unwrap(), "second");
    assert!(response.body.next().await.is_none());
}

#[tokio::test]
async fn any_status_is_a_response_and_redirects_are_not_followed() {
    for (head, status) in [("302 Found\r\nlocation: /elsewhere", 302), ("500 Internal Server Error", 500)] {
        let addr = serve(move |stream| async move {
            answer(stream, &format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n")).await;
        })
        .await;
        assert_eq!(transport().send(get(format!("http://{addr}/"))).await.unwrap().status, status);
    }
}

#[tokio::test]
async fn silence_before_the_head_times_out() {
    let addr = serve(hold).await;
    let error = failure(HttpRequest::new(HttpMethod::Get, format!("http://{addr}/"), HASTY)).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::TimedOut, Retry::Later));
}

#[tokio::test]
async fn silence_inside_the_body_times_out_and_ends_it() {
    let addr = serve(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart").await.unwrap();
        hold(stream).await;
    })
    .await;
    let request = HttpRequest::new(HttpMethod::Get, format!("http://{addr}/"), HASTY);
    let mut body = transport().send(request).await.unwrap().body;
    assert_eq!(body.next().await.unwrap().unwrap(), "part");
    assert_eq!(body.next().await.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(body.next().await.is_none());
}

#[tokio::test]
async fn body_that_breaks_off_is_an_error() {
    let addr = serve(|stream| answer(stream, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart")).await;
    let error = transport().send(get(format!("http://{addr}/"))).await.unwrap().bytes(100).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn dropping_the_body_hangs_up() {
    let (left, leave) = oneshot::channel();
    let left = Arc::new(Mutex::new(Some(left)));
    let addr = serve(move |mut stream| {
        let left = Arc::clone(&left);
        async move {
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart").await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
            left.lock().await.take().unwrap().send(()).unwrap();
        }
    })
    .await;
    drop(transport().send(get(format!("http://{addr}/"))).await.unwrap());
    leave.await.unwrap();
}

#[tokio::test]
async fn peers_that_cannot_be_reached_are_told_apart_and_nothing_secret_is_shown() {
    let refused = failure(get(format!("http://key:pass@{}/calls/+628123?token=s3cret", nobody().await))).await;
    assert_eq!((refused.kind(), refused.message()), (ErrorKind::Unavailable, "the peer refuses connections"));
    let unknown = failure(get(format!("http://{}.invalid/calls/+628123?token=s3cret", "x".repeat(64)))).await;
    assert_eq!((unknown.kind(), unknown.message()), (ErrorKind::Unavailable, "the host name cannot be resolved"));
    for error in [refused, unknown] {
        assert_eq!(error.retry(), Retry::Later);
        let shown = format!("{error} {error:?}");
        assert!(!["pass", "628123", "s3cret"].iter().any(|secret| shown.contains(secret)), "{shown}");
    }
}

#[tokio::test]
async fn requests_that_cannot_be_made_are_not_tried() {
    let requests = [
        get("".into()),
        get("/relative".into()),
        get("ftp://host/file".into()),
        get("http://".into()),
        get("http://localhost:1/".into()).header("x-bad", "a\r\nb: c"),
        get("http://localhost:1/".into()).header("bad name", "a"),
    ];
    for request in requests {
        let url = request.url.clone();
        assert_eq!(failure(request).await.kind(), ErrorKind::ConfigInvalid, "{url}");
    }
}

#[tokio::test]
async fn only_a_trusted_peer_is_spoken_to() {
    let authority = Authority::new();
    let acceptor = authority.acceptor.clone();
    let addr = serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            // The client that does not trust hangs up here.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret").await.unwrap();
            stream.shutdown().await.unwrap();
        }
    })
    .await;
    let url = format!("https://localhost:{}/", addr.port());
    let response = ReqwestTransport::new(&authority.trusting).unwrap().send(get(url.clone())).await.unwrap();
    assert_eq!(response.bytes(6).await.unwrap(), "secret");
    let error = failure(get(url)).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Never), "{error:?}");
}

/// A peer that says `ok`, by its port.
async fn peer() -> u16 {
    let say = |stream| answer(stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    serve(say).await.port()
}

#[tokio::test]
async fn a_customers_url_reaches_no_inner_address_however_it_is_written() {
    let port = peer().await;
    let transport = transport();
    for host in
        ["127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "localhost"]
    {
        let request = get(format!("http://{host}:{port}/")).reach(Reach::public());
        let Err(error) = transport.send(request).await else { panic!("{host} was reached") };
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{host}: {error:?}");
    }
}

#[tokio::test]
async fn what_is_allowed_is_reached_by_address_and_by_name() {
    let port = peer().await;
    let network = Reach::public_and(["127.0.0.0/8"]).unwrap();
    let name = Reach::public_and(["localhost"]).unwrap();
    for (host, reach) in [("127.0.0.1", &network), ("localhost", &network), ("localhost", &name)] {
        let request = get(format!("http://{host}:{port}/")).reach(reach.clone());
        assert_eq!(transport().send(request).await.unwrap().status, 200, "{host}");
    }
    let request = get(format!("http://127.0.0.1:{port}/")).reach(name);
    assert!(transport().send(request).await.is_err(), "a name that is allowed allows no address");
}

/// A connection that one request may use is no way around the guard for another.
#[tokio::test]
async fn requests_of_different_reach_share_no_connection() {
    let addr = serve(|mut stream| async move {
        loop {
            read_request(&mut stream).await;
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
    })
    .await;
    let (transport, url) = (transport(), format!("http://localhost:{}/", addr.port()));
    let reached = transport.send(get(url.clone())).await.unwrap();
    reached.bytes(0).await.unwrap();
    let Err(error) = transport.send(get(url).reach(Reach::public())).await else { panic!("the guard was passed by") };
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
}
