//! Speech or silence by energy: cheap, deterministic, and enough to start and stop a recogniser.
//!
//! Speech is what stands out of the noise floor, and the floor is the least level of the last seconds (minimum
//! statistics, as of R. Martin, IEEE Trans. Speech and Audio Processing 9(5), 2001, without its bias compensation).
//! Speech dips to the floor between its sounds; noise does not move. So a level that has been flat for a while is taken
//! for the new floor at once, which ends the false speech at the onset of a noise, a tone or comfort noise.

use std::time::Duration;

use super::level;
use super::resample::check_rate;
use crate::error::{Error, ErrorKind, Result};

/// The longest [`EnergyVadSettings::speech_min`] and [`EnergyVadSettings::hangover`].
pub const WAIT_MAX: Duration = Duration::from_secs(10);

/// What [`EnergyVad`] takes for speech. The default suits a telephone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EnergyVadSettings {
    /// Speech starts this far above the noise floor, in dB.
    pub rise_db: f32,
    /// Speech goes on down to this far above the noise floor, in dB; not above `rise_db`.
    pub fall_db: f32,
    /// Below this nothing starts speech, whatever the floor; -100 to 0 dBFS.
    pub level_min_dbfs: f32,
    /// A sound shorter than this is a click.
    pub speech_min: Duration,
    /// A pause up to this long belongs to the speech around it.
    pub hangover: Duration,
}

impl Default for EnergyVadSettings {
    fn default() -> Self {
        Self {
            rise_db: 6.0,
            fall_db: 3.0,
            level_min_dbfs: -50.0,
            speech_min: Duration::from_millis(60),
            hangover: Duration::from_millis(240),
        }
    }
}

/// A change between speech and silence. Times count from the first sample pushed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VadEvent {
    /// Silence since `at`; said when the hangover is over.
    SpeechEnded {
        /// The end of the last sound of the speech.
        at: Duration,
    },
    /// Speech since `at`; said when it has lasted [`EnergyVadSettings::speech_min`].
    SpeechStarted {
        /// The begin of its first sound.
        at: Duration,
    },
}

/// A voice activity detector over frames of one channel.
#[derive(Clone, Debug)]
pub struct EnergyVad {
    rate_hz: u32,
    rise: f32,
    fall: f32,
    power_min: f32,
    speech_min: u64,
    hangover: u64,
    /// Samples pushed.
    now: u64,
    /// Power, smoothed over a few frames; only the floor looks at it.
    smooth: Option<f32>,
    floor: Floor,
    state: State,
}

impl EnergyVad {
    /// A detector of audio at `rate_hz`.
    ///
    /// `ConfigInvalid` for a rate that is none, for levels that are no numbers or out of order, and for waits above
    /// [`WAIT_MAX`].
    pub fn new(rate_hz: u32, settings: EnergyVadSettings) -> Result<Self> {
        check_rate(OPERATION, rate_hz)?;
        let EnergyVadSettings { rise_db, fall_db, level_min_dbfs, speech_min, hangover } = settings;
        if !(0.0..=60.0).contains(&fall_db) || !(fall_db..=60.0).contains(&rise_db) {
            return Err(invalid("0 <= fall_db <= rise_db <= 60 is required"));
        }
        if !(level::SILENCE_DBFS..=0.0).contains(&level_min_dbfs) {
            return Err(invalid("level_min_dbfs is -100 to 0"));
        }
        if speech_min > WAIT_MAX || hangover > WAIT_MAX {
            return Err(invalid("speech_min and hangover are 10 s at most"));
        }
        Ok(Self {
            rate_hz,
            rise: level::power_from_db(rise_db),
            fall: level::power_from_db(fall_db),
            power_min: level::power_from_db(level_min_dbfs),
            speech_min: samples_of(speech_min, rate_hz),
            hangover: samples_of(hangover, rate_hz),
            now: 0,
            smooth: None,
            floor: Floor::new(rate_hz),
            state: State::Silence,
        })
    }

    /// Judges a frame as one piece; 20 ms suit best, 10 to 30 ms work. An empty frame changes nothing.
    pub fn push(&mut self, frame: &[i16]) -> Option<VadEvent> {
        if frame.is_empty() {
            return None;
        }
        let start = self.now;
        self.now += frame.len() as u64;
        let power = level::power(frame);
        let smooth = self.smooth.map_or(power, |smooth| smooth + (power - smooth) * SMOOTHING);
        self.smooth = Some(smooth);
        self.floor.push(smooth, frame.len() as u64);
        self.judge(start, power)
    }

    /// Ends the stream: speech that goes on ends with its last sound. The detector then is as new, but its clock goes on.
    pub fn finish(&mut self) -> Option<VadEvent> {
        let event = match self.state {
            State::Rising { .. } | State::Silence => None,
            State::Speech { loud_until } => Some(self.ended(loud_until)),
        };
        self.smooth = None;
        self.floor = Floor::new(self.rate_hz);
        self.state = State::Silence;
        event
    }

    /// Whether [`VadEvent::SpeechStarted`] was said and [`VadEvent::SpeechEnded`] was not.
    pub fn is_speech(&self) -> bool {
        matches!(self.state, State::Speech { .. })
    }

    /// The noise floor, in dBFS.
    pub fn floor_dbfs(&self) -> f32 {
        level::power_to_dbfs(self.floor.power())
    }

    fn judge(&mut self, start: u64, power: f32) -> Option<VadEvent> {
        let floor = self.floor.power();
        let rises = power > (floor * self.rise).max(self.power_min);
        // The least level keeps the same distance between start and end as the floor does.
        let lasts = power > (floor * self.fall).max(self.power_min * self.fall / self.rise);
        match self.state {
            State::Rising { since } if lasts => self.rising(since),
            State::Rising { .. } | State::Silence if !rises => {
                self.state = State::Silence;
                None
            }
            State::Rising { .. } | State::Silence => self.rising(start),
            State::Speech { .. } if lasts => {
                self.state = State::Speech { loud_until: self.now };
                None
            }
            State::Speech { loud_until } if self.now - loud_until > self.hangover => {
                self.state = State::Silence;
                Some(self.ended(loud_until))
            }
            State::Speech { .. } => None,
        }
    }

    fn rising(&mut self, since: u64) -> Option<VadEvent> {
        if self.now - since < self.speech_min {
            self.state = State::Rising { since };
            return None;
        }
        self.state = State::Speech { loud_until: self.now };
        Some(VadEvent::SpeechStarted { at: duration_of(since, self.rate_hz) })
    }

    fn ended(&self, loud_until: u64) -> VadEvent {
        VadEvent::SpeechEnded { at: duration_of(loud_until, self.rate_hz) }
    }
}

const OPERATION: &str = "audio.vad";
/// Weight of a new frame in the smoothed power.
const SMOOTHING: f32 = 0.35;
/// The floor before anything was heard: louder than most lines, so that noise at the start is not speech.
const FLOOR_START_DBFS: f32 = -50.0;
/// Length of a span of the floor's memory.
const SPAN_DURATION: Duration = Duration::from_millis(200);
/// Spans that the floor remembers: 3 s.
const SPANS: usize = 15;
/// Spans that must be alike for the level to be flat: 0.8 s.
const FLAT_SPANS: usize = 4;
/// How far a flat level may move, in dB.
const FLAT_DB: f32 = 3.0;

#[derive(Clone, Copy, Debug)]
enum State {
    /// A sound since sample `since`, too short so far.
    Rising { since: u64 },
    /// No speech.
    Silence,
    /// Speech, last loud before sample `loud_until`.
    Speech { loud_until: u64 },
}

/// The least power of the last spans.
#[derive(Clone, Debug)]
pub(super) struct Floor {
    span_samples: u64,
    /// Oldest first.
    spans: [Span; SPANS],
    /// The least of them.
    least: f32,
    current: Span,
    current_samples: u64,
    flat: f32,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    least: f32,
    greatest: f32,
}

impl Span {
    const EMPTY: Self = Self { least: f32::INFINITY, greatest: 0.0 };

    fn with(self, other: Self) -> Self {
        Self { least: self.least.min(other.least), greatest: self.greatest.max(other.greatest) }
    }
}

impl Floor {
    pub(super) fn new(rate_hz: u32) -> Self {
        let start = level::power_from_db(FLOOR_START_DBFS);
        Self {
            span_samples: samples_of(SPAN_DURATION, rate_hz),
            // Not flat, so that it is not taken for a level that was heard.
            spans: [Span { least: start, greatest: 1.0 }; SPANS],
            least: start,
            current: Span::EMPTY,
            current_samples: 0,
            flat: level::power_from_db(FLAT_DB),
        }
    }

    pub(super) fn push(&mut self, power: f32, samples: u64) {
        self.current = self.current.with(Span { least: power, greatest: power });
        self.current_samples += samples;
        if self.current_samples < self.span_samples {
            return;
        }
        self.spans.rotate_left(1);
        self.spans[SPANS - 1] = self.current;
        self.current = Span::EMPTY;
        self.current_samples = 0;
        let (older, latest) = self.spans.split_at_mut(SPANS - FLAT_SPANS);
        let latest = latest.iter().fold(Span::EMPTY, |sum, span| sum.with(*span));
        if latest.greatest <= latest.least * self.flat {
            older.fill(latest);
        }
        self.least = self.spans.iter().fold(f32::INFINITY, |least, span| least.min(span.least));
    }

    pub(super) fn power(&self) -> f32 {
        self.least.min(self.current.least)
    }
}

fn samples_of(duration: Duration, rate_hz: u32) -> u64 {
    (duration.as_millis() * u128::from(rate_hz) / 1_000) as u64
}

fn duration_of(samples: u64, rate_hz: u32) -> Duration {
    Duration::from_micros((u128::from(samples) * 1_000_000 / u128::from(rate_hz)) as u64)
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::ConfigInvalid, OPERATION, message)
}

#[cfg(test)]
mod tests;
