//! One piece of a Chat Completions stream, read as generously as endpoints write.

use offhook::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::answer::OPERATION;

pub(crate) fn parse(data: &str) -> Result<Chunk> {
    serde_json::from_str(data).map_err(|error| {
        // Of the parser's error only the place is told: its words quote the answer.
        Error::new(ErrorKind::Unexpected, OPERATION, "a piece of the answer is malformed")
            .with_context("line", error.line())
            .with_context("column", error.column())
    })
}

#[derive(Deserialize)]
pub(crate) struct Chunk {
    pub(crate) choices: Option<Vec<Choice>>,
    pub(crate) error: Option<Value>,
    pub(crate) usage: Option<Usage>,
}

#[derive(Deserialize)]
pub(crate) struct Choice {
    pub(crate) delta: Option<Delta>,
    pub(crate) finish_reason: Option<String>,
    #[serde(default)]
    pub(crate) index: u64,
}

#[derive(Default, Deserialize)]
pub(crate) struct Delta {
    pub(crate) content: Option<String>,
    pub(crate) refusal: Option<String>,
    pub(crate) tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
pub(crate) struct CallDelta {
    pub(crate) function: Option<FunctionDelta>,
    pub(crate) id: Option<String>,
    pub(crate) index: Option<u64>,
}

#[derive(Default, Deserialize)]
pub(crate) struct FunctionDelta {
    pub(crate) arguments: Option<Value>,
    pub(crate) name: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Usage {
    pub(crate) completion_tokens: Option<u64>,
    pub(crate) prompt_tokens: Option<u64>,
    pub(crate) prompt_tokens_details: Option<PromptTokens>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct PromptTokens {
    pub(crate) cached_tokens: Option<u64>,
}

/// Arguments are JSON in a string; some endpoints send the object itself.
pub(crate) fn spell_arguments(arguments: Value) -> String {
    match arguments {
        Value::Null => String::new(),
        Value::String(text) => text,
        object => object.to_string(),
    }
}
