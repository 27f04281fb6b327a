//! The agent fell silent because somebody spoke; what it was saying is kept until it is known whether that was anything.

use super::{AfterSpeech, Pending, Piece, State, Turn};
use crate::call::decision::{DecisionKind, ResumeCause};
use crate::call::lexicon::words;
use crate::call::output::CallEventKind;
use crate::call::shared::Shared;
use crate::call::timer::Timer;
use crate::call::transfer::{Origin, Wish};
use crate::provider::llm::ToolCall;
use crate::time::Instant;

/// What an agent that fell silent had still to say and do.
#[derive(Debug, Default)]
pub(super) struct Pause {
    /// The model failed meanwhile.
    pub(super) failed: bool,
    /// The model finished meanwhile, with these calls.
    pub(super) finished: Option<(usize, Vec<ToolCall>)>,
    pub(super) after_speech: Option<AfterSpeech>,
    /// The first utterance for which more was planned meanwhile.
    pub(super) planned: Option<usize>,
    /// Not heard to its end.
    pub(super) rest: Vec<Piece>,
    utterance_began: Option<Instant>,
}

impl Turn {
    /// Falls silent. The model goes on, unheard, until it is known whether the caller has said anything.
    pub(super) fn pause(&mut self, now: Instant, shared: &mut Shared) {
        for timer in [Timer::BargeIn, Timer::Speech] {
            shared.timers.clear(timer);
        }
        let mut rest = Vec::new();
        for speech in std::mem::take(&mut self.speech) {
            shared.outbox.cancel(speech.command);
            let piece = speech.piece;
            let (start, text) = self.dialogue.unheard(piece.item, piece.start, piece.end);
            if !text.is_empty() {
                rest.push(Piece { start, ..piece });
            }
        }
        self.pause = Some(Pause {
            failed: false,
            finished: None,
            after_speech: self.after_speech.take(),
            planned: None,
            rest,
            utterance_began: self.utterance_began.take(),
        });
        for item in self.dialogue.close() {
            self.tell_entry(now, item, shared);
        }
        self.state = State::Hearing;
    }

    /// The caller has really spoken: what the agent had still to say is dropped, but for what must be said.
    pub(super) fn confirm_interruption(&mut self, now: Instant, shared: &mut Shared) {
        let Some(pause) = self.pause.take() else { return };
        self.after_speech = pause.after_speech;
        self.give_up_plan();
        for timer in [Timer::Reply, Timer::Resume] {
            shared.timers.clear(timer);
        }
        if let Some(answer) = self.answer.take() {
            shared.outbox.cancel(answer.command);
        }
        let kept = pause.rest.iter().filter(|piece| piece.protected);
        let kept: Vec<_> =
            kept.map(|piece| self.dialogue.unheard(piece.item, piece.start, piece.end).1.to_owned()).collect();
        self.dialogue.cut();
        if let Some(item) = pause.planned {
            // What was planned meanwhile makes cut what seemed to be whole.
            self.tell_entry(now, item, shared);
        }
        self.greets = false;
        self.words_only = false;
        for text in kept {
            self.say(now, &text, false, shared);
        }
    }

    /// The caller has something to say about what the model was about to do: it decides again. What a key or an
    /// operator wants stays.
    pub(in crate::call) fn give_up_plan(&mut self) {
        match &self.after_speech {
            Some(AfterSpeech::HangUp) => self.after_speech = None,
            Some(AfterSpeech::Transfer(Wish { origin: Origin::Tool { call_id }, .. })) => {
                self.dialogue.push_tool(call_id.clone(), "{\"error\":\"the caller interrupted\"}".to_owned());
                self.after_speech = None;
            }
            _ => {}
        }
    }

    /// Goes on if it has turned out that the caller has said nothing to which the agent must give way.
    pub(super) fn resume_if_it_was_nothing(&mut self, now: Instant, shared: &mut Shared) -> bool {
        if self.pause.is_none() {
            return false;
        }
        let words = words(&self.pending.text);
        if words.is_empty() {
            let cause = if self.pending.was_echo { ResumeCause::Echo } else { ResumeCause::NoWords };
            self.resume(now, cause, shared);
            return true;
        }
        if self.is_backchannel(&words, shared) {
            self.commit_pending(now, shared);
            self.resume(now, ResumeCause::Filler, shared);
            return true;
        }
        self.confirm_interruption(now, shared);
        false
    }

    /// Goes on if the words so far are mere agreement: a nod needs no transcript.
    pub(super) fn resume_if_it_seems_nothing(&mut self, now: Instant, shared: &mut Shared) -> bool {
        let seems_nothing = self.pause.is_some()
            && self.pending.text.is_empty()
            && self.is_backchannel(&words(&self.pending.interim), shared);
        if seems_nothing {
            self.resume(now, ResumeCause::Filler, shared);
        }
        seems_nothing
    }

    /// No words came in time, after the sound or in it.
    pub(super) fn resume_timed_out(&mut self, now: Instant, shared: &mut Shared) {
        if self.pause.is_some() && self.pending.text.is_empty() {
            self.resume(now, ResumeCause::NoWords, shared);
        }
    }

    /// Goes on with the first word that was not heard whole.
    fn resume(&mut self, now: Instant, cause: ResumeCause, shared: &mut Shared) {
        let Some(pause) = self.pause.take() else { return };
        let pieces = u32::try_from(pause.rest.len()).unwrap_or(u32::MAX);
        shared.explain(now, || DecisionKind::Resume { cause, pieces });
        for timer in [Timer::Endpoint, Timer::Resume, Timer::Transcript] {
            shared.timers.clear(timer);
        }
        if let Some(barge_in) = self.barge_ins.last_mut() {
            barge_in.resumed = true;
        }
        shared.outbox.event(now, CallEventKind::Resumed);
        self.awaits_final = false;
        self.after_speech = pause.after_speech;
        self.pending = Pending::default();
        self.words_only |= cause != ResumeCause::Filler;
        self.state = State::Thinking;
        for piece in pause.rest {
            self.dialogue.reopen(piece.item);
            self.utter(now, piece, shared);
        }
        if let Some(answer) = &self.answer {
            self.dialogue.reopen(answer.item);
        }
        self.utterance_began = pause.utterance_began;
        if let Some((item, tool_calls)) = pause.finished {
            self.answered(now, item, tool_calls, shared);
        } else if pause.failed {
            self.apologise(now, shared);
        } else if self.functions.are_running() {
            self.await_filler(now, shared);
        } else if self.answer.is_none() {
            self.finish_resumed(now, shared);
        }
    }

    /// Nothing more comes from the model: a function's answer may have come meanwhile, or all is said.
    fn finish_resumed(&mut self, now: Instant, shared: &mut Shared) {
        if self.after_speech.is_none() && self.dialogue.ends_in_tool() {
            let speaking = !self.speech.is_empty();
            self.generate(now, shared);
            if speaking && self.answer.is_some() {
                self.state = State::Speaking;
            }
        } else if self.speech.is_empty() {
            self.utterance_finished(now, shared);
        }
    }
}
