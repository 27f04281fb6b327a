//! The model: makes up an answer whose words are all different, so that each can be found again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use offhook::call::{END_CALL, TRANSFER_CALL};
use offhook::error::{Error, ErrorKind, Result};
use offhook::provider::llm::{FinishReason, LlmCapabilities, LlmEvent, LlmEvents, LlmRequest, Message, ToolCall};
use offhook::provider::{Llm, ProviderInfo};
use offhook::runtime::Runtime;

use super::paced::{paced, pause};
use super::world::World;
use crate::carrier::STALL;
use crate::fates::{Fault, Wait};
use crate::random::Dice;

/// The function of every agent.
pub(super) const FUNCTION: &str = "look_up";

const TOPIC: u64 = 1;

pub(super) struct Model {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) world: Arc<World>,
}

#[async_trait]
impl Llm for Model {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "simulated", detail: String::new() }
    }

    fn capabilities(&self) -> LlmCapabilities {
        LlmCapabilities { streaming: true, tools: true }
    }

    async fn generate(&self, request: LlmRequest) -> Result<LlmEvents> {
        let system = match request.messages.first() {
            Some(Message::System { text }) => text.as_str(),
            _ => "",
        };
        let call = self.world.whose(system.rsplit(' ').next().unwrap_or_default());
        let fates = &self.world.fates;
        let answer = self.world.asked(call, self.runtime.now(), &request.messages);
        if fates.strikes(Fault::ModelRefuses, call) {
            let dice = fates.dice(call, TOPIC).at(u64::from(answer));
            let kinds = [ErrorKind::RateLimited, ErrorKind::Rejected, ErrorKind::TimedOut, ErrorKind::Unavailable];
            return Err(Error::new(dice.pick(0, &kinds), "llm.generate", "the model refuses"));
        }
        pause(&*self.runtime, fates.takes(Wait::ModelFirst, call)).await;
        let is_result = matches!(request.messages.last(), Some(Message::Tool { .. }));
        let may_transfer = request.tools.iter().any(|tool| tool.name == TRANSFER_CALL);
        Ok(paced(self.runtime.clone(), self.events(call, answer, is_result, may_transfer)))
    }

    async fn warm_up(&self) -> Result<()> {
        Ok(())
    }
}

impl Model {
    fn events(&self, call: u32, answer: u32, is_result: bool, may_transfer: bool) -> Vec<(Duration, Result<LlmEvent>)> {
        let fates = &self.world.fates;
        let dice = fates.dice(call, TOPIC).at(u64::from(answer));
        let mut items: Vec<Result<LlmEvent>> = Vec::new();
        let tool = |name: &str, arguments: &str, number: u64| {
            let (arguments, name) = (arguments.to_owned(), name.to_owned());
            Ok(LlmEvent::ToolCall(ToolCall { arguments, id: format!("tool-{answer}-{number}"), name }))
        };
        let mut reason = FinishReason::Stop;
        match if is_result { 0 } else { dice.below(0, 100) } {
            0..15 if may_transfer && !is_result => {
                if dice.chance(2, 500) {
                    items.extend(self.text(call, dice, 1));
                }
                let target = dice.pick(7, &["desk", "doctor", "doctor", "nobody"]);
                let arguments = format!("{{\"target\":\"{target}\",\"summary\":\"Brief about the caller.\"}}");
                items.push(tool(TRANSFER_CALL, &arguments, 0));
                reason = FinishReason::ToolCalls;
            }
            0..75 => items.extend(self.text(call, dice, 1 + dice.below(1, 3))),
            75..88 => {
                if dice.chance(2, 500) {
                    items.extend(self.text(call, dice, 1));
                }
                let times = if dice.chance(3, 150) { 2 } else { 1 };
                items.extend((0..times).map(|number| tool(FUNCTION, "{\"number\":\"+628123456789\"}", number)));
                reason = FinishReason::ToolCalls;
            }
            88..97 => {
                items.extend(self.text(call, dice, 1));
                items.push(tool(END_CALL, "{}", 0));
                reason = FinishReason::ToolCalls;
            }
            _ => {}
        }
        if fates.strikes(Fault::ModelRaves, call) {
            items.push(tool(dice.pick(4, &[FUNCTION, "no_such_function"]), dice.pick(5, &["{", "[]", "{}"]), 9));
        }
        items.push(Ok(LlmEvent::Usage { cached_tokens: 60, input_tokens: 100, output_tokens: 10 }));
        items.push(Ok(LlmEvent::Finished { reason }));
        let cut = usize::try_from(dice.below(6, items.len() as u64)).unwrap_or(0);
        if fates.strikes(Fault::ModelBreaksOff, call) {
            items.truncate(cut);
            items.push(Err(Error::new(ErrorKind::Unavailable, "llm.generate", "the model has broken off")));
        } else if fates.strikes(Fault::ModelUnfinished, call) {
            items.truncate(cut);
        }
        let stalls_at = fates.strikes(Fault::ModelStalls, call).then_some(cut);
        let paces = items.into_iter().enumerate().map(|(index, item)| {
            let mut delay = if index == 0 { Duration::ZERO } else { fates.takes(Wait::ModelNext, call) };
            if stalls_at == Some(index) {
                delay += STALL;
            }
            (delay, item)
        });
        paces.collect()
    }

    /// Sentences in pieces that are cut anywhere.
    fn text(&self, call: u32, dice: Dice, sentences: u64) -> Vec<Result<LlmEvent>> {
        let mut text = String::new();
        for sentence in 0..sentences {
            let words = 2 + u32::try_from(dice.at(10).below(sentence, 7)).unwrap_or(0);
            let first = self.world.next_words(call, words);
            for word in 0..words {
                let space = if text.is_empty() { "" } else { " " };
                text.push_str(&format!("{space}w{:04}", first + word));
            }
            text.push_str(dice.at(11).pick(sentence, &[".", "?", "!", "."]));
        }
        let (mut pieces, mut rest, mut number) = (Vec::new(), text.as_str(), 0);
        while !rest.is_empty() {
            let length = rest.len().min(1 + usize::try_from(dice.at(12).below(number, 24)).unwrap_or(0));
            let (piece, after) = rest.split_at(length);
            pieces.push(Ok(LlmEvent::Text(piece.to_owned())));
            (rest, number) = (after, number + 1);
        }
        pieces
    }
}
