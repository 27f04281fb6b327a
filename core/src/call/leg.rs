//! The leg's way up: credits, ringing, answer, media, and who picked up.

use std::time::Duration;

use super::outbox::Role;
use super::policy::OnMachine;
use super::record::{AnsweredBy, EndReason, HangupParty};
use super::screening::{Greeting, Screener, Verdict};
use super::transfer::Origin;
use super::turn::AfterSpeech;
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
        let wanted = policy.reserve.min(policy.duration_max);
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
            (Role::Bridge, _) => {}
            (role @ (Role::Brief | Role::Consult | Role::Transfer), _) => self.transfer_completed(role, id),
            (Role::CloseMedia, Outcome::Recorded(location)) => self.recording = location,
            (Role::Dial, _) => self.dial_over(),
            (Role::Extend, Outcome::Reserved { granted }) => self.extended(Some(granted)),
            (Role::Extend, _) => self.extended(None),
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
        // That nothing more can be held is no fault of anybody's.
        if role != Role::Extend || failure.kind != ErrorKind::InsufficientFunds {
            let (command, kind) = (role.name().to_owned(), failure.kind);
            let problem = CallEventKind::Problem { command, kind, message: failure.message.clone() };
            self.shared.outbox.event(self.now, problem);
        }
        let system = HangupParty::System;
        match role {
            // The leg was gone before anybody told us.
            Role::Answer | Role::OpenMedia if failure.kind == ErrorKind::NotFound => {
                self.leg_ended(HangupCause::NORMAL_CLEARING);
            }
            Role::Answer | Role::Dial | Role::OpenMedia => {
                self.finish(cause_of(failure.kind), system, EndReason::CarrierFailure);
            }
            Role::Extend => self.extended(None),
            Role::Bridge | Role::Brief | Role::Consult | Role::Transfer => self.transfer_failed(cause_of(failure.kind)),
            Role::Reserve if failure.kind == ErrorKind::InsufficientFunds => {
                self.finish(HangupCause::CALL_REJECTED, system, EndReason::InsufficientCredits);
            }
            // The task was called off, or changed, before its call began.
            Role::Reserve if failure.kind == ErrorKind::Conflict && self.shared.config.task.is_some() => {
                self.finish(HangupCause::NORMAL_CLEARING, HangupParty::Operator, EndReason::OperatorHangUp);
            }
            // Nobody has said what calls to that number cost.
            Role::Reserve if failure.kind == ErrorKind::Rejected => {
                self.finish(HangupCause::CALL_REJECTED, system, EndReason::Rejected);
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
            (Role::Consult, Progress::Consult(event)) => self.consulted(id, &event),
            (Role::Dial, Progress::Dial(event)) => self.dialled(event),
            (Role::Listen, progress) if self.screener.is_some() => self.screen(progress),
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
        let operator = HangupParty::Operator;
        match control {
            Control::Cancel => self.finish(HangupCause::NORMAL_CLEARING, operator, EndReason::Cancelled),
            Control::HangUp => self.finish(HangupCause::NORMAL_CLEARING, operator, EndReason::OperatorHangUp),
            Control::Hold => self.hold(),
            Control::Reject { cause } if self.answered_at.is_none() => {
                self.finish(cause, operator, EndReason::Rejected);
            }
            Control::Reject { .. } => {}
            Control::Resume if self.phase == Phase::Connected => self.resume(),
            Control::Resume => {}
            Control::Say { text, interruptible } if self.phase == Phase::Connected && !self.is_bridged() => {
                let text = &text[..text.floor_char_boundary(SAY_BYTES_MAX)];
                self.turn.say(self.now, text, interruptible, &mut self.shared);
            }
            Control::Say { .. } => {}
            Control::SendDigits { digits } if self.phase == Phase::Connected => {
                self.shared.outbox.start(Command::SendDigits { digits });
            }
            Control::SendDigits { .. } => {}
            Control::Transfer { brief, target } if self.phase == Phase::Connected && self.transferring.is_none() => {
                self.wish_transfer(&target, brief, Origin::Operator);
            }
            Control::Transfer { .. } => {}
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
            DialEvent::EarlyMedia => {
                self.rings();
                self.shared.outbox.event(self.now, CallEventKind::EarlyMedia);
            }
            DialEvent::Failed { cause } => {
                self.leg_is_gone = true;
                let reason = match cause {
                    HangupCause::USER_BUSY => EndReason::Busy,
                    HangupCause::NO_ANSWER | HangupCause::NO_USER_RESPONDING => EndReason::NoAnswer,
                    HangupCause::CALL_REJECTED => EndReason::Rejected,
                    HangupCause::UNALLOCATED_NUMBER => EndReason::UnknownNumber,
                    _ => EndReason::CarrierFailure,
                };
                self.finish(cause, HangupParty::Caller, reason);
            }
            DialEvent::Ringing => self.rings(),
        }
    }

    fn rings(&mut self) {
        if self.phase == Phase::Dialing {
            self.enter(Phase::Ringing);
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
        self.limit_talk();
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
            _ => self.connected(&Greeting::default()),
        }
    }

    /// The recogniser has something to say about whoever picked up.
    fn screen(&mut self, progress: Progress) {
        let Some(screener) = &mut self.screener else { return };
        let verdict = match progress {
            Progress::Beep => screener.beeped(),
            Progress::MachineTone => screener.toned(),
            Progress::Final { text, .. } => {
                self.turn.overhear(self.now, screener.greeting.began, &text, &mut self.shared);
                let verdict = screener.words(self.now, &text, &mut self.shared.timers);
                if verdict.is_none() && screener.awaits_owner() {
                    self.turn.commit_pending(self.now, &mut self.shared);
                }
                verdict
            }
            Progress::Interim { text } => {
                screener.guess(self.now, &text, &mut self.shared.timers);
                None
            }
            Progress::SpeechEnded { at } => {
                let verdict = screener.speech_ended(at.min(self.now), &mut self.shared.timers);
                if verdict.is_none() && !self.shared.outbox.is_open(Role::Finalize) {
                    self.shared.outbox.start(Command::Finalize);
                }
                verdict
            }
            Progress::SpeechStarted { at } => {
                screener.speech_started(at.min(self.now), &mut self.shared.timers);
                None
            }
            _ => None,
        };
        self.screened(verdict);
    }

    pub(super) fn screened(&mut self, verdict: Option<Verdict>) {
        let Some(screener) = self.screener.take() else { return };
        match verdict {
            Some(Verdict::AnsweredBy(answered_by)) => self.answered_by(answered_by, screener),
            Some(Verdict::Beeped) => self.leave_message(&screener),
            Some(Verdict::OwnerAbsent) => {
                self.finish(HangupCause::NORMAL_CLEARING, HangupParty::System, EndReason::MachineAnswered);
            }
            None => self.screener = Some(screener),
        }
    }

    fn answered_by(&mut self, answered_by: AnsweredBy, mut screener: Screener) {
        self.shared.timers.clear(Timer::Screening);
        let greeting = screener.greeting.clone();
        let length = greeting.began.map_or(Duration::ZERO, |began| self.now.saturating_since(began));
        self.shared.explain(self.now, || DecisionKind::Screened { answered_by, greeting: length });
        self.answered_by = Some(answered_by);
        self.shared.outbox.event(self.now, CallEventKind::AnsweredBy { answered_by });
        let introduction = screener.introduction().map(str::to_owned);
        match (answered_by, introduction, screener.on_machine().clone()) {
            (AnsweredBy::Assistant, Some(introduction), _) => {
                screener.await_owner(self.now, &mut self.shared.timers);
                self.screener = Some(screener);
                self.turn.hold(self.now, &mut self.shared);
                self.turn.say(self.now, &introduction, false, &mut self.shared);
            }
            (AnsweredBy::Assistant | AnsweredBy::Machine, _, OnMachine::HangUp) => {
                self.finish(HangupCause::NORMAL_CLEARING, HangupParty::System, EndReason::MachineAnswered);
            }
            (AnsweredBy::Assistant | AnsweredBy::Machine, _, OnMachine::LeaveMessage(voicemail)) => {
                screener.await_beep(self.now, &voicemail, &mut self.shared.timers);
                self.screener = Some(screener);
            }
            _ => self.connected(&greeting),
        }
    }

    fn leave_message(&mut self, screener: &Screener) {
        let OnMachine::LeaveMessage(voicemail) = screener.on_machine().clone() else { return };
        self.shared.timers.clear(Timer::Screening);
        self.shared.explain(self.now, || DecisionKind::LeaveMessage);
        self.enter(Phase::Connected);
        // A machine is not listened to.
        self.turn.hold(self.now, &mut self.shared);
        let then = AfterSpeech::End(EndReason::MessageLeft);
        self.turn.say_then(self.now, &voicemail.text, then, &mut self.shared);
    }

    pub(super) fn connected(&mut self, greeting: &Greeting) {
        self.enter(Phase::Connected);
        self.turn.begin(self.now, greeting, &mut self.shared);
    }

    /// Something happened: the call does not stand still.
    pub(super) fn alive(&mut self) {
        if self.answered_at.is_none() || self.end.is_some() {
            return;
        }
        if self.is_on_hold() {
            self.shared.timers.clear(Timer::Stall);
        } else {
            let policy = &self.shared.config.policy;
            self.shared.timers.set(Timer::Stall, self.now + policy.silence.timeout + policy.stall_timeout);
        }
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
