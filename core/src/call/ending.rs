//! The leg's way down: hang-up, last words, settlement.

use super::outbox::Role;
use super::record::{EndReason, HangupParty};
use super::screening::Screener;
use super::{Call, CallEventKind, Command, DecisionKind, End, Phase, SETTLE_ATTEMPTS_MAX, SETTLE_BACKOFF, Timer};
use crate::provider::telephony::HangupCause;
use crate::time::Instant;

impl Call {
    pub(super) fn expired(&mut self, deadline: Instant, timer: Timer) {
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
        if let Some(reason) = self.turn.take_end() {
            let (cause, party) = match reason {
                EndReason::AgentHangUp => (HangupCause::NORMAL_CLEARING, HangupParty::Agent),
                EndReason::ProviderFailure => (HangupCause::TEMPORARY_FAILURE, HangupParty::System),
                _ => (HangupCause::NORMAL_CLEARING, HangupParty::System),
            };
            self.finish(cause, party, reason);
        }
        let wraps_up = [Role::CloseMedia, Role::FinishListening, Role::HangUp, Role::Listen, Role::ReportAnswered];
        let is_wrapped_up = !wraps_up.iter().any(|role| self.shared.outbox.is_open(*role));
        if self.phase == Phase::Ending && self.settle_attempts == 0 && is_wrapped_up {
            self.settle();
        }
    }

    pub(super) fn finish(&mut self, cause: HangupCause, party: HangupParty, reason: EndReason) {
        self.finish_at(self.now, cause, party, reason);
    }

    pub(super) fn finish_at(&mut self, at: Instant, cause: HangupCause, party: HangupParty, reason: EndReason) {
        if self.end.is_some() {
            return;
        }
        self.end = Some(End { at, cause, party, reason });
        self.shared.explain(self.now, || DecisionKind::End { reason });
        self.screener = None;
        self.shared.timers.clear_all();
        self.enter(Phase::Ending);
        // Whether a cancelled reservation came about is found out, and undone, by the settlement.
        for role in [Role::Answer, Role::Dial, Role::OpenMedia, Role::Reserve] {
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
