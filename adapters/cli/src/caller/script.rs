//! When the caller says what: decided frame by frame from what is heard.

use std::time::Duration;

use super::ear::Ear;

/// When an item is said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cue {
    /// Once the agent has answered and fallen silent.
    Answered,
    /// In the middle of the agent's answer, after it has been speaking for so long.
    Interrupting {
        /// How long the agent may speak.
        after: Duration,
    },
}

/// How the caller behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Habits {
    /// How long the caller waits for the agent to hang up after the last answer.
    pub linger: Duration,
    /// How long the agent must have been silent for its answer to be over.
    pub pause: Duration,
    /// How long the caller waits for an answer before going on without one.
    pub patience: Duration,
}

/// What the caller does now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Act {
    /// Put the receiver down.
    HangUp,
    /// Nothing.
    Listen,
    /// Say the item of that index.
    Say(usize),
}

/// The items and how far they are.
#[derive(Debug)]
pub struct Script {
    cues: Vec<Cue>,
    habits: Habits,
    next: usize,
    pause_samples: u64,
    speaking: bool,
    /// Where the caller's last item ended: what counts as an answer is heard after it.
    waiting_since: u64,
}

impl Script {
    /// A script for a line of `rate_hz`.
    pub fn new(cues: Vec<Cue>, habits: Habits, rate_hz: u32) -> Self {
        let pause_samples = u64::try_from(habits.pause.as_micros() * u128::from(rate_hz) / 1_000_000);
        let pause_samples = pause_samples.unwrap_or(u64::MAX);
        Self { cues, habits, next: 0, pause_samples, speaking: false, waiting_since: 0 }
    }

    /// To be asked after every frame that is heard. [`Script::said`] must follow each [`Act::Say`].
    pub fn next_act(&mut self, ear: &Ear) -> Act {
        if self.speaking {
            return Act::Listen;
        }
        let waited = ear.duration_of(ear.position() - self.waiting_since);
        let given_up = ear.silent_for().min(waited) >= self.habits.patience && ear.speaking_for().is_none();
        let Some(cue) = self.cues.get(self.next) else {
            let lingered = ear.silent_for().min(waited) >= self.habits.linger;
            return if lingered && (given_up || self.has_answer(ear)) { Act::HangUp } else { Act::Listen };
        };
        let is_time = match cue {
            Cue::Answered => self.has_answer(ear),
            Cue::Interrupting { after } => ear.speaking_for().is_some_and(|speaking| speaking.min(waited) >= *after),
        };
        if !is_time && !given_up {
            return Act::Listen;
        }
        self.speaking = true;
        self.next += 1;
        Act::Say(self.next - 1)
    }

    /// The item was said to its end.
    pub fn said(&mut self, ear: &Ear) {
        self.speaking = false;
        self.waiting_since = ear.position();
    }

    /// Whether something was heard since the last item, and then silence.
    fn has_answer(&self, ear: &Ear) -> bool {
        let heard = ear.last_heard().filter(|last| *last >= self.waiting_since);
        heard.is_some_and(|last| ear.speaking_for().is_none() && ear.position() - last > self.pause_samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HABITS: Habits =
        Habits { linger: Duration::from_secs(2), pause: Duration::from_millis(600), patience: Duration::from_secs(5) };

    #[test]
    fn a_line_is_said_once_the_agent_has_spoken_and_fallen_silent() {
        let mut table = Table::new(&[Cue::Answered]);
        assert_eq!(table.silence(1_000), None);
        assert_eq!(table.speech(2_000), None);
        let (act, after_ms) = table.silence(2_000).unwrap();
        assert_eq!(act, Act::Say(0));
        assert!((600..=700).contains(&after_ms), "{after_ms}");
    }

    #[test]
    fn pauses_between_words_are_no_end() {
        let mut table = Table::new(&[Cue::Answered]);
        for _ in 0..5 {
            assert_eq!(table.speech(800), None);
            assert_eq!(table.silence(400), None);
        }
    }

    #[test]
    fn an_interruption_comes_in_the_middle_and_its_echo_is_no_answer() {
        let mut table = Table::new(&[Cue::Interrupting { after: Duration::from_millis(1_500) }, Cue::Answered]);
        let (act, after_ms) = table.speech(4_000).unwrap();
        assert_eq!(act, Act::Say(0));
        assert!((1_500..=1_700).contains(&after_ms), "{after_ms}");
        // The agent is cut off and says nothing more until the caller is done.
        assert_eq!(table.speech(140), None);
        assert_eq!(table.silence(1_500), None);
        table.script.said(&table.ear);
        assert_eq!(table.silence(1_500), None);
        assert_eq!(table.speech(1_000), None);
        assert_eq!(table.silence(1_000).unwrap().0, Act::Say(1));
    }

    #[test]
    fn a_long_answer_is_heard_to_its_end() {
        let mut table = Table::new(&[Cue::Answered]);
        for _ in 0..10 {
            assert_eq!(table.speech(900), None);
            assert_eq!(table.silence(500), None);
        }
        assert_eq!(table.silence(500).unwrap().0, Act::Say(0));
    }

    #[test]
    fn patience_ends() {
        let mut table = Table::new(&[Cue::Answered]);
        let (act, after_ms) = table.silence(9_000).unwrap();
        assert_eq!((act, after_ms), (Act::Say(0), 5_000));
        table.script.said(&table.ear);
        let (act, after_ms) = table.silence(9_000).unwrap();
        assert_eq!((act, after_ms), (Act::HangUp, 5_000));
    }

    #[test]
    fn after_the_last_answer_the_agent_may_hang_up_first() {
        let mut table = Table::new(&[]);
        assert_eq!(table.speech(2_000), None);
        let (act, after_ms) = table.silence(5_000).unwrap();
        assert_eq!((act, after_ms), (Act::HangUp, 2_000));
    }

    /// A line on which a test speaks for the agent.
    struct Table {
        ear: Ear,
        script: Script,
    }

    impl Table {
        fn new(cues: &[Cue]) -> Self {
            Self { ear: Ear::new(8_000).unwrap(), script: Script::new(cues.to_vec(), HABITS, 8_000) }
        }

        fn silence(&mut self, millis: u64) -> Option<(Act, u64)> {
            self.play(millis, |_| 0)
        }

        /// Syllables of 200 ms.
        fn speech(&mut self, millis: u64) -> Option<(Act, u64)> {
            self.play(millis, |n| {
                let loudness = if n / 800 % 2 == 0 { 8_000.0 } else { 2_000.0 };
                (loudness * (n as f64 * 0.11).sin()) as i16
            })
        }

        /// Plays until the caller acts; returns how and when.
        fn play(&mut self, millis: u64, sample: impl Fn(u64) -> i16) -> Option<(Act, u64)> {
            for frame in 0..millis / 20 {
                let samples: Vec<i16> = (frame * 160..(frame + 1) * 160).map(&sample).collect();
                self.ear.hear(&samples);
                match self.script.next_act(&self.ear) {
                    Act::Listen => {}
                    act => return Some((act, (frame + 1) * 20)),
                }
            }
            None
        }
    }
}
