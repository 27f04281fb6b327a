//! Several processes on one file, and what is left when one of them is killed while it writes.
//!
//! The processes are this program again, told what to do by its first argument.

use std::env;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use futures_lite::future::block_on;
use libtest_mimic::{Failed, Trial};
use offhook::provider::Store;
use offhook::provider::store::{
    Add, Batch, CounterKey, Expect, IndexType, KindSchema, LIMIT_MAX, LogKey, Put, Query, RecordKey, Schema,
};
use offhook::time::Timestamp;
use offhook::{Error, ErrorKind};
use offhook_sqlite::SqliteStore;
use offhook_testkit::behaviour;
use offhook_testkit::store::tenant;
use rusqlite::Connection;
use serde_json::json;

const KILLS: usize = 8;
const WRITERS: usize = 4;
/// Commits acknowledged before each kill.
const ACKNOWLEDGED: usize = 40;
const RECORDS_PER_COMMIT: usize = 3;

fn main() -> Result<ExitCode, Failed> {
    let arguments: Vec<String> = env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "write", path, round] => write_until_killed(path, round).map(|()| ExitCode::SUCCESS),
        [_, "claim", path] => claim_all(path).map(|()| ExitCode::SUCCESS),
        [_, "open", path] => open(path).map(|_| ExitCode::SUCCESS).map_err(Failed::from),
        _ => Ok(behaviour::run(vec![
            Trial::test("a_killed_writer_leaves_only_whole_commits", a_killed_writer_leaves_only_whole_commits),
            Trial::test("processes_share_the_work", processes_share_the_work),
            Trial::test("processes_may_make_the_file_at_once", processes_may_make_the_file_at_once),
        ])),
    }
}

fn a_killed_writer_leaves_only_whole_commits() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("killed.db");
    let mut acknowledged = Vec::new();
    for round in 0..KILLS {
        let (mut child, output) = start(&["write", &path.display().to_string(), &round.to_string()])?;
        let mut lines = output.lines();
        for line in lines.by_ref().take(ACKNOWLEDGED) {
            acknowledged.push(line?);
        }
        child.kill()?;
        child.wait()?;
        // What it said before it died counts too, if the line is whole.
        acknowledged.extend(lines.map_while(Result::ok).filter(|line| line.ends_with('.')));
        check_whole(&path, &acknowledged)?;
    }
    assert!(acknowledged.len() >= KILLS * ACKNOWLEDGED);
    Ok(())
}

fn processes_share_the_work() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("shared.db");
    let store = open(&path)?;
    for hundred in 0..3 {
        let mut batch = Batch::default();
        for number in 0..100 {
            let key = RecordKey::new(tenant(1), "job", hundred * 100 + number);
            batch.put(Put::new(key, Expect::Absent, json!({})).due_at(Timestamp::from_unix_micros(1)));
        }
        block_on(store.commit(batch))?;
    }
    let workers: Result<Vec<_>, Failed> = (0..3).map(|_| start(&["claim", &path.display().to_string()])).collect();
    let mut claimed = Vec::new();
    for (mut child, output) in workers? {
        for line in output.lines() {
            claimed.push(line?.parse::<usize>()?);
        }
        assert!(child.wait()?.success());
    }
    claimed.sort_unstable();
    assert_eq!(claimed, (0..300).collect::<Vec<_>>());
    assert_eq!(count(&store, "done")?, 300);
    assert_eq!(count(&store, "bounded")?, 100);
    Ok(())
}

fn processes_may_make_the_file_at_once() -> Result<(), Failed> {
    for _ in 0..5 {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("new.db").display().to_string();
        let children: Result<Vec<_>, Failed> = (0..4).map(|_| start(&["open", &path])).collect();
        for (mut child, _) in children? {
            assert!(child.wait()?.success());
        }
    }
    Ok(())
}

/// Commits from several threads for ever, and says so after each acknowledgement.
fn write_until_killed(path: &str, round: &str) -> Result<(), Failed> {
    let store = Arc::new(open(path)?);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, prefix) = (Arc::clone(&store), format!("{round}-{writer}"));
            thread::spawn(move || write(&store, &prefix))
        })
        .collect();
    for writer in writers {
        writer.join().map_err(|_| "a writer panicked")??;
    }
    Ok(())
}

fn write(store: &SqliteStore, prefix: &str) -> Result<(), Error> {
    for number in 0.. {
        let mut batch = Batch::default();
        for part in 0..RECORDS_PER_COMMIT {
            let key = RecordKey::new(tenant(1), "job", format!("{prefix}-{number}.{part}"));
            batch.put(Put::new(key, Expect::Absent, json!({"text": "x".repeat(500)})));
        }
        batch.add(one("commits"));
        batch.append(LogKey::new(tenant(1), prefix), number, vec![Bytes::from(number.to_string())]);
        block_on(store.commit(batch))?;
        // Whoever reads this has gone when writing fails.
        let _ = writeln!(io::stdout(), "{prefix}-{number}.");
    }
    Ok(())
}

/// Claims until nothing is left, says what it got, and counts it.
fn claim_all(path: &str) -> Result<(), Failed> {
    let store = open(path)?;
    loop {
        let lease = std::time::Duration::from_secs(60);
        let claimed = block_on(store.claim("job".into(), Timestamp::from_unix_micros(1), lease, 7))?;
        if claimed.is_empty() {
            return Ok(());
        }
        for record in claimed {
            writeln!(io::stdout(), "{}", record.key.id)?;
            let mut batch = Batch::default();
            batch.add(one("done"));
            block_on(store.commit(batch))?;
            let mut batch = Batch::default();
            batch.add(Add { ceiling: Some(100), ..one("bounded") });
            match block_on(store.commit(batch)) {
                Err(error) if error.kind() != ErrorKind::RateLimited => return Err(error.into()),
                _ => {}
            }
        }
    }
}

/// Every acknowledged commit is there, and every commit that is there is whole.
fn check_whole(path: &Path, acknowledged: &[String]) -> Result<(), Failed> {
    let store = open(path)?;
    let mut ids = Vec::new();
    let mut query = Query::new(Some(tenant(1)), "job").limit(LIMIT_MAX);
    loop {
        let page = block_on(store.list(query.clone()))?;
        ids.extend(page.records.into_iter().map(|record| record.key.id));
        let Some(next) = page.next else { break };
        query = query.after(next);
    }
    for commit in acknowledged {
        assert!(ids.iter().any(|id| id.starts_with(commit.as_str())), "{commit} was acknowledged and is gone");
    }
    let commits = usize::try_from(count(&store, "commits")?)?;
    assert_eq!(ids.len(), commits * RECORDS_PER_COMMIT);
    drop(store);

    let connection = Connection::open(path)?;
    let entries: i64 = connection.query_row("SELECT count(*) FROM log_entries", [], |row| row.get(0))?;
    assert_eq!(usize::try_from(entries)?, commits);
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    assert_eq!(verdict, "ok");
    Ok(())
}

fn start(arguments: &[&str]) -> Result<(Child, BufReader<ChildStdout>), Failed> {
    let mut child = Command::new(env::current_exe()?).args(arguments).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or("no output")?;
    Ok((child, BufReader::new(output)))
}

fn open(path: impl AsRef<Path>) -> Result<SqliteStore, Error> {
    let indexes = vec![("status", IndexType::Text)];
    SqliteStore::open(path, Schema { kinds: vec![KindSchema { name: "job", indexes }] })
}

fn one(counter: &str) -> Add {
    Add::new(CounterKey::new(tenant(1), counter), 1)
}

fn count(store: &SqliteStore, counter: &str) -> Result<i64, Error> {
    let mut batch = Batch::default();
    batch.add(Add { delta: 0, ..one(counter) });
    Ok(block_on(store.commit(batch))?.counters[&CounterKey::new(tenant(1), counter)])
}
