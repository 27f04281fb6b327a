//! A circuit breaker: who keeps failing is left alone for a while, and then asked with one attempt whether it is back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Failures in a row that open the breaker.
pub const FAILURES_MAX: u32 = 5;
/// How long it is open first; it doubles each time that the target is asked in vain.
pub const OPEN_MIN: Duration = Duration::from_secs(5);
/// How long it is open at most.
pub const OPEN_MAX: Duration = Duration::from_secs(300);

/// Whether a target is tried.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Breaker {
    /// Failures since the last success.
    failures: u32,
    /// Nothing is tried before.
    open_until: Option<Timestamp>,
}

/// What a breaker lets through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Passage {
    /// Everything.
    Closed,
    /// One attempt.
    HalfOpen,
    /// Nothing before this moment.
    Open(Timestamp),
}

impl Breaker {
    pub(super) fn passage(&self, now: Timestamp) -> Passage {
        match self.open_until {
            Some(until) if until > now => Passage::Open(until),
            _ if self.failures >= FAILURES_MAX => Passage::HalfOpen,
            _ => Passage::Closed,
        }
    }

    /// Whether the last attempt succeeded.
    pub(super) fn is_sound(&self) -> bool {
        self.failures == 0
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Counts a failure; `jitter` is 0 to 255. Attempts that were on their way when it opened do not open it further.
    pub(super) fn failed(&mut self, now: Timestamp, jitter: u8) {
        if matches!(self.passage(now), Passage::Open(_)) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if let Some(rounds) = self.failures.checked_sub(FAILURES_MAX) {
            let open = (OPEN_MIN * 2_u32.pow(rounds.min(16))).min(OPEN_MAX);
            self.rest_until(now + open + open * u32::from(jitter) / (4 * 256));
        }
    }

    /// The target asked to be left alone.
    pub(super) fn rest_until(&mut self, moment: Timestamp) {
        self.open_until = self.open_until.max(Some(moment));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_micros(seconds * 1_000_000)
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_asks_once() {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES_MAX {
            breaker.failed(at(0), 0);
            assert_eq!(breaker.passage(at(0)), Passage::Closed);
        }
        breaker.failed(at(0), 0);
        assert_eq!(breaker.passage(at(4)), Passage::Open(at(5)));
        assert_eq!(breaker.passage(at(5)), Passage::HalfOpen);
        breaker.failed(at(5), 0);
        assert_eq!(breaker.passage(at(14)), Passage::Open(at(15)), "twice as long");
        breaker.succeeded();
        assert_eq!(breaker.passage(at(14)), Passage::Closed);
        assert!(breaker.is_sound());
    }

    #[test]
    fn a_success_in_between_counts_from_zero() {
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            (1..FAILURES_MAX).for_each(|_| breaker.failed(at(0), 0));
            breaker.succeeded();
        }
        assert_eq!(breaker.passage(at(0)), Passage::Closed);
    }

    proptest! {
        #[test]
        fn it_never_rests_longer_than_its_limit(failures in 0..1_000_u32, jitter: u8) {
            let mut breaker = Breaker::default();
            (0..failures).for_each(|_| breaker.failed(at(0), jitter));
            if let Passage::Open(until) = breaker.passage(at(0)) {
                prop_assert!(until <= at(0) + OPEN_MAX + OPEN_MAX / 4);
            }
        }
    }
}
