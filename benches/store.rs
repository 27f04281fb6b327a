//! Settlements per second: two puts, four moves of counters and an insert in a commit, on each store and on the bare
//! database that does the same writes, alone and with 32 clients at once.
//!
//! `cargo bench -p offhook-benches --bench store`; prints the ratios in the end. It needs PostgreSQL's programs.

#![allow(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

#[path = "store/bare.rs"]
mod bare;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use offhook::ids::TenantId;
use offhook::memory::MemoryStore;
use offhook::provider::Store;
use offhook::provider::store::{Add, Batch, CounterKey, Expect, IndexType, KindSchema, Put, RecordKey, Schema};
use offhook::time::Timestamp;
use offhook_postgres::{Options, PostgresStore};
use offhook_sqlite::SqliteStore;
use offhook_testkit::postgres::Cluster;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use self::bare::{BarePostgres, BareSqlite};

const CLIENTS: [usize; 2] = [1, 32];
const ACCOUNTS: [&str; 4] = ["available", "held", "used", "granted"];

fn main() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(&[]).expect("PostgreSQL starts");
    let url = cluster.database().expect("a database");
    let subjects: [(&str, Arc<dyn Settle>); 6] = [
        ("memory", Arc::new(Of(MemoryStore::new(schema()).expect("a store")))),
        ("SQLite", Arc::new(Of(SqliteStore::open(folder.path().join("store.db"), schema()).expect("a store")))),
        ("SQLite, bare", Arc::new(BareSqlite::open(&folder.path().join("bare.db")).expect("a database"))),
        ("PostgreSQL", Arc::new(Of(runtime.block_on(open_postgres(&url)).expect("a store")))),
        ("PostgreSQL, bare", Arc::new(runtime.block_on(BarePostgres::connect(&url, false)).expect("a database"))),
        (
            "PostgreSQL, bare, pipelined",
            Arc::new(runtime.block_on(BarePostgres::connect(&url, true)).expect("a database")),
        ),
    ];
    let mut criterion =
        Criterion::default().measurement_time(Duration::from_secs(5)).sample_size(10).configure_from_args();
    let mut rates = Rates::default();
    let mut group = criterion.benchmark_group("settlements");
    group.throughput(Throughput::Elements(1));
    for (name, subject) in &subjects {
        for clients in CLIENTS {
            group.bench_function(BenchmarkId::new(*name, clients), |bencher| {
                bencher.iter_custom(|settlements| {
                    let elapsed = settle(&runtime, subject, clients, settlements);
                    rates.add(name, clients, settlements, elapsed);
                    elapsed
                });
            });
        }
    }
    group.finish();
    criterion.final_summary();
    rates.print();
}

/// The time that `clients` take for `settlements` in all.
fn settle(runtime: &Runtime, subject: &Arc<dyn Settle>, clients: usize, settlements: u64) -> Duration {
    let started = Instant::now();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..clients)
            .map(|client| {
                let subject = subject.clone();
                let share = settlements / clients as u64 + u64::from((client as u64) < settlements % clients as u64);
                tokio::spawn(async move {
                    for _ in 0..share {
                        subject.settle(client, &Settlement::new(client)).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("a settlement");
        }
    });
    started.elapsed()
}

/// What is written of a call that is over.
pub(crate) struct Settlement {
    pub(crate) tenant: TenantId,
    /// The row of the call that is already there, and that of a message about it.
    pub(crate) call: String,
    pub(crate) message: String,
    pub(crate) entry: String,
    pub(crate) moves: [i64; 4],
    pub(crate) body: Value,
}

impl Settlement {
    fn new(client: usize) -> Self {
        use std::sync::atomic::{AtomicI64, Ordering};
        static NUMBERS: AtomicI64 = AtomicI64::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        Self {
            tenant: TenantId::new(Timestamp::default(), [client as u8; 10]),
            call: format!("call-{client}"),
            message: format!("message-{number:012}"),
            entry: format!("entry-{number:012}"),
            moves: [60_000, -60_000, 30_000, -30_000],
            body: json!({"from": "+622150001000", "to": "+628123456789", "duration_ms": number, "events": ["ended"]}),
        }
    }
}

/// Something that settles calls.
pub(crate) trait Settle: Send + Sync {
    fn settle<'a>(
        &'a self,
        client: usize,
        settlement: &'a Settlement,
    ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

struct Of<S>(S);

impl<S: Store> Settle for Of<S> {
    fn settle<'a>(
        &'a self,
        _: usize,
        settlement: &'a Settlement,
    ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let Settlement { tenant, call, message, entry, moves, body } = settlement;
            let row = |kind, id, expect| {
                let put = Put::new(RecordKey::new(*tenant, kind, id), expect, body.clone());
                put.index("at", 1_800_000_000_000_000).index("status", "ended")
            };
            let mut batch = Batch::default();
            batch.put(row("call", call, Expect::Any)).put(row("message", message, Expect::Any));
            for (account, delta) in ACCOUNTS.iter().zip(moves) {
                batch.add(Add::new(CounterKey::new(*tenant, *account), *delta).floor(i64::MIN));
            }
            batch.put(row("entry", entry, Expect::Absent));
            self.0.commit(batch).await.expect("a commit");
        })
    }
}

async fn open_postgres(url: &str) -> offhook::Result<PostgresStore> {
    PostgresStore::connect_with(Options::new(url)?.connections(32), schema()).await
}

fn schema() -> Schema {
    let indexes = vec![("at", IndexType::Integer), ("status", IndexType::Text)];
    let kinds = ["call", "entry", "message"];
    Schema { kinds: kinds.map(|name| KindSchema { name, indexes: indexes.clone() }).to_vec() }
}

/// Settlements and the time they took, by subject and clients.
#[derive(Default)]
struct Rates(BTreeMap<(String, usize), (u64, Duration)>);

impl Rates {
    fn add(&mut self, name: &str, clients: usize, settlements: u64, elapsed: Duration) {
        let (total, time) = self.0.entry((name.to_owned(), clients)).or_default();
        *total += settlements;
        *time += elapsed;
    }

    fn per_second(&self, name: &str, clients: usize) -> Option<f64> {
        let (settlements, time) = self.0.get(&(name.to_owned(), clients))?;
        Some(*settlements as f64 / time.as_secs_f64())
    }

    /// Each rate, next to that of the same database without a store.
    fn print(&self) {
        for (name, clients) in self.0.keys() {
            let Some(rate) = self.per_second(name, *clients) else { continue };
            print!("{rate:>9.0} settlements/s with {clients:>2} clients: {name}");
            for floor in [format!("{name}, bare"), format!("{name}, bare, pipelined")] {
                if let Some(bare) = self.per_second(&floor, *clients) {
                    print!(", {:.0} % of {floor}", rate / bare * 100.0);
                }
            }
            println!();
        }
    }
}
