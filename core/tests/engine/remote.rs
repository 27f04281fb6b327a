//! A store as if over a network: it takes its time, and is out of reach at times.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use offhook::error::{Error, ErrorKind, Result};
use offhook::ids::TenantId;
use offhook::provider::store::{Batch, Committed, LogKey, Page, Query, Record, RecordKey};
use offhook::provider::{ProviderInfo, Store};
use offhook::runtime::Runtime;
use offhook::time::Timestamp;

pub(crate) struct Remote {
    delay_max_ms: u8,
    is_cut: AtomicBool,
    runtime: Arc<dyn Runtime>,
    store: Arc<dyn Store>,
}

impl Remote {
    /// Takes up to `delay_max_ms` on the way there and back, each.
    pub(crate) fn new(runtime: Arc<dyn Runtime>, store: Arc<dyn Store>, delay_max_ms: u8) -> Self {
        Self { delay_max_ms, is_cut: AtomicBool::new(false), runtime, store }
    }

    /// Puts it out of reach, or back.
    pub(crate) fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::Relaxed);
    }

    async fn travel(&self) {
        if self.delay_max_ms > 0 {
            let mut random = [0; 1];
            self.runtime.fill_random(&mut random);
            let delay = Duration::from_millis(u64::from(random[0] % (self.delay_max_ms + 1)));
            self.runtime.sleep_until(self.runtime.now() + delay).await;
        }
    }

    async fn reach(&self) -> Result<&dyn Store> {
        self.travel().await;
        if self.is_cut.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "store", "out of reach"));
        }
        Ok(&*self.store)
    }
}

#[async_trait]
impl Store for Remote {
    fn info(&self) -> ProviderInfo {
        self.store.info()
    }

    async fn get(&self, key: RecordKey) -> Result<Option<Record>> {
        self.reach().await?.get(key).await
    }

    async fn list(&self, query: Query) -> Result<Page> {
        self.reach().await?.list(query).await
    }

    async fn count(&self, query: Query) -> Result<u64> {
        self.reach().await?.count(query).await
    }

    fn version(&self, _: Option<TenantId>, _: &str) -> Option<u64> {
        None
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        let result = self.reach().await?.commit(batch).await;
        self.travel().await;
        result
    }

    async fn claim(&self, kind: String, now: Timestamp, lease: Duration, limit: u32) -> Result<Vec<Record>> {
        let result = self.reach().await?.claim(kind, now, lease, limit).await;
        self.travel().await;
        result
    }

    async fn append(&self, log: LogKey, seq: u64, entries: Vec<Bytes>) -> Result<()> {
        let result = self.reach().await?.append(log, seq, entries).await;
        self.travel().await;
        result
    }

    async fn read_log(&self, log: LogKey, seq: u64, limit: u32) -> Result<Vec<Bytes>> {
        self.reach().await?.read_log(log, seq, limit).await
    }
}
