//! Keys of the telephone as they sound: two tones at once (ITU-T Q.23), found by Goertzel's algorithm.

use crate::provider::telephony::DtmfDigit;

/// The tones of the rows.
const LOW_HZ: [f32; 4] = [697.0, 770.0, 852.0, 941.0];

/// The tones of the columns.
const HIGH_HZ: [f32; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];

const KEYS: [[char; 4]; 4] = [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];

/// Quieter tones are the line's own: mean square of samples in -1 to 1, about -36 dBFS.
const POWER_MIN: f32 = 2.5e-4;

/// How much of a frame's power its two tones must have; a tone may be off its pitch by 1.5 % (ITU-T Q.24).
const PURITY_MIN: f32 = 0.7;

/// How much louder each tone must be than the next best of its group.
const LEAD_MIN: f32 = 4.0;

/// How much louder one tone may be than the other: 8 dB.
const TWIST_MAX: f32 = 6.3;

/// Frames that a key sounds at least; speech hardly holds two such tones for so long.
const FRAMES_MIN: u32 = 2;

/// Frames without it that end a key.
const PAUSE_FRAMES: u32 = 2;

/// Finds keys in 20 ms frames, at no allocation.
#[derive(Clone, Debug)]
pub struct DtmfDetector {
    /// Frames that the key has sounded.
    frames: u32,
    key: Option<DtmfDigit>,
    /// Frames since it sounded.
    pause: u32,
    rate_hz: f32,
}

impl DtmfDetector {
    /// A detector for frames at `rate_hz`.
    pub fn new(rate_hz: u32) -> Self {
        Self { frames: 0, key: None, pause: 0, rate_hz: rate_hz.max(1) as f32 }
    }

    /// Takes 20 ms; the key once in each press, when it has sounded long enough.
    pub fn push(&mut self, frame: &[i16]) -> Option<DtmfDigit> {
        let found = self.key_of(frame);
        if found.is_none() {
            self.pause += 1;
            if self.pause >= PAUSE_FRAMES {
                self.key = None;
            }
            return None;
        }
        if found != self.key {
            self.frames = 0;
        }
        self.key = found;
        self.pause = 0;
        self.frames = self.frames.saturating_add(1);
        self.key.filter(|_| self.frames == FRAMES_MIN)
    }

    fn key_of(&self, frame: &[i16]) -> Option<DtmfDigit> {
        let length = frame.len() as f32;
        let total: f32 = frame.iter().map(|sample| scaled(*sample).powi(2)).sum();
        if total < POWER_MIN * length {
            return None;
        }
        let low = best(LOW_HZ.map(|hz| self.power_at(frame, hz)))?;
        let high = best(HIGH_HZ.map(|hz| self.power_at(frame, hz)))?;
        let purity = (low.1 + high.1) * 2.0 / (length * total);
        let twist = if low.1 > high.1 { low.1 / high.1 } else { high.1 / low.1 };
        let is_key = purity >= PURITY_MIN && twist <= TWIST_MAX;
        is_key.then(|| DtmfDigit::try_from(KEYS[low.0][high.0]).ok()).flatten()
    }

    /// Goertzel: the squared magnitude of the frame's spectrum at one pitch.
    fn power_at(&self, frame: &[i16], hz: f32) -> f32 {
        let factor = 2.0 * (2.0 * std::f32::consts::PI * hz / self.rate_hz).cos();
        let (mut last, mut before) = (0.0_f32, 0.0_f32);
        for sample in frame {
            (last, before) = (scaled(*sample) + factor * last - before, last);
        }
        last * last + before * before - factor * last * before
    }
}

/// The loudest of a group and how loud it is, if it stands out.
fn best(powers: [f32; 4]) -> Option<(usize, f32)> {
    let (index, power) = powers.iter().copied().enumerate().max_by(|one, other| one.1.total_cmp(&other.1))?;
    let stands_out = powers.iter().enumerate().all(|(other, rest)| other == index || power >= rest * LEAD_MIN);
    stands_out.then_some((index, power))
}

fn scaled(sample: i16) -> f32 {
    f32::from(sample) / 32_768.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(rate_hz: u32, length_ms: u32, wave: impl Fn(f32) -> f32) -> Vec<i16> {
        let sample = |index: u32| (wave(index as f32 / rate_hz as f32) * 32_767.0) as i16;
        (0..length_ms * rate_hz / 1_000).map(sample).collect()
    }

    fn sine(hz: f32, level: f32) -> impl Fn(f32) -> f32 {
        move |at| (2.0 * std::f32::consts::PI * hz * at).sin() * level
    }

    fn key(low: f32, high: f32, levels: (f32, f32)) -> impl Fn(f32) -> f32 {
        move |at| sine(low, levels.0)(at) + sine(high, levels.1)(at)
    }

    fn keys(rate_hz: u32, samples: &[i16]) -> String {
        let mut detector = DtmfDetector::new(rate_hz);
        let frames = samples.chunks_exact((rate_hz / 50) as usize);
        frames.filter_map(|frame| detector.push(frame)).map(DtmfDigit::as_char).collect()
    }

    #[test]
    fn each_key_is_heard_once_a_press() {
        for rate_hz in [8_000, 16_000] {
            let mut dialled = Vec::new();
            for (low, row) in LOW_HZ.into_iter().zip(KEYS) {
                for (high, _) in HIGH_HZ.into_iter().zip(row) {
                    // The pitches are off, and the presses lie across the frames.
                    dialled.extend(signal(rate_hz, 87, key(low * 1.012, high * 0.99, (0.2, 0.3))));
                    dialled.extend(signal(rate_hz, 71, |_| 0.0));
                }
            }
            assert_eq!(keys(rate_hz, &dialled), KEYS.concat().iter().collect::<String>());
        }
    }

    #[test]
    fn a_key_held_long_is_one_press_and_pressed_twice_is_two() {
        let five = || signal(8_000, 300, key(770.0, 1_336.0, (0.3, 0.3)));
        let pause = signal(8_000, 60, |_| 0.0);
        assert_eq!(keys(8_000, &five()), "5");
        assert_eq!(keys(8_000, &[five(), pause, five()].concat()), "55");
    }

    #[test]
    fn what_is_no_key_is_none() {
        assert_eq!(keys(8_000, &[0; 8_000]), "");
        assert_eq!(keys(8_000, &signal(8_000, 500, sine(697.0, 0.3))), "");
        assert_eq!(keys(8_000, &signal(8_000, 500, key(697.0, 1_209.0, (0.005, 0.005)))), "");
        assert_eq!(keys(8_000, &signal(8_000, 500, key(697.0, 1_209.0, (0.5, 0.1)))), "");
        assert_eq!(keys(8_000, &signal(8_000, 500, key(697.0, 770.0, (0.3, 0.3)))), "");
        assert_eq!(keys(8_000, &signal(8_000, 20, key(697.0, 1_209.0, (0.3, 0.3)))), "");
        let voice = |at: f32| (1..12).map(|harmonic| sine(151.0 * harmonic as f32, 0.08)(at)).sum();
        assert_eq!(keys(8_000, &signal(8_000, 500, voice)), "");
        let ringback = key(440.0, 480.0, (0.3, 0.3));
        assert_eq!(keys(8_000, &signal(8_000, 500, ringback)), "");
    }
}
