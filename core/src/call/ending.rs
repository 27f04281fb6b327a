//! The leg's way down: hang-up, last words, settlement.

use super::outbox::Role;
use super::policy::{TransferMode, TransferTarget};
use super::record::{AnsweredBy, EndReason, HangupParty};
use super::transfer::{Origin, Wish};
use super::turn::AfterSpeech;
use super::{Call, CallEventKind, Command, DecisionKind, End, Phase, SETTLE_ATTEMPTS_MAX, SETTLE_BACKOFF, Timer};
use crate::provider::telephony::HangupCause;

/// What a call that ends does not wait for.
const SET_UP: [Role; 10] = [
    Role::Answer,
    Role::Bridge,
    Role::Brief,
    Role::Consult,
    Role::Dial,
    Role::Extend,
    Role::OpenMedia,
    Role::Reserve,
    Role::SendDigits,
    Role::Transfer,
];

impl Call {
    pub(super) fn expired(&mut self, timer: Timer) {
        let (system, timed_out) = (HangupParty::System, HangupCause::RECOVERY_ON_TIMER_EXPIRY);
        match timer {
            Timer::Credits => self.finish(HangupCause::NORMAL_CLEARING, system, EndReason::CreditsExhausted),
            Timer::Duration => self.finish(HangupCause::NORMAL_CLEARING, system, EndReason::MaxDuration),
            Timer::Extend => self.extend(),
            Timer::Goodbye => self.say_goodbye(),
            Timer::Hold => self.resume(),
            Timer::HoldPrompt => self.hold_prompt(),
            Timer::InterDigit => self.keys_paused(),
            Timer::Ring => self.finish(HangupCause::NO_ANSWER, system, EndReason::NoAnswer),
            Timer::Screening => {
                let verdict = self.screener.as_ref().map(|screener| screener.handle_timeout(self.now));
                self.screened(verdict);
            }
            Timer::SetUp if self.phase == Phase::Ending => self.settle_again(),
            Timer::SetUp => self.finish(timed_out, system, EndReason::SetUpTimeout),
            Timer::Stall => self.finish(timed_out, system, EndReason::Stalled),
            Timer::Transfer => self.transfer_failed(HangupCause::NO_ANSWER),
            Timer::Warning => self.warn(),
            Timer::WrapUp => self.settle(),
            timer => self.turn.handle_timeout(self.now, timer, &mut self.shared),
        }
    }

    pub(super) fn leg_ended(&mut self, cause: HangupCause) {
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

    /// Neither leg nor media is in anybody's hands any more: what has been heard counts, and only the settlement is left.
    pub(super) fn engine_lost(&mut self) {
        self.leg_is_gone = true;
        self.media_is_open = false;
        self.finish(HangupCause::TEMPORARY_FAILURE, HangupParty::System, EndReason::EngineLost);
        self.settle();
    }

    /// What the conversation decided, and whether the end has been wrapped up.
    pub(super) fn follow_up(&mut self) {
        match self.turn.take_request() {
            Some(AfterSpeech::End(EndReason::ProviderFailure)) => self.providers_failed(),
            Some(AfterSpeech::End(reason)) => self.finish(HangupCause::NORMAL_CLEARING, party_of(reason), reason),
            Some(AfterSpeech::HangUp) => {
                self.finish(HangupCause::NORMAL_CLEARING, HangupParty::Agent, EndReason::AgentHangUp);
            }
            Some(AfterSpeech::Transfer(wish)) => self.transfer(wish),
            None => {}
        }
        let wraps_up = [Role::CloseMedia, Role::FinishListening, Role::HangUp, Role::Listen, Role::ReportAnswered];
        let is_wrapped_up = !wraps_up.iter().any(|role| self.shared.outbox.is_open(*role));
        if self.phase == Phase::Ending && self.settle_attempts == 0 && is_wrapped_up {
            self.settle();
        }
    }

    /// Nothing can be understood or said any more: a human takes the call, or it ends.
    fn providers_failed(&mut self) {
        let transfer = &self.shared.config.policy.transfer;
        let target = transfer.escalation.as_deref().and_then(|name| transfer.target(name)).cloned();
        match target {
            // A brief needs the synthesiser, which may be what has failed.
            Some(target)
                if self.transferring.is_none()
                    && self.phase == Phase::Connected
                    && self.answered_by != Some(AnsweredBy::Machine) =>
            {
                let target = TransferTarget { mode: TransferMode::Blind, ..target };
                self.transfer(Wish { brief: String::new(), origin: Origin::Escalation, target });
            }
            _ => self.finish(HangupCause::TEMPORARY_FAILURE, HangupParty::System, EndReason::ProviderFailure),
        }
    }

    pub(super) fn finish(&mut self, cause: HangupCause, party: HangupParty, reason: EndReason) {
        if self.end.is_some() {
            return;
        }
        // An end by a timer is dated when it was due: what comes of a late wake-up is not billed.
        let at = self.due.unwrap_or(self.now);
        self.end = Some(End { at, cause, party, reason });
        self.shared.explain(self.now, || DecisionKind::End { reason });
        self.screener = None;
        self.shared.timers.clear_all();
        self.enter(Phase::Ending);
        self.held = false;
        self.abandon_transfer();
        // Whether a cancelled reservation came about is found out, and undone, by the settlement.
        for role in SET_UP {
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

    pub(super) fn settle(&mut self) {
        self.shared.timers.clear_all();
        self.shared.outbox.cancel_all();
        self.turn.conclude(self.now, &mut self.shared);
        self.settle_attempts += 1;
        let record = Box::new(self.record());
        self.shared.outbox.start(Command::Settle(record));
        self.shared.timers.set(Timer::SetUp, self.now + self.shared.config.policy.set_up_timeout);
    }

    /// The settlement failed: once more after a while, or never again.
    pub(super) fn settle_later(&mut self) {
        if self.settle_attempts >= SETTLE_ATTEMPTS_MAX {
            self.ended();
            return;
        }
        let backoff = SETTLE_BACKOFF * 2_u32.saturating_pow(self.settle_attempts - 1);
        self.shared.timers.set(Timer::SetUp, self.now + backoff);
    }

    /// The settlement took too long, or its turn has come again.
    pub(super) fn settle_again(&mut self) {
        if self.shared.outbox.is_open(Role::Settle) {
            self.shared.outbox.cancel_role(Role::Settle);
            self.settle_later();
        } else {
            self.settle();
        }
    }

    pub(super) fn ended(&mut self) {
        self.shared.timers.clear_all();
        self.shared.outbox.cancel_all();
        self.enter(Phase::Ended);
        let record = Box::new(self.record());
        self.shared.outbox.event(self.now, CallEventKind::Ended { record, ledger: self.ledger });
    }
}

fn party_of(reason: EndReason) -> HangupParty {
    match reason {
        EndReason::AgentHangUp | EndReason::MessageLeft => HangupParty::Agent,
        _ => HangupParty::System,
    }
}
