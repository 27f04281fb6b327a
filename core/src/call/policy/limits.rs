//! What is said before a limit ends the call, and how long a call may stand still.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::duration_ms;

/// What is said before the longest talk, or the credits, end the call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Warning {
    /// How long before the end.
    #[serde(with = "duration_ms", rename = "before_ms")]
    pub before: Duration,
    /// The words.
    pub text: String,
}

impl Default for Warning {
    fn default() -> Self {
        Self { before: Duration::from_secs(30), text: "We have half a minute left.".to_owned() }
    }
}

/// What is said before the credits end the call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Goodbye {
    /// How long before the end; a talk that is shorter from the start has none.
    #[serde(with = "duration_ms", rename = "before_ms")]
    pub before: Duration,
    /// The words.
    pub text: String,
}

impl Default for Goodbye {
    fn default() -> Self {
        Self { before: Duration::from_secs(6), text: "I am sorry, I have to end the call here. Goodbye.".to_owned() }
    }
}

/// What the caller hears on hold, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hold {
    /// Said from time to time; `None` says nothing.
    pub prompt: Option<String>,
    /// The pause between two prompts.
    #[serde(with = "duration_ms", rename = "prompt_interval_ms")]
    pub prompt_interval: Duration,
    /// Said when the conversation goes on; `None` says nothing.
    pub thanks: Option<String>,
    /// The longest hold; then the conversation goes on.
    #[serde(with = "duration_ms", rename = "timeout_ms")]
    pub timeout: Duration,
}

impl Default for Hold {
    fn default() -> Self {
        Self {
            prompt: Some("Please hold the line.".to_owned()),
            prompt_interval: Duration::from_secs(20),
            thanks: Some("Thank you for holding.".to_owned()),
            timeout: Duration::from_secs(300),
        }
    }
}
