//! The call machine: a call is a value that takes inputs and the time and yields outputs.
//!
//! It has no clock, no socket and no randomness, and audio never enters it. Feed it with [`Call::handle_input`] and
//! [`Call::handle_timeout`], carry out what [`Call::poll_output`] yields, and wake it at [`Call::poll_timeout`]. The
//! same inputs at the same times give the same outputs, which is what makes a call replayable.

mod answer;
mod config;
mod decision;
mod dialogue;
mod dtmf_rules;
mod echo;
mod ending;
mod function;
mod hold;
mod input;
mod keys;
mod leg;
mod lexicon;
mod limit;
mod outbox;
mod output;
pub mod policy;
pub mod record;
mod screening;
mod sentence;
mod shared;
mod timer;
mod tools;
mod transfer;
mod turn;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use config::{Admission, CallConfig, Offer};
pub use decision::{Decision, DecisionKind, EarlyStep, EndpointReason, InterruptionVerdict, ResumeCause};
pub use dialogue::{Speaker, TranscriptEntry};
pub use input::{ConsultEvent, Control, Failure, Input, Outcome, Progress};
pub(crate) use lexicon::deciding_words;
pub use output::{CallEvent, CallEventKind, Command, CommandId, Output, Phase};
pub use policy::Policy;
pub use record::{CallRecord, LedgerSummary};
pub use timer::Timer;
pub use tools::{END_CALL, SEND_DIGITS, SWITCH_LANGUAGE, TRANSFER_CALL};

use self::dtmf_rules::DtmfRules;
use self::outbox::Outbox;
use self::record::{AnsweredBy, CallStatus, Direction, EndReason, HangupParty, TransferRecord};
use self::screening::Screener;
use self::shared::Shared;
use self::timer::Timers;
use self::transfer::Transferring;
use self::turn::Turn;
use crate::provider::telephony::HangupCause;
use crate::time::{Instant, millis};

/// How often a settlement is tried in the call; a call that is still not settled keeps its hold.
pub const SETTLE_ATTEMPTS_MAX: u32 = 5;

/// Wait before the second try of a settlement; it doubles with each try.
const SETTLE_BACKOFF: Duration = Duration::from_millis(500);

/// One telephone call.
#[derive(Debug)]
pub struct Call {
    shared: Shared,
    offer: Offer,
    phase: Phase,
    now: Instant,
    /// When the timer was due that is being handled.
    due: Option<Instant>,
    turn: Turn,
    screener: Option<Screener>,
    answered_at: Option<Instant>,
    answered_by: Option<AnsweredBy>,
    /// The carrier has ended the leg, or it never came to be.
    leg_is_gone: bool,
    media_is_open: bool,
    end: Option<End>,
    ledger: Option<LedgerSummary>,
    recording: Option<String>,
    settle_attempts: u32,
    /// The holder of the call has put the caller on hold.
    held: bool,
    dtmf_rules: DtmfRules,
    transferring: Option<Transferring>,
    transfers: Vec<TransferRecord>,
}

#[derive(Clone, Copy, Debug)]
struct End {
    at: Instant,
    cause: HangupCause,
    party: HangupParty,
    reason: EndReason,
}

impl Call {
    /// A call that `offer` announces, in either direction, starting at `start`.
    pub fn new(config: CallConfig, offer: Offer, start: Instant) -> Self {
        let (phase, leg_is_gone) = match offer {
            Offer::Inbound { .. } => (Phase::Ringing, false),
            Offer::Outbound { .. } => (Phase::Dialing, true),
        };
        let shared = Shared {
            config: Arc::new(config),
            decisions: None,
            granted: None,
            outbox: Outbox::new(start),
            started: start,
            timers: Timers::default(),
            variables: BTreeMap::new(),
        };
        let mut call = Self {
            shared,
            offer,
            phase,
            now: start,
            due: None,
            turn: Turn::new(),
            screener: None,
            answered_at: None,
            answered_by: None,
            leg_is_gone,
            media_is_open: false,
            end: None,
            ledger: None,
            recording: None,
            settle_attempts: 0,
            held: false,
            dtmf_rules: DtmfRules::default(),
            transferring: None,
            transfers: Vec::new(),
        };
        call.begin();
        call
    }

    /// Takes one input at `now`. Times never run backwards: an earlier `now` counts as the latest one seen.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.handle_timeout(now);
        if self.phase == Phase::Ended {
            return;
        }
        self.alive();
        match input {
            Input::Completed(id, outcome) => self.completed(id, outcome),
            Input::Control(control) => self.control(control),
            Input::Dtmf(digit) if self.end.is_none() => self.key(digit),
            Input::Dtmf(_) => {}
            Input::EngineLost => self.engine_lost(),
            Input::Failed(id, failure) => self.failed(id, &failure),
            Input::LeaseLost => {
                self.finish(HangupCause::TEMPORARY_FAILURE, HangupParty::System, EndReason::EngineLost);
            }
            Input::LegEnded { cause } => self.leg_ended(cause),
            Input::MediaLost { cause } => self.finish(cause, HangupParty::System, EndReason::MediaLost),
            Input::Progress(id, progress) => self.progress(id, progress),
        }
        self.follow_up();
    }

    /// Fires every timer whose deadline has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        while self.phase != Phase::Ended {
            let Some((deadline, timer)) = self.shared.timers.expire(self.now) else {
                return;
            };
            let due = self.shared.since_start(deadline);
            self.shared.explain(self.now, || DecisionKind::Expired { deadline: due, timer });
            self.due = Some(deadline);
            self.expired(timer);
            self.follow_up();
            self.due = None;
        }
    }

    /// The next thing to do, in order; `None` when there is nothing to do now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.shared.outbox.poll()
    }

    /// From now on, keeps why the call does what it does, for [`Call::take_decisions`].
    pub fn explain(&mut self) {
        self.shared.decisions.get_or_insert_default();
    }

    /// The decisions since the last time; none unless [`Call::explain`] was called.
    pub fn take_decisions(&mut self) -> Vec<Decision> {
        self.shared.decisions.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// When to call [`Call::handle_timeout`], and why. `None` only when the call has ended.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.shared.timers.next()
    }

    /// Where the call stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether nothing more will happen.
    pub fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// The call's record as of now.
    pub fn record(&self) -> CallRecord {
        let config = &self.shared.config;
        let end = self.end;
        // Whole milliseconds throughout, so that the moments and the durations of a record agree with each other.
        let elapsed_ms = |at: Instant| millis(self.shared.since_start(at));
        let started_at = config.wall_clock.floor_to_millis();
        let wall = |elapsed_ms: u64| started_at + Duration::from_millis(elapsed_ms);
        let answered_ms = self.answered_at.map(elapsed_ms);
        let ended_ms = end.map(|end| elapsed_ms(end.at));
        let duration_ms = ended_ms.unwrap_or(elapsed_ms(self.now));
        CallRecord {
            id: config.id,
            tenant: config.tenant,
            agent: config.agent,
            task: config.task,
            direction: match self.offer {
                Offer::Inbound { .. } => Direction::Inbound,
                Offer::Outbound { .. } => Direction::Outbound,
            },
            from: self.offer.from().cloned(),
            to: self.offer.to().cloned(),
            status: self.status(),
            started_at,
            answered_at: answered_ms.map(wall),
            ended_at: ended_ms.map(wall),
            duration_ms,
            talk_time_ms: answered_ms.map_or(0, |answered| duration_ms.saturating_sub(answered)),
            hangup_cause: end.map(|end| end.cause),
            hangup_party: end.map(|end| end.party),
            end_reason: end.map(|end| end.reason),
            answered_by: self.answered_by,
            transcript: self.turn.dialogue.transcript(),
            turns: self.turn.turns.clone(),
            barge_ins: self.turn.barge_ins.clone(),
            functions: self.turn.functions(),
            recording: self.recording.clone(),
            transfers: self.transfers.clone(),
            variables: self.shared.variables.clone(),
        }
    }

    fn status(&self) -> CallStatus {
        let Some(end) = self.end else {
            return if self.answered_at.is_some() { CallStatus::InProgress } else { CallStatus::Ringing };
        };
        match end.reason {
            EndReason::Busy => CallStatus::Busy,
            EndReason::Cancelled
            | EndReason::CarrierFailure
            | EndReason::EngineLost
            | EndReason::MediaLost
            | EndReason::ProviderFailure
            | EndReason::SetUpTimeout
            | EndReason::Stalled
            | EndReason::StoreFailure
            | EndReason::UnknownNumber => CallStatus::Failed,
            EndReason::AgentInactive
            | EndReason::InsufficientCredits
            | EndReason::OutsideHours
            | EndReason::OverCapacity
            | EndReason::Rejected => CallStatus::Rejected,
            EndReason::NoAnswer => CallStatus::NoAnswer,
            _ if self.answered_at.is_none() => CallStatus::NoAnswer,
            _ => CallStatus::Completed,
        }
    }
}
