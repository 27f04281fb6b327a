//! Louder and softer: fades, a level kept by itself without clipping, and direct current taken out.

use std::f32::consts::TAU;

use super::level::{self, SILENCE_DBFS};
use super::resample::check_rate;
use super::simd::{Level, Simd, dispatch, level};
use crate::error::Result;

/// Multiplies `samples` by a factor that goes evenly from `from` to `to`; what is too loud clips. A factor that is no
/// number makes silence.
pub fn ramp(samples: &mut [i16], from: f32, to: f32) {
    dispatch!(level(), simd => ramp_at(simd, samples, from, to));
}

/// What an [`AutoGain`] goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AutoGainSettings {
    /// The level that speech is brought to.
    pub target_dbfs: f32,
    /// What is softer is background, and left as it is.
    pub gate_dbfs: f32,
    /// Most that is added.
    pub gain_db_max: f32,
    /// Most that is taken away.
    pub cut_db_max: f32,
    /// How quickly the gain moves.
    pub db_per_second: f32,
    /// No sample comes out above this.
    pub peak_dbfs: f32,
}

impl Default for AutoGainSettings {
    fn default() -> Self {
        Self {
            target_dbfs: -22.0,
            gate_dbfs: -50.0,
            gain_db_max: 18.0,
            cut_db_max: 12.0,
            db_per_second: 12.0,
            peak_dbfs: -1.0,
        }
    }
}

/// Brings speech to an even level, frame by frame, and never over its peak: the limiter looks at the whole frame first.
#[derive(Clone, Debug)]
pub struct AutoGain {
    settings: AutoGainSettings,
    rate_hz: f32,
    gain_db: f32,
    /// The factor that the frame before ended with.
    factor: f32,
    level: Level,
}

impl AutoGain {
    /// For sound at `rate_hz`. Settings that are no numbers or out of reach are brought into it.
    ///
    /// `ConfigInvalid` outside [`RATE_HZ_MIN`](super::resample::RATE_HZ_MIN) to
    /// [`RATE_HZ_MAX`](super::resample::RATE_HZ_MAX).
    pub fn new(rate_hz: u32, settings: AutoGainSettings) -> Result<Self> {
        check_rate("audio.gain", rate_hz)?;
        let within = |value: f32, low: f32, high: f32| if value.is_nan() { low } else { value.clamp(low, high) };
        let settings = AutoGainSettings {
            target_dbfs: within(settings.target_dbfs, SILENCE_DBFS, 0.0),
            gate_dbfs: within(settings.gate_dbfs, SILENCE_DBFS, 0.0),
            gain_db_max: within(settings.gain_db_max, 0.0, GAIN_DB_MAX),
            cut_db_max: within(settings.cut_db_max, 0.0, GAIN_DB_MAX),
            db_per_second: within(settings.db_per_second, 0.0, DB_PER_SECOND_MAX),
            peak_dbfs: within(settings.peak_dbfs, SILENCE_DBFS, 0.0),
        };
        Ok(Self { settings, rate_hz: rate_hz as f32, gain_db: 0.0, factor: 1.0, level: level() })
    }

    /// Changes a frame in place.
    pub fn process(&mut self, frame: &mut [i16]) {
        let settings = &self.settings;
        let heard_dbfs = level::rms_dbfs(frame);
        if heard_dbfs > settings.gate_dbfs {
            let wanted_db = (settings.target_dbfs - heard_dbfs).clamp(-settings.cut_db_max, settings.gain_db_max);
            let step_db = settings.db_per_second * frame.len() as f32 / self.rate_hz;
            self.gain_db += (wanted_db - self.gain_db).clamp(-step_db, step_db);
        }
        let factor_max = factor_of(settings.peak_dbfs - level::peak_dbfs(frame));
        let to = factor_of(self.gain_db).min(factor_max);
        let from = self.factor.min(factor_max);
        self.factor = to;
        dispatch!(self.level, simd => ramp_at(simd, frame, from, to));
    }

    /// What is added now; negative for what is taken away.
    pub fn gain_db(&self) -> f32 {
        self.gain_db
    }
}

/// Takes out direct current and hum below the voice, by a filter of one pole at 20 Hz.
#[derive(Clone, Debug)]
pub struct DcBlocker {
    kept: f32,
    before: f32,
    out: f32,
}

impl DcBlocker {
    /// For sound at `rate_hz`.
    ///
    /// `ConfigInvalid` outside [`RATE_HZ_MIN`](super::resample::RATE_HZ_MIN) to
    /// [`RATE_HZ_MAX`](super::resample::RATE_HZ_MAX).
    pub fn new(rate_hz: u32) -> Result<Self> {
        check_rate("audio.gain", rate_hz)?;
        Ok(Self { kept: 1.0 - TAU * CORNER_HZ / rate_hz as f32, before: 0.0, out: 0.0 })
    }

    /// Changes samples in place.
    pub fn process(&mut self, samples: &mut [i16]) {
        for sample in samples {
            let value = f32::from(*sample);
            self.out = value - self.before + self.kept * self.out;
            self.before = value;
            *sample = super::resample::sample_from(self.out);
        }
    }
}

const GAIN_DB_MAX: f32 = 60.0;
const DB_PER_SECOND_MAX: f32 = 10_000.0;
const CORNER_HZ: f32 = 20.0;

fn factor_of(db: f32) -> f32 {
    10_f32.powf(db / 20.0)
}

#[inline(always)]
fn ramp_at<S: Simd>(_simd: S, samples: &mut [i16], from: f32, to: f32) {
    let step = (to - from) / samples.len().max(1) as f32;
    for (n, sample) in samples.iter_mut().enumerate() {
        let value = f32::from(*sample) * (from + step * (n as u32 as f32));
        *sample = super::resample::sample_from(if value.is_nan() { 0.0 } else { value });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::simd::levels;
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_ramp_goes_evenly() {
        let mut samples = [1_000; 5];
        ramp(&mut samples, 1.0, 0.0);
        assert_eq!(samples, [1_000, 800, 600, 400, 200]);
        ramp(&mut samples, 100.0, 100.0);
        assert_eq!(samples, [i16::MAX, i16::MAX, i16::MAX, i16::MAX, 20_000]);
        ramp(&mut samples, f32::NAN, 1.0);
        assert_eq!(samples, [0; 5]);
    }

    #[test]
    fn soft_speech_is_raised_and_loud_speech_lowered_to_the_target() {
        for amplitude in [600.0, 8_000.0] {
            let mut gain = AutoGain::new(8_000, AutoGainSettings::default()).unwrap();
            let mut last = Vec::new();
            for n in 0..150 {
                last = tone(amplitude, n);
                gain.process(&mut last);
            }
            let got_dbfs = level::rms_dbfs(&last);
            assert!((got_dbfs + 22.0).abs() < 0.5, "{amplitude}: {got_dbfs}");
        }
    }

    #[test]
    fn background_is_left_alone_and_nothing_clips() {
        let mut gain = AutoGain::new(8_000, AutoGainSettings::default()).unwrap();
        for n in 0..100 {
            let mut soft = tone(50.0, n);
            gain.process(&mut soft);
            assert_eq!(soft, tone(50.0, n));
        }
        for n in 0..100 {
            gain.process(&mut tone(500.0, n));
        }
        assert!(gain.gain_db() > 10.0);
        let mut shout = tone(32_000.0, 0);
        gain.process(&mut shout);
        let peak = level::peak_dbfs(&shout);
        assert!(peak <= -0.99 && peak > -2.0, "{peak}");
    }

    #[test]
    fn direct_current_goes_and_the_voice_stays() {
        let mut blocker = DcBlocker::new(8_000).unwrap();
        let mut samples: Vec<i16> = (0..50).flat_map(|n| tone(5_000.0, n)).map(|sample| sample + 3_000).collect();
        blocker.process(&mut samples);
        let steady = &samples[4_000..];
        let mean = steady.iter().map(|sample| i64::from(*sample)).sum::<i64>() / steady.len() as i64;
        assert!(mean.abs() < 3, "{mean}");
        assert!((level::rms_dbfs(steady) - level::rms_dbfs(&tone(5_000.0, 0))).abs() < 0.1);
    }

    #[test]
    fn rates_beyond_reason_are_refused() {
        assert_eq!(DcBlocker::new(0).unwrap_err().kind(), ErrorKind::ConfigInvalid);
        assert_eq!(AutoGain::new(0, AutoGainSettings::default()).unwrap_err().kind(), ErrorKind::ConfigInvalid);
    }

    proptest! {
        #[test]
        fn every_level_of_vectors_ramps_alike(
            samples in prop::collection::vec(any::<i16>(), 0..200),
            from in prop::num::f32::ANY,
            to in prop::num::f32::ANY,
        ) {
            let mut expected = samples.clone();
            let step = (to - from) / samples.len().max(1) as f32;
            for (n, sample) in expected.iter_mut().enumerate() {
                let value = f32::from(*sample) * (from + step * n as f32);
                *sample = if value.is_nan() { 0 } else { value.round_ties_even().clamp(-32_768.0, 32_767.0) as i16 };
            }
            for level in levels() {
                let mut got = samples.clone();
                dispatch!(level, simd => ramp_at(simd, &mut got, from, to));
                prop_assert_eq!(&got, &expected);
            }
        }

        #[test]
        fn no_settings_and_no_sound_bring_it_over_its_peak(
            settings in prop::array::uniform5(prop::num::f32::ANY),
            frames in prop::collection::vec(prop::collection::vec(any::<i16>(), 0..300), 0..5),
        ) {
            let [target_dbfs, gate_dbfs, gain_db_max, cut_db_max, db_per_second] = settings;
            let settings =
                AutoGainSettings { target_dbfs, gate_dbfs, gain_db_max, cut_db_max, db_per_second, peak_dbfs: -1.0 };
            let mut gain = AutoGain::new(8_000, settings).unwrap();
            for mut frame in frames {
                gain.process(&mut frame);
                prop_assert!(level::peak_dbfs(&frame) < -0.99);
            }
        }
    }

    fn tone(amplitude: f32, frame: usize) -> Vec<i16> {
        let at = |n: usize| (amplitude * (TAU * 0.05 * (frame * 160 + n) as f32).sin()) as i16;
        (0..160).map(at).collect()
    }
}
