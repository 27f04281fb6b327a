//! How a call is to be held.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, CallId, TenantId};
use crate::provider::llm::Tool;
use crate::provider::telephony::{E164, LegId};
use crate::time::{Timestamp, duration_ms};

/// Everything that a call must know before it begins. It does not change during the call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallConfig {
    /// The call's id.
    pub id: CallId,
    /// Whose call it is.
    pub tenant: TenantId,
    /// Who holds it.
    pub agent: AgentId,
    /// Said as soon as the call is connected; `None` waits for the other side.
    pub greeting: Option<String>,
    /// BCP 47.
    pub language: String,
    /// When to do what.
    pub policy: Policy,
    /// Instructions for the model.
    pub system_prompt: String,
    /// What the model may call, [`END_CALL`](super::END_CALL) excepted, which is always there.
    pub tools: Vec<Tool>,
    /// The wall clock at the call's start.
    pub wall_clock: Timestamp,
}

/// The other side, and who rings whom.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "direction", rename_all = "snake_case")]
pub enum Offer {
    /// They rang.
    Inbound {
        /// The carrier's name for the leg.
        leg: LegId,
        /// Who calls; `None` when withheld.
        from: Option<E164>,
        /// The number that was called.
        to: Option<E164>,
    },
    /// We ring.
    Outbound {
        /// The number shown.
        from: E164,
        /// The number called.
        to: E164,
    },
}

impl Offer {
    /// Who calls.
    pub fn from(&self) -> Option<&E164> {
        match self {
            Self::Inbound { from, .. } => from.as_ref(),
            Self::Outbound { from, .. } => Some(from),
        }
    }

    /// Who is called.
    pub fn to(&self) -> Option<&E164> {
        match self {
            Self::Inbound { to, .. } => to.as_ref(),
            Self::Outbound { to, .. } => Some(to),
        }
    }
}

/// Limits and habits of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Said when the model fails.
    pub apology: String,
    /// When the caller may interrupt.
    pub barge_in: BargeIn,
    /// Longest conversation.
    #[serde(with = "duration_ms", rename = "duration_max_ms")]
    pub duration_max: Duration,
    /// When the caller's turn is over.
    pub endpointing: Endpointing,
    /// Longest wait for a function.
    #[serde(with = "duration_ms", rename = "function_timeout_ms")]
    pub function_timeout: Duration,
    /// Talk time to hold before the call; it is also the longest talk.
    #[serde(with = "duration_ms", rename = "hold_ms")]
    pub hold: Duration,
    /// Whether to record.
    pub record: bool,
    /// Longest silence of the model.
    #[serde(with = "duration_ms", rename = "reply_timeout_ms")]
    pub reply_timeout: Duration,
    /// Longest ringing.
    #[serde(with = "duration_ms", rename = "ring_timeout_ms")]
    pub ring_timeout: Duration,
    /// How to find out who answered an outbound call; `None` does not ask.
    pub screening: Option<Screening>,
    /// Longest wait for credits, an answer to our pick-up, media and the settlement, each.
    #[serde(with = "duration_ms", rename = "set_up_timeout_ms")]
    pub set_up_timeout: Duration,
    /// What to do when nobody speaks.
    pub silence: Silence,
    /// Longest wait for audio of started speech, or for its playing to get on.
    #[serde(with = "duration_ms", rename = "speech_timeout_ms")]
    pub speech_timeout: Duration,
    /// Longest wait for the last transcript and the recording after the hang-up.
    #[serde(with = "duration_ms", rename = "wrap_up_timeout_ms")]
    pub wrap_up_timeout: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            apology: "I am sorry, I did not get that. Could you say it again?".to_owned(),
            barge_in: BargeIn::default(),
            duration_max: Duration::from_secs(600),
            endpointing: Endpointing::default(),
            function_timeout: Duration::from_secs(10),
            hold: Duration::from_secs(600),
            record: true,
            reply_timeout: Duration::from_secs(10),
            ring_timeout: Duration::from_secs(45),
            screening: None,
            set_up_timeout: Duration::from_secs(10),
            silence: Silence::default(),
            speech_timeout: Duration::from_secs(10),
            wrap_up_timeout: Duration::from_secs(3),
        }
    }
}

impl Policy {
    /// With all durations in whole milliseconds, as a journal keeps them: what is replayed is what was held.
    pub fn in_millis(&self) -> Self {
        let kept = serde_json::to_value(self).and_then(serde_json::from_value);
        kept.unwrap_or_else(|_| self.clone())
    }
}

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
