//! Why a call did what it did: kept only when it is asked for, and never part of what the call puts out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::output::CommandId;
use super::policy::KeyAction;
use super::record::{AnsweredBy, EndReason};
use super::timer::Timer;
use crate::provider::telephony::HangupCause;

/// One decision, with the figures that it fell by. All moments count from the call's start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// When.
    #[serde(rename = "at_ms", with = "crate::time::duration_ms")]
    pub at: Duration,
    /// What.
    #[serde(flatten)]
    pub kind: DecisionKind,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
#[non_exhaustive]
pub enum DecisionKind {
    /// An answer was begun before the caller's turn was over, or what became of it.
    EarlyGeneration {
        /// Beginnings in this turn.
        attempts: u32,
        /// What became of it.
        step: EarlyStep,
    },
    /// The call ends.
    End {
        /// Why.
        reason: EndReason,
    },
    /// The caller's turn is over after a delay, unless it goes on.
    Endpoint {
        /// From the end of speech.
        #[serde(rename = "delay_ms", with = "crate::time::duration_ms")]
        delay: Duration,
        /// Why so long.
        reason: EndpointReason,
        /// The recogniser's own estimate of the end of the turn, in percent.
        turn_end_percent: Option<u8>,
        /// How much of the delay has passed.
        #[serde(rename = "waited_ms", with = "crate::time::duration_ms")]
        waited: Duration,
    },
    /// A timer ran out.
    Expired {
        /// When it was due.
        #[serde(rename = "deadline_ms", with = "crate::time::duration_ms")]
        deadline: Duration,
        /// Which.
        timer: Timer,
    },
    /// A phrase was said because a function kept the caller waiting.
    Filler {
        /// Phrases in this turn.
        count: u32,
    },
    /// The caller spoke over the agent.
    Interruption {
        /// How long the caller has spoken.
        #[serde(rename = "speech_ms", with = "crate::time::duration_ms")]
        speech: Duration,
        /// Whether the agent gives way, and why.
        verdict: InterruptionVerdict,
        /// Words that are known.
        words: u32,
        /// Words that were needed.
        words_min: u32,
    },
    /// Keys were understood.
    Keys {
        /// Which.
        keys: String,
        /// The rule that took them; `None` when none did.
        rule: Option<KeyAction>,
    },
    /// The language was changed, or was not.
    Language {
        /// Whether it is allowed and not the one that is spoken.
        changed: bool,
        /// The wanted language.
        language: String,
        /// Words in that language, when the caller was to be followed.
        words: Option<u32>,
    },
    /// An answering machine's beep was heard, or waited for in vain.
    LeaveMessage,
    /// The agent goes on where it was cut off.
    Resume {
        /// What the interruption was.
        cause: ResumeCause,
        /// Pieces that are still to be said.
        pieces: u32,
    },
    /// It became clear who picked up.
    Screened {
        /// Who.
        answered_by: AnsweredBy,
        /// The length of the greeting so far.
        #[serde(rename = "greeting_ms", with = "crate::time::duration_ms")]
        greeting: Duration,
    },
    /// An input came for a command that was over, and changed nothing.
    Stale {
        /// The command.
        command: CommandId,
    },
    /// Nobody took the call that was to be handed over.
    TransferFailed {
        /// Why.
        cause: HangupCause,
    },
}

/// What became of an early answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EarlyStep {
    /// It was begun.
    Begun,
    /// It was dropped: the caller went on, the words became others, or the model failed.
    Dropped,
    /// The turn is over with the same words: it is the answer.
    Kept,
}

/// Why the end of a turn is awaited so long.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EndpointReason {
    /// The words sound complete.
    Complete,
    /// A number is being dictated.
    Dictating,
    /// More words must follow.
    Incomplete,
    /// The recogniser says that the caller will go on.
    TurnGoesOn,
    /// The recogniser says that the turn is over.
    TurnIsOver,
    /// The words could be complete or not.
    Unclear,
}

/// Whether the agent gives way, and why.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InterruptionVerdict {
    /// No: the policy is that nobody interrupts.
    Disabled,
    /// No: it is the agent's own voice.
    Echo,
    /// No: words of agreement.
    Filler,
    /// No: what the agent says must be heard to its end.
    Protected,
    /// Yes: the caller has spoken for long enough.
    Speech,
    /// No: too few words.
    TooFewWords,
    /// No: the sound was too short.
    TooShort,
    /// Yes: the caller has said enough words.
    Words,
}

/// What an interruption was that was none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResumeCause {
    /// The agent's own voice.
    Echo,
    /// Words of agreement.
    Filler,
    /// A noise: no words came.
    NoWords,
}
