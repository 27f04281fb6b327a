//! Between any two rates: rubato's FFT overlap-add resampler on blocks of 10 ms.

use std::fmt;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{FixedSync, Resampler as _, WindowFunction};

use super::{OPERATION, sample_from};
use crate::error::{Error, ErrorKind, Result};

/// Blocks in a second, where both rates have whole blocks.
const BLOCKS_PER_SECOND: u32 = 100;
/// The squared Hann window keeps 8 kHz flat up to 3.4 kHz with so short a block, where rubato's own choice, the squared
/// Blackman-Harris, loses 10 dB; its stop band is still below the rounding to 16 bits.
const WINDOW: WindowFunction = WindowFunction::Hann2;

/// rubato with its block on either side.
pub(super) struct Fft {
    fft: rubato::Fft<f32>,
    /// The block that fills up, at the scale of the samples.
    input: Vec<f32>,
    filled: usize,
    output: Vec<f32>,
}

impl Fft {
    pub(super) fn new(from_hz: u32, to_hz: u32) -> Result<Self> {
        let block = from_hz / BLOCKS_PER_SECOND;
        let (from, to) = (from_hz as usize, to_hz as usize);
        let fft =
            rubato::Fft::new_custom(from, to, block as usize, 1, 1, WINDOW, FixedSync::Both).map_err(|error| {
                Error::new(ErrorKind::Unexpected, OPERATION, "the resampler refused its rates").with_source(error)
            })?;
        let (input, output) = (fft.input_frames_next(), fft.output_frames_next());
        Ok(Self { fft, input: vec![0.0; input], filled: 0, output: vec![0.0; output] })
    }

    pub(super) fn process(&mut self, mut input: &[i16], output: &mut Vec<i16>) {
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

    pub(super) fn reset(&mut self) {
        self.fft.reset();
        self.filled = 0;
    }

    pub(super) fn delay(&self) -> usize {
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

impl fmt::Debug for Fft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fft").field("block", &self.input.len()).finish_non_exhaustive()
    }
}
