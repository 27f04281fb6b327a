//! Whether what was heard is the agent's own voice, come back over the line.

use std::time::Duration;

use super::lexicon::words;
use crate::time::Instant;

/// Fewer words are no echo: a caller may well repeat "Tuesday?".
const WORDS_MIN: usize = 3;

/// More words are no echo: nobody's line repeats so much before the agent has fallen silent.
const WORDS_MAX: usize = 40;

/// Words of the agent that a recogniser may have missed in an echo.
const MISSED_MAX: usize = 2;

/// The agent's latest words that are remembered.
const SAID_MAX: usize = 120;

/// How long the agent's voice may take to come back.
const DELAY_MAX: Duration = Duration::from_millis(1_000);

/// A line that has come back so often will do so again.
const ECHOES_MAX: u32 = 2;

/// What the agent has just said, to be known again when it comes back.
#[derive(Debug, Default)]
pub(super) struct Echo {
    echoes: u32,
    /// The first and the last moment at which the agent was heard without a longer pause.
    heard: Option<(Instant, Instant)>,
    said: Vec<String>,
}

impl Echo {
    /// The caller hears these words now.
    pub(super) fn playing(&mut self, now: Instant, text: &str) {
        if self.heard.is_none_or(|(_, last)| now.saturating_since(last) > DELAY_MAX) {
            self.said.clear();
            self.heard = Some((now, now));
        }
        self.sounding(now);
        self.said.extend(words(text));
        self.said.drain(..self.said.len().saturating_sub(SAID_MAX));
    }

    /// The caller hears the agent now.
    pub(super) fn sounding(&mut self, now: Instant) {
        if let Some((_, last)) = &mut self.heard {
            *last = now;
        }
    }

    /// Whether words that the caller seems to have begun to say then are the agent's own.
    pub(super) fn is_heard_in(&self, began: Option<Instant>, heard: &[String]) -> bool {
        let Some((first, last)) = self.heard else { return false };
        began.is_none_or(|began| (first..=last + DELAY_MAX).contains(&began)) && is_echo(heard, &self.said)
    }

    /// Such words were heard.
    pub(super) fn note(&mut self) {
        self.echoes += 1;
    }

    /// Whether the line is known to come back.
    pub(super) fn is_usual(&self) -> bool {
        self.echoes >= ECHOES_MAX
    }
}

/// Whether `heard` repeats a stretch of what the agent has `said`: three of four words, in their order.
fn is_echo(heard: &[String], said: &[String]) -> bool {
    if !(WORDS_MIN..=WORDS_MAX).contains(&heard.len()) || said.is_empty() {
        return false;
    }
    let length = (heard.len() + MISSED_MAX).min(said.len());
    said.windows(length).any(|stretch| common(heard, stretch) * 4 >= heard.len() * 3)
}

/// The length of the longest common subsequence.
fn common(left: &[String], right: &[String]) -> usize {
    let mut lengths = vec![0; right.len() + 1];
    for word in left {
        let mut diagonal = 0;
        for (index, other) in right.iter().enumerate() {
            let above = lengths[index + 1];
            lengths[index + 1] = if word == other { diagonal + 1 } else { above.max(lengths[index]) };
            diagonal = above;
        }
    }
    lengths[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_own_words_are_an_echo_and_a_question_about_them_is_not() {
        let said = words("We are open from nine to five on weekdays, and from ten to two on Saturdays.");
        let echo = |heard: &str| is_echo(&words(heard), &said);
        assert!(echo("open from nine to five"));
        assert!(echo("We are open from nine to five on weekdays"));
        assert!(echo("are open for nine to five"), "one word misheard");
        assert!(!echo("Nine to?"), "too short to tell");
        assert!(!echo("Are you open on Sundays?"));
        assert!(!echo("Wait, what about Friday evening?"));
        assert!(!is_echo(&words("one two three"), &[]));
        assert!(!is_echo(&words(&"nine to five ".repeat(20)), &said));
    }

    #[test]
    fn only_what_began_while_the_agent_was_heard_is_an_echo() {
        let at = |millis: u64| Instant::from_micros(millis * 1_000);
        let heard = words("open from nine to five");
        let mut echo = Echo::default();
        assert!(!echo.is_heard_in(Some(at(0)), &heard));
        echo.playing(at(1_000), "We are open from nine to five.");
        echo.sounding(at(3_000));
        for (began, is_echo) in [(900, false), (1_000, true), (3_900, true), (4_100, false)] {
            assert_eq!(echo.is_heard_in(Some(at(began)), &heard), is_echo, "{began}");
        }
        echo.playing(at(9_000), "Anything else?");
        assert!(!echo.is_heard_in(Some(at(9_100)), &heard), "that was long ago");
    }
}
