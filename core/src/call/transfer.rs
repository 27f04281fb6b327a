//! A call on its way to a human: referred by the carrier, or briefed and joined by us.

use std::time::Duration;

use super::input::ConsultEvent;
use super::outbox::Role;
use super::policy::{TransferMode, TransferTarget};
use super::record::{EndReason, HangupParty, TransferOutcome, TransferRecord};
use super::timer::Timer;
use super::{Call, CallEventKind, Command, CommandId, DecisionKind};
use crate::provider::telephony::{DtmfDigit, HangupCause};
use crate::time::millis;

/// Transfers that a record lists, and that one call can try.
const TRANSFERS_MAX: usize = 32;

/// Who wants a transfer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    /// Providers keep failing; a transfer that fails ends the call.
    Escalation,
    /// A key of the caller.
    Key,
    /// Whoever holds the call.
    Operator,
    /// The model, by a tool call that wants an answer.
    Tool {
        /// The call's id.
        call_id: String,
    },
}

/// A transfer that is wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Wish {
    /// What the human is told.
    pub(super) brief: String,
    pub(super) origin: Origin,
    pub(super) target: TransferTarget,
}

/// A transfer that is under way.
#[derive(Debug)]
pub(super) struct Transferring {
    began: Duration,
    state: State,
    wish: Wish,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// The carrier was asked to take the leg over.
    Referred,
    /// The human's telephone rings.
    Ringing { consult: CommandId },
    /// The human hears what the call is about, or decides.
    Briefing { consult: CommandId },
    /// Caller and human talk.
    Bridged { consult: CommandId },
}

impl Call {
    /// Hands the call over, unless it is being handed over.
    pub(super) fn transfer(&mut self, wish: Wish) {
        if self.end.is_some() || self.transferring.is_some() || self.transfers.len() >= TRANSFERS_MAX {
            if let Origin::Tool { .. } = wish.origin {
                self.turn.transfer_failed(self.now, &wish.origin, "busy", &mut self.shared);
            }
            return;
        }
        if std::mem::take(&mut self.held) {
            self.shared.outbox.event(self.now, CallEventKind::HoldEnded);
        }
        for timer in [Timer::Hold, Timer::Stall] {
            self.shared.timers.clear(timer);
        }
        self.turn.hold(self.now, &mut self.shared);
        self.shared.timers.set(Timer::Transfer, self.now + self.shared.config.policy.transfer.ring_timeout);
        self.prompt_later();
        let number = wish.target.number.clone();
        let state = match wish.target.mode {
            TransferMode::Blind => {
                self.shared.outbox.start(Command::Transfer { target: number });
                State::Referred
            }
            TransferMode::Warm { .. } => {
                State::Ringing { consult: self.shared.outbox.start(Command::Consult { target: number }) }
            }
        };
        let target = wish.target.name.clone();
        self.transferring = Some(Transferring { began: self.shared.since_start(self.now), state, wish });
        self.shared.outbox.event(self.now, CallEventKind::TransferStarted { target });
    }

    /// Whether caller and human talk to each other.
    pub(super) fn is_bridged(&self) -> bool {
        self.transferring.as_ref().is_some_and(|run| matches!(run.state, State::Bridged { .. }))
    }

    /// A command of the transfer is done.
    pub(super) fn transfer_completed(&mut self, role: Role, id: CommandId) {
        let Some(run) = &mut self.transferring else { return };
        match (role, run.state) {
            (Role::Transfer, State::Referred) => {
                let party = match run.wish.origin {
                    Origin::Operator => HangupParty::Operator,
                    _ => HangupParty::Agent,
                };
                self.leg_is_gone = true;
                self.note_transfer(TransferOutcome::Completed);
                self.finish(HangupCause::NORMAL_CLEARING, party, EndReason::Transferred);
            }
            (Role::Brief, State::Briefing { .. })
                if matches!(run.wish.target.mode, TransferMode::Warm { accept: None }) =>
            {
                self.bridge();
            }
            (Role::Consult, State::Ringing { consult } | State::Briefing { consult } | State::Bridged { consult })
                if consult == id =>
            {
                self.consult_ended(HangupCause::NORMAL_CLEARING);
            }
            _ => {}
        }
    }

    /// The human's leg got on.
    pub(super) fn consulted(&mut self, id: CommandId, event: &ConsultEvent) {
        let Some(run) = &mut self.transferring else { return };
        match (event, run.state) {
            (ConsultEvent::Answered, State::Ringing { consult }) if consult == id => {
                run.state = State::Briefing { consult };
                let text = run.wish.brief.clone();
                self.shared.timers.set(Timer::Transfer, self.now + self.shared.config.policy.transfer.accept_timeout);
                self.shared.outbox.start(Command::Brief { text });
            }
            (ConsultEvent::Dtmf(key), State::Briefing { consult }) if consult == id => self.accept(*key),
            (ConsultEvent::Ended { cause } | ConsultEvent::Failed { cause }, _) => self.consult_ended(*cause),
            _ => {}
        }
    }

    /// The human, or a carrier that was to take the leg over, did not take the call.
    pub(super) fn transfer_failed(&mut self, cause: HangupCause) {
        let Some(run) = self.transferring.take() else { return };
        self.transfers.push(run.record(TransferOutcome::Failed { cause }));
        let target = run.wish.target.name.clone();
        self.shared.outbox.event(self.now, CallEventKind::TransferFailed { target, cause });
        self.shared.explain(self.now, || DecisionKind::TransferFailed { cause });
        for timer in [Timer::HoldPrompt, Timer::Transfer] {
            self.shared.timers.clear(timer);
        }
        for role in [Role::Bridge, Role::Brief, Role::Consult, Role::Transfer] {
            self.shared.outbox.cancel_role(role);
        }
        if self.end.is_some() {
            return;
        }
        if run.wish.origin == Origin::Escalation {
            self.finish(HangupCause::TEMPORARY_FAILURE, HangupParty::System, EndReason::ProviderFailure);
            return;
        }
        self.turn.transfer_failed(self.now, &run.wish.origin, &cause.to_string(), &mut self.shared);
    }

    /// The call ends while it is being handed over.
    pub(super) fn abandon_transfer(&mut self) {
        let outcome = if self.is_bridged() { TransferOutcome::Completed } else { TransferOutcome::Abandoned };
        self.note_transfer(outcome);
    }

    /// Arms the next prompt of a line on hold.
    pub(super) fn prompt_later(&mut self) {
        let hold = &self.shared.config.policy.hold;
        if hold.prompt.is_some() && !self.is_bridged() {
            self.shared.timers.set(Timer::HoldPrompt, self.now + hold.prompt_interval);
        }
    }

    fn accept(&mut self, key: DtmfDigit) {
        let Some(run) = &self.transferring else { return };
        if run.wish.target.mode == (TransferMode::Warm { accept: Some(key) }) {
            self.shared.outbox.cancel_role(Role::Brief);
            self.bridge();
        }
    }

    fn bridge(&mut self) {
        let Some(run) = &mut self.transferring else { return };
        let State::Briefing { consult } = run.state else { return };
        run.state = State::Bridged { consult };
        let target = run.wish.target.name.clone();
        for timer in [Timer::HoldPrompt, Timer::Transfer] {
            self.shared.timers.clear(timer);
        }
        self.turn.silence_agent(self.now, &mut self.shared);
        self.turn.stop_listening(&mut self.shared);
        self.shared.outbox.start(Command::Bridge);
        self.shared.outbox.event(self.now, CallEventKind::Bridged { target });
    }

    fn consult_ended(&mut self, cause: HangupCause) {
        if self.is_bridged() {
            self.shared.outbox.cancel_role(Role::Consult);
            self.finish(HangupCause::NORMAL_CLEARING, HangupParty::Target, EndReason::Transferred);
        } else {
            self.transfer_failed(cause);
        }
    }

    fn note_transfer(&mut self, outcome: TransferOutcome) {
        if let Some(run) = self.transferring.take() {
            self.transfers.push(run.record(outcome));
        }
    }
}

impl Transferring {
    fn record(&self, outcome: TransferOutcome) -> TransferRecord {
        TransferRecord {
            at_ms: millis(self.began),
            mode: self.wish.target.mode,
            outcome,
            target: self.wish.target.name.clone(),
        }
    }
}
