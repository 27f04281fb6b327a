//! The agent's speech: spoken, heard, interrupted.

use super::{AfterSpeech, RECORDS_MAX, Speech, State, Turn, join};
use crate::call::output::{CallEventKind, Command, CommandId};
use crate::call::record::{BargeInRecord, TurnRecord};
use crate::call::shared::Shared;
use crate::call::timer::Timer;
use crate::call::transfer::{Origin, Wish};
use crate::time::{Instant, millis};

impl Turn {
    pub(super) fn speak(&mut self, now: Instant, item: usize, text: &str, shared: &mut Shared) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        if self.speech.is_empty() {
            self.utterance_began = Some(now);
            shared.timers.set(Timer::Speech, now + shared.config.policy.speech_timeout);
        }
        self.state = State::Speaking;
        shared.timers.clear(Timer::Silence);
        let start = self.dialogue.plan(item, text);
        let command = shared.outbox.start(Command::Speak { text: text.to_owned() });
        self.speech.push_back(Speech { command, item, start, length: text.len() });
    }

    pub(super) fn playing(&mut self, now: Instant, id: CommandId, shared: &mut Shared) {
        let Some(speech) = self.speech.iter().find(|speech| speech.command == id) else {
            return;
        };
        shared.timers.set(Timer::Speech, now + shared.config.policy.speech_timeout);
        self.failures.synthesiser = 0;
        self.dialogue.sounded(speech.item, shared.since_start(now));
        if !std::mem::take(&mut self.awaits_sound) {
            return;
        }
        let latency = now.saturating_since(self.caller_stopped.unwrap_or(now));
        if self.turns.len() < RECORDS_MAX {
            self.turns.push(TurnRecord { latency_ms: millis(latency) });
        }
        shared.outbox.event(now, CallEventKind::TurnAnswered { latency });
    }

    pub(super) fn heard(&mut self, now: Instant, id: CommandId, text_end: usize, shared: &mut Shared) {
        let Some(speech) = self.speech.iter().find(|speech| speech.command == id) else {
            return;
        };
        shared.timers.set(Timer::Speech, now + shared.config.policy.speech_timeout);
        self.dialogue.heard(speech.item, speech.start + text_end.min(speech.length));
    }

    pub(super) fn spoken(&mut self, now: Instant, id: CommandId, shared: &mut Shared) {
        let Some(index) = self.speech.iter().position(|speech| speech.command == id) else {
            return;
        };
        let Some(speech) = self.speech.remove(index) else {
            return;
        };
        self.dialogue.heard(speech.item, speech.start + speech.length);
        self.tell_entry(now, speech.item, shared);
        if !self.speech.is_empty() {
            shared.timers.set(Timer::Speech, now + shared.config.policy.speech_timeout);
            return;
        }
        shared.timers.clear(Timer::Speech);
        if self.answer.is_some() || self.functions.are_running() {
            self.state = State::Thinking;
            return;
        }
        self.utterance_finished(now, shared);
    }

    /// The agent has said all that it had to say.
    pub(super) fn utterance_finished(&mut self, now: Instant, shared: &mut Shared) {
        self.awaits_sound = false;
        self.utterance_began = None;
        self.dialogue.cut();
        if let Some(then) = self.after_speech.take() {
            self.request = Some(then);
        } else if self.on_hold {
            self.become_listening(now, shared);
        } else if self.caller_speaks.is_some() {
            self.become_hearing(shared);
        } else if self.awaits_final || !self.pending.text.is_empty() {
            self.become_endpointing(now, shared);
        } else {
            self.become_listening(now, shared);
        }
    }

    pub(super) fn speech_failed(&mut self, now: Instant, shared: &mut Shared) {
        if self.speech.is_empty() {
            return;
        }
        self.silence_agent(now, shared);
        self.failures.synthesiser += 1;
        if self.is_usable(self.failures.synthesiser) {
            self.utterance_finished(now, shared);
        }
    }

    /// The caller has spoken over the agent, or before its answer, for long enough.
    pub(super) fn interrupt(&mut self, now: Instant, shared: &mut Shared) {
        let Some(began) = self.caller_speaks else { return };
        if !matches!(self.state, State::Speaking | State::Thinking) {
            return;
        }
        let was_audible = !self.speech.is_empty() && !self.awaits_sound;
        self.give_up_plan();
        if let Some(then) = self.after_speech.take() {
            self.silence_agent(now, shared);
            self.request = Some(then);
            return;
        }
        if self.speech.is_empty() && self.functions.are_running() {
            // Nothing to silence, and what a function does cannot be taken back: hear the caller out meanwhile.
            self.become_hearing(shared);
            return;
        }
        if was_audible {
            self.silence_agent(now, shared);
        } else {
            self.take_back_answer(now, shared);
        }
        if was_audible {
            let reaction = now.saturating_since(began);
            let at_ms = millis(shared.since_start(now));
            if self.barge_ins.len() < RECORDS_MAX {
                self.barge_ins.push(BargeInRecord { at_ms, reaction_ms: millis(reaction) });
            }
            shared.outbox.event(now, CallEventKind::BargeIn { reaction });
        }
        self.become_hearing(shared);
    }

    /// The caller has something to say about what the model was about to do: it decides again. What a key or an
    /// operator wants stays.
    fn give_up_plan(&mut self) {
        match &self.after_speech {
            Some(AfterSpeech::HangUp) => self.after_speech = None,
            Some(AfterSpeech::Transfer(Wish { origin: Origin::Tool { call_id }, .. })) => {
                self.dialogue.push_tool(call_id.clone(), "{\"error\":\"the caller interrupted\"}".to_owned());
                self.after_speech = None;
            }
            _ => {}
        }
    }

    /// Drops an answer of which nothing was heard, and gives the caller the turn back that it was to answer.
    pub(super) fn take_back_answer(&mut self, now: Instant, shared: &mut Shared) {
        self.silence_agent(now, shared);
        let Some((text, at)) = self.dialogue.take_back_caller() else { return };
        self.pending.began = Some(shared.started + at);
        self.pending.text = join(&text, &self.pending.text);
        let length = self.dialogue.transcript().len();
        shared.outbox.event(now, CallEventKind::TranscriptTruncated { length });
    }

    /// Stops generation and speech, and cuts the dialogue to what was heard.
    pub(in crate::call) fn silence_agent(&mut self, now: Instant, shared: &mut Shared) {
        for timer in [Timer::BargeIn, Timer::Reply, Timer::Speech] {
            shared.timers.clear(timer);
        }
        if let Some(answer) = self.answer.take() {
            shared.outbox.cancel(answer.command);
        }
        for speech in std::mem::take(&mut self.speech) {
            shared.outbox.cancel(speech.command);
        }
        self.awaits_sound = false;
        self.utterance_began = None;
        for item in self.dialogue.cut() {
            self.tell_entry(now, item, shared);
        }
    }

    pub(super) fn become_listening(&mut self, now: Instant, shared: &mut Shared) {
        self.state = State::Listening;
        if !self.on_hold {
            shared.timers.set(Timer::Silence, now + shared.config.policy.silence.timeout);
        }
    }

    /// Tells an entry, and those behind it, whose places an entry that is new among them has moved.
    pub(super) fn tell_entry(&self, now: Instant, item: usize, shared: &mut Shared) {
        for (index, entry) in self.dialogue.entries_from(item) {
            shared.outbox.event(now, CallEventKind::Transcript { index, entry });
        }
    }
}
