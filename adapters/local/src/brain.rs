//! A brain made of rules: it finds the caller's intent among examples, asks for what is missing, calls a function and
//! words the answer from a template.
//!
//! It is no model. It says nothing that its file does not hold, understands nothing beyond its examples, and answers the
//! same conversation the same way every time. It needs no key and no network and answers in microseconds, which makes it
//! a receptionist for simple lines and a steady partner in demos and tests. The file format is described in `rules`.

mod dialogue;
mod intent;
mod rules;
mod slots;
mod words;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};
use offhook::error::{Error, ErrorKind, Result};
use offhook::provider::ProviderInfo;
use offhook::provider::llm::{FinishReason, Llm, LlmCapabilities, LlmEvent, LlmEvents, LlmRequest, Message};

use self::dialogue::{Answer, Dialogue};
use self::rules::Rules;

/// The receptionist of a clinic: opening hours, address, prices, appointments.
const CLINIC: &str = include_str!("../brains/clinic.toml");
/// Largest file of rules.
const FILE_BYTES_MAX: u64 = 1 << 20;
const OPERATION: &str = "local.brain";

/// An `Llm` made of rules.
#[derive(Clone, Debug)]
pub struct RulesBrain {
    dialogue: Arc<Dialogue>,
}

impl RulesBrain {
    /// The receptionist of a clinic that comes with this crate. Its one function is `check_appointment {phone_number}`.
    pub fn clinic() -> Result<Self> {
        Self::parse(CLINIC)
    }

    /// Reads rules from a TOML file; `NotFound` or `ConfigInvalid` with what is wrong.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let unread = |error| Error::new(ErrorKind::NotFound, OPERATION, "the rules cannot be read").with_source(error);
        let path = path.as_ref();
        if std::fs::metadata(path).map_err(unread)?.len() > FILE_BYTES_MAX {
            return Err(Error::new(ErrorKind::ConfigInvalid, OPERATION, "the rules are longer than 1 MiB"));
        }
        Self::parse(&std::fs::read_to_string(path).map_err(unread)?)
    }

    /// Reads rules from TOML text.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Self { dialogue: Arc::new(Dialogue::new(Rules::parse(text)?)) })
    }
}

#[async_trait]
impl Llm for RulesBrain {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "rules", detail: self.dialogue.name().to_owned() }
    }

    fn capabilities(&self) -> LlmCapabilities {
        LlmCapabilities { streaming: true, tools: true }
    }

    /// Answers the last message from all before it. Usage counts words for tokens.
    async fn generate(&self, request: LlmRequest) -> Result<LlmEvents> {
        let answer = self.dialogue.answer(&request)?;
        Ok(stream::iter(events(answer, &request)).map(Ok).boxed())
    }

    async fn warm_up(&self) -> Result<()> {
        Ok(())
    }
}

/// Word by word, then the calls, the usage and the end.
fn events(answer: Answer, request: &LlmRequest) -> Vec<LlmEvent> {
    let words_max = request.tokens_max.map_or(usize::MAX, |max| max as usize);
    let total = answer.text.split_inclusive(' ').count();
    let mut events: Vec<_> =
        answer.text.split_inclusive(' ').take(words_max).map(|word| LlmEvent::Text(word.to_owned())).collect();
    let output_tokens = events.len() as u64;
    let reason = match (total > words_max, answer.calls.is_empty()) {
        (true, _) => FinishReason::Length,
        (false, true) => FinishReason::Stop,
        (false, false) => FinishReason::ToolCalls,
    };
    if reason == FinishReason::ToolCalls {
        events.extend(answer.calls.into_iter().map(LlmEvent::ToolCall));
    }
    events.push(LlmEvent::Usage {
        cached_tokens: 0,
        input_tokens: request.messages.iter().map(words_in).sum(),
        output_tokens,
    });
    events.push(LlmEvent::Finished { reason });
    events
}

fn words_in(message: &Message) -> u64 {
    let text = match message {
        Message::Assistant { text, .. } | Message::System { text } | Message::User { text } => text,
        Message::Tool { content, .. } => content,
        _ => return 0,
    };
    text.split_whitespace().count() as u64
}
