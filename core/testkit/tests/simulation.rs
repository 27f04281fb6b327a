//! Simulated worlds keep every invariant, are the same every time, and fail when an invariant is broken on purpose.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use offhook_testkit::fates::Family;
use offhook_testkit::sim::{self, Invariant, Mutation, Reproduction, Simulation, Tally};

const SEED: u64 = 1;

fn simulation(calls: u64, families: &[Family]) -> Simulation {
    Simulation { calls, families: families.iter().copied().collect(), mutation: None, seed: SEED }
}

fn run(simulation: &Simulation, worlds: impl IntoIterator<Item = u64>) -> Tally {
    let mut tally = Tally::default();
    for world in worlds {
        let report = sim::run(simulation.plan(world));
        let violations: Vec<_> = report.violations.iter().map(ToString::to_string).collect();
        assert!(violations.is_empty(), "world {world}: {violations:#?}\n{:#?}", report.faults);
        tally.add(world, &report);
    }
    tally
}

#[test]
fn without_faults_every_call_is_held_as_it_should_be() {
    let simulation = simulation(300, &[]);
    let tally = run(&simulation, 0..simulation.worlds());
    assert_eq!(tally.calls(), 300);
    for cause in ["agent_hang_up", "busy", "caller_hang_up", "no_answer", "silence"] {
        assert!(tally.causes().contains_key(cause), "{cause} is missing from {:?}", tally.causes());
    }
}

#[test]
fn with_every_fault_every_invariant_holds() {
    let simulation = simulation(600, &Family::ALL);
    let tally = run(&simulation, 0..simulation.worlds());
    assert_eq!(tally.calls(), 600);
    for cause in ["carrier_failure", "engine_lost", "media_lost", "store_failure"] {
        assert!(tally.causes().contains_key(cause), "{cause} is missing from {:?}", tally.causes());
    }
}

#[test]
fn a_seed_gives_the_same_bytes_in_any_order() {
    let one = simulation(60, &Family::ALL);
    let forwards = run(&one, 0..one.worlds());
    let backwards = run(&one, (0..one.worlds()).rev());
    assert_eq!(forwards.digest(), backwards.digest());
    assert_eq!(forwards.causes(), backwards.causes());
    let other = Simulation { seed: SEED + 1, ..one };
    assert_ne!(forwards.digest(), run(&other, 0..other.worlds()).digest());
}

#[test]
fn a_dropped_settlement_is_found_and_made_small() {
    let found = reproduce(Mutation::DropSettlement, Invariant::Settlement);
    assert!(found.plan.calls[0].acts.len() <= 1, "{:#?}", found.plan.calls);
}

#[test]
fn a_swallowed_cancel_is_found_and_made_small() {
    let found = reproduce(Mutation::SwallowCancel, Invariant::Heard);
    assert!(found.plan.calls[0].acts.len() <= 8, "{:#?}", found.plan.calls);
}

#[test]
fn text_that_was_never_played_is_found_and_made_small() {
    let found = reproduce(Mutation::KeepUnplayed, Invariant::Heard);
    assert!(found.plan.calls[0].acts.len() <= 6, "{:#?}", found.plan.calls);
}

/// The first world that fails, made as small as it gets: one call and a few acts.
fn reproduce(mutation: Mutation, invariant: Invariant) -> Reproduction {
    let simulation = Simulation { mutation: Some(mutation), ..simulation(3_000, &[]) };
    let found = (0..simulation.worlds()).find_map(|world| sim::shrink(simulation.plan(world)));
    let found = found.expect("a world that fails");
    assert!(found.report.violations.iter().any(|violation| violation.invariant == invariant), "{:#?}", found.report);
    assert_eq!(found.plan.calls.len(), 1, "{:#?}", found.plan.calls);
    assert!(!found.report.journals.is_empty());
    found
}
