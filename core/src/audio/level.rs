//! How loud: levels in dBFS, where 0 dBFS is the power of a full-scale square wave, so a full-scale sine has -3 dBFS.

/// The level given to digital silence, and the lowest given to anything: below the smallest 16-bit signal (-90.3 dBFS
/// for a square wave of one step).
pub const SILENCE_DBFS: f32 = -100.0;

/// The mean power of a frame without its direct current, as a fraction of full scale: 0 to 1. Zero when empty.
pub fn power(samples: &[i16]) -> f32 {
    let (sum, sum_of_squares) = sums(samples);
    if samples.is_empty() {
        return 0.0;
    }
    // Both sums are whole numbers below 2^53 up to 2^23 samples, so that direct current cancels exactly.
    let count = samples.len() as f64;
    let variance = (sum_of_squares as f64 - sum as f64 * (sum as f64 / count)) / count;
    (variance.max(0.0) / FULL_SCALE_POWER) as f32
}

/// Root-mean-square level without direct current, in dBFS; [`SILENCE_DBFS`] at least.
pub fn rms_dbfs(samples: &[i16]) -> f32 {
    power_to_dbfs(power(samples))
}

/// Level of the largest sample, in dBFS; [`SILENCE_DBFS`] at least.
pub fn peak_dbfs(samples: &[i16]) -> f32 {
    let peak = samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
    let fraction = f32::from(peak) / FULL_SCALE;
    power_to_dbfs(fraction * fraction)
}

/// A fraction of full-scale power in dBFS; [`SILENCE_DBFS`] at least.
pub fn power_to_dbfs(power: f32) -> f32 {
    (10.0 * power.log10()).max(SILENCE_DBFS)
}

/// The fraction of full-scale power, or the ratio of powers, of so many decibels.
pub fn power_from_db(db: f32) -> f32 {
    10_f32.powf(db / 10.0)
}

const FULL_SCALE: f32 = 32_768.0;
const FULL_SCALE_POWER: f64 = 32_768.0 * 32_768.0;
/// Samples whose squares are summed in halves of 32 bits: 2^15 of the upper halves (2^22 at most) would not fit.
const BLOCK_SAMPLES: usize = 256;

/// The sum and the sum of squares, exact.
fn sums(samples: &[i16]) -> (i64, u64) {
    samples.chunks(BLOCK_SAMPLES).fold((0, 0), |(sum, squares), block| {
        let (mut block_sum, mut upper, mut lower) = (0_i32, 0_u32, 0_u32);
        for sample in block {
            let sample = i32::from(*sample);
            let square = (sample * sample) as u32;
            block_sum += sample;
            upper += square >> 8;
            lower += square & 0xff;
        }
        (sum + i64::from(block_sum), squares + (u64::from(upper) << 8) + u64::from(lower))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_signals_have_known_levels() {
        let square: Vec<i16> = (0..160).map(|n| if n % 2 == 0 { 16_384 } else { -16_384 }).collect();
        assert_near(rms_dbfs(&square), -6.02);
        assert_near(peak_dbfs(&square), -6.02);

        let sine: Vec<i16> =
            (0..160).map(|n| (32_767.0 * (f64::from(n) * std::f64::consts::TAU / 8.0).sin()).round() as i16).collect();
        assert_near(rms_dbfs(&sine), -3.01);
        assert_near(peak_dbfs(&sine), 0.0);
        assert_near(peak_dbfs(&[i16::MIN]), 0.0);
    }

    #[test]
    fn silence_and_direct_current_are_silent() {
        for quiet in [[0; 160], [1_000; 160], [i16::MIN; 160], [i16::MAX; 160]] {
            assert_eq!(rms_dbfs(&quiet), SILENCE_DBFS);
        }
        assert_eq!([rms_dbfs(&[]), peak_dbfs(&[]), peak_dbfs(&[0])], [SILENCE_DBFS; 3]);
    }

    #[test]
    fn decibels_and_power_are_inverse() {
        for db in [-60.0, -3.0, 0.0, 6.0] {
            assert_near(power_to_dbfs(power_from_db(db)), db);
        }
    }

    proptest! {
        #[test]
        fn sums_are_exact(samples in prop::collection::vec(any::<i16>(), 0..1_000)) {
            let sum = samples.iter().map(|sample| i64::from(*sample)).sum();
            let squares = samples.iter().map(|sample| u64::from(sample.unsigned_abs()).pow(2)).sum();
            prop_assert_eq!(sums(&samples), (sum, squares));
            prop_assert!((0.0..=1.0).contains(&power(&samples)));
        }
    }

    fn assert_near(level: f32, expected: f32) {
        assert!((level - expected).abs() < 0.01, "{level} dBFS is not {expected} dBFS");
    }
}
