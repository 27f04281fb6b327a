//! The call's record: what is stored, reported and billed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::dialogue::TranscriptEntry;
use super::policy::TransferMode;
use crate::billing::Unit;
use crate::ids::{AgentId, CallId, TaskId, TenantId};
use crate::provider::telephony::{E164, HangupCause};
use crate::time::{Timestamp, millis};

/// A call from its first ring to its settlement. Durations are whole milliseconds, rounded down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallRecord {
    /// The call.
    pub id: CallId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Who held it.
    pub agent: AgentId,
    /// The task that the call was an attempt at.
    #[serde(default)]
    pub task: Option<TaskId>,
    /// Who rang whom.
    pub direction: Direction,
    /// Who called.
    pub from: Option<E164>,
    /// Who was called.
    pub to: Option<E164>,
    /// How it stands or ended.
    pub status: CallStatus,
    /// Unix microseconds.
    pub started_at: Timestamp,
    /// Unix microseconds.
    pub answered_at: Option<Timestamp>,
    /// Unix microseconds.
    pub ended_at: Option<Timestamp>,
    /// From the start to the end.
    pub duration_ms: u64,
    /// From the answer to the end: what is billed. Zero without an answer.
    pub talk_time_ms: u64,
    /// Why it ended, as ITU-T Q.850 counts.
    pub hangup_cause: Option<HangupCause>,
    /// Who ended it.
    pub hangup_party: Option<HangupParty>,
    /// Why it ended, in the engine's words.
    pub end_reason: Option<EndReason>,
    /// Who picked up.
    pub answered_by: Option<AnsweredBy>,
    /// What was said and heard.
    pub transcript: Vec<TranscriptEntry>,
    /// Each answered turn.
    pub turns: Vec<TurnRecord>,
    /// Each interruption.
    pub barge_ins: Vec<BargeInRecord>,
    /// Each function that was called.
    pub functions: Vec<FunctionRecord>,
    /// Where the recording is.
    pub recording: Option<String>,
    /// Each attempt to hand the call over.
    pub transfers: Vec<TransferRecord>,
    /// What the caller's keys set.
    pub variables: BTreeMap<String, String>,
}

impl CallRecord {
    /// Whether it misses something that `other`, of the same call, has: customers may have been told of it.
    pub(crate) fn is_behind(&self, other: &Self) -> bool {
        let answers = |record: &Self| record.functions.iter().filter(|function| function.result.is_some()).count();
        self.duration_ms < other.duration_ms
            || (self.answered_at.is_none() && other.answered_at.is_some())
            || self.functions.len() < other.functions.len()
            || answers(self) < answers(other)
    }

    /// Ends a record that was kept while its call lived, at the last moment that the call is known to have lived. A record
    /// that has an end keeps it.
    pub(crate) fn end_lost(&mut self, at: Timestamp) {
        if self.ended_at.is_some() {
            return;
        }
        let last = self.started_at + Duration::from_millis(self.duration_ms);
        let ended_at = at.floor_to_millis().max(last);
        self.ended_at = Some(ended_at);
        self.duration_ms = millis(ended_at.saturating_since(self.started_at));
        self.talk_time_ms = self.answered_at.map_or(0, |answered| millis(ended_at.saturating_since(answered)));
        self.status = CallStatus::Failed;
        self.hangup_cause = Some(HangupCause::TEMPORARY_FAILURE);
        self.hangup_party = Some(HangupParty::System);
        self.end_reason = Some(EndReason::EngineLost);
    }
}

/// Who rang whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The other side rang.
    Inbound,
    /// We rang.
    Outbound,
}

/// How a call stands or ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallStatus {
    /// Not answered: the called party was busy.
    Busy,
    /// Answered and over.
    Completed,
    /// Over by a failure, answered or not.
    Failed,
    /// Answered and going on.
    InProgress,
    /// Not answered in time.
    NoAnswer,
    /// Refused before an answer.
    Rejected,
    /// Not answered yet.
    Ringing,
}

impl fmt::Display for CallStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "busy",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::InProgress => "in_progress",
            Self::NoAnswer => "no_answer",
            Self::Rejected => "rejected",
            Self::Ringing => "ringing",
        })
    }
}

/// Who ended a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HangupParty {
    /// Our agent.
    Agent,
    /// The other side, in either direction.
    Caller,
    /// Whoever holds the call through the library or an API.
    Operator,
    /// The engine: a limit or a failure.
    System,
    /// The human who had taken the call over.
    Target,
}

impl fmt::Display for HangupParty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "agent",
            Self::Caller => "caller",
            Self::Operator => "operator",
            Self::System => "system",
            Self::Target => "target",
        })
    }
}

/// Why a call ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EndReason {
    /// The agent called `end_call`.
    AgentHangUp,
    /// The agent is switched off; nothing was held.
    AgentInactive,
    /// The other side was busy.
    Busy,
    /// The other side hung up.
    CallerHangUp,
    /// Whoever holds the call called it off.
    Cancelled,
    /// The carrier failed or could not be reached.
    CarrierFailure,
    /// The held credits were used up.
    CreditsExhausted,
    /// The engine that held the call stopped without a word.
    EngineLost,
    /// No credits could be held.
    InsufficientCredits,
    /// A machine answered and the policy is to hang up.
    MachineAnswered,
    /// The longest call was reached.
    MaxDuration,
    /// The media stopped.
    MediaLost,
    /// A machine answered and was left its message.
    MessageLeft,
    /// Nobody answered in time.
    NoAnswer,
    /// Whoever holds the call ended it.
    OperatorHangUp,
    /// It was outside of the agent's active hours; nothing was held.
    OutsideHours,
    /// As many calls went on as may, and none ended in time; nothing was held.
    OverCapacity,
    /// A model, recogniser or synthesiser kept failing.
    ProviderFailure,
    /// The other side refused.
    Rejected,
    /// Setting up took too long.
    SetUpTimeout,
    /// Nobody spoke.
    Silence,
    /// Nothing happened any more, and no other limit told why.
    Stalled,
    /// The store failed before the call could begin.
    StoreFailure,
    /// A human has taken the call, or has ended it after taking it.
    Transferred,
    /// The number that was called is nobody's.
    UnknownNumber,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AgentHangUp => "agent_hang_up",
            Self::AgentInactive => "agent_inactive",
            Self::Busy => "busy",
            Self::CallerHangUp => "caller_hang_up",
            Self::Cancelled => "cancelled",
            Self::CarrierFailure => "carrier_failure",
            Self::CreditsExhausted => "credits_exhausted",
            Self::EngineLost => "engine_lost",
            Self::InsufficientCredits => "insufficient_credits",
            Self::MachineAnswered => "machine_answered",
            Self::MaxDuration => "max_duration",
            Self::MediaLost => "media_lost",
            Self::MessageLeft => "message_left",
            Self::NoAnswer => "no_answer",
            Self::OperatorHangUp => "operator_hang_up",
            Self::OutsideHours => "outside_hours",
            Self::OverCapacity => "over_capacity",
            Self::ProviderFailure => "provider_failure",
            Self::Rejected => "rejected",
            Self::SetUpTimeout => "set_up_timeout",
            Self::Silence => "silence",
            Self::Stalled => "stalled",
            Self::StoreFailure => "store_failure",
            Self::Transferred => "transferred",
            Self::UnknownNumber => "unknown_number",
        })
    }
}

/// Who picked up an outbound call.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AnsweredBy {
    /// A phone's assistant, which asks who calls.
    Assistant,
    /// A person.
    Human,
    /// An answering machine.
    Machine,
    /// Nothing was said.
    Unknown,
}

/// One answered turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TurnRecord {
    /// From the caller's last sound to the agent's first.
    pub latency_ms: u64,
}

/// One interruption.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct BargeInRecord {
    /// Since the call's start.
    pub at_ms: u64,
    /// From the beginning of the caller's speech to the order to be silent.
    pub reaction_ms: u64,
    /// Whether it turned out to be nothing, and the agent went on where it was cut off.
    pub resumed: bool,
}

/// One attempt to hand the call over.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TransferRecord {
    /// Since the call's start.
    pub at_ms: u64,
    /// How.
    pub mode: TransferMode,
    /// What came of it.
    pub outcome: TransferOutcome,
    /// The name of the target.
    pub target: String,
}

/// What came of a transfer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferOutcome {
    /// The call ended before anybody took it.
    Abandoned,
    /// A human took the call.
    Completed,
    /// Nobody took it, and the agent went on.
    Failed {
        /// Why.
        cause: HangupCause,
    },
}

/// One function call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionRecord {
    /// Which.
    pub name: String,
    /// With what.
    pub parameters: serde_json::Value,
    /// Its answer; `None` when the call ended before it.
    pub result: Option<serde_json::Value>,
}

/// What the call did to the tenant's prepaid time or money.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct LedgerSummary {
    /// Of what: milliseconds, or millionths of a currency.
    pub unit: Unit,
    /// Available before the hold.
    pub before: i64,
    /// Held for the call, all in all.
    pub held: i64,
    /// Taken for the call.
    pub settled: i64,
    /// Available after the settlement.
    pub after: i64,
}
