//! Something is said while a function keeps the caller waiting.

use super::{State, Turn};
use crate::call::decision::DecisionKind;
use crate::call::shared::Shared;
use crate::call::timer::Timer;
use crate::time::Instant;

impl Turn {
    /// The silence begins, if a function runs and nobody speaks.
    pub(super) fn await_filler(&mut self, now: Instant, shared: &mut Shared) {
        let filler = &shared.config.policy.filler;
        if self.waits_in_silence() && self.fillers < filler.phrases_max {
            shared.timers.set(Timer::Filler, now + filler.delay);
        } else {
            shared.timers.clear(Timer::Filler);
        }
    }

    /// The silence has lasted.
    pub(super) fn fill(&mut self, now: Instant, shared: &mut Shared) {
        if !self.waits_in_silence() {
            return;
        }
        let phrases = &shared.config.policy.filler.phrases;
        let own = phrases.iter().map(String::as_str).filter(|phrase| !phrase.trim().is_empty());
        let own: Vec<_> = own.collect();
        let phrases = if own.is_empty() { self.lexicon(shared).holding.to_vec() } else { own };
        let Some(phrase) = self.next_filler.checked_rem(phrases.len()).map(|index| phrases[index].to_owned()) else {
            return;
        };
        self.next_filler += 1;
        self.fillers += 1;
        let count = self.fillers;
        shared.explain(now, || DecisionKind::Filler { count });
        self.say(now, &phrase, true, shared);
    }

    fn waits_in_silence(&self) -> bool {
        let is_silent = self.speech.is_empty() && self.answer.is_none() && self.caller_speaks.is_none();
        is_silent && self.functions.are_running() && matches!(self.state, State::Listening | State::Thinking)
    }
}
