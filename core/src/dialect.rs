//! The five vendors' words for how a call stands and how it ended.

use serde::{Deserialize, Serialize};

use crate::call::record::{AnsweredBy, CallStatus, EndReason, HangupParty, TransferOutcome};
use crate::call::{CallRecord, Speaker};

/// A vendor whose public API is spoken.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Conversations and campaigns.
    Dialai,
    /// Outbound tasks.
    Dialflo,
    /// Inbound agents, prepaid minutes.
    Dialro,
    /// Bots behind a dialler.
    VoxCore,
    /// Agents, tasks and live calls.
    VoxStack,
}

/// How a call stands or ended, in a vendor's words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Words {
    /// Who ended it, where the vendor says so.
    pub party: Option<&'static str>,
    /// Why, where the vendor says so.
    pub reason: Option<&'static str>,
    /// How it stands; the only word where the vendor has no other.
    pub status: &'static str,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Dialai, Self::Dialflo, Self::Dialro, Self::VoxCore, Self::VoxStack];

    /// The words for a call.
    pub fn words(self, record: &CallRecord) -> Words {
        let status = |status| Words { party: None, reason: None, status };
        match self {
            Self::Dialai => status(dialai(record)),
            Self::Dialflo => status(dialflo(record)),
            Self::Dialro => Words {
                party: record.hangup_party.map(dialro_party),
                reason: record.end_reason.map(|reason| dialro_reason(reason, record)),
                status: dialro_status(record),
            },
            Self::VoxCore => status(voxcore(record)),
            Self::VoxStack => status(voxstack(record)),
        }
    }
}

/// The status of a conversation (DA-042).
fn dialai(record: &CallRecord) -> &'static str {
    let Some(reason) = record.end_reason else { return "In Progress" };
    match reason {
        EndReason::MachineAnswered => "Answering Machine \u{2014} No Message Left",
        EndReason::MessageLeft => "Answering Machine \u{2014} Message Left",
        EndReason::Transferred => "Human Handoff",
        EndReason::Busy | EndReason::NoAnswer | EndReason::Rejected => "No Answer",
        _ if was_handed_over(record) => "Human Handoff",
        _ if failed(record) => "Failed",
        EndReason::Silence => "Abandoned",
        EndReason::CallerHangUp if !caller_spoke(record) => "Abandoned",
        _ => "Completed",
    }
}

/// `call_status` (DF-005, DF-A7).
fn dialflo(record: &CallRecord) -> &'static str {
    match (record.status, record.end_reason) {
        (_, Some(EndReason::MachineAnswered | EndReason::MessageLeft)) => "VOICEMAIL",
        (_, Some(EndReason::Cancelled | EndReason::OperatorHangUp)) if record.answered_at.is_none() => "CANCELLED",
        (CallStatus::Busy, _) => "BUSY",
        (CallStatus::Completed | CallStatus::InProgress, _) => "ANSWERED",
        (CallStatus::Failed, _) => "FAILED",
        (CallStatus::NoAnswer, _) => "NO_ANSWER",
        (CallStatus::Rejected, _) => "REJECTED",
        (CallStatus::Ringing, _) => "NO_ANSWER",
    }
}

/// `status` (DR-056).
fn dialro_status(record: &CallRecord) -> &'static str {
    match (record.end_reason.is_some(), record.answered_at.is_some()) {
        (false, false) => "ringing",
        (false, true) => "answered",
        (true, false) => "failed",
        (true, true) if failed(record) => "dropped",
        (true, true) => "ended",
    }
}

/// `hangupReason` (DR-030, DR-032, DR-057).
fn dialro_reason(reason: EndReason, record: &CallRecord) -> &'static str {
    match reason {
        EndReason::AgentHangUp | EndReason::CallerHangUp | EndReason::OperatorHangUp if was_handed_over(record) => {
            "transferred"
        }
        EndReason::AgentHangUp | EndReason::CallerHangUp | EndReason::Cancelled | EndReason::OperatorHangUp => "normal",
        EndReason::AgentInactive => "agent_inactive",
        EndReason::Busy => "busy",
        EndReason::CarrierFailure
        | EndReason::EngineLost
        | EndReason::ProviderFailure
        | EndReason::SetUpTimeout
        | EndReason::Stalled
        | EndReason::StoreFailure
        | EndReason::UnknownNumber => "error",
        EndReason::CreditsExhausted | EndReason::InsufficientCredits => "credits_exhausted",
        EndReason::MachineAnswered | EndReason::MessageLeft => "voicemail",
        EndReason::MaxDuration => "max_duration",
        EndReason::MediaLost => "media_timeout",
        EndReason::NoAnswer => "no_answer",
        EndReason::OutsideHours | EndReason::OverCapacity | EndReason::Rejected => "rejected",
        EndReason::Silence => "silence_timeout",
        EndReason::Transferred => "transferred",
    }
}

/// `hangupInitiator` (DR-057).
fn dialro_party(party: HangupParty) -> &'static str {
    match party {
        HangupParty::Agent | HangupParty::Operator | HangupParty::Target => "agent",
        HangupParty::Caller => "caller",
        HangupParty::System => "system",
    }
}

/// `disconnected_by` (FL-043, FL-044); `in_progress` while nobody has.
fn voxcore(record: &CallRecord) -> &'static str {
    let Some(reason) = record.end_reason else { return "in_progress" };
    let is_answered_in_vain = record.answered_at.is_some()
        && record.answered_by != Some(AnsweredBy::Machine)
        && !caller_spoke(record)
        && matches!(reason, EndReason::CallerHangUp | EndReason::Silence);
    match reason {
        _ if is_answered_in_vain => "RNR",
        EndReason::AgentHangUp | EndReason::Cancelled | EndReason::OperatorHangUp | EndReason::Transferred => "bot",
        EndReason::AgentInactive | EndReason::Busy | EndReason::OverCapacity | EndReason::Rejected => "rejected",
        EndReason::CallerHangUp => "customer",
        EndReason::CarrierFailure
        | EndReason::EngineLost
        | EndReason::InsufficientCredits
        | EndReason::MediaLost
        | EndReason::ProviderFailure
        | EndReason::SetUpTimeout
        | EndReason::Stalled
        | EndReason::StoreFailure
        | EndReason::UnknownNumber => "error",
        EndReason::CreditsExhausted | EndReason::MaxDuration | EndReason::Silence => "timeout",
        EndReason::MachineAnswered | EndReason::MessageLeft => "voicemail",
        EndReason::NoAnswer => "no_answer",
        EndReason::OutsideHours => "outside_hours",
    }
}

/// `status` (VS-050).
fn voxstack(record: &CallRecord) -> &'static str {
    match record.status {
        CallStatus::Busy | CallStatus::Failed | CallStatus::NoAnswer | CallStatus::Rejected => "failed",
        CallStatus::Completed => "completed",
        CallStatus::InProgress => "in_progress",
        CallStatus::Ringing => "initiated",
    }
}

fn failed(record: &CallRecord) -> bool {
    matches!(record.status, CallStatus::Failed | CallStatus::Rejected)
}

fn caller_spoke(record: &CallRecord) -> bool {
    record.transcript.iter().any(|entry| entry.speaker == Speaker::Caller)
}

fn was_handed_over(record: &CallRecord) -> bool {
    record.transfers.iter().any(|transfer| transfer.outcome == TransferOutcome::Completed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::TranscriptEntry;
    use crate::ids::{AgentId, CallId, TenantId};
    use crate::provider::telephony::HangupCause;
    use crate::time::Timestamp;

    const MOMENT: Timestamp = Timestamp::from_unix_micros(1_763_622_000_000_000);

    /// A call with that end, in which the caller said something if it was answered.
    fn ended(status: CallStatus, reason: EndReason, party: HangupParty, answered: bool) -> CallRecord {
        let words = TranscriptEntry { at_ms: 0, cut: false, speaker: Speaker::Caller, text: "Hello.".to_owned() };
        CallRecord {
            id: CallId::new(MOMENT, [1; 10]),
            tenant: TenantId::new(MOMENT, [2; 10]),
            agent: AgentId::new(MOMENT, [3; 10]),
            task: None,
            direction: crate::call::record::Direction::Inbound,
            from: None,
            to: None,
            status,
            started_at: MOMENT,
            answered_at: answered.then_some(MOMENT),
            ended_at: Some(MOMENT),
            duration_ms: 0,
            talk_time_ms: 0,
            hangup_cause: Some(HangupCause::NORMAL_CLEARING),
            hangup_party: Some(party),
            end_reason: Some(reason),
            answered_by: None,
            transcript: if answered { vec![words] } else { Vec::new() },
            turns: Vec::new(),
            barge_ins: Vec::new(),
            functions: Vec::new(),
            recording: None,
            transfers: Vec::new(),
            variables: Default::default(),
        }
    }

    #[test]
    fn every_end_has_its_words_in_every_dialect() {
        use {CallStatus as Status, EndReason as Reason, HangupParty as Party};
        let table = [
            (
                Status::Rejected,
                Reason::AgentInactive,
                Party::System,
                false,
                ["Failed", "REJECTED", "failed agent_inactive system", "rejected", "failed"],
            ),
            (
                Status::Failed,
                Reason::EngineLost,
                Party::System,
                true,
                ["Failed", "FAILED", "dropped error system", "error", "failed"],
            ),
            (
                Status::Rejected,
                Reason::OutsideHours,
                Party::System,
                false,
                ["Failed", "REJECTED", "failed rejected system", "outside_hours", "failed"],
            ),
            (
                Status::Rejected,
                Reason::OverCapacity,
                Party::System,
                false,
                ["Failed", "REJECTED", "failed rejected system", "rejected", "failed"],
            ),
            (
                Status::Completed,
                Reason::AgentHangUp,
                Party::Agent,
                true,
                ["Completed", "ANSWERED", "ended normal agent", "bot", "completed"],
            ),
            (
                Status::Busy,
                Reason::Busy,
                Party::Caller,
                false,
                ["No Answer", "BUSY", "failed busy caller", "rejected", "failed"],
            ),
            (
                Status::Completed,
                Reason::CallerHangUp,
                Party::Caller,
                true,
                ["Completed", "ANSWERED", "ended normal caller", "customer", "completed"],
            ),
            (
                Status::Failed,
                Reason::Cancelled,
                Party::Operator,
                true,
                ["Failed", "FAILED", "dropped normal agent", "bot", "failed"],
            ),
            (
                Status::Failed,
                Reason::CarrierFailure,
                Party::System,
                false,
                ["Failed", "FAILED", "failed error system", "error", "failed"],
            ),
            (
                Status::Completed,
                Reason::CreditsExhausted,
                Party::System,
                true,
                ["Completed", "ANSWERED", "ended credits_exhausted system", "timeout", "completed"],
            ),
            (
                Status::Rejected,
                Reason::InsufficientCredits,
                Party::System,
                false,
                ["Failed", "REJECTED", "failed credits_exhausted system", "error", "failed"],
            ),
            (
                Status::Completed,
                Reason::MachineAnswered,
                Party::System,
                true,
                [
                    "Answering Machine \u{2014} No Message Left",
                    "VOICEMAIL",
                    "ended voicemail system",
                    "voicemail",
                    "completed",
                ],
            ),
            (
                Status::Completed,
                Reason::MessageLeft,
                Party::Agent,
                true,
                [
                    "Answering Machine \u{2014} Message Left",
                    "VOICEMAIL",
                    "ended voicemail agent",
                    "voicemail",
                    "completed",
                ],
            ),
            (
                Status::Completed,
                Reason::MaxDuration,
                Party::System,
                true,
                ["Completed", "ANSWERED", "ended max_duration system", "timeout", "completed"],
            ),
            (
                Status::Failed,
                Reason::MediaLost,
                Party::System,
                true,
                ["Failed", "FAILED", "dropped media_timeout system", "error", "failed"],
            ),
            (
                Status::NoAnswer,
                Reason::NoAnswer,
                Party::System,
                false,
                ["No Answer", "NO_ANSWER", "failed no_answer system", "no_answer", "failed"],
            ),
            (
                Status::NoAnswer,
                Reason::OperatorHangUp,
                Party::Operator,
                false,
                ["Completed", "CANCELLED", "failed normal agent", "bot", "failed"],
            ),
            (
                Status::Failed,
                Reason::ProviderFailure,
                Party::System,
                true,
                ["Failed", "FAILED", "dropped error system", "error", "failed"],
            ),
            (
                Status::Rejected,
                Reason::Rejected,
                Party::Caller,
                false,
                ["No Answer", "REJECTED", "failed rejected caller", "rejected", "failed"],
            ),
            (
                Status::Failed,
                Reason::SetUpTimeout,
                Party::System,
                false,
                ["Failed", "FAILED", "failed error system", "error", "failed"],
            ),
            (
                Status::Completed,
                Reason::Silence,
                Party::System,
                true,
                ["Abandoned", "ANSWERED", "ended silence_timeout system", "timeout", "completed"],
            ),
            (
                Status::Failed,
                Reason::Stalled,
                Party::System,
                true,
                ["Failed", "FAILED", "dropped error system", "error", "failed"],
            ),
            (
                Status::Failed,
                Reason::StoreFailure,
                Party::System,
                false,
                ["Failed", "FAILED", "failed error system", "error", "failed"],
            ),
            (
                Status::Failed,
                Reason::UnknownNumber,
                Party::Caller,
                false,
                ["Failed", "FAILED", "failed error caller", "error", "failed"],
            ),
            (
                Status::Completed,
                Reason::Transferred,
                Party::Target,
                true,
                ["Human Handoff", "ANSWERED", "ended transferred agent", "bot", "completed"],
            ),
        ];
        for (status, reason, party, answered, wanted) in table {
            let record = ended(status, reason, party, answered);
            let said = Dialect::ALL.map(|dialect| {
                let words = dialect.words(&record);
                [Some(words.status), words.reason, words.party].into_iter().flatten().collect::<Vec<_>>().join(" ")
            });
            assert_eq!(said, wanted, "{reason:?}");
        }
    }

    #[test]
    fn a_callee_who_picks_up_and_says_nothing_did_not_respond() {
        let mut record = ended(CallStatus::Completed, EndReason::Silence, HangupParty::System, true);
        record.transcript.clear();
        assert_eq!(Dialect::VoxCore.words(&record).status, "RNR");
        record.answered_by = Some(AnsweredBy::Machine);
        assert_eq!(Dialect::VoxCore.words(&record).status, "timeout");
    }

    #[test]
    fn a_call_that_goes_on_has_no_end() {
        let mut record = ended(CallStatus::InProgress, EndReason::Silence, HangupParty::System, true);
        (record.end_reason, record.hangup_party, record.ended_at) = (None, None, None);
        let words = Dialect::ALL.map(|dialect| dialect.words(&record).status);
        assert_eq!(words, ["In Progress", "ANSWERED", "answered", "in_progress", "in_progress"]);
        assert_eq!(Dialect::Dialro.words(&record).reason, None);
    }
}
