//! The hearing thread: all calls' ears, and the order in which their speech is transcribed.
//!
//! It never waits for a recogniser or for a call, so that a start of speech is told within the window that brought it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use async_channel::{Receiver, Sender, WeakSender};
use offhook::error::{Error, ErrorKind, Result};
use offhook::provider::stt::SttEvent;

use super::OPERATION;
use crate::ear::{Ear, Heard, Speech};
use crate::moonshine::Recognizer;

/// Pieces of one call that wait for a recogniser: two minutes of speech. A machine that falls back further cannot do this.
const PENDING_MAX: usize = 8;

/// What the hearing thread is asked to do.
pub(super) enum Job {
    Audio { id: u64, samples: Vec<i16> },
    Close { id: u64 },
    Finalize { id: u64 },
    Forget { id: u64 },
    Open { id: u64, ear: Box<Ear>, messages: Sender<Message> },
    Transcribed { id: u64, text: Result<String> },
}

/// What a call is told.
pub(super) enum Message {
    End,
    Event(SttEvent),
    Failed(Error),
}

/// Speech for a recogniser.
pub(super) struct Task {
    id: u64,
    samples: Vec<f32>,
    /// Closed when nobody waits for the text any more.
    messages: Sender<Message>,
}

/// A recogniser's life: piece after piece.
pub(super) fn transcribe(waiting: &Receiver<Task>, done: &WeakSender<Job>, recognizer: &Recognizer) {
    while let Ok(task) = waiting.recv_blocking() {
        let text = recognizer.transcribe_while(&task.samples, &|| !task.messages.is_closed());
        let Some(done) = done.upgrade() else { return };
        if done.send_blocking(Job::Transcribed { id: task.id, text }).is_err() {
            return;
        }
    }
}

/// All calls, and how many recognisers are idle.
pub(super) struct Lane {
    calls: BTreeMap<u64, Call>,
    tasks: Sender<Task>,
    idle: usize,
    /// Counts pieces, so that the oldest of all calls goes first.
    pieces: u64,
}

impl Lane {
    pub(super) fn new(tasks: Sender<Task>, recognizers: usize) -> Self {
        Self { calls: BTreeMap::new(), tasks, idle: recognizers, pieces: 0 }
    }

    pub(super) fn run(mut self, queue: &Receiver<Job>) {
        while let Ok(job) = queue.recv_blocking() {
            self.handle(job);
            self.dispatch();
        }
    }

    fn handle(&mut self, job: Job) {
        let (id, outcome) = match job {
            Job::Audio { id, samples } => (id, self.with(id, |call, pieces| call.listen(&samples, pieces))),
            Job::Close { id } => (id, self.with(id, |call, pieces| call.close(pieces))),
            Job::Finalize { id } => (id, self.with(id, |call, pieces| call.finalize(pieces))),
            Job::Forget { id } => {
                self.calls.remove(&id);
                return;
            }
            Job::Open { id, ear, messages } => {
                self.calls.retain(|_, call| !call.messages.is_closed());
                self.calls.insert(id, Call::new(*ear, messages));
                return;
            }
            Job::Transcribed { id, text } => {
                self.idle += 1;
                (id, self.with(id, |call, _| call.transcribed(text)))
            }
        };
        match outcome {
            Ok(State::Open) => {}
            Ok(State::Over) => self.end(id, Message::End),
            Err(error) => self.end(id, Message::Failed(error)),
        }
    }

    /// Does something to a call that may be gone already.
    fn with(&mut self, id: u64, act: impl FnOnce(&mut Call, &mut u64) -> Result<()>) -> Result<State> {
        let Some(call) = self.calls.get_mut(&id) else { return Ok(State::Open) };
        act(call, &mut self.pieces)?;
        call.settle()
    }

    fn end(&mut self, id: u64, last: Message) {
        if let Some(call) = self.calls.remove(&id) {
            // A call that has hung up does not care.
            let _ = call.messages.try_send(last);
        }
    }

    /// Gives idle recognisers the oldest pieces, at most one of each call, so that a call's texts keep their order.
    fn dispatch(&mut self) {
        while self.idle > 0 {
            let ready = self.calls.iter_mut().filter_map(|(id, call)| Some((call.waits_since()?, *id, call)));
            let Some((_, id, call)) = ready.min_by_key(|(since, ..)| *since) else { return };
            let Some(samples) = call.take() else { return };
            // There is room for as many tasks as there are recognisers; it fails only when they have all ended.
            let task = Task { id, samples, messages: call.messages.clone() };
            if self.tasks.try_send(task).is_err() {
                let error = Error::new(ErrorKind::Unavailable, OPERATION, "the recognisers have ended");
                self.end(id, Message::Failed(error));
                continue;
            }
            self.idle -= 1;
        }
    }
}

enum State {
    Open,
    Over,
}

/// One call: what it says, and what of it is not yet text.
struct Call {
    ear: Ear,
    messages: Sender<Message>,
    pending: VecDeque<Pending>,
    /// The piece that a recogniser has.
    current: Option<(Duration, Duration)>,
    /// Texts kept for the answer to a finalize.
    held: Vec<Text>,
    is_closed: bool,
    /// What was heard since the last usage.
    unbilled: Duration,
    heard: Vec<Heard>,
}

enum Pending {
    Finalize,
    Piece { number: u64, speech: Speech },
}

struct Text {
    text: String,
    start: Duration,
    end: Duration,
}

impl Call {
    fn new(ear: Ear, messages: Sender<Message>) -> Self {
        Self {
            ear,
            messages,
            pending: VecDeque::new(),
            current: None,
            held: Vec::new(),
            is_closed: false,
            unbilled: Duration::ZERO,
            heard: Vec::new(),
        }
    }

    fn listen(&mut self, samples: &[i16], pieces: &mut u64) -> Result<()> {
        self.unbilled += self.ear.duration(samples.len());
        self.ear.listen(samples, &mut self.heard)?;
        self.note(pieces)
    }

    fn finalize(&mut self, pieces: &mut u64) -> Result<()> {
        self.ear.close(&mut self.heard)?;
        self.note(pieces)?;
        self.wait(Pending::Finalize)
    }

    fn close(&mut self, pieces: &mut u64) -> Result<()> {
        self.is_closed = true;
        self.ear.close(&mut self.heard)?;
        self.note(pieces)
    }

    fn transcribed(&mut self, text: Result<String>) -> Result<()> {
        let text = text?;
        let Some((start, end)) = self.current.take() else { return Ok(()) };
        let text = Text { text, start, end };
        if self.pending.iter().any(|pending| matches!(pending, Pending::Finalize)) {
            self.held.push(text);
            return Ok(());
        }
        self.tell_final(text)
    }

    /// Tells what the ear has just heard.
    fn note(&mut self, pieces: &mut u64) -> Result<()> {
        for heard in std::mem::take(&mut self.heard) {
            match heard {
                Heard::End { at } => self.tell(SttEvent::EndOfSpeech { at })?,
                Heard::Speech(speech) => {
                    *pieces += 1;
                    self.wait(Pending::Piece { number: *pieces, speech })?;
                }
                Heard::Start { at } => self.tell(SttEvent::StartOfSpeech { at })?,
            }
        }
        Ok(())
    }

    /// Answers what can be answered by now.
    fn settle(&mut self) -> Result<State> {
        if self.current.is_some() {
            return Ok(State::Open);
        }
        while let Some(Pending::Finalize) = self.pending.front() {
            self.pending.pop_front();
            let answer = self.answer();
            self.tell_final(answer)?;
        }
        Ok(if self.is_closed && self.pending.is_empty() { State::Over } else { State::Open })
    }

    /// One text of all that was held.
    fn answer(&mut self) -> Text {
        let held = std::mem::take(&mut self.held);
        let now = self.ear.time();
        let (start, end) = held.first().zip(held.last()).map_or((now, now), |(first, last)| (first.start, last.end));
        let texts: Vec<String> = held.into_iter().map(|held| held.text).filter(|text| !text.is_empty()).collect();
        Text { text: texts.join(" "), start, end }
    }

    fn waits_since(&self) -> Option<u64> {
        match (self.pending.front()?, self.current) {
            (Pending::Piece { number, .. }, None) => Some(*number),
            _ => None,
        }
    }

    fn take(&mut self) -> Option<Vec<f32>> {
        let Some(Pending::Piece { speech, .. }) = self.pending.pop_front() else { return None };
        self.current = Some((speech.start, speech.end));
        Some(speech.samples)
    }

    fn wait(&mut self, pending: Pending) -> Result<()> {
        if self.pending.len() >= PENDING_MAX {
            let message = "more is said than this machine can transcribe";
            return Err(Error::new(ErrorKind::Unavailable, OPERATION, message));
        }
        self.pending.push_back(pending);
        Ok(())
    }

    fn tell_final(&mut self, Text { text, start, end }: Text) -> Result<()> {
        self.tell(SttEvent::Final { language: None, text, start, end })?;
        let audio = std::mem::take(&mut self.unbilled);
        self.tell(SttEvent::Usage { audio })
    }

    fn tell(&self, event: SttEvent) -> Result<()> {
        let full = |_| Error::new(ErrorKind::Unavailable, OPERATION, "events are not taken");
        self.messages.try_send(Message::Event(event)).map_err(full)
    }
}
