//! The agent's answer: the model, its tools, and what to do when they fail.

use super::{AfterSpeech, FAILURES_MAX, ROUNDS_MAX, State, Turn};
use crate::call::answer::{Answer, Step};
use crate::call::output::{Command, CommandId};
use crate::call::record::EndReason;
use crate::call::shared::Shared;
use crate::call::timer::Timer;
use crate::call::tools::{self, END_CALL, SWITCH_LANGUAGE, TRANSFER_CALL};
use crate::error::ErrorKind;
use crate::provider::llm::{LlmEvent, ToolCall};
use crate::time::Instant;

impl Turn {
    pub(super) fn take_turn(&mut self, now: Instant, shared: &mut Shared) {
        self.begin_thinking(shared);
        if self.functions.are_running() {
            self.drop_early(now, shared);
            self.await_filler(now, shared);
            return;
        }
        let text = self.pending.text.clone();
        // What took the turn back was nothing: until the answer is over, only words do so again.
        self.words_only = self.taken_back.take().is_some_and(|taken_back| taken_back == text);
        self.commit_pending(now, shared);
        if !self.keep_early(now, &text, shared) {
            self.generate(now, shared);
        }
    }

    pub(super) fn begin_thinking(&mut self, shared: &mut Shared) {
        self.state = State::Thinking;
        for timer in [Timer::Endpoint, Timer::Silence, Timer::Transcript] {
            shared.timers.clear(timer);
        }
        self.rounds = 0;
        self.fillers = 0;
        self.awaits_sound = true;
    }

    pub(in crate::call) fn commit_pending(&mut self, now: Instant, shared: &mut Shared) {
        let pending = std::mem::take(&mut self.pending);
        if pending.text.is_empty() {
            return;
        }
        let at = shared.since_start(pending.began.unwrap_or(now));
        let item = self.dialogue.push_caller(pending.text, at);
        self.tell_entry(now, item, shared);
    }

    pub(super) fn generate(&mut self, now: Instant, shared: &mut Shared) {
        self.state = State::Thinking;
        self.rounds += 1;
        if self.rounds > ROUNDS_MAX {
            self.apologise(now, shared);
            return;
        }
        let request = self.request(self.messages(shared), shared);
        let command = shared.outbox.start(Command::Generate(Box::new(request)));
        shared.timers.set(Timer::Reply, now + shared.config.policy.reply_timeout);
        self.answer = Some(Answer::new(command, self.dialogue.open_agent()));
    }

    pub(super) fn generated(&mut self, now: Instant, id: CommandId, event: LlmEvent, shared: &mut Shared) {
        if self.generated_early(now, id, &event, shared) {
            return;
        }
        let Some(answer) = self.answer.as_mut().filter(|answer| answer.command == id) else {
            return;
        };
        let item = answer.item;
        shared.timers.set(Timer::Reply, now + shared.config.policy.reply_timeout);
        match answer.take(event) {
            Step::Continue { ready } => {
                for text in ready {
                    self.speak(now, item, &text, true, shared);
                }
            }
            Step::Finished { rest, tool_calls } => {
                self.answer = None;
                shared.timers.clear(Timer::Reply);
                shared.outbox.cancel(id);
                if let Some(text) = rest {
                    self.speak(now, item, &text, true, shared);
                }
                match &mut self.pause {
                    Some(pause) => pause.finished = Some((item, tool_calls)),
                    None => self.answered(now, item, tool_calls, shared),
                }
            }
        }
    }

    /// The model has finished: run its tools, or wait for its speech to be heard.
    pub(super) fn answered(&mut self, now: Instant, item: usize, tool_calls: Vec<ToolCall>, shared: &mut Shared) {
        self.failures.model = 0;
        self.dialogue.set_tool_calls(item, tool_calls.clone());
        let called_any = !tool_calls.is_empty();
        for call in tool_calls {
            if call.name == END_CALL {
                self.after_speech = Some(AfterSpeech::HangUp);
                self.dialogue.push_tool(call.id, "{\"ok\":true}".to_owned());
            } else if call.name == TRANSFER_CALL {
                match tools::wish(&call, &shared.config.policy) {
                    Ok(wish) if self.after_speech.is_none() => self.after_speech = Some(AfterSpeech::Transfer(wish)),
                    Ok(_) => self.dialogue.push_tool(call.id, "{\"error\":\"busy\"}".to_owned()),
                    Err(content) => self.dialogue.push_tool(call.id, content),
                }
            } else if call.name == SWITCH_LANGUAGE {
                let content = self.switch_language(now, &call, shared);
                self.dialogue.push_tool(call.id, content);
            } else if let Some(content) = self.functions.start(now, call.clone(), shared) {
                self.dialogue.push_tool(call.id, content);
            }
        }
        if self.functions.are_running() {
            self.await_filler(now, shared);
            return;
        }
        match self.after_speech {
            None if called_any => self.generate(now, shared),
            // An agent that says nothing of its own about a transfer asks the caller to hold.
            Some(AfterSpeech::Transfer(_)) if self.speech.is_empty() => {
                let please_hold = shared.config.policy.transfer.please_hold.clone().unwrap_or_default();
                self.say(now, &please_hold, false, shared);
            }
            _ if self.speech.is_empty() => self.utterance_finished(now, shared),
            _ => {}
        }
    }

    pub(super) fn function_finished(
        &mut self,
        now: Instant,
        id: CommandId,
        result: serde_json::Value,
        shared: &mut Shared,
    ) {
        let Some((call_id, content)) = self.functions.finish(now, id, result, shared) else {
            return;
        };
        self.dialogue.push_tool(call_id, content);
        self.after_functions(now, shared);
    }

    pub(super) fn functions_timed_out(&mut self, now: Instant, shared: &mut Shared) {
        for (call_id, content) in self.functions.time_out(now, shared) {
            self.dialogue.push_tool(call_id, content);
        }
        self.after_functions(now, shared);
    }

    pub(super) fn after_functions(&mut self, now: Instant, shared: &mut Shared) {
        let caller_has_the_floor = matches!(self.state, State::Hearing | State::Endpointing);
        if !self.functions.are_running() {
            shared.timers.clear(Timer::Filler);
        }
        if self.functions.are_running() || self.answer.is_some() || caller_has_the_floor || self.on_hold {
            return;
        }
        if self.after_speech.is_some() {
            if self.speech.is_empty() {
                self.utterance_finished(now, shared);
            }
            return;
        }
        if self.caller_speaks.is_none() {
            self.commit_pending(now, shared);
        }
        let speaking = !self.speech.is_empty();
        self.generate(now, shared);
        if speaking && self.answer.is_some() {
            self.state = State::Speaking;
        }
    }

    pub(super) fn generation_failed(&mut self, now: Instant, kind: ErrorKind, shared: &mut Shared) {
        let Some(answer) = self.answer.take() else { return };
        shared.timers.clear(Timer::Reply);
        shared.outbox.cancel(answer.command);
        let retriable = matches!(kind, ErrorKind::RateLimited | ErrorKind::TimedOut | ErrorKind::Unavailable);
        self.failures.model += 1;
        if !self.is_usable(self.failures.model) {
            return;
        }
        if let Some(pause) = &mut self.pause {
            pause.failed = true;
            return;
        }
        if retriable && self.speech.is_empty() && self.failures.model == 1 {
            self.dialogue.cut();
            self.generate(now, shared);
            return;
        }
        self.apologise(now, shared);
    }

    pub(super) fn apologise(&mut self, now: Instant, shared: &mut Shared) {
        if self.speech.is_empty() {
            self.dialogue.cut();
        }
        let apology = shared.config.policy.apology.clone();
        self.say(now, &apology, true, shared);
    }

    /// False, and the end of the call, when a provider has failed too often.
    pub(super) fn is_usable(&mut self, failures: u32) -> bool {
        if failures < FAILURES_MAX {
            return true;
        }
        self.request = Some(AfterSpeech::End(EndReason::ProviderFailure));
        false
    }
}
