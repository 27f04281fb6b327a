//! How to find out who answered, and what to do then.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::duration_ms;

/// How to find out who answered.
///
/// A person greets briefly and waits. A machine talks on, says so ("leave a message after the tone"), or beeps. A phone's
/// own assistant asks who calls and why before its owner picks up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Screening {
    /// A person's greeting is no longer than this.
    #[serde(with = "duration_ms", rename = "greeting_max_ms")]
    pub greeting_max: Duration,
    /// Said to a phone's assistant that asks who calls; `None` treats the assistant as a machine.
    pub introduction: Option<String>,
    /// What to do about a machine.
    pub on_machine: OnMachine,
    /// Longest wait for a person after the introduction.
    #[serde(with = "duration_ms", rename = "owner_timeout_ms")]
    pub owner_timeout: Duration,
    /// Longest wait for the words of a greeting, which tell a machine with a short greeting from a person.
    #[serde(with = "duration_ms", rename = "words_timeout_ms")]
    pub words_timeout: Duration,
    /// Longest wait for a first sound.
    #[serde(with = "duration_ms", rename = "wait_max_ms")]
    pub wait_max: Duration,
}

impl Default for Screening {
    fn default() -> Self {
        Self {
            greeting_max: Duration::from_millis(3_500),
            introduction: None,
            on_machine: OnMachine::HangUp,
            owner_timeout: Duration::from_secs(30),
            words_timeout: Duration::from_millis(800),
            wait_max: Duration::from_millis(3_000),
        }
    }
}

/// What to do when a machine answers.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMachine {
    /// Talk to it.
    Converse,
    /// End the call.
    HangUp,
    /// Wait for the beep, say this, and end the call.
    LeaveMessage(Voicemail),
}

/// A message for an answering machine.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Voicemail {
    /// The words.
    pub text: String,
    /// Longest wait for the beep; then the message is left all the same.
    #[serde(with = "duration_ms", rename = "beep_timeout_ms", default = "beep_timeout")]
    pub beep_timeout: Duration,
    /// A machine that is silent for so long after its greeting has no beep.
    #[serde(with = "duration_ms", rename = "silence_ms", default = "silence")]
    pub silence: Duration,
}

impl Voicemail {
    /// A message with the usual patience.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), beep_timeout: beep_timeout(), silence: silence() }
    }
}

fn beep_timeout() -> Duration {
    Duration::from_secs(30)
}

fn silence() -> Duration {
    Duration::from_millis(2_500)
}
