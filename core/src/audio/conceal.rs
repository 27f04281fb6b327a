//! Packet-loss concealment after ITU-T G.711 Appendix I (09/99): what a voice did last is repeated, softer and softer.

use super::codec::{Decode, Decoder};
use super::frame::FRAMES_PER_SECOND;
use super::resample::check_rate;
use crate::error::Result;
use crate::provider::telephony::MediaFormat;

/// Fills the gaps of a stream of samples.
///
/// Sound comes out later by [`delay`](Self::delay) samples, 3.75 ms, which is what it takes to lead smoothly into a gap.
/// A gap repeats the last period of pitch; after 10 ms the last two and after 20 ms the last three, so that it does not
/// buzz. It fades from 10 ms on and is silent from 60 ms on.
#[derive(Clone, Debug)]
pub struct Concealer {
    times: Times,
    /// What was heard or made up, the newest last; the last [`Times::delay`] samples have not come out.
    history: Vec<f32>,
    /// The history when a gap began.
    before: Vec<f32>,
    /// The end of the periods that are repeated, led into their beginning.
    tail: Vec<f32>,
    pitch: usize,
    periods: usize,
    /// Place in the periods that are repeated.
    at: usize,
    /// Samples of this gap so far.
    lost: usize,
    made: Vec<f32>,
}

impl Concealer {
    /// For sound at `rate_hz`.
    ///
    /// `ConfigInvalid` outside [`RATE_HZ_MIN`](super::resample::RATE_HZ_MIN) to
    /// [`RATE_HZ_MAX`](super::resample::RATE_HZ_MAX).
    pub fn new(rate_hz: u32) -> Result<Self> {
        check_rate("audio.conceal", rate_hz)?;
        let times = Times::at(rate_hz);
        Ok(Self {
            history: vec![0.0; times.history],
            before: vec![0.0; times.history],
            tail: vec![0.0; times.pitch_max / 4],
            made: Vec::with_capacity(times.step),
            pitch: times.pitch_max,
            periods: 1,
            at: 0,
            lost: 0,
            times,
        })
    }

    /// How many samples the sound comes later.
    pub fn delay(&self) -> usize {
        self.times.delay
    }

    /// Takes samples that arrived and puts in their place what is to be heard now.
    pub fn hear(&mut self, samples: &mut [i16]) {
        for samples in samples.chunks_mut(self.times.step) {
            let fade = if self.lost > 0 { self.fade_back().min(samples.len()) } else { 0 };
            self.make(fade);
            self.lost = 0;
            let mut arrived = [0.0; STEP_MAX];
            let arrived = &mut arrived[..samples.len()];
            for (n, (value, sample)) in arrived.iter_mut().zip(&*samples).enumerate() {
                *value = f32::from(*sample);
                if let Some(made) = self.made.get(n) {
                    *value = blend(*made, *value, n, fade);
                }
            }
            self.pass(arrived, samples);
        }
    }

    /// Makes up samples for ones that did not arrive.
    pub fn conceal(&mut self, samples: &mut [i16]) {
        let mut rest = samples;
        while !rest.is_empty() {
            // No piece reaches over a change of periods.
            let until_next = self.times.step - self.lost % self.times.step;
            let (piece, after) = rest.split_at_mut(until_next.min(rest.len()));
            self.lead_in();
            self.make(piece.len());
            let mut made = [0.0; STEP_MAX];
            made[..piece.len()].copy_from_slice(&self.made);
            self.lost = self.lost.saturating_add(piece.len());
            self.pass(&made[..piece.len()], piece);
            rest = after;
        }
    }

    /// Puts `values` behind the history and takes what is due out of it.
    fn pass(&mut self, values: &[f32], out: &mut [i16]) {
        let (length, kept) = (self.history.len(), self.history.len() - values.len());
        self.history.copy_within(values.len().., 0);
        self.history[kept..].copy_from_slice(values);
        let due = &self.history[kept - self.times.delay..length - self.times.delay];
        for (sample, value) in out.iter_mut().zip(due) {
            *sample = value.round() as i16;
        }
    }

    /// At the beginning of a gap and after 10 and 20 ms of it, chooses what is repeated.
    fn lead_in(&mut self) {
        if self.lost == 0 {
            self.before.copy_from_slice(&self.history);
            self.pitch = self.find_pitch();
            (self.periods, self.at) = (1, 0);
        } else if self.lost.is_multiple_of(self.times.step) && self.periods < PERIODS_MAX {
            self.periods += 1;
            self.at %= self.pitch;
        } else {
            return;
        }
        let (end, quarter) = (self.before.len(), self.pitch / 4);
        let start = end - self.periods * self.pitch;
        for n in 0..quarter {
            self.tail[n] = blend(self.before[end - quarter + n], self.before[start - quarter + n], n, quarter);
        }
        if self.lost == 0 {
            // These have not come out yet.
            self.history[end - quarter..].copy_from_slice(&self.tail[..quarter]);
        }
    }

    /// Repeats for `length` samples, faded as far as the gap has come.
    fn make(&mut self, length: usize) {
        self.made.clear();
        let (end, quarter, span) = (self.before.len(), self.pitch / 4, self.periods * self.pitch);
        for n in 0..length {
            let from_end = span - self.at;
            let value = if from_end <= quarter { self.tail[quarter - from_end] } else { self.before[end - from_end] };
            self.made.push(value * self.gain(self.lost.saturating_add(n)));
            self.at = (self.at + 1) % span;
        }
    }

    /// One for 10 ms, then less by a fifth every 10 ms.
    fn gain(&self, lost: usize) -> f32 {
        let steps = lost as f32 / self.times.step as f32;
        (1.0 - FADE_PER_STEP * (steps - 1.0)).clamp(0.0, 1.0)
    }

    /// Samples that lead out of a gap: a quarter of the pitch and 4 ms for every 10 ms lost, 10 ms at most.
    fn fade_back(&self) -> usize {
        (self.pitch / 4 + self.lost * 2 / 5).min(self.times.step)
    }

    /// The lag at which the last 20 ms are most like what was before them.
    fn find_pitch(&self) -> usize {
        let (end, window) = (self.history.len(), self.times.window);
        let recent = &self.history[end - window..];
        let mut best = (self.times.pitch_max, f32::MIN);
        for lag in self.times.pitch_min..=self.times.pitch_max {
            let earlier = &self.history[end - window - lag..end - lag];
            let (mut likeness, mut energy) = (0.0, 1.0);
            for (a, b) in recent.iter().zip(earlier) {
                likeness += a * b;
                energy += b * b;
            }
            let likeness = likeness / f32::sqrt(energy);
            if likeness > best.1 {
                best = (lag, likeness);
            }
        }
        best.0
    }
}

/// A decoder whose gaps are concealed.
#[derive(Clone, Debug)]
pub struct ConcealingDecoder {
    decoder: Decoder,
    concealer: Concealer,
}

impl ConcealingDecoder {
    /// At the start of a stream of `format`.
    ///
    /// `ConfigInvalid` for a rate that no audio here has.
    pub fn new(format: MediaFormat) -> Result<Self> {
        Ok(Self { decoder: Decoder::new(format.codec), concealer: Concealer::new(format.rate_hz)? })
    }
}

impl Decode for ConcealingDecoder {
    fn decode(&mut self, bytes: &[u8], samples: &mut Vec<i16>) -> Result<()> {
        let start = samples.len();
        self.decoder.decode(bytes, samples);
        self.concealer.hear(&mut samples[start..]);
        Ok(())
    }

    fn conceal(&mut self, length: usize, samples: &mut Vec<i16>) -> Result<()> {
        let start = samples.len();
        samples.resize(start + length, 0);
        self.concealer.conceal(&mut samples[start..]);
        Ok(())
    }
}

/// Periods of pitch that are repeated at most.
const PERIODS_MAX: usize = 3;
/// What 10 ms of a gap take off the loudness.
const FADE_PER_STEP: f32 = 0.2;
/// Samples of 10 ms at the highest rate.
const STEP_MAX: usize = (super::resample::RATE_HZ_MAX / 100) as usize;

/// The times of the appendix in samples.
#[derive(Clone, Debug)]
struct Times {
    step: usize,
    window: usize,
    pitch_min: usize,
    pitch_max: usize,
    delay: usize,
    history: usize,
}

impl Times {
    fn at(rate_hz: u32) -> Self {
        let of = |tenths_ms: u32| (u64::from(rate_hz) * u64::from(tenths_ms) / 10_000) as usize;
        let pitch_max = of(150);
        let window = (rate_hz / FRAMES_PER_SECOND) as usize;
        let delay = pitch_max / 4;
        // Three periods with the quarter that leads into them, or what a search for the longest period looks at.
        let history = (PERIODS_MAX * pitch_max + delay).max(window + pitch_max);
        Self { step: of(100), window, pitch_min: of(50), pitch_max, delay, history }
    }
}

/// From `old` to `new` in `length` steps.
fn blend(old: f32, new: f32, n: usize, length: usize) -> f32 {
    let part = (n + 1) as f32 / (length + 1) as f32;
    old + (new - old) * part
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;

    const RATES_HZ: [u32; 4] = [8_000, 16_000, 44_100, 48_000];

    #[test]
    fn without_loss_the_sound_is_the_same_and_late() {
        for rate_hz in RATES_HZ {
            let mut concealer = Concealer::new(rate_hz).unwrap();
            let sound = vowel(rate_hz, 1.0);
            let mut heard = sound.clone();
            heard.chunks_mut(333).for_each(|piece| concealer.hear(piece));
            let delay = concealer.delay();
            assert_eq!(heard[delay..], sound[..sound.len() - delay]);
            assert!(heard[..delay].iter().all(|sample| *sample == 0));
        }
        assert_eq!(Concealer::new(8_000).unwrap().delay(), 30);
    }

    #[test]
    fn a_vowel_goes_on_over_a_lost_frame() {
        for rate_hz in RATES_HZ {
            let frame = rate_hz as usize / 50;
            let sound = vowel(rate_hz, 0.5);
            let (heard, delay) = with_losses(rate_hz, &sound, |n| n == 10);
            let gap = 10 * frame..10 * frame + frame / 2;
            let (mut signal, mut noise) = (0.0, 0.0);
            for n in gap {
                let (expected, got) = (f32::from(sound[n]), f32::from(heard[n + delay]));
                signal += expected * expected;
                noise += (expected - got).powi(2);
            }
            assert!(signal > 10.0 * noise, "{rate_hz}: {signal} {noise}");
        }
    }

    #[test]
    fn a_gap_fades_and_is_silent_from_60_ms_on() {
        let sound = vowel(8_000, 0.5);
        let (heard, delay) = with_losses(8_000, &sound, |n| n >= 10);
        let at = |ms: usize| &heard[10 * 160 + ms * 8 + delay..][..80];
        let peak = |ms| at(ms).iter().map(|sample| sample.unsigned_abs()).max().unwrap();
        assert!(peak(0) > 7_000 && peak(20) < peak(0) && peak(40) < peak(20) && peak(40) > 0);
        assert_eq!(peak(60), 0);
    }

    #[test]
    fn there_is_no_click_into_or_out_of_a_gap() {
        let sound = vowel(8_000, 1.0);
        let step_max = |sound: &[i16]| sound.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap();
        for losses in [1, 2, 3] {
            let (heard, _) = with_losses(8_000, &sound, |n| n % 9 < losses && n > 9);
            assert!(step_max(&heard) < step_max(&sound) * 3 / 2, "{losses}");
        }
    }

    #[test]
    fn rates_beyond_reason_are_refused() {
        for rate_hz in [0, 3_999, u32::MAX] {
            assert_eq!(Concealer::new(rate_hz).unwrap_err().kind(), ErrorKind::ConfigInvalid);
        }
    }

    proptest! {
        #[test]
        fn anything_lost_at_any_place_gives_as_many_samples_and_no_panic(
            rate_hz in 4_000_u32..=192_000,
            pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<i16>(), 0..2_000)), 0..12),
        ) {
            let mut concealer = Concealer::new(rate_hz).unwrap();
            for (is_lost, mut samples) in pieces {
                if is_lost { concealer.conceal(&mut samples) } else { concealer.hear(&mut samples) }
            }
        }
    }

    /// 130 Hz and its harmonics.
    fn vowel(rate_hz: u32, seconds: f32) -> Vec<i16> {
        (0..(rate_hz as f32 * seconds) as u32)
            .map(|n| {
                let phase = TAU * 130.0 * n as f32 / rate_hz as f32;
                (4_000.0 * phase.sin() + 3_000.0 * (2.0 * phase).sin() + 2_000.0 * (3.0 * phase).cos()) as i16
            })
            .collect()
    }

    fn with_losses(rate_hz: u32, sound: &[i16], is_lost: impl Fn(usize) -> bool) -> (Vec<i16>, usize) {
        let mut concealer = Concealer::new(rate_hz).unwrap();
        let mut heard = sound.to_vec();
        for (n, frame) in heard.chunks_mut(rate_hz as usize / 50).enumerate() {
            if is_lost(n) { concealer.conceal(frame) } else { concealer.hear(frame) }
        }
        (heard, concealer.delay())
    }
}
