//! A ledger in SQLite, under any operations and under many at once.

use std::sync::Arc;

use futures_lite::future::block_on;
use offhook::service;
use offhook_sqlite::SqliteStore;
use offhook_testkit::ledger;

#[test]
fn random_histories_are_as_the_model_says() {
    let store = Arc::new(SqliteStore::open_in_memory(service::schema()).unwrap());
    for seed in 100..103 {
        let tally = block_on(ledger::run(store.clone(), seed, 700)).unwrap();
        assert!(tally.entries > 200 && tally.repeated > 10 && tally.refused > 10, "{tally:?}");
    }
}

#[test]
fn many_at_once_never_pass_the_floor() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("ledger.db"), service::schema()).unwrap();
    block_on(ledger::race(Arc::new(store), 7, 32, 4)).unwrap();
}
