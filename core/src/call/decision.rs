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
    /// The call ends.
    End {
        /// Why.
        reason: EndReason,
    },
    /// A timer ran out.
    Expired {
        /// When it was due.
        #[serde(rename = "deadline_ms", with = "crate::time::duration_ms")]
        deadline: Duration,
        /// Which.
        timer: Timer,
    },
    /// Keys were understood.
    Keys {
        /// Which.
        keys: String,
        /// The rule that took them; `None` when none did.
        rule: Option<KeyAction>,
    },
    /// An answering machine's beep was heard, or waited for in vain.
    LeaveMessage,
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
