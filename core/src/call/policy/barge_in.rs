//! When the caller may interrupt the agent.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::duration_ms;

/// When the caller may interrupt.
///
/// By default the agent falls silent as soon as somebody speaks, and goes on where it was cut off when that was nothing:
/// no words, a word of agreement, or its own echo. After a noise or an echo only words interrupt what is left of the
/// utterance, so that a loud room makes the agent stumble once and not for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BargeIn {
    /// Whether the caller may.
    pub enabled: bool,
    /// Words of agreement that do not interrupt, such as "go on", beside those that the call's language has.
    pub fillers: Vec<String>,
    /// Whether the greeting may be interrupted.
    pub greeting: bool,
    /// Phrases that are said to their end in whatever they stand, such as "this call is recorded".
    pub protected: Vec<String>,
    /// Whether the agent goes on after an interruption that was nothing.
    pub resume: bool,
    /// How long after the end of speech its words are waited for before it counts as nothing.
    #[serde(with = "duration_ms", rename = "resume_timeout_ms")]
    pub resume_timeout: Duration,
    /// Shortest speech that counts.
    #[serde(with = "duration_ms", rename = "speech_min_ms")]
    pub speech_min: Duration,
    /// So many words, fillers left out, interrupt, and speech alone does not; zero waits for no words.
    ///
    /// A recogniser without interim results tells words only after the caller has stopped.
    pub words_min: u32,
}

impl Default for BargeIn {
    fn default() -> Self {
        Self {
            enabled: true,
            fillers: Vec::new(),
            greeting: true,
            protected: Vec::new(),
            resume: true,
            resume_timeout: Duration::from_millis(1_500),
            speech_min: Duration::from_millis(80),
            words_min: 0,
        }
    }
}
