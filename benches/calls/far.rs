//! The far end of a call: what it says when, what reaches it, and how late both are.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::script::{CYCLE_FRAMES, FRAME, SPEECH_FRAMES};

/// A silence of the agent longer than this parts two answers.
const PAUSE: Duration = Duration::from_millis(500);

/// An answer that comes later than this is to something else.
const ANSWER_MAX: Duration = Duration::from_secs(4);

/// One caller.
pub(crate) struct Far {
    /// Frames of the cycle that are over before the first of the call.
    pub(crate) offset: usize,
    state: Mutex<State>,
}

struct State {
    began: Instant,
    /// When what has arrived will have been played.
    expected: Instant,
    is_measured: bool,
    last_speech: Option<Instant>,
    last_sound: Option<Instant>,
    listened: Option<Instant>,
    marks: VecDeque<(Instant, String)>,
    measures: Measures,
    speech_began: Option<Instant>,
}

/// What was measured, in milliseconds.
#[derive(Clone, Default)]
pub(crate) struct Measures {
    pub(crate) barge_in_ms: Vec<f64>,
    pub(crate) in_late_ms: Vec<f64>,
    pub(crate) out_late_ms: Vec<f64>,
    pub(crate) received: usize,
    pub(crate) turn_ms: Vec<f64>,
    /// Times that the caller has said all.
    pub(crate) turns_asked: usize,
}

impl Far {
    pub(crate) fn new(offset: usize) -> Arc<Self> {
        let now = Instant::now();
        let state = State {
            began: now,
            expected: now,
            is_measured: false,
            last_speech: None,
            last_sound: None,
            listened: None,
            marks: VecDeque::new(),
            measures: Measures::default(),
            speech_began: None,
        };
        Arc::new(Self { offset, state: Mutex::new(state) })
    }

    /// The moment from which frame 0 is due.
    pub(crate) fn begin(&self, at: Instant) {
        self.state().began = at;
    }

    /// The recogniser has been started.
    pub(crate) fn listened(&self) {
        self.state().listened = Some(Instant::now());
    }

    /// When the recogniser was started.
    pub(crate) fn listened_at(&self) -> Option<Instant> {
        self.state().listened
    }

    /// A frame of the caller has reached the recogniser; where in the call the caller's speech ended with it.
    pub(crate) fn heard(&self, index: usize) -> Option<Duration> {
        let mut state = self.state();
        let at = FRAME * u32::try_from(index).unwrap_or(u32::MAX);
        if state.is_measured {
            let late = state.began.elapsed().saturating_sub(at);
            state.measures.in_late_ms.push(milliseconds(late));
        }
        ((index + self.offset) % CYCLE_FRAMES == SPEECH_FRAMES - 2).then_some(at + FRAME)
    }

    /// A frame goes out to the engine, and with it the marks that are due: their names.
    pub(crate) fn sent(&self, index: usize, now: Instant) -> Vec<String> {
        let mut state = self.state();
        match (index + self.offset) % CYCLE_FRAMES {
            0 => state.speech_began = state.expected.checked_duration_since(now).map(|_| now),
            last if last == SPEECH_FRAMES - 1 => {
                state.last_speech = Some(now);
                state.measures.turns_asked += usize::from(state.is_measured);
            }
            _ => {}
        }
        let mut due = Vec::new();
        while state.marks.front().is_some_and(|(at, _)| *at <= now) {
            due.extend(state.marks.pop_front().map(|(_, name)| name));
        }
        due
    }

    /// A media message has arrived.
    pub(crate) fn received(&self, now: Instant, audio: Duration) {
        let mut guard = self.state();
        let state = &mut *guard;
        let is_answer = state.last_sound.is_none_or(|last| now - last > PAUSE);
        if is_answer {
            let waited = state.last_speech.take().map(|last| now - last).filter(|waited| *waited < ANSWER_MAX);
            if state.is_measured {
                state.measures.turn_ms.extend(waited.map(milliseconds));
            }
            state.expected = now + audio;
        } else {
            if state.is_measured {
                state.measures.out_late_ms.push(milliseconds(now.saturating_duration_since(state.expected)));
            }
            state.expected = state.expected.max(now) + audio;
        }
        state.last_sound = Some(now);
        state.measures.received += usize::from(state.is_measured);
    }

    /// A mark has arrived: it is due when what is before it has been played.
    pub(crate) fn marked(&self, name: String) {
        let mut state = self.state();
        let due = state.expected;
        state.marks.push_back((due, name));
    }

    /// What waits is thrown away.
    pub(crate) fn cleared(&self, now: Instant) {
        let mut state = self.state();
        state.expected = now;
        state.marks.iter_mut().for_each(|(due, _)| *due = now);
        if let Some(began) = state.speech_began.take()
            && state.is_measured
        {
            state.measures.barge_in_ms.push(milliseconds(now - began));
        }
    }

    /// From now on counts.
    pub(crate) fn measure(&self) {
        let mut state = self.state();
        state.is_measured = true;
        state.last_speech = None;
    }

    /// What was measured.
    pub(crate) fn measures(&self) -> Measures {
        let mut state = self.state();
        state.is_measured = false;
        state.measures.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
