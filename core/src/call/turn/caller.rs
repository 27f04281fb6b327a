//! The caller's side of a turn: speaking, pausing, being done.

use super::{AfterSpeech, CALLER_TEXT_BYTES_MAX, State, Turn, clamp, join};
use crate::call::outbox::Role;
use crate::call::output::{CallEventKind, Command};
use crate::call::record::EndReason;
use crate::call::sentence;
use crate::call::shared::Shared;
use crate::call::timer::Timer;
use crate::time::Instant;

impl Turn {
    pub(super) fn caller_starts(&mut self, now: Instant, at: Instant, shared: &mut Shared) {
        self.caller_speaks.get_or_insert(at);
        shared.timers.clear(Timer::Silence);
        match self.state {
            State::Listening | State::Endpointing => self.become_hearing(shared),
            State::Hearing => {}
            State::Speaking | State::Thinking if shared.config.policy.barge_in.enabled => {
                let deadline = (at + shared.config.policy.barge_in.speech_min).max(now);
                shared.timers.set(Timer::BargeIn, deadline);
            }
            State::Speaking | State::Thinking => {}
        }
    }

    pub(super) fn caller_stops(&mut self, now: Instant, at: Instant, shared: &mut Shared) {
        if self.caller_speaks.take().is_none() {
            return;
        }
        self.caller_stopped = Some(at);
        self.awaits_final = true;
        shared.timers.clear(Timer::BargeIn);
        if self.state == State::Hearing {
            self.become_endpointing(now, shared);
        }
    }

    pub(super) fn interim(&mut self, now: Instant, text: &str, shared: &mut Shared) {
        let text = clamp(text, CALLER_TEXT_BYTES_MAX);
        shared.outbox.event(now, CallEventKind::Interim { text: join(&self.pending.text, text) });
    }

    pub(super) fn transcribed(&mut self, now: Instant, text: &str, shared: &mut Shared) {
        if self.caller_speaks.is_none() {
            self.awaits_final = false;
        }
        let text = clamp(text.trim(), CALLER_TEXT_BYTES_MAX);
        if text.is_empty() {
            if self.state == State::Endpointing {
                self.await_endpoint(now, shared);
            }
            return;
        }
        self.failures.recogniser = 0;
        self.silence_prompts = 0;
        if self.answers_already() && self.awaits_sound && !self.functions.are_running() {
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
            State::Hearing | State::Speaking | State::Thinking => {}
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

    pub(super) fn become_hearing(&mut self, shared: &mut Shared) {
        self.state = State::Hearing;
        self.pending.began = self.pending.began.or(self.caller_speaks);
        for timer in [Timer::BargeIn, Timer::Endpoint, Timer::Silence, Timer::Transcript] {
            shared.timers.clear(timer);
        }
    }

    pub(super) fn become_endpointing(&mut self, now: Instant, shared: &mut Shared) {
        self.state = State::Endpointing;
        shared.timers.clear(Timer::Silence);
        self.await_endpoint(now, shared);
    }

    /// Decides when the caller's turn is over, from what is known now.
    pub(super) fn await_endpoint(&mut self, now: Instant, shared: &mut Shared) {
        let endpointing = &shared.config.policy.endpointing;
        let stopped = self.caller_stopped.unwrap_or(now);
        let transcript_timeout = stopped + endpointing.transcript_timeout;
        let complete = sentence::is_complete(&self.pending.text);
        let delay = if complete { endpointing.delay_min } else { endpointing.delay_max };
        if self.awaits_final {
            shared.timers.set(Timer::Endpoint, stopped + endpointing.delay_min);
            shared.timers.set(Timer::Transcript, transcript_timeout.max(now));
            return;
        }
        shared.timers.clear(Timer::Transcript);
        if self.pending.text.is_empty() {
            shared.timers.clear(Timer::Endpoint);
            self.nothing_was_said(now, shared);
        } else if stopped + delay <= now {
            self.take_turn(now, shared);
        } else {
            shared.timers.set(Timer::Endpoint, stopped + delay);
        }
    }

    pub(super) fn endpoint(&mut self, now: Instant, shared: &mut Shared) {
        if self.state != State::Endpointing {
            return;
        }
        if self.awaits_final {
            if !shared.outbox.is_open(Role::Finalize) {
                shared.outbox.start(Command::Finalize);
            }
            return;
        }
        self.take_turn(now, shared);
    }

    pub(super) fn transcript_missing(&mut self, now: Instant, shared: &mut Shared) {
        self.awaits_final = false;
        if self.state != State::Endpointing {
            return;
        }
        if self.pending.text.is_empty() {
            self.nothing_was_said(now, shared);
        } else {
            self.take_turn(now, shared);
        }
    }

    /// It was a cough: go back to what it interrupted, or listen.
    fn nothing_was_said(&mut self, now: Instant, shared: &mut Shared) {
        if self.dialogue.ends_in_tool() && !self.functions.are_running() && self.answer.is_none() {
            self.awaits_sound = true;
            self.generate(now, shared);
        } else {
            self.become_listening(now, shared);
        }
    }

    pub(super) fn deaf(&mut self, now: Instant, shared: &mut Shared) {
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
                self.say(now, &prompt, shared);
            }
            None => self.request = Some(AfterSpeech::End(EndReason::Silence)),
        }
    }
}
