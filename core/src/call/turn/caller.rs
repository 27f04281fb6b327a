//! The caller's side of a turn: speaking, pausing, being done.

use super::{AfterSpeech, CALLER_TEXT_BYTES_MAX, State, Turn, clamp, join};
use crate::call::lexicon::{self, words};
use crate::call::output::CallEventKind;
use crate::call::record::EndReason;
use crate::call::shared::Shared;
use crate::call::timer::Timer;
use crate::time::Instant;

/// Longest language tag that is looked at, in bytes.
const LANGUAGE_BYTES_MAX: usize = 64;

impl Turn {
    pub(super) fn caller_starts(&mut self, now: Instant, at: Instant, shared: &mut Shared) {
        self.is_soundless = false;
        if self.caller_speaks.is_none() {
            self.caller_speaks = Some(at);
            self.caller_began = Some(at);
            self.pending.turn_end_percent = None;
            self.pending.was_echo = false;
        }
        self.drop_early(now, shared);
        shared.timers.clear(Timer::Filler);
        shared.timers.clear(Timer::Silence);
        match self.state {
            State::Listening | State::Endpointing => self.become_hearing(now, shared),
            State::Hearing => {}
            State::Speaking | State::Thinking => self.watch_overlap(now, shared),
        }
    }

    pub(super) fn caller_stops(&mut self, now: Instant, at: Instant, shared: &mut Shared) {
        if shared.timers.is_set(Timer::BargeIn) {
            self.consider_interruption(now, shared);
        }
        if self.caller_speaks.take().is_none() {
            return;
        }
        self.caller_stopped = Some(at);
        self.awaits_final = true;
        shared.timers.clear(Timer::BargeIn);
        if self.state == State::Hearing {
            self.become_endpointing(now, shared);
        } else {
            self.await_filler(now, shared);
        }
    }

    pub(super) fn interim(&mut self, now: Instant, text: &str, shared: &mut Shared) {
        self.pending.interim = clamp(text.trim(), CALLER_TEXT_BYTES_MAX).to_owned();
        let text = self.pending_words();
        shared.outbox.event(now, CallEventKind::Interim { text });
        self.interims_seen = true;
        self.weigh_words(now, shared);
        match self.state {
            State::Endpointing if self.awaits_final => self.consider_early(now, shared),
            State::Endpointing | State::Listening => self.heard_by_words(now, shared),
            State::Hearing => self.await_words(now, shared),
            State::Speaking | State::Thinking => {}
        }
    }

    /// Words are speech, also where the detector of sound hears none; then their transcript is its end.
    fn heard_by_words(&mut self, now: Instant, shared: &mut Shared) {
        if !self.pending.interim.is_empty() && !self.is_echo(&words(&self.pending.interim)) {
            self.caller_starts(now, now, shared);
            self.is_soundless = true;
            self.await_words(now, shared);
        }
    }

    /// A sound in which no more words come is noise.
    fn await_words(&mut self, now: Instant, shared: &mut Shared) {
        if self.interims_seen && self.pause.is_none() {
            let wordless_max = shared.config.policy.endpointing.wordless_max;
            shared.timers.set(Timer::Endpoint, now + wordless_max);
        }
    }

    /// Takes unsettled words for settled: better than none.
    pub(super) fn settle_interim(&mut self, now: Instant, shared: &mut Shared) {
        let interim = std::mem::take(&mut self.pending.interim);
        let taken = words(&interim);
        if !taken.is_empty() && !self.is_echo(&taken) {
            self.append_pending(now, &interim, shared);
            self.taken_unsettled = self.listen.map(|listen| (listen, taken));
        }
    }

    /// What a transcript says beyond the words that were taken unsettled because it did not come.
    fn beyond_taken<'a>(&mut self, text: &'a str) -> &'a str {
        match self.taken_unsettled.take() {
            Some((listen, taken)) if Some(listen) == self.listen => lexicon::beyond(text, &taken),
            _ => text,
        }
    }

    /// Words have come: an interruption may be one, or may turn out to have been one.
    pub(super) fn weigh_words(&mut self, now: Instant, shared: &mut Shared) {
        if self.pause.is_some() {
            let words = words(&self.pending_words());
            let enough = words.len() >= usize::try_from(self.words_needed(shared).max(1)).unwrap_or(usize::MAX);
            if enough && !self.is_echo(&words) && !self.is_backchannel(&words, shared) {
                self.confirm_interruption(now, shared);
            }
        } else if (self.is_audible() && !self.answers_already()) || (self.words_only && self.caller_speaks.is_some()) {
            self.consider_interruption(now, shared);
        }
    }

    pub(super) fn transcribed(&mut self, now: Instant, text: &str, language: Option<&str>, shared: &mut Shared) {
        if self.caller_speaks.is_none() {
            self.awaits_final = false;
        }
        self.pending.interim.clear();
        let text = self.beyond_taken(clamp(text.trim(), CALLER_TEXT_BYTES_MAX));
        let is_echo = self.is_echo(&words(text));
        if is_echo {
            self.echo.note();
            self.pending.was_echo = true;
            self.words_only |= self.is_audible();
            self.explain_echo(now, text, shared);
        }
        if text.is_empty() || is_echo {
            if self.state == State::Endpointing {
                self.await_endpoint(now, shared);
            }
            return;
        }
        self.failures.recogniser = 0;
        self.silence_prompts = 0;
        if let Some(language) = language {
            self.caller_speaks_in(now, clamp(language, LANGUAGE_BYTES_MAX), text, shared);
        }
        if self.answers_already() && self.awaits_sound && !self.functions.are_running() && !self.must_be_said() {
            // The answer was begun without these words, and nothing of it was heard: answer all of them instead.
            self.take_back_answer(now, shared);
            self.append_pending(now, text, shared);
            self.become_endpointing(now, shared);
            return;
        }
        if self.answers_already() {
            // Words from before the agent's answer began: they belong to the turn that is being answered.
            self.pending.began = self.pending.began.or(self.caller_stopped);
            self.append_pending(now, text, shared);
            self.commit_pending(now, shared);
            return;
        }
        self.append_pending(now, text, shared);
        match self.state {
            State::Listening => self.become_endpointing(now, shared),
            State::Endpointing => self.await_endpoint(now, shared),
            State::Thinking if !self.functions.are_running() && self.caller_speaks.is_none() => {
                self.silence_agent(now, shared);
                self.become_endpointing(now, shared);
            }
            State::Speaking if self.is_backchannel(&words(&self.pending.text), shared) => {
                self.consider_interruption(now, shared);
                self.commit_pending(now, shared);
            }
            State::Hearing | State::Speaking | State::Thinking => {
                self.weigh_words(now, shared);
                if self.state == State::Hearing && self.is_soundless {
                    self.caller_stops(now, now, shared);
                    self.awaits_final = false;
                    self.await_endpoint(now, shared);
                } else if self.state == State::Hearing {
                    self.await_words(now, shared);
                }
            }
        }
    }

    /// Whether the agent is speaking since after the caller's last sound.
    pub(super) fn answers_already(&self) -> bool {
        self.state == State::Speaking
            && self.caller_speaks.is_none()
            && self.caller_stopped.is_some_and(|stopped| self.utterance_began.is_some_and(|began| stopped <= began))
    }

    pub(super) fn append_pending(&mut self, now: Instant, text: &str, shared: &mut Shared) {
        self.pending.began = self.pending.began.or(self.caller_speaks).or(self.caller_stopped).or(Some(now));
        let joined = join(&self.pending.text, text);
        self.pending.text = clamp(&joined, CALLER_TEXT_BYTES_MAX).to_owned();
        shared.outbox.event(now, CallEventKind::Interim { text: self.pending.text.clone() });
    }

    /// Words from before the conversation, of speech that began then.
    pub(in crate::call) fn overhear(&mut self, now: Instant, began: Option<Instant>, text: &str, shared: &mut Shared) {
        if !text.trim().is_empty() {
            self.pending.began = self.pending.began.or(began);
            self.append_last_words(now, text, shared);
        }
    }

    /// Words that the recogniser tells after the end of the call.
    pub(super) fn append_last_words(&mut self, now: Instant, text: &str, shared: &mut Shared) {
        self.pending.interim.clear();
        let text = self.beyond_taken(text.trim());
        if !self.is_echo(&words(text)) {
            self.append_pending(now, text, shared);
        }
    }

    pub(super) fn become_hearing(&mut self, now: Instant, shared: &mut Shared) {
        self.state = State::Hearing;
        self.pending.began = self.pending.began.or(self.caller_speaks);
        for timer in [Timer::BargeIn, Timer::Endpoint, Timer::Filler, Timer::Resume, Timer::Silence, Timer::Transcript]
        {
            shared.timers.clear(timer);
        }
        if self.pause.is_some() && self.interims_seen {
            shared.timers.set(Timer::Resume, now + shared.config.policy.barge_in.resume_timeout);
        }
    }

    pub(super) fn deaf(&mut self, now: Instant, shared: &mut Shared) {
        if self.on_hold {
            // Nobody is listened to: a recogniser is needed again when the hold ends.
            self.caller_speaks = None;
            self.listen = None;
            return;
        }
        self.caller_stops(now, now, shared);
        self.failures.recogniser += 1;
        if self.is_usable(self.failures.recogniser) {
            self.listen(shared);
        }
    }

    pub(super) fn silence(&mut self, now: Instant, shared: &mut Shared) {
        if self.state != State::Listening {
            return;
        }
        let silence = &shared.config.policy.silence;
        let prompt = silence.prompt.clone().filter(|_| self.silence_prompts < silence.prompts_max);
        match prompt {
            Some(prompt) => {
                self.silence_prompts += 1;
                self.say(now, &prompt, true, shared);
            }
            None => self.request = Some(AfterSpeech::End(EndReason::Silence)),
        }
    }
}
