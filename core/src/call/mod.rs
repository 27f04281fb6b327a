//! The call machine: a call is a value that takes inputs and the time and yields outputs.
//!
//! It has no clock, no socket and no randomness, and audio never enters it. Feed it with [`Call::handle_input`] and
//! [`Call::handle_timeout`], carry out what [`Call::poll_output`] yields, and wake it at [`Call::poll_timeout`]. The
//! same inputs at the same times give the same outputs, which is what makes a call replayable.

mod answer;
pub mod config;
mod dialogue;
mod function;
mod input;
mod outbox;
mod output;
pub mod record;
mod screening;
mod sentence;
mod shared;
mod timer;
mod turn;

use std::sync::Arc;
use std::time::Duration;

pub use config::{CallConfig, Offer, Policy};
pub use dialogue::{Speaker, TranscriptEntry};
pub use input::{Control, Failure, Input, Outcome, Progress};
pub use output::{CallEvent, CallEventKind, Command, CommandId, Output, Phase};
pub use record::{CallRecord, LedgerSummary};
pub use timer::Timer;

use self::config::OnMachine;
use self::outbox::{Outbox, Role};
use self::record::{AnsweredBy, CallStatus, Direction, EndReason, HangupParty};
use self::screening::Screener;
use self::shared::Shared;
use self::timer::Timers;
use self::turn::Turn;
use crate::error::ErrorKind;
use crate::provider::llm::Tool;
use crate::provider::telephony::{DialEvent, HangupCause};
use crate::time::{Instant, millis};

/// The tool by which a model ends the call, once what it has said is heard. Every agent has it.
pub const END_CALL: &str = "end_call";

/// How often a settlement is tried in the call; a call that is still not settled is left to recovery.
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
            granted: None,
            outbox: Outbox::new(start),
            started: start,
            timers: Timers::default(),
        };
        let mut call = Self {
            shared,
            offer,
            phase,
            now: start,
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
        match input {
            Input::Completed(id, outcome) => self.completed(id, outcome),
            Input::Control(control) => self.control(control),
            Input::Dtmf(digit) if self.end.is_none() => {
                self.shared.outbox.event(self.now, CallEventKind::Dtmf { digit });
            }
            Input::Dtmf(_) => {}
            Input::Failed(id, failure) => self.failed(id, &failure),
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
            self.expired(deadline, timer);
            self.follow_up();
        }
    }

    /// The next thing to do, in order; `None` when there is nothing to do now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.shared.outbox.poll()
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
        }
    }

    fn status(&self) -> CallStatus {
        let Some(end) = self.end else {
            return if self.answered_at.is_some() { CallStatus::InProgress } else { CallStatus::Ringing };
        };
        match end.reason {
            EndReason::Busy => CallStatus::Busy,
            EndReason::CarrierFailure
            | EndReason::MediaLost
            | EndReason::ProviderFailure
            | EndReason::SetUpTimeout
            | EndReason::StoreFailure => CallStatus::Failed,
            EndReason::InsufficientCredits | EndReason::Rejected => CallStatus::Rejected,
            EndReason::NoAnswer => CallStatus::NoAnswer,
            _ if self.answered_at.is_none() => CallStatus::NoAnswer,
            _ => CallStatus::Completed,
        }
    }
}

/// The leg's way up.
impl Call {
    fn begin(&mut self) {
        let policy = &self.shared.config.policy;
        let wanted = policy.hold.min(policy.duration_max);
        self.shared.timers.set(Timer::SetUp, self.now + policy.set_up_timeout);
        self.enter(self.phase);
        self.shared.outbox.start(Command::Reserve { wanted });
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.shared.outbox.event(self.now, CallEventKind::Phase { phase });
    }

    fn completed(&mut self, id: CommandId, outcome: Outcome) {
        let Some(role) = self.shared.outbox.close(id) else {
            return;
        };
        match (role, outcome) {
            (Role::Answer, _) => self.answered(),
            (Role::CloseMedia, Outcome::Recorded(location)) => self.recording = location,
            (Role::Dial, _) => self.dial_over(),
            (Role::OpenMedia, _) => self.media_opened(),
            (Role::Reserve, Outcome::Reserved { granted }) => self.reserved(granted),
            (Role::Reserve, _) => {
                self.finish(HangupCause::TEMPORARY_FAILURE, HangupParty::System, EndReason::StoreFailure);
            }
            (Role::Settle, Outcome::Settled(ledger)) => {
                self.ledger = Some(ledger);
                self.ended();
            }
            (Role::Settle, _) => self.settle_later(),
            (role, outcome) => self.turn.completed(self.now, id, role, outcome, &mut self.shared),
        }
    }

    fn failed(&mut self, id: CommandId, failure: &Failure) {
        let Some(role) = self.shared.outbox.close(id) else {
            return;
        };
        let problem = CallEventKind::Problem {
            command: role.name().to_owned(),
            kind: failure.kind,
            message: failure.message.clone(),
        };
        self.shared.outbox.event(self.now, problem);
        let system = HangupParty::System;
        match role {
            Role::Answer | Role::Dial | Role::OpenMedia => {
                self.finish(cause_of(failure.kind), system, EndReason::CarrierFailure);
            }
            Role::Reserve if failure.kind == ErrorKind::InsufficientFunds => {
                self.finish(HangupCause::CALL_REJECTED, system, EndReason::InsufficientCredits);
            }
            Role::Reserve => self.finish(HangupCause::TEMPORARY_FAILURE, system, EndReason::StoreFailure),
            Role::Settle => self.settle_later(),
            role => self.turn.failed(self.now, id, role, failure, &mut self.shared),
        }
    }

    fn progress(&mut self, id: CommandId, progress: Progress) {
        let Some(role) = self.shared.outbox.role(id) else {
            return;
        };
        match (role, progress) {
            (Role::Dial, Progress::Dial(event)) => self.dialled(event),
            (Role::Listen, Progress::SpeechStarted { at }) if self.screener.is_some() => {
                let at = at.min(self.now);
                if let Some(screener) = &mut self.screener {
                    screener.speech_started(at, &mut self.shared.timers);
                }
                self.turn.progress(self.now, id, Progress::SpeechStarted { at }, &mut self.shared);
            }
            (Role::Listen, Progress::SpeechEnded { at }) if self.screener.is_some() => {
                self.turn.progress(self.now, id, Progress::SpeechEnded { at }, &mut self.shared);
                if let Some(answered_by) = self.screener.as_ref().map(Screener::speech_ended) {
                    self.screened(answered_by);
                }
            }
            (Role::Generate | Role::Listen | Role::Speak, progress) => {
                self.turn.progress(self.now, id, progress, &mut self.shared);
            }
            _ => {}
        }
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::HangUp => {
                self.finish(HangupCause::NORMAL_CLEARING, HangupParty::Operator, EndReason::OperatorHangUp);
            }
            Control::Say { text } if self.phase == Phase::Connected => {
                self.turn.say(self.now, &text, &mut self.shared);
            }
            Control::Say { .. } => {}
        }
    }

    fn reserved(&mut self, granted: Duration) {
        if self.end.is_some() {
            return;
        }
        self.shared.granted = Some(granted);
        let policy = &self.shared.config.policy;
        match self.offer {
            Offer::Inbound { .. } => {
                self.shared.timers.set(Timer::SetUp, self.now + policy.set_up_timeout);
                self.shared.outbox.start(Command::Answer);
            }
            Offer::Outbound { .. } => {
                self.shared.timers.clear(Timer::SetUp);
                self.shared.timers.set(Timer::Ring, self.now + policy.ring_timeout);
                self.leg_is_gone = false;
                self.shared.outbox.start(Command::Dial);
            }
        }
    }

    fn dialled(&mut self, event: DialEvent) {
        if self.end.is_some() || self.answered_at.is_some() {
            return;
        }
        match event {
            DialEvent::Answered => self.answered(),
            DialEvent::EarlyMedia => {}
            DialEvent::Failed { cause } => {
                self.leg_is_gone = true;
                let reason = match cause {
                    HangupCause::USER_BUSY => EndReason::Busy,
                    HangupCause::NO_ANSWER | HangupCause::NO_USER_RESPONDING => EndReason::NoAnswer,
                    HangupCause::CALL_REJECTED => EndReason::Rejected,
                    _ => EndReason::CarrierFailure,
                };
                self.finish(cause, HangupParty::Caller, reason);
            }
            DialEvent::Ringing if self.phase == Phase::Dialing => self.enter(Phase::Ringing),
            DialEvent::Ringing => {}
        }
    }

    fn dial_over(&mut self) {
        if self.answered_at.is_none() {
            self.finish(HangupCause::INTERWORKING, HangupParty::System, EndReason::CarrierFailure);
        }
    }

    fn answered(&mut self) {
        if self.end.is_some() || self.answered_at.is_some() {
            return;
        }
        let policy = &self.shared.config.policy;
        let timers = &mut self.shared.timers;
        self.answered_at = Some(self.now);
        timers.clear(Timer::Ring);
        timers.set(Timer::SetUp, self.now + policy.set_up_timeout);
        timers.set(Timer::Duration, self.now + policy.duration_max);
        if let Some(granted) = self.shared.granted {
            timers.set(Timer::Credits, self.now + granted);
        }
        self.shared.outbox.start(Command::ReportAnswered);
        self.shared.outbox.start(Command::OpenMedia);
    }

    fn media_opened(&mut self) {
        if self.end.is_some() {
            return;
        }
        self.media_is_open = true;
        self.shared.timers.clear(Timer::SetUp);
        self.turn.listen(&mut self.shared);
        match (&self.offer, self.shared.config.policy.screening.clone()) {
            (Offer::Outbound { .. }, Some(policy)) => {
                self.screener = Some(Screener::new(self.now, policy, &mut self.shared.timers));
                self.enter(Phase::Screening);
            }
            _ => self.connected(),
        }
    }

    fn screened(&mut self, answered_by: AnsweredBy) {
        let Some(screener) = self.screener.take() else { return };
        self.shared.timers.clear(Timer::Screening);
        self.answered_by = Some(answered_by);
        self.shared.outbox.event(self.now, CallEventKind::AnsweredBy { answered_by });
        if answered_by == AnsweredBy::Machine && screener.on_machine() == OnMachine::HangUp {
            self.finish(HangupCause::NORMAL_CLEARING, HangupParty::System, EndReason::MachineAnswered);
        } else {
            self.connected();
        }
    }

    fn connected(&mut self) {
        self.enter(Phase::Connected);
        self.turn.begin(self.now, &mut self.shared);
    }
}

/// The leg's way down.
impl Call {
    fn expired(&mut self, deadline: Instant, timer: Timer) {
        let (system, timed_out) = (HangupParty::System, HangupCause::RECOVERY_ON_TIMER_EXPIRY);
        match timer {
            Timer::Credits => {
                // The talk ends when the credits do, however late the timer fires.
                self.finish_at(deadline, HangupCause::NORMAL_CLEARING, system, EndReason::CreditsExhausted);
            }
            Timer::Duration => {
                self.finish_at(deadline, HangupCause::NORMAL_CLEARING, system, EndReason::MaxDuration);
            }
            Timer::Ring => self.finish(HangupCause::NO_ANSWER, system, EndReason::NoAnswer),
            Timer::Screening => {
                if let Some(answered_by) = self.screener.as_ref().map(Screener::timed_out) {
                    self.screened(answered_by);
                }
            }
            Timer::SetUp if self.phase == Phase::Ending => self.settle_again(),
            Timer::SetUp => self.finish(timed_out, system, EndReason::SetUpTimeout),
            Timer::WrapUp => self.settle(),
            timer => self.turn.handle_timeout(self.now, timer, &mut self.shared),
        }
    }

    fn leg_ended(&mut self, cause: HangupCause) {
        self.leg_is_gone = true;
        let (party, reason) = match cause {
            HangupCause::NORMAL_CLEARING if self.answered_at.is_none() => (HangupParty::Caller, EndReason::NoAnswer),
            HangupCause::NORMAL_CLEARING | HangupCause::NORMAL_UNSPECIFIED => {
                (HangupParty::Caller, EndReason::CallerHangUp)
            }
            _ => (HangupParty::System, EndReason::CarrierFailure),
        };
        self.finish(cause, party, reason);
    }

    /// What the conversation decided, and whether the end has been wrapped up.
    fn follow_up(&mut self) {
        if let Some(reason) = self.turn.take_end() {
            let (cause, party) = match reason {
                EndReason::AgentHangUp => (HangupCause::NORMAL_CLEARING, HangupParty::Agent),
                EndReason::ProviderFailure => (HangupCause::TEMPORARY_FAILURE, HangupParty::System),
                _ => (HangupCause::NORMAL_CLEARING, HangupParty::System),
            };
            self.finish(cause, party, reason);
        }
        let wraps_up =
            [Role::CloseMedia, Role::FinishListening, Role::HangUp, Role::Listen, Role::ReportAnswered, Role::Reserve];
        let is_wrapped_up = !wraps_up.iter().any(|role| self.shared.outbox.is_open(*role));
        if self.phase == Phase::Ending && self.settle_attempts == 0 && is_wrapped_up {
            self.settle();
        }
    }

    fn finish(&mut self, cause: HangupCause, party: HangupParty, reason: EndReason) {
        self.finish_at(self.now, cause, party, reason);
    }

    fn finish_at(&mut self, at: Instant, cause: HangupCause, party: HangupParty, reason: EndReason) {
        if self.end.is_some() {
            return;
        }
        self.end = Some(End { at, cause, party, reason });
        self.screener = None;
        self.shared.timers.clear_all();
        self.enter(Phase::Ending);
        for role in [Role::Answer, Role::Dial, Role::OpenMedia] {
            self.shared.outbox.cancel_role(role);
        }
        self.turn.stop(self.now, &mut self.shared);
        if !self.leg_is_gone {
            self.shared.outbox.start(Command::HangUp { cause });
        }
        if self.media_is_open {
            self.shared.outbox.start(Command::CloseMedia);
        }
        self.shared.timers.set(Timer::WrapUp, self.now + self.shared.config.policy.wrap_up_timeout);
    }

    fn settle(&mut self) {
        self.shared.timers.clear_all();
        self.shared.outbox.cancel_all();
        self.turn.conclude(self.now, &mut self.shared);
        self.settle_attempts += 1;
        let record = Box::new(self.record());
        self.shared.outbox.start(Command::Settle(record));
        self.shared.timers.set(Timer::SetUp, self.now + self.shared.config.policy.set_up_timeout);
    }

    /// The settlement failed: once more after a while, or never again.
    fn settle_later(&mut self) {
        if self.settle_attempts >= SETTLE_ATTEMPTS_MAX {
            self.ended();
            return;
        }
        let backoff = SETTLE_BACKOFF * 2_u32.saturating_pow(self.settle_attempts - 1);
        self.shared.timers.set(Timer::SetUp, self.now + backoff);
    }

    /// The settlement took too long, or its turn has come again.
    fn settle_again(&mut self) {
        if self.shared.outbox.is_open(Role::Settle) {
            self.shared.outbox.cancel_role(Role::Settle);
            self.settle_later();
        } else {
            self.settle();
        }
    }

    fn ended(&mut self) {
        self.shared.timers.clear_all();
        self.shared.outbox.cancel_all();
        self.enter(Phase::Ended);
        let record = Box::new(self.record());
        self.shared.outbox.event(self.now, CallEventKind::Ended { record, ledger: self.ledger });
    }
}

fn end_call_tool() -> Tool {
    Tool {
        description: "Ends the call. Say goodbye in the same answer.".to_owned(),
        name: END_CALL.to_owned(),
        parameters: serde_json::json!({ "type": "object", "properties": {} }),
    }
}

fn cause_of(kind: ErrorKind) -> HangupCause {
    match kind {
        ErrorKind::RateLimited => HangupCause::RESOURCE_UNAVAILABLE,
        ErrorKind::Rejected | ErrorKind::PermissionDenied | ErrorKind::Unauthenticated => HangupCause::CALL_REJECTED,
        ErrorKind::TimedOut => HangupCause::RECOVERY_ON_TIMER_EXPIRY,
        ErrorKind::Unsupported => HangupCause::BEARER_CAPABILITY_NOT_IMPLEMENTED,
        _ => HangupCause::NETWORK_OUT_OF_ORDER,
    }
}
