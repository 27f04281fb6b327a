//! Noise suppression by RNNoise's recurrent network, as the crate `nnnoiseless` computes it.
//!
//! The network works at 48 kHz in blocks of 10 ms; sound at another rate goes up to it and back.

use std::fmt;

use nnnoiseless::DenoiseState;
use offhook::Result;
use offhook::audio::Resampler;

/// Takes the noise out of a stream of speech.
pub struct Denoiser {
    network: Box<DenoiseState<'static>>,
    up: Resampler,
    down: Resampler,
    rate_hz: u32,
    wide: Vec<i16>,
    block: Vec<f32>,
    clean: Vec<f32>,
    rounded: Vec<i16>,
}

impl Denoiser {
    /// For sound at `rate_hz`.
    ///
    /// `ConfigInvalid` for a rate that no audio of core has.
    pub fn new(rate_hz: u32) -> Result<Self> {
        Ok(Self {
            network: DenoiseState::new(),
            up: Resampler::new(rate_hz, NETWORK_HZ)?,
            down: Resampler::new(NETWORK_HZ, rate_hz)?,
            rate_hz,
            wide: Vec::with_capacity(NETWORK_HZ as usize / 10),
            block: Vec::with_capacity(DenoiseState::FRAME_SIZE),
            clean: vec![0.0; DenoiseState::FRAME_SIZE],
            rounded: vec![0; DenoiseState::FRAME_SIZE],
        })
    }

    /// Appends to `output` what `samples` complete: in the long run as many as went in.
    pub fn process(&mut self, samples: &[i16], output: &mut Vec<i16>) {
        // In pieces, so that what they grow to at 48 kHz has a bound.
        for samples in samples.chunks(PIECE) {
            self.wide.clear();
            self.up.process(samples, &mut self.wide);
            for sample in &self.wide {
                self.block.push(f32::from(*sample));
                if self.block.len() < DenoiseState::FRAME_SIZE {
                    continue;
                }
                self.network.process_frame(&mut self.clean, &self.block);
                self.block.clear();
                for (sample, value) in self.rounded.iter_mut().zip(&self.clean) {
                    *sample = value.round() as i16;
                }
                self.down.process(&self.rounded, output);
            }
        }
    }

    /// How many samples the sound comes later than it went in, with the network's own block and its overlap.
    pub fn delay(&self) -> usize {
        let up = self.up.delay() as u64 * u64::from(self.rate_hz) / u64::from(NETWORK_HZ);
        up as usize + self.down.delay() + (self.rate_hz / BLOCKS_PER_SECOND) as usize
    }
}

impl fmt::Debug for Denoiser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denoiser").field("rate_hz", &self.rate_hz).finish_non_exhaustive()
    }
}

const NETWORK_HZ: u32 = 48_000;
const BLOCKS_PER_SECOND: u32 = 100;
/// Samples worked off at once.
const PIECE: usize = 320;

#[cfg(test)]
mod tests {
    use offhook::ErrorKind;
    use offhook::audio::level::rms_dbfs;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn steady_noise_is_let_down() {
        for rate_hz in [8_000, 16_000] {
            let mut denoiser = Denoiser::new(rate_hz).unwrap();
            let mut random = 1_u32;
            let noise: Vec<i16> = (0..rate_hz * 3)
                .map(|_| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (random >> 16) as i16 / 64
                })
                .collect();
            let mut clean = Vec::new();
            noise.chunks(rate_hz as usize / 50).for_each(|frame| denoiser.process(frame, &mut clean));
            let missing = noise.len() - clean.len();
            assert!(missing <= denoiser.delay(), "{rate_hz}: {missing} samples are missing");
            let (before, after) = (rms_dbfs(&noise), rms_dbfs(&clean[rate_hz as usize * 2..]));
            assert!(before - after > 10.0, "{rate_hz}: {before} to {after} dBFS");
        }
    }

    #[test]
    fn rates_beyond_reason_are_refused() {
        assert_eq!(Denoiser::new(0).unwrap_err().kind(), ErrorKind::ConfigInvalid);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn any_sound_in_any_pieces_is_taken(pieces in prop::collection::vec(prop::collection::vec(any::<i16>(), 0..1_000), 0..5)) {
            let mut denoiser = Denoiser::new(8_000).unwrap();
            let mut output = Vec::new();
            pieces.iter().for_each(|piece| denoiser.process(piece, &mut output));
            let taken: usize = pieces.iter().map(Vec::len).sum();
            prop_assert!(output.len() <= taken && taken - output.len() < 80);
        }
    }
}
