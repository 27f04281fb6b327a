//! The invariants of the engine, checked on a world that has come to rest.

mod calls;
mod money;
mod reports;
mod words;

use super::world::World;

/// What must hold of every call, whatever goes wrong.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Invariant {
    /// Everything comes to its end in bounded time.
    BoundedEnd,
    /// Every command is done or cancelled, and nothing is begun after the end.
    Commands,
    /// The transcript and the model's history hold what was heard, and what was said.
    Heard,
    /// A call reaches exactly one terminal state.
    OneEnd,
    /// The journal gives the same outputs again.
    Replay,
    /// Every event is delivered, in order, with the same bytes at every attempt.
    Reports,
    /// A call is settled once, and every millisecond of prepaid time is accounted for.
    Settlement,
}

/// What does not hold.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Violation {
    /// Of which call; `None` for the world as a whole.
    pub call: Option<u32>,
    /// What should.
    pub invariant: Invariant,
    /// In plain words.
    pub problem: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.call {
            Some(call) => write!(f, "{:?}, call {call}: {}", self.invariant, self.problem),
            None => write!(f, "{:?}: {}", self.invariant, self.problem),
        }
    }
}

/// What was found, and what it was found in.
pub(super) struct Findings {
    /// What each call ended with.
    pub(super) ends: Vec<calls::Ending>,
    pub(super) violations: Vec<Violation>,
}

/// Checks everything.
pub(super) fn check(world: &World) -> Findings {
    let mut findings = Findings { ends: Vec::new(), violations: Vec::new() };
    for plan in &world.plan.calls {
        calls::check(world, plan, &mut findings);
    }
    money::check(world, &mut findings);
    reports::check(world, &mut findings);
    findings
}

impl Findings {
    pub(super) fn add(&mut self, invariant: Invariant, call: impl Into<Option<u32>>, problem: impl Into<String>) {
        self.violations.push(Violation { call: call.into(), invariant, problem: problem.into() });
    }
}
