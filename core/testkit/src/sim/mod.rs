//! Simulated worlds: the real engine among carriers, callers, models, voices, stores and customers that take all their
//! delays and faults from one seed, in virtual time.
//!
//! A world is a handful of calls on one engine and one store. It is a value of its seed: the same seed lets the same
//! things happen, on any machine and in any order among other worlds. After its last call has ended, every invariant of
//! the engine is checked; a world in which one does not hold is made smaller until nothing can be left out of it.

mod check;
mod http;
mod model;
mod paced;
mod person;
mod plan;
mod recogniser;
mod shrink;
mod store;
mod stubborn;
mod synthesiser;
mod voice;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

pub use self::check::{Invariant, Violation};
pub use self::plan::{Act, CALLS_PER_WORLD, CallPlan, Direction, Mutation, Operator, Plan};
pub use self::shrink::{Reproduction, shrink};
use self::world::World;
use crate::fates::{Family, FaultId};
use crate::random::Dice;

/// All worlds of a seed.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// How many calls in all.
    pub calls: u64,
    /// What may go wrong.
    pub families: BTreeSet<Family>,
    /// What is broken on purpose; `None` but for the tests of the checks.
    pub mutation: Option<Mutation>,
    /// Where all randomness comes from.
    pub seed: u64,
}

/// What became of a world.
#[derive(Clone, Debug)]
pub struct Report {
    /// How often calls ended for each reason.
    pub causes: BTreeMap<String, u64>,
    /// SHA-256 of everything that the world put out.
    pub digest: [u8; 32],
    /// The faults that struck.
    pub faults: Vec<FaultId>,
    /// The journals of the calls, by their numbers.
    pub journals: BTreeMap<u32, Vec<Bytes>>,
    /// What did not hold.
    pub violations: Vec<Violation>,
}

impl Simulation {
    /// How many worlds there are.
    pub fn worlds(&self) -> u64 {
        self.calls.div_ceil(u64::from(CALLS_PER_WORLD))
    }

    /// What is to happen in a world, counted from zero.
    pub fn plan(&self, world: u64) -> Plan {
        let before = world * u64::from(CALLS_PER_WORLD);
        let calls = self.calls.saturating_sub(before).min(u64::from(CALLS_PER_WORLD));
        let dice = Dice::new(self.seed).at(world);
        Plan::draw(dice, u32::try_from(calls).unwrap_or(CALLS_PER_WORLD), self.families.clone(), self.mutation)
    }
}

/// Lets a plan happen and checks what came of it.
pub fn run(plan: Plan) -> Report {
    let world = match World::new(plan) {
        Ok(world) => world,
        Err(error) => return Report::failed(format!("the world cannot be made: {error}")),
    };
    let stuck = world.live();
    let mut findings = check::check(&world);
    if let Some(problem) = stuck {
        findings.add(Invariant::BoundedEnd, None, problem);
    }
    findings.violations.sort();
    let mut causes: BTreeMap<String, u64> = BTreeMap::new();
    let mut digest = Sha256::new();
    for end in &findings.ends {
        let reason = end.stored.as_ref().and_then(|stored| stored.record.end_reason);
        let cause = reason.and_then(|reason| serde_json::to_value(reason).ok());
        let cause = cause.as_ref().and_then(|cause| cause.as_str()).unwrap_or("never_began");
        *causes.entry(cause.to_owned()).or_default() += 1;
        end.journal.iter().for_each(|entry| digest.update(entry));
        if let Some(stored) = &end.stored {
            digest.update(serde_json::to_vec(stored).unwrap_or_default());
        }
    }
    for (id, message) in &world.inbox.received().messages {
        digest.update(id);
        digest.update(&message.body);
        digest.update(message.attempts.to_le_bytes());
    }
    let journals = findings.ends.into_iter().map(|end| (end.call, end.journal)).collect();
    Report {
        causes,
        digest: digest.finalize().into(),
        faults: world.fates.struck(),
        journals,
        violations: findings.violations,
    }
}

impl Report {
    fn failed(problem: String) -> Self {
        let violations = vec![Violation { call: None, invariant: Invariant::BoundedEnd, problem }];
        Self { causes: BTreeMap::new(), digest: [0; 32], faults: Vec::new(), journals: BTreeMap::new(), violations }
    }
}

/// Puts the outcomes of all worlds together, in whatever order they come.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    causes: BTreeMap<String, u64>,
    digests: BTreeMap<u64, [u8; 32]>,
    violations: u64,
}

impl Tally {
    /// Adds a world's outcome.
    pub fn add(&mut self, world: u64, report: &Report) {
        for (cause, count) in &report.causes {
            *self.causes.entry(cause.clone()).or_default() += count;
        }
        self.digests.insert(world, report.digest);
        self.violations += report.violations.len() as u64;
    }

    /// How often calls ended for each reason.
    pub fn causes(&self) -> &BTreeMap<String, u64> {
        &self.causes
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.causes.values().sum()
    }

    /// What did not hold, in all worlds.
    pub fn violations(&self) -> u64 {
        self.violations
    }

    /// SHA-256 of all worlds' digests in the order of the worlds, in hexadecimal.
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        self.digests.values().for_each(|world| digest.update(world));
        digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
