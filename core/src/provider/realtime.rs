//! Speech-to-speech models.

use std::time::Duration;

use async_trait::async_trait;

use super::llm::{Message, Tool, ToolCall};
use super::{BoxStream, ProviderInfo};
use crate::error::Result;

/// A model that listens and speaks by itself.
#[async_trait]
pub trait Realtime: Send + Sync {
    /// Who this is.
    fn info(&self) -> ProviderInfo;

    /// What it can do.
    fn capabilities(&self) -> RealtimeCapabilities;

    /// Converses until `input` ends.
    async fn converse(
        &self,
        options: RealtimeOptions,
        input: BoxStream<'static, RealtimeInput>,
    ) -> Result<RealtimeEvents>;
}

/// What a conversation yields. Dropping it ends the conversation.
pub type RealtimeEvents = BoxStream<'static, Result<RealtimeEvent>>;

/// What a speech-to-speech model can do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RealtimeCapabilities {
    /// Rates that it takes and yields, best first.
    pub rates_hz: Vec<u32>,
    /// Calls tools.
    pub tools: bool,
    /// Honours [`RealtimeInput::Truncate`].
    pub truncation: bool,
}

/// How to converse.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RealtimeOptions {
    /// The conversation so far, instructions first.
    pub history: Vec<Message>,
    /// BCP 47.
    pub language: String,
    /// Rate of the audio in both directions.
    pub rate_hz: u32,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// The provider's name of a voice; `None` is its default.
    pub voice: Option<String>,
}

/// What goes in.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RealtimeInput {
    /// The caller's mono samples.
    Audio(Vec<i16>),
    /// A tool's answer.
    ToolResult {
        /// The call that it answers.
        call_id: String,
        /// Usually JSON.
        content: String,
    },
    /// The caller heard only `played` of the current answer: forget the rest, so that model and caller stay in step.
    Truncate {
        /// Audio of the current answer that was played.
        played: Duration,
    },
}

/// What comes out.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RealtimeEvent {
    /// The agent's next mono samples.
    Audio(Vec<i16>),
    /// What the agent says, piece by piece.
    AgentTranscript(String),
    /// What the caller said.
    CallerTranscript(String),
    /// The caller began to speak.
    StartOfSpeech,
    /// A complete call.
    ToolCall(ToolCall),
    /// The agent's answer is complete.
    TurnFinished,
    /// What the conversation cost since the last `Usage`.
    Usage {
        /// Tokens read.
        input_tokens: u64,
        /// Tokens written.
        output_tokens: u64,
    },
}
