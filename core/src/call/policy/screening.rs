//! How to find out who answered, and what to do then.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::duration_ms;

/// How to find out who answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Screening {
    /// A person's greeting is no longer than this.
    #[serde(with = "duration_ms", rename = "greeting_max_ms")]
    pub greeting_max: Duration,
    /// What to do about a machine.
    pub on_machine: OnMachine,
    /// Longest wait for a first sound.
    #[serde(with = "duration_ms", rename = "wait_max_ms")]
    pub wait_max: Duration,
}

impl Default for Screening {
    fn default() -> Self {
        Self {
            greeting_max: Duration::from_millis(3_500),
            on_machine: OnMachine::HangUp,
            wait_max: Duration::from_millis(3_000),
        }
    }
}

/// What to do when a machine answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMachine {
    /// Talk to it.
    Converse,
    /// End the call.
    HangUp,
}
