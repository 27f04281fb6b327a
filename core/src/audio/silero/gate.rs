//! Silence so plain that no network need judge it.
//!
//! The gate closes when a stream was quiet for a while, by the network's own word and by its level, and opens with the
//! first sound above the floor. The network then hears the last windows that it missed before it goes on, so that an onset
//! finds it as awake as if it had listened all along.

use super::super::level;
use super::super::vad::Floor;

/// Windows that are kept for the network to hear when the gate opens.
const MISSED_MAX: usize = 6;

/// Windows in a row, quiet both by level and by probability, that close the gate: a fifth of a second.
const QUIET_MIN: u32 = 6;

/// The network is sure of silence below this.
const PROBABILITY_MAX: f32 = 0.1;

/// What opens the gate is so far above the noise floor, 4 dB in power.
const RISE: f32 = 2.5;

/// Nothing below -66 dBFS is speech: on the telephone that is a step or two of the code.
const POWER_MIN: f32 = 2.5e-7;

/// Parts of a window, whose loudest counts: 8 ms.
const PARTS: usize = 4;

/// The gate of one stream.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    floor: Floor,
    quiet: u32,
    window: usize,
    /// The last windows that were not judged, oldest first, in a ring.
    missed: Vec<i16>,
    next: usize,
    count: usize,
    pub(super) spared: u64,
}

impl Gate {
    pub(super) fn new(rate_hz: u32, window: usize) -> Self {
        Self {
            floor: Floor::new(rate_hz),
            quiet: 0,
            window,
            missed: vec![0; window * MISSED_MAX],
            next: 0,
            count: 0,
            spared: 0,
        }
    }

    /// Whether the window is to be judged. One that is not is kept for a while.
    pub(super) fn is_open(&mut self, samples: &[i16], probability: f32) -> bool {
        let part = (self.window / PARTS).max(1);
        let powers = samples.chunks(part).map(level::power);
        let loudest = powers.fold(0.0, f32::max);
        let threshold = (self.floor.power() * RISE).max(POWER_MIN);
        self.floor.push(level::power(samples), samples.len() as u64);
        self.quiet =
            if loudest < threshold && probability < PROBABILITY_MAX { self.quiet.saturating_add(1) } else { 0 };
        if self.quiet <= QUIET_MIN {
            return true;
        }
        self.spared += 1;
        self.missed[self.next * self.window..][..self.window].copy_from_slice(samples);
        self.next = (self.next + 1) % MISSED_MAX;
        self.count = (self.count + 1).min(MISSED_MAX);
        false
    }

    /// The oldest of the last windows that were missed, once each.
    pub(super) fn next_missed<'a>(&mut self, room: &'a mut [i16]) -> Option<&'a [i16]> {
        let left = self.count.checked_sub(1)?;
        let oldest = (self.next + MISSED_MAX - self.count) % MISSED_MAX;
        let room = room.get_mut(..self.window)?;
        room.copy_from_slice(&self.missed[oldest * self.window..][..self.window]);
        self.count = left;
        Some(room)
    }
}
