//! VoxCore's diallers, over real sockets.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use offhook::dialect::Dialect;
use offhook::ids::AgentId;
use offhook::provider::reach::Networks;
use offhook::service::hours::Hours;
use offhook::service::keys::NewApiKey;
use offhook::service::tenants::Plan;
use offhook_server::{Limits, Options, serve};
use serde_json::{Value, json};
use support::Server;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Longest wait for a message.
const PATIENCE: Duration = Duration::from_secs(20);

/// 20 ms of silence: 160 samples of 16 bits, in base64.
fn silence() -> String {
    format!("{}==", "A".repeat(426))
}

struct Port {
    base: String,
    server: Server,
}

impl Port {
    async fn open() -> Self {
        Self::open_with(Options::default()).await
    }

    async fn open_with(options: Options) -> Self {
        let server = Server::of_streams_with(options).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("ws://{}/voxcore/ws", listener.local_addr().unwrap());
        let never = std::future::pending();
        tokio::spawn(serve(listener, server.router.clone(), None, Limits::default(), never));
        Self { base, server }
    }

    async fn bot(&self, change: impl FnOnce(&mut offhook::service::agents::Agent)) -> AgentId {
        self.server.an_agent(change).await
    }

    async fn dial(&self, path: impl std::fmt::Display) -> Dialler {
        let (socket, _) = connect_async(format!("{}/{path}", self.base)).await.unwrap();
        Dialler { socket }
    }
}

struct Dialler {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Dialler {
    async fn say(&mut self, message: Value) {
        self.socket.send(Message::Text(message.to_string().into())).await.unwrap();
    }

    async fn shake_hands(&mut self) {
        self.say(json!({ "event": "connected", "callerId": "+919876543210", "did": "+911234567890",
            "callDirection": "incoming", "streamId": "s-1", "customer_name": "Rahul Sharma", "_skip_post_push": true }))
            .await;
        self.say(json!({ "event": "start", "streamId": "s-1",
            "mediaFormat": { "encoding": "LINEAR", "sampleRate": 8000, "channels": 1 } }))
            .await;
        self.say(json!({ "event": "answer" })).await;
    }

    /// The next message, or the code with which the socket is closed.
    async fn next(&mut self) -> Result<Value, u16> {
        loop {
            match tokio::time::timeout(PATIENCE, self.socket.next()).await.unwrap() {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return Err(frame.map_or(1005, |frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(1006),
            }
        }
    }

    async fn next_of(&mut self, event: &str) -> Value {
        loop {
            let message = self.next().await.unwrap_or_else(|code| panic!("closed by {code}, not {event}"));
            if message["event"] == event {
                return message;
            }
        }
    }

    async fn closed(&mut self) -> u16 {
        loop {
            if let Err(code) = self.next().await {
                return code;
            }
        }
    }
}

#[tokio::test]
async fn fl_033_070_071_073_074_075_079_a_dialler_talks_to_the_bot() {
    let port = Port::open().await;
    let bot = port.bot(|agent| agent.greeting = Some("Hello {{call.customer_name}}.".to_owned())).await;
    let mut dialler = port.dial(bot).await;
    dialler.shake_hands().await;
    let first = dialler.next_of("reverse-media").await;
    assert_eq!((&first["callerId"], &first["streamId"]), (&json!("+919876543210"), &json!("s-1")));
    assert_eq!((&first["chunk_durn_ms"], &first["source"]), (&json!(20), &json!("ai")));
    for _ in 0..50 {
        dialler.say(json!({ "event": "media", "payload": silence() })).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    dialler.say(json!({ "event": "hangup-call", "disconnectedBy": "customer" })).await;
    dialler.closed().await;
    let call = loop {
        let (calls, _) = port.server.engine.calls().list(port.server.tenant, &Default::default(), 0, 1).await.unwrap();
        match calls.into_iter().next().filter(|call| call.ledger.is_some()) {
            Some(call) => break call.record,
            None => port.server.wait(20).await,
        }
    };
    assert_eq!(call.from.unwrap().as_str(), "+919876543210");
    assert_eq!(call.to.unwrap().as_str(), "+911234567890");
    assert_eq!(call.transcript[0].text, "Hello Rahul Sharma.");
    assert_eq!(call.hangup_party.unwrap().to_string(), "caller");
}

#[tokio::test]
async fn fl_082_diallers_come_from_where_they_may() {
    for (network, is_allowed) in [("127.0.0.0/8", true), ("10.0.0.0/8", false), ("127.0.0.2", false)] {
        let mut options = Options::default();
        options.voxcore_allow = Networks::parse([network]).unwrap();
        let port = Port::open_with(options).await;
        let bot = port.bot(|agent| agent.greeting = Some("Hello.".to_owned())).await;
        let mut dialler = port.dial(format!("{bot}?token={}", port.server.key(Dialect::VoxCore))).await;
        if is_allowed {
            dialler.shake_hands().await;
            dialler.next_of("reverse-media").await;
        } else {
            assert_eq!(dialler.closed().await, 1008);
        }
    }
}

/// A dialler goes on sending sound while the call ends: what it is told last must reach it all the same.
#[tokio::test]
async fn fl_077_081_a_dialler_that_still_talks_hears_the_end() {
    let port = Port::open().await;
    let bot = port.bot(|agent| agent.greeting = Some("Hello.".to_owned())).await;
    let mut dialler = port.dial(bot).await;
    dialler.shake_hands().await;
    dialler.next_of("reverse-media").await;
    let (calls, _) = port.server.engine.calls().list(port.server.tenant, &Default::default(), 0, 1).await.unwrap();
    let (handle, _) = port.server.engine.follow(port.server.tenant, calls[0].record.id).unwrap();
    handle.hang_up().unwrap();
    for _ in 0..50 {
        // It fails when the server has closed its side without waiting for this one.
        dialler.say(json!({ "event": "media", "payload": silence() })).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    dialler.next_of("reverse-hangup-call").await;
    assert_eq!(dialler.closed().await, 1000);
}

#[tokio::test]
async fn fl_080_081_082_who_may_not_come_in_is_told_by_a_code() {
    let port = Port::open().await;
    let bot = port.bot(|_| {}).await;
    let nobody = AgentId::generate(&offhook_tokio::TokioRuntime::current().unwrap());
    for path in ["nothing".to_owned(), nobody.to_string(), format!("{bot}?token=vx_wrong")] {
        assert_eq!(port.dial(path).await.closed().await, 1008);
    }
    let (_, strangers) = port.server.stranger(Plan::Starter).await;
    let stranger = &strangers[&Dialect::VoxCore];
    assert_eq!(port.dial(format!("{bot}?token={stranger}")).await.closed().await, 1008);
    let mut scoped = NewApiKey::new(Dialect::VoxCore, "another bot's");
    scoped.agents = Some(vec![nobody]);
    let (_, scoped) = port.server.engine.keys().create(port.server.tenant, scoped).await.unwrap();
    assert_eq!(port.dial(format!("{bot}?token={scoped}")).await.closed().await, 1008);
    let mut breach = port.dial(bot).await;
    breach.say(json!({ "event": "answer" })).await;
    assert_eq!(breach.closed().await, 1008);

    let closed = port.bot(|agent| agent.hours = Some(Hours::new("UTC").unwrap())).await;
    let mut early = port.dial(closed).await;
    early.shake_hands().await;
    assert_eq!(early.closed().await, 1013);

    let mut good = port.dial(format!("{bot}?token={}", port.server.key(Dialect::VoxCore))).await;
    good.shake_hands().await;
    port.server.wait(300).await;
    assert_eq!(port.server.engine.live_calls(), 1);
}
