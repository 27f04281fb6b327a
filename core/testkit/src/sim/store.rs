//! The store: the reference store behind a network that loses, delays and lies.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use offhook::billing::EntryKind;
use offhook::billing::ledger::{ENTRY, Entry};
use offhook::error::{Error, ErrorKind, Result};
use offhook::ids::TenantId;
use offhook::provider::store::{Batch, Committed, LogKey, Operation, Page, Query, Record, RecordKey};
use offhook::provider::{ProviderInfo, Store};
use offhook::runtime::Runtime;
use offhook::time::Timestamp;

use super::paced::pause;
use super::plan::Mutation;
use super::world::{UUID_BYTES, World};
use crate::fates::{Fates, Fault, Wait};

/// How long a slow store takes.
const SLOW_MS: (u64, u64) = (5, 400);

/// How long a store takes that stalls: about as long as an engine waits for it.
const STALL_MS: (u64, u64) = (2_000, 12_000);

const TOPIC: u64 = 2;

pub(super) struct SimulatedStore {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) world: Arc<World>,
}

impl SimulatedStore {
    /// What happens before the store hears of an operation.
    async fn reach(&self, operation: &'static str, call: u32) -> Result<()> {
        let fates = &self.world.fates;
        let mut delay = fates.takes(Wait::Store, call);
        let dice = || fates.dice(call, TOPIC).at(self.runtime.now().as_micros());
        if fates.strikes(Fault::StoreSlow, call) {
            delay += dice().millis(0, SLOW_MS.0, SLOW_MS.1);
        }
        if fates.strikes(Fault::StoreStalls, call) {
            delay += dice().millis(1, STALL_MS.0, STALL_MS.1);
        }
        pause(&*self.runtime, delay).await;
        if fates.strikes(Fault::StoreRefuses, call) {
            return Err(Error::new(ErrorKind::Unavailable, operation, "the store is out of order"));
        }
        Ok(())
    }

    /// What happens after it.
    async fn come_back<T>(&self, operation: &'static str, call: u32, result: Result<T>) -> Result<T> {
        let fates = &self.world.fates;
        if !fates.strikes(Fault::StoreAnswerLost, call) {
            return result;
        }
        let wait = fates.dice(call, TOPIC).at(self.runtime.now().as_micros()).millis(2, SLOW_MS.0, STALL_MS.0);
        pause(&*self.runtime, wait).await;
        Err(Error::new(ErrorKind::TimedOut, operation, "the store's answer was lost"))
    }

    fn whose(&self, key: &RecordKey) -> u32 {
        self.world.whose(key.id.get(..UUID_BYTES).unwrap_or_default())
    }

    fn whose_log(&self, log: &LogKey) -> u32 {
        self.world.whose(log.name.rsplit('/').next().unwrap_or_default())
    }

    fn whose_batch(&self, batch: &Batch) -> u32 {
        let whose = batch.operations.iter().map(|operation| match operation {
            Operation::Append(append) => self.whose_log(&append.log),
            Operation::Delete(delete) => self.whose(&delete.key),
            Operation::DeleteLog(log) => self.whose_log(log),
            Operation::Put(put) => self.whose(&put.key),
            _ => Fates::NOBODY,
        });
        whose.min().unwrap_or(Fates::NOBODY)
    }
}

#[async_trait]
impl Store for SimulatedStore {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "simulated", detail: String::new() }
    }

    async fn get(&self, key: RecordKey) -> Result<Option<Record>> {
        let call = self.whose(&key);
        self.reach("store.get", call).await?;
        self.world.store.get(key).await
    }

    async fn list(&self, query: Query) -> Result<Page> {
        self.reach("store.list", Fates::NOBODY).await?;
        self.world.store.list(query).await
    }

    async fn count(&self, query: Query) -> Result<u64> {
        self.reach("store.count", Fates::NOBODY).await?;
        self.world.store.count(query).await
    }

    fn version(&self, _: Option<TenantId>, _: &str) -> Option<u64> {
        None
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        let call = self.whose_batch(&batch);
        self.reach("store.commit", call).await?;
        if self.world.plan.mutation == Some(Mutation::DropSettlement) && is_settlement(&batch) {
            return Ok(Committed::default());
        }
        let result = self.world.store.commit(batch).await;
        self.come_back("store.commit", call, result).await
    }

    async fn claim(&self, kind: String, now: Timestamp, lease: Duration, limit: u32) -> Result<Vec<Record>> {
        self.reach("store.claim", Fates::NOBODY).await?;
        let result = self.world.store.claim(kind, now, lease, limit).await;
        self.come_back("store.claim", Fates::NOBODY, result).await
    }

    async fn append(&self, log: LogKey, seq: u64, entries: Vec<Bytes>) -> Result<()> {
        let call = self.whose_log(&log);
        self.reach("store.append", call).await?;
        let result = self.world.store.append(log, seq, entries).await;
        self.come_back("store.append", call, result).await
    }

    async fn read_log(&self, log: LogKey, seq: u64, limit: u32) -> Result<Vec<Bytes>> {
        let call = self.whose_log(&log);
        self.reach("store.read_log", call).await?;
        self.world.store.read_log(log, seq, limit).await
    }
}

fn is_settlement(batch: &Batch) -> bool {
    batch.operations.iter().any(|operation| match operation {
        Operation::Put(put) if put.key.kind == ENTRY => {
            serde_json::from_value(put.body.clone()).is_ok_and(|entry: Entry| entry.kind == EntryKind::Settle)
        }
        _ => false,
    })
}
