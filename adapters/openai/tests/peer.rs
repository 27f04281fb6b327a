//! The model against peers on loopback that do what the mock server cannot.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod support;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt;
use offhook::ErrorKind;
use offhook::provider::Llm;
use offhook::provider::llm::{FinishReason, LlmEvent};
use offhook_openai::{ApiKey, OpenAi, OpenAiConfig};
use support::{model, question};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
const HI: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

async fn serve<F, T>(talk: F) -> SocketAddr
where
    F: Fn(TcpStream) -> T + Send + Sync + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream));
        }
    });
    addr
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    while !text.contains("\r\n\r\n") {
        text.push(stream.read_u8().await.ok()?.into());
    }
    let length = text.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some(text + std::str::from_utf8(&body).unwrap())
}

fn model_at(addr: SocketAddr) -> OpenAi {
    model(OpenAiConfig::compatible(format!("http://{addr}/v1"), "m").with_api_key(ApiKey::new("sk-1")))
}

fn hi() -> LlmEvent {
    LlmEvent::Text("Hi".into())
}

#[tokio::test]
async fn a_piece_is_passed_on_before_the_next_exists() {
    let more = Arc::new(Notify::new());
    let asked = Arc::clone(&more);
    let addr = serve(move |mut stream| {
        let asked = Arc::clone(&asked);
        async move {
            let request = read_request(&mut stream).await.unwrap();
            assert!(request.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{request}");
            assert!(request.contains("authorization: Bearer sk-1\r\n"), "{request}");
            stream.write_all((HEAD.to_owned() + &chunk(HI)).as_bytes()).await.unwrap();
            asked.notified().await;
            stream.write_all((chunk(STOP) + &chunk(DONE) + &chunk("")).as_bytes()).await.unwrap();
        }
    })
    .await;
    let mut answer = model_at(addr).generate(question("hello")).await.unwrap();
    assert_eq!(answer.next().await.unwrap().unwrap(), hi());
    more.notify_one();
    assert_eq!(answer.next().await.unwrap().unwrap(), LlmEvent::Finished { reason: FinishReason::Stop });
    assert!(answer.next().await.is_none());
}

#[tokio::test]
async fn turns_share_one_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let addr = serve(move |mut stream| {
        counter.fetch_add(1, Ordering::Relaxed);
        async move {
            while let Some(request) = read_request(&mut stream).await {
                let answer = if request.starts_with("GET /v1/models ") {
                    "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno".to_owned()
                } else {
                    HEAD.to_owned() + &chunk(HI) + &chunk(STOP) + &chunk(DONE)
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
                if !request.starts_with("GET") {
                    // The end of the response comes behind the end of the answer.
                    tokio::task::yield_now().await;
                    stream.write_all(chunk("").as_bytes()).await.unwrap();
                }
            }
        }
    })
    .await;
    let model = model_at(addr);
    model.warm_up().await.unwrap();
    for _ in 0..3 {
        let mut answer = model.generate(question("hello")).await.unwrap();
        while !matches!(answer.next().await.unwrap().unwrap(), LlmEvent::Finished { .. }) {}
        // As a caller does that knows what comes last.
        drop(answer);
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn dropping_the_answer_hangs_up() {
    let hung_up = Arc::new(Notify::new());
    let notify = Arc::clone(&hung_up);
    let addr = serve(move |mut stream| {
        let notify = Arc::clone(&notify);
        async move {
            read_request(&mut stream).await.unwrap();
            stream.write_all((HEAD.to_owned() + &chunk(HI)).as_bytes()).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
            notify.notify_one();
        }
    })
    .await;
    let mut answer = model_at(addr).generate(question("hello")).await.unwrap();
    answer.next().await.unwrap().unwrap();
    drop(answer);
    hung_up.notified().await;
}

#[tokio::test]
async fn answers_that_do_not_stream_are_refused() {
    for (head, body, kind) in [
        ("200 OK\r\ncontent-type: application/json", "{\"choices\":[]}", ErrorKind::Unexpected),
        ("200 OK\r\ncontent-type: text/html", "<html>", ErrorKind::Unexpected),
        ("200 OK", "", ErrorKind::Unexpected),
        ("200 OK\r\ncontent-type: application/json", "{\"error\":{\"code\":429}}", ErrorKind::RateLimited),
        ("307 Temporary Redirect\r\nlocation: http://localhost:1/", "", ErrorKind::Rejected),
        ("401 Unauthorized", "{\"error\":{\"message\":\"bad key sk-1\"}}", ErrorKind::Unauthenticated),
        ("502 Bad Gateway", "<html>", ErrorKind::Unavailable),
    ] {
        let addr = serve(move |mut stream| async move {
            read_request(&mut stream).await.unwrap();
            let answer = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let Err(error) = model_at(addr).generate(question("hello")).await else { panic!("{head} was taken") };
        assert_eq!(error.kind(), kind, "{head}");
        assert!(!format!("{error:?}").contains("sk-1"), "{error:?}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_answer_does_no_harm() {
    for tail in [chunk(STOP), chunk(STOP) + &chunk(DONE)] {
        let addr = serve(move |mut stream| {
            let tail = tail.clone();
            async move {
                read_request(&mut stream).await.unwrap();
                stream.write_all((HEAD.to_owned() + &chunk(HI) + &tail).as_bytes()).await.unwrap();
            }
        })
        .await;
        let answer = model_at(addr).generate(question("hello")).await.unwrap();
        let events: Vec<_> = answer.map(Result::unwrap).collect().await;
        assert_eq!(events, [hi(), LlmEvent::Finished { reason: FinishReason::Stop }]);
    }
}
