//! What a call uses of its providers: as they report it, else as the engine saw it go out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::billing::{Resource, Usage};
use crate::call::CommandId;
use crate::engine::Providers;
use crate::provider::ProviderInfo;
use crate::provider::llm::LlmEvent;
use crate::provider::stt::{SttEvent, SttInput};
use crate::provider::tts::TtsEvent;
use crate::time::millis;

/// Counts for one call.
pub(super) struct Meter {
    llm: ProviderInfo,
    stt: ProviderInfo,
    tts: ProviderInfo,
    /// What is certain.
    counted: Usage,
    /// Recognitions of which the recogniser has not reported any, with the sound that was sent.
    heard: BTreeMap<CommandId, Sent>,
    /// Syntheses of which the synthesiser has not reported any, with the characters that were sent.
    spoken: BTreeMap<CommandId, u64>,
}

/// Sound on its way to a recogniser.
#[derive(Clone)]
pub(super) struct Sent {
    rate_hz: u32,
    samples: Arc<AtomicU64>,
}

impl Sent {
    /// Counts what passes by.
    pub(super) fn count(&self, input: &SttInput) {
        if let SttInput::Audio(samples) = input {
            self.samples.fetch_add(samples.len() as u64, Ordering::Relaxed);
        }
    }

    fn millis(&self) -> u64 {
        self.samples.load(Ordering::Relaxed).saturating_mul(1_000) / u64::from(self.rate_hz.max(1))
    }
}

impl Meter {
    pub(super) fn new(providers: &Providers) -> Self {
        Self {
            llm: providers.llm.info(),
            stt: providers.stt.info(),
            tts: providers.tts.info(),
            counted: Usage::default(),
            heard: BTreeMap::new(),
            spoken: BTreeMap::new(),
        }
    }

    /// A model is asked.
    pub(super) fn generate(&mut self) {
        self.counted.add(&self.llm, Resource::Requests, 1);
    }

    /// Sound will go to a recogniser; it must pass by what is returned.
    pub(super) fn listen(&mut self, id: CommandId, rate_hz: u32) -> Sent {
        let sent = Sent { rate_hz, samples: Arc::default() };
        self.counted.add(&self.stt, Resource::Requests, 1);
        self.heard.insert(id, sent.clone());
        sent
    }

    /// A text goes to the synthesiser.
    pub(super) fn speak(&mut self, id: CommandId, text: &str) {
        self.counted.add(&self.tts, Resource::Requests, 1);
        self.spoken.insert(id, text.chars().count() as u64);
    }

    pub(super) fn generated(&mut self, event: &LlmEvent) {
        self.counted.add_generated(&self.llm, event);
    }

    pub(super) fn transcribed(&mut self, id: CommandId, event: &SttEvent) {
        if let SttEvent::Usage { audio } = event {
            self.heard.remove(&id);
            self.counted.add(&self.stt, Resource::Milliseconds, millis(*audio));
        }
    }

    pub(super) fn synthesized(&mut self, id: CommandId, event: Option<&TtsEvent>) {
        if let Some(TtsEvent::Characters(characters)) = event {
            self.spoken.remove(&id);
            self.counted.add(&self.tts, Resource::Characters, *characters);
        }
    }

    /// All that was used so far.
    pub(super) fn usage(&self) -> Usage {
        let mut usage = self.counted.clone();
        usage.add(&self.stt, Resource::Milliseconds, self.heard.values().map(Sent::millis).sum());
        usage.add(&self.tts, Resource::Characters, self.spoken.values().sum());
        usage
    }
}
