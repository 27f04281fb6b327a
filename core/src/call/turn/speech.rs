//! The agent's speech: spoken, heard, interrupted.

use super::{AfterSpeech, Piece, RECORDS_MAX, Speech, State, Turn, join};
use crate::call::lexicon::words;
use crate::call::outbox::Role;
use crate::call::output::{CallEventKind, Command, CommandId};
use crate::call::record::{EndReason, TurnRecord};
use crate::call::shared::Shared;
use crate::call::timer::Timer;
use crate::time::{Instant, millis};

impl Turn {
    /// Plans a piece, and says it unless the agent has fallen silent.
    pub(super) fn speak(&mut self, now: Instant, item: usize, text: &str, interruptible: bool, shared: &mut Shared) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        let protected = !interruptible || is_protected(text, &shared.config.policy.barge_in.protected);
        let start = self.dialogue.plan(item, text);
        let piece = Piece { item, start, end: start + text.len(), protected };
        match &mut self.pause {
            Some(pause) => {
                pause.planned.get_or_insert(item);
                pause.rest.push(piece);
            }
            None => self.utter(now, piece, shared),
        }
    }

    /// Says a piece after all that is being said.
    pub(super) fn utter(&mut self, now: Instant, piece: Piece, shared: &mut Shared) {
        let text = self.dialogue.unheard(piece.item, piece.start, piece.end).1.to_owned();
        if self.speech.is_empty() {
            self.utterance_began = Some(now);
            shared.timers.set(Timer::Speech, now + shared.config.policy.speech_timeout);
        }
        self.state = State::Speaking;
        shared.timers.clear(Timer::Filler);
        shared.timers.clear(Timer::Silence);
        let language = self.language(shared).to_owned();
        let command = shared.outbox.start(Command::Speak { language, text });
        self.speech.push_back(Speech { command, piece });
    }

    pub(super) fn playing(&mut self, now: Instant, id: CommandId, shared: &mut Shared) {
        let Some(piece) = self.piece(id) else { return };
        shared.timers.set(Timer::Speech, now + shared.config.policy.speech_timeout);
        self.failures.synthesiser = 0;
        self.dialogue.sounded(piece.item, shared.since_start(now));
        self.echo.playing(now, self.dialogue.unheard(piece.item, piece.start, piece.end).1);
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
        let Some(piece) = self.piece(id) else { return };
        shared.timers.set(Timer::Speech, now + shared.config.policy.speech_timeout);
        self.echo.sounding(now);
        self.dialogue.heard(piece.item, piece.start + text_end.min(piece.end - piece.start));
    }

    pub(super) fn spoken(&mut self, now: Instant, id: CommandId, shared: &mut Shared) {
        let Some(index) = self.speech.iter().position(|speech| speech.command == id) else {
            return;
        };
        let Some(speech) = self.speech.remove(index) else {
            return;
        };
        self.echo.sounding(now);
        self.dialogue.heard(speech.piece.item, speech.piece.end);
        self.tell_entry(now, speech.piece.item, shared);
        if !self.speech.is_empty() {
            shared.timers.set(Timer::Speech, now + shared.config.policy.speech_timeout);
            if speech.piece.protected {
                self.watch_overlap(now, shared);
                self.weigh_words(now, shared);
            }
            return;
        }
        shared.timers.clear(Timer::Speech);
        if self.answer.is_some() || self.functions.are_running() {
            self.state = State::Thinking;
            self.await_filler(now, shared);
            return;
        }
        self.utterance_finished(now, shared);
    }

    /// The agent has said all that it had to say.
    pub(super) fn utterance_finished(&mut self, now: Instant, shared: &mut Shared) {
        self.awaits_sound = false;
        self.utterance_began = None;
        self.greets = false;
        self.words_only = false;
        self.dialogue.cut();
        if let Some(then) = self.after_speech.take() {
            self.request = Some(then);
        } else if self.on_hold {
            self.become_listening(now, shared);
        } else if self.caller_speaks.is_some() {
            self.become_hearing(now, shared);
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
        if matches!(self.after_speech, Some(AfterSpeech::End(EndReason::MessageLeft))) {
            self.after_speech = Some(AfterSpeech::End(EndReason::ProviderFailure));
        }
        if self.is_usable(self.failures.synthesiser) {
            self.utterance_finished(now, shared);
        }
    }

    /// Drops an answer of which nothing was heard, and gives the caller the turn back that it was to answer.
    pub(super) fn take_back_answer(&mut self, now: Instant, shared: &mut Shared) {
        self.silence_agent(now, shared);
        self.give_up_plan();
        let Some((text, at)) = self.dialogue.take_back_caller() else { return };
        self.pending.began = Some(shared.started + at);
        self.pending.text = join(&text, &self.pending.text);
        let length = self.dialogue.transcript().len();
        shared.outbox.event(now, CallEventKind::TranscriptTruncated { length });
    }

    /// The synthesiser does not know the language that the call has changed to, or the recogniser: back to the first.
    pub(super) fn language_failed(&mut self, now: Instant, role: Role, shared: &mut Shared) {
        let is_back = self.leave_language(now, shared);
        match role {
            Role::Listen if is_back => self.listen(shared),
            Role::Listen => self.deaf(now, shared),
            _ => self.speech_failed(now, shared),
        }
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
        if let Some(pause) = self.pause.take() {
            self.after_speech = pause.after_speech;
            shared.timers.clear(Timer::Resume);
        }
        self.awaits_sound = false;
        self.utterance_began = None;
        self.greets = false;
        self.words_only = false;
        for item in self.dialogue.cut() {
            self.tell_entry(now, item, shared);
        }
    }

    pub(super) fn become_listening(&mut self, now: Instant, shared: &mut Shared) {
        self.state = State::Listening;
        if !self.on_hold {
            shared.timers.set(Timer::Silence, now + shared.config.policy.silence.timeout);
        }
        self.await_filler(now, shared);
    }

    fn piece(&self, id: CommandId) -> Option<Piece> {
        self.speech.iter().find(|speech| speech.command == id).map(|speech| speech.piece)
    }

    /// Tells an entry, and those behind it, whose places an entry that is new among them has moved.
    pub(super) fn tell_entry(&self, now: Instant, item: usize, shared: &mut Shared) {
        for (index, entry) in self.dialogue.entries_from(item) {
            shared.outbox.event(now, CallEventKind::Transcript { index, entry });
        }
    }
}

/// Whether the text holds a phrase that must be heard.
fn is_protected(text: &str, phrases: &[String]) -> bool {
    if phrases.is_empty() {
        return false;
    }
    let text = words(text);
    let mut phrases = phrases.iter().map(|phrase| words(phrase)).filter(|phrase| !phrase.is_empty());
    phrases.any(|phrase| text.windows(phrase.len()).any(|stretch| stretch == phrase))
}
