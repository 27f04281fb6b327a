//! What a network says in tones: dial, ringback, busy, congestion, the special information tones and fax machines.
//!
//! A window of 80 ms every 20 ms is held against the pitches of one country; which of its tones sounds, and how long each
//! was and each silence between, is held against the cadences. Special information (ITU-T E.180: 950, 1400 and 1800 Hz
//! after each other) and fax tones (ITU-T T.30: calling 1100 Hz, answering 2100 Hz) are the same everywhere.

mod countries;

use std::cmp::Ordering;
use std::time::Duration;

use super::beep::PureTone;
use super::frame::FRAME_DURATION;
use super::pitches::{Block, PITCHES, Pitches};
use super::simd::{Level, level};
use super::{Framer, samples_per_frame};
use crate::error::Result;

pub use self::countries::Country;
use self::countries::{Pattern, Sound};

/// What a tone means.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum ToneKind {
    /// The called party is engaged.
    Busy,
    /// The network has no way through: reorder, in North America.
    Congestion,
    /// The network waits for a number.
    Dial,
    /// A fax machine answers: CED.
    FaxAnswer,
    /// A fax machine calls: CNG.
    FaxCalling,
    /// It rings.
    Ringback,
    /// An announcement follows: the number is wrong, or out of service.
    SpecialInformation,
}

/// A tone that was made out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ToneEvent {
    /// What it means.
    pub kind: ToneKind,
    /// How much of the sound fitted, 0 to 1.
    pub confidence: f32,
    /// When it became clear, to a frame, since the first sample pushed.
    pub at: Duration,
}

/// Listens for the tones of a network, at no allocation.
#[derive(Debug)]
pub struct CallProgress {
    framer: Framer,
    level: Level,
    now: Duration,
    bank: Bank,
    /// The last frames, oldest first.
    blocks: [Block; WINDOW_FRAMES],
    cadence: Cadence,
    pure: PureTone,
    single: Single,
    /// What was told last, and is not told again before it has been silent.
    told: Option<(ToneKind, Duration)>,
}

impl CallProgress {
    /// A listener to sound at `rate_hz` for the tones of `country`. `ConfigInvalid` for a rate that is none.
    pub fn new(rate_hz: u32, country: Country) -> Result<Self> {
        Ok(Self {
            framer: Framer::new(rate_hz)?,
            level: level(),
            now: Duration::ZERO,
            bank: Bank::new(rate_hz, country.patterns()),
            blocks: [Block::default(); WINDOW_FRAMES],
            cadence: Cadence::default(),
            pure: PureTone::new(rate_hz),
            single: Single::default(),
            told: None,
        })
    }

    /// Takes the next samples; a tone once it is clear which, and again only after [`SILENCE_MIN`] without it.
    ///
    /// Of several in a piece longer than a frame, the last is yielded.
    pub fn push(&mut self, mut samples: &[i16]) -> Option<ToneEvent> {
        let mut event = None;
        loop {
            let Self { framer, blocks, bank, level, pure, .. } = self;
            let Some(frame) = framer.next_frame(&mut samples) else { return event };
            blocks.rotate_left(1);
            blocks[WINDOW_FRAMES - 1] = bank.pitches.hear(*level, frame);
            let ended = pure.push(frame).map(|tone| (tone.pitch_hz, tone.length));
            event = self.judge(ended).or(event);
        }
    }

    fn judge(&mut self, ended: Option<(f32, Duration)>) -> Option<ToneEvent> {
        self.now += FRAME_DURATION;
        let sounding = self.pure.sounding().map(|tone| (tone.pitch_hz, tone.length));
        let single = self.single.push(self.now, ended, sounding).map(|kind| (kind, SINGLE_CONFIDENCE));
        let (heard, power) = self.bank.judge(&self.blocks);
        self.cadence.push(heard, power);
        let (kind, confidence) = single.or_else(|| self.cadence.verdict(self.bank.patterns))?;
        let is_new = self.told.is_none_or(|(told, at)| told != kind || self.now - at >= SILENCE_MIN);
        self.told = Some((kind, self.now));
        is_new.then_some(ToneEvent { kind, confidence, at: self.now })
    }
}

/// A tone that comes back after so long is told again: longer than any cadence is silent.
pub const SILENCE_MIN: Duration = Duration::from_secs(8);

const WINDOW_FRAMES: usize = 4;
const WEIGHTS: [f32; WINDOW_FRAMES] = [0.45, 1.0, 1.0, 0.45];
/// Mean square of samples below which nothing is a tone: about -45 dBFS.
const POWER_MIN: f32 = 1_000.0;
/// How much of a window's power its tone must have.
const PURITY_MIN: f32 = 0.7;
/// The same for a pitch that another modulates: a window is hardly longer than a turn of the slower one.
const PURITY_MODULATED_MIN: f32 = 0.5;
/// More of it than a pitch has that another modulates.
const ALONE_MIN: f32 = 0.8;
/// How much of the tone each of its pitches must have.
const SHARE_MIN: f32 = 0.1;
/// How sure a single tone is that kept its pitch.
const SINGLE_CONFIDENCE: f32 = 0.95;

/// The pitches of a country.
#[derive(Debug)]
struct Bank {
    patterns: &'static [Pattern],
    pitches: Pitches,
    /// As many as the country has.
    pitches_hz: [f64; PITCHES],
    turns: [[[f32; PITCHES]; 2]; WINDOW_FRAMES],
    /// The energy in a window of a tone whose sum has the power 1, and the least of a window.
    per_energy: f32,
    energy_min: f32,
    weight_squared: f32,
}

impl Bank {
    fn new(rate_hz: u32, patterns: &'static [Pattern]) -> Self {
        let frame = samples_per_frame(rate_hz);
        let mut pitches_hz = [0.0; PITCHES];
        let mut count = 0;
        for hz in patterns.iter().flat_map(|pattern| pitches_of(pattern.sound)).flatten() {
            if !pitches_hz[..count].contains(&hz) && count < PITCHES {
                pitches_hz[count] = hz;
                count += 1;
            }
        }
        let turns = std::array::from_fn(|index| {
            let turn = |pitch: usize| {
                let samples = (index * frame) as f64;
                (std::f64::consts::TAU * pitches_hz[pitch] * samples / f64::from(rate_hz)).sin_cos()
            };
            let weight = f64::from(WEIGHTS[index]);
            [
                std::array::from_fn(|pitch| (turn(pitch).1 * weight) as f32),
                std::array::from_fn(|pitch| (-turn(pitch).0 * weight) as f32),
            ]
        });
        let samples = frame as f32;
        let weight = WEIGHTS.iter().sum::<f32>() * samples;
        let weight_squared = WEIGHTS.iter().map(|weight| weight * weight).sum::<f32>() * samples;
        Self {
            patterns,
            pitches: Pitches::new(&pitches_hz[..count], rate_hz, frame),
            pitches_hz,
            turns,
            per_energy: 2.0 * weight_squared / (weight * weight),
            energy_min: POWER_MIN * weight_squared,
            weight_squared,
        }
    }

    /// Which of the country's sounds a window has, how purely, and its mean square.
    fn judge(&self, blocks: &[Block; WINDOW_FRAMES]) -> (Option<(Sound, f32)>, f32) {
        let weighted = blocks.iter().zip(WEIGHTS).map(|(block, weight)| block.energy * weight * weight);
        let energy: f32 = weighted.sum();
        let power = energy / self.weight_squared;
        if energy < self.energy_min {
            return (None, power);
        }
        let mut sums = [[0.0; PITCHES]; 2];
        for (Block { tones: [re, im], .. }, [cos, sin]) in blocks.iter().zip(&self.turns) {
            for pitch in 0..PITCHES {
                sums[0][pitch] += re[pitch] * cos[pitch] - im[pitch] * sin[pitch];
                sums[1][pitch] += re[pitch] * sin[pitch] + im[pitch] * cos[pitch];
            }
        }
        let share = |hz: f64| {
            let at = self.pitches_hz.iter().position(|other| *other == hz);
            at.map_or(0.0, |at| (sums[0][at].powi(2) + sums[1][at].powi(2)) * self.per_energy / energy)
        };
        let heard = self.patterns.iter().filter_map(|pattern| {
            let parts = pitches_of(pattern.sound).map(|hz| hz.map_or(0.0, share));
            let purity: f32 = parts.iter().sum();
            // The carrier may be missing; all else must be there.
            let needed = if matches!(pattern.sound, Sound::One(_)) { &parts[..1] } else { &parts[..2] };
            let is_it = purity >= purity_min(pattern.sound) && needed.iter().all(|part| *part >= purity * SHARE_MIN);
            is_it.then_some((pattern.sound, purity.min(1.0)))
        });
        // A pitch alone spreads to where its side bands would be.
        let is_alone = |heard: &(Sound, f32)| matches!(heard.0, Sound::One(_)) && heard.1 >= ALONE_MIN;
        (
            heard.max_by(|one, other| {
                (is_alone(one), one.1).partial_cmp(&(is_alone(other), other.1)).unwrap_or(Ordering::Equal)
            }),
            power,
        )
    }
}

fn purity_min(sound: Sound) -> f32 {
    if matches!(sound, Sound::Modulated(..)) { PURITY_MODULATED_MIN } else { PURITY_MIN }
}

/// The pitches of a sound, those that it must have first.
fn pitches_of(sound: Sound) -> [Option<f64>; 3] {
    match sound {
        Sound::Modulated(carrier, by) => [Some(carrier - by), Some(carrier + by), Some(carrier)],
        Sound::One(hz) => [Some(hz), None, None],
        Sound::Two(low, high) => [Some(low), Some(high), None],
    }
}

/// Sounds and silences in turn.
#[derive(Clone, Debug, Default)]
struct Cadence {
    /// The last whole ones, the latest first: frames of sound and of the silence after it.
    past: [(u16, u16); CYCLES],
    sound: Option<Sound>,
    /// Frames of the present sound, and of silence since.
    on: u16,
    off: u16,
    /// Frames of another sound, in a row.
    other: u16,
    /// Frames of another of the network's sounds, in a row.
    changed: u16,
    /// The loudest of its windows, and the sum of how pure they were.
    peak: f32,
    purity: f32,
}

/// Sounds that are remembered: the longest cadence has three.
const CYCLES: usize = 4;
/// A window that has less of the loudest one's power is mostly silence.
const EDGE: f32 = 0.3;
/// Another sound for longer than a window breaks a cadence off; less is where a tone begins or ends.
const OTHER_FRAMES: u16 = 6;
/// A silence no longer than this is none: no cadence has one below 200 ms.
const BREAK_FRAMES: u16 = 3;
/// So many frames of another of the network's sounds are one.
const CHANGE_FRAMES: u16 = 5;
/// How far a cadence may be off: a share of each length, and frames.
const TOLERANCE: f32 = 0.15;
const TOLERANCE_FRAMES: f32 = 2.0;
/// A sound that lasts so long goes on: longer than North America rings.
const CONTINUOUS_FRAMES: u16 = 125;
/// A silence so long ends a cadence: longer than any has.
const PAUSE_FRAMES: u16 = 250;

impl Cadence {
    fn push(&mut self, heard: Option<(Sound, f32)>, power: f32) {
        let is_on = heard.is_some_and(|(sound, _)| {
            let is_new = self.sound.is_none() || (self.sound != Some(sound) && self.changed + 1 >= CHANGE_FRAMES);
            is_new || power >= self.peak * EDGE
        });
        let Some((sound, purity)) = heard.filter(|_| is_on) else {
            self.off = self.off.saturating_add(1);
            let is_other = heard.is_none() && power >= POWER_MIN && power >= self.peak * EDGE;
            self.other = if is_other { self.other + 1 } else { 0 };
            if self.off >= PAUSE_FRAMES || self.other >= OTHER_FRAMES {
                *self = Self::default();
            }
            return;
        };
        // Where a tone begins or ends, it may look like another for a moment.
        self.changed = if self.sound == Some(sound) { 0 } else { self.changed + 1 };
        if self.sound.is_none() || self.changed >= CHANGE_FRAMES {
            *self = Self { sound: Some(sound), on: self.changed - 1, ..Self::default() };
        } else if self.off <= BREAK_FRAMES {
            self.on = self.on.saturating_add(std::mem::take(&mut self.off));
        } else {
            self.past.rotate_right(1);
            self.past[0] = (self.on, self.off);
            (self.on, self.off, self.purity) = (0, 0, 0.0);
        }
        self.other = 0;
        self.on = self.on.saturating_add(1);
        self.peak = self.peak.max(power);
        self.purity += purity;
    }

    /// The one meaning of all patterns that this can be.
    fn verdict(&self, patterns: &[Pattern]) -> Option<(ToneKind, f32)> {
        let sound = self.sound?;
        if self.on == 0 {
            return None;
        }
        let mut kind = None;
        let mut evidence = usize::MAX;
        for pattern in patterns.iter().filter(|pattern| pattern.sound == sound) {
            let Some(cycles) = self.fits(pattern.cadence_ms) else { continue };
            if kind.is_some_and(|other| other != pattern.kind) {
                return None;
            }
            (kind, evidence) = (Some(pattern.kind), evidence.min(cycles));
        }
        let kind = kind?;
        let needed = match kind {
            // Its sounds are longer, or more than one pitch.
            ToneKind::Ringback | ToneKind::Dial => 1,
            _ => 2,
        };
        (evidence >= needed).then(|| (kind, (self.purity / f32::from(self.on)).min(1.0)))
    }

    /// How many whole sounds there were, if all that was heard fits the cadence from some place in it on.
    fn fits(&self, cadence_ms: &[u16]) -> Option<usize> {
        if cadence_ms.is_empty() {
            let is_first = self.past[0].0 == 0 && self.off == 0;
            return is_first.then_some(usize::from(self.on >= CONTINUOUS_FRAMES));
        }
        let cycles = cadence_ms.len() / 2;
        let past = self.past.iter().take_while(|cycle| cycle.0 > 0).count();
        let fits_at = |last: usize| {
            let expected = |back: usize| {
                let at = (last + CYCLES * cycles - back) % cycles;
                (cadence_ms[2 * at], cadence_ms[2 * at + 1])
            };
            let now = expected(0);
            let is_whole = self.off > 0;
            let begins = if is_whole {
                is_near(self.on, now.0) && is_within(self.off, now.1)
            } else {
                is_within(self.on, now.0)
            };
            let fits = begins
                && self.past[..past].iter().enumerate().all(|(back, (on, off))| {
                    let expected = expected(back + 1);
                    is_near(*on, expected.0) && is_near(*off, expected.1)
                });
            fits.then_some(past + usize::from(is_whole))
        };
        (0..cycles).filter_map(fits_at).max()
    }
}

fn is_near(frames: u16, expected_ms: u16) -> bool {
    is_within(frames, expected_ms) && f32::from(frames) >= nominal(expected_ms) - tolerance(expected_ms)
}

fn is_within(frames: u16, expected_ms: u16) -> bool {
    f32::from(frames) <= nominal(expected_ms) + tolerance(expected_ms)
}

fn nominal(millis: u16) -> f32 {
    f32::from(millis) / FRAME_DURATION.as_millis() as f32
}

fn tolerance(millis: u16) -> f32 {
    nominal(millis) * TOLERANCE + TOLERANCE_FRAMES
}

/// Tones of one pitch that mean the same everywhere.
#[derive(Clone, Debug, Default)]
struct Single {
    /// Tones of the special information so far, and when the last ended.
    information: usize,
    informed: Duration,
    /// How long a fax has answered, and until when: it turns its phase every 450 ms, which looks like a break.
    answered: Duration,
    answered_until: Duration,
}

/// What special information sounds like: three tones, each within 50 Hz and 330 ms give or take 70.
const INFORMATION_HZ: [f32; 3] = [950.0, 1_400.0, 1_800.0];
const INFORMATION_TOLERANCE_HZ: f32 = 50.0;
const INFORMATION_LENGTH: std::ops::RangeInclusive<Duration> = Duration::from_millis(220)..=Duration::from_millis(440);
/// The longest silence between them.
const INFORMATION_GAP: Duration = Duration::from_millis(1_000);
/// A calling fax: half a second of 1100 Hz give or take 38, every 3.5 s.
const CALLING_HZ: std::ops::RangeInclusive<f32> = 1_062.0..=1_138.0;
const CALLING_LENGTH: std::ops::RangeInclusive<Duration> = Duration::from_millis(420)..=Duration::from_millis(580);
/// An answering fax: 2100 Hz give or take 15, and as much again for the line, for 2.6 to 4 s.
const ANSWERING_HZ: std::ops::RangeInclusive<f32> = 2_070.0..=2_130.0;
const ANSWERING_MIN: Duration = Duration::from_millis(800);
const ANSWERING_BREAK: Duration = Duration::from_millis(80);

impl Single {
    fn push(
        &mut self,
        now: Duration,
        ended: Option<(f32, Duration)>,
        sounding: Option<(f32, Duration)>,
    ) -> Option<ToneKind> {
        if sounding.is_some_and(|(hz, _)| ANSWERING_HZ.contains(&hz)) {
            if now.saturating_sub(self.answered_until) > ANSWERING_BREAK {
                self.answered = Duration::ZERO;
            }
            let is_long = self.answered < ANSWERING_MIN;
            self.answered += FRAME_DURATION;
            self.answered_until = now;
            if is_long && self.answered >= ANSWERING_MIN {
                return Some(ToneKind::FaxAnswer);
            }
        }
        let (hz, length) = ended?;
        if CALLING_HZ.contains(&hz) && CALLING_LENGTH.contains(&length) {
            return Some(ToneKind::FaxCalling);
        }
        self.inform(now, hz, length).then_some(ToneKind::SpecialInformation)
    }

    fn inform(&mut self, now: Duration, hz: f32, length: Duration) -> bool {
        let begins = now.saturating_sub(length + FRAME_DURATION);
        if begins.saturating_sub(self.informed) > INFORMATION_GAP {
            self.information = 0;
        }
        let is = |index: usize| (hz - INFORMATION_HZ[index]).abs() <= INFORMATION_TOLERANCE_HZ;
        let is_next = is(self.information) && INFORMATION_LENGTH.contains(&length);
        let is_first = is(0) && INFORMATION_LENGTH.contains(&length);
        self.information = if is_next { self.information + 1 } else { usize::from(is_first) };
        self.informed = now;
        let is_whole = self.information == INFORMATION_HZ.len();
        if is_whole {
            self.information = 0;
        }
        is_whole
    }
}

#[cfg(test)]
mod tests;
