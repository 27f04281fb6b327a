//! Comfort noise of RFC 3389: silence described by a level and a spectrum, and made audible again.

use super::level::{self, power_from_db};
use crate::error::{Error, ErrorKind, Result};

/// Coefficients of a spectrum at most.
pub const ORDER_MAX: usize = 12;

/// Bytes of a description at most.
pub const DESCRIPTION_BYTES_MAX: usize = 1 + ORDER_MAX;

/// Describes the background of `samples` with `order` coefficients, [`ORDER_MAX`] at most: its level, then its spectrum.
/// Returns how many bytes of `description` are used.
pub fn describe(samples: &[i16], order: usize, description: &mut [u8; DESCRIPTION_BYTES_MAX]) -> usize {
    let order = order.min(ORDER_MAX);
    let level_db = -level::rms_dbfs(samples);
    description[0] = level_db.round().clamp(0.0, LEVEL_DB_MAX) as u8;
    let reflections = reflections(samples, order);
    for (byte, reflection) in description[1..=order].iter_mut().zip(reflections) {
        *byte = (reflection / REFLECTION_STEP + REFLECTION_ZERO).round().clamp(0.0, REFLECTION_MAX) as u8;
    }
    1 + order
}

/// Makes noise by a description: the same noise from the same seed.
#[derive(Clone, Debug)]
pub struct ComfortNoise {
    random: u32,
    gain: f32,
    order: usize,
    reflections: [f32; ORDER_MAX],
    lattice: [f32; ORDER_MAX + 1],
}

impl ComfortNoise {
    /// Silent until something is described.
    pub fn new(seed: u32) -> Self {
        // Zero would stay zero.
        Self { random: seed | 1, gain: 0.0, order: 0, reflections: [0.0; ORDER_MAX], lattice: [0.0; ORDER_MAX + 1] }
    }

    /// Takes a payload of RFC 3389: a level in -dBov, then reflection coefficients.
    ///
    /// `Unexpected` for an empty one. Coefficients after the first [`ORDER_MAX`] are left out.
    pub fn update(&mut self, payload: &[u8]) -> Result<()> {
        let [level, spectrum @ ..] = payload else {
            return Err(Error::new(ErrorKind::Unexpected, "audio.noise", "comfort noise without a level"));
        };
        self.order = spectrum.len().min(ORDER_MAX);
        let mut whitened = 1.0;
        for (reflection, byte) in self.reflections.iter_mut().zip(spectrum) {
            // 255 is reserved, and would make the filter ring for ever.
            *reflection = (f32::from(*byte).min(REFLECTION_MAX) - REFLECTION_ZERO) * REFLECTION_STEP;
            whitened *= 1.0 - *reflection * *reflection;
        }
        let power = power_from_db(-f32::from(level & LEVEL_MASK));
        self.gain = FULL_SCALE * (power * whitened.max(0.0) * UNIFORM).sqrt();
        Ok(())
    }

    /// Fills `samples` with noise.
    pub fn fill(&mut self, samples: &mut [i16]) {
        for sample in samples {
            let mut value = self.next_random() * self.gain;
            for n in (0..self.order).rev() {
                value -= self.reflections[n] * self.lattice[n];
                self.lattice[n + 1] = self.lattice[n] + self.reflections[n] * value;
            }
            self.lattice[0] = value;
            *sample = value.round() as i16;
        }
    }

    /// From -1 to 1, all as likely.
    fn next_random(&mut self) -> f32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random as i32 as f32 / -(i32::MIN as f32)
    }
}

const LEVEL_DB_MAX: f32 = 127.0;
const LEVEL_MASK: u8 = 0x7f;
/// RFC 3389, 3.2: a byte N is the coefficient 258 (N - 127) / 32768.
const REFLECTION_STEP: f32 = 258.0 / 32_768.0;
const REFLECTION_ZERO: f32 = 127.0;
const REFLECTION_MAX: f32 = 254.0;
const FULL_SCALE: f32 = 32_768.0;
/// The inverse of the power of uniform noise from -1 to 1.
const UNIFORM: f32 = 3.0;

/// By the recursion of Levinson and Durbin. All zero for silence.
fn reflections(samples: &[i16], order: usize) -> [f32; ORDER_MAX] {
    let mut likeness = [0.0_f64; ORDER_MAX + 1];
    for (lag, likeness) in likeness.iter_mut().enumerate().take(order + 1) {
        let later = samples.get(lag..).unwrap_or_default();
        *likeness = samples.iter().zip(later).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    }
    let mut reflections = [0.0; ORDER_MAX];
    let mut predictor = [0.0_f64; ORDER_MAX + 1];
    let mut error = likeness[0];
    for n in 1..=order {
        if error <= 0.0 {
            break;
        }
        let sum: f64 = (1..n).map(|k| predictor[k] * likeness[n - k]).sum();
        let reflection = -(likeness[n] + sum) / error;
        let before = predictor;
        for k in 1..n {
            predictor[k] = before[k] + reflection * before[n - k];
        }
        predictor[n] = reflection;
        error *= 1.0 - reflection * reflection;
        reflections[n - 1] = reflection as f32;
    }
    reflections
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn noise_has_the_level_that_was_described() {
        for level_db in [30_u8, 45, 60] {
            let mut noise = ComfortNoise::new(7);
            noise.update(&[level_db]).unwrap();
            let got_db = level::rms_dbfs(&filled(&mut noise));
            assert!((got_db + f32::from(level_db)).abs() < 0.5, "{got_db} for -{level_db}");
        }
    }

    #[test]
    fn a_description_survives_being_made_audible() {
        let mut coloured = ComfortNoise::new(3);
        coloured.update(&[40, 20, 150, 110]).unwrap();
        let mut description = [0; DESCRIPTION_BYTES_MAX];
        let used = describe(&filled(&mut coloured), 3, &mut description);
        assert_eq!(used, 4);
        for (got, expected) in description[..4].iter().zip([40_u8, 20, 150, 110]) {
            assert!(got.abs_diff(expected) <= 4, "{description:?}");
        }
    }

    #[test]
    fn one_seed_gives_one_noise() {
        let of = |seed| {
            let mut noise = ComfortNoise::new(seed);
            noise.update(&[30, 100]).unwrap();
            filled(&mut noise)
        };
        assert_eq!(of(5), of(5));
        assert_ne!(of(5), of(9));
    }

    #[test]
    fn silence_is_described_and_an_empty_payload_refused() {
        let mut description = [0; DESCRIPTION_BYTES_MAX];
        assert_eq!(describe(&[0; 160], 2, &mut description), 3);
        assert_eq!(description[..3], [100, 127, 127]);
        assert_eq!(ComfortNoise::new(1).update(&[]).unwrap_err().kind(), ErrorKind::Unexpected);
    }

    proptest! {
        #[test]
        fn any_payload_gives_noise_that_stays_in_bounds(payload in prop::collection::vec(any::<u8>(), 1..20), seed: u32) {
            let mut noise = ComfortNoise::new(seed);
            noise.update(&payload).unwrap();
            filled(&mut noise);
            // Nothing of it stays behind.
            noise.update(&[60]).unwrap();
            filled(&mut noise);
            let got_db = level::rms_dbfs(&filled(&mut noise));
            prop_assert!((got_db + 60.0).abs() < 0.5, "{}", got_db);
        }
    }

    fn filled(noise: &mut ComfortNoise) -> Vec<i16> {
        let mut samples = vec![0; 16_000];
        noise.fill(&mut samples);
        samples
    }
}
