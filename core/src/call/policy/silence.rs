//! What to do when nobody speaks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::duration_ms;

/// What to do when nobody speaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Silence {
    /// Said to bring the caller back; `None` says nothing.
    pub prompt: Option<String>,
    /// How often to say it before the call is ended.
    pub prompts_max: u32,
    /// How long nobody speaks.
    #[serde(with = "duration_ms", rename = "timeout_ms")]
    pub timeout: Duration,
}

impl Default for Silence {
    fn default() -> Self {
        Self { prompt: Some("Are you still there?".to_owned()), prompts_max: 2, timeout: Duration::from_secs(10) }
    }
}
