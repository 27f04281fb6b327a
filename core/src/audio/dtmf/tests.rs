use proptest::prelude::*;

use super::super::simd::levels;
use super::*;

/// 0 dBm0 of a sine, at 16 bits.
const DBM0: f64 = 32_767.0 * 0.696_6;

#[test]
fn each_key_is_heard_once_a_press_at_every_rate() {
    for rate_hz in [8_000, 11_025, 16_000, 24_000, 44_100, 48_000] {
        let line = KEYS.as_flattened().iter().fold(Line::new(rate_hz), |line, key| line.key(*key, 50.0).pause(50.0));
        assert_eq!(line.keys(), KEYS.as_flattened().iter().collect::<String>(), "{rate_hz} Hz");
    }
}

#[test]
fn q24_presses_of_40_ms_after_pauses_of_40_ms_are_heard_wherever_they_begin() {
    for offset in 0..40 {
        let mut line = Line::new(8_000).pause(20.0 + f64::from(offset) / 2.0);
        for key in KEYS.as_flattened() {
            line = line.key(*key, 40.0).pause(40.0);
        }
        assert_eq!(line.keys(), "123A456B789C*0#D", "{offset}");
    }
}

#[test]
fn q24_presses_of_less_than_23_ms_are_not_heard() {
    for offset in 0..40 {
        let mut line = Line::new(8_000).pause(20.0 + f64::from(offset) / 2.0);
        for key in KEYS.as_flattened() {
            line = line.key(*key, 22.9).pause(60.0);
        }
        assert_eq!(line.keys(), "", "{offset}");
    }
}

#[test]
fn q24_an_interruption_of_10_ms_is_one_press_and_a_pause_of_40_ms_two() {
    for offset in 0..20 {
        let line =
            |pause| Line::new(8_000).pause(f64::from(offset)).key('5', 60.0).pause(pause).key('5', 60.0).pause(60.0);
        assert_eq!((line(10.0).keys(), line(40.0).keys()), ("5".to_owned(), "55".to_owned()), "{offset}");
    }
}

#[test]
fn q24_pitches_are_heard_within_1_5_percent_and_not_beyond_3_5() {
    for key in KEYS.as_flattened() {
        for (low, high) in [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0), (0.0, 1.0), (1.0, 0.0)] {
            let line = |percent: f64| Line { detune: [low * percent, high * percent], ..Line::new(8_000) };
            assert_eq!(line(1.5).key(*key, 40.0).pause(60.0).keys(), key.to_string(), "{low} {high}");
            for percent in [3.5, 5.0] {
                assert_eq!(line(percent).key(*key, 200.0).pause(60.0).keys(), "", "{key} {percent} {low} {high}");
            }
        }
    }
}

#[test]
fn q24_levels_and_twist() {
    for key in KEYS.as_flattened() {
        for (low, high) in [(0.0, 0.0), (-25.0, -25.0), (-17.0, -25.0), (0.0, -8.0), (-4.0, 0.0), (-25.0, -21.0)] {
            let line = Line { dbm0: [low, high], ..Line::new(8_000) }.key(*key, 40.0).pause(60.0);
            assert_eq!(line.keys(), key.to_string(), "{low} {high}");
        }
        for (low, high) in [(-55.0, -55.0), (-45.0, -45.0), (-6.0, -20.0), (-20.0, -6.0)] {
            let line = Line { dbm0: [low, high], ..Line::new(8_000) }.key(*key, 200.0).pause(60.0);
            assert_eq!(line.keys(), "", "{low} {high}");
        }
    }
}

#[test]
fn noise_15_db_below_changes_nothing() {
    for seed in 0..60 {
        let mut line = Line { noise_dbm0: -10.0 + 3.0 - 15.0, random: seed, dbm0: [-10.0, -10.0], ..Line::new(8_000) };
        for key in KEYS.as_flattened() {
            line = line.key(*key, 45.0).pause(45.0);
        }
        assert_eq!(line.keys(), "123A456B789C*0#D", "{seed}");
    }
}

#[test]
fn a_key_held_long_is_one_press() {
    assert_eq!(Line::new(8_000).key('9', 3_000.0).pause(60.0).keys(), "9");
}

#[test]
fn what_is_no_key_is_none() {
    assert_eq!(heard(8_000, &[0; 8_000]), "");
    assert_eq!(heard(8_000, &[i16::MIN; 8_000]), "");
    let tones = |tones: &[f64]| -> Vec<i16> {
        let wave =
            |n: usize| tones.iter().map(|hz| 8_000.0 * (TAU * hz * n as f64 / 8_000.0).sin()).sum::<f64>() as i16;
        (0..8_000).map(wave).collect()
    };
    for pair in
        [&[697.0][..], &[350.0, 440.0], &[440.0, 480.0], &[697.0, 770.0], &[697.0, 1_209.0, 1_336.0], &[2_100.0]]
    {
        assert_eq!(heard(8_000, &tones(pair)), "", "{pair:?}");
    }
}

/// A voice holds no two pitches for as long as a key: five minutes of vowels of all pitches, with glides.
#[test]
fn a_voice_presses_no_key() {
    let mut random = 17_u64;
    let mut state = [[0.0_f64; 2]; 3];
    let (mut phase, mut pitch, mut formants) = (0.0, 120.0, [600.0, 1_200.0, 2_500.0]);
    let mut aim = (pitch, formants);
    let samples: Vec<i16> = (0..300 * 8_000)
        .map(|n| {
            if n % 1_000 == 0 {
                let mut next = |low: f64, high: f64| low + (high - low) * uniform(&mut random);
                aim = (next(70.0, 400.0), [next(250.0, 1_000.0), next(800.0, 2_400.0), next(1_800.0, 3_400.0)]);
            }
            pitch += (aim.0 - pitch) * 0.002;
            phase += pitch / 8_000.0;
            let mut value = if phase >= 1.0 { 6_000.0 } else { 0.0 };
            phase -= f64::floor(phase);
            for (index, state) in state.iter_mut().enumerate() {
                formants[index] += (aim.1[index] - formants[index]) * 0.002;
                let cos = (TAU * formants[index] / 8_000.0).cos();
                value += 1.9 * cos * state[0] - 0.902_5 * state[1];
                *state = [value, state[0]];
                value *= 0.4;
            }
            value.clamp(-32_768.0, 32_767.0) as i16
        })
        .collect();
    assert_eq!(heard(8_000, &samples), "");
}

#[test]
fn what_is_made_is_heard() {
    for rate_hz in [8_000, 16_000, 48_000] {
        for key in KEYS.as_flattened() {
            let digit = DtmfDigit::try_from(*key).unwrap();
            let mut tone = DtmfTone::new(digit, rate_hz, Duration::from_millis(45)).unwrap();
            let mut samples = vec![0; rate_hz as usize / 10];
            let (first, rest) = samples.split_at_mut(100);
            let written = tone.fill(first) + tone.fill(rest);
            assert_eq!((written, tone.fill(&mut [0; 4])), (rate_hz as usize * 45 / 1_000, 0));
            assert_eq!(heard(rate_hz, &samples), key.to_string());
        }
    }
    let any = DtmfDigit::try_from('1').unwrap();
    assert_eq!(DtmfTone::new(any, 3_999, Duration::ZERO).unwrap_err().kind(), ErrorKind::ConfigInvalid);
    assert_eq!(DtmfTone::new(any, 8_000, Duration::MAX).unwrap().length, 480_000);
}

#[test]
fn rates_that_carry_no_tones_hear_nothing() {
    for rate_hz in [0, 1, 3_999, 48_001, u32::MAX] {
        assert_eq!(DtmfDetector::new(rate_hz).push(&[1_000; 960]), None);
    }
}

#[test]
fn every_processor_hears_the_same_to_the_last_bit() {
    let line = Line { noise_dbm0: -20.0, ..Line::new(11_025) }.key('7', 60.0).pause(20.0);
    let sums: Vec<Vec<u32>> = levels()
        .into_iter()
        .map(|level| {
            let mut detector = DtmfDetector { ear: Ear::new(level), ..DtmfDetector::new(11_025) };
            let sums = line.samples.chunks(220).flat_map(|frame| {
                detector.push(frame);
                detector.ear.last.as_flattened().iter().map(|sum| sum.to_bits()).collect::<Vec<_>>()
            });
            sums.collect()
        })
        .collect();
    assert!(sums.iter().all(|one| *one == sums[0]));
}

proptest! {
    #[test]
    fn it_does_not_matter_how_sound_is_cut(cuts in prop::collection::vec(1_usize..300, 1..40), seed in any::<u64>()) {
        let line = Line { noise_dbm0: -30.0, random: seed, ..Line::new(8_000) }.pause(30.0).key('4', 50.0).pause(60.0);
        let line = line.key('#', 70.0).pause(50.0);
        let mut detector = DtmfDetector::new(8_000);
        let (mut rest, mut keys) = (line.samples.as_slice(), String::new());
        for cut in cuts.into_iter().cycle() {
            let (piece, later) = rest.split_at(cut.min(rest.len()));
            keys.extend(detector.push(piece).map(DtmfDigit::as_char));
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(keys, "4#");
    }

    #[test]
    fn any_sound_is_taken(samples in prop::collection::vec(any::<i16>(), 0..2_000), rate_hz in any::<u32>()) {
        let mut detector = DtmfDetector::new(rate_hz % 50_000);
        detector.push(&samples);
        detector.push(&samples);
    }
}

fn heard(rate_hz: u32, samples: &[i16]) -> String {
    let mut detector = DtmfDetector::new(rate_hz);
    let frames = samples.chunks((rate_hz / 50) as usize);
    frames.filter_map(|frame| detector.push(frame)).map(DtmfDigit::as_char).collect()
}

/// Between 0 and 1.
fn uniform(random: &mut u64) -> f64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*random >> 11) as f64 / (1_u64 << 53) as f64
}

/// What keys sound like on a line.
struct Line {
    rate_hz: u32,
    samples: Vec<i16>,
    dbm0: [f64; 2],
    detune: [f64; 2],
    noise_dbm0: f64,
    random: u64,
}

impl Line {
    fn new(rate_hz: u32) -> Self {
        Self { rate_hz, samples: Vec::new(), dbm0: [-10.0, -9.0], detune: [0.0; 2], noise_dbm0: -90.0, random: 1 }
    }

    fn key(self, key: char, millis: f64) -> Self {
        let at = KEYS.as_flattened().iter().position(|other| *other == key).unwrap();
        let tones = [TONES_HZ[at / 4], TONES_HZ[4 + at % 4]];
        let hz: [f64; 2] = std::array::from_fn(|part| tones[part] * (1.0 + self.detune[part] / 100.0));
        let amplitudes = self.dbm0.map(|dbm0| DBM0 * 10_f64.powf(dbm0 / 20.0));
        self.play(millis, |at| (0..2).map(|part| amplitudes[part] * (TAU * hz[part] * at + part as f64).sin()).sum())
    }

    fn pause(self, millis: f64) -> Self {
        self.play(millis, |_| 0.0)
    }

    fn play(mut self, millis: f64, wave: impl Fn(f64) -> f64) -> Self {
        let noise = DBM0 / 2_f64.sqrt() * 10_f64.powf(self.noise_dbm0 / 20.0);
        for n in 0..(millis * f64::from(self.rate_hz) / 1_000.0).round() as usize {
            // Close to normal: the sum of twelve has the variance 1.
            let normal = (0..12).map(|_| uniform(&mut self.random)).sum::<f64>() - 6.0;
            let value = wave(n as f64 / f64::from(self.rate_hz)) + noise * normal;
            self.samples.push(value.round().clamp(-32_768.0, 32_767.0) as i16);
        }
        self
    }

    fn keys(&self) -> String {
        heard(self.rate_hz, &self.samples)
    }
}
