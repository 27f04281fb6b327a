//! The ledger under any operations, and under many at once.

#![allow(clippy::expect_used, reason = "helpers of tests fail tests")]

use std::sync::Arc;

use futures_lite::future::block_on;
use offhook::memory::MemoryStore;
use offhook::service;
use offhook_testkit::ledger;

#[test]
fn random_histories_are_as_the_model_says() {
    for seed in 0..8 {
        let tally = block_on(ledger::run(store(), seed, 1_500)).expect("a history");
        assert_eq!(tally.operations, 1_500);
        assert!(tally.entries > 500 && tally.repeated > 20 && tally.refused > 20 && tally.crossings > 0, "{tally:?}");
    }
}

#[test]
fn many_at_once_never_pass_the_floor() {
    block_on(ledger::race(store(), 7, 16, 60)).expect("a race");
}

fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(service::schema()).expect("a store"))
}
