//! Speech to text.

use std::time::Duration;

use async_trait::async_trait;

use super::{BoxStream, ProviderInfo};
use crate::error::Result;

/// A recogniser.
#[async_trait]
pub trait SpeechToText: Send + Sync {
    /// Who this is.
    fn info(&self) -> ProviderInfo;

    /// What it can do.
    fn capabilities(&self) -> SttCapabilities;

    /// Recognises `input` until it ends; the events end after the last result.
    ///
    /// Fails with `Unsupported` for a rate or a language that the capabilities do not list.
    async fn transcribe(&self, options: SttOptions, input: BoxStream<'static, SttInput>) -> Result<SttEvents>;
}

/// What a recogniser yields. Dropping it stops the recognition.
pub type SttEvents = BoxStream<'static, Result<SttEvent>>;

/// What a recogniser can do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SttCapabilities {
    /// Emits [`SttEvent::StartOfSpeech`] and [`SttEvent::EndOfSpeech`]; without it the engine uses its own detector.
    pub detects_speech: bool,
    /// Emits [`SttEvent::Interim`].
    pub interim: bool,
    /// BCP 47 tags that it understands; empty when it takes any.
    pub languages: Vec<String>,
    /// Rates that it takes, best first.
    pub rates_hz: Vec<u32>,
}

/// How to recognise.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SttOptions {
    /// BCP 47.
    pub language: String,
    /// Rate of the audio, one of [`SttCapabilities::rates_hz`].
    pub rate_hz: u32,
}

impl SttOptions {
    /// Recognition of `language` at `rate_hz`.
    pub fn new(language: impl Into<String>, rate_hz: u32) -> Self {
        Self { language: language.into(), rate_hz }
    }
}

/// What goes in.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SttInput {
    /// Mono samples, without gaps, in real time; silence is sent too.
    Audio(Vec<i16>),
    /// The turn is over: settle what was heard now. Answered by a `Final`, of empty text when nothing was pending.
    Finalize,
}

/// What comes out. Times count from the first sample of the input.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SttEvent {
    /// Speech stopped at `at`.
    EndOfSpeech {
        /// Where the last speech was.
        at: Duration,
    },
    /// How sure the recogniser is, by sound and sense, that the speaker's turn is over. It may be told several times in
    /// a turn, the latest estimate counts, and speech that goes on voids it. Tell it behind the `Final`s that it judges.
    ///
    /// Optional: without it the engine judges by silence and by the words alone.
    EndOfTurn {
        /// From 0 to 1.
        probability: f32,
    },
    /// A settled piece of transcript. Pieces are in order and never repeat.
    Final {
        /// The language of the words, from a recogniser that tells languages apart; BCP 47.
        language: Option<String>,
        /// The words.
        text: String,
        /// Where they began.
        start: Duration,
        /// Where they ended.
        end: Duration,
    },
    /// What the pending piece looks like so far; replaces the interim before it.
    Interim {
        /// The words so far.
        text: String,
    },
    /// Speech began at `at`, which may lie before the moment of this event.
    StartOfSpeech {
        /// Where the speech began.
        at: Duration,
    },
    /// How much was recognised since the last `Usage`, as the provider bills it.
    Usage {
        /// Billed audio.
        audio: Duration,
    },
}
