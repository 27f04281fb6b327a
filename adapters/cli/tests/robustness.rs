//! Carriers that break off, break the protocol or send nonsense: each ends its own call with a cause, is settled, and
//! leaves the engine fit for the next call.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use offhook::Error;
use offhook::call::record::{CallStatus, EndReason, HangupParty};
use offhook::call::{CallRecord, LedgerSummary};
use offhook::ids::TenantId;
use offhook::provider::telephony::HangupCause;
use offhook::service::agents::Agent;
use offhook::signing::Secret;
use offhook_cli::brain::Listener;
use offhook_cli::caller::Caller;
use offhook_cli::caller::script::Habits;
use offhook_cli::clinic;
use offhook_cli::speech::Speech;
use offhook_cli::stage::{Minds, Stage, Wires};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const CONNECTED: &str = r#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#;
const STOP: &str =
    r#"{"event":"stop","sequenceNumber":"9","stop":{"accountSid":"AC1","callSid":"CA1"},"streamSid":"MZ1"}"#;

/// Longer than any of this takes: a test that waits so long has found something that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_socket_ends_its_call() {
    let world = World::open().await;
    let (carrier, call) = tokio::join!(world.carrier("mulaw"), world.next_call());
    let mut carrier = carrier;
    carrier.hear_agent().await;
    carrier.kill();
    let (record, ledger) = call.finished().await;
    assert_eq!(record.hangup_cause, Some(HangupCause::NETWORK_OUT_OF_ORDER));
    assert_eq!((record.status, record.hangup_party), (CallStatus::Failed, Some(HangupParty::System)));
    assert_settled(&record, ledger);
    world.assert_next_call_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_its_call() {
    let world = World::open().await;
    let (carrier, call) = tokio::join!(world.carrier("mulaw"), world.next_call());
    let mut carrier = carrier;
    carrier.hear_agent().await;
    carrier.send(r#"{"event":"media","media":{"payload":"#).await;
    let (record, ledger) = call.finished().await;
    assert_eq!(record.hangup_cause, Some(HangupCause::INVALID_MESSAGE));
    assert_eq!(record.end_reason, Some(EndReason::CarrierFailure));
    assert_settled(&record, ledger);
    world.assert_next_call_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_codec_ends_its_call() {
    let world = World::open().await;
    let (_carrier, call) = tokio::join!(world.carrier("alaw"), world.next_call());
    let (record, ledger) = call.finished().await;
    assert_eq!(record.hangup_cause, Some(HangupCause::BEARER_CAPABILITY_NOT_IMPLEMENTED));
    assert_eq!(record.status, CallStatus::Failed);
    assert_settled(&record, ledger);
    world.assert_next_call_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_message_ends_its_call() {
    let world = World::open().await;
    let (carrier, call) = tokio::join!(world.carrier("mulaw"), world.next_call());
    let mut carrier = carrier;
    carrier.hear_agent().await;
    carrier.send_half_a_message_and_leave().await;
    let (record, ledger) = call.finished().await;
    assert_eq!(record.hangup_cause, Some(HangupCause::NETWORK_OUT_OF_ORDER));
    assert_settled(&record, ledger);
    world.assert_next_call_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_frame_of_sound_is_sound() {
    let world = World::open().await;
    let (carrier, call) = tokio::join!(world.carrier("mulaw"), world.next_call());
    let mut carrier = carrier;
    carrier.hear_agent().await;
    for chunk in 1..50 {
        // 81 bytes: 10.125 ms.
        let payload = "/".repeat(108);
        carrier.send(&format!(
            r#"{{"event":"media","streamSid":"MZ1","media":{{"track":"inbound","chunk":"{chunk}","payload":"{payload}"}}}}"#
        ))
        .await;
    }
    carrier.send(STOP).await;
    let (record, ledger) = call.finished().await;
    assert_eq!(record.hangup_cause, Some(HangupCause::NORMAL_CLEARING));
    assert_eq!((record.status, record.hangup_party), (CallStatus::Completed, Some(HangupParty::Caller)));
    assert_settled(&record, ledger);
    world.assert_next_call_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_starts_is_refused_with_a_cause() {
    let world = World::open().await;
    for (messages, cause) in [
        (vec![CONNECTED, STOP], HangupCause::PROTOCOL_ERROR),
        (vec![STOP], HangupCause::PROTOCOL_ERROR),
        (vec!["{"], HangupCause::INVALID_MESSAGE),
        (vec![CONNECTED, "null"], HangupCause::INVALID_MESSAGE),
    ] {
        let mut carrier = Carrier::connect(&world.stage.url()).await;
        for message in messages {
            carrier.send(message).await;
        }
        let error = timeout(PATIENCE, world.stage.next_arrival()).await.unwrap().unwrap_err();
        assert_eq!(cause_of(&error), Some(cause.to_string()), "{error}");
    }
    world.assert_next_call_works().await;
}

struct World {
    agent: Arc<Agent>,
    _folder: tempfile::TempDir,
    stage: Stage,
    tenant: TenantId,
}

impl World {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let Speech { stt, tts } = Speech::load().await.unwrap();
        let minds = Minds { llm: Arc::new(Listener), stt, tts };
        let listen = "127.0.0.1:0".parse().unwrap();
        let stage = Stage::open(folder.path(), listen, Wires::new().unwrap(), minds).await.unwrap();
        let tenant = stage.new_tenant(Duration::from_secs(3_600)).await.unwrap();
        let mut agent = clinic::receptionist(&*stage.runtime, "http://127.0.0.1:9/".to_owned(), Secret::new("x"));
        agent.greeting = Some("Good morning.".to_owned());
        Self { agent: Arc::new(agent), _folder: folder, stage, tenant }
    }

    /// A carrier whose stream has begun.
    async fn carrier(&self, encoding: &str) -> Carrier {
        let mut carrier = Carrier::connect(&self.stage.url()).await;
        carrier.send(CONNECTED).await;
        let start = format!(
            r#"{{"event":"start","sequenceNumber":"1","start":{{"accountSid":"AC1","streamSid":"MZ1","callSid":"CA1",
            "tracks":["inbound"],"mediaFormat":{{"encoding":"audio/x-{encoding}","sampleRate":8000,"channels":1}},
            "customParameters":{{"from":"+628123456789"}}}},"streamSid":"MZ1"}}"#
        );
        carrier.send(&start).await;
        carrier
    }

    async fn next_call(&self) -> Running {
        let incoming = timeout(PATIENCE, self.stage.next_arrival()).await.unwrap().unwrap();
        Running(self.stage.engine.accept(self.tenant, self.agent.clone(), incoming).unwrap())
    }

    /// Somebody rings, hears the greeting and hangs up.
    async fn assert_next_call_works(&self) {
        let (second, pause) = (Duration::from_secs(1), Duration::from_millis(300));
        let habits = Habits { linger: pause, pause, patience: second * 20 };
        let caller = Caller::new(self.stage.runtime.clone(), Arc::new(self.stage.telephone()));
        let numbers = (clinic::PATIENT.parse().unwrap(), clinic::CLINIC.parse().unwrap());
        let (_stop, stopping) = watch::channel(false);
        let calling = timeout(PATIENCE, caller.call(numbers, Vec::new(), habits, stopping));
        let (view, call) = tokio::join!(calling, self.next_call());
        assert_eq!(view.unwrap().unwrap().hung_up, None);
        let (record, ledger) = call.finished().await;
        assert_eq!((record.status, record.hangup_party), (CallStatus::Completed, Some(HangupParty::Caller)));
        assert_eq!(record.transcript[0].text, "Good morning.");
        assert_settled(&record, ledger);
    }
}

struct Running(offhook::engine::CallHandle);

impl Running {
    async fn finished(self) -> (CallRecord, Option<LedgerSummary>) {
        timeout(PATIENCE, self.0.finished()).await.expect("the call hangs").unwrap()
    }
}

/// A carrier that does as a test says.
struct Carrier {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Carrier {
    async fn connect(url: &str) -> Self {
        Self { socket: tokio_tungstenite::connect_async(url).await.unwrap().0 }
    }

    async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// Waits for the first sound of the agent.
    async fn hear_agent(&mut self) {
        let heard = async {
            while let Some(message) = self.socket.next().await {
                if matches!(&message.unwrap(), Message::Text(text) if text.contains(r#""media""#)) {
                    return;
                }
            }
            panic!("the engine hung up");
        };
        timeout(PATIENCE, heard).await.expect("the agent says nothing");
    }

    /// As if the cable were cut: no close, no stop.
    fn kill(self) {
        let MaybeTlsStream::Plain(tcp) = self.socket.get_ref() else { panic!("not plain TCP") };
        tcp.set_zero_linger().unwrap();
    }

    /// The head of a WebSocket frame that promises more than it brings.
    async fn send_half_a_message_and_leave(mut self) {
        let MaybeTlsStream::Plain(tcp) = self.socket.get_mut() else { panic!("not plain TCP") };
        tcp.write_all(&[0x81, 0xfe, 0x01, 0x00, 1, 2, 3, 4, b'{' ^ 1, b'"' ^ 2]).await.unwrap();
        tcp.shutdown().await.unwrap();
    }
}

fn cause_of(error: &Error) -> Option<String> {
    error.context().iter().find(|(name, _)| *name == "cause").map(|(_, value)| value.clone())
}

fn assert_settled(record: &CallRecord, ledger: Option<LedgerSummary>) {
    let ledger = ledger.expect("not settled");
    assert_eq!(ledger.settled, i64::try_from(record.talk_time_ms).unwrap());
    assert_eq!(ledger.after, ledger.before - ledger.settled);
    assert!(record.talk_time_ms <= record.duration_ms);
}
