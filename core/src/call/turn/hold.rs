//! A conversation that stands still while the line is on hold.

use serde_json::json;

use super::{AfterSpeech, Turn};
use crate::call::shared::Shared;
use crate::call::timer::Timer;
use crate::call::transfer::Origin;
use crate::provider::llm::ToolCall;
use crate::time::Instant;

impl Turn {
    /// Falls silent and stops listening. What is said to the caller meanwhile is said by [`Turn::say`].
    pub(in crate::call) fn hold(&mut self, now: Instant, shared: &mut Shared) {
        self.silence_agent(now, shared);
        self.give_up_plan();
        self.drop_early(now, shared);
        self.commit_pending(now, shared);
        self.on_hold = true;
        for timer in [Timer::Endpoint, Timer::Silence, Timer::Transcript] {
            shared.timers.clear(timer);
        }
        self.awaits_final = false;
        self.become_listening(now, shared);
    }

    /// Goes on, with these words if there are any.
    pub(in crate::call) fn end_hold(&mut self, now: Instant, text: Option<&str>, shared: &mut Shared) {
        if !std::mem::take(&mut self.on_hold) {
            return;
        }
        if self.listen.is_none() {
            self.listen(shared);
        }
        if self.dialogue.ends_in_tool() && !self.functions.are_running() {
            self.silence_agent(now, shared);
            self.generate(now, shared);
        } else if let Some(text) = text.filter(|text| !text.trim().is_empty()) {
            self.say(now, text, true, shared);
        } else if self.speech.is_empty() {
            self.utterance_finished(now, shared);
        }
    }

    /// The caller talks to somebody else: nothing is heard any more.
    pub(in crate::call) fn stop_listening(&mut self, shared: &mut Shared) {
        if let Some(listen) = self.listen.take() {
            shared.outbox.cancel(listen);
        }
        self.caller_speaks = None;
    }

    /// Nobody took the call: the model that wanted it is told, or the caller.
    pub(in crate::call) fn transfer_failed(&mut self, now: Instant, origin: &Origin, why: &str, shared: &mut Shared) {
        match origin {
            Origin::Tool { call_id } => {
                self.dialogue.push_tool(call_id.clone(), json!({ "error": why }).to_string());
                if self.on_hold {
                    self.end_hold(now, None, shared);
                } else {
                    self.after_functions(now, shared);
                }
            }
            Origin::Escalation | Origin::Key | Origin::Operator => {
                let failed = shared.config.policy.transfer.failed.clone();
                if self.on_hold {
                    self.silence_agent(now, shared);
                    self.end_hold(now, Some(&failed), shared);
                } else {
                    self.say(now, &failed, true, shared);
                }
            }
        }
    }

    /// Says something to its end, and then does something.
    pub(in crate::call) fn say_then(&mut self, now: Instant, text: &str, then: AfterSpeech, shared: &mut Shared) {
        self.after_speech = Some(then);
        self.say(now, text, false, shared);
    }

    /// Runs a function that a key asks for, as if the model had called it.
    pub(in crate::call) fn call_function(&mut self, now: Instant, name: &str, digits: &str, shared: &mut Shared) {
        self.silence_agent(now, shared);
        self.give_up_plan();
        self.commit_pending(now, shared);
        self.keys_told += 1;
        let call = ToolCall {
            arguments: json!({ "digits": digits }).to_string(),
            id: format!("keys-{}", self.keys_told),
            name: name.to_owned(),
        };
        let item = self.dialogue.open_agent();
        self.begin_thinking(shared);
        self.answered(now, item, vec![call], shared);
    }

    /// The caller answered with keys and not with words.
    pub(in crate::call) fn keys_pressed(&mut self, now: Instant, keys: &str, shared: &mut Shared) {
        self.silence_agent(now, shared);
        self.give_up_plan();
        self.caller_stopped = Some(now);
        let spelled: Vec<String> = keys.chars().map(String::from).collect();
        self.append_pending(now, &format!("[keys {}]", spelled.join(" ")), shared);
        if self.caller_speaks.is_none() {
            self.take_turn(now, shared);
        }
    }
}
