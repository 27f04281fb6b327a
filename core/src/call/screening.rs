//! Who picked up: a person greets briefly, a machine at length.

use super::policy::{OnMachine, Screening};
use super::record::AnsweredBy;
use super::timer::{Timer, Timers};
use crate::time::Instant;

/// Listens to the first words of whoever picked up.
#[derive(Debug)]
pub(super) struct Screener {
    policy: Screening,
    speech_began: Option<Instant>,
}

impl Screener {
    pub(super) fn new(now: Instant, policy: Screening, timers: &mut Timers) -> Self {
        timers.set(Timer::Screening, now + policy.wait_max);
        Self { policy, speech_began: None }
    }

    pub(super) fn speech_started(&mut self, at: Instant, timers: &mut Timers) {
        let began = *self.speech_began.get_or_insert(at);
        timers.set(Timer::Screening, began + self.policy.greeting_max);
    }

    pub(super) fn on_machine(&self) -> OnMachine {
        self.policy.on_machine
    }

    /// A greeting ended; more than `greeting_max` in one breath would have been a machine.
    pub(super) fn speech_ended(&self) -> AnsweredBy {
        AnsweredBy::Human
    }

    pub(super) fn timed_out(&self) -> AnsweredBy {
        if self.speech_began.is_some() { AnsweredBy::Machine } else { AnsweredBy::Unknown }
    }
}
