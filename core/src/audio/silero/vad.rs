//! Speech or silence by the network's probabilities, with hysteresis against flicker.

use std::time::Duration;

use super::{Silero, SileroStream, SileroWindow, SileroWorkspace};
use crate::audio::vad::VadEvent;
use crate::error::Result;

/// At or above this probability silence becomes speech.
const ONSET: f32 = 0.5;

/// Below this probability speech becomes silence; between the two, things stay as they are.
const RELEASE: f32 = 0.35;

/// Speech in this many windows in a row, 64 ms, makes a start; one alone is a click.
const ONSET_WINDOWS: u64 = 2;

/// Silence in this many windows, 256 ms, makes an end.
const RELEASE_WINDOWS: u64 = 8;

/// A voice activity detector over one channel at 8 or 16 kHz.
#[derive(Debug)]
pub struct SileroVad {
    rate_hz: u32,
    silero: Silero,
    changes: Changes,
    stream: SileroStream,
    window: Vec<i16>,
    workspace: SileroWorkspace,
}

/// Where probabilities, one a window, change between speech and silence.
#[derive(Debug, Default)]
struct Changes {
    state: State,
    windows: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Speech in so many windows in a row, not yet enough.
    Silence { loud: u64 },
    /// Silence in so many windows in a row, not yet enough.
    Speech { quiet: u64 },
}

impl Default for State {
    fn default() -> Self {
        Self::Silence { loud: 0 }
    }
}

/// A change, and the window with which it began.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Change {
    Ended(u64),
    Started(u64),
}

impl SileroVad {
    /// A detector of audio at `rate_hz`; `Unsupported` at another rate than 8000 and 16000.
    pub fn new(silero: &Silero, rate_hz: u32) -> Result<Self> {
        let stream = silero.stream(rate_hz)?;
        let window = Vec::with_capacity(stream.window());
        let (silero, workspace) = (silero.clone(), silero.workspace(1));
        Ok(Self { rate_hz, silero, changes: Changes::default(), stream, window, workspace })
    }

    /// Takes samples of any number, and tells what has changed with them; of several changes the last, which needs frames
    /// beyond 64 ms. Times count from the first sample pushed.
    pub fn push(&mut self, samples: &[i16]) -> Option<VadEvent> {
        let (mut rest, mut event) = (samples, None);
        while !rest.is_empty() {
            let taken = rest.len().min(self.stream.window() - self.window.len());
            let (head, tail) = rest.split_at(taken);
            self.window.extend_from_slice(head);
            rest = tail;
            if self.window.len() == self.stream.window() {
                event = self.judge().or(event);
            }
        }
        event
    }

    /// Whether somebody speaks.
    pub fn is_speech(&self) -> bool {
        matches!(self.changes.state, State::Speech { .. })
    }

    fn judge(&mut self) -> Option<VadEvent> {
        let mut windows = [SileroWindow { stream: &mut self.stream, samples: &self.window, probability: 0.0 }];
        // A window of the right length cannot be refused.
        let judged = self.silero.judge(&mut self.workspace, &mut windows);
        let [SileroWindow { probability, .. }] = windows;
        self.window.clear();
        judged.ok()?;
        Some(match self.changes.push(probability)? {
            Change::Ended(window) => VadEvent::SpeechEnded { at: self.begin_of(window) },
            Change::Started(window) => VadEvent::SpeechStarted { at: self.begin_of(window) },
        })
    }

    fn begin_of(&self, window: u64) -> Duration {
        let samples = window * self.stream.window() as u64;
        Duration::from_micros(samples * 1_000_000 / u64::from(self.rate_hz))
    }
}

impl Changes {
    fn push(&mut self, probability: f32) -> Option<Change> {
        self.windows += 1;
        match self.state {
            State::Silence { loud } if probability >= ONSET && loud + 1 >= ONSET_WINDOWS => {
                self.state = State::Speech { quiet: 0 };
                Some(Change::Started(self.windows - ONSET_WINDOWS))
            }
            State::Silence { loud } => {
                let loud = if probability >= ONSET { loud + 1 } else { 0 };
                self.state = State::Silence { loud };
                None
            }
            State::Speech { quiet } => {
                let is_quiet = probability < RELEASE || (quiet > 0 && probability < ONSET);
                let quiet = if is_quiet { quiet + 1 } else { 0 };
                self.state = State::Speech { quiet };
                if quiet < RELEASE_WINDOWS {
                    return None;
                }
                self.state = State::default();
                Some(Change::Ended(self.windows - RELEASE_WINDOWS))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(windows: &[(usize, f32)]) -> Vec<Change> {
        let mut changes = Changes::default();
        let each = windows.iter().flat_map(|(times, probability)| std::iter::repeat_n(*probability, *times));
        each.filter_map(|probability| changes.push(probability)).collect()
    }

    #[test]
    fn speech_starts_and_ends_where_it_changed() {
        assert_eq!(changes(&[(10, 0.0), (20, 0.9), (20, 0.1)]), [Change::Started(10), Change::Ended(30)]);
    }

    #[test]
    fn a_click_is_no_speech_and_a_breath_no_end() {
        assert_eq!(changes(&[(5, 0.0), (1, 0.99), (20, 0.0)]), []);
        assert_eq!(changes(&[(4, 0.9), (7, 0.1), (1, 0.6), (7, 0.1), (3, 0.9)]), [Change::Started(0)]);
        // Between the two thresholds things stay as they are.
        assert_eq!(changes(&[(4, 0.9), (30, 0.4)]), [Change::Started(0)]);
    }
}
