//! The reference [`Store`]: all in memory, gone with the process. Tests, simulations and demos run on it, and every other
//! store is held to what it does.

mod table;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use self::table::Table;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::TenantId;
use crate::provider::ProviderInfo;
use crate::provider::store::catalog::Catalog;
use crate::provider::store::changes::{Changes, Touched};
use crate::provider::store::{
    Add, Append, Batch, Committed, CounterKey, Delete, Expect, LIMIT_MAX, LogKey, Operation, Page, Put, Query, Record,
    RecordKey, Schema, Store,
};
use crate::time::Timestamp;

/// A [`Store`] in memory.
pub struct MemoryStore {
    catalog: Catalog,
    changes: Changes,
    state: Mutex<State>,
}

impl MemoryStore {
    /// An empty store for the kinds of `schema`; `ConfigInvalid` when [`Catalog::new`] refuses it.
    pub fn new(schema: Schema) -> Result<Self> {
        let catalog = Catalog::new(&schema)?;
        let tables = catalog.kinds().map(|(kind, _)| (kind.to_owned(), Table::default())).collect();
        let state = State { tables, counters: BTreeMap::new(), logs: BTreeMap::new() };
        Ok(Self { catalog, changes: Changes::default(), state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "memory", detail: String::new() }
    }

    async fn get(&self, key: RecordKey) -> Result<Option<Record>> {
        self.catalog.check_key("store.get", &key)?;
        Ok(self.state().table(&key.kind).get(key.tenant, &key.id).cloned())
    }

    async fn list(&self, query: Query) -> Result<Page> {
        let cursor = self.catalog.check_query("store.list", &query)?;
        Ok(self.state().table(&query.kind).list(&query, cursor.as_ref()))
    }

    async fn count(&self, query: Query) -> Result<u64> {
        self.catalog.check_query("store.count", &query)?;
        Ok(self.state().table(&query.kind).count(&query))
    }

    fn version(&self, tenant: Option<TenantId>, kind: &str) -> Option<u64> {
        Some(self.changes.version(tenant, kind))
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        self.catalog.check_batch("store.commit", &batch)?;
        let touched = Touched::by(&batch);
        let committed = self.state().commit(batch)?;
        self.changes.note(&touched);
        Ok(committed)
    }

    async fn claim(&self, kind: String, now: Timestamp, lease: Duration, limit: u32) -> Result<Vec<Record>> {
        self.catalog.indexes("store.claim", &kind)?;
        let claimed = self.state().table(&kind).claim(now, now + lease, limit.clamp(1, LIMIT_MAX));
        let mut touched = Touched::default();
        claimed.iter().for_each(|record| touched.record(&record.key));
        self.changes.note(&touched);
        Ok(claimed)
    }

    async fn append(&self, log: LogKey, seq: u64, entries: Vec<Bytes>) -> Result<()> {
        let mut batch = Batch::default();
        batch.append(log, seq, entries);
        self.catalog.check_batch("store.append", &batch)?;
        self.state().commit(batch).map(|_| ())
    }

    async fn read_log(&self, log: LogKey, seq: u64, limit: u32) -> Result<Vec<Bytes>> {
        self.catalog.check_log("store.read_log", &log)?;
        let state = self.state();
        let entries = state.logs.get(&log).map_or(&[][..], Vec::as_slice);
        let first = usize::try_from(seq).unwrap_or(usize::MAX).min(entries.len());
        Ok(entries[first..].iter().take(limit.clamp(1, LIMIT_MAX) as usize).cloned().collect())
    }
}

struct State {
    tables: BTreeMap<String, Table>,
    counters: BTreeMap<CounterKey, i64>,
    logs: BTreeMap<LogKey, Vec<Bytes>>,
}

/// How to take back one operation.
enum Undo {
    Counter(CounterKey, i64),
    Log(LogKey, Vec<Bytes>),
    LogLength(LogKey, usize),
    Record(RecordKey, Option<Record>),
}

impl State {
    /// The table of a kind that the catalog knows.
    fn table(&mut self, kind: &str) -> &mut Table {
        self.tables.entry(kind.to_owned()).or_default()
    }

    fn commit(&mut self, batch: Batch) -> Result<Committed> {
        let mut committed = Committed::default();
        let mut undo = Vec::with_capacity(batch.operations.len());
        for operation in batch.operations {
            if let Err(error) = self.apply(operation, &mut committed, &mut undo) {
                undo.into_iter().rev().for_each(|step| self.take_back(step));
                return Err(error);
            }
        }
        Ok(committed)
    }

    fn apply(&mut self, operation: Operation, committed: &mut Committed, undo: &mut Vec<Undo>) -> Result<()> {
        match operation {
            Operation::Add(add) => return self.add(add, committed, undo),
            Operation::Append(append) => undo.push(self.append(append)?),
            Operation::Delete(delete) => undo.push(self.delete(delete)?),
            Operation::DeleteLog(log) => {
                let entries = self.logs.remove(&log).unwrap_or_default();
                undo.push(Undo::Log(log, entries));
            }
            Operation::Put(put) => undo.push(self.put(put)?),
        }
        Ok(())
    }

    fn take_back(&mut self, step: Undo) {
        match step {
            Undo::Counter(counter, value) => {
                self.counters.insert(counter, value);
            }
            Undo::Log(log, entries) => {
                self.logs.insert(log, entries);
            }
            Undo::LogLength(log, length) => self.logs.entry(log).or_default().truncate(length),
            Undo::Record(_, Some(record)) => self.table(&record.key.kind.clone()).insert(record),
            Undo::Record(key, None) => {
                self.table(&key.kind).remove(key.tenant, &key.id);
            }
        }
    }

    fn add(&mut self, add: Add, committed: &mut Committed, undo: &mut Vec<Undo>) -> Result<()> {
        let before = self.counters.get(&add.counter).copied().unwrap_or(0);
        let after = add.apply(before)?;
        self.counters.insert(add.counter.clone(), after);
        committed.counters.insert(add.counter.clone(), after);
        undo.push(Undo::Counter(add.counter.clone(), before));
        let Some(crossing) = add.crossing.filter(|crossing| crossing.happens(before, after)) else {
            return Ok(());
        };
        committed.crossed.insert(add.counter);
        for put in crossing.then {
            undo.push(self.put(put)?);
        }
        Ok(())
    }

    fn append(&mut self, append: Append) -> Result<Undo> {
        let entries = self.logs.entry(append.log.clone()).or_default();
        let length = entries.len();
        if append.seq != length as u64 {
            return Err(conflict("a log has another length"));
        }
        entries.extend(append.entries);
        Ok(Undo::LogLength(append.log, length))
    }

    fn delete(&mut self, delete: Delete) -> Result<Undo> {
        let table = self.table(&delete.key.kind);
        check(delete.expect, table.get(delete.key.tenant, &delete.key.id), &delete.key)?;
        let before = table.remove(delete.key.tenant, &delete.key.id);
        Ok(Undo::Record(delete.key, before))
    }

    fn put(&mut self, put: Put) -> Result<Undo> {
        let table = self.table(&put.key.kind);
        check(put.expect, table.get(put.key.tenant, &put.key.id), &put.key)?;
        let before = table.remove(put.key.tenant, &put.key.id);
        table.insert(Record {
            key: put.key.clone(),
            revision: before.as_ref().map_or(1, |record| record.revision + 1),
            indexes: put.indexes,
            due_at: put.due_at,
            body: put.body,
        });
        Ok(Undo::Record(put.key, before))
    }
}

fn check(expect: Expect, record: Option<&Record>, key: &RecordKey) -> Result<()> {
    if expect.holds(record.map(|record| record.revision)) {
        return Ok(());
    }
    Err(conflict("a record is not in the expected state").with_context("kind", &key.kind))
}

fn conflict(message: &str) -> Error {
    Error::new(ErrorKind::Conflict, "store.commit", message)
}
