//! Limits and habits of a call, one object for each question that it has to decide.

mod barge_in;
mod early_generation;
mod endpointing;
mod filler;
mod keypad;
mod languages;
mod limits;
mod ranges;
mod screening;
mod setting;
mod silence;
mod transfer;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use barge_in::BargeIn;
pub use early_generation::EarlyGeneration;
pub use endpointing::Endpointing;
pub use filler::Filler;
pub use keypad::{KeyAction, KeyPattern, KeyRule, Keypad};
pub use languages::Languages;
pub use limits::{Goodbye, Hold, Warning};
pub use screening::{OnMachine, Screening, Voicemail};
pub use silence::Silence;
pub use transfer::{Transfer, TransferMode, TransferTarget};

use crate::time::duration_ms;

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
    /// Whether the model may begin before the caller's turn is over.
    pub early_generation: EarlyGeneration,
    /// When the caller's turn is over.
    pub endpointing: Endpointing,
    /// What to say while a function keeps the caller waiting.
    pub filler: Filler,
    /// Longest wait for a function.
    #[serde(with = "duration_ms", rename = "function_timeout_ms")]
    pub function_timeout: Duration,
    /// What is said before the held credits are used up, if nothing more could be held; `None` says nothing.
    pub goodbye: Option<Goodbye>,
    /// What the caller hears on hold.
    pub hold: Hold,
    /// What the caller's keys do.
    pub keypad: Keypad,
    /// Which languages the call may change to.
    pub languages: Languages,
    /// Whether to record.
    pub record: bool,
    /// Talk time to hold for the call: before it rings, and again whenever the talk comes near the end of what is held.
    #[serde(with = "duration_ms", rename = "reserve_ms")]
    pub reserve: Duration,
    /// Longest silence of the model.
    #[serde(with = "duration_ms", rename = "reply_timeout_ms")]
    pub reply_timeout: Duration,
    /// Longest ringing.
    #[serde(with = "duration_ms", rename = "ring_timeout_ms")]
    pub ring_timeout: Duration,
    /// How to find out who answered an outbound call; `None` does not ask.
    pub screening: Option<Screening>,
    /// Whether the model may send digits, through menus for instance.
    pub send_digits: bool,
    /// Longest wait for credits, an answer to our pick-up, media and the settlement, each.
    #[serde(with = "duration_ms", rename = "set_up_timeout_ms")]
    pub set_up_timeout: Duration,
    /// What to do when nobody speaks.
    pub silence: Silence,
    /// Longest wait for audio of started speech, or for its playing to get on.
    #[serde(with = "duration_ms", rename = "speech_timeout_ms")]
    pub speech_timeout: Duration,
    /// Longest time, beyond the silence that is allowed, in which nothing at all happens in an answered call: no
    /// sound, no key, no provider's answer.
    #[serde(with = "duration_ms", rename = "stall_timeout_ms")]
    pub stall_timeout: Duration,
    /// Whom the call can be handed over to.
    pub transfer: Transfer,
    /// What is said before a limit ends the call; `None` says nothing.
    pub warning: Option<Warning>,
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
            early_generation: EarlyGeneration::default(),
            endpointing: Endpointing::default(),
            filler: Filler::default(),
            function_timeout: Duration::from_secs(10),
            goodbye: Some(Goodbye::default()),
            hold: Hold::default(),
            keypad: Keypad::default(),
            languages: Languages::default(),
            record: true,
            reserve: Duration::from_secs(120),
            reply_timeout: Duration::from_secs(10),
            ring_timeout: Duration::from_secs(45),
            screening: None,
            send_digits: false,
            set_up_timeout: Duration::from_secs(10),
            silence: Silence::default(),
            speech_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(60),
            transfer: Transfer::default(),
            warning: None,
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
