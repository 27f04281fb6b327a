//! Makes a failing world smaller: fewer calls, fewer faults, fewer acts, until nothing can be left out.

use super::plan::Plan;
use super::{Invariant, Report, run};
use crate::fates::FaultId;

/// Worlds that are tried at most; each takes milliseconds.
const TRIALS_MAX: u32 = 2_000;

/// A world in which an invariant does not hold, and nothing that is not needed for that.
#[derive(Clone, Debug)]
pub struct Reproduction {
    /// What is to happen.
    pub plan: Plan,
    /// What came of it.
    pub report: Report,
    /// How many worlds were tried.
    pub trials: u32,
}

/// Shrinks a world that fails; `None` for one that does not.
pub fn shrink(plan: Plan) -> Option<Reproduction> {
    let report = run(plan.clone());
    let invariant = report.violations.first()?.invariant;
    let mut shrinker = Shrinker { invariant, plan, report, trials: 1 };
    loop {
        let before = shrinker.size();
        shrinker.shrink_once();
        if shrinker.size() == before || shrinker.trials >= TRIALS_MAX {
            return Some(Reproduction { plan: shrinker.plan, report: shrinker.report, trials: shrinker.trials });
        }
    }
}

struct Shrinker {
    /// The one that must go on failing: the way there may pass other bugs.
    invariant: Invariant,
    plan: Plan,
    report: Report,
    trials: u32,
}

impl Shrinker {
    fn shrink_once(&mut self) {
        self.leave_out(|plan| plan.calls.len(), |plan, from, to| drop(plan.calls.drain(from..to)));
        self.leave_out_faults();
        for call in 0..self.plan.calls.len() {
            self.leave_out(
                |plan| plan.calls[call].acts.len(),
                |plan, from, to| drop(plan.calls[call].acts.drain(from..to)),
            );
            self.attempt(|plan| plan.calls[call].operator = None);
            self.attempt(|plan| plan.calls[call].greets = false);
            self.attempt(|plan| plan.calls[call].policy.screening = None);
        }
        self.attempt(|plan| plan.is_hasty = true);
        self.attempt(|plan| plan.records = false);
    }

    /// Leaves out ranges of a list: halves first, then quarters, down to single items.
    fn leave_out(&mut self, length: impl Fn(&Plan) -> usize, remove: impl Fn(&mut Plan, usize, usize)) {
        let mut size = length(&self.plan);
        while size > 0 {
            let mut from = 0;
            while from < length(&self.plan) {
                let to = (from + size).min(length(&self.plan));
                if !self.attempt(|plan| remove(plan, from, to)) {
                    from = to;
                }
            }
            size /= 2;
        }
    }

    /// The same for faults, which are those that struck in the last failing world.
    fn leave_out_faults(&mut self) {
        let mut size = self.report.faults.len();
        while size > 0 {
            let mut from = 0;
            while from < self.report.faults.len() {
                let to = (from + size).min(self.report.faults.len());
                let off: Vec<FaultId> = self.report.faults[from..to].to_vec();
                if !self.attempt(|plan| plan.off.extend(off.iter().copied())) {
                    from = to;
                }
            }
            size /= 2;
        }
    }

    /// Keeps a change if the world still fails.
    fn attempt(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        if self.trials >= TRIALS_MAX {
            return false;
        }
        let mut plan = self.plan.clone();
        change(&mut plan);
        self.trials += 1;
        let report = run(plan.clone());
        let fails = report.violations.iter().any(|violation| violation.invariant == self.invariant);
        if fails {
            (self.plan, self.report) = (plan, report);
        }
        fails
    }

    fn size(&self) -> (usize, usize, usize, bool, bool) {
        let acts = self.plan.calls.iter().map(|call| call.acts.len()).sum();
        (self.plan.calls.len(), acts, self.report.faults.len(), self.plan.is_hasty, self.plan.records)
    }
}
