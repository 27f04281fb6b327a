//! Text to speech.

use std::time::Duration;

use async_trait::async_trait;

use super::{BoxStream, ProviderInfo};
use crate::error::Result;

/// A synthesiser.
#[async_trait]
pub trait TextToSpeech: Send + Sync {
    /// Who this is.
    fn info(&self) -> ProviderInfo;

    /// What it can do.
    fn capabilities(&self) -> TtsCapabilities;

    /// Speaks `input` until it ends; the events end after the last audio.
    ///
    /// Fails with `NotFound` for an unknown voice and with `Unsupported` for a rate that the capabilities do not list.
    async fn synthesize(&self, options: TtsOptions, input: BoxStream<'static, TtsInput>) -> Result<TtsEvents>;
}

/// What a synthesiser yields. Dropping it stops the synthesis.
pub type TtsEvents = BoxStream<'static, Result<TtsEvent>>;

/// What a synthesiser can do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TtsCapabilities {
    /// Emits [`TtsEvent::Spoken`]; without it the engine estimates where each word is.
    pub alignment: bool,
    /// Rates that it yields, best first.
    pub rates_hz: Vec<u32>,
    /// Names of its voices; empty when they are open-ended.
    pub voices: Vec<String>,
}

/// How to speak.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TtsOptions {
    /// BCP 47.
    pub language: String,
    /// Rate of the audio that comes out, one of [`TtsCapabilities::rates_hz`].
    pub rate_hz: u32,
    /// The provider's name of a voice; `None` is its default for the language.
    pub voice: Option<String>,
}

impl TtsOptions {
    /// The default voice of `language` at `rate_hz`.
    pub fn new(language: impl Into<String>, rate_hz: u32) -> Self {
        Self { language: language.into(), rate_hz, voice: None }
    }
}

/// What goes in.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TtsInput {
    /// Speak all text so far, without waiting for more.
    Flush,
    /// The next piece of text; words may be split across pieces.
    Text(String),
}

/// What comes out.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TtsEvent {
    /// The next mono samples, gapless.
    Audio(Vec<i16>),
    /// How much text was spoken since the last `Characters`, as the provider bills it.
    Characters(u64),
    /// The input up to `text_end` has been spoken once the audio reaches `at`.
    Spoken {
        /// Offset into all input text, in bytes, on a character boundary.
        text_end: usize,
        /// Offset from the first sample.
        at: Duration,
    },
}
