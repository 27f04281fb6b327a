//! A small model of when a call is answered, when it must end and what it may bill: a second opinion on the call machine.
//!
//! It knows nothing of turns, screens or transfers under way; what the machine decides by itself it only holds to bounds.

use std::time::Duration;

use offhook::call::record::{EndReason, HangupParty};
use offhook::call::{CallConfig, CallRecord, Command, Control, Input, Outcome, Progress};
use offhook::error::ErrorKind;
use offhook::provider::telephony::DialEvent;
use offhook::time::{Instant, millis};

/// Follows one call by its inputs alone.
#[derive(Debug)]
pub struct Reference {
    answered_at: Option<Instant>,
    duration_max: Duration,
    granted: Option<Duration>,
    is_over: bool,
    must_end: Option<MustEnd>,
    started_at: Instant,
}

/// An end that nobody may put off.
#[derive(Clone, Copy, Debug)]
struct MustEnd {
    at: Instant,
    party: Option<HangupParty>,
    reason: Option<EndReason>,
}

impl Reference {
    /// The model of a call that starts now.
    pub fn new(now: Instant, config: &CallConfig) -> Self {
        let duration_max = config.policy.duration_max;
        let (answered_at, granted, must_end) = (None, None, None);
        Self { answered_at, duration_max, granted, is_over: false, must_end, started_at: now }
    }

    /// Takes an input; `command` is the open one that it is for.
    pub fn handle_input(&mut self, now: Instant, input: &Input, command: Option<&Command>) {
        self.handle_timeout(now);
        if self.is_over || self.must_end.is_some() {
            return;
        }
        let before_answer = self.answered_at.is_none();
        let (reason, party) = match (input, command) {
            (Input::Completed(_, _), Some(Command::Answer))
            | (Input::Progress(_, Progress::Dial(DialEvent::Answered)), Some(Command::Dial)) => {
                self.answered_at.get_or_insert(now);
                return;
            }
            (Input::Completed(_, Outcome::Reserved { granted }), Some(Command::Reserve { .. })) => {
                self.granted = Some(*granted);
                return;
            }
            (Input::Completed(_, Outcome::Reserved { granted }), Some(Command::Extend { .. })) => {
                self.granted = self.granted.max(Some(*granted));
                return;
            }
            (Input::Completed(_, _), Some(Command::Transfer { .. })) => (Some(EndReason::Transferred), None),
            (Input::Control(Control::Cancel), _) => (Some(EndReason::Cancelled), Some(HangupParty::Operator)),
            (Input::Control(Control::HangUp), _) => (Some(EndReason::OperatorHangUp), Some(HangupParty::Operator)),
            (Input::Control(Control::Reject { .. }), _) if before_answer => {
                (Some(EndReason::Rejected), Some(HangupParty::Operator))
            }
            (Input::EngineLost | Input::LeaseLost, _) => (Some(EndReason::EngineLost), Some(HangupParty::System)),
            // Somebody asks for a leg that is gone.
            (Input::Failed(_, failure), Some(Command::Answer | Command::OpenMedia))
                if failure.kind == ErrorKind::NotFound =>
            {
                (None, None)
            }
            (Input::LegEnded { .. }, _) => (None, None),
            (Input::MediaLost { .. }, _) => (Some(EndReason::MediaLost), Some(HangupParty::System)),
            _ => return,
        };
        self.must_end = Some(MustEnd { at: now, party, reason });
    }

    /// Lets the limits of the talk fall due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(answered_at) = self.answered_at.filter(|_| !self.is_over && self.must_end.is_none()) else {
            return;
        };
        let (limit, reason) = match self.granted.filter(|granted| *granted <= self.duration_max) {
            Some(granted) => (granted, EndReason::CreditsExhausted),
            None => (self.duration_max, EndReason::MaxDuration),
        };
        if answered_at + limit <= now {
            let party = Some(HangupParty::System);
            self.must_end = Some(MustEnd { at: answered_at + limit, party, reason: Some(reason) });
        }
    }

    /// What does not hold of a call that goes on.
    pub fn check_goes_on(&self) -> Option<String> {
        let must_end = self.must_end.filter(|_| !self.is_over)?;
        Some(format!("the call goes on after {must_end:?}"))
    }

    /// The machine has ended the call: what does not hold of its record?
    pub fn check_end(&mut self, record: &CallRecord) -> Vec<String> {
        if std::mem::replace(&mut self.is_over, true) {
            return vec!["the call has ended twice".to_owned()];
        }
        let mut problems = Vec::new();
        let elapsed_ms = |at: Instant| millis(at.saturating_since(self.started_at));
        let talk_ms = self.answered_at.map_or(0, |at| record.duration_ms.saturating_sub(elapsed_ms(at)));
        if record.talk_time_ms != talk_ms {
            problems.push(format!("{} ms of talk, and it should be {talk_ms}", record.talk_time_ms));
        }
        let limit_ms = millis(self.granted.unwrap_or(self.duration_max).min(self.duration_max));
        if record.talk_time_ms > limit_ms {
            problems.push(format!("{} ms of talk, and {limit_ms} were allowed", record.talk_time_ms));
        }
        // An end by a timer is dated when it was due, which may be before a limit that has passed meanwhile.
        let ended_at = self.started_at + Duration::from_millis(record.duration_ms + 1);
        match self.must_end.filter(|must_end| must_end.at < ended_at || is_asked_for(record.end_reason)) {
            Some(must_end) => problems.extend(must_end.check(record, elapsed_ms(must_end.at))),
            None if is_asked_for(record.end_reason) => {
                problems.push(format!("ended as {:?}, and nobody asked for it", record.end_reason));
            }
            None => {}
        }
        problems
    }
}

impl MustEnd {
    fn check(&self, record: &CallRecord, elapsed_ms: u64) -> Option<String> {
        let fits = record.duration_ms == elapsed_ms
            && self.party.is_none_or(|party| record.hangup_party == Some(party))
            && self.reason.is_none_or(|reason| record.end_reason == Some(reason));
        let is = (record.duration_ms, record.hangup_party, record.end_reason);
        (!fits).then(|| format!("ended as {is:?}, and it should be {:?}", (elapsed_ms, self.party, self.reason)))
    }
}

/// Ends that the machine never decides on by itself.
fn is_asked_for(reason: Option<EndReason>) -> bool {
    matches!(
        reason,
        Some(
            EndReason::CallerHangUp
                | EndReason::Cancelled
                | EndReason::CreditsExhausted
                | EndReason::EngineLost
                | EndReason::MaxDuration
                | EndReason::MediaLost
                | EndReason::OperatorHangUp
        )
    )
}
