//! A [`Store`] in one SQLite file.
//!
//! Each kind of record is a real table (`call_records`) with its indexes as typed columns and the body as JSON text, and
//! has a view for people (`call_view`) that shows moments as RFC 3339. Counters and logs are tables too.
//!
//! A commit that was acknowledged survives the loss of power: the journal is a write-ahead log that is flushed to the
//! disk at every commit (`synchronous = FULL`). Commits that wait for each other share one flush. Several processes may
//! use one file; a crash of any of them leaves all of a commit or nothing of it.

mod backup;
mod commit;
mod error;
mod list;
mod log;
mod migrate;
mod table;
mod watch;
mod worker;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use offhook::Result;
use offhook::ids::TenantId;
use offhook::provider::ProviderInfo;
use offhook::provider::store::catalog::Catalog;
use offhook::provider::store::changes::Touched;
use offhook::provider::store::{Batch, Committed, LIMIT_MAX, LogKey, Page, Query, Record, RecordKey, Schema, Store};
use offhook::time::Timestamp;
use rusqlite::Connection;

use self::commit::Step;
use self::error::Failure;
use self::migrate::BUSY_TIMEOUT;
use self::table::Tables;
use self::watch::{Pen, Watch};
use self::worker::Workers;

/// Connections that read while the writer writes.
const READERS: usize = 2;

/// A [`Store`] in one SQLite file. Dropping it finishes what is queued, closes the file and stops its threads.
pub struct SqliteStore {
    catalog: Catalog,
    tables: Arc<Tables>,
    watch: Watch,
    workers: Workers,
    detail: String,
}

impl SqliteStore {
    /// Opens the database at `path`, makes it if there is none, and adds what `schema` has and the file has not.
    ///
    /// Blocks for as long as the disk takes, and some seconds while another process holds the file. `ConfigInvalid`
    /// when the path cannot be opened, or the file is no database, another program's, a newer release's, or has an index
    /// of another type; `Unavailable` when it stays locked; `Unexpected` when it is damaged.
    pub fn open(path: impl AsRef<Path>, schema: Schema) -> Result<Self> {
        Self::open_within(path.as_ref(), schema, BUSY_TIMEOUT)
    }

    /// Copies the database at `from`, as it is at one moment, into the new file `to`, also while others write to it.
    ///
    /// Blocks for as long as the disk takes. `NotFound` when there is no database, `Conflict` when there is such a file
    /// already, otherwise as [`SqliteStore::open`].
    pub fn backup(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        backup::run(from.as_ref(), to.as_ref(), BUSY_TIMEOUT)
    }

    /// An empty database that lives as long as the store.
    pub fn open_in_memory(schema: Schema) -> Result<Self> {
        let (catalog, tables) = Self::prepare(&schema)?;
        let connection = migrate::open_in_memory(&tables)?;
        let (watch, pen) = watch(&connection, None)?;
        let workers = Workers::shared(connection, pen)?;
        Ok(Self { catalog, tables, watch, workers, detail: "in memory".to_owned() })
    }

    fn open_within(path: &Path, schema: Schema, busy_timeout: Duration) -> Result<Self> {
        let (catalog, tables) = Self::prepare(&schema)?;
        let writer = migrate::open_writer(path, &tables, busy_timeout)?;
        let readers: Result<Vec<Connection>> = (0..READERS).map(|_| migrate::open_reader(path, busy_timeout)).collect();
        // Who asks whether others have written does not wait for them.
        let others = migrate::open_reader(path, Duration::ZERO)?;
        let (watch, pen) = watch(&writer, Some(others))?;
        let workers = Workers::separate(writer, pen, readers?)?;
        Ok(Self { catalog, tables, watch, workers, detail: path.display().to_string() })
    }

    fn prepare(schema: &Schema) -> Result<(Catalog, Arc<Tables>)> {
        let catalog = Catalog::new(schema)?;
        let tables = Arc::new(Tables::new(&catalog)?);
        Ok((catalog, tables))
    }
}

fn watch(writer: &Connection, others: Option<Connection>) -> Result<(Watch, Pen)> {
    watch::pair(writer, others).map_err(|error| Failure::from(error).into_error("store.open"))
}

#[async_trait]
impl Store for SqliteStore {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "sqlite", detail: self.detail.clone() }
    }

    async fn get(&self, key: RecordKey) -> Result<Option<Record>> {
        self.catalog.check_key("store.get", &key)?;
        let table = self.tables.get("store.get", &key.kind)?;
        self.workers.read("store.get", move |connection| table.get(connection, &key)).await
    }

    async fn list(&self, query: Query) -> Result<Page> {
        let cursor = self.catalog.check_query("store.list", &query)?;
        let table = self.tables.get("store.list", &query.kind)?;
        self.workers.read("store.list", move |connection| list::list(connection, &table, &query, cursor)).await
    }

    async fn count(&self, query: Query) -> Result<u64> {
        self.catalog.check_query("store.count", &query)?;
        let table = self.tables.get("store.count", &query.kind)?;
        self.workers.read("store.count", move |connection| list::count(connection, &table, &query)).await
    }

    fn version(&self, tenant: Option<TenantId>, kind: &str) -> Option<u64> {
        self.watch.version(tenant, kind)
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        self.catalog.check_batch("store.commit", &batch)?;
        let touched = Touched::by(&batch);
        let steps = Step::all(&self.tables, batch)?;
        let commit = move |connection: &Connection| Ok((commit::apply(connection, &steps)?, touched));
        self.workers.write("store.commit", commit).await
    }

    async fn claim(&self, kind: String, now: Timestamp, lease: Duration, limit: u32) -> Result<Vec<Record>> {
        let table = self.tables.get("store.claim", &kind)?;
        let limit = limit.clamp(1, LIMIT_MAX);
        let claim = move |connection: &Connection| {
            let claimed = table.claim(connection, now, now + lease, limit)?;
            let mut touched = Touched::default();
            claimed.iter().for_each(|record| touched.record(&record.key));
            Ok((claimed, touched))
        };
        self.workers.write("store.claim", claim).await
    }

    async fn append(&self, log: LogKey, seq: u64, entries: Vec<Bytes>) -> Result<()> {
        self.catalog.check_log("store.append", &log)?;
        let append = move |connection: &Connection| {
            log::append(connection, "store.append", &log, seq, &entries)?;
            Ok(((), Touched::default()))
        };
        self.workers.write("store.append", append).await
    }

    async fn read_log(&self, log: LogKey, seq: u64, limit: u32) -> Result<Vec<Bytes>> {
        self.catalog.check_log("store.read_log", &log)?;
        let limit = limit.clamp(1, LIMIT_MAX);
        self.workers.read("store.read_log", move |connection| log::read(connection, &log, seq, limit)).await
    }
}
