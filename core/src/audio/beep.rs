//! A beep: one steady tone, as answering machines give before they record.

use std::time::Duration;

use super::FRAME_DURATION;

/// Shortest tone that counts; speech holds no pitch so purely for so long.
const LENGTH_MIN: Duration = Duration::from_millis(160);

/// Quieter tones are the line's own noises: mean square of samples in -1 to 1, about -36 dBFS.
const POWER_MIN: f32 = 2.5e-4;

/// How much of a frame's power may be something else than the tone.
const RESIDUE_MAX: f32 = 0.02;

/// How much the pitch may drift from frame to frame, as a difference of `cos(2 pi f / rate)`.
const DRIFT_MAX: f32 = 0.01;

/// Pitches that machines beep at.
const PITCH_HZ: std::ops::Range<f32> = 350.0..2_300.0;

/// Finds beeps in 20 ms frames, at no allocation.
///
/// A sampled sinusoid obeys `x[n-1] + x[n+1] = 2 cos(w) x[n]`; how well a frame obeys it, for the `cos(w)` that fits it
/// best, says how pure it is. Two tones at once, as of a key or a dial tone, do not.
#[derive(Clone, Debug)]
pub struct BeepDetector {
    cos: f32,
    cos_range: (f32, f32),
    length: Duration,
}

impl BeepDetector {
    /// A detector for frames at `rate_hz`.
    pub fn new(rate_hz: u32) -> Self {
        let cos = |hz: f32| (2.0 * std::f32::consts::PI * hz / rate_hz.max(1) as f32).cos();
        Self { cos: 0.0, cos_range: (cos(PITCH_HZ.end), cos(PITCH_HZ.start)), length: Duration::ZERO }
    }

    /// Takes 20 ms; true once in each beep, when it is long enough to be one.
    pub fn push(&mut self, frame: &[i16]) -> bool {
        let Some(cos) = tone(frame).filter(|cos| (self.cos_range.0..self.cos_range.1).contains(cos)) else {
            self.length = Duration::ZERO;
            return false;
        };
        if (cos - self.cos).abs() > DRIFT_MAX {
            self.length = Duration::ZERO;
        }
        self.cos = cos;
        let was_short = self.length < LENGTH_MIN;
        self.length += FRAME_DURATION;
        was_short && self.length >= LENGTH_MIN
    }
}

/// `cos(w)` of a frame that is one tone.
fn tone(frame: &[i16]) -> Option<f32> {
    let sample = |index: usize| f32::from(frame[index]) / 32_768.0;
    let (mut power, mut product, mut neighbours) = (0.0_f32, 0.0_f32, 0.0_f32);
    for index in 1..frame.len().saturating_sub(1) {
        let (here, both) = (sample(index), sample(index - 1) + sample(index + 1));
        power += here * here;
        product += here * both;
        neighbours += both * both;
    }
    if power < POWER_MIN * frame.len() as f32 {
        return None;
    }
    let cos = product / (2.0 * power);
    // What is left of the neighbours' power when the best tone is taken out.
    let residue = neighbours - product * product / power;
    (residue <= RESIDUE_MAX * power).then_some(cos)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: u32 = 8_000;

    fn signal(length_ms: usize, wave: impl Fn(f32) -> f32) -> Vec<i16> {
        let sample = |index: usize| (wave(index as f32 / RATE_HZ as f32) * 32_767.0) as i16;
        (0..length_ms * 8).map(sample).collect()
    }

    fn sine(hz: f32, level: f32) -> impl Fn(f32) -> f32 {
        move |at| (2.0 * std::f32::consts::PI * hz * at).sin() * level
    }

    fn beeps(samples: &[i16]) -> usize {
        let mut detector = BeepDetector::new(RATE_HZ);
        samples.chunks_exact(160).filter(|frame| detector.push(frame)).count()
    }

    #[test]
    fn a_steady_tone_is_one_beep() {
        for hz in [440.0, 850.0, 1_000.0, 1_400.0, 2_000.0] {
            assert_eq!(beeps(&signal(500, sine(hz, 0.3))), 1, "{hz} Hz");
        }
        let noisy = |at: f32| sine(1_000.0, 0.3)(at) + sine(3_777.0, 0.01)(at);
        assert_eq!(beeps(&signal(500, noisy)), 1);
    }

    #[test]
    fn what_is_short_quiet_or_mixed_is_none() {
        assert_eq!(beeps(&signal(120, sine(1_000.0, 0.3))), 0);
        assert_eq!(beeps(&signal(500, sine(1_000.0, 0.01))), 0);
        let key = |at: f32| sine(697.0, 0.3)(at) + sine(1_209.0, 0.3)(at);
        assert_eq!(beeps(&signal(500, key)), 0);
        let voice = |at: f32| (1..8).map(|harmonic| sine(130.0 * harmonic as f32, 0.1)(at)).sum();
        assert_eq!(beeps(&signal(500, voice)), 0);
        let siren = |at: f32| sine(600.0 + 2_000.0 * at, 0.3)(at);
        assert_eq!(beeps(&signal(500, siren)), 0);
        assert_eq!(beeps(&[0; 4_000]), 0);
    }
}
