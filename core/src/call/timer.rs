//! A call's timers: one table, one deadline per reason.

use crate::time::Instant;

/// Why a call wants to be woken.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timer {
    /// The caller has spoken over the agent for long enough.
    BargeIn,
    /// The held credits are used up.
    Credits,
    /// The longest call is over.
    Duration,
    /// The caller's turn is over.
    Endpoint,
    /// More credits have to be held for the talk to go on.
    Extend,
    /// A function keeps the caller waiting in silence.
    Filler,
    /// A function took too long.
    Function,
    /// The held credits are used up soon, and nothing more could be held.
    Goodbye,
    /// The line has been on hold for long enough.
    Hold,
    /// The caller on hold should hear that somebody is still there.
    HoldPrompt,
    /// The caller's row of keys is over.
    InterDigit,
    /// The model took too long.
    Reply,
    /// The speech that silenced the agent brought no words.
    Resume,
    /// Nobody answered.
    Ring,
    /// It did not become clear who answered.
    Screening,
    /// Setting up or settling took too long.
    SetUp,
    /// Nobody has said anything for too long.
    Silence,
    /// Speech was not played.
    Speech,
    /// Nothing at all has happened for too long.
    Stall,
    /// Speech ended and no transcript came.
    Transcript,
    /// Nobody took the call that was to be handed over.
    Transfer,
    /// A limit is near.
    Warning,
    /// Completing transcript and recording took too long.
    WrapUp,
}

const ALL: [Timer; 23] = [
    Timer::BargeIn,
    Timer::Credits,
    Timer::Duration,
    Timer::Endpoint,
    Timer::Extend,
    Timer::Filler,
    Timer::Function,
    Timer::Goodbye,
    Timer::Hold,
    Timer::HoldPrompt,
    Timer::InterDigit,
    Timer::Reply,
    Timer::Resume,
    Timer::Ring,
    Timer::Screening,
    Timer::SetUp,
    Timer::Silence,
    Timer::Speech,
    Timer::Stall,
    Timer::Transcript,
    Timer::Transfer,
    Timer::Warning,
    Timer::WrapUp,
];

/// At most one deadline per reason.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    deadlines: [Option<Instant>; ALL.len()],
}

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, deadline: Instant) {
        self.deadlines[timer as usize] = Some(deadline);
    }

    /// Puts a set timer off, if it is due before `deadline`.
    pub(super) fn put_off(&mut self, timer: Timer, deadline: Instant) {
        let due = &mut self.deadlines[timer as usize];
        *due = due.map(|due| due.max(deadline));
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        self.deadlines[timer as usize] = None;
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.deadlines[timer as usize].is_some()
    }

    pub(super) fn clear_all(&mut self) {
        *self = Self::default();
    }

    /// The earliest deadline; ties go to the first reason in the alphabet.
    pub(super) fn next(&self) -> Option<(Instant, Timer)> {
        ALL.iter().filter_map(|timer| self.deadlines[*timer as usize].map(|deadline| (deadline, *timer))).min()
    }

    /// Takes the earliest timer whose deadline has come.
    pub(super) fn expire(&mut self, now: Instant) -> Option<(Instant, Timer)> {
        let (deadline, timer) = self.next().filter(|(deadline, _)| *deadline <= now)?;
        self.clear(timer);
        Some((deadline, timer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (index, timer) in ALL.iter().enumerate() {
            assert_eq!(*timer as usize, index);
        }
    }

    #[test]
    fn timers_expire_in_order_and_once() {
        let mut timers = Timers::default();
        timers.set(Timer::Silence, Instant::from_micros(20));
        timers.set(Timer::Endpoint, Instant::from_micros(10));
        assert_eq!(timers.expire(Instant::from_micros(9)), None);
        assert_eq!(timers.expire(Instant::from_micros(30)), Some((Instant::from_micros(10), Timer::Endpoint)));
        assert_eq!(timers.expire(Instant::from_micros(30)), Some((Instant::from_micros(20), Timer::Silence)));
        assert_eq!(timers.next(), None);
    }
}
