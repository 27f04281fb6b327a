//! The invariants of the engine, checked on a world that has come to rest.

mod calls;
mod money;
mod reports;
mod words;

use super::world::World;

/// What does not hold.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Violation {
    /// Of which call; `None` for the world as a whole.
    pub call: Option<u32>,
    /// In plain words.
    pub problem: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.call {
            Some(call) => write!(f, "call {call}: {}", self.problem),
            None => f.write_str(&self.problem),
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
    fn add(&mut self, call: impl Into<Option<u32>>, problem: impl Into<String>) {
        self.violations.push(Violation { call: call.into(), problem: problem.into() });
    }
}
