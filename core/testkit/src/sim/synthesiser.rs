//! The voice: says each word of a text in frames that carry it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use offhook::audio::FRAME_DURATION;
use offhook::error::{Error, ErrorKind, Result};
use offhook::provider::tts::{TtsCapabilities, TtsEvent, TtsEvents, TtsInput, TtsOptions};
use offhook::provider::{BoxStream, ProviderInfo, TextToSpeech};
use offhook::runtime::Runtime;

use super::paced::{paced, pause};
use super::plan::Mutation;
use super::voice::{self, FRAME_SAMPLES, Word};
use super::world::World;
use crate::carrier::STALL;
use crate::fates::{Fates, Fault, Wait};

/// Words that come together.
const WORDS_PER_PIECE: usize = 6;

pub(super) struct Synthesiser {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) world: Arc<World>,
}

#[async_trait]
impl TextToSpeech for Synthesiser {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "simulated", detail: String::new() }
    }

    fn capabilities(&self) -> TtsCapabilities {
        TtsCapabilities { alignment: true, rates_hz: vec![8_000], voices: Vec::new() }
    }

    async fn synthesize(&self, options: TtsOptions, input: BoxStream<'static, TtsInput>) -> Result<TtsEvents> {
        let text = input
            .filter_map(|input| async move {
                match input {
                    TtsInput::Text(text) => Some(text),
                    _ => None,
                }
            })
            .collect::<String>()
            .await;
        // Every agent has a voice of its own, named by its call.
        let call = options.voice.and_then(|voice| voice.parse().ok()).unwrap_or(Fates::NOBODY);
        let fates = &self.world.fates;
        if fates.strikes(Fault::VoiceRefuses, call) {
            return Err(broken());
        }
        pause(&*self.runtime, fates.takes(Wait::VoiceFirst, call)).await;
        Ok(paced(self.runtime.clone(), self.events(call, &text)))
    }
}

impl Synthesiser {
    fn events(&self, call: u32, text: &str) -> Vec<(Duration, Result<TtsEvent>)> {
        let fates = &self.world.fates;
        let frames = self.world.plan.frames_per_word;
        let utterance = self.world.said.add(text.split_whitespace().map(str::to_owned).collect());
        let mut events = Vec::new();
        if fates.strikes(Fault::VoiceMute, call) {
            return events;
        }
        let breaks_off = fates.strikes(Fault::VoiceBreaksOff, call);
        let stalls = fates.strikes(Fault::VoiceStalls, call);
        let premature = self.world.plan.mutation == Some(Mutation::KeepUnplayed);
        let mut at = Duration::ZERO;
        let ends: Vec<usize> = word_ends(text).collect();
        for (piece, ends) in ends.chunks(WORDS_PER_PIECE).enumerate() {
            let mut delay = fates.takes(Wait::VoiceNext, call);
            let is_second = piece == 1 || ends.len() < WORDS_PER_PIECE;
            if breaks_off && is_second {
                events.push((delay, Err(broken())));
                return events;
            }
            if stalls && is_second {
                delay += STALL;
            }
            let mut samples = Vec::with_capacity(ends.len() * frames * FRAME_SAMPLES);
            let mut spoken = Vec::with_capacity(ends.len());
            for (index, text_end) in (piece * WORDS_PER_PIECE..).zip(ends) {
                let word = Word { utterance, index: u32::try_from(index).unwrap_or(u32::MAX) };
                for _ in 0..frames {
                    samples.extend(voice::samples(word));
                    at += FRAME_DURATION;
                }
                let at = if premature { Duration::ZERO } else { at };
                spoken.push((Duration::ZERO, Ok(TtsEvent::Spoken { text_end: *text_end, at })));
            }
            events.push((delay, Ok(TtsEvent::Audio(samples))));
            events.extend(spoken);
        }
        events
    }
}

/// Where the words of a text end, in bytes.
fn word_ends(text: &str) -> impl Iterator<Item = usize> {
    text.split_whitespace().map(move |word| word.as_ptr() as usize - text.as_ptr() as usize + word.len())
}

fn broken() -> Error {
    Error::new(ErrorKind::Unavailable, "tts.synthesize", "the voice has broken")
}
