//! What to say while a function keeps the caller waiting.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::duration_ms;

/// What to say while a function keeps the caller waiting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filler {
    /// Silence before a phrase, while a function runs.
    #[serde(with = "duration_ms", rename = "delay_ms")]
    pub delay: Duration,
    /// Said in turn; empty takes those that the call's language has.
    pub phrases: Vec<String>,
    /// Phrases in one turn; zero says nothing.
    pub phrases_max: u32,
}

impl Default for Filler {
    fn default() -> Self {
        Self { delay: Duration::from_millis(2_000), phrases: Vec::new(), phrases_max: 2 }
    }
}
