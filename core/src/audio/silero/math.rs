//! Curves of the LSTM, without a branch, so that loops over them become vectors.

/// `1 / (1 + exp(-x))`, within 2e-7.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Within 4e-7.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    2.0 * sigmoid(2.0 * x) - 1.0
}

/// `e^x` by `2^n e^r` with `|r| <= ln(2)/2` and the series of `e^r`, within 4e-7 of it; stays within normal numbers.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Adding it leaves a whole number in the lowest bits.
    const ROUNDING: f32 = 12_582_912.0;
    /// ln(2) in two parts, the first with so few digits that its multiples are exact.
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    const SERIES: [f32; 6] = [1.0, 1.0, 0.5, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0];
    let x = x.clamp(-87.0, 87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUNDING;
    let n = shifted - ROUNDING;
    let r = (x - n * LN_2.0) - n * LN_2.1;
    let mut sum = 1.0 / 720.0;
    for term in SERIES.into_iter().rev() {
        sum = sum * r + term;
    }
    // The bits of the exponent: n is -126 to 126, and so is what it adds.
    f32::from_bits(sum.to_bits().wrapping_add(shifted.to_bits() << 23))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_what_they_should_be_everywhere() {
        for step in -40_000..=40_000 {
            let x = step as f32 / 400.0;
            let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(sigmoid(x)) - exact).abs() < 2e-7, "{x}");
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 4e-7, "{x}");
        }
        for huge in [f32::INFINITY, 3e38] {
            assert_eq!((sigmoid(huge), tanh(huge)), (1.0, 1.0));
            assert!(sigmoid(-huge) < 1e-37 && tanh(-huge) == -1.0);
        }
    }
}
