//! The model begins before the caller's turn is over; what it says counts only if the words stay the same.

use super::{State, Turn};
use crate::call::answer::Answer;
use crate::call::decision::{DecisionKind, EarlyStep, EndpointReason};
use crate::call::lexicon::words;
use crate::call::output::{Command, CommandId};
use crate::call::shared::Shared;
use crate::call::timer::Timer;
use crate::call::tools;
use crate::provider::llm::{LlmEvent, LlmRequest, Message};
use crate::time::Instant;

/// Events of an early answer that are kept; a longer one is dropped.
const EVENTS_MAX: usize = 4_096;

/// An answer that was begun before the turn was over.
#[derive(Debug)]
pub(super) struct Early {
    command: CommandId,
    events: Vec<LlmEvent>,
    /// Entries of the dialogue to which it is the answer.
    items: usize,
    words: Vec<String>,
}

impl Turn {
    /// Begins an answer if the words so far sound complete, and drops one to other words.
    pub(super) fn consider_early(&mut self, now: Instant, shared: &mut Shared) {
        let text = self.pending_words();
        let words = words(&text);
        let items = self.dialogue.len();
        if self.early.as_ref().is_some_and(|early| early.words == words && early.items == items) {
            return;
        }
        self.drop_early(now, shared);
        let attempts_max = shared.config.policy.early_generation.attempts_max;
        let is_free = self.pause.is_none() && self.answer.is_none() && !self.functions.are_running();
        if words.is_empty() || !is_free || self.early_attempts >= attempts_max || !self.may_be_over(&text, shared) {
            return;
        }
        self.early_attempts += 1;
        let mut messages = self.messages(shared);
        messages.push(Message::User { text });
        let command = shared.outbox.start(Command::Generate(Box::new(self.request(messages, shared))));
        self.early = Some(Early { command, events: Vec::new(), items, words });
        self.explain_early(now, EarlyStep::Begun, shared);
    }

    fn may_be_over(&self, text: &str, shared: &Shared) -> bool {
        let percent_min = shared.config.policy.early_generation.turn_end_percent_min;
        match (self.pending.turn_end_percent, self.state) {
            (Some(percent), State::Endpointing | State::Hearing) => percent >= percent_min,
            (None, State::Endpointing) => self.judge_end(text, shared).1 == EndpointReason::Complete,
            _ => false,
        }
    }

    /// Takes an event if it is of the early answer.
    pub(super) fn generated_early(
        &mut self,
        now: Instant,
        id: CommandId,
        event: &LlmEvent,
        shared: &mut Shared,
    ) -> bool {
        let Some(early) = self.early.as_mut().filter(|early| early.command == id) else {
            return false;
        };
        if early.events.len() < EVENTS_MAX {
            early.events.push(event.clone());
        } else {
            self.drop_early(now, shared);
        }
        true
    }

    /// Whether the command that ended without an answer was the early one, which then is forgotten.
    pub(super) fn early_failed(&mut self, now: Instant, id: CommandId, shared: &mut Shared) -> bool {
        let is_early = self.early.as_ref().is_some_and(|early| early.command == id);
        if is_early {
            self.drop_early(now, shared);
        }
        is_early
    }

    /// The turn is over, and its words `text` are in the dialogue: takes the answer that was begun to them, if there is one.
    pub(super) fn keep_early(&mut self, now: Instant, text: &str, shared: &mut Shared) -> bool {
        let items = self.dialogue.len();
        if self.early.as_ref().is_none_or(|early| early.words != words(text) || early.items + 1 != items) {
            self.drop_early(now, shared);
            self.early_attempts = 0;
            return false;
        }
        let Some(Early { command, events, .. }) = self.early.take() else { return false };
        self.explain_early(now, EarlyStep::Kept, shared);
        self.early_attempts = 0;
        self.rounds = 1;
        shared.timers.set(Timer::Reply, now + shared.config.policy.reply_timeout);
        self.answer = Some(Answer::new(command, self.dialogue.open_agent()));
        for event in events {
            self.generated(now, command, event, shared);
        }
        true
    }

    pub(super) fn drop_early(&mut self, now: Instant, shared: &mut Shared) {
        if let Some(early) = self.early.take() {
            shared.outbox.cancel(early.command);
            self.explain_early(now, EarlyStep::Dropped, shared);
        }
    }

    pub(super) fn messages(&self, shared: &Shared) -> Vec<Message> {
        self.dialogue.messages(&shared.system_prompt())
    }

    pub(super) fn request(&self, messages: Vec<Message>, shared: &Shared) -> LlmRequest {
        let tools = shared.config.tools.iter().cloned().chain(tools::built_in(&shared.config)).collect();
        LlmRequest::new(messages).with_tools(tools)
    }

    fn explain_early(&self, now: Instant, step: EarlyStep, shared: &mut Shared) {
        let attempts = self.early_attempts;
        shared.explain(now, || DecisionKind::EarlyGeneration { attempts, step });
    }
}
