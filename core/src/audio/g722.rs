//! ITU-T G.722 (09/2012), mode 1: 7 kHz of speech in 64 kbit/s, two samples at 16 kHz to a byte.
//!
//! A pair of mirror filters splits the band in two of 8 kHz each; the lower is coded in six bits a sample and the higher
//! in two, each as the difference from a prediction that the decoder makes as well. Names in upper case are the blocks
//! of the recommendation.

use super::simd::{Simd, dispatch, level};

/// Samples of one byte.
pub const SAMPLES_PER_BYTE: usize = 2;

/// Codes a stream.
#[derive(Clone, Debug)]
pub struct Encoder {
    low: Band,
    high: Band,
    heard: [i32; MEMORY],
    /// The first sample of a pair whose second has not come.
    half: Option<i16>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// At the start of a stream.
    pub const fn new() -> Self {
        Self { low: Band::new(LOW_SCALE), high: Band::new(HIGH_SCALE), heard: [0; MEMORY], half: None }
    }

    /// Appends the bytes that `samples` at 16 kHz complete to `bytes`; an odd one waits for the next call.
    pub fn encode(&mut self, samples: &[i16], bytes: &mut Vec<u8>) {
        let mut samples = samples;
        if let (Some(first), Some((second, rest))) = (self.half, samples.split_first()) {
            dispatch!(level(), simd => self.encode_pairs(simd, &[[first, *second]], bytes));
            self.half = None;
            samples = rest;
        }
        let (pairs, rest) = samples.as_chunks::<SAMPLES_PER_BYTE>();
        for pairs in pairs.chunks(PAIRS) {
            dispatch!(level(), simd => self.encode_pairs(simd, pairs, bytes));
        }
        if let [sample] = rest {
            self.half = Some(*sample);
        }
    }

    /// Whether a sample waits for the one that makes a byte with it.
    pub const fn has_half(&self) -> bool {
        self.half.is_some()
    }

    /// Codes at most [`PAIRS`] pairs.
    #[inline(always)]
    fn encode_pairs<S: Simd>(&mut self, _simd: S, pairs: &[[i16; 2]], bytes: &mut Vec<u8>) {
        let mut line = [0; MEMORY + 2 * PAIRS];
        line[..MEMORY].copy_from_slice(&self.heard);
        for (slot, sample) in line[MEMORY..].iter_mut().zip(pairs.as_flattened()) {
            *slot = i32::from(*sample);
        }
        for n in 0..pairs.len() {
            let Some(window) = line[2 * n..].first_chunk() else { return };
            let (even, odd) = mirror(window);
            let low = self.encode_low((odd + even) >> 14);
            let high = self.encode_high((odd - even) >> 14);
            bytes.push((high << 6 | low) as u8);
        }
        self.heard.copy_from_slice(&line[2 * pairs.len()..][..MEMORY]);
    }

    /// Six bits of the lower band: QUANTL and what follows from it.
    #[inline(always)]
    fn encode_low(&mut self, sample: i32) -> usize {
        let band = &mut self.low;
        let difference = clip(sample - band.predicted);
        let magnitude = difference ^ (difference >> 31);
        let level = level_of(magnitude, band.scale);
        let code = if difference < 0 { LOW_NEGATIVE[level] } else { LOW_POSITIVE[level] };
        band.adapt_low(usize::from(code));
        usize::from(code)
    }

    /// Two bits of the higher band: QUANTH and what follows from it.
    #[inline(always)]
    fn encode_high(&mut self, sample: i32) -> usize {
        let band = &mut self.high;
        let difference = clip(sample - band.predicted);
        let magnitude = difference ^ (difference >> 31);
        let is_outer = magnitude >= (HIGH_LEVEL * band.scale) >> 12;
        let code = (usize::from(difference >= 0) << 1) | usize::from(!is_outer);
        band.adapt_high(code);
        code
    }
}

/// Decodes a stream.
#[derive(Clone, Debug)]
pub struct Decoder {
    low: Band,
    high: Band,
    heard: [i32; MEMORY],
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// At the start of a stream.
    pub const fn new() -> Self {
        Self { low: Band::new(LOW_SCALE), high: Band::new(HIGH_SCALE), heard: [0; MEMORY] }
    }

    /// Appends two samples at 16 kHz for each of `bytes` to `samples`.
    pub fn decode(&mut self, bytes: &[u8], samples: &mut Vec<i16>) {
        for bytes in bytes.chunks(PAIRS) {
            dispatch!(level(), simd => self.decode_bytes(simd, bytes, samples));
        }
    }

    /// Decodes at most [`PAIRS`] bytes.
    #[inline(always)]
    fn decode_bytes<S: Simd>(&mut self, _simd: S, bytes: &[u8], samples: &mut Vec<i16>) {
        let mut line = [0; MEMORY + 2 * PAIRS];
        line[..MEMORY].copy_from_slice(&self.heard);
        for (pair, byte) in line[MEMORY..].as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
            let low = self.decode_low(usize::from(byte & 0x3f));
            let high = self.decode_high(usize::from(byte >> 6));
            *pair = [low + high, low - high];
        }
        for n in 0..bytes.len() {
            let Some(window) = line[2 * n..].first_chunk() else { return };
            let (even, odd) = mirror(window);
            samples.extend([clip(odd >> 11) as i16, clip(even >> 11) as i16]);
        }
        self.heard.copy_from_slice(&line[2 * bytes.len()..][..MEMORY]);
    }

    #[inline(always)]
    fn decode_low(&mut self, code: usize) -> i32 {
        let band = &mut self.low;
        let difference = (band.scale * LOW_OUTPUT[code]) >> 15;
        let sample = (band.predicted + difference).clamp(-BAND_MAX - 1, BAND_MAX);
        band.adapt_low(code);
        sample
    }

    #[inline(always)]
    fn decode_high(&mut self, code: usize) -> i32 {
        let band = &mut self.high;
        let sample = (band.predicted + ((band.scale * HIGH_OUTPUT[code]) >> 15)).clamp(-BAND_MAX - 1, BAND_MAX);
        band.adapt_high(code);
        sample
    }
}

/// Pairs worked off at once: 20 ms.
const PAIRS: usize = 160;
/// Samples that the mirror filters look back on.
const MEMORY: usize = FILTER - 2;
const FILTER: usize = 24;
/// Most that a band's sample can be.
const BAND_MAX: i32 = 16_383;

/// The predictor of one band and the scale of its differences.
#[derive(Clone, Debug)]
struct Band {
    /// The next sample by both predictors.
    predicted: i32,
    /// The same by the zeros alone.
    predicted_by_zeros: i32,
    /// The last two samples as the decoder has them.
    rebuilt: [i32; 2],
    /// The last two differences plus what the zeros had predicted.
    partial: [i32; 2],
    poles: [i32; 2],
    differences: [i32; PLACES],
    zeros: [i32; PLACES],
    log_scale: i32,
    scale: i32,
}

const ZEROS: usize = 6;
/// Places of the zeros: two more, of which the differences stay zero, make a whole vector.
const PLACES: usize = 8;
/// The scales at the start of a stream.
const LOW_SCALE: i32 = 32;
const HIGH_SCALE: i32 = 8;

impl Band {
    const fn new(scale: i32) -> Self {
        Self {
            predicted: 0,
            predicted_by_zeros: 0,
            rebuilt: [0; 2],
            partial: [0; 2],
            poles: [0; 2],
            differences: [0; PLACES],
            zeros: [0; PLACES],
            log_scale: 0,
            scale,
        }
    }

    /// INVQAL, LOGSCL, SCALEL and the predictor, by the four upper bits of the code.
    #[inline(always)]
    fn adapt_low(&mut self, code: usize) {
        let coarse = code >> 2;
        let difference = (self.scale * LOW_COARSE[coarse]) >> 15;
        self.log_scale = ((self.log_scale * 127) >> 7) + LOW_STEPS[coarse];
        self.log_scale = self.log_scale.clamp(0, 18_432);
        self.scale = linear_scale(self.log_scale, 8);
        self.predict(difference);
    }

    /// INVQAH, LOGSCH, SCALEH and the predictor.
    #[inline(always)]
    fn adapt_high(&mut self, code: usize) {
        let difference = (self.scale * HIGH_OUTPUT[code]) >> 15;
        self.log_scale = ((self.log_scale * 127) >> 7) + HIGH_STEPS[code];
        self.log_scale = self.log_scale.clamp(0, 22_528);
        self.scale = linear_scale(self.log_scale, 10);
        self.predict(difference);
    }

    /// Learns from a difference and predicts the next sample.
    #[inline(always)]
    fn predict(&mut self, difference: i32) {
        let rebuilt = clip(self.predicted + difference);
        let partial = clip(self.predicted_by_zeros + difference);
        self.adapt_poles(partial);
        self.adapt_zeros(difference);
        self.rebuilt = [rebuilt, self.rebuilt[0]];
        self.partial = [partial, self.partial[0]];
        self.differences.copy_within(..ZEROS - 1, 1);
        self.differences[0] = difference;

        let by_poles: i32 = self.poles.iter().zip(self.rebuilt).map(|(pole, r)| (pole * clip(2 * r)) >> 15).sum();
        let mut by_zeros = 0;
        for n in 0..PLACES {
            by_zeros += (self.zeros[n] * clip(2 * self.differences[n])) >> 15;
        }
        self.predicted_by_zeros = clip(by_zeros);
        self.predicted = clip(clip(by_poles) + self.predicted_by_zeros);
    }

    /// UPPOL2 and UPPOL1.
    #[inline(always)]
    fn adapt_poles(&mut self, partial: i32) {
        let [first, second] = self.poles;
        let [same, same_before] = self.partial.map(|before| (partial < 0) == (before < 0));
        let slope = clip(if same { -clip(4 * first) } else { clip(4 * first) }) >> 7;
        let step = if same_before { 128 } else { -128 };
        let second = (slope + step + ((second * 32_512) >> 15)).clamp(-12_288, 12_288);
        let step = if same { 192 } else { -192 };
        let first = clip(((first * 32_640) >> 15) + step);
        let first_max = 15_360 - second;
        self.poles = [first.clamp(-first_max, first_max), second];
    }

    /// UPZERO.
    #[inline(always)]
    fn adapt_zeros(&mut self, difference: i32) {
        let step = if difference == 0 { 0 } else { 128 };
        for n in 0..PLACES {
            let differs = (difference ^ self.differences[n]) >> 31;
            // Too small to need clipping: a zero stays below 128 * 256.
            self.zeros[n] = ((step ^ differs) - differs) + ((self.zeros[n] * 32_640) >> 15);
        }
    }
}

/// SCALEL and SCALEH.
#[inline(always)]
fn linear_scale(log_scale: i32, exponent: i32) -> i32 {
    let mantissa = SCALES[(log_scale >> 6) as usize & 31];
    let shift = exponent - (log_scale >> 11);
    (if shift < 0 { mantissa << -shift } else { mantissa >> shift }) << 2
}

/// How many decision levels a magnitude reaches, plus one: 1 to 30.
#[inline(always)]
fn level_of(magnitude: i32, scale: i32) -> usize {
    let mut reached = 0;
    for step in [16, 8, 4, 2, 1] {
        let next = reached + step;
        let is_reached = magnitude >= (LOW_LEVELS[next] * scale) >> 12;
        reached = if is_reached { next } else { reached };
    }
    (reached + 1).min(LOW_POSITIVE.len() - 1)
}

/// Both mirror filters: one over the even places of the window, the other over the odd ones.
#[inline(always)]
fn mirror(window: &[i32; FILTER]) -> (i32, i32) {
    let (mut even, mut odd) = (0, 0);
    for n in 0..FILTER / 2 {
        even += window[2 * n] * MIRROR[n];
        odd += window[2 * n + 1] * MIRROR[FILTER / 2 - 1 - n];
    }
    (even, odd)
}

/// Saturates to 16 bits.
#[inline(always)]
fn clip(value: i32) -> i32 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX))
}

/// Half of the coefficients of the mirror filters, which are the same from either end (table 11).
const MIRROR: [i32; FILTER / 2] = [3, -11, 12, 32, -210, 951, 3_876, -805, 362, -156, 53, -11];

/// Decision levels of the lower band (table 14); the last one thrice, to fill up a power of two.
const LOW_LEVELS: [i32; 32] = [
    0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1_023, 1_121, 1_219,
    1_339, 1_458, 1_612, 1_765, 1_980, 2_195, 2_557, 2_919, 2_919, 2_919,
];
/// Codes of the lower band for negative differences and for others, by decision level (table 14).
const LOW_NEGATIVE: [u8; 31] = [
    0, 63, 62, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4,
];
const LOW_POSITIVE: [u8; 31] = [
    0, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39, 38, 37, 36, 35, 34,
    33, 32,
];

/// Differences of the lower band by all six bits and by the upper four, as parts of the scale (table 17).
const LOW_OUTPUT: [i32; 64] = [
    -136, -136, -136, -136, -24_808, -21_904, -19_008, -16_704, -14_984, -13_512, -12_280, -11_192, -10_232, -9_360,
    -8_576, -7_856, -7_192, -6_576, -6_000, -5_456, -4_944, -4_464, -4_008, -3_576, -3_168, -2_776, -2_400, -2_032,
    -1_688, -1_360, -1_040, -728, 24_808, 21_904, 19_008, 16_704, 14_984, 13_512, 12_280, 11_192, 10_232, 9_360, 8_576,
    7_856, 7_192, 6_576, 6_000, 5_456, 4_944, 4_464, 4_008, 3_576, 3_168, 2_776, 2_400, 2_032, 1_688, 1_360, 1_040,
    728, 432, 136, -432, -136,
];
const LOW_COARSE: [i32; 16] =
    [0, -20_456, -12_896, -8_968, -6_288, -4_240, -2_584, -1_200, 20_456, 12_896, 8_968, 6_288, 4_240, 2_584, 1_200, 0];

/// How the logarithm of the scale moves, by the upper four bits in the lower band and by the code in the higher.
const LOW_STEPS: [i32; 16] = [-60, 3_042, 1_198, 538, 334, 172, 58, -30, 3_042, 1_198, 538, 334, 172, 58, -30, -60];
const HIGH_STEPS: [i32; 4] = [798, -214, 798, -214];

/// The decision level of the higher band and its differences.
const HIGH_LEVEL: i32 = 564;
const HIGH_OUTPUT: [i32; 4] = [-7_408, -1_616, 7_408, 1_616];

/// The fractional powers of two of the scales.
const SCALES: [i32; 32] = [
    2_048, 2_093, 2_139, 2_186, 2_233, 2_282, 2_332, 2_383, 2_435, 2_489, 2_543, 2_599, 2_656, 2_714, 2_774, 2_834,
    2_896, 2_960, 3_025, 3_091, 3_158, 3_228, 3_298, 3_371, 3_444, 3_520, 3_597, 3_676, 3_756, 3_838, 3_922, 4_008,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What spandsp 0.0.6, which passes the test sequences of the ITU, makes of the same samples: hashes of the bytes
    /// and of the samples decoded from them.
    const PEER: [(u64, u64); 4] = [
        (0x46be_e500_18e2_8488, 0x3671_c9fe_2c0d_eb9d),
        (0x78a0_b05c_376f_26cf, 0xeb60_8fec_5b1b_2d53),
        (0x900e_a673_13c0_a832, 0x6a12_b488_263b_e2ec),
        (0xe444_fe54_1c50_1c47, 0x63ce_8f04_bd86_c59e),
    ];

    #[test]
    fn bytes_and_samples_are_those_of_a_proven_peer() {
        for (sound, (coded, decoded)) in sounds(&mut Random(1)).iter().zip(PEER) {
            let bytes = encoded(sound);
            assert_eq!(hash(bytes.iter().copied()), coded);
            assert_eq!(hash(decoded_of(&bytes).iter().flat_map(|sample| sample.to_le_bytes())), decoded);
        }
    }

    #[test]
    fn a_tone_of_either_band_comes_back_late_and_clean() {
        for (tone_hz, snr_db_min) in [(1_000.0, 30.0), (3_000.0, 25.0), (6_000.0, 10.0)] {
            let step = std::f64::consts::TAU * tone_hz / 16_000.0;
            let sound: Vec<i16> = (0..16_000).map(|n| (8_000.0 * (f64::from(n) * step).sin()) as i16).collect();
            let back = decoded_of(&encoded(&sound));
            // Both filters together come 22 samples late.
            let (mut signal, mut noise) = (0.0, 0.0);
            for (before, after) in sound[4_000..].iter().zip(&back[4_022..]) {
                signal += f64::from(*before).powi(2);
                noise += (f64::from(*before) - f64::from(*after)).powi(2);
            }
            let snr_db = 10.0 * (signal / noise).log10();
            assert!(snr_db > snr_db_min, "{tone_hz} Hz: {snr_db:.1} dB");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn cuts_do_not_change_the_stream(
            samples in prop::collection::vec(any::<i16>(), 0..1_000),
            cut in 0_usize..1_000,
        ) {
            let cut = cut.min(samples.len());
            let (mut encoder, mut bytes) = (Encoder::new(), Vec::new());
            encoder.encode(&samples[..cut], &mut bytes);
            encoder.encode(&samples[cut..], &mut bytes);
            prop_assert_eq!(encoder.has_half(), samples.len() % 2 == 1);
            prop_assert_eq!(&bytes, &encoded(&samples));

            let cut = cut.min(bytes.len());
            let (mut decoder, mut pieces) = (Decoder::new(), Vec::new());
            decoder.decode(&bytes[..cut], &mut pieces);
            decoder.decode(&bytes[cut..], &mut pieces);
            prop_assert_eq!(pieces, decoded_of(&bytes));
        }
    }

    fn encoded(samples: &[i16]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Encoder::new().encode(samples, &mut bytes);
        bytes
    }

    fn decoded_of(bytes: &[u8]) -> Vec<i16> {
        let mut samples = Vec::new();
        Decoder::new().decode(bytes, &mut samples);
        samples
    }

    /// A triangle, noise, a square, and bursts over noise, two seconds each and none so loud that it clips, where the peer
    /// wraps.
    fn sounds(random: &mut Random) -> [Vec<i16>; 4] {
        std::array::from_fn(|kind| {
            let sample = |n: i32| {
                let noise = i32::from((random.next() >> 16) as i16);
                let phase = n * 37 % 4_000;
                let triangle = if phase < 2_000 { phase - 1_000 } else { 3_000 - phase };
                let value = match kind {
                    0 => triangle * 8,
                    1 => noise / 4,
                    2 if n / 50 % 2 == 0 => -8_000,
                    2 => 8_000,
                    _ => triangle * 20 * (n / 1_600 % 2) + noise / 64,
                };
                value as i16
            };
            (0..32_000).map(sample).collect()
        })
    }

    struct Random(u32);

    impl Random {
        fn next(&mut self) -> u32 {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            self.0
        }
    }

    /// FNV-1a.
    fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
    }
}
