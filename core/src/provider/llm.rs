//! Language models.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{BoxStream, ProviderInfo};
use crate::error::Result;

/// A language model, or anything that answers like one.
#[async_trait]
pub trait Llm: Send + Sync {
    /// Who this is.
    fn info(&self) -> ProviderInfo;

    /// What it can do.
    fn capabilities(&self) -> LlmCapabilities;

    /// Answers a conversation. The events hold exactly one [`LlmEvent::Finished`], which is the last, or end with an error.
    ///
    /// Fails with `Unsupported` when tools are given and the capabilities have none.
    async fn generate(&self, request: LlmRequest) -> Result<LlmEvents>;

    /// Opens connections or loads weights, so that the first answer is not late. May do nothing.
    async fn warm_up(&self) -> Result<()>;
}

/// What a model yields. Dropping it stops the generation.
pub type LlmEvents = BoxStream<'static, Result<LlmEvent>>;

/// What a model can do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LlmCapabilities {
    /// Text comes in pieces as it is made.
    pub streaming: bool,
    /// Calls tools.
    pub tools: bool,
}

/// What to answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LlmRequest {
    /// The conversation, oldest first.
    pub messages: Vec<Message>,
    /// Sampling temperature; `None` is the model's default.
    pub temperature: Option<f32>,
    /// Upper bound of the answer in tokens; `None` is the model's default.
    pub tokens_max: Option<u32>,
    /// What the model may call.
    pub tools: Vec<Tool>,
}

impl LlmRequest {
    /// An answer to `messages`, without tools.
    pub fn new(messages: Vec<Message>) -> Self {
        Self { messages, ..Self::default() }
    }

    /// Offers `tools`.
    #[must_use]
    pub fn with_tools(mut self, tools: Vec<Tool>) -> Self {
        self.tools = tools;
        self
    }
}

/// One entry of a conversation.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Message {
    /// What the agent said, cut to what was heard, and the tools that it called.
    Assistant {
        /// Spoken text, possibly empty.
        text: String,
        /// Calls, each answered by a later [`Message::Tool`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall>,
    },
    /// Instructions.
    System {
        /// The prompt.
        text: String,
    },
    /// A tool's answer.
    Tool {
        /// The call that it answers.
        call_id: String,
        /// Usually JSON.
        content: String,
    },
    /// What the caller said.
    User {
        /// The transcript.
        text: String,
    },
}

/// Something that the model may call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// What it does and when to call it, for the model.
    pub description: String,
    /// Letters, digits, `_` and `-`.
    pub name: String,
    /// JSON Schema of the arguments object.
    pub parameters: serde_json::Value,
}

/// One call of a tool by the model.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// JSON as the model wrote it; it may be malformed.
    pub arguments: String,
    /// Chosen by the provider, unique in the conversation.
    pub id: String,
    /// The tool's name as the model wrote it; it may not exist.
    pub name: String,
}

/// What comes out.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LlmEvent {
    /// The answer is complete.
    Finished {
        /// Why it ended.
        reason: FinishReason,
    },
    /// The next piece of the answer.
    Text(String),
    /// A complete call.
    ToolCall(ToolCall),
    /// What the answer cost.
    Usage {
        /// Tokens of these that the provider had read before, and takes less for.
        #[serde(default)]
        cached_tokens: u64,
        /// Tokens read.
        input_tokens: u64,
        /// Tokens written.
        output_tokens: u64,
    },
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FinishReason {
    /// The provider withheld the rest.
    ContentFilter,
    /// `tokens_max` was reached.
    Length,
    /// The answer is whole.
    Stop,
    /// The model waits for its tools.
    ToolCalls,
}
