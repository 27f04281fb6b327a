//! How long the talk may last: by the policy, and by the credits that are held for it, of which more is held in time.

use std::time::Duration;

use super::outbox::Role;
use super::{Call, Command, Phase, Timer};

/// How long before the caller would be warned of the end more credits are held.
const EXTEND_LEAD: Duration = Duration::from_secs(10);

/// Wait before it is tried again to hold more: a purchase, or the end of another call, may have made it possible.
const EXTEND_RETRY: Duration = Duration::from_secs(5);

impl Call {
    /// Sets what ends the talk, and what comes before, by the credits that are held now.
    pub(super) fn limit_talk(&mut self) {
        let Some(answered_at) = self.answered_at else { return };
        let policy = &self.shared.config.policy;
        let timers = &mut self.shared.timers;
        let talk_max = self.shared.granted.map_or(policy.duration_max, |granted| granted.min(policy.duration_max));
        if let Some(warning) = &policy.warning {
            timers.set(Timer::Warning, answered_at + talk_max.saturating_sub(warning.before));
        }
        let Some(granted) = self.shared.granted else { return };
        timers.set(Timer::Credits, answered_at + granted);
        timers.clear(Timer::Goodbye);
        if granted >= policy.duration_max {
            timers.clear(Timer::Extend);
            return;
        }
        let warned = policy.warning.as_ref().map_or(Duration::ZERO, |warning| warning.before);
        let goodbye = policy.goodbye.as_ref().map_or(Duration::ZERO, |goodbye| goodbye.before);
        let lead = warned.max(goodbye) + EXTEND_LEAD;
        timers.set(Timer::Extend, answered_at + granted.saturating_sub(lead));
        if granted > goodbye && !goodbye.is_zero() {
            timers.set(Timer::Goodbye, answered_at + (granted - goodbye));
        }
    }

    /// Asks for more credits, one request at a time.
    pub(super) fn extend(&mut self) {
        if self.end.is_some() || self.shared.outbox.is_open(Role::Extend) {
            return;
        }
        let policy = &self.shared.config.policy;
        let Some(granted) = self.shared.granted.filter(|granted| *granted < policy.duration_max) else { return };
        let wanted = granted.saturating_add(policy.reserve).min(policy.duration_max);
        self.shared.outbox.start(Command::Extend { wanted });
    }

    /// More is held, or nothing more can be held for now.
    pub(super) fn extended(&mut self, granted: Option<Duration>) {
        if self.end.is_some() {
            return;
        }
        match granted.filter(|granted| self.shared.granted.is_some_and(|before| *granted > before)) {
            Some(granted) => {
                self.shared.granted = Some(granted);
                self.limit_talk();
            }
            None => self.shared.timers.set(Timer::Extend, self.now + EXTEND_RETRY),
        }
    }

    /// Lets the caller know that a limit is near.
    pub(super) fn warn(&mut self) {
        let text = self.shared.config.policy.warning.as_ref().map(|warning| warning.text.clone());
        self.tell_of_limit(text);
    }

    pub(super) fn say_goodbye(&mut self) {
        let text = self.shared.config.policy.goodbye.as_ref().map(|goodbye| goodbye.text.clone());
        self.tell_of_limit(text);
    }

    fn tell_of_limit(&mut self, text: Option<String>) {
        if let Some(text) = text
            && self.phase == Phase::Connected
            && !self.is_bridged()
        {
            self.turn.say(self.now, &text, false, &mut self.shared);
        }
    }
}
