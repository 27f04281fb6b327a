//! VoxStack's live transcripts, over real sockets.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;
#[path = "support/voxstack.rs"]
mod vox;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use offhook::dialect::Dialect;
use offhook::provider::telephony::HangupCause;
use offhook::service::tenants::Plan;
use offhook_server::{Limits, Options, serve};
use serde_json::{Value, json};
use support::Server;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The server on a port of this machine.
struct Port {
    base: String,
    server: Server,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Port {
    async fn open() -> Self {
        Self::open_with(Server::vox().await).await
    }

    async fn open_with(server: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("ws://{}/voxstack/ws/calls", listener.local_addr().unwrap());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let stopped = async move { drop(stopped.await) };
        tokio::spawn(serve(listener, server.router.clone(), None, Limits::default(), stopped));
        Self { base, server, stop: Some(stop) }
    }

    fn url(&self, call: &str, query: &str) -> String {
        format!("{}/{call}?{query}", self.base)
    }

    async fn follow(&self, call: &str) -> Follower {
        let key = self.server.key(Dialect::VoxStack);
        Follower::open(&self.url(call, &format!("api_key={key}"))).await
    }

    /// The status with which the server refuses to talk.
    async fn refused(&self, call: &str, query: &str) -> u16 {
        match connect_async(self.url(call, query)).await.unwrap_err() {
            tokio_tungstenite::tungstenite::Error::Http(response) => response.status().as_u16(),
            error => panic!("{error}"),
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

struct Follower {
    socket: Socket,
}

impl Follower {
    async fn open(url: &str) -> Self {
        let (socket, response) = connect_async(url).await.unwrap();
        assert_eq!(response.status().as_u16(), 101);
        let mut follower = Self { socket };
        assert_eq!(follower.next().await["type"], "connected");
        follower
    }

    /// The next message.
    async fn next(&mut self) -> Value {
        match tokio::time::timeout(Duration::from_secs(120), self.socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// The messages up to the close, and its code.
    async fn rest(&mut self) -> (Vec<Value>, CloseCode) {
        let mut messages = Vec::new();
        loop {
            match self.socket.next().await.unwrap().unwrap() {
                Message::Text(text) => messages.push(serde_json::from_str(&text).unwrap()),
                Message::Close(frame) => return (messages, frame.unwrap().code),
                _ => {}
            }
        }
    }

    async fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }
}

/// Transcript updates hold the whole transcript, what is new of it, and numbers without a gap; returns the last transcript.
fn check_updates(messages: &[Value]) -> Value {
    let mut before: Vec<Value> = Vec::new();
    let updates = messages.iter().filter(|message| message["type"] == "transcript_update");
    for (update, sequence) in updates.zip(1..) {
        let data = &update["data"];
        assert_eq!(data["sequence"], sequence);
        let transcript = data["transcript"].as_array().unwrap().clone();
        let new = transcript.iter().enumerate().filter(|(at, entry)| before.get(*at) != Some(entry));
        let new: Vec<_> = new.map(|(_, entry)| entry.clone()).collect();
        assert_eq!(data["delta"], json!(new));
        for entry in &transcript {
            assert!(["agent", "user"].contains(&entry["role"].as_str().unwrap()), "{entry}");
            assert!(entry["message"].is_string() && entry["time_in_call_secs"].is_u64());
        }
        before = transcript;
    }
    before.into()
}

fn statuses(messages: &[Value]) -> Vec<&str> {
    let updates = messages.iter().filter(|message| message["type"] == "call_status_update");
    updates.map(|update| update["data"]["status"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn vs_047_060_061_066_a2_a3_the_way_to_a_live_call_is_told_with_a_token() {
    let port = Port::open().await;
    let (_, call, callee) = port.server.talking().await;
    let live = port.server.get(&format!("/calls/{call}/live")).await.data(200).clone();
    let url = format!("ws://localhost/voxstack/ws/calls/{call}");
    let info = json!({
        "url": url, "auth_method": "query_param", "auth_param": "api_key", "temp_auth_param": "session_token",
        "example": format!("{url}?api_key=YOUR_API_KEY"),
        "example_session": format!("{url}?session_token=TEMP_TOKEN"),
        "message_format": "json",
        "message_types": ["connected", "transcript_update", "call_status_update", "error"],
    });
    assert_eq!((&live["websocket_url"], &live["call_id"]), (&json!(url), &json!(call)));
    assert_eq!(live["connection_info"], info);
    let token = live["temp_token"].as_str().unwrap();
    for _ in 0..2 {
        Follower::open(&port.url(&call, &format!("session_token={token}"))).await;
    }
    callee.hang_up(HangupCause::NORMAL_CLEARING);
    let (_, other, callee) = port.server.talking().await;
    assert_eq!(port.refused(&other, &format!("session_token={token}")).await, 401);
    callee.hang_up(HangupCause::NORMAL_CLEARING);
}

#[tokio::test]
async fn vs_061_064_who_may_not_listen_is_refused_before_the_upgrade() {
    let port = Port::open().await;
    let (_, call, callee) = port.server.talking().await;
    let (_, keys) = port.server.stranger(Plan::Enterprise).await;
    let key = port.server.key(Dialect::VoxStack);
    for query in ["", "api_key=va_x", "session_token=x", &format!("api_key={}", port.server.key(Dialect::Dialro))] {
        assert_eq!(port.refused(&call, query).await, 401, "{query}");
        assert_eq!(port.refused("nothing", query).await, 401, "{query}");
    }
    assert_eq!(port.refused("nothing", &format!("api_key={key}")).await, 404);
    assert_eq!(port.refused(&uuid::Uuid::nil().to_string(), &format!("api_key={key}")).await, 404);
    assert_eq!(port.refused(&call, &format!("api_key={}", keys[&Dialect::VoxStack])).await, 404);
    let path = format!("/voxstack/ws/calls/{call}?api_key={key}");
    port.server.raw("GET", &path, &[], axum::body::Body::empty()).await.refused(400);
    callee.hang_up(HangupCause::NORMAL_CLEARING);
}

#[tokio::test]
async fn vs_062_065_a_call_is_followed_to_its_end() {
    let port = Port::open().await;
    let (_, call, callee) = port.server.talking().await;
    let mut follower = port.follow(&call).await;
    callee.sound(vox::SILENCE, Duration::from_millis(1_200)).await;
    port.server.post(&format!("/calls/{call}/end"), Value::Null).await.data(200);
    let (messages, code) = follower.rest().await;
    assert_eq!(code, CloseCode::Normal);
    assert_eq!(statuses(&messages), ["in_progress", "completed"]);
    let transcript = check_updates(&messages);
    assert!(transcript[0]["message"].as_str().unwrap().starts_with("Hello"), "{transcript}");
    let stored = port.server.get(&format!("/calls/{call}/transcript")).await.data(200).clone();
    assert_eq!(stored["transcript"], transcript);
}

#[tokio::test]
async fn vs_049_062_a_call_that_is_called_off_has_failed() {
    let port = Port::open().await;
    let (_, call, _callee) = port.server.talking().await;
    let mut follower = port.follow(&call).await;
    port.server.post(&format!("/calls/{call}/cancel"), Value::Null).await.data(200);
    let (messages, code) = follower.rest().await;
    assert_eq!((statuses(&messages), code), (vec!["in_progress", "failed"], CloseCode::Normal));
}

#[tokio::test]
async fn vs_064_of_a_call_that_is_over_everything_is_told_at_once() {
    let port = Port::open().await;
    let (_, call) = port.server.talked().await;
    let mut follower = port.follow(&call).await;
    let (messages, code) = follower.rest().await;
    let types: Vec<_> = messages.iter().map(|message| message["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["transcript_update", "call_status_update"]);
    assert_eq!((statuses(&messages), code), (vec!["completed"], CloseCode::Normal));
    assert!(!check_updates(&messages).as_array().unwrap().is_empty());
}

#[tokio::test]
async fn vs_063_064_pings_are_answered_and_nothing_else_is_understood() {
    let port = Port::open().await;
    let (_, call, callee) = port.server.talking().await;
    let mut follower = port.follow(&call).await;
    for (said, answer) in [
        (r#"{"type":"ping"}"#, "pong"),
        ("{", "error"),
        (r#"{"type":"dance"}"#, "error"),
        (r#"{"type":"ping"}"#, "pong"),
    ] {
        follower.say(said).await;
        loop {
            let message = follower.next().await;
            if !["transcript_update", "call_status_update"].contains(&message["type"].as_str().unwrap()) {
                assert_eq!(message["type"], answer, "{said}");
                assert_eq!(message["error"].is_string(), answer == "error");
                break;
            }
        }
    }
    // More than the server takes in one message ends the connection, and nothing else.
    follower.say(&"x".repeat(64 * 1024)).await;
    while let Some(Ok(message)) = follower.socket.next().await {
        assert!(!message.is_binary());
    }
    port.follow(&call).await;
    callee.hang_up(HangupCause::NORMAL_CLEARING);
}

#[tokio::test]
async fn vs_064_who_is_silent_for_a_minute_is_let_go() {
    assert_eq!(Options::default().live_idle_max, Duration::from_secs(60));
    let mut options = vox::options();
    options.live_idle_max = Duration::from_millis(1_500);
    let port = Port::open_with(Server::with(options, |_| {}).await).await;
    port.server.carrier.when_dialled(&vox::callee(), offhook_testkit::carrier::Answering::Rings);
    let task = port.server.task(&port.server.agent().await, json!({})).await;
    let call = port.server.execute(&task).await;
    let (mut silent, mut pinging) = (port.follow(&call).await, port.follow(&call).await);
    // However slow the machine: whoever pings, and hears that it was heard, outlives whoever does not.
    let ping = async {
        for _ in 0..4 {
            port.server.wait(500).await;
            pinging.say(r#"{"type":"ping"}"#).await;
            assert_eq!(pinging.next().await["type"], "pong");
        }
    };
    let ((messages, code), ()) = tokio::join!(silent.rest(), ping);
    assert_eq!((messages, code), (vec![], CloseCode::Normal));
    assert_eq!(pinging.rest().await, (vec![], CloseCode::Normal));
}
