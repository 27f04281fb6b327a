//! What the caller's keys do to the call.

use super::dtmf_rules::KeyEvent;
use super::policy::KeyAction;
use super::record::EndReason;
use super::transfer::{Origin, Wish};
use super::turn::AfterSpeech;
use super::{Call, CallEventKind, DecisionKind, Phase};
use crate::error::ErrorKind;
use crate::provider::telephony::DtmfDigit;

/// Variables that keys can set; later ones are not kept.
const VARIABLES_MAX: usize = 64;

impl Call {
    pub(super) fn key(&mut self, digit: DtmfDigit) {
        self.shared.outbox.event(self.now, CallEventKind::Dtmf { digit });
        if self.phase == Phase::Connected && !self.is_on_hold() {
            let shared = &mut self.shared;
            self.dtmf_rules.handle_input(self.now, digit, &shared.config.policy.keypad, &mut shared.timers);
            self.keys();
        }
    }

    /// The row of keys is over.
    pub(super) fn keys_paused(&mut self) {
        let shared = &mut self.shared;
        self.dtmf_rules.handle_timeout(self.now, &shared.config.policy.keypad, &mut shared.timers);
        self.keys();
    }

    fn keys(&mut self) {
        while let Some(event) = self.dtmf_rules.poll_event() {
            let (keys, rule) = match &event {
                KeyEvent::Matched { action, keys, .. } => (keys, Some(action)),
                KeyEvent::Unmatched { keys } => (keys, None),
            };
            self.shared.explain(self.now, || DecisionKind::Keys { keys: keys.clone(), rule: rule.cloned() });
            match event {
                // A rule before it ended the conversation, or put it on hold.
                _ if self.phase != Phase::Connected || self.is_on_hold() => {}
                KeyEvent::Matched { action, entered, .. } => self.act(action, entered),
                KeyEvent::Unmatched { keys } if self.shared.config.policy.keypad.tell_model => {
                    self.turn.keys_pressed(self.now, &keys, &mut self.shared);
                }
                KeyEvent::Unmatched { .. } => {}
            }
        }
    }

    fn act(&mut self, action: KeyAction, entered: String) {
        let (now, shared) = (self.now, &mut self.shared);
        match action {
            KeyAction::CallFunction { name } => self.turn.call_function(now, &name, &entered, shared),
            KeyAction::End { text } => {
                self.turn.silence_agent(now, shared);
                let text = text.unwrap_or_default();
                self.turn.say_then(now, &text, AfterSpeech::End(EndReason::AgentHangUp), shared);
            }
            KeyAction::Say { text } => {
                self.turn.silence_agent(now, shared);
                self.turn.give_up_plan();
                self.turn.say(now, &text, true, shared);
            }
            KeyAction::SetVariable { name } => self.set_variable(name, entered),
            KeyAction::Transfer { target } => self.wish_transfer(&target, String::new(), Origin::Key),
        }
    }

    fn set_variable(&mut self, name: String, value: String) {
        let variables = &mut self.shared.variables;
        if variables.len() < VARIABLES_MAX || variables.contains_key(&name) {
            variables.insert(name.clone(), value.clone());
            self.shared.outbox.event(self.now, CallEventKind::Variable { name, value });
        }
    }

    /// Hands the call over to a target that a key, a rule or an operator names, after asking the caller to hold.
    pub(super) fn wish_transfer(&mut self, target: &str, brief: String, origin: Origin) {
        let policy = &self.shared.config.policy.transfer;
        let Some(target) = policy.target(target).cloned() else {
            let problem = CallEventKind::Problem {
                command: "transfer".to_owned(),
                kind: ErrorKind::NotFound,
                message: "there is no such target".to_owned(),
            };
            self.shared.outbox.event(self.now, problem);
            return;
        };
        let please_hold = policy.please_hold.clone().unwrap_or_default();
        let then = AfterSpeech::Transfer(Wish { brief, origin, target });
        self.turn.silence_agent(self.now, &mut self.shared);
        self.turn.say_then(self.now, &please_hold, then, &mut self.shared);
    }
}
