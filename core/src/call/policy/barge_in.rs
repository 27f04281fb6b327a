//! When the caller may interrupt the agent.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::duration_ms;

/// When the caller may interrupt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BargeIn {
    /// Whether the caller may.
    pub enabled: bool,
    /// Shortest speech that counts.
    #[serde(with = "duration_ms", rename = "speech_min_ms")]
    pub speech_min: Duration,
}

impl Default for BargeIn {
    fn default() -> Self {
        Self { enabled: true, speech_min: Duration::from_millis(80) }
    }
}
