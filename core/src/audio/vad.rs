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
struct Floor {
    span_samples: u64,
    /// Oldest first.
    spans: [Span; SPANS],
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
    fn new(rate_hz: u32) -> Self {
        let start = level::power_from_db(FLOOR_START_DBFS);
        Self {
            span_samples: samples_of(SPAN_DURATION, rate_hz),
            // Not flat, so that it is not taken for a level that was heard.
            spans: [Span { least: start, greatest: 1.0 }; SPANS],
            current: Span::EMPTY,
            current_samples: 0,
            flat: level::power_from_db(FLAT_DB),
        }
    }

    fn push(&mut self, power: f32, samples: u64) {
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
    }

    fn power(&self) -> f32 {
        self.spans.iter().fold(self.current, |sum, span| sum.with(*span)).least
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
mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_word_after_digital_silence_starts_and_ends_where_it_is() {
        let mut line = Line::new(8_000);
        line.silence(500);
        line.speech(600);
        line.silence(1_000);
        assert_eq!(line.events, [started(500), ended(1_100)]);
    }

    #[test]
    fn it_is_said_after_the_least_speech_and_after_the_hangover() {
        let settings = EnergyVadSettings::default();
        let mut line = Line::new(8_000);
        line.silence(500);
        line.speech(600);
        line.silence(1_000);
        assert_eq!(line.said_at, [ms(500) + settings.speech_min, ms(1_100) + settings.hangover + ms(20)]);
    }

    #[test]
    fn speech_from_the_first_sample_is_heard() {
        let mut line = Line::new(8_000);
        line.speech(1_000);
        assert_eq!(line.events, [started(0)]);
        assert!(line.vad.is_speech());
    }

    #[test]
    fn pauses_within_the_hangover_belong_to_the_speech() {
        let mut line = Line::new(8_000);
        line.speech(400);
        line.silence(200);
        line.speech(400);
        line.silence(1_000);
        assert_eq!(line.events, [started(0), ended(1_000)]);
    }

    #[test]
    fn clicks_are_not_speech() {
        let mut line = Line::new(8_000);
        for _ in 0..10 {
            line.silence(200);
            line.speech(40);
        }
        assert_eq!(line.events, []);
    }

    #[test]
    fn direct_current_is_silence_and_hides_no_speech() {
        let mut line = Line::new(8_000);
        line.offset = 6_000;
        line.silence(1_000);
        assert_eq!(line.events, []);
        line.speech(600);
        line.silence(1_000);
        assert_eq!(line.events, [started(1_000), ended(1_600)]);
    }

    #[test]
    fn comfort_noise_and_a_quiet_room_are_silence_from_the_start() {
        for noise_dbfs in [-70.0, -60.0, -50.0] {
            let mut line = Line::new(8_000);
            line.noise(5_000, noise_dbfs);
            assert_eq!(line.events, [], "{noise_dbfs} dBFS");
        }
    }

    #[test]
    fn speech_is_heard_over_steady_noise() {
        let mut line = Line::new(8_000);
        line.noise(2_000, -45.0);
        assert!(line.events.is_empty() && (line.vad.floor_dbfs() + 45.0).abs() < 2.0, "{:?}", line.vad);
        line.noise_dbfs = Some(-45.0);
        line.speech(600);
        line.noise(1_000, -45.0);
        assert_eq!(line.events, [started(2_000), ended(2_600)]);
    }

    #[test]
    fn a_noise_that_sets_in_is_soon_taken_for_the_floor() {
        let mut line = Line::new(8_000);
        line.noise(2_000, -65.0);
        line.noise(5_000, -35.0);
        let [VadEvent::SpeechStarted { .. }, VadEvent::SpeechEnded { at }] = line.events[..] else {
            panic!("{:?}", line.events);
        };
        assert!(at < ms(3_200), "{at:?}");
        assert!((line.vad.floor_dbfs() + 35.0).abs() < 2.0);
    }

    #[test]
    fn a_steady_tone_is_not_speech_for_long() {
        let mut line = Line::new(8_000);
        line.silence(1_000);
        line.tone(4_000);
        line.silence(1_000);
        let [VadEvent::SpeechStarted { .. }, VadEvent::SpeechEnded { at }] = line.events[..] else {
            panic!("{:?}", line.events);
        };
        assert!(at < ms(2_200), "{at:?}");
    }

    #[test]
    fn the_floor_follows_a_line_that_falls_quiet() {
        let mut line = Line::new(8_000);
        line.noise(3_000, -35.0);
        line.noise(1_000, -65.0);
        assert!(line.vad.floor_dbfs() < -60.0);
    }

    #[test]
    fn finish_ends_open_speech_and_forgets_the_floor() {
        let mut line = Line::new(8_000);
        line.speech(600);
        line.silence(100);
        assert_eq!(line.vad.finish(), Some(VadEvent::SpeechEnded { at: ms(600) }));
        assert_eq!(line.vad.finish(), None);
        assert!(!line.vad.is_speech());
        line.events.clear();
        line.speech(400);
        assert_eq!(line.events, [started(700)]);
    }

    #[test]
    fn every_rate_hears_the_same() {
        for rate_hz in [8_000, 16_000, 24_000, 48_000] {
            let mut line = Line::new(rate_hz);
            line.silence(500);
            line.speech(600);
            line.silence(1_000);
            assert_eq!(line.events, [started(500), ended(1_100)]);
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let good = EnergyVadSettings::default();
        let bad = [
            EnergyVadSettings { rise_db: f32::NAN, ..good },
            EnergyVadSettings { fall_db: f32::NAN, ..good },
            EnergyVadSettings { fall_db: good.rise_db + 1.0, ..good },
            EnergyVadSettings { fall_db: -1.0, ..good },
            EnergyVadSettings { rise_db: f32::INFINITY, ..good },
            EnergyVadSettings { level_min_dbfs: 1.0, ..good },
            EnergyVadSettings { level_min_dbfs: f32::NAN, ..good },
            EnergyVadSettings { hangover: Duration::MAX, ..good },
            EnergyVadSettings { speech_min: Duration::from_secs(11), ..good },
        ];
        for settings in bad {
            assert_eq!(EnergyVad::new(8_000, settings).unwrap_err().kind(), ErrorKind::ConfigInvalid);
        }
        assert_eq!(EnergyVad::new(0, good).unwrap_err().kind(), ErrorKind::ConfigInvalid);
    }

    proptest! {
        #[test]
        fn events_alternate_and_their_times_grow(
            frames in prop::collection::vec((0_usize..400, any::<i16>(), any::<i16>()), 0..200),
        ) {
            let mut vad = EnergyVad::new(8_000, EnergyVadSettings::default()).unwrap();
            let (mut speaking, mut last, mut pushed) = (false, Duration::ZERO, 0);
            for (length, even, odd) in frames {
                let frame: Vec<i16> = (0..length).map(|n| if n % 2 == 0 { even } else { odd }).collect();
                pushed += length as u64;
                let event = vad.push(&frame);
                let at = match event {
                    Some(VadEvent::SpeechStarted { at }) => {
                        prop_assert!(!speaking);
                        speaking = true;
                        at
                    }
                    Some(VadEvent::SpeechEnded { at }) => {
                        prop_assert!(speaking);
                        speaking = false;
                        at
                    }
                    None => continue,
                };
                prop_assert!(last <= at && at <= duration_of(pushed, 8_000));
                last = at;
            }
            prop_assert_eq!(vad.is_speech(), speaking);
            prop_assert_eq!(vad.finish().is_some(), speaking);
        }
    }

    /// A line that carries what a test says, frame by frame.
    struct Line {
        vad: EnergyVad,
        rate_hz: u32,
        offset: i16,
        noise_dbfs: Option<f64>,
        now: u64,
        random: u64,
        events: Vec<VadEvent>,
        said_at: Vec<Duration>,
    }

    impl Line {
        fn new(rate_hz: u32) -> Self {
            Self {
                vad: EnergyVad::new(rate_hz, EnergyVadSettings::default()).unwrap(),
                rate_hz,
                offset: 0,
                noise_dbfs: None,
                now: 0,
                random: 0x9e37_79b9_7f4a_7c15,
                events: Vec::new(),
                said_at: Vec::new(),
            }
        }

        fn silence(&mut self, millis: u64) {
            self.play(millis, |_, _| 0.0);
        }

        fn noise(&mut self, millis: u64, dbfs: f64) {
            let before = self.noise_dbfs.replace(dbfs);
            self.silence(millis);
            self.noise_dbfs = before;
        }

        fn tone(&mut self, millis: u64) {
            self.play(millis, |seconds, _| 8_000.0 * (TAU * 440.0 * seconds).sin());
        }

        /// A voice of 140 Hz in syllables of 200 ms, as a phone call carries it.
        fn speech(&mut self, millis: u64) {
            self.play(millis, |seconds, since| {
                let syllable = 0.35 + 0.65 * (TAU * since / 0.2).cos().abs();
                let voice: f64 = (2..14).map(|k| (TAU * 140.0 * f64::from(k) * seconds).sin() / f64::from(k)).sum();
                4_000.0 * syllable * voice
            });
        }

        fn play(&mut self, millis: u64, signal: impl Fn(f64, f64) -> f64) {
            assert_eq!(millis % 20, 0);
            let begin = self.now;
            for _ in 0..millis / 20 {
                let frame: Vec<i16> = (0..self.rate_hz / 50)
                    .map(|_| {
                        let seconds = self.now as f64 / f64::from(self.rate_hz);
                        let since = (self.now - begin) as f64 / f64::from(self.rate_hz);
                        let noise = self.next_noise();
                        self.now += 1;
                        (signal(seconds, since) + noise + f64::from(self.offset)).round() as i16
                    })
                    .collect();
                if let Some(event) = self.vad.push(&frame) {
                    self.events.push(event);
                    self.said_at.push(duration_of(self.now, self.rate_hz));
                }
            }
        }

        /// White, uniform.
        fn next_noise(&mut self) -> f64 {
            let Some(dbfs) = self.noise_dbfs else { return 0.0 };
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let uniform = (self.random >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
            uniform * 3_f64.sqrt() * 32_768.0 * 10_f64.powf(dbfs / 20.0)
        }
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn started(at_ms: u64) -> VadEvent {
        VadEvent::SpeechStarted { at: ms(at_ms) }
    }

    fn ended(at_ms: u64) -> VadEvent {
        VadEvent::SpeechEnded { at: ms(at_ms) }
    }
}
