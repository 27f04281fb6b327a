//! What a database promises that several processes have open: whole commits, whoever is killed and however full the disk
//! is, and no record, second or balance handed out twice.
//!
//! The `main` of a test program (`harness = false`) is [`run`]. The processes are that program again, told what to do by
//! its arguments.

use std::env;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::block_on;
use libtest_mimic::{Completion, Failed, Trial};
use offhook::provider::Store;
use offhook::provider::store::{Add, Batch, CounterKey, Expect, IndexType, KindSchema, Put, RecordKey, Schema};
use offhook::time::Timestamp;
use offhook::{Error, ErrorKind, Result};
use serde_json::json;

use super::tenant;
use super::whole::{self, JOB, Writer};
use crate::behaviour::{self, Verdict, on_threads};

const KILLS: usize = 8;
const WRITERS: usize = 4;
/// Commits acknowledged before each kill.
const ACKNOWLEDGED: usize = 40;
const JOBS: usize = 300;
/// The clocks of the processes that claim, in seconds.
const CLOCKS: [u64; 3] = [1_000, 1_020, 980];
/// Longer than any two clocks are apart.
const LEASE: Duration = Duration::from_secs(60);
const CEILING: i64 = 100;
const SPENDERS: usize = 2;
const SPENDING_THREADS: usize = 16;
const SPENDINGS: usize = 10;
/// Commits that fill a small disk for sure.
const FILLING_MAX: u64 = 20_000;

/// A database that outlives the store that has it open.
pub trait Database: Sized + Send + Sync + 'static {
    /// A new one with nothing in it.
    fn create() -> Result<Self, Failed>;

    /// A new one on a disk that a few megabytes fill; `None` where there can be none, as for a user who may not mount it.
    fn create_small() -> Result<Option<Self>, Failed>;

    /// Gives a small one some more megabytes.
    fn make_room(&self) -> Verdict;

    /// What another process needs to open it.
    fn address(&self) -> String;

    /// Opens the database at `address`.
    fn open(address: &str, schema: Schema) -> Result<Arc<dyn Store>>;

    /// Waits until nothing of a killed process is under way, and lets the database check itself.
    fn check(&self) -> Verdict;
}

/// Runs the cases on databases of `D`, or what one of its processes is told.
pub fn run<D: Database>() -> Result<ExitCode, Failed> {
    let arguments: Vec<String> = env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "write", address, round] => write_for_ever(open::<D>(address)?, round)?,
        [_, "claim", address, clock] => claim_all(open::<D>(address)?, clock.parse()?)?,
        [_, "spend", address] => spend(open::<D>(address)?)?,
        [_, "open", address] => drop(open::<D>(address)?),
        _ => return Ok(behaviour::run(trials::<D>())),
    }
    Ok(ExitCode::SUCCESS)
}

fn trials<D: Database>() -> Vec<Trial> {
    vec![
        Trial::test("a_killed_writer_leaves_only_whole_commits", a_killed_writer_leaves_only_whole_commits::<D>),
        Trial::test("processes_share_the_work_whatever_their_clocks_say", processes_share_the_work::<D>),
        Trial::test("processes_keep_the_floor_of_a_balance", processes_keep_the_floor::<D>),
        Trial::test("processes_may_make_the_database_at_once", processes_may_make_the_database_at_once::<D>),
        Trial::ignorable_test("a_full_disk_fails_whole_commits_until_there_is_room", a_full_disk::<D>),
    ]
}

fn a_killed_writer_leaves_only_whole_commits<D: Database>() -> Verdict {
    let database = D::create()?;
    let mut acknowledged = Vec::new();
    for round in 0..KILLS {
        let (mut child, output) = start(&["write", &database.address(), &round.to_string()])?;
        let mut lines = output.lines();
        for line in lines.by_ref().take(ACKNOWLEDGED) {
            acknowledged.push(line?);
        }
        child.kill()?;
        child.wait()?;
        // What it said before it died counts too, if the line is whole.
        acknowledged.extend(lines.map_while(io::Result::ok).filter(|line| line.ends_with('.')));
        database.check()?;
        let found = block_on(whole::check(open::<D>(&database.address())?.as_ref()))?;
        for commit in &acknowledged {
            assert!(found.contains(commit.trim_end_matches('.')), "{commit} was acknowledged and is gone");
        }
    }
    assert!(acknowledged.len() >= KILLS * ACKNOWLEDGED);
    Ok(())
}

fn processes_share_the_work<D: Database>() -> Verdict {
    let database = D::create()?;
    let store = open::<D>(&database.address())?;
    let mut batch = Batch::default();
    for number in 0..JOBS {
        let put = Put::new(RecordKey::new(tenant(1), JOB, number), Expect::Absent, json!({}));
        batch.put(put.due_at(at(1)));
    }
    block_on(store.commit(batch))?;
    let workers: Result<Vec<_>, Failed> =
        CLOCKS.iter().map(|clock| start(&["claim", &database.address(), &clock.to_string()])).collect();
    let mut claimed = Vec::new();
    for (mut child, output) in workers? {
        for line in output.lines() {
            claimed.push(line?.parse::<usize>()?);
        }
        assert!(child.wait()?.success());
    }
    claimed.sort_unstable();
    assert_eq!(claimed, (0..JOBS).collect::<Vec<_>>());
    assert_eq!(block_on(value_of(&store, "done"))?, JOBS as i64);
    assert_eq!(block_on(value_of(&store, "bounded"))?, CEILING);
    Ok(())
}

fn processes_keep_the_floor<D: Database>() -> Verdict {
    let database = D::create()?;
    let store = open::<D>(&database.address())?;
    // Enough for a bit more than half of what is asked for.
    let granted = (SPENDERS * SPENDING_THREADS * SPENDINGS * 3 / 2 + 1) as i64;
    block_on(add(&store, Add::new(balance(), granted)))?;
    let spenders: Result<Vec<_>, Failed> = (0..SPENDERS).map(|_| start(&["spend", &database.address()])).collect();
    let mut spent = 0;
    for (mut child, output) in spenders? {
        for line in output.lines() {
            spent += line?.parse::<i64>()?;
        }
        assert!(child.wait()?.success());
    }
    let left = block_on(value_of(&store, "balance"))?;
    assert_eq!((spent * 3 + left, left), (granted, granted % 3), "{spent} were let through");
    Ok(())
}

fn processes_may_make_the_database_at_once<D: Database>() -> Verdict {
    for _ in 0..5 {
        let database = D::create()?;
        let children: Result<Vec<_>, Failed> = (0..4).map(|_| start(&["open", &database.address()])).collect();
        for (mut child, _) in children? {
            assert!(child.wait()?.success());
        }
    }
    Ok(())
}

fn a_full_disk<D: Database>() -> Result<Completion, Failed> {
    let Some(database) = D::create_small()? else {
        return Ok(Completion::ignored_with("only root can mount a small disk"));
    };
    let store = open::<D>(&database.address())?;
    let mut writer = Writer::new("full");
    let refused = loop {
        assert!(writer.written() < FILLING_MAX, "the disk is never full");
        if let Err(error) = block_on(writer.commit(store.as_ref())) {
            break error;
        }
    };
    assert_eq!((refused.kind(), refused.message()), (ErrorKind::Unavailable, "the disk is full"), "{refused}");
    assert_eq!(block_on(whole::check(store.as_ref()))?.len() as u64, writer.written());
    database.make_room()?;
    for _ in 0..ACKNOWLEDGED {
        block_on(writer.commit(store.as_ref()))?;
    }
    assert_eq!(block_on(whole::check(store.as_ref()))?.len() as u64, writer.written());
    drop(store);
    database.check()?;
    assert_eq!(block_on(whole::check(open::<D>(&database.address())?.as_ref()))?.len() as u64, writer.written());
    Ok(Completion::Completed)
}

/// Commits on several threads, and says so after each acknowledgement.
fn write_for_ever(store: Arc<dyn Store>, round: &str) -> Verdict {
    let write = on_threads(WRITERS, |thread| {
        let (store, mut writer) = (Arc::clone(&store), Writer::new(&format!("{round}-{thread}")));
        async move {
            loop {
                let commit = writer.commit(store.as_ref()).await?;
                // Whoever reads this has gone when writing fails.
                let _ = writeln!(io::stdout(), "{commit}.");
            }
            #[expect(unreachable_code, reason = "it says what the loop never gives")]
            Ok(())
        }
    });
    block_on(write).map(|_| ())
}

/// Claims until nothing is left, says what it got, and counts it.
fn claim_all(store: Arc<dyn Store>, clock: u64) -> Verdict {
    loop {
        let claimed = block_on(store.claim(JOB.into(), at(clock), LEASE, 7))?;
        if claimed.is_empty() {
            return Ok(());
        }
        for record in claimed {
            writeln!(io::stdout(), "{}", record.key.id)?;
            block_on(add(&store, Add::new(CounterKey::new(tenant(1), "done"), 1)))?;
            let bounded = Add::new(CounterKey::new(tenant(1), "bounded"), 1).ceiling(CEILING);
            let _refused = let_through(block_on(add(&store, bounded)), ErrorKind::RateLimited)?;
        }
    }
}

/// Spends on many threads, and says how often that was let through.
fn spend(store: Arc<dyn Store>) -> Verdict {
    let spent = on_threads(SPENDING_THREADS, |_| {
        let store = Arc::clone(&store);
        async move {
            let mut spent = 0;
            for _ in 0..SPENDINGS {
                let outcome = add(&store, Add::new(balance(), -3).floor(0)).await;
                assert!(outcome.as_ref().is_ok_and(|left| *left >= 0) || outcome.is_err());
                spent += usize::from(let_through(outcome, ErrorKind::InsufficientFunds)?);
            }
            Ok(spent)
        }
    });
    writeln!(io::stdout(), "{}", block_on(spent)?.into_iter().sum::<usize>())?;
    Ok(())
}

/// Whether it was done; an error of the kind `expected` says that it was not.
fn let_through<T>(outcome: Result<T>, expected: ErrorKind) -> Result<bool> {
    match outcome {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == expected => Ok(false),
        Err(error) => Err(error),
    }
}

fn start(arguments: &[&str]) -> Result<(Child, BufReader<ChildStdout>), Failed> {
    let mut child = Command::new(env::current_exe()?).args(arguments).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or("no output")?;
    Ok((child, BufReader::new(output)))
}

fn open<D: Database>(address: &str) -> Result<Arc<dyn Store>> {
    D::open(address, Schema { kinds: vec![KindSchema { name: JOB, indexes: vec![("status", IndexType::Text)] }] })
}

fn balance() -> CounterKey {
    CounterKey::new(tenant(1), "balance")
}

async fn add(store: &Arc<dyn Store>, add: Add) -> Result<i64, Error> {
    super::add(store.as_ref(), add).await
}

async fn value_of(store: &Arc<dyn Store>, name: &str) -> Result<i64> {
    super::value_of(store.as_ref(), name).await
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::default() + Duration::from_secs(seconds)
}
