//! Pure tones: the beep after which an answering machine records, a fax, the three tones before an announcement.

use std::time::Duration;

use super::FRAME_DURATION;

/// Shortest beep; speech holds no pitch so purely for so long.
pub const BEEP_MIN: Duration = Duration::from_millis(160);

/// Longest beep: what goes on is the tone of a line or of a fax.
pub const BEEP_MAX: Duration = Duration::from_millis(2_400);

/// Tones closer to each other than this are a melody, or the network's before an announcement.
const ALONE_MIN: Duration = Duration::from_millis(60);

/// Pitches that machines beep at.
const PITCH_HZ: std::ops::Range<f32> = 350.0..2_300.0;

/// Quieter tones are the line's own noises: mean square of samples in -1 to 1, about -36 dBFS.
const POWER_MIN: f32 = 2.5e-4;

/// What is a neighbour: samples that lie closer together are alike in any voice, and say nothing of how pure it is.
const NEIGHBOURS_HZ: u32 = 8_000;

/// How much of a frame's power may be something else than the tone.
const RESIDUE_MAX: f32 = 0.02;

/// How much the pitch may drift from frame to frame, as a difference of `cos(2 pi f / rate)`.
const DRIFT_MAX: f32 = 0.01;

/// A beep that is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beep {
    /// Its pitch.
    pub pitch_hz: f32,
    /// How long it was, to a frame.
    pub length: Duration,
    /// When it ended, to a frame, since the first sample pushed.
    pub ended: Duration,
}

/// Finds beeps in 20 ms frames, at no allocation.
#[derive(Clone, Debug)]
pub struct BeepDetector {
    tone: PureTone,
    now: Duration,
    /// When the last tone ended that was long enough.
    last: Option<Duration>,
}

impl BeepDetector {
    /// A detector for frames at `rate_hz`.
    pub fn new(rate_hz: u32) -> Self {
        Self { tone: PureTone::new(rate_hz), now: Duration::ZERO, last: None }
    }

    /// Takes 20 ms; a beep at the first frame without it.
    pub fn push(&mut self, frame: &[i16]) -> Option<Beep> {
        let ended = self.tone.push(frame);
        self.now += FRAME_DURATION;
        let tone = ended.filter(|tone| tone.length >= BEEP_MIN)?;
        let is_alone = self.tone.sounding().is_none()
            && self.last.is_none_or(|last| self.now.saturating_sub(last + tone.length) > ALONE_MIN);
        self.last = Some(self.now);
        if !is_alone || tone.length > BEEP_MAX || !PITCH_HZ.contains(&tone.pitch_hz) {
            return None;
        }
        let ended = self.now.saturating_sub(FRAME_DURATION);
        Some(Beep { pitch_hz: tone.pitch_hz, length: tone.length, ended })
    }

    /// Whether a tone sounds that may turn out to be a beep.
    pub fn is_sounding(&self) -> bool {
        self.tone.sounding().is_some_and(|tone| tone.length >= BEEP_MIN && PITCH_HZ.contains(&tone.pitch_hz))
    }
}

/// One tone at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sounded {
    pub(super) pitch_hz: f32,
    pub(super) length: Duration,
}

/// Follows a pure tone from frame to frame.
///
/// A sampled sinusoid obeys `x[n-1] + x[n+1] = 2 cos(w) x[n]`; how well a frame obeys it, for the `cos(w)` that fits it
/// best, says how pure it is. Two tones at once, as of a key or a dial tone, do not.
#[derive(Clone, Debug)]
pub(super) struct PureTone {
    /// Samples between neighbours.
    lag: usize,
    radians_per_hz: f32,
    /// Of the frames so far: the sum of their `cos(w)`.
    cos_sum: f32,
    frames: u16,
}

impl PureTone {
    pub(super) fn new(rate_hz: u32) -> Self {
        let lag = (rate_hz / NEIGHBOURS_HZ).max(1);
        let radians_per_hz = 2.0 * std::f32::consts::PI * lag as f32 / rate_hz.max(1) as f32;
        Self { lag: lag as usize, radians_per_hz, cos_sum: 0.0, frames: 0 }
    }

    /// Takes 20 ms; a tone at the first frame without it.
    pub(super) fn push(&mut self, frame: &[i16]) -> Option<Sounded> {
        let cos = tone(frame, self.lag);
        let goes_on = cos.is_some_and(|cos| self.frames > 0 && (cos - self.mean()).abs() <= DRIFT_MAX);
        let before = if goes_on { None } else { self.sounding() };
        match cos {
            Some(cos) if goes_on => {
                self.cos_sum += cos;
                self.frames = self.frames.saturating_add(1);
                if self.frames == u16::MAX {
                    // Rather a new tone than a wrong mean.
                    self.frames = 0;
                }
            }
            Some(cos) => (self.cos_sum, self.frames) = (cos, 1),
            None => self.frames = 0,
        }
        before
    }

    /// The tone that the last frame had.
    pub(super) fn sounding(&self) -> Option<Sounded> {
        (self.frames > 0).then(|| Sounded {
            pitch_hz: self.mean().clamp(-1.0, 1.0).acos() / self.radians_per_hz,
            length: FRAME_DURATION * u32::from(self.frames),
        })
    }

    fn mean(&self) -> f32 {
        self.cos_sum / f32::from(self.frames.max(1))
    }
}

/// `cos(w)` of a frame that is one tone; `w` is the angle of `lag` samples.
fn tone(frame: &[i16], lag: usize) -> Option<f32> {
    let sample = |index: usize| f32::from(frame[index]) / 32_768.0;
    let (mut power, mut product, mut neighbours) = (0.0_f32, 0.0_f32, 0.0_f32);
    for index in lag..frame.len().saturating_sub(lag) {
        let (here, both) = (sample(index), sample(index - lag) + sample(index + lag));
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
        samples.chunks_exact(160).chain([&[0; 160][..]]).filter_map(|frame| detector.push(frame)).count()
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
    fn its_pitch_and_its_end_are_told_to_the_frame() {
        let mut detector = BeepDetector::new(RATE_HZ);
        let sound = [vec![0; 160 * 7], signal(300, sine(1_004.0, 0.3)), vec![0; 160 * 5]].concat();
        let mut frames =
            sound.chunks_exact(160).enumerate().filter_map(|(index, frame)| Some((index, detector.push(frame)?)));
        let (index, beep) = frames.next().unwrap();
        assert_eq!((index, beep.length, beep.ended), (22, Duration::from_millis(300), Duration::from_millis(440)));
        assert!((beep.pitch_hz - 1_004.0).abs() < 1.0, "{beep:?}");
        assert_eq!(frames.next(), None);
    }

    #[test]
    fn a_wide_band_makes_no_voice_pure() {
        // The formants of a vowel that glides, as of a "Hello?" at 16 kHz.
        let vowel = |at: f32| {
            let pitch = 380.0 + 400.0 * (at - 0.2).abs();
            sine(pitch, 0.3)(at) + sine(2.0 * pitch, 0.05)(at)
        };
        for rate_hz in [8_000_u32, 16_000, 48_000] {
            let sample = |index: u32| (vowel(index as f32 / rate_hz as f32) * 32_767.0) as i16;
            let sound: Vec<i16> = (0..rate_hz / 2).map(sample).collect();
            let mut detector = BeepDetector::new(rate_hz);
            let frames = sound.chunks_exact(rate_hz as usize / 50);
            assert_eq!(frames.filter_map(|frame| detector.push(frame)).count(), 0, "{rate_hz}");
        }
    }

    #[test]
    fn a_tone_that_goes_on_is_no_beep() {
        assert_eq!(beeps(&signal(2_400, sine(1_000.0, 0.3))), 1);
        assert_eq!(beeps(&signal(2_460, sine(1_000.0, 0.3))), 0);
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
