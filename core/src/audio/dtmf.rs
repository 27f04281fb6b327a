//! Keys of the telephone as they sound: two tones at once (ITU-T Q.23), heard within the limits of ITU-T Q.24 and made.
//!
//! Sound is taken in blocks of 5 ms, each of which is held against the eight pitches. Four blocks in a row, the outer two
//! with less weight, make a window of 20 ms, and there is one every 10 ms. How loud a tone is in the windows that it touches
//! adds up to how long it is, to a millisecond or two, and how far its phase turns from one to the next says its pitch to a
//! fraction of a percent: so a key is told from speech by its length and its pitches.

use std::f64::consts::TAU;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use fearless_simd::f32x16;
use fearless_simd::prelude::*;

use super::simd::{Level, Simd, dispatch, level};
use crate::error::{Error, ErrorKind, Result};
use crate::provider::telephony::DtmfDigit;

/// The tones of the rows, then those of the columns.
const TONES_HZ: [f64; 8] = [697.0, 770.0, 852.0, 941.0, 1_209.0, 1_336.0, 1_477.0, 1_633.0];

const KEYS: [[char; 4]; 4] = [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];

/// Finds keys, at no allocation.
#[derive(Clone, Debug)]
pub struct DtmfDetector {
    bank: Arc<Bank>,
    /// Samples that do not fill a block.
    rest: [i16; BLOCK_MAX],
    filled: usize,
    ear: Ear,
}

impl DtmfDetector {
    /// A detector of sound at `rate_hz`. Below 4 kHz and above 48 kHz there is nothing to be found.
    pub fn new(rate_hz: u32) -> Self {
        Self { bank: Bank::of(rate_hz), rest: [0; BLOCK_MAX], filled: 0, ear: Ear::new(level()) }
    }

    /// Takes the next samples; the key once in each press, as soon as it has sounded long enough, 40 ms at most.
    ///
    /// Frames of 20 ms suit best, for no two keys are told in one. Of several in a longer piece the last is yielded.
    pub fn push(&mut self, mut samples: &[i16]) -> Option<DtmfDigit> {
        let Self { bank, rest, filled, ear } = self;
        let mut key = None;
        if bank.block == 0 {
            return None;
        }
        if *filled > 0 {
            let taken = samples.len().min(bank.block - *filled);
            let (head, tail) = samples.split_at(taken);
            rest[*filled..*filled + taken].copy_from_slice(head);
            *filled += taken;
            samples = tail;
            if *filled == bank.block {
                *filled = 0;
                key = ear.take(bank, &rest[..bank.block]);
            }
        }
        while let Some((block, tail)) = samples.split_at_checked(bank.block) {
            samples = tail;
            key = ear.take(bank, block).or(key);
        }
        if !samples.is_empty() {
            rest[..samples.len()].copy_from_slice(samples);
            *filled = samples.len();
        }
        key
    }
}

/// What was heard of late.
#[derive(Clone, Debug)]
struct Ear {
    level: Level,
    /// The last blocks, in a ring.
    blocks: [Block; WINDOW_BLOCKS],
    /// Where the next block goes: the oldest is there.
    next: usize,
    /// The window before.
    last: Tones,
    press: Option<Press>,
}

impl Ear {
    fn new(level: Level) -> Self {
        Self { level, blocks: [Block::default(); WINDOW_BLOCKS], next: 0, last: [[0.0; 8]; 2], press: None }
    }

    /// Takes a block, and every other time the window that it completes.
    fn take(&mut self, bank: &Bank, samples: &[i16]) -> Option<DtmfDigit> {
        self.blocks[self.next] = dispatch!(self.level, simd => bank.block_of(simd, samples));
        self.next = (self.next + 1) % WINDOW_BLOCKS;
        if self.next % 2 == 1 {
            return None;
        }
        let blocks = [0, 1, 2, 3].map(|index| &self.blocks[(self.next + index) % WINDOW_BLOCKS]);
        let energy: f32 = blocks.iter().zip(WEIGHTS).map(|(block, weight)| block.energy * weight * weight).sum();
        // Most sound is not worth a closer look: it is too quiet, and nobody is pressing a key.
        if energy < bank.energy_min && self.press.is_none() {
            self.last = [[0.0; 8]; 2];
            return None;
        }
        let tones = dispatch!(self.level, _simd => bank.window_of(blocks));
        let key = self.judge(bank, &tones, energy);
        self.last = tones;
        key
    }

    fn judge(&mut self, bank: &Bank, tones: &Tones, energy: f32) -> Option<DtmfDigit> {
        let window = Window { tones, last: &self.last, energy };
        let found = window.key(bank);
        let mut press = match (self.press.take(), found) {
            (Some(press), Some(found)) if press.key == found => press,
            (_, Some(found)) => Press::new(found, &self.last),
            (Some(press), None) => press,
            (None, None) => return None,
        };
        press.add(bank, &window, found.is_some());
        let digit = press.tell(bank);
        if press.gap <= GAP_MAX {
            self.press = Some(press);
        }
        digit
    }
}

/// A key as it sounds, sample by sample.
#[derive(Clone, Debug)]
pub struct DtmfTone {
    rate_hz: f64,
    tones_hz: [f64; 2],
    at: usize,
    length: usize,
}

impl DtmfTone {
    /// `digit` pressed for `duration` at `rate_hz`, at -8 and -6 dBm0 as telephones send them (ITU-T Q.23 leaves the
    /// level to the line), with edges of 2 ms. `ConfigInvalid` for a rate outside 4 to 48 kHz.
    pub fn new(digit: DtmfDigit, rate_hz: u32, duration: Duration) -> Result<Self> {
        if !(RATE_MIN_HZ..=RATE_MAX_HZ).contains(&rate_hz) {
            return Err(Error::new(ErrorKind::ConfigInvalid, "audio.dtmf", "telephone tones need 4 to 48 kHz"));
        }
        let key = |(row, keys): (usize, &[char; 4])| {
            keys.iter().position(|key| *key == digit.as_char()).map(|column| [TONES_HZ[row], TONES_HZ[4 + column]])
        };
        let tones_hz = KEYS.iter().enumerate().find_map(key).unwrap_or([0.0; 2]);
        let length = duration.min(TONE_MAX).as_micros() * u128::from(rate_hz) / 1_000_000;
        Ok(Self { rate_hz: f64::from(rate_hz), tones_hz, at: 0, length: usize::try_from(length).unwrap_or(0) })
    }

    /// Writes to the front of `samples` and says how many it wrote: fewer than there is room for at the end only.
    pub fn fill(&mut self, samples: &mut [i16]) -> usize {
        let count = samples.len().min(self.length - self.at);
        for sample in &mut samples[..count] {
            let from_edge = self.at.min(self.length - self.at) as f64 / self.rate_hz;
            let angle = |hz: f64| TAU * (hz * self.at as f64 / self.rate_hz).fract();
            let [low, high] = self.tones_hz;
            let sum = LEVELS[0] * angle(low).sin() + LEVELS[1] * angle(high).sin();
            *sample = (sum * (from_edge / EDGE_SECS).min(1.0)).round() as i16;
            self.at += 1;
        }
        count
    }
}

/// Nobody holds a key longer.
const TONE_MAX: Duration = Duration::from_secs(60);
/// The amplitudes of -8 and -6 dBm0, where a full-scale sine has 3.14 dBm0.
const LEVELS: [f64; 2] = [9_087.0, 11_440.0];
const EDGE_SECS: f64 = 0.002;

/// A block is 5 ms.
const BLOCKS_PER_SECOND: u32 = 200;
const WINDOW_BLOCKS: usize = 4;
/// The highest rate is 48 kHz.
const BLOCK_MAX: usize = 240;
const RATE_MIN_HZ: u32 = 4_000;
const RATE_MAX_HZ: u32 = 48_000;
/// Of the blocks of a window. Those of two windows add up to the same for every block, which makes lengths add up.
const WEIGHTS: [f32; WINDOW_BLOCKS] = [0.45, 1.0, 1.0, 0.45];
/// Quieter tones are the line's own: -38 dBm0, where a full-scale sine has 3.14 dBm0 (ITU-T G.711). Q.24: below -25 dBm
/// nothing need be heard, below -55 dBm nothing may.
const AMPLITUDE_MIN: f32 = 0.008_8;
/// How much louder the higher tone may be, and the lower one, as ratios of power: Q.24's 4 and 8 dB, and 1.5 dB for the
/// line's noise.
const TWIST_MAX: [f32; 2] = [3.5, 8.9];
/// How much louder each tone must be than the next of its group.
const LEAD_MIN: f32 = 2.5;
/// How much of the power a window that belongs to a press has in the two tones, before they are heard exactly.
const PURITY_ROUGH: f32 = 0.45;
/// How much of the power of a press is in its tones: with noise 15 dB below it is 0.97, and speech has more to it.
const PURITY_MIN: f32 = 0.85;
/// How far a tone may be off its pitch: between 1.5 %, which must be heard, and 3.5 %, which may not.
const DETUNE_MAX: f64 = 0.025;
/// How much of a tone's turning goes one way; 1 for a tone alone.
const STEADY_MIN: f64 = 0.95;
/// The shortest press in windows of 10 ms: between 23 ms, which may not be heard, and 40 ms, which must be.
const LENGTH_MIN: f32 = 3.15;
/// A pause so long ends a press: between an interruption of 10 ms and a pause of 40 ms.
const GAP_MAX: f32 = 2.2;

/// Cosine and sine sums of the eight tones.
type Tones = [[f32; 8]; 2];

/// What is known of 5 ms.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Block {
    tones: Tones,
    energy: f32,
}

/// What sound at a rate is held against.
#[derive(Debug)]
struct Bank {
    /// Samples in a block; 0 for a rate without telephone tones.
    block: usize,
    /// Cosines and negative sines of the eight tones, sample by sample.
    waves: Vec<Wave>,
    /// How each tone turns within a window, block by block, times the block's weight.
    turns: [Tones; WINDOW_BLOCKS],
    /// How each tone turns from a window to the next.
    advance: [(f64, f64); 8],
    /// Seconds from a window to the next.
    hop: f64,
    /// Of a window that a key can be in.
    energy_min: f32,
    /// The sum that the quietest tone has in a window.
    peak_min: f32,
    /// The energy in a window of a tone whose sum has the power 1.
    per_energy: f32,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Wave([f32; 16]);

/// The telephone's rate, shared by all.
static TELEPHONE: LazyLock<Arc<Bank>> = LazyLock::new(|| Arc::new(Bank::new(8_000)));

impl Bank {
    fn of(rate_hz: u32) -> Arc<Self> {
        if rate_hz == 8_000 { Arc::clone(&TELEPHONE) } else { Arc::new(Self::new(rate_hz)) }
    }

    fn new(rate_hz: u32) -> Self {
        let is_fit = (RATE_MIN_HZ..=RATE_MAX_HZ).contains(&rate_hz);
        let block = if is_fit { (rate_hz / BLOCKS_PER_SECOND) as usize } else { 0 };
        let angle = |tone: usize, samples: usize| TAU * TONES_HZ[tone] * samples as f64 / f64::from(rate_hz.max(1));
        let wave = |sample: usize| {
            let part = |at: usize| {
                let angle = angle(at % 8, sample);
                if at < 8 { angle.cos() } else { -angle.sin() }
            };
            Wave(std::array::from_fn(|at| part(at) as f32))
        };
        let turns = std::array::from_fn(|index| {
            let turn = |tone: usize| angle(tone, index * block).sin_cos();
            let weight = f64::from(WEIGHTS[index]);
            [
                std::array::from_fn(|tone| (turn(tone).1 * weight) as f32),
                std::array::from_fn(|tone| (-turn(tone).0 * weight) as f32),
            ]
        });
        let samples = block as f32;
        let weight = WEIGHTS.iter().sum::<f32>() * samples;
        let weight_squared = WEIGHTS.iter().map(|weight| weight * weight).sum::<f32>() * samples;
        Self {
            block,
            waves: (0..block).map(wave).collect(),
            turns,
            advance: std::array::from_fn(|tone| {
                let (sin, cos) = angle(tone, 2 * block).sin_cos();
                (cos, -sin)
            }),
            hop: 2.0 * block as f64 / f64::from(rate_hz.max(1)),
            // Of two tones in half of the window.
            energy_min: AMPLITUDE_MIN * AMPLITUDE_MIN * FULL_SCALE * FULL_SCALE * weight_squared * 0.5,
            // Tones of amplitude a sum up to a/2 times the weight and have the energy a^2/2 times the squared weight.
            peak_min: AMPLITUDE_MIN * FULL_SCALE * weight / 2.0,
            per_energy: 2.0 * weight_squared / (weight * weight).max(1.0),
        }
    }

    #[inline(always)]
    fn block_of<S: Simd>(&self, simd: S, samples: &[i16]) -> Block {
        let mut sums = [f32x16::splat(simd, 0.0); 4];
        let (mut energy, mut energies) = (0.0, [0.0_f32; 8]);
        let (samples, rest) = samples.as_chunks::<8>();
        let (waves, waves_rest) = self.waves.as_chunks::<8>();
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
        let mut both = [0.0; 16];
        ((sums[0] + sums[1]) + (sums[2] + sums[3])).store_array(&mut both);
        let mut tones = [[0.0; 8]; 2];
        for tone in 0..8 {
            (tones[0][tone], tones[1][tone]) = (both[tone], both[8 + tone]);
        }
        energy += (energies[0] + energies[4]) + (energies[1] + energies[5]);
        energy += (energies[2] + energies[6]) + (energies[3] + energies[7]);
        Block { tones, energy }
    }

    #[inline(always)]
    fn window_of(&self, blocks: [&Block; WINDOW_BLOCKS]) -> Tones {
        let mut sums = [[0.0; 8]; 2];
        for (Block { tones: [re, im], .. }, [cos, sin]) in blocks.into_iter().zip(&self.turns) {
            for tone in 0..8 {
                sums[0][tone] += re[tone] * cos[tone] - im[tone] * sin[tone];
                sums[1][tone] += re[tone] * sin[tone] + im[tone] * cos[tone];
            }
        }
        sums
    }

    /// How much of a tone's amplitude a window sees that is so many hertz off.
    fn response(&self, off_hz: f64) -> f64 {
        let length = self.hop / 2.0;
        let within = TAU * off_hz * length / 2.0;
        let block = if within.abs() < 1e-6 { 1.0 } else { within.sin() / within };
        let weights = f64::from(WEIGHTS[0]) * (3.0 * within).cos() + f64::from(WEIGHTS[1]) * within.cos();
        block * weights / f64::from(WEIGHTS[0] + WEIGHTS[1])
    }
}

const FULL_SCALE: f32 = 32_768.0;

/// A row and a column.
type Key = [usize; 2];

/// 20 ms, and those 10 ms before.
#[derive(Clone, Copy)]
struct Window<'a> {
    tones: &'a Tones,
    last: &'a Tones,
    energy: f32,
}

impl Window<'_> {
    /// The key that this sounds like.
    fn key(&self, bank: &Bank) -> Option<Key> {
        let powers: [f32; 8] = std::array::from_fn(|tone| self.power(tone));
        let sum: f32 = powers.iter().sum();
        if sum * bank.per_energy < PURITY_ROUGH * self.energy {
            return None;
        }
        let (row, low) = best(&powers[..4])?;
        let (column, high) = best(&powers[4..])?;
        let is_key = low.min(high) >= bank.peak_min * bank.peak_min * EDGE
            && high <= low * TWIST_MAX[0]
            && low <= high * TWIST_MAX[1]
            && (low + high) * bank.per_energy >= PURITY_ROUGH * self.energy;
        is_key.then_some([row, 4 + column])
    }

    fn power(&self, tone: usize) -> f32 {
        let [re, im] = self.tones;
        re[tone] * re[tone] + im[tone] * im[tone]
    }
}

/// A window that a tone only touches may have so much less power.
const EDGE: f32 = 0.1;

/// The loudest of a group and its power, if it stands out.
fn best(powers: &[f32]) -> Option<(usize, f32)> {
    let (index, power) = powers.iter().copied().enumerate().max_by(|one, other| one.1.total_cmp(&other.1))?;
    let stands_out = powers.iter().enumerate().all(|(other, rest)| other == index || power >= rest * LEAD_MIN);
    stands_out.then_some((index, power))
}

/// A key that sounds, or did a moment ago.
#[derive(Clone, Copy, Debug)]
struct Press {
    key: Key,
    /// Of each tone: the loudest amplitude of a window and the sum of all.
    peak: [f32; 2],
    sum: [f32; 2],
    /// Powers of the two tones, and all power.
    tones: [f32; 2],
    energy: f32,
    /// How far each tone has turned against its pitch from window to window, as the sum of complex numbers.
    turned: [(f64, f64); 2],
    /// What that sum would be if it always turned as far.
    steady: [f64; 2],
    /// Windows without it, in a row.
    gap: f32,
    is_told: bool,
}

impl Press {
    /// `last` may have had a little of it.
    fn new(key: Key, last: &Tones) -> Self {
        Self {
            key,
            peak: [0.0; 2],
            sum: key.map(|tone| last[0][tone].hypot(last[1][tone])),
            tones: [0.0; 2],
            energy: 0.0,
            turned: [(0.0, 0.0); 2],
            steady: [0.0; 2],
            gap: 0.0,
            is_told: false,
        }
    }

    fn add(&mut self, bank: &Bank, window: &Window<'_>, is_found: bool) {
        let mut presence = 1.0_f32;
        for (part, tone) in self.key.into_iter().enumerate() {
            let power = window.power(tone);
            let amplitude = power.sqrt();
            self.sum[part] += amplitude;
            if is_found {
                self.peak[part] = self.peak[part].max(amplitude);
                self.tones[part] += power;
                let now = (f64::from(window.tones[0][tone]), f64::from(window.tones[1][tone]));
                let last = (f64::from(window.last[0][tone]), f64::from(window.last[1][tone]));
                let turned =
                    turn((now.0 * last.0 + now.1 * last.1, now.1 * last.0 - now.0 * last.1), bank.advance[tone]);
                self.turned[part].0 += turned.0;
                self.turned[part].1 += turned.1;
                self.steady[part] += turned.0.hypot(turned.1);
            }
            presence = presence.min(amplitude / self.peak[part]);
        }
        if is_found {
            self.energy += window.energy;
        }
        // What a window misses of the tones is pause.
        self.gap = if is_found && presence > PRESENT { 0.0 } else { self.gap + 1.0 - presence };
    }

    /// The digit, once it is beyond doubt.
    fn tell(&mut self, bank: &Bank) -> Option<DtmfDigit> {
        let length = (self.sum[0] / self.peak[0]).min(self.sum[1] / self.peak[1]);
        if self.is_told || length < LENGTH_MIN || self.peak[0].min(self.peak[1]) < bank.peak_min {
            return None;
        }
        let mut power = 0.0;
        for (part, tone) in self.key.into_iter().enumerate() {
            let (re, im) = self.turned[part];
            let off_hz = im.atan2(re) / (TAU * bank.hop);
            if off_hz.abs() > DETUNE_MAX * TONES_HZ[tone] || re.hypot(im) < STEADY_MIN * self.steady[part] {
                return None;
            }
            power += f64::from(self.tones[part]) / bank.response(off_hz).powi(2);
        }
        if power * f64::from(bank.per_energy) < f64::from(PURITY_MIN * self.energy) {
            return None;
        }
        self.is_told = true;
        DtmfDigit::try_from(KEYS[self.key[0]][self.key[1] - 4]).ok()
    }
}

/// A window that has so much of the tones has no pause in it.
const PRESENT: f32 = 0.8;

fn turn((re, im): (f64, f64), (cos, sin): (f64, f64)) -> (f64, f64) {
    (re * cos - im * sin, re * sin + im * cos)
}

#[cfg(test)]
mod tests;
