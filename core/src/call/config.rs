//! How a call is to be held.

use serde::{Deserialize, Serialize};

use super::policy::Policy;
use super::record::EndReason;
use crate::ids::{AgentId, CallId, TaskId, TenantId};
use crate::provider::llm::Tool;
use crate::provider::telephony::{E164, LegId};
use crate::time::Timestamp;

/// Everything that a call must know before it begins. It does not change during the call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallConfig {
    /// Whether the agent takes the call at all.
    #[serde(default)]
    pub admission: Admission,
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
    /// The task that the call is an attempt at.
    #[serde(default)]
    pub task: Option<TaskId>,
    /// What the model may call, beside [`END_CALL`](super::END_CALL) and [`SWITCH_LANGUAGE`](super::SWITCH_LANGUAGE).
    pub tools: Vec<Tool>,
    /// The wall clock at the call's start.
    pub wall_clock: Timestamp,
}

/// Whether an agent takes a call, decided as the call begins.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admission {
    /// The agent is switched off.
    AgentInactive,
    /// It does.
    #[default]
    Open,
    /// It is outside of the agent's active hours.
    OutsideHours,
}

impl Admission {
    /// Why the call is refused before anything is held for it; `None` when it is not.
    pub(super) fn refusal(self) -> Option<EndReason> {
        match self {
            Self::AgentInactive => Some(EndReason::AgentInactive),
            Self::Open => None,
            Self::OutsideHours => Some(EndReason::OutsideHours),
        }
    }
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

    /// The number on our side of the call.
    pub fn our_number(&self) -> Option<&E164> {
        match self {
            Self::Inbound { to, .. } => to.as_ref(),
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
