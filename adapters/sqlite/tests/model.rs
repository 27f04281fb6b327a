//! Whatever happens, a SQLite store answers as the reference store does.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_lite::future::block_on;
use offhook::Result;
use offhook::ids::TenantId;
use offhook::memory::MemoryStore;
use offhook::provider::store::{Batch, Committed, LogKey, Page, Query, Record, RecordKey};
use offhook::provider::{ProviderInfo, Store};
use offhook::time::Timestamp;
use offhook::wrap::Cached;
use offhook_sqlite::SqliteStore;
use offhook_testkit::store::{PLAIN, THING, model, schema};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(192))]

    #[test]
    fn random_histories_have_the_same_answers(history in model::histories()) {
        let reference = MemoryStore::new(schema()).unwrap();
        let subject = SqliteStore::open_in_memory(schema()).unwrap();
        block_on(model::assert_same(&reference, &subject, &history));
    }

}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn random_histories_survive_reopening(before in model::histories(), after in model::histories()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.db");
        let reference = MemoryStore::new(schema()).unwrap();
        for history in [before, after] {
            let subject = SqliteStore::open(&path, schema()).unwrap();
            block_on(model::assert_same(&reference, &subject, &history));
        }
    }
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn what_two_stores_on_one_file_remember_is_never_old(history in model::histories()) {
        let folder = tempfile::tempdir().unwrap();
        let reference = MemoryStore::new(schema()).unwrap();
        let subject = Alternating::on(&folder.path().join("model.db"));
        block_on(model::assert_same(&reference, &subject, &history));
    }
}

/// Two stores that remember what they have read, used in turns.
struct Alternating {
    stores: [Cached; 2],
    turn: AtomicUsize,
}

impl Alternating {
    fn on(path: &Path) -> Self {
        let open = || Arc::new(SqliteStore::open(path, schema()).unwrap());
        Self { stores: [(); 2].map(|()| Cached::new(open(), [THING, PLAIN])), turn: AtomicUsize::new(0) }
    }

    fn next(&self) -> &Cached {
        // Two to each in turn, so that a read meets both what its own store has written and what the other has.
        &self.stores[self.turn.fetch_add(1, Ordering::Relaxed) / 2 % 2]
    }
}

#[async_trait]
impl Store for Alternating {
    fn info(&self) -> ProviderInfo {
        self.next().info()
    }

    async fn get(&self, key: RecordKey) -> Result<Option<Record>> {
        self.next().get(key).await
    }

    async fn list(&self, query: Query) -> Result<Page> {
        self.next().list(query).await
    }

    async fn count(&self, query: Query) -> Result<u64> {
        self.next().count(query).await
    }

    fn version(&self, _: Option<TenantId>, _: &str) -> Option<u64> {
        None
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        self.next().commit(batch).await
    }

    async fn claim(&self, kind: String, now: Timestamp, lease: Duration, limit: u32) -> Result<Vec<Record>> {
        self.next().claim(kind, now, lease, limit).await
    }

    async fn append(&self, log: LogKey, seq: u64, entries: Vec<Bytes>) -> Result<()> {
        self.next().append(log, seq, entries).await
    }

    async fn read_log(&self, log: LogKey, seq: u64, limit: u32) -> Result<Vec<Bytes>> {
        self.next().read_log(log, seq, limit).await
    }
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
