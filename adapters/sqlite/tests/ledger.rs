//! Random histories of a ledger in SQLite have the same answers as a model of it.

use std::sync::Arc;

use futures_lite::future::block_on;
use offhook::service;
use offhook_sqlite::SqliteStore;
use offhook_testkit::ledger;

const HISTORIES: u64 = 2;
const OPERATIONS: u64 = 1_000;
const TASKS: usize = 16;
const CALLS: u64 = 20;

#[test]
fn random_histories_of_a_ledger_have_the_answers_of_the_model() {
    for seed in 0..HISTORIES {
        let store = Arc::new(SqliteStore::open_in_memory(service::schema()).unwrap());
        let tally = block_on(ledger::run(store, seed, OPERATIONS)).unwrap();
        assert_eq!(tally.operations, OPERATIONS);
    }
}

#[test]
fn a_balance_that_many_calls_race_for_keeps_its_floor() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path().join("race.db"), service::schema()).unwrap());
    block_on(ledger::race(store, 1, TASKS, CALLS)).unwrap();
}
