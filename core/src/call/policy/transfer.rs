//! To whom a call can be handed over, and how.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::provider::telephony::{DtmfDigit, E164};
use crate::time::duration_ms;

/// To whom a call can be handed over, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Transfer {
    /// The target that takes the call when model, recogniser or synthesiser keep failing; `None` ends the call.
    pub escalation: Option<String>,
    /// Said to the caller when nobody took the call and there is no model to say it.
    pub failed: String,
    /// Said to the caller before the line is put on hold; `None` says nothing.
    pub please_hold: Option<String>,
    /// Longest wait for the human of a warm transfer to answer.
    #[serde(with = "duration_ms", rename = "ring_timeout_ms")]
    pub ring_timeout: Duration,
    /// Whom the agent, a key or an operator can name.
    pub targets: Vec<TransferTarget>,
    /// Longest wait, once the human has answered, for the brief to be heard and the call to be accepted.
    #[serde(with = "duration_ms", rename = "accept_timeout_ms")]
    pub accept_timeout: Duration,
}

impl Default for Transfer {
    fn default() -> Self {
        Self {
            escalation: None,
            failed: "I am sorry, nobody can take your call right now.".to_owned(),
            please_hold: Some("One moment, please, I am putting you through.".to_owned()),
            ring_timeout: Duration::from_secs(30),
            targets: Vec::new(),
            accept_timeout: Duration::from_secs(45),
        }
    }
}

impl Transfer {
    /// The target of that name.
    pub fn target(&self, name: &str) -> Option<&TransferTarget> {
        self.targets.iter().find(|target| target.name == name)
    }
}

/// Somebody who can take a call.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TransferTarget {
    /// What the model, rules and operators call it.
    pub name: String,
    /// When to transfer there, for the model.
    #[serde(default)]
    pub description: String,
    /// Where.
    pub number: E164,
    /// How.
    #[serde(default)]
    pub mode: TransferMode,
}

/// How a call is handed over.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferMode {
    /// The carrier takes the leg over; the agent is out of the call.
    #[default]
    Blind,
    /// The agent rings the human, says what the call is about, and joins the two. The caller waits on hold.
    Warm {
        /// The key by which the human takes the call; `None` joins as soon as the brief was heard, and takes a
        /// voicemail for a person.
        accept: Option<DtmfDigit>,
    },
}
