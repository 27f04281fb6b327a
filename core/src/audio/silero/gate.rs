//! Silence so plain that the network need not look at it.
//!
//! The network remembers for many seconds, so what it is spared would be missed in its memory. But one plain silence is
//! like another: while the gate is closed, the memory goes on with what the last silent windows looked like, which is a
//! third of the work, and the silence is not looked at anew. For digital silence the outcome is the same to the last bit.

use super::super::level;
use super::super::vad::Floor;
use super::network::GATES;

/// Windows in a row, quiet both by level and by probability, that leave the gate open: 0.4 s, in which the network
/// shows what silence looks like.
const QUIET_MIN: u32 = 12;

/// The network is sure of silence below this.
const PROBABILITY_MAX: f32 = 0.03;

/// What opens the gate is so far above the noise floor: 2.5 dB in power.
const RISE: f32 = 1.8;

/// Nothing below -72 dBFS is speech: on the telephone that is the least step of the code.
const POWER_MIN: f32 = 6e-8;

/// Parts of a window, whose loudest counts: 8 ms.
const PARTS: usize = 4;

/// Weight of a new silent window in what silence looks like.
const SMOOTHING: f32 = 0.5;

/// The gate of one stream.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    floor: Floor,
    quiet: u32,
    /// What silence does to the LSTM.
    silence: Box<[f32; GATES]>,
    pub(super) spared: u64,
}

impl Gate {
    pub(super) fn new(rate_hz: u32) -> Self {
        Self { floor: Floor::new(rate_hz), quiet: 0, silence: Box::new([0.0; GATES]), spared: 0 }
    }

    /// Takes the next window and the probability of the one before.
    pub(super) fn push(&mut self, samples: &[i16], probability: f32) {
        let powers = samples.chunks((samples.len() / PARTS).max(1)).map(level::power);
        let loudest = powers.fold(0.0, f32::max);
        let threshold = (self.floor.power() * RISE).max(POWER_MIN);
        self.floor.push(level::power(samples), samples.len() as u64);
        let is_quiet = loudest < threshold && probability < PROBABILITY_MAX;
        self.quiet = if is_quiet { self.quiet.saturating_add(1) } else { 0 };
        self.spared += u64::from(self.silence().is_some());
    }

    /// What a silent window does to the LSTM, if this is one that need not be looked at.
    pub(super) fn silence(&self) -> Option<&[f32; GATES]> {
        (self.quiet > QUIET_MIN).then_some(&*self.silence)
    }

    /// Learns what the present window did to the LSTM.
    pub(super) fn learn(&mut self, input: &[f32]) {
        let weight = match self.quiet {
            0 => return,
            1 => 1.0,
            _ => SMOOTHING,
        };
        for (mean, input) in self.silence.iter_mut().zip(input) {
            *mean += (input - *mean) * weight;
        }
    }
}
