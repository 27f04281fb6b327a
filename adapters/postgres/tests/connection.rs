//! Connections that are lost at any byte, servers that crash, and others that keep what is needed locked: every answer
//! is right or says that the outcome is unknown, and the store goes on by itself.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use offhook::provider::Store;
use offhook::provider::store::{Add, Batch, CounterKey, IndexType, KindSchema, RecordKey, Schema};
use offhook::{Error, ErrorKind};
use offhook_postgres::{Options, PostgresStore};
use offhook_testkit::postgres::Cluster;
use offhook_testkit::store::tenant;
use offhook_testkit::store::whole::{self, JOB, Writer};
use tokio_postgres::NoTls;

use self::support::on_runtime;
use self::support::proxy::{Proxy, Towards};

/// Between two cuts where each costs the time to give up.
const REFUSED_STRIDE: i64 = 31;
const WRITERS: usize = 6;
const CRASHES: usize = 4;
/// Commits of each writer between two crashes.
const COMMITS: usize = 15;

#[test]
fn a_connection_lost_at_any_byte_towards_the_server_loses_and_doubles_nothing() {
    on_runtime(cut_everywhere(Towards::Server));
}

#[test]
fn a_connection_lost_at_any_byte_towards_the_client_loses_and_doubles_nothing() {
    on_runtime(cut_everywhere(Towards::Client));
}

#[test]
fn an_answer_that_cannot_be_had_says_so_and_no_other_does() {
    on_runtime(async {
        let mut seen = Seen::default();
        for towards in [Towards::Client, Towards::Server] {
            seen.add(&cut_and_refuse(towards).await);
        }
        assert!(seen.refused > 0 && seen.unknown > 0, "{seen:?}");
    });
}

#[test]
fn silence_is_an_answer_too() {
    on_runtime(async {
        let world = World::new("silence").await;
        world.proxy.stall(true);
        world.proxy.refuse_after_cut(true);
        let mut writer = Writer::new("silent");
        writer.commit(&world.store).await.unwrap();
        world.proxy.cut_after(Towards::Server, 0);
        let error = writer.commit(&world.store).await.unwrap_err();
        assert_eq!((error.kind(), is_unknown(&error)), (ErrorKind::TimedOut, false), "{error}");
        world.proxy.stall(false);
        world.proxy.restore();
        writer.commit(&world.store).await.unwrap();
        assert_eq!(whole::check(&world.direct).await.unwrap().len(), 2);
    });
}

#[test]
fn a_server_that_crashes_has_done_what_it_acknowledged_and_nothing_that_it_refused() {
    let cluster = Arc::new(Cluster::start(&["fsync=on", "recovery_init_sync_method=syncfs"]).unwrap());
    let url = cluster.database().unwrap();
    on_runtime(async {
        let options = Options::new(&url).unwrap().connections(WRITERS);
        let store = Arc::new(PostgresStore::connect_with(options, schema()).await.unwrap());
        let ending = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| tokio::spawn(write_through_crashes(store.clone(), number, ending.clone())))
            .collect();
        for _ in 0..CRASHES {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let cluster = cluster.clone();
            tokio::task::spawn_blocking(move || cluster.crash()).await.unwrap().unwrap();
        }
        ending.store(true, Ordering::SeqCst);
        let mut told = Vec::new();
        for writer in writers {
            told.extend(writer.await.unwrap());
        }
        let found = whole::check(store.as_ref()).await.unwrap();
        for (commit, outcome) in &told {
            match outcome {
                Ok(()) => assert!(found.contains(commit), "{commit} was acknowledged and is gone"),
                Err(error) if is_unknown(error) => {}
                Err(error) => assert!(!found.contains(commit), "{commit} is there in spite of: {error}"),
            }
        }
        assert!(told.iter().any(|(_, outcome)| outcome.is_err()), "no commit met a crash");
    });
}

#[test]
fn connections_that_died_in_the_pool_disturb_nobody() {
    on_runtime(async {
        let world = World::new("died").await;
        let mut writer = Writer::new("steady");
        writer.commit(&world.direct).await.unwrap();
        for _ in 0..5 {
            world.terminate_all().await;
            writer.commit(&world.direct).await.unwrap();
            world.terminate_all().await;
            assert!(world.direct.get(RecordKey::new(tenant(1), JOB, "steady.0.0")).await.unwrap().is_some());
        }
    });
}

#[test]
fn a_server_that_is_gone_for_a_while_is_found_again() {
    let cluster = Cluster::start(&["fsync=off"]).unwrap();
    let url = cluster.database().unwrap();
    let store = support::open(&url, schema()).unwrap();
    let mut writer = Writer::new("patient");
    on_runtime(writer.commit(&store)).unwrap();
    cluster.stop().unwrap();
    let error = on_runtime(writer.commit(&store)).unwrap_err();
    assert_eq!((error.kind(), is_unknown(&error)), (ErrorKind::Unavailable, false), "{error}");
    assert_eq!(support::open(&url, schema()).err().unwrap().kind(), ErrorKind::Unavailable);
    cluster.start_again().unwrap();
    on_runtime(writer.commit(&store)).unwrap();
}

#[test]
fn a_lock_that_lasts_fails_what_needs_it_and_nothing_else() {
    on_runtime(async {
        let world = World::new("lock").await;
        let (held, free) = (CounterKey::new(tenant(1), "held"), CounterKey::new(tenant(1), "free"));
        let add = |counter: &CounterKey| {
            let mut batch = Batch::default();
            batch.add(Add::new(counter.clone(), 1));
            batch
        };
        world.store.commit(add(&held)).await.unwrap();
        world.raw.batch_execute("BEGIN; SELECT * FROM offhook.counters FOR UPDATE").await.unwrap();
        let error = world.store.commit(add(&held)).await.unwrap_err();
        assert_eq!((error.kind(), is_unknown(&error)), (ErrorKind::TimedOut, false), "{error}");
        world.store.commit(add(&free)).await.unwrap();
        let mut read = Batch::default();
        read.add(Add::read(held.clone()));
        assert_eq!(world.store.commit(read).await.unwrap().counters[&held], 1);
        world.raw.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(world.store.commit(add(&held)).await.unwrap().counters[&held], 2);
    });
}

#[test]
fn batches_that_meet_in_any_order_do_not_wait_for_each_other_in_a_circle() {
    let store = Arc::new(support::fresh(schema()).unwrap());
    on_runtime(async {
        let rounds = (0..WRITERS).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..COMMITS {
                    let mut batch = Batch::default();
                    for step in 0..WRITERS {
                        // Each writer begins elsewhere, and half of them go backwards.
                        let place = if writer % 2 == 0 { writer + step } else { 2 * WRITERS + writer - step };
                        batch.add(Add::new(CounterKey::new(tenant(1), format!("{}", place % WRITERS)), 1));
                        batch.add(Add::new(CounterKey::new(tenant(1), format!("{round}.{}", place % WRITERS)), 1));
                    }
                    store.commit(batch).await.unwrap();
                }
            })
        });
        for round in rounds.collect::<Vec<_>>() {
            round.await.unwrap();
        }
        let mut read = Batch::default();
        read.add(Add::read(CounterKey::new(tenant(1), "0")));
        let counters = store.commit(read).await.unwrap().counters;
        assert_eq!(counters.into_values().collect::<Vec<_>>(), [(WRITERS * COMMITS) as i64]);
    });
    let waits = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'";
    let cluster = Cluster::shared();
    assert_eq!(cluster.sql(&cluster.url("postgres"), waits).unwrap(), "0");
}

/// A store behind a proxy, and ways around it.
struct World {
    proxy: Proxy,
    store: PostgresStore,
    direct: PostgresStore,
    raw: tokio_postgres::Client,
}

impl World {
    async fn new(application: &str) -> Self {
        let cluster = Cluster::shared();
        let url = cluster.database().unwrap();
        let direct = PostgresStore::connect(&url, schema()).await.unwrap();
        let proxy = Proxy::start(cluster.port()).await.unwrap();
        let behind = url.replace(&format!(":{}/", cluster.port()), &format!(":{}/", proxy.port()));
        let options = Options::new(&format!("{behind}?application_name={application}")).unwrap();
        // Short, because it is also how long an end is asked for.
        let options = options.connections(2).statement_timeout(Duration::from_millis(150));
        let store = PostgresStore::connect_with(options, schema()).await.unwrap();
        let (raw, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        Self { proxy, store, direct, raw }
    }

    async fn terminate_all(&self) {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        self.raw.batch_execute(sql).await.unwrap();
    }

    /// Waits until the server has ended what it did for connections that are lost.
    async fn settle(&self) {
        let sql = "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) \
            WHERE datname = current_database() AND locktype = 'transactionid' AND pid <> pg_backend_pid()";
        while !self.raw.query(sql, &[]).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Each commit is cut one byte later than the one before, until one is over before the cut. All of them succeed: what
/// was not committed is begun again, and what was is found out.
async fn cut_everywhere(towards: Towards) {
    let world = World::new("cut").await;
    let mut writer = Writer::new("cut").terse();
    writer.commit(&world.store).await.unwrap();
    for bytes in 0.. {
        world.proxy.cut_after(towards, bytes);
        let outcome = writer.commit(&world.store).await;
        let is_cut = world.proxy.restore();
        assert!(outcome.is_ok(), "after {bytes} bytes: {outcome:?}");
        // The new connection has its statements yet to prepare.
        writer.commit(&world.store).await.unwrap();
        if !is_cut {
            assert!(bytes > 100, "a commit takes more than {bytes} bytes");
            break;
        }
    }
    assert_eq!(whole::check(&world.direct).await.unwrap().len() as u64, writer.written());
}

#[derive(Debug, Default)]
struct Seen {
    refused: usize,
    unknown: usize,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.refused += other.refused;
        self.unknown += other.unknown;
    }
}

/// As [`cut_everywhere`], but nothing can be asked after the cut.
async fn cut_and_refuse(towards: Towards) -> Seen {
    let world = World::new("refused").await;
    world.proxy.refuse_after_cut(true);
    let mut writer = Writer::new("refused").terse();
    writer.commit(&world.store).await.unwrap();
    let mut seen = Seen::default();
    for bytes in (0..).step_by(REFUSED_STRIDE as usize) {
        world.proxy.cut_after(towards, bytes);
        let outcome = writer.commit(&world.store).await;
        let is_cut = world.proxy.restore();
        world.settle().await;
        let found = whole::check(&world.direct).await.unwrap().len() as u64;
        match &outcome {
            Ok(_) => assert_eq!(found, writer.written()),
            Err(error) if is_unknown(error) => {
                seen.unknown += 1;
                (writer.written()..found).for_each(|_| writer.note_written());
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                assert_eq!(found, writer.written(), "after {bytes} bytes, in spite of: {error}");
                seen.refused += 1;
            }
        }
        writer.commit(&world.store).await.unwrap();
        if !is_cut {
            break;
        }
    }
    assert_eq!(whole::check(&world.direct).await.unwrap().len() as u64, writer.written());
    seen
}

/// Commits until told to end and then some more, each time under another name after an error.
async fn write_through_crashes(
    store: Arc<PostgresStore>,
    number: usize,
    ending: Arc<AtomicBool>,
) -> Vec<(String, Result<(), Error>)> {
    let mut told = Vec::new();
    let mut after = 0;
    for life in 0.. {
        let name = format!("{number}-{life}");
        let mut writer = Writer::new(&name);
        loop {
            let commit = format!("{name}.{}", writer.written());
            let outcome = writer.commit(store.as_ref()).await.map(|_| ());
            let is_over = outcome.is_err();
            told.push((commit, outcome));
            if is_over {
                // The server is being started again.
                tokio::time::sleep(Duration::from_millis(20)).await;
                break;
            }
            after += usize::from(ending.load(Ordering::SeqCst));
            if after > COMMITS {
                return told;
            }
        }
    }
    told
}

fn is_unknown(error: &Error) -> bool {
    error.context().contains(&("outcome", "unknown".to_owned()))
}

fn schema() -> Schema {
    Schema { kinds: vec![KindSchema { name: JOB, indexes: vec![("status", IndexType::Text)] }] }
}
