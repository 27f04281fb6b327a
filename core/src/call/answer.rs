//! One answer of the model, from its first token to its last.

use super::output::CommandId;
use super::sentence;
use crate::provider::llm::{LlmEvent, ToolCall};

/// Longest answer, in bytes; what is longer is not said.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// Tool calls in one answer; later ones are not run.
const TOOL_CALLS_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) command: CommandId,
    pub(super) item: usize,
    text_bytes: usize,
    unspoken: String,
    tool_calls: Vec<ToolCall>,
}

/// What follows from an event.
pub(super) enum Step {
    /// More will come; these pieces can be spoken.
    Continue { ready: Vec<String> },
    /// The answer is complete.
    Finished { rest: Option<String>, tool_calls: Vec<ToolCall> },
}

impl Answer {
    pub(super) fn new(command: CommandId, item: usize) -> Self {
        Self { command, item, text_bytes: 0, unspoken: String::new(), tool_calls: Vec::new() }
    }

    pub(super) fn take(&mut self, event: LlmEvent) -> Step {
        match event {
            LlmEvent::Finished { .. } => self.finish(),
            LlmEvent::Text(text) => self.text(&text),
            LlmEvent::ToolCall(call) => {
                if self.tool_calls.len() < TOOL_CALLS_MAX {
                    self.tool_calls.push(call);
                }
                Step::Continue { ready: Vec::new() }
            }
            LlmEvent::Usage { .. } => Step::Continue { ready: Vec::new() },
        }
    }

    fn text(&mut self, text: &str) -> Step {
        let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX - self.text_bytes)];
        self.text_bytes += text.len();
        self.unspoken.push_str(text);
        let mut ready = Vec::new();
        while let Some(end) = sentence::ready(&self.unspoken) {
            let rest = self.unspoken.split_off(end);
            ready.push(std::mem::replace(&mut self.unspoken, rest.trim_start().to_owned()));
        }
        if self.text_bytes >= TEXT_BYTES_MAX {
            ready.push(std::mem::take(&mut self.unspoken));
            self.unspoken = ready.join(" ");
            return self.finish();
        }
        Step::Continue { ready }
    }

    fn finish(&mut self) -> Step {
        let rest = std::mem::take(&mut self.unspoken);
        let rest = (!rest.trim().is_empty()).then_some(rest);
        Step::Finished { rest, tool_calls: std::mem::take(&mut self.tool_calls) }
    }
}
