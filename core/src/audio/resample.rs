//! From one sample rate to another, as a stream.
//!
//! Inside runs rubato's FFT overlap-add resampler on blocks of 10 ms, so that a frame goes in and a whole frame comes out.

use std::fmt;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

use crate::error::{Error, ErrorKind, Result};

/// Least sample rate of any audio here.
pub const RATE_HZ_MIN: u32 = 4_000;

/// Greatest sample rate of any audio here.
pub const RATE_HZ_MAX: u32 = 192_000;

/// `ConfigInvalid` for a rate outside [`RATE_HZ_MIN`] to [`RATE_HZ_MAX`].
pub(crate) fn check_rate(operation: &'static str, rate_hz: u32) -> Result<()> {
    if !(RATE_HZ_MIN..=RATE_HZ_MAX).contains(&rate_hz) {
        return Err(Error::new(ErrorKind::ConfigInvalid, operation, "a sample rate is 4 to 192 kHz")
            .with_context("rate_hz", rate_hz));
    }
    Ok(())
}

/// Changes the sample rate of a stream of samples, pushed in pieces of any length.
///
/// The output is the input later by [`delay`](Self::delay) samples, which begin as silence: a frame in gives a frame out
/// from the first one on. [`aligned`](Self::aligned) leaves that silence out instead, for files and for whatever is cut
/// by time. Between equal rates everything passes as it is.
///
/// Input is worked off in blocks of 10 ms, or the next greater length that is a whole number of samples at both rates:
/// 20 ms between 22.05 kHz and 8 kHz, up to a second between rates without a common divisor. What does not fill a block
/// waits for the next push.
///
/// Between the rates of telephony the sound is flat to 0.1 dB up to 85 % of the lower rate's band (3.4 kHz at 8 kHz),
/// and what is above that band is 85 dB down.
pub struct Resampler {
    from_hz: u32,
    to_hz: u32,
    /// Samples to leave out at the start of a stream.
    skipped: usize,
    progress: Progress,
    /// `None` between equal rates.
    filter: Option<Filter>,
}

impl Resampler {
    /// From `from_hz` to `to_hz`. Allocates all that it will ever need.
    ///
    /// `ConfigInvalid` outside [`RATE_HZ_MIN`] to [`RATE_HZ_MAX`].
    pub fn new(from_hz: u32, to_hz: u32) -> Result<Self> {
        check_rate(OPERATION, from_hz)?;
        check_rate(OPERATION, to_hz)?;
        let filter = if from_hz == to_hz { None } else { Some(Filter::new(from_hz, to_hz)?) };
        Ok(Self { from_hz, to_hz, skipped: 0, progress: Progress::default(), filter })
    }

    /// The same without the delay: the first `delay()` samples are left out, so that output sample `n` is of the moment
    /// `n / to_hz` and a flushed stream has exactly as many samples as its duration asks for.
    #[must_use]
    pub fn aligned(mut self) -> Self {
        self.skipped = self.delay();
        self
    }

    /// Appends to `output` what `input` completes.
    pub fn process(&mut self, input: &[i16], output: &mut Vec<i16>) {
        self.progress.taken += input.len() as u64;
        let start = output.len();
        match &mut self.filter {
            Some(filter) => filter.process(input, output),
            None => output.extend_from_slice(input),
        }
        self.leave_out(start, output);
    }

    /// Appends the rest to `output` and starts anew, as if just made.
    ///
    /// Of `n` samples pushed since the start, rounded `n * to_hz / from_hz` have then come out, and [`delay`](Self::delay)
    /// more before them unless [`aligned`](Self::aligned).
    pub fn flush(&mut self, output: &mut Vec<i16>) {
        let delay = self.delay();
        let total = self.output_of(self.progress.taken) + delay as u64;
        if let Some(filter) = &mut self.filter {
            // Both are short of a second of output: a block, and half a block of delay.
            let missing = usize::try_from(total.saturating_sub(self.progress.made)).unwrap_or(0);
            let start = output.len();
            filter.flush(missing, output);
            self.leave_out(start, output);
        }
        self.progress = Progress::default();
    }

    /// Forgets what was pushed and starts anew.
    pub fn reset(&mut self) {
        self.progress = Progress::default();
        if let Some(filter) = &mut self.filter {
            filter.reset();
        }
    }

    /// How many output samples the sound comes later than it went in, with the blocks of 10 ms taken as they come: half a
    /// block, 5 ms between the rates of telephony.
    pub fn delay(&self) -> usize {
        self.filter.as_ref().map_or(0, Filter::delay)
    }

    /// Input rate.
    pub fn from_hz(&self) -> u32 {
        self.from_hz
    }

    /// Output rate.
    pub fn to_hz(&self) -> u32 {
        self.to_hz
    }

    /// Removes what a stream leaves out at its start from the samples after `start`, and counts them all.
    fn leave_out(&mut self, start: usize, output: &mut Vec<i16>) {
        let made = output.len() - start;
        let skipped = (self.skipped as u64).saturating_sub(self.progress.made).min(made as u64);
        self.progress.made += made as u64;
        if skipped > 0 {
            output.drain(start..start + skipped as usize);
        }
    }

    /// Output samples of as much time as `input` samples, rounded to the nearest.
    fn output_of(&self, input: u64) -> u64 {
        let (from, to) = (u128::from(self.from_hz), u128::from(self.to_hz));
        ((u128::from(input) * to * 2 + from) / (from * 2)) as u64
    }
}

impl fmt::Debug for Resampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resampler")
            .field("from_hz", &self.from_hz)
            .field("to_hz", &self.to_hz)
            .field("delay", &self.delay())
            .finish_non_exhaustive()
    }
}

const OPERATION: &str = "audio.resample";
/// Blocks in a second, where both rates have whole blocks.
const BLOCKS_PER_SECOND: u32 = 100;
/// The squared Hann window keeps 8 kHz flat up to 3.4 kHz with so short a block, where rubato's own choice, the squared
/// Blackman-Harris, loses 10 dB; its stop band is still below the rounding to 16 bits.
const WINDOW: WindowFunction = WindowFunction::Hann2;

/// Samples since the start of a stream.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    taken: u64,
    made: u64,
}

/// rubato with its block on either side.
struct Filter {
    fft: Fft<f32>,
    /// The block that fills up, at the scale of the samples.
    input: Vec<f32>,
    filled: usize,
    output: Vec<f32>,
}

impl Filter {
    fn new(from_hz: u32, to_hz: u32) -> Result<Self> {
        let block = from_hz / BLOCKS_PER_SECOND;
        let fft = Fft::new_custom(from_hz as usize, to_hz as usize, block as usize, 1, 1, WINDOW, FixedSync::Both)
            .map_err(|error| {
                Error::new(ErrorKind::Unexpected, OPERATION, "the resampler refused its rates").with_source(error)
            })?;
        let (input, output) = (fft.input_frames_next(), fft.output_frames_next());
        Ok(Self { fft, input: vec![0.0; input], filled: 0, output: vec![0.0; output] })
    }

    fn process(&mut self, mut input: &[i16], output: &mut Vec<i16>) {
        while !input.is_empty() {
            let taken = input.len().min(self.input.len() - self.filled);
            let (head, tail) = input.split_at(taken);
            for (slot, sample) in self.input[self.filled..].iter_mut().zip(head) {
                *slot = f32::from(*sample);
            }
            self.filled += taken;
            input = tail;
            if self.filled == self.input.len() {
                self.work_off(output);
            }
        }
    }

    /// Appends `missing` samples, made of what waits and of silence after it.
    fn flush(&mut self, missing: usize, output: &mut Vec<i16>) {
        let wanted = output.len() + missing;
        while output.len() < wanted {
            self.input[self.filled..].fill(0.0);
            self.work_off(output);
        }
        output.truncate(wanted);
        self.reset();
    }

    fn reset(&mut self) {
        self.fft.reset();
        self.filled = 0;
    }

    fn delay(&self) -> usize {
        self.fft.output_delay()
    }

    /// Appends the output of the block and empties it.
    fn work_off(&mut self, output: &mut Vec<i16>) {
        let (input_frames, output_frames) = (self.input.len(), self.output.len());
        let result = InterleavedSlice::new(&self.input, 1, input_frames).and_then(|input| {
            let mut output = InterleavedSlice::new_mut(&mut self.output, 1, output_frames)?;
            Ok(self.fft.process_into_buffer(&input, &mut output, None).is_ok())
        });
        // Both blocks have the lengths that the resampler asked for, the one thing it checks.
        debug_assert!(matches!(result, Ok(true)));
        self.filled = 0;
        let start = output.len();
        output.resize(start + output_frames, 0);
        for (sample, value) in output[start..].iter_mut().zip(&self.output) {
            *sample = sample_from(*value);
        }
    }
}

/// Rounds to the nearest sample (ties to even) and clips.
#[inline]
fn sample_from(value: f32) -> i16 {
    // At 1.5 * 2^23 an `f32` has no bits left for fractions, so the addition rounds, in a form that vectorises.
    (value.clamp(f32::from(i16::MIN), f32::from(i16::MAX)) + 12_582_912.0).to_bits() as i16
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::*;

    const TELEPHONY_HZ: [u32; 4] = [8_000, 16_000, 24_000, 48_000];
    const FILES_HZ: [u32; 3] = [11_025, 22_050, 44_100];

    #[test]
    fn a_frame_in_is_a_frame_out() {
        for (from_hz, to_hz) in pairs(&TELEPHONY_HZ) {
            let mut resampler = Resampler::new(from_hz, to_hz).unwrap();
            for _ in 0..3 {
                let mut output = Vec::new();
                resampler.process(&vec![0; from_hz as usize / 50], &mut output);
                assert_eq!(output.len(), to_hz as usize / 50, "{resampler:?}");
            }
        }
    }

    #[test]
    fn the_delay_between_the_rates_of_telephony_is_5_ms() {
        for (from_hz, to_hz) in pairs(&TELEPHONY_HZ) {
            let resampler = Resampler::new(from_hz, to_hz).unwrap();
            let expected = if from_hz == to_hz { 0 } else { to_hz as usize / 200 };
            assert_eq!(resampler.delay(), expected, "{resampler:?}");
        }
    }

    #[test]
    fn an_impulse_comes_out_where_the_delay_says() {
        for (from_hz, to_hz) in pairs(&TELEPHONY_HZ) {
            let mut input = vec![0; from_hz as usize / 10];
            input[from_hz as usize / 40] = 30_000;
            let mut resampler = Resampler::new(from_hz, to_hz).unwrap();
            let delayed = convert(&mut resampler, &input);
            let aligned = convert(&mut resampler.aligned(), &input);
            assert_eq!(peak_at(&delayed), to_hz as usize / 40 + Resampler::new(from_hz, to_hz).unwrap().delay());
            assert_eq!(peak_at(&aligned), to_hz as usize / 40);
        }
    }

    #[test]
    fn tones_keep_their_level_and_stay_clean() {
        for (from_hz, to_hz) in pairs(&[&TELEPHONY_HZ[..], &FILES_HZ[..]].concat()) {
            for (tone_hz, snr_db_min) in [(1_000.0, 90.0), (3_400.0, 85.0)] {
                let mut resampler = Resampler::new(from_hz, to_hz).unwrap().aligned();
                let output = convert(&mut resampler, &tone(from_hz, tone_hz));
                let (amplitude, snr_db) = fit(steady(&output), to_hz, tone_hz);
                let gain_db = 20.0 * (amplitude / AMPLITUDE).log10();
                assert!(gain_db.abs() < 0.1, "{from_hz} -> {to_hz}: {gain_db:.3} dB at {tone_hz} Hz");
                assert!(snr_db > snr_db_min, "{from_hz} -> {to_hz}: SNR {snr_db:.1} dB at {tone_hz} Hz");
            }
        }
    }

    #[test]
    fn what_a_lower_rate_cannot_carry_is_removed() {
        for (from_hz, to_hz) in pairs(&TELEPHONY_HZ).filter(|(from_hz, to_hz)| from_hz > to_hz) {
            // From a tenth above the new Nyquist frequency up to the old one.
            for part in [1.1, 1.25, 1.5, 1.9] {
                let tone_hz = f64::from(to_hz) / 2.0 * part;
                if tone_hz >= f64::from(from_hz) / 2.0 {
                    continue;
                }
                let output = convert(&mut Resampler::new(from_hz, to_hz).unwrap(), &tone(from_hz, tone_hz));
                let rejection_db =
                    20.0 * (AMPLITUDE / std::f64::consts::SQRT_2 / rms(steady(&output)).max(0.1)).log10();
                assert!(rejection_db > 85.0, "{from_hz} -> {to_hz}: {tone_hz} Hz only {rejection_db:.1} dB down");
            }
        }
    }

    #[test]
    fn equal_rates_pass_everything_at_once() {
        let mut resampler = Resampler::new(8_000, 8_000).unwrap();
        let mut output = Vec::new();
        resampler.process(&[1, -2, i16::MIN], &mut output);
        assert_eq!(output, [1, -2, i16::MIN]);
        resampler.flush(&mut output);
        assert_eq!(output.len(), 3);
    }

    #[test]
    fn full_scale_clips_and_does_not_wrap() {
        let square: Vec<i16> = (0..8_000).map(|n| if n / 20 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        let output = convert(&mut Resampler::new(8_000, 16_000).unwrap().aligned(), &square);
        for (n, sample) in output.iter().enumerate().skip(2).step_by(2) {
            let input = square[n / 2];
            assert!(*sample == 0 || (*sample > 0) == (input > 0), "sample {n}: {sample} of {input}");
        }
        assert!(output.contains(&i16::MAX) && output.contains(&i16::MIN));
    }

    #[test]
    fn rates_beyond_reason_are_refused() {
        for (from_hz, to_hz) in [(0, 8_000), (8_000, 0), (3_999, 8_000), (8_000, 192_001), (u32::MAX, u32::MAX)] {
            assert_eq!(Resampler::new(from_hz, to_hz).unwrap_err().kind(), ErrorKind::ConfigInvalid);
        }
    }

    #[test]
    fn rates_without_a_common_divisor_work() {
        for (from_hz, to_hz) in [(4_000, 4_001), (11_127, 8_000), (22_254, 16_000), (44_101, 8_000), (192_000, 4_001)] {
            let mut resampler = Resampler::new(from_hz, to_hz).unwrap().aligned();
            let output = convert(&mut resampler, &tone(from_hz, 440.0));
            let (amplitude, snr_db) = fit(steady(&output), to_hz, 440.0);
            assert!((amplitude / AMPLITUDE - 1.0).abs() < 0.01 && snr_db > 60.0, "{resampler:?} {amplitude} {snr_db}");
            assert!(resampler.delay() <= to_hz as usize / 2 + 1);
        }
    }

    #[test]
    fn a_flushed_or_reset_resampler_is_as_new() {
        let input = tone(24_000, 440.0);
        let expected = convert(&mut Resampler::new(24_000, 8_000).unwrap(), &input);
        let mut resampler = Resampler::new(24_000, 8_000).unwrap();
        for _ in 0..2 {
            assert_eq!(convert(&mut resampler, &input), expected);
            resampler.process(&input[..1_234], &mut Vec::new());
            resampler.reset();
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_sample() {
        let cases = [(0.4, 0), (0.6, 1), (-0.6, -1), (1.5, 2), (2.5, 2), (40_000.0, i16::MAX), (-40_000.0, i16::MIN)];
        for (value, sample) in cases {
            assert_eq!(sample_from(value), sample);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn pieces_of_any_length_give_the_same_stream(
            from_hz in prop::sample::select([&TELEPHONY_HZ[..], &FILES_HZ[..]].concat()),
            to_hz in prop::sample::select([&TELEPHONY_HZ[..], &FILES_HZ[..]].concat()),
            aligned in any::<bool>(),
            samples in prop::collection::vec(any::<i16>(), 0..3_000),
            pieces in prop::collection::vec(0_usize..900, 0..12),
        ) {
            let make = || {
                let resampler = Resampler::new(from_hz, to_hz).unwrap();
                if aligned { resampler.aligned() } else { resampler }
            };
            let whole = convert(&mut make(), &samples);
            let (mut resampler, mut rest, mut output) = (make(), &samples[..], Vec::new());
            for piece in pieces {
                let (head, tail) = rest.split_at(piece.min(rest.len()));
                resampler.process(head, &mut output);
                rest = tail;
            }
            resampler.process(rest, &mut output);
            resampler.flush(&mut output);
            prop_assert_eq!(&output, &whole);

            let ratio = f64::from(to_hz) / f64::from(from_hz);
            let delay = if aligned { 0 } else { resampler.delay() };
            prop_assert_eq!(output.len(), (samples.len() as f64 * ratio).round() as usize + delay);
        }
    }

    const AMPLITUDE: f64 = 29_204.0;

    fn pairs(rates_hz: &[u32]) -> impl Iterator<Item = (u32, u32)> {
        rates_hz.iter().flat_map(move |from_hz| rates_hz.iter().map(move |to_hz| (*from_hz, *to_hz)))
    }

    fn convert(resampler: &mut Resampler, input: &[i16]) -> Vec<i16> {
        let mut output = Vec::new();
        resampler.process(input, &mut output);
        resampler.flush(&mut output);
        output
    }

    /// Half a second at -1 dBFS.
    fn tone(rate_hz: u32, tone_hz: f64) -> Vec<i16> {
        let step = TAU * tone_hz / f64::from(rate_hz);
        (0..rate_hz / 2).map(|n| (AMPLITUDE * (f64::from(n) * step).sin()).round() as i16).collect()
    }

    /// The middle, where neither end is heard.
    fn steady(samples: &[i16]) -> &[i16] {
        &samples[samples.len() / 4..samples.len() * 3 / 4]
    }

    fn rms(samples: &[i16]) -> f64 {
        (samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
    }

    fn peak_at(samples: &[i16]) -> usize {
        (0..samples.len()).max_by_key(|n| samples[*n].unsigned_abs()).unwrap()
    }

    /// The amplitude of the sine that fits best, and its power over everything else.
    fn fit(samples: &[i16], rate_hz: u32, tone_hz: f64) -> (f64, f64) {
        let step = TAU * tone_hz / f64::from(rate_hz);
        let (mut ss, mut cc, mut sc, mut sy, mut cy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (n, sample) in samples.iter().enumerate() {
            let (sin, cos) = (n as f64 * step).sin_cos();
            let y = f64::from(*sample);
            (ss, cc, sc) = (ss + sin * sin, cc + cos * cos, sc + sin * cos);
            (sy, cy) = (sy + sin * y, cy + cos * y);
        }
        let determinant = ss * cc - sc * sc;
        let (a, b) = ((sy * cc - cy * sc) / determinant, (cy * ss - sy * sc) / determinant);
        let noise: f64 = samples
            .iter()
            .enumerate()
            .map(|(n, sample)| {
                let (sin, cos) = (n as f64 * step).sin_cos();
                (f64::from(*sample) - a * sin - b * cos).powi(2)
            })
            .sum();
        let amplitude = a.hypot(b);
        (amplitude, 10.0 * (amplitude * amplitude / 2.0 * samples.len() as f64 / noise).log10())
    }
}
