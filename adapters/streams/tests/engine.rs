//! A call of VoxCore's protocol with the engine behind it, in virtual time.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use offhook::call::Speaker;
use offhook::call::record::{CallStatus, EndReason};
use offhook::engine::{Engine, Providers};
use offhook::ids::{AgentId, TenantId};
use offhook::memory::MemoryStore;
use offhook::provider::Telephony;
use offhook::provider::llm::{LlmEvent, Message, ToolCall};
use offhook::provider::telephony::{HangupCause, MediaCommand, MediaEvent};
use offhook::runtime::Runtime;
use offhook::service;
use offhook::service::agents::Agent;
use offhook::wrap::{CarrierName, Carriers};
use offhook_streams::voxcore::CHUNK_BYTES;
use offhook_streams::{MediaStreams, StreamCaller};
use offhook_testkit::runtime::VirtualRuntime;
use offhook_testkit::script::{CueRecogniser, ScriptedHttp, ScriptedModel, ToneSpeech};
use support::{OneSocket, options, pair};

const GREETING: &str = "Good morning, this is the clinic.";

/// An engine whose agent says goodbye to whoever does.
fn engine(runtime: Arc<dyn Runtime>, telephony: Arc<dyn Telephony>) -> Engine {
    let providers = Providers {
        blob: None,
        http: Arc::new(ScriptedHttp::new(|_| Ok((200, String::new())))),
        llm: Arc::new(ScriptedModel::new(|request| match request.messages.last() {
            Some(Message::User { .. }) => vec![
                LlmEvent::Text("Goodbye!".to_owned()),
                LlmEvent::ToolCall(ToolCall {
                    arguments: "{}".to_owned(),
                    id: "1".to_owned(),
                    name: "end_call".to_owned(),
                }),
            ],
            _ => vec![],
        })),
        runtime,
        store: Arc::new(MemoryStore::new(service::schema()).unwrap()),
        stt: Arc::new(CueRecogniser::new(&["Goodbye, then."])),
        telephony,
        tts: Arc::new(ToneSpeech::default()),
    };
    Engine::with_settings(providers, offhook_testkit::settings())
}

#[test]
fn fl_070_a_customer_rings_talks_and_is_said_goodbye_to() {
    let virtual_time = VirtualRuntime::new(5);
    let runtime: Arc<dyn Runtime> = Arc::new(virtual_time.clone());
    virtual_time.block_on(async {
        let streams = Arc::new(MediaStreams::new(Arc::clone(&runtime)));
        let name: CarrierName = "streams".parse().unwrap();
        let telephony: Arc<dyn Telephony> = streams.clone();
        let carriers = Arc::new(Carriers::new([(name.clone(), telephony)].into(), Vec::new()).unwrap());
        let engine = engine(Arc::clone(&runtime), carriers.clone());
        let tenant = TenantId::generate(&*runtime);
        engine.credits().grant(tenant, Duration::from_secs(3_600), "first").await.unwrap();
        let agent = Agent::new(AgentId::generate(&*runtime), "Sari", "You are Sari.").with_greeting(GREETING);

        let (near, far) = pair(64);
        let caller = StreamCaller::voxcore(Arc::clone(&runtime), OneSocket::new(near), "ws://fleet.example/ws/bot");
        let (progress, accepted) = futures_util::join!(caller.dial(options()), streams.accept(far));
        let mut progress = progress.unwrap();
        progress.events.next().await.unwrap();
        let call = carriers.incoming(&name, accepted.unwrap().call).unwrap();
        let handle = engine.accept(tenant, Arc::new(agent), call).unwrap();

        let mut line = caller.open_media(progress.leg.clone()).await.unwrap();
        let customer = async {
            virtual_time.sleep(Duration::from_secs(4)).await;
            // Half a second of a square wave.
            let voice = Bytes::from([0x00, 0x20, 0x00, 0xe0].repeat(CHUNK_BYTES / 4));
            for _ in 0..25 {
                line.commands.send(MediaCommand::Audio(voice.clone())).await.unwrap();
            }
            line.events.by_ref().collect::<Vec<_>>().await
        };
        let (heard, finished) = futures_util::join!(customer, handle.finished());
        let (record, _) = finished.unwrap();

        assert_eq!((record.status, record.end_reason), (CallStatus::Completed, Some(EndReason::AgentHangUp)));
        assert_eq!((record.from, record.to), (Some(options().from), Some(options().to)));
        let said: Vec<_> = record.transcript.iter().map(|entry| (entry.speaker, entry.text.as_str())).collect();
        let expected = [(Speaker::Agent, GREETING), (Speaker::Caller, "Goodbye, then."), (Speaker::Agent, "Goodbye!")];
        assert_eq!(said, expected);
        assert_eq!(heard.last(), Some(&MediaEvent::Ended { cause: HangupCause::NORMAL_CLEARING }));
        let sounding =
            |event: &&MediaEvent| matches!(event, MediaEvent::Audio(frame) if frame.iter().any(|byte| *byte != 0));
        let seconds = heard.iter().filter(sounding).count() as f64 / 50.0;
        let spoken = (GREETING.len() + "Goodbye!".len()) as f64 * 0.05;
        assert!((spoken - 0.1..spoken + 0.1).contains(&seconds), "{seconds} s heard of {spoken} s");
    });
}
