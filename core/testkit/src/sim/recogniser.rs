//! The recogniser: reads the words that the caller's frames carry, and takes its time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use offhook::error::{Error, ErrorKind, Result};
use offhook::provider::stt::{SttCapabilities, SttEvent, SttEvents, SttInput, SttOptions};
use offhook::provider::{BoxStream, ProviderInfo, SpeechToText};
use offhook::runtime::Runtime;
use offhook::time::Instant;

use super::paced::pause;
use super::person;
use super::voice::{self, Sound, Word};
use super::world::World;
use crate::fates::{Fates, Fault, Wait};

/// Silence that ends speech.
const HANGOVER: Duration = Duration::from_millis(200);

/// How late a late transcript is.
const LATE: Duration = Duration::from_millis(3_200);

pub(super) struct Recogniser {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) world: Arc<World>,
}

#[async_trait]
impl SpeechToText for Recogniser {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "simulated", detail: String::new() }
    }

    fn capabilities(&self) -> SttCapabilities {
        let detects_speech = self.world.plan.detects_speech;
        SttCapabilities { detects_speech, interim: true, languages: Vec::new(), rates_hz: vec![8_000] }
    }

    async fn transcribe(&self, _options: SttOptions, input: BoxStream<'static, SttInput>) -> Result<SttEvents> {
        if self.world.fates.strikes(Fault::RecogniserRefuses, Fates::NOBODY) {
            return Err(broken());
        }
        let session = Session {
            input: Some(input),
            is_over: false,
            last_sound: None,
            outputs: BTreeMap::new(),
            outputs_made: 0,
            runtime: self.runtime.clone(),
            samples: 0,
            words: Vec::new(),
            world: self.world.clone(),
        };
        Ok(stream::unfold(session, |mut session| async move { Some((session.next().await?, session)) }).boxed())
    }
}

struct Session {
    input: Option<BoxStream<'static, SttInput>>,
    is_over: bool,
    /// Of the speech that goes on: where it ended so far, and when that was heard.
    last_sound: Option<(u64, Instant)>,
    /// By the moment of their coming, then in order.
    outputs: BTreeMap<(Instant, u64), Result<SttEvent>>,
    outputs_made: u64,
    runtime: Arc<dyn Runtime>,
    samples: u64,
    words: Vec<Word>,
    world: Arc<World>,
}

impl Session {
    async fn next(&mut self) -> Option<Result<SttEvent>> {
        loop {
            let now = self.runtime.now();
            if self.last_sound.is_some_and(|(_, heard)| heard + HANGOVER <= now) {
                self.end_speech(now);
            }
            if let Some(entry) = self.outputs.first_entry()
                && entry.key().0 <= now
            {
                let output = entry.remove();
                self.world.recognised(&output);
                return Some(output);
            }
            let next = self.outputs.keys().next().map(|(at, _)| *at);
            let hangover = self.last_sound.map(|(_, heard)| heard + HANGOVER);
            let deadline = next.into_iter().chain(hangover).min();
            if self.is_over && deadline.is_none() {
                return None;
            }
            let Some(input) = &mut self.input else {
                pause(&*self.runtime, deadline?.saturating_since(now)).await;
                continue;
            };
            let heard = async { Some(input.next().await) };
            let alarm = async {
                match deadline {
                    Some(deadline) => self.runtime.sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
                None
            };
            match futures_lite::future::or(heard, alarm).await {
                Some(Some(SttInput::Audio(samples))) => self.hear(&samples),
                Some(Some(SttInput::Finalize)) => self.finalize(),
                Some(Some(_)) | None => {}
                Some(None) => self.finish(),
            }
        }
    }

    fn hear(&mut self, samples: &[i16]) {
        let start = self.samples;
        self.samples += samples.len() as u64;
        let sound = voice::listen(samples);
        if sound == Sound::Silence {
            return;
        }
        let now = self.runtime.now();
        if self.last_sound.is_none() {
            self.put(now, Ok(SttEvent::StartOfSpeech { at: lasting(start) }));
        }
        self.last_sound = Some((self.samples, now));
        let Sound::Word(word) = sound else { return };
        if self.words.last() == Some(&word) {
            return;
        }
        self.words.push(word);
        if self.words.len().is_multiple_of(3) {
            let text = self.text();
            self.put(now, Ok(SttEvent::Interim { text }));
        }
    }

    /// The caller is silent.
    fn end_speech(&mut self, now: Instant) {
        let Some((end, _)) = self.last_sound.take() else { return };
        self.put(now, Ok(SttEvent::EndOfSpeech { at: lasting(end) }));
        let fates = self.world.fates.clone();
        if fates.strikes(Fault::RecogniserBreaksOff, self.call()) {
            self.put(now, Err(broken()));
            self.close();
            return;
        }
        if fates.strikes(Fault::RecogniserEnds, self.call()) {
            self.close();
            return;
        }
        let mut delay = fates.takes(Wait::Recogniser, self.call());
        if fates.strikes(Fault::RecogniserLate, self.call()) {
            delay += LATE;
        }
        self.settle(now + delay);
    }

    /// Yields what was heard so far as a final transcript.
    fn settle(&mut self, at: Instant) {
        let (call, fates) = (self.call(), self.world.fates.clone());
        let text = self.text();
        self.words.clear();
        if fates.strikes(Fault::RecogniserLoses, call) {
            return;
        }
        let end = lasting(self.samples);
        let times = if fates.strikes(Fault::RecogniserRepeats, call) { 2 } else { 1 };
        for _ in 0..times {
            self.put(at, Ok(SttEvent::Final { text: text.clone(), language: None, start: end, end }));
        }
    }

    /// What waits comes at once, and then a final transcript of what was heard since.
    fn finalize(&mut self) {
        let now = self.runtime.now();
        for ((_, number), output) in std::mem::take(&mut self.outputs) {
            self.outputs.insert((now, number), output);
        }
        self.settle(now);
    }

    fn finish(&mut self) {
        let now = self.runtime.now();
        if self.last_sound.is_some() {
            self.end_speech(now);
        }
        self.close();
    }

    fn close(&mut self) {
        self.input = None;
        self.is_over = true;
    }

    fn put(&mut self, at: Instant, output: Result<SttEvent>) {
        // Transcripts are in order, however late one is.
        let at = match output {
            Ok(SttEvent::Final { .. }) => self.outputs.keys().map(|(at, _)| *at).max().map_or(at, |last| last.max(at)),
            _ => at,
        };
        self.outputs_made += 1;
        self.outputs.insert((at, self.outputs_made), output);
    }

    /// Whose words these are, or will be.
    fn call(&self) -> u32 {
        let word = self.words.first().and_then(|word| self.world.said.word(*word));
        word.and_then(|word| person::call_of(&word)).unwrap_or(Fates::NOBODY)
    }

    fn text(&self) -> String {
        let words: Vec<String> = self.words.iter().filter_map(|word| self.world.said.word(*word)).collect();
        words.join(" ")
    }
}

fn lasting(samples: u64) -> Duration {
    Duration::from_micros(samples * 1_000_000 / 8_000)
}

fn broken() -> Error {
    Error::new(ErrorKind::Unavailable, "stt.transcribe", "the recogniser has broken")
}
