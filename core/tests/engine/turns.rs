//! What a turn asks of the recogniser and the synthesiser reaches them, and what they tell reaches the turn.

use std::sync::Arc;
use std::time::Duration;

use offhook::call::{Input, Progress};
use offhook::engine::{Engine, Providers};
use offhook::journal;
use offhook::provider::Store;
use offhook::provider::llm::{FinishReason, LlmEvent, LlmRequest, Message, ToolCall};
use offhook::provider::telephony::HangupCause;
use offhook_testkit::runtime::VirtualRuntime;
use offhook_testkit::script::{CueRecogniser, Manner, ScriptedModel, ToneSpeech};

use crate::world::World;

const SPEECH: u8 = 0x80;
const SILENCE: u8 = 0xff;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn interpreter(request: &LlmRequest) -> Vec<LlmEvent> {
    match request.messages.last() {
        Some(Message::User { text }) if text.contains("Indonesian") => {
            let arguments = "{\"language\":\"id-ID\"}".to_owned();
            let call = ToolCall { arguments, id: "1".to_owned(), name: "switch_language".to_owned() };
            vec![LlmEvent::ToolCall(call), LlmEvent::Finished { reason: FinishReason::ToolCalls }]
        }
        _ => vec![LlmEvent::Text("Tentu, bisa.".to_owned())],
    }
}

#[test]
fn a_change_of_language_reaches_voice_and_ear_and_an_estimate_reaches_the_turn() {
    let runtime = VirtualRuntime::new(7);
    runtime.block_on(async {
        let mut world = World::new(Arc::new(runtime.clone()), &[]).await;
        let stt = CueRecogniser::new(&["Can we speak Indonesian and", "Terima kasih banyak."]).judging(0.955);
        let tts = ToneSpeech::default();
        world.engine = Engine::with_settings(
            Providers {
                llm: Arc::new(ScriptedModel::new(interpreter)),
                stt: Arc::new(stt.clone()),
                tts: Arc::new(tts.clone()),
                ..world.providers.clone()
            },
            offhook_testkit::settings(),
        );
        let mut agent = (*world.agent).clone();
        agent.policy.languages.allowed = vec!["id-ID".to_owned()];
        agent.voice = Some("Ada".to_owned());
        agent.voices.insert("id-ID".to_owned(), "Sari".to_owned());
        world.agent = Arc::new(agent);

        let (handle, caller) = world.ring();
        caller.sound(SILENCE, ms(1_500)).await;
        caller.sound(SPEECH, ms(500)).await;
        caller.sound(SILENCE, ms(2_000)).await;
        caller.sound(SPEECH, ms(500)).await;
        caller.sound(SILENCE, ms(2_000)).await;
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        let id = handle.id();
        let (record, _) = handle.finished().await.unwrap();

        let said: Vec<_> = record.transcript.iter().map(|entry| entry.text.as_str()).collect();
        let expected =
            ["Good morning.", "Can we speak Indonesian and", "Tentu, bisa.", "Terima kasih banyak.", "Tentu, bisa."];
        assert_eq!(said, expected);
        assert_eq!(stt.languages(), ["en-US", "id-ID"]);
        let manner =
            |language: &str, voice: &str| Manner { language: language.to_owned(), voice: Some(voice.to_owned()) };
        assert_eq!(tts.spoken(), [manner("en-US", "Ada"), manner("id-ID", "Sari"), manner("id-ID", "Sari")]);

        world.wait(ms(100)).await;
        let log = world.store.read_log(journal::log_key(world.tenant, id), 0, 1_000).await.unwrap();
        let entries = journal::Journal::from_log(&log).unwrap().entries;
        let is_estimate = |entry: &journal::Entry| {
            matches!(
                entry,
                journal::Entry::Input { input: Input::Progress(_, Progress::EndOfTurn { percent: 96 }), .. }
            )
        };
        assert_eq!(entries.iter().filter(|entry| is_estimate(entry)).count(), 2);
    });
}
