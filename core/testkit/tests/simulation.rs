//! Simulated worlds keep every invariant, are the same every time, and fail when an invariant is broken on purpose.

use std::collections::BTreeSet;

use offhook_testkit::fates::Family;
use offhook_testkit::sim::{self, Mutation, Simulation, Tally};

const SEED: u64 = 1;

fn simulation(calls: u64, families: &[Family]) -> Simulation {
    Simulation { calls, families: families.iter().copied().collect(), mutation: None, seed: SEED }
}

fn run(simulation: &Simulation) -> Tally {
    let mut tally = Tally::default();
    for world in 0..simulation.worlds() {
        let report = sim::run(simulation.plan(world));
        let violations: Vec<_> = report.violations.iter().map(ToString::to_string).collect();
        assert!(violations.is_empty(), "world {world}: {violations:#?}\n{:#?}", report.faults);
        tally.add(world, &report);
    }
    tally
}

#[test]
fn without_faults_every_call_is_held_as_it_should_be() {
    let tally = run(&simulation(500, &[]));
    assert_eq!(tally.calls(), 500);
}
