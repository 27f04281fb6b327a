//! A caller on hold.

use super::{Call, CallEventKind, Phase, Timer};

impl Call {
    /// Whether the agent neither listens nor speaks of its own accord.
    pub(crate) fn is_on_hold(&self) -> bool {
        self.held || self.transferring.is_some()
    }

    pub(super) fn hold(&mut self) {
        if self.phase != Phase::Connected || self.is_on_hold() {
            return;
        }
        self.held = true;
        self.turn.hold(self.now, &mut self.shared);
        self.shared.timers.clear(Timer::Stall);
        self.shared.timers.set(Timer::Hold, self.now + self.shared.config.policy.hold.timeout);
        self.prompt_later();
        self.shared.outbox.event(self.now, CallEventKind::Held);
    }

    pub(super) fn resume(&mut self) {
        if !std::mem::take(&mut self.held) {
            return;
        }
        for timer in [Timer::Hold, Timer::HoldPrompt] {
            self.shared.timers.clear(timer);
        }
        self.shared.outbox.event(self.now, CallEventKind::HoldEnded);
        let thanks = self.shared.config.policy.hold.thanks.clone();
        self.turn.end_hold(self.now, thanks.as_deref(), &mut self.shared);
    }

    /// Lets the caller know that somebody is still there.
    pub(super) fn hold_prompt(&mut self) {
        if self.is_on_hold() && !self.is_bridged() {
            let prompt = self.shared.config.policy.hold.prompt.clone().unwrap_or_default();
            self.turn.say(self.now, &prompt, true, &mut self.shared);
            self.prompt_later();
        }
    }
}
