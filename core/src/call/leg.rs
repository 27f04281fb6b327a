//! The leg's way up: credits, ringing, answer, media, and who picked up.

use std::time::Duration;

use super::outbox::Role;
use super::policy::OnMachine;
use super::record::{AnsweredBy, EndReason, HangupParty};
use super::screening::Screener;
use super::{
    Call, CallEventKind, Command, CommandId, Control, DecisionKind, Failure, Offer, Outcome, Phase, Progress, Timer,
};
use crate::error::ErrorKind;
use crate::provider::telephony::{DialEvent, HangupCause};

/// Longest text that the holder of a call can have said at once, in bytes; what is longer is not said.
const SAY_BYTES_MAX: usize = 16 * 1024;

impl Call {
    pub(super) fn begin(&mut self) {
        let policy = &self.shared.config.policy;
        let wanted = policy.hold.min(policy.duration_max);
        self.shared.timers.set(Timer::SetUp, self.now + policy.set_up_timeout);
        self.enter(self.phase);
        match self.shared.config.admission.refusal() {
            Some(reason) => {
                self.finish(HangupCause::CALL_REJECTED, HangupParty::System, reason);
                self.follow_up();
            }
            None => {
                self.shared.outbox.start(Command::Reserve { wanted });
            }
        }
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.shared.outbox.event(self.now, CallEventKind::Phase { phase });
    }

    pub(super) fn completed(&mut self, id: CommandId, outcome: Outcome) {
        let Some(role) = self.shared.outbox.close(id) else {
            self.shared.explain(self.now, || DecisionKind::Stale { command: id });
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

    pub(super) fn failed(&mut self, id: CommandId, failure: &Failure) {
        let Some(role) = self.shared.outbox.close(id) else {
            self.shared.explain(self.now, || DecisionKind::Stale { command: id });
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
            // The called party "is unable to accept another call" (ITU-T Q.850, cause 17), which SIP says as 486.
            Role::Reserve if failure.kind == ErrorKind::RateLimited => {
                self.finish(HangupCause::USER_BUSY, system, EndReason::OverCapacity);
            }
            Role::Reserve => self.finish(HangupCause::TEMPORARY_FAILURE, system, EndReason::StoreFailure),
            Role::Settle => self.settle_later(),
            role => self.turn.failed(self.now, id, role, failure, &mut self.shared),
        }
    }

    pub(super) fn progress(&mut self, id: CommandId, progress: Progress) {
        let Some(role) = self.shared.outbox.role(id) else {
            self.shared.explain(self.now, || DecisionKind::Stale { command: id });
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
            (Role::Reserve, Progress::Queued { wait }) if self.end.is_none() => {
                let limit = wait.saturating_add(self.shared.config.policy.set_up_timeout);
                self.shared.timers.set(Timer::SetUp, self.now + limit);
                self.shared.outbox.event(self.now, CallEventKind::Queued { wait });
            }
            (Role::Generate | Role::Listen | Role::Speak, progress) => {
                self.turn.progress(self.now, id, progress, &mut self.shared);
            }
            _ => {}
        }
    }

    pub(super) fn control(&mut self, control: Control) {
        match control {
            Control::HangUp => {
                self.finish(HangupCause::NORMAL_CLEARING, HangupParty::Operator, EndReason::OperatorHangUp);
            }
            Control::Say { text } if self.phase == Phase::Connected => {
                let text = &text[..text.floor_char_boundary(SAY_BYTES_MAX)];
                self.turn.say(self.now, text, &mut self.shared);
            }
            Control::Say { .. } => {}
        }
    }

    pub(super) fn reserved(&mut self, granted: Duration) {
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

    pub(super) fn dialled(&mut self, event: DialEvent) {
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

    pub(super) fn dial_over(&mut self) {
        if self.answered_at.is_none() {
            self.finish(HangupCause::INTERWORKING, HangupParty::System, EndReason::CarrierFailure);
        }
    }

    pub(super) fn answered(&mut self) {
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

    pub(super) fn media_opened(&mut self) {
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

    pub(super) fn screened(&mut self, answered_by: AnsweredBy) {
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

    pub(super) fn connected(&mut self) {
        self.enter(Phase::Connected);
        self.turn.begin(self.now, &mut self.shared);
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
