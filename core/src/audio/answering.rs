//! Who picked up, by the sound alone: a person says a word and waits, a machine talks on, beeps, or is a fax.
//!
//! Words tell better (see the call's screening), but they need a recogniser of the callee's language; a cadence needs none.

use std::time::Duration;

use super::beep::{Beep, BeepDetector};
use super::frame::{FRAME_DURATION, Framer};
use super::progress::{CallProgress, Country, ToneKind};
use super::vad::{EnergyVad, EnergyVadSettings, VadEvent};
use crate::error::{Error, ErrorKind, Result};

/// How long who takes for what. The default suits business in English.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnsweringSettings {
    /// Whose tones may be heard instead of a greeting.
    pub country: Country,
    /// Silence that ends a person's greeting.
    pub pause: Duration,
    /// A person's greeting is no longer than this; whatever talks longer is a machine.
    pub greeting_max: Duration,
    /// Nobody speaks for so long: nobody is there.
    pub wait_max: Duration,
}

impl Default for AnsweringSettings {
    fn default() -> Self {
        Self {
            country: Country::default(),
            pause: Duration::from_millis(800),
            greeting_max: Duration::from_millis(2_800),
            wait_max: Duration::from_millis(4_000),
        }
    }
}

/// Who picked up, as far as sound tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Greeter {
    /// A fax machine.
    Fax,
    /// A person.
    Human,
    /// An answering machine, or an announcement.
    Machine,
    /// Nobody spoke.
    Nobody,
}

/// What was found out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    /// A beep is over: now is the time to leave a message.
    Beeped(Beep),
    /// Who it is; said once, but that a tone or a beep may yet turn a person into a machine.
    Greeted {
        /// Who.
        by: Greeter,
        /// How likely, 0 to 1.
        confidence: f32,
        /// When it became clear, since the first sample pushed.
        at: Duration,
    },
}

/// Listens from the moment that somebody picked up, at no allocation.
#[derive(Debug)]
pub struct AnswerDetector {
    settings: AnsweringSettings,
    framer: Framer,
    vad: EnergyVad,
    beeps: BeepDetector,
    progress: CallProgress,
    now: Duration,
    began: Option<Duration>,
    /// When speech stopped, unless it went on since.
    stopped: Option<Duration>,
    /// Pieces of speech.
    pieces: u32,
    greeter: Option<Greeter>,
}

impl AnswerDetector {
    /// A detector of sound at `rate_hz`. `ConfigInvalid` for a rate that is none and for waits of no length or above a
    /// minute.
    pub fn new(rate_hz: u32, settings: AnsweringSettings) -> Result<Self> {
        let waits = [settings.pause, settings.greeting_max, settings.wait_max];
        if waits.iter().any(|wait| wait.is_zero() || *wait > WAIT_MAX) {
            return Err(Error::new(ErrorKind::ConfigInvalid, "audio.answering", "waits last up to a minute"));
        }
        let vad = EnergyVadSettings { hangover: HANGOVER, ..EnergyVadSettings::default() };
        Ok(Self {
            settings,
            framer: Framer::new(rate_hz)?,
            vad: EnergyVad::new(rate_hz, vad)?,
            beeps: BeepDetector::new(rate_hz),
            progress: CallProgress::new(rate_hz, settings.country)?,
            now: Duration::ZERO,
            began: None,
            stopped: None,
            pieces: 0,
            greeter: None,
        })
    }

    /// Takes the next samples, a frame at most for each answer to be told; of several the last is.
    pub fn push(&mut self, mut samples: &[i16]) -> Option<Answer> {
        let mut answer = None;
        loop {
            let Self { framer, vad, beeps, progress, .. } = self;
            let Some(frame) = framer.next_frame(&mut samples) else { return answer };
            let (event, beep, tone) = (vad.push(frame), beeps.push(frame), progress.push(frame));
            let is_beep = beeps.is_sounding();
            self.now += FRAME_DURATION;
            self.hear(event, is_beep);
            let tone = tone.and_then(|tone| Some((greeter_of(tone.kind)?, tone.confidence)));
            let told = match (beep, tone) {
                (_, Some((by, confidence))) => self.tell(by, confidence),
                (Some(beep), None) => {
                    // Nobody greets with a beep; who was taken for a person was none.
                    self.greeter = Some(Greeter::Machine);
                    Some(Answer::Beeped(beep))
                }
                (None, None) if self.greeter.is_none() => self.judge(is_beep),
                (None, None) => None,
            };
            answer = told.or(answer);
        }
    }

    /// Who it is, as far as that is known.
    pub fn greeter(&self) -> Option<Greeter> {
        self.greeter
    }

    fn hear(&mut self, event: Option<VadEvent>, is_beep: bool) {
        match event {
            Some(VadEvent::SpeechStarted { at }) if !is_beep => {
                self.began = self.began.or(Some(at));
                self.stopped = None;
                self.pieces += 1;
            }
            Some(VadEvent::SpeechEnded { at }) => self.stopped = Some(at),
            _ => {}
        }
    }

    fn judge(&mut self, is_beep: bool) -> Option<Answer> {
        let AnsweringSettings { pause, greeting_max, wait_max, .. } = self.settings;
        let Some(began) = self.began else {
            return (self.now >= wait_max && !is_beep).then(|| self.tell(Greeter::Nobody, NOBODY)).flatten();
        };
        let length = self.stopped.unwrap_or(self.now).saturating_sub(began);
        if length > greeting_max {
            return self.tell(Greeter::Machine, TALKS_ON);
        }
        let is_over = self.stopped.is_some_and(|stopped| self.now.saturating_sub(stopped) >= pause);
        // From a word, which is a person's, to as long as a person greets; more pieces are more of a machine's.
        let share = length.as_secs_f32() / greeting_max.as_secs_f32();
        let pieces = self.pieces.saturating_sub(2).min(4) as f32 * PIECE;
        is_over.then(|| self.tell(Greeter::Human, (0.97 - 0.4 * share - pieces).max(0.5))).flatten()
    }

    fn tell(&mut self, by: Greeter, confidence: f32) -> Option<Answer> {
        let before = self.greeter.replace(by);
        (before != Some(by)).then_some(Answer::Greeted { by, confidence, at: self.now })
    }
}

const WAIT_MAX: Duration = Duration::from_secs(60);
/// Pauses within a word are none.
const HANGOVER: Duration = Duration::from_millis(160);
/// How sure it is that nobody is there, and that who talks on is a machine.
const NOBODY: f32 = 0.8;
const TALKS_ON: f32 = 0.9;
/// How much less a person is likely for each piece of the greeting beyond two.
const PIECE: f32 = 0.08;

fn greeter_of(tone: ToneKind) -> Option<Greeter> {
    match tone {
        ToneKind::Busy | ToneKind::Congestion | ToneKind::SpecialInformation => Some(Greeter::Machine),
        ToneKind::FaxAnswer | ToneKind::FaxCalling => Some(Greeter::Fax),
        ToneKind::Dial | ToneKind::Ringback => None,
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_word_and_a_pause_are_a_person() {
        let answers = Line::new().pause(400).speech(600).pause(1_500).answers();
        let [Answer::Greeted { by: Greeter::Human, confidence, at }] = answers[..] else { panic!("{answers:?}") };
        assert!(confidence > 0.85 && (1_780..=2_000).contains(&at.as_millis()), "{confidence} {at:?}");
        let longer = Line::new().pause(400).speech(1_800).pause(1_500).answers();
        let [Answer::Greeted { by: Greeter::Human, confidence: less, .. }] = longer[..] else { panic!("{longer:?}") };
        assert!(less < confidence);
    }

    #[test]
    fn who_talks_on_is_a_machine_and_its_beep_is_told_to_the_frame() {
        let answers = Line::new()
            .pause(300)
            .speech(2_000)
            .pause(300)
            .speech(2_700)
            .pause(500)
            .beep(1_000.0, 400)
            .pause(500)
            .answers();
        let [Answer::Greeted { by: Greeter::Machine, at, .. }, Answer::Beeped(beep)] = answers[..] else {
            panic!("{answers:?}");
        };
        assert!(at < Duration::from_millis(3_300), "{at:?}");
        assert_eq!((beep.ended, beep.length), (Duration::from_millis(6_200), Duration::from_millis(400)));
    }

    #[test]
    fn a_short_greeting_with_a_beep_is_a_machine_after_all() {
        let line = Line::new().pause(300).speech(900).pause(1_200).beep(440.0, 300).pause(300);
        let mut detector = detector();
        let answers = line.heard_by(&mut detector);
        assert!(matches!(answers[..], [Answer::Greeted { by: Greeter::Human, .. }, Answer::Beeped(_)]), "{answers:?}");
        assert_eq!(detector.greeter(), Some(Greeter::Machine));
    }

    #[test]
    fn silence_is_nobody_and_a_fax_is_a_fax() {
        let answers = Line::new().pause(6_000).answers();
        assert!(matches!(answers[..], [Answer::Greeted { by: Greeter::Nobody, .. }]), "{answers:?}");
        let answers = Line::new().pause(200).beep(2_100.0, 3_000).pause(200).answers();
        assert!(answers.iter().any(|answer| matches!(answer, Answer::Greeted { by: Greeter::Fax, .. })), "{answers:?}");
        let wrong = [950.0, 1_400.0, 1_800.0].into_iter().fold(Line::new().pause(200), |line, hz| line.beep(hz, 340));
        let answers = wrong.pause(300).answers();
        assert!(matches!(answers[..], [Answer::Greeted { by: Greeter::Machine, .. }]), "{answers:?}");
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let good = AnsweringSettings::default();
        for settings in [
            AnsweringSettings { pause: Duration::ZERO, ..good },
            AnsweringSettings { greeting_max: Duration::MAX, ..good },
        ] {
            assert_eq!(AnswerDetector::new(8_000, settings).unwrap_err().kind(), ErrorKind::ConfigInvalid);
        }
        assert!(AnswerDetector::new(0, good).is_err());
    }

    proptest! {
        /// Whatever is heard, it is somebody in the end, and nobody is told twice in a row.
        #[test]
        fn it_is_somebody_in_the_end(parts in prop::collection::vec((0_u8..3, 1_u32..2_000), 1..10)) {
            let line = parts.into_iter().fold(Line::new(), |line, (what, millis)| match what {
                0 => line.pause(millis),
                1 => line.speech(millis),
                _ => line.beep(1_000.0, millis),
            });
            let mut detector = detector();
            let answers = line.pause(8_000).heard_by(&mut detector);
            prop_assert!(detector.greeter().is_some());
            let greeters: Vec<_> = answers.iter().filter_map(|answer| match answer {
                Answer::Greeted { by, confidence, .. } => Some((*by, *confidence)),
                Answer::Beeped(_) => None,
            }).collect();
            prop_assert!(greeters.windows(2).all(|pair| pair[0].0 != pair[1].0));
            prop_assert!(greeters.iter().all(|greeter| (0.0..=1.0).contains(&greeter.1)));
        }
    }

    fn detector() -> AnswerDetector {
        AnswerDetector::new(8_000, AnsweringSettings::default()).unwrap()
    }

    struct Line(Vec<i16>);

    impl Line {
        fn new() -> Self {
            Self(Vec::new())
        }

        fn pause(self, millis: u32) -> Self {
            self.play(millis, |_| 0.0)
        }

        fn beep(self, hz: f64, millis: u32) -> Self {
            self.play(millis, |at| 8_000.0 * (TAU * hz * at).sin())
        }

        fn speech(self, millis: u32) -> Self {
            self.play(millis, |at| {
                let voice: f64 = (1..14).map(|k| (TAU * 140.0 * f64::from(k) * at).sin() / f64::from(k)).sum();
                3_000.0 * (0.1 + 0.9 * (TAU * 1.7 * at).sin().abs()) * voice
            })
        }

        fn play(mut self, millis: u32, wave: impl Fn(f64) -> f64) -> Self {
            self.0.extend((0..millis * 8).map(|n| wave(f64::from(n) / 8_000.0) as i16));
            self
        }

        fn answers(&self) -> Vec<Answer> {
            self.heard_by(&mut detector())
        }

        fn heard_by(&self, detector: &mut AnswerDetector) -> Vec<Answer> {
            self.0.chunks(160).filter_map(|frame| detector.push(frame)).collect()
        }
    }
}
