//! What the benchmarks of audio share: sound to work on.

use std::f64::consts::TAU;

/// Seconds of [`voice`], enough that no predictor learns it by heart.
const SECONDS: u32 = 4;

/// Something like a voice at -20 dBFS, the same in every run: a buzz of moving pitch in syllables, with breath.
pub fn voice(rate_hz: u32) -> Vec<i16> {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut phase = 0.0;
    (0..rate_hz * SECONDS)
        .map(|n| {
            let seconds = f64::from(n) / f64::from(rate_hz);
            phase += (140.0 + 30.0 * (TAU * 0.7 * seconds).sin()) / f64::from(rate_hz);
            let buzz: f64 = (1..12).map(|k| (TAU * f64::from(k) * phase).sin() / f64::from(k)).sum();
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let breath = (random >> 11) as f64 / (1_u64 << 53) as f64 - 0.5;
            let syllable = (TAU * 2.0 * seconds).sin().max(0.0);
            (4_000.0 * syllable * buzz + 400.0 * breath).round() as i16
        })
        .collect()
}

/// Hands out the frames of a sound one after the other, for ever.
#[derive(Clone, Debug)]
pub struct Frames<T> {
    samples: Vec<T>,
    frame: usize,
    at: usize,
}

impl<T> Frames<T> {
    /// Frames of `frame` samples of `samples`, which hold at least one.
    pub fn new(samples: Vec<T>, frame: usize) -> Self {
        Self { samples, frame, at: 0 }
    }

    /// The next frame.
    pub fn next_frame(&mut self) -> &[T] {
        if self.at + self.frame > self.samples.len() {
            self.at = 0;
        }
        let start = self.at;
        self.at += self.frame;
        &self.samples[start..self.at]
    }
}
