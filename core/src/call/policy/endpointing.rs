//! When the caller's turn is over.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::duration_ms;

/// When the caller's turn is over. Delays count from the end of speech.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpointing {
    /// After words that sound complete.
    #[serde(with = "duration_ms", rename = "delay_min_ms")]
    pub delay_min: Duration,
    /// After words that do not.
    #[serde(with = "duration_ms", rename = "delay_max_ms")]
    pub delay_max: Duration,
    /// Longest wait for a transcript.
    #[serde(with = "duration_ms", rename = "transcript_timeout_ms")]
    pub transcript_timeout: Duration,
}

impl Default for Endpointing {
    fn default() -> Self {
        Self {
            delay_min: Duration::from_millis(300),
            delay_max: Duration::from_millis(1_200),
            transcript_timeout: Duration::from_millis(2_500),
        }
    }
}
