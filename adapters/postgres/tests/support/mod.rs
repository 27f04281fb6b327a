//! What the tests share.

#![allow(dead_code, clippy::unwrap_used, reason = "not every test uses all of it, and a test fails by panicking")]

pub(crate) mod proxy;

use std::future::Future;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use offhook::Result;
use offhook::provider::store::Schema;
use offhook_postgres::{Options, PostgresStore};
use offhook_testkit::postgres::Cluster;
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());

/// Runs `work` on the runtime that all stores of a test program live on.
pub(crate) fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.block_on(work)
}

/// Opens the database at `url`.
pub(crate) fn open(url: &str, schema: Schema) -> Result<PostgresStore> {
    on_runtime(PostgresStore::connect(url, schema))
}

/// An empty store in a schema of its own.
pub(crate) fn fresh(schema: Schema) -> Result<PostgresStore> {
    static STORES: AtomicUsize = AtomicUsize::new(0);
    let namespace = format!("store_{}", STORES.fetch_add(1, Ordering::Relaxed));
    let options = Options::new(&Cluster::shared().url("postgres"))?.namespace(&namespace)?.connections(4);
    on_runtime(PostgresStore::connect_with(options, schema))
}
