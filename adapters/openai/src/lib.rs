//! Chat Completions with streaming and tool calls, against any endpoint that speaks OpenAI's dialect of them.
//!
//! <https://platform.openai.com/docs/api-reference/chat>

mod answer;
mod chunk;
mod config;
mod map;
mod model;
mod request;
mod sse;

pub use answer::decode;
pub use config::{ApiKey, OpenAiConfig, TokensField};
pub use model::OpenAi;

/// The limits that hold in this crate.
pub mod limits {
    pub use crate::answer::{ANSWER_BYTES_MAX, ARGUMENTS_BYTES_MAX, NAME_BYTES_MAX, TOOL_CALLS_MAX};
    pub use crate::model::{ERROR_BYTES_MAX, MODELS_BYTES_MAX};
    pub use crate::sse::{EVENT_BYTES_MAX, LINE_BYTES_MAX};
}
