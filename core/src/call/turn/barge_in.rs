//! Whether the agent gives way to the caller.

use std::time::Duration;

use super::{RECORDS_MAX, State, Turn};
use crate::call::decision::{DecisionKind, InterruptionVerdict};
use crate::call::lexicon::words;
use crate::call::output::CallEventKind;
use crate::call::record::BargeInRecord;
use crate::call::shared::Shared;
use crate::call::timer::Timer;
use crate::time::{Instant, millis};

/// Fewer unheard words do not make agreement of a "yes": it answers what was as good as said.
const UNHEARD_WORDS_MIN: usize = 3;

/// What is known of a caller who speaks over the agent.
#[derive(Clone, Copy, Debug)]
struct Overlap {
    enabled: bool,
    is_echo: bool,
    is_filler: bool,
    is_protected: bool,
    speech: Duration,
    speech_min: Duration,
    words: u32,
    words_min: u32,
}

fn judge(overlap: &Overlap) -> InterruptionVerdict {
    let has_words = overlap.words > 0;
    match overlap {
        Overlap { enabled: false, .. } => InterruptionVerdict::Disabled,
        Overlap { is_protected: true, .. } => InterruptionVerdict::Protected,
        Overlap { is_echo: true, .. } => InterruptionVerdict::Echo,
        Overlap { is_filler: true, .. } => InterruptionVerdict::Filler,
        Overlap { words, words_min, .. } if has_words && words >= words_min => InterruptionVerdict::Words,
        Overlap { words_min: 1.., .. } => InterruptionVerdict::TooFewWords,
        Overlap { speech, speech_min, .. } if speech >= speech_min => InterruptionVerdict::Speech,
        _ => InterruptionVerdict::TooShort,
    }
}

impl Turn {
    /// The caller speaks, or has spoken, while the agent has the floor: perhaps the agent gives way.
    pub(super) fn consider_interruption(&mut self, now: Instant, shared: &mut Shared) {
        if !matches!(self.state, State::Speaking | State::Thinking) {
            return;
        }
        let overlap = self.overlap(now, shared);
        let verdict = judge(&overlap);
        let Overlap { speech, words, words_min, .. } = overlap;
        shared.explain(now, || DecisionKind::Interruption { speech, verdict, words, words_min });
        match verdict {
            InterruptionVerdict::Speech => self.interrupt(now, false, shared),
            InterruptionVerdict::Words => self.interrupt(now, true, shared),
            InterruptionVerdict::Echo => self.words_only = true,
            _ => {}
        }
    }

    /// Whether the caller hears the agent.
    pub(super) fn is_audible(&self) -> bool {
        !self.speech.is_empty() && !self.awaits_sound
    }

    /// Whether the caller's words over the agent are mere agreement: the agent has more to say.
    pub(super) fn is_backchannel(&self, words: &[String], shared: &Shared) -> bool {
        let lexicon = self.lexicon(shared);
        let agrees = lexicon.is_filler(words, &shared.config.policy.barge_in.fillers);
        (agrees || self.greets && lexicon.is_greeting(words)) && self.has_more_to_say()
    }

    /// Whether the caller's words are the agent's own, come back over the line.
    pub(super) fn is_echo(&self, words: &[String]) -> bool {
        self.echo.is_heard_in(self.caller_speaks.or(self.caller_began), words)
    }

    pub(super) fn explain_echo(&self, now: Instant, text: &str, shared: &mut Shared) {
        let words = u32::try_from(words(text).len()).unwrap_or(u32::MAX);
        let (verdict, words_min) = (InterruptionVerdict::Echo, self.words_needed(shared));
        let speech = self.caller_speaks.map_or(Duration::ZERO, |began| now.saturating_since(began));
        shared.explain(now, || DecisionKind::Interruption { speech, verdict, words, words_min });
    }

    fn overlap(&self, now: Instant, shared: &Shared) -> Overlap {
        let policy = &shared.config.policy.barge_in;
        let speech = self.caller_speaks.map_or(Duration::ZERO, |began| now.saturating_since(began));
        let is_audible = self.is_audible();
        let words = words(&self.pending_words());
        Overlap {
            enabled: policy.enabled,
            is_echo: self.is_echo(&words),
            is_filler: self.is_backchannel(&words, shared),
            is_protected: if is_audible {
                self.speech.front().is_some_and(|speech| speech.piece.protected)
            } else {
                self.must_be_said()
            },
            speech,
            speech_min: policy.speech_min,
            words: u32::try_from(words.len()).unwrap_or(u32::MAX),
            words_min: if is_audible { self.words_needed(shared) } else { u32::from(self.words_only) },
        }
    }

    /// Words that must be known before the agent falls silent.
    pub(super) fn words_needed(&self, shared: &Shared) -> u32 {
        let words_only = self.words_only || self.echo.is_usual();
        shared.config.policy.barge_in.words_min.max(u32::from(words_only))
    }

    /// Whether something that waits to be said may not be dropped.
    pub(super) fn must_be_said(&self) -> bool {
        self.speech.iter().any(|speech| speech.piece.protected)
    }

    fn has_more_to_say(&self) -> bool {
        let pieces =
            self.speech.iter().map(|speech| &speech.piece).chain(self.pause.iter().flat_map(|pause| &pause.rest));
        let unheard: usize = pieces
            .map(|piece| self.dialogue.unheard(piece.item, piece.start, piece.end).1.split_whitespace().count())
            .sum();
        self.answer.is_some() || unheard >= UNHEARD_WORDS_MIN
    }

    /// The caller has spoken over the agent, or before its answer, for long enough.
    fn interrupt(&mut self, now: Instant, by_words: bool, shared: &mut Shared) {
        if self.speech.is_empty() && self.functions.are_running() {
            // Nothing to silence, and what a function does cannot be taken back: hear the caller out meanwhile.
            self.give_up_plan();
            self.hear_out(now, shared);
            return;
        }
        if self.is_audible() {
            let began = self.caller_speaks.or(self.caller_began).unwrap_or(now);
            self.tell_barge_in(now, now.saturating_since(began), shared);
            self.pause(now, shared);
            if by_words || !shared.config.policy.barge_in.resume {
                self.confirm_interruption(now, shared);
            }
        } else {
            self.give_up_plan();
            self.take_back_answer(now, shared);
            self.taken_back = Some(self.pending.text.clone());
        }
        if self.state != State::Speaking || self.speech.is_empty() {
            self.hear_out(now, shared);
        }
    }

    /// The floor is the caller's.
    fn hear_out(&mut self, now: Instant, shared: &mut Shared) {
        self.become_hearing(now, shared);
        if self.caller_speaks.is_none() {
            self.become_endpointing(now, shared);
        }
    }

    fn tell_barge_in(&mut self, now: Instant, reaction: Duration, shared: &mut Shared) {
        if self.barge_ins.len() < RECORDS_MAX {
            let at_ms = millis(shared.since_start(now));
            self.barge_ins.push(BargeInRecord { at_ms, reaction_ms: millis(reaction), resumed: false });
        }
        shared.outbox.event(now, CallEventKind::BargeIn { reaction });
    }

    /// What may not be interrupted is over; a caller who still speaks may interrupt what follows.
    pub(super) fn watch_overlap(&mut self, now: Instant, shared: &mut Shared) {
        if let Some(began) = self.caller_speaks.filter(|_| shared.config.policy.barge_in.enabled) {
            let deadline = (began + shared.config.policy.barge_in.speech_min).max(now);
            shared.timers.set(Timer::BargeIn, deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::InterruptionVerdict::{Disabled, Echo, Filler, Protected, Speech, TooFewWords, TooShort, Words};
    use super::*;

    #[test]
    fn who_may_interrupt() {
        let ms = Duration::from_millis;
        let quiet = Overlap {
            enabled: true,
            is_echo: false,
            is_filler: false,
            is_protected: false,
            speech: ms(80),
            speech_min: ms(80),
            words: 0,
            words_min: 0,
        };
        let cases = [
            (quiet, Speech),
            (Overlap { speech: ms(79), ..quiet }, TooShort),
            (Overlap { speech: ms(0), words: 1, ..quiet }, Words),
            (Overlap { speech: ms(9_000), words_min: 2, ..quiet }, TooFewWords),
            (Overlap { words: 1, words_min: 2, ..quiet }, TooFewWords),
            (Overlap { words: 2, words_min: 2, ..quiet }, Words),
            (Overlap { words: 2, is_filler: true, ..quiet }, Filler),
            (Overlap { words: 4, is_echo: true, ..quiet }, Echo),
            (Overlap { words: 4, is_protected: true, ..quiet }, Protected),
            (Overlap { words: 4, enabled: false, ..quiet }, Disabled),
        ];
        for (overlap, verdict) in cases {
            assert_eq!(judge(&overlap), verdict, "{overlap:?}");
        }
    }
}
