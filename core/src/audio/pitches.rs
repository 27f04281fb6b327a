//! How much of up to eight pitches is in a few milliseconds of sound.

use std::f64::consts::TAU;

use fearless_simd::f32x16;
use fearless_simd::prelude::*;

use super::simd::{Level, Simd, dispatch};

/// Pitches that are listened for.
pub(super) const PITCHES: usize = 8;

/// Sums of the samples with cosines and with negative sines of each pitch, from the first sample of a block.
pub(super) type Tones = [[f32; PITCHES]; 2];

/// What was heard in a block.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub(super) struct Block {
    pub(super) tones: Tones,
    /// The sum of the squares of its samples.
    pub(super) energy: f32,
}

/// What a block is held against.
#[derive(Debug)]
pub(super) struct Pitches {
    /// Cosines and negative sines, sample by sample.
    waves: Vec<Wave>,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Wave([f32; 2 * PITCHES]);

impl Pitches {
    /// For blocks of so many samples; pitches beyond the eighth are left out.
    pub(super) fn new(pitches_hz: &[f64], rate_hz: u32, block: usize) -> Self {
        let wave = |sample: usize| {
            let part = |at: usize| {
                let Some(hz) = pitches_hz.get(at % PITCHES) else { return 0.0 };
                let angle = TAU * hz * sample as f64 / f64::from(rate_hz.max(1));
                if at < PITCHES { angle.cos() } else { -angle.sin() }
            };
            Wave(std::array::from_fn(|at| part(at) as f32))
        };
        Self { waves: (0..block).map(wave).collect() }
    }

    /// Listens to a block, or to its begin if there are fewer samples.
    pub(super) fn hear(&self, level: Level, samples: &[i16]) -> Block {
        dispatch!(level, simd => self.hear_with(simd, samples))
    }

    #[inline(always)]
    fn hear_with<S: Simd>(&self, simd: S, samples: &[i16]) -> Block {
        let mut sums = [f32x16::splat(simd, 0.0); 4];
        let (mut energy, mut energies) = (0.0, [0.0_f32; 8]);
        let length = samples.len().min(self.waves.len());
        let (samples, rest) = samples[..length].as_chunks::<8>();
        let (waves, waves_rest) = self.waves[..length].as_chunks::<8>();
        for (samples, waves) in samples.iter().zip(waves) {
            let mut values = [0.0; 8];
            for index in 0..8 {
                values[index] = f32::from(samples[index]);
                energies[index] += values[index] * values[index];
            }
            for index in 0..8 {
                sums[index % 4] += f32x16::load_array_ref(simd, &waves[index].0) * f32x16::splat(simd, values[index]);
            }
        }
        for (sample, wave) in rest.iter().zip(waves_rest) {
            let value = f32::from(*sample);
            energy += value * value;
            sums[0] += f32x16::load_array_ref(simd, &wave.0) * f32x16::splat(simd, value);
        }
        let mut both = [0.0; 2 * PITCHES];
        ((sums[0] + sums[1]) + (sums[2] + sums[3])).store_array(&mut both);
        let mut tones = [[0.0; PITCHES]; 2];
        let (cosines, sines) = both.split_at(PITCHES);
        tones[0].copy_from_slice(cosines);
        tones[1].copy_from_slice(sines);
        energy += (energies[0] + energies[4]) + (energies[1] + energies[5]);
        energy += (energies[2] + energies[6]) + (energies[3] + energies[7]);
        Block { tones, energy }
    }
}
