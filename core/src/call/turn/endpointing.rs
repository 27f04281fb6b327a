//! When the caller's turn is over.

use std::time::Duration;

use super::{State, Turn, join};
use crate::call::decision::{DecisionKind, EndpointReason};
use crate::call::lexicon::Ending;
use crate::call::outbox::Role;
use crate::call::output::Command;
use crate::call::policy::Endpointing;
use crate::call::shared::Shared;
use crate::call::timer::Timer;
use crate::time::Instant;

/// How long after the end of speech a turn is over, and why.
fn judge(ending: Ending, turn_end_percent: Option<u8>, policy: &Endpointing) -> (Duration, EndpointReason) {
    let least = policy.delay_min;
    let longest = policy.delay_max.max(least);
    match (turn_end_percent, ending) {
        (Some(percent), _) if percent >= policy.turn_end_percent_min => (least, EndpointReason::TurnIsOver),
        (Some(_), _) => (longest, EndpointReason::TurnGoesOn),
        (None, Ending::Complete) => (least, EndpointReason::Complete),
        (None, Ending::Dictating) => (policy.digits_delay.max(least), EndpointReason::Dictating),
        (None, Ending::Incomplete) => (longest, EndpointReason::Incomplete),
        (None, Ending::Unclear) => (least + (longest - least) / 2, EndpointReason::Unclear),
    }
}

impl Turn {
    pub(super) fn become_endpointing(&mut self, now: Instant, shared: &mut Shared) {
        self.state = State::Endpointing;
        shared.timers.clear(Timer::Silence);
        self.await_endpoint(now, shared);
    }

    /// Decides when the caller's turn is over, from what is known now.
    pub(super) fn await_endpoint(&mut self, now: Instant, shared: &mut Shared) {
        let stopped = self.caller_stopped.unwrap_or(now);
        if self.awaits_final && !self.resume_if_it_seems_nothing(now, shared) {
            let policy = &shared.config.policy;
            shared.timers.set(Timer::Endpoint, stopped + policy.endpointing.delay_min);
            shared.timers.set(Timer::Transcript, (stopped + policy.endpointing.transcript_timeout).max(now));
            if self.pause.is_some() {
                shared.timers.set(Timer::Resume, (stopped + policy.barge_in.resume_timeout).max(now));
            }
            self.consider_early(now, shared);
        }
        if self.awaits_final || self.state != State::Endpointing {
            return;
        }
        for timer in [Timer::Endpoint, Timer::Resume, Timer::Transcript] {
            shared.timers.clear(timer);
        }
        if self.resume_if_it_was_nothing(now, shared) || self.state != State::Endpointing {
            return;
        }
        if self.pending.text.is_empty() {
            self.nothing_was_said(now, shared);
            return;
        }
        let (delay, reason) = self.judge_end(&self.pending.text, shared);
        let (turn_end_percent, waited) = (self.pending.turn_end_percent, now.saturating_since(stopped));
        shared.explain(now, || DecisionKind::Endpoint { delay, reason, turn_end_percent, waited });
        if waited >= delay {
            self.take_turn(now, shared);
        } else {
            shared.timers.set(Timer::Endpoint, stopped + delay);
            self.consider_early(now, shared);
        }
    }

    /// The delay has passed: take the turn, or have the recogniser settle what it has heard.
    pub(super) fn endpoint(&mut self, now: Instant, shared: &mut Shared) {
        if self.state == State::Hearing {
            // Sound goes on and words do not: it is noise.
            self.caller_stops(now, now, shared);
            return;
        }
        if self.state != State::Endpointing {
            return;
        }
        if !self.awaits_final {
            self.take_turn(now, shared);
        } else if !shared.outbox.is_open(Role::Finalize) {
            shared.outbox.start(Command::Finalize);
        }
    }

    pub(super) fn transcript_missing(&mut self, now: Instant, shared: &mut Shared) {
        self.awaits_final = false;
        self.settle_interim(now, shared);
        if self.state != State::Endpointing || self.resume_if_it_was_nothing(now, shared) {
            return;
        }
        if self.state != State::Endpointing {
            return;
        }
        if self.pending.text.is_empty() {
            self.nothing_was_said(now, shared);
        } else {
            self.take_turn(now, shared);
        }
    }

    /// The recogniser's own estimate whether the turn is over.
    pub(super) fn turn_end_judged(&mut self, now: Instant, percent: u8, shared: &mut Shared) {
        self.pending.turn_end_percent = Some(percent);
        let is_over = percent >= shared.config.policy.endpointing.turn_end_percent_min;
        let has_words = !self.pending.text.is_empty() || !self.pending.interim.is_empty();
        if is_over && has_words && self.state == State::Hearing {
            // The recogniser knows speech from noise better than a detector of sound does.
            self.caller_stops(now, now, shared);
        }
        let is_settled = !self.pending.text.is_empty() && self.pending.interim.is_empty();
        if is_over && is_settled {
            self.awaits_final = false;
        }
        match self.state {
            State::Endpointing => self.await_endpoint(now, shared),
            State::Hearing => self.consider_early(now, shared),
            _ => {}
        }
    }

    pub(super) fn judge_end(&self, text: &str, shared: &Shared) -> (Duration, EndpointReason) {
        let lexicon = self.lexicon(shared);
        let number_asked = lexicon.asks_for_number(self.dialogue.last_heard());
        let ending = lexicon.ending(text, number_asked);
        judge(ending, self.pending.turn_end_percent, &shared.config.policy.endpointing)
    }

    /// All that the caller has said in this turn, settled or not.
    pub(super) fn pending_words(&self) -> String {
        join(&self.pending.text, &self.pending.interim)
    }

    /// It was a cough: go back to what it interrupted, or listen.
    pub(super) fn nothing_was_said(&mut self, now: Instant, shared: &mut Shared) {
        if self.dialogue.ends_in_tool() && !self.functions.are_running() && self.answer.is_none() {
            self.awaits_sound = true;
            self.generate(now, shared);
        } else {
            self.become_listening(now, shared);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recogniser_decides_before_the_words_do() {
        let policy = Endpointing::default();
        let cases = [
            (Ending::Complete, None, 300, EndpointReason::Complete),
            (Ending::Incomplete, None, 1_200, EndpointReason::Incomplete),
            (Ending::Unclear, None, 750, EndpointReason::Unclear),
            (Ending::Dictating, None, 2_000, EndpointReason::Dictating),
            (Ending::Complete, Some(69), 1_200, EndpointReason::TurnGoesOn),
            (Ending::Dictating, Some(70), 300, EndpointReason::TurnIsOver),
        ];
        for (ending, percent, delay_ms, reason) in cases {
            assert_eq!(judge(ending, percent, &policy), (Duration::from_millis(delay_ms), reason));
        }
    }

    #[test]
    fn no_policy_waits_less_than_its_least() {
        let second = Duration::from_secs(1);
        let policy = Endpointing {
            delay_min: second,
            delay_max: Duration::ZERO,
            digits_delay: Duration::ZERO,
            ..Default::default()
        };
        for ending in [Ending::Complete, Ending::Dictating, Ending::Incomplete, Ending::Unclear] {
            assert_eq!(judge(ending, None, &policy).0, second);
        }
    }
}
