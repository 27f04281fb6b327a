//! From one sample rate to another, as a stream.
//!
//! Between rates of a small ratio, such as those of telephony, runs a polyphase filter of our own (`fir`), between
//! others rubato (`fft`).

mod fft;
mod fir;

use std::fmt;

use fft::Fft;
use fir::Fir;

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
/// Between rates of a small ratio, up to 6 to 1, what can be made of the input is made at once. Between others input is
/// worked off in blocks of 10 ms, or the next greater length that is a whole number of samples at both rates: 20 ms
/// between 22.05 kHz and 8 kHz, up to a second between rates without a common divisor. What does not fill a block waits
/// for the next push.
///
/// Between the rates of telephony the sound is flat to 0.001 dB up to 85 % of the lower rate's band (3.4 kHz at 8 kHz),
/// and what is above 115 % of it is 109 dB down.
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

    /// How many output samples the sound comes later than it went in.
    ///
    /// Between 8 kHz and a rate above: 3 ms, which are 24 samples at 8 kHz (3.625 ms to or from 48 kHz); between 16 kHz and
    /// a rate above half of that. Between rates that need blocks: half a block, 5 ms or more.
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
/// Samples since the start of a stream.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    taken: u64,
    made: u64,
}

/// Silence to push out what a filter still holds.
const SILENCE: [i16; 480] = [0; 480];

#[derive(Debug)]
enum Filter {
    Fft(Box<Fft>),
    Fir(Box<Fir>),
}

impl Filter {
    fn new(from_hz: u32, to_hz: u32) -> Result<Self> {
        match Fir::new(from_hz, to_hz) {
            Some(fir) => Ok(Self::Fir(Box::new(fir))),
            None => Ok(Self::Fft(Box::new(Fft::new(from_hz, to_hz)?))),
        }
    }

    fn process(&mut self, input: &[i16], output: &mut Vec<i16>) {
        match self {
            Self::Fft(fft) => fft.process(input, output),
            Self::Fir(fir) => fir.process(input, output),
        }
    }

    /// Appends `missing` samples, made of what is held and of silence after it.
    fn flush(&mut self, missing: usize, output: &mut Vec<i16>) {
        let wanted = output.len() + missing;
        while output.len() < wanted {
            self.process(&SILENCE, output);
        }
        output.truncate(wanted);
        self.reset();
    }

    fn reset(&mut self) {
        match self {
            Self::Fft(fft) => fft.reset(),
            Self::Fir(fir) => fir.reset(),
        }
    }

    fn delay(&self) -> usize {
        match self {
            Self::Fft(fft) => fft.delay(),
            Self::Fir(fir) => fir.delay(),
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
mod tests;
