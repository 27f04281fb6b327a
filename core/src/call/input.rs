//! What a call takes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::output::CommandId;
use super::record::LedgerSummary;
use crate::error::{Error, ErrorKind, Retry};
use crate::provider::llm::LlmEvent;
use crate::provider::telephony::{DialEvent, DtmfDigit, HangupCause};
use crate::time::Instant;

/// One input. Any input is legal in any phase, late and twice included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Input {
    /// A command did what it was for.
    Completed(CommandId, Outcome),
    /// Whoever holds the call wants something.
    Control(Control),
    /// A key was pressed.
    Dtmf(DtmfDigit),
    /// The engine that held the call is gone, and this is the last moment that it is known to have lived. Only for a
    /// call that is run again from its journal: nothing is left to do for it but the settlement.
    EngineLost,
    /// A command failed.
    Failed(CommandId, Failure),
    /// Another engine has taken the call for lost and settles it.
    LeaseLost,
    /// The other side ended the leg.
    LegEnded {
        /// Why.
        cause: HangupCause,
    },
    /// The media stopped without a word: no frames came, or none were taken.
    MediaLost {
        /// Why.
        cause: HangupCause,
    },
    /// A command got on.
    Progress(CommandId, Progress),
}

/// What the holder of a call can ask for.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Control {
    /// End the call, and count it as failed.
    Cancel,
    /// End the call.
    HangUp,
    /// Put the caller on hold: the agent neither listens nor speaks.
    Hold,
    /// Refuse a call that is not answered yet.
    Reject {
        /// What the other side is told.
        cause: HangupCause,
    },
    /// Go on after a hold.
    Resume,
    /// Let the agent say this, after what it is saying.
    Say {
        /// The words.
        text: String,
        /// Whether the caller may cut it short; what may not be cut is said to its end, whatever the caller does.
        interruptible: bool,
    },
    /// Press keys of the telephone.
    SendDigits {
        /// Which.
        digits: Vec<DtmfDigit>,
    },
    /// Hand the call over.
    Transfer {
        /// What a human who is briefed first is told.
        brief: String,
        /// The name of one of the policy's targets.
        target: String,
    },
}

/// How a command gets on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Progress {
    /// Of a `Listen`: a tone such as an answering machine's, which is over.
    Beep,
    /// Of a `Consult`.
    Consult(ConsultEvent),
    /// Of a `Dial`.
    Dial(DialEvent),
    /// Of a `Listen`: how sure the recogniser is that the caller's turn is over. The latest estimate counts.
    EndOfTurn {
        /// From 0, the caller will go on, to 100. Whole, so that a journal keeps it exactly.
        percent: u8,
    },
    /// Of a `Listen`: a settled piece of transcript.
    Final {
        /// The language that it is in, if the recogniser tells; BCP 47.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        language: Option<String>,
        /// The words.
        text: String,
    },
    /// Of a `Generate`.
    Generated(LlmEvent),
    /// Of a `Speak`: the caller has heard the text up to there.
    Heard {
        /// Offset into the command's text, in bytes.
        text_end: usize,
    },
    /// Of a `Listen`: the pending piece of transcript so far.
    Interim {
        /// The words so far.
        text: String,
    },
    /// Of a `Listen`: a tone that nobody makes who can be talked to, such as a fax machine's or the network's before an
    /// announcement.
    MachineTone,
    /// Of a `Speak`: its first sound was played.
    Playing,
    /// Of a `Reserve`: as many calls go on as may, and this one waits for its turn.
    Queued {
        /// For so long at most.
        #[serde(rename = "wait_ms", with = "crate::time::duration_ms")]
        wait: Duration,
    },
    /// Of a `Listen`: the caller fell silent.
    SpeechEnded {
        /// When the last sound was.
        at: Instant,
    },
    /// Of a `Listen`: the caller speaks.
    SpeechStarted {
        /// When the first sound was.
        at: Instant,
    },
}

/// How the leg to a human gets on.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConsultEvent {
    /// The human picked up, and the leg's media is joined.
    Answered,
    /// The human pressed a key.
    Dtmf(DtmfDigit),
    /// The leg is over.
    Ended {
        /// Why.
        cause: HangupCause,
    },
    /// The leg will not be answered.
    Failed {
        /// Why.
        cause: HangupCause,
    },
    /// The human's telephone rings.
    Ringing,
}

/// What a completed command brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing but its completion.
    Done,
    /// Of a `RunFunction`: its answer.
    Function(serde_json::Value),
    /// Of a `CloseMedia`: where the recording is, if one was made.
    Recorded(Option<String>),
    /// Of a `Reserve` or an `Extend`.
    Reserved {
        /// The talk time that is held, all in all; the call may not talk longer.
        #[serde(with = "crate::time::duration_ms")]
        granted: Duration,
    },
    /// Of a `Settle`.
    Settled(LedgerSummary),
}

/// Why a command failed, in a form that a journal can hold.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// In plain words, free of personal data.
    pub message: String,
    /// Whether trying again may help.
    pub retry: Retry,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { kind: error.kind(), message: error.to_string(), retry: error.retry() }
    }
}
