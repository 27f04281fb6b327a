//! How fast a store commits and reads here: `cargo run --release -p offhook-sqlite --example throughput [FOLDER]`.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use offhook::ids::TenantId;
use offhook::provider::Store;
use offhook::provider::store::{
    Add, Batch, CounterKey, Expect, IndexType, KindSchema, LogKey, Put, Query, RecordKey, Schema,
};
use offhook::time::Timestamp;
use offhook_sqlite::SqliteStore;
use offhook_testkit::behaviour::on_threads;
use rusqlite::Connection;
use serde_json::json;

const RUN: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args().nth(1).map_or_else(env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(folder)?;
    let indexed = KindSchema { name: "call", indexes: vec![("at", IndexType::Integer), ("status", IndexType::Text)] };
    let plain = KindSchema { name: "plain", indexes: Vec::new() };
    let schema = Schema { kinds: vec![indexed, plain] };
    let store = Arc::new(SqliteStore::open(folder.path().join("throughput.db"), schema)?);

    println!("{:>9.0} inserts/s, one a commit, SQLite called directly", direct(&folder.path().join("direct.db"))?);
    for tasks in [1, 8, 32] {
        println!("{:>9.0} plain inserts/s, one a commit, {tasks} callers", committed(&store, tasks, 1, "plain")?);
    }
    println!("{:>9.0} plain inserts/s, 100 a commit, 1 caller", committed(&store, 1, 100, "plain")? * 100.0);
    for tasks in [1, 32] {
        println!("{:>9.0} indexed inserts/s, one a commit, {tasks} callers", committed(&store, tasks, 1, "call")?);
    }
    println!("{:>9.0} settlements/s (record, counter, log), 32 callers", committed(&store, 32, 0, "call")?);
    println!("{:>9.0} gets/s, 1 caller", read(&store, false)?);
    println!("{:>9.0} pages of 20 by time/s, 1 caller", read(&store, true)?);
    Ok(())
}

/// Commits per second of `size` records each; of a record, a counter and a log entry when `size` is zero.
fn committed(store: &Arc<SqliteStore>, tasks: usize, size: u64, kind: &'static str) -> offhook::Result<f64> {
    let run = format!("{kind}-{tasks}-{size}");
    let start = Instant::now();
    let counts = on_threads(tasks, |task| {
        let (store, prefix) = (Arc::clone(store), format!("{run}-{task}"));
        async move {
            let mut commits = 0;
            while start.elapsed() < RUN {
                store.commit(batch(&prefix, commits, size, kind)).await?;
                commits += 1;
            }
            Ok(commits)
        }
    });
    let counts = block_on(counts).map_err(|failed| {
        let message = failed.message().unwrap_or_default().to_owned();
        offhook::Error::new(offhook::ErrorKind::Unexpected, "throughput", message)
    })?;
    Ok(counts.iter().sum::<u64>() as f64 / start.elapsed().as_secs_f64())
}

/// The same settings and table without the store: what this disk and this SQLite give.
fn direct(path: &Path) -> rusqlite::Result<f64> {
    let connection = Connection::open(path)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         CREATE TABLE records (tenant TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (tenant, id)) STRICT;",
    )?;
    let (tenant, start) = (tenant().to_string(), Instant::now());
    let mut commits = 0_u64;
    while start.elapsed() < RUN {
        let mut insert = connection.prepare_cached("INSERT INTO records VALUES (?1, ?2, ?3)")?;
        let body = json!({"from": "a", "to": "b", "duration_ms": commits, "note": "x"}).to_string();
        insert.execute((&tenant, format!("direct-{commits:09}"), body))?;
        commits += 1;
    }
    Ok(commits as f64 / start.elapsed().as_secs_f64())
}

fn batch(prefix: &str, commit: u64, size: u64, kind: &str) -> Batch {
    let mut batch = Batch::default();
    for number in 0..size.max(1) {
        let key = RecordKey::new(tenant(), kind, format!("{prefix}-{commit:09}-{number:03}"));
        let put = Put::new(key, Expect::Absent, json!({"from": "a", "to": "b", "duration_ms": commit, "note": "x"}));
        let indexed = kind == "call";
        batch.put(if indexed { put.index("at", commit as i64).index("status", "ended") } else { put });
    }
    if size == 0 {
        let counter = CounterKey::new(tenant(), "balance");
        batch.add(Add::new(counter, -1).floor(i64::MIN));
        batch.append(LogKey::new(tenant(), prefix), commit, vec![commit.to_be_bytes().to_vec().into()]);
    }
    batch
}

fn read(store: &SqliteStore, pages: bool) -> offhook::Result<f64> {
    let start = Instant::now();
    let mut reads = 0_u64;
    while start.elapsed() < RUN {
        if pages {
            let order = offhook::provider::store::Order::IndexDescending("at".into());
            block_on(store.list(Query::new(Some(tenant()), "call").order(order).limit(20)))?;
        } else {
            let id = format!("call-1-1-0-{:09}-000", reads % 1_000);
            block_on(store.get(RecordKey::new(tenant(), "call", id)))?;
        }
        reads += 1;
    }
    Ok(reads as f64 / start.elapsed().as_secs_f64())
}

fn tenant() -> TenantId {
    TenantId::new(Timestamp::default(), [0; 10])
}
