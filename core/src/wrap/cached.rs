//! A store that remembers what it has read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;
use crate::ids::TenantId;
use crate::provider::ProviderInfo;
use crate::provider::store::{Batch, Committed, LogKey, Order, Page, Position, Query, Record, RecordKey, Store};
use crate::time::Timestamp;

/// Answers of each sort that are remembered at least, if they were asked for that often; twice as many at most.
const ANSWERS_MAX: usize = 2_000;

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

/// Answers with the versions that they are of. Those that nobody asks for are forgotten.
struct Memory<K, V> {
    generations: Mutex<Generations<K, V>>,
}

struct Generations<K, V> {
    new: BTreeMap<K, (u64, V)>,
    old: BTreeMap<K, (u64, V)>,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self { generations: Mutex::new(Generations { new: BTreeMap::new(), old: BTreeMap::new() }) }
    }
}

impl<K: Clone + Ord, V: Clone> Memory<K, V> {
    /// The answer of that version, or else what `read` finds, which is remembered if it is `worth` it.
    async fn recall<F: Future<Output = Result<V>>>(
        &self,
        version: Option<u64>,
        key: &K,
        read: impl FnOnce() -> F,
        worth: impl FnOnce(&V) -> bool,
    ) -> Result<V> {
        let Some(version) = version else { return read().await };
        if let Some(known) = self.find(key, version) {
            return Ok(known);
        }
        // The version was asked for first: what is read now may be newer than it says, but never older.
        let found = read().await?;
        if worth(&found) {
            self.keep(key.clone(), version, found.clone());
        }
        Ok(found)
    }

    fn find(&self, key: &K, version: u64) -> Option<V> {
        let mut generations = self.lock();
        if let Some((known, value)) = generations.new.get(key) {
            return (*known == version).then(|| value.clone());
        }
        let (known, value) = generations.old.remove(key)?;
        if known != version {
            return None;
        }
        generations.insert(key.clone(), version, value.clone());
        Some(value)
    }

    fn keep(&self, key: K, version: u64, value: V) {
        self.lock().insert(key, version, value);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations<K, V>> {
        // Nothing that runs under the lock can panic half way.
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord, V> Generations<K, V> {
    fn insert(&mut self, key: K, version: u64, value: V) {
        if self.new.len() >= ANSWERS_MAX {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(key, (version, value));
    }
}
