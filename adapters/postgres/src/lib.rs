//! A [`Store`] in PostgreSQL 13 or newer.
//!
//! Each kind of record is a real table (`call_records`) with its indexes as typed columns and the body as JSON, and has a
//! view for people (`call_view`) that shows moments as RFC 3339. Counters and logs are tables too. All of them live in
//! one schema of the database, `offhook` unless [`Options::namespace`] says otherwise.
//!
//! A commit takes two round trips, whatever its size: it locks and reads what the batch touches, decides by the
//! engine's own arithmetic, then writes and commits. Locks are taken in one order, so that batches never wait for each
//! other in a circle. When a connection is lost in mid-commit, the store asks the server what became of the transaction;
//! only when that cannot be told, the error says so: its context has `outcome: unknown`.
//!
//! A pooler between the store and the server must keep a session for each connection.

mod commit;
mod error;
mod list;
mod log;
mod migrate;
mod options;
mod pool;
mod state;
mod table;
mod tls;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use offhook::ids::TenantId;
use offhook::provider::ProviderInfo;
use offhook::provider::store::catalog::Catalog;
use offhook::provider::store::{Batch, Committed, LIMIT_MAX, LogKey, Page, Query, Record, RecordKey, Schema, Store};
use offhook::time::Timestamp;
use offhook::{Error, ErrorKind, Result};
use tokio::runtime::Handle;

pub use self::options::Options;

use self::commit::Step;
use self::pool::Pool;
use self::table::Tables;

/// A [`Store`] in PostgreSQL.
///
/// It works on the Tokio runtime that it was made on, and may be used from any other executor. A commit that was begun is
/// brought to its end even when nobody waits for it any more.
pub struct PostgresStore {
    catalog: Catalog,
    shared: Arc<Shared>,
    runtime: Handle,
}

/// What the tasks of a store have in common.
struct Shared {
    pool: Pool,
    tables: Tables,
}

impl PostgresStore {
    /// Opens the database at `url` (`postgres://user:password@host/database?sslmode=verify-full`), and adds what
    /// `schema` has and the database has not. Must be called on a Tokio runtime.
    ///
    /// `ConfigInvalid` when the URL cannot work, or the database is too old, another program's, a newer release's, or has
    /// an index of another type; `Unauthenticated` and `PermissionDenied` as the server says; `Unavailable` when it cannot
    /// be reached or another process keeps it locked.
    pub async fn connect(url: &str, schema: Schema) -> Result<Self> {
        Self::connect_with(Options::new(url)?, schema).await
    }

    /// As [`connect`](Self::connect), with more to say about it.
    pub async fn connect_with(options: Options, schema: Schema) -> Result<Self> {
        let runtime = Handle::try_current().map_err(|error| {
            Error::new(ErrorKind::ConfigInvalid, "store.open", "there is no Tokio runtime").with_source(error)
        })?;
        let catalog = Catalog::new(&schema)?;
        let tables = Tables::new(&catalog, &options.namespace)?;
        let pool = Pool::new(options)?;
        migrate::open(&pool, &tables).await?;
        Ok(Self { catalog, shared: Arc::new(Shared { pool, tables }), runtime })
    }

    /// Runs `work` to its end on the runtime that the connections live on.
    async fn run<T, F>(&self, operation: &'static str, work: impl FnOnce(Arc<Shared>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let task = self.runtime.spawn(work(Arc::clone(&self.shared)));
        task.await.map_err(|error| {
            Error::new(ErrorKind::Unexpected, operation, "the store's runtime has stopped").with_source(error)
        })?
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "postgres", detail: self.shared.pool.place().to_owned() }
    }

    async fn get(&self, key: RecordKey) -> Result<Option<Record>> {
        self.catalog.check_key("store.get", &key)?;
        let table = self.shared.tables.get("store.get", &key.kind)?;
        self.run("store.get", async move |shared| table.get(&shared.pool, &key).await).await
    }

    async fn list(&self, query: Query) -> Result<Page> {
        let cursor = self.catalog.check_query("store.list", &query)?;
        let table = self.shared.tables.get("store.list", &query.kind)?;
        self.run("store.list", async move |shared| list::list(&shared.pool, &table, &query, cursor).await).await
    }

    async fn count(&self, query: Query) -> Result<u64> {
        self.catalog.check_query("store.count", &query)?;
        let table = self.shared.tables.get("store.count", &query.kind)?;
        self.run("store.count", async move |shared| list::count(&shared.pool, &table, &query).await).await
    }

    /// Other processes write here too, and to ask the server whether they have is no cheaper than to read.
    fn version(&self, _: Option<TenantId>, _: &str) -> Option<u64> {
        None
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        self.catalog.check_batch("store.commit", &batch)?;
        let steps = Step::all(&self.shared.tables, batch)?;
        self.run("store.commit", async move |shared| commit::commit(&shared, "store.commit", &steps).await).await
    }

    async fn claim(&self, kind: String, now: Timestamp, lease: Duration, limit: u32) -> Result<Vec<Record>> {
        let table = self.shared.tables.get("store.claim", &kind)?;
        let limit = limit.clamp(1, LIMIT_MAX);
        self.run("store.claim", async move |shared| table.claim(&shared.pool, now, now + lease, limit).await).await
    }

    async fn append(&self, log: LogKey, seq: u64, entries: Vec<Bytes>) -> Result<()> {
        self.catalog.check_log("store.append", &log)?;
        let mut batch = Batch::default();
        batch.append(log, seq, entries);
        let steps = Step::all(&self.shared.tables, batch)?;
        let append = async move |shared: Arc<Shared>| commit::commit(&shared, "store.append", &steps).await;
        self.run("store.append", append).await.map(|_| ())
    }

    async fn read_log(&self, log: LogKey, seq: u64, limit: u32) -> Result<Vec<Bytes>> {
        self.catalog.check_log("store.read_log", &log)?;
        let limit = limit.clamp(1, LIMIT_MAX);
        let read = async move |shared: Arc<Shared>| log::read(&shared, &log, seq, limit).await;
        self.run("store.read_log", read).await
    }
}
