//! A store that remembers what it has read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::memory::Memory;
use crate::error::Result;
use crate::ids::TenantId;
use crate::provider::ProviderInfo;
use crate::provider::store::{Batch, Committed, LogKey, Order, Page, Position, Query, Record, RecordKey, Store};
use crate::time::Timestamp;

/// Records of a page that is remembered, at most.
const PAGE_MAX: usize = 16;

/// A store that remembers what is often asked and seldom written: records and short lists of some kinds, and how many
/// records there are of any. What it remembers is as fresh as what it would read, because it asks the store below for the
/// [version](Store::version) each time; around one that has none, it remembers nothing.
pub struct Cached {
    below: Arc<dyn Store>,
    counts: Memory<Query, u64>,
    kinds: BTreeSet<&'static str>,
    lists: Memory<Query, Page>,
    records: Memory<RecordKey, Option<Record>>,
}

impl Cached {
    /// Remembers records and lists of `kinds`, and counts of all kinds, from `below`.
    pub fn new(below: Arc<dyn Store>, kinds: impl IntoIterator<Item = &'static str>) -> Self {
        let (counts, lists, records) = (Memory::default(), Memory::default(), Memory::default());
        Self { below, counts, kinds: kinds.into_iter().collect(), lists, records }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Cached {
    fn info(&self) -> ProviderInfo {
        self.below.info()
    }

    async fn get(&self, key: RecordKey) -> Result<Option<Record>> {
        let is_kept = self.kinds.contains(key.kind.as_str());
        let version = if is_kept { self.below.version(Some(key.tenant), &key.kind) } else { None };
        self.records.recall(version, &key, || self.below.get(key.clone()), |_| true).await
    }

    async fn list(&self, query: Query) -> Result<Page> {
        let is_kept = self.kinds.contains(query.kind.as_str());
        let version = if is_kept { self.below.version(query.tenant, &query.kind) } else { None };
        let is_short = |page: &Page| page.records.len() <= PAGE_MAX;
        self.lists.recall(version, &query, || self.below.list(query.clone()), is_short).await
    }

    async fn count(&self, query: Query) -> Result<u64> {
        // All pages of a list have one count.
        let query = Query { order: Order::IdDescending, position: Position::Offset(0), limit: 1, ..query };
        let version = self.below.version(query.tenant, &query.kind);
        self.counts.recall(version, &query, || self.below.count(query.clone()), |_| true).await
    }

    fn version(&self, tenant: Option<TenantId>, kind: &str) -> Option<u64> {
        self.below.version(tenant, kind)
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        self.below.commit(batch).await
    }

    async fn claim(&self, kind: String, now: Timestamp, lease: Duration, limit: u32) -> Result<Vec<Record>> {
        self.below.claim(kind, now, lease, limit).await
    }

    async fn append(&self, log: LogKey, seq: u64, entries: Vec<Bytes>) -> Result<()> {
        self.below.append(log, seq, entries).await
    }

    async fn read_log(&self, log: LogKey, seq: u64, limit: u32) -> Result<Vec<Bytes>> {
        self.below.read_log(log, seq, limit).await
    }
}
