//! An engine on the sandbox in virtual time. Its synthesiser writes letters as sound, and its recogniser reads them.
#![allow(dead_code, unreachable_pub, reason = "each test file takes its part")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use offhook::Result;
use offhook::call::record::CallRecord;
use offhook::engine::{CallHandle, Engine, Providers};
use offhook::ids::{AgentId, TenantId};
use offhook::memory::MemoryStore;
use offhook::provider::llm::{LlmEvent, LlmRequest, Message, ToolCall};
use offhook::provider::stt::{SttCapabilities, SttEvent, SttEvents, SttInput, SttOptions};
use offhook::provider::telephony::E164;
use offhook::provider::tts::{TtsCapabilities, TtsEvent, TtsEvents, TtsInput, TtsOptions};
use offhook::provider::{BoxStream, ProviderInfo, SpeechToText, TextToSpeech};
use offhook::runtime::Runtime;
use offhook::service;
use offhook::service::agents::Agent;
use offhook_sandbox::{Sandbox, SandboxOptions};
use offhook_testkit::runtime::VirtualRuntime;
use offhook_testkit::script::{ScriptedHttp, ScriptedModel};

pub const RATE_HZ: u32 = 16_000;

/// How long a letter sounds.
const LETTER: usize = 800;

/// Silence after which words are over: longer than the space between them.
const GAP: usize = 3_200;

pub struct World {
    pub agent: Agent,
    pub engine: Engine,
    pub runtime: VirtualRuntime,
    pub sandbox: Arc<Sandbox>,
    tenant: TenantId,
}

/// Tells a story in virtual time; afterwards no call and nobody of the sandbox may be left.
pub fn story<F: Future<Output = ()>>(options: SandboxOptions, understands: bool, tell: impl FnOnce(World) -> F) {
    let runtime = VirtualRuntime::new(3);
    let left = runtime.clone();
    runtime.block_on(async {
        tell(World::new(runtime.clone(), options, understands).await).await;
        // The sandbox notices the end of a leg at once, and an engine puts down a leg in a task of its own.
        left.sleep(Duration::from_secs(1)).await;
        let running = left.running();
        assert!(!running.iter().any(|name| matches!(*name, "call" | "sandbox" | "hang_up")), "{running:?}");
    });
}

impl World {
    async fn new(runtime: VirtualRuntime, options: SandboxOptions, understands: bool) -> Self {
        let shared: Arc<dyn Runtime> = Arc::new(runtime.clone());
        let stt: Arc<dyn SpeechToText> = Arc::new(Reader);
        let sandbox =
            Sandbox::new(Arc::clone(&shared), Arc::new(Writer), understands.then(|| Arc::clone(&stt)), options)
                .unwrap();
        let sandbox = Arc::new(sandbox);
        let providers = Providers {
            blob: None,
            http: Arc::new(ScriptedHttp::new(|_| Ok((200, String::new())))),
            llm: Arc::new(ScriptedModel::new(brain)),
            runtime: Arc::clone(&shared),
            store: Arc::new(MemoryStore::new(service::schema()).unwrap()),
            stt,
            telephony: sandbox.clone(),
            tts: Arc::new(Writer),
        };
        let engine = Engine::with_settings(providers, offhook_testkit::settings());
        let tenant = TenantId::new(shared.wall_clock(), [7; 10]);
        engine.credits().grant(tenant, Duration::from_secs(1_000_000), "first").await.unwrap();
        let mut agent = Agent::new(AgentId::new(shared.wall_clock(), [8; 10]), "Sari", "You are Sari.");
        agent.greeting = Some("Good morning. This is Sari of the clinic.".to_owned());
        Self { agent, engine, runtime, sandbox, tenant }
    }

    pub fn dial(&self, number: &str) -> CallHandle {
        let from = "+622150001000".parse().unwrap();
        self.engine.dial(self.tenant, Arc::new(self.agent.clone()), from, reserved(number)).unwrap()
    }

    pub async fn call(&self, number: &str) -> CallRecord {
        self.dial(number).finished().await.unwrap().0
    }
}

/// The reserved number with those last digits, or that number.
pub fn reserved(number: &str) -> E164 {
    let text = if number.starts_with('+') { number.to_owned() } else { format!("+1555010{number}") };
    text.parse().unwrap()
}

fn brain(request: &LlmRequest) -> Vec<LlmEvent> {
    let text = |text: &str| vec![LlmEvent::Text(text.to_owned())];
    match request.messages.last() {
        Some(Message::User { text: said }) if said.contains("through") => vec![LlmEvent::ToolCall(ToolCall {
            arguments: "{\"target\":\"desk\"}".to_owned(),
            id: "1".to_owned(),
            name: "transfer_call".to_owned(),
        })],
        _ => text("We are open from nine to five."),
    }
}

/// Writes each letter as 50 ms of a square wave, as loud as its code.
pub struct Writer;

#[async_trait]
impl TextToSpeech for Writer {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "writer", detail: String::new() }
    }

    fn capabilities(&self) -> TtsCapabilities {
        TtsCapabilities { alignment: false, rates_hz: vec![RATE_HZ], voices: Vec::new() }
    }

    async fn synthesize(&self, _options: TtsOptions, input: BoxStream<'static, TtsInput>) -> Result<TtsEvents> {
        let audio = input.filter_map(|input| async move {
            match input {
                TtsInput::Text(text) => Some(Ok(TtsEvent::Audio(text.bytes().flat_map(wave).collect()))),
                _ => None,
            }
        });
        Ok(audio.boxed())
    }
}

fn wave(letter: u8) -> impl Iterator<Item = i16> {
    let level = if letter == b' ' { 0 } else { i16::from(letter) * 100 };
    (0..LETTER).map(move |index| if index % 16 < 8 { level } else { -level })
}

/// Reads what [`Writer`] wrote, and nothing else.
pub struct Reader;

#[async_trait]
impl SpeechToText for Reader {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "reader", detail: String::new() }
    }

    fn capabilities(&self) -> SttCapabilities {
        SttCapabilities { detects_speech: true, interim: false, languages: Vec::new(), rates_hz: vec![RATE_HZ] }
    }

    async fn transcribe(&self, _options: SttOptions, input: BoxStream<'static, SttInput>) -> Result<SttEvents> {
        let input = input.map(Some).chain(stream::iter([None]));
        let events = input.scan(Page::default(), |page, input| {
            let mut events = Vec::new();
            match input {
                Some(SttInput::Audio(samples)) => samples.iter().for_each(|sample| page.read(*sample, &mut events)),
                Some(_) => {}
                None => page.turn(&mut events),
            }
            std::future::ready(Some(stream::iter(events.into_iter().map(Ok))))
        });
        Ok(events.flatten().boxed())
    }
}

#[derive(Default)]
struct Page {
    at: usize,
    began: Option<usize>,
    last: usize,
    level: u16,
    run: usize,
    text: String,
}

impl Page {
    fn read(&mut self, sample: i16, events: &mut Vec<SttEvent>) {
        self.at += 1;
        let level = sample.unsigned_abs();
        if level == self.level {
            self.run += 1;
        } else {
            self.letters();
            self.level = level;
            self.run = 1;
        }
        if level > 0 {
            self.last = self.at;
            if self.began.is_none() {
                self.began = Some(self.at);
                events.push(SttEvent::StartOfSpeech { at: time(self.at) });
            }
        }
        if self.at - self.last >= GAP {
            self.turn(events);
        }
    }

    /// What the run that is over stands for.
    fn letters(&mut self) {
        let letter = if self.level == 0 { ' ' } else { char::from(u8::try_from(self.level / 100).unwrap_or(b'?')) };
        if self.run < GAP {
            self.text.extend(std::iter::repeat_n(letter, (self.run + LETTER / 2) / LETTER));
        }
        self.run = 0;
    }

    fn turn(&mut self, events: &mut Vec<SttEvent>) {
        let Some(began) = self.began.take() else { return };
        self.letters();
        let text = std::mem::take(&mut self.text).trim().to_owned();
        let (start, end) = (time(began), time(self.last));
        events.push(SttEvent::EndOfSpeech { at: end });
        events.push(SttEvent::Final { language: None, text, start, end });
    }
}

fn time(sample: usize) -> Duration {
    Duration::from_micros(sample as u64 * 1_000_000 / u64::from(RATE_HZ))
}
