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
