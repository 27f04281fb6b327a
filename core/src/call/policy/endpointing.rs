//! When the caller's turn is over.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::duration_ms;

/// When the caller's turn is over. Delays count from the end of speech, so that a transcript that comes late is answered
/// at once.
///
/// A recogniser that judges the end of turns itself decides between the least and the longest delay. Otherwise the words
/// do: those that sound complete wait least; a trailing "and" or "my number is" waits longest; a number that is being
/// dictated waits for its digits; words without punctuation that could be either wait half-way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpointing {
    /// After words that sound complete: the least.
    #[serde(with = "duration_ms", rename = "delay_min_ms")]
    pub delay_min: Duration,
    /// After words that do not: the longest.
    #[serde(with = "duration_ms", rename = "delay_max_ms")]
    pub delay_max: Duration,
    /// In the middle of a number that is being dictated: people look digits up and breathe between groups.
    #[serde(with = "duration_ms", rename = "digits_delay_ms")]
    pub digits_delay: Duration,
    /// Longest wait for a transcript.
    #[serde(with = "duration_ms", rename = "transcript_timeout_ms")]
    pub transcript_timeout: Duration,
    /// How sure a recogniser that judges the end of turns must be, in percent.
    pub turn_end_percent_min: u8,
    /// Longest sound without new words before it counts as noise, and the words before it as all that was said; only
    /// with a recogniser that tells interim results.
    #[serde(with = "duration_ms", rename = "wordless_max_ms")]
    pub wordless_max: Duration,
}

impl Default for Endpointing {
    fn default() -> Self {
        Self {
            delay_min: Duration::from_millis(300),
            delay_max: Duration::from_millis(1_200),
            digits_delay: Duration::from_millis(2_000),
            transcript_timeout: Duration::from_millis(2_500),
            turn_end_percent_min: 70,
            wordless_max: Duration::from_millis(3_000),
        }
    }
}
