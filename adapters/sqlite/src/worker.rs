//! The threads that own the connections. SQLite blocks, so the engine's tasks only ever wait on a queue.
//!
//! There is one writer, because SQLite has one: commits that queue up meanwhile share a transaction, each in a savepoint of
//! its own, and so share the one flush to the disk that makes them durable.

use std::thread::{self, JoinHandle};

use async_channel::{Receiver, Sender};
use offhook::provider::store::changes::Touched;
use offhook::{Error, ErrorKind, Result};
use rusqlite::{Connection, TransactionBehavior, ffi};

use crate::error::{Failure, map};
use crate::watch::Pen;

/// Most pieces of work that wait in one queue; whoever comes next waits before it.
const QUEUE_MAX: usize = 1_024;
/// Most pieces of work that share a transaction.
const GROUP_MAX: usize = 128;

/// The threads and their queues. Dropping it lets them finish what is queued, and joins them.
pub(crate) struct Workers {
    reads: Sender<Job>,
    writes: Sender<Job>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// One thread for the writer, one for each reader.
    pub(crate) fn separate(writer: Connection, pen: Pen, readers: Vec<Connection>) -> Result<Self> {
        let (reads, read_queue) = async_channel::bounded(QUEUE_MAX);
        let (writes, write_queue) = async_channel::bounded(QUEUE_MAX);
        let mut workers = Self { reads, writes, threads: Vec::new() };
        workers.start("sqlite-write", writer, Some(pen), write_queue)?;
        for reader in readers {
            workers.start("sqlite-read", reader, None, read_queue.clone())?;
        }
        Ok(workers)
    }

    /// One thread for everything, when there can be only one connection.
    pub(crate) fn shared(connection: Connection, pen: Pen) -> Result<Self> {
        let (writes, queue) = async_channel::bounded(QUEUE_MAX);
        let mut workers = Self { reads: writes.clone(), writes, threads: Vec::new() };
        workers.start("sqlite", connection, Some(pen), queue)?;
        Ok(workers)
    }

    /// What `work` finds.
    pub(crate) async fn read<T, W>(&self, operation: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let (reply, answer) = async_channel::bounded(1);
        let job = move |connection: &Connection| {
            // Nobody waits any more when the caller gave up.
            let _ = reply.try_send(work(connection).map_err(|failure| failure.into_error(operation)));
        };
        ask(operation, &self.reads, Job::Read(Box::new(job)), answer).await
    }

    /// What `work` did, once that is durable; nothing was done after an error. It returns what it changed, too.
    pub(crate) async fn write<T, W>(&self, operation: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<(T, Touched), Failure> + Send + 'static,
    {
        let (reply, answer) = async_channel::bounded(1);
        let write = PendingWrite { operation, work: Some(work), outcome: None, touched: Touched::default(), reply };
        ask(operation, &self.writes, Job::Write(Box::new(write)), answer).await
    }

    fn start(&mut self, name: &str, connection: Connection, pen: Option<Pen>, queue: Receiver<Job>) -> Result<()> {
        let serve = move || serve(connection, pen.as_ref(), &queue);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(serve);
        self.threads.push(thread.map_err(|error| {
            Error::new(ErrorKind::Unavailable, "store.open", "a thread cannot be started").with_source(error)
        })?);
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.reads.close();
        self.writes.close();
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to finish.
            let _ = thread.join();
        }
    }
}

async fn ask<T>(operation: &'static str, queue: &Sender<Job>, job: Job, answer: Receiver<Result<T>>) -> Result<T> {
    let stopped = || Error::new(ErrorKind::Unexpected, operation, "the database's thread has stopped");
    queue.send(job).await.map_err(|_| stopped())?;
    answer.recv().await.map_err(|_| stopped())?
}

enum Job {
    Read(Box<dyn FnOnce(&Connection) + Send>),
    Write(Box<dyn Write>),
}

trait Write: Send {
    /// Does the work; whether it is to be kept.
    fn run(&mut self, connection: &Connection) -> bool;

    /// What the work changed.
    fn touched(&self) -> &Touched;

    /// Tells the caller: what the work gave, or that the transaction was lost.
    fn finish(self: Box<Self>, lost: Option<&rusqlite::Error>);
}

struct PendingWrite<T, W> {
    operation: &'static str,
    work: Option<W>,
    outcome: Option<Result<T>>,
    touched: Touched,
    reply: Sender<Result<T>>,
}

impl<T, W> Write for PendingWrite<T, W>
where
    T: Send,
    W: FnOnce(&Connection) -> Result<(T, Touched), Failure> + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        let Some(work) = self.work.take() else { return false };
        let outcome = work(connection).map(|(done, touched)| {
            self.touched = touched;
            done
        });
        self.outcome = Some(outcome.map_err(|failure| failure.into_error(self.operation)));
        matches!(self.outcome, Some(Ok(_)))
    }

    fn touched(&self) -> &Touched {
        &self.touched
    }

    fn finish(self: Box<Self>, lost: Option<&rusqlite::Error>) {
        let outcome = match (self.outcome, lost) {
            // Why the transaction was lost, where this is what lost it; any other error spoke of what never came to be.
            (Some(Err(own)), Some(_)) if own.kind() == ErrorKind::Unavailable => Err(own),
            (_, Some(error)) => Err(map(self.operation, error)),
            (Some(outcome), None) => outcome,
            (None, None) => return,
        };
        // Nobody waits any more when the caller gave up.
        let _ = self.reply.try_send(outcome);
    }
}

/// Only a connection with a pen is given writes.
fn serve(mut connection: Connection, pen: Option<&Pen>, queue: &Receiver<Job>) {
    let mut next = queue.recv_blocking().ok();
    while let Some(job) = next {
        let held = match (job, pen) {
            (Job::Read(work), _) => {
                work(&connection);
                None
            }
            (Job::Write(first), Some(pen)) => write_group(&mut connection, pen, first, queue),
            (Job::Write(_), None) => None,
        };
        next = held.or_else(|| queue.recv_blocking().ok());
    }
}

/// Does `first` and the writes queued behind it; gives back a read that came up meanwhile.
fn write_group(connection: &mut Connection, pen: &Pen, first: Box<dyn Write>, queue: &Receiver<Job>) -> Option<Job> {
    let mut group = Group { writes: vec![first], held: None };
    let result = group.run(connection, pen, queue);
    if result.is_err() {
        // Those behind would wait for the same lock or the same disk, one after the other.
        while group.take_next(queue) {}
    }
    // First of all, so that whoever is told that something was done finds nobody who remembers what was before.
    group.writes.iter().for_each(|write| pen.note(write.touched()));
    for write in group.writes {
        write.finish(result.as_ref().err());
    }
    group.held
}

struct Group {
    writes: Vec<Box<dyn Write>>,
    held: Option<Job>,
}

impl Group {
    fn run(&mut self, connection: &mut Connection, pen: &Pen, queue: &Receiver<Job>) -> rusqlite::Result<()> {
        let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        pen.sign(&transaction)?;
        let mut done = 0;
        while done < self.writes.len() || self.take_next(queue) {
            let mut savepoint = transaction.savepoint()?;
            let kept = self.writes[done].run(&savepoint);
            if savepoint.is_autocommit() {
                // After some failures, such as a full disk, SQLite takes the whole transaction back by itself.
                return Err(aborted());
            }
            if !kept {
                savepoint.rollback()?;
            }
            savepoint.commit()?;
            done += 1;
        }
        transaction.commit()
    }

    /// Whether there was another write to add.
    fn take_next(&mut self, queue: &Receiver<Job>) -> bool {
        if self.held.is_some() || self.writes.len() >= GROUP_MAX {
            return false;
        }
        match queue.try_recv() {
            Ok(Job::Write(write)) => {
                self.writes.push(write);
                true
            }
            Ok(read) => {
                self.held = Some(read);
                false
            }
            Err(_) => false,
        }
    }
}

fn aborted() -> rusqlite::Error {
    let message = "the transaction was rolled back".to_owned();
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_ABORT), Some(message))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::Duration;

    use futures_lite::future::{block_on, poll_once};
    use offhook::provider::Store as _;
    use offhook::provider::store::{Batch, Expect, KindSchema, Put, Query, RecordKey, Schema};
    use offhook_testkit::behaviour::on_threads;
    use offhook_testkit::store::tenant;
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;
    use crate::{SqliteStore, watch};

    #[test]
    fn a_lock_that_lasts_fails_writes_and_not_reads() {
        let file = File::new();
        let store = Arc::new(file.open().unwrap());
        commit(&store, "a", "").unwrap();
        let other = file.lock();

        let writes = on_threads(8, |number| {
            let store = Arc::clone(&store);
            async move { Ok(store.commit(put(&number.to_string(), "")).await.map_err(|error| error.kind())) }
        });
        assert_eq!(block_on(writes).unwrap(), [const { Err(ErrorKind::Unavailable) }; 8]);
        assert_eq!(ids(&store), ["a"]);

        other.execute_batch("ROLLBACK").unwrap();
        commit(&store, "b", "").unwrap();
        assert_eq!(ids(&store), ["b", "a"]);
    }

    #[test]
    fn a_lock_that_lasts_fails_an_open_that_must_write_and_no_other() {
        let file = File::new();
        drop(file.open().unwrap());
        let other = file.lock();
        assert!(file.open().is_ok());
        let mut grown = schema();
        grown.kinds.push(KindSchema { name: "more", indexes: Vec::new() });
        let refused = SqliteStore::open_within(&file.path, grown.clone(), BUSY_TIMEOUT).err().unwrap();
        assert_eq!((refused.kind(), refused.retry()), (ErrorKind::Unavailable, offhook::Retry::Later));
        drop(other);
        assert!(SqliteStore::open_within(&file.path, grown, BUSY_TIMEOUT).is_ok());
    }

    #[test]
    fn a_full_disk_fails_what_does_not_fit_and_nothing_else() {
        let file = File::new();
        drop(file.open().unwrap());
        let connection = Connection::open(&file.path).unwrap();
        let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        connection.pragma_update_and_check(None, "max_page_count", pages + 8, |_| Ok(())).unwrap();
        let store = file.open_on(connection);
        commit(&store, "small", "").unwrap();
        let refused = commit(&store, "large", &"x".repeat(100_000)).unwrap_err();
        assert_eq!((refused.kind(), refused.message()), (ErrorKind::Unavailable, "the disk is full"));
        commit(&store, "smaller", "").unwrap();
        assert_eq!(ids(&store), ["smaller", "small"]);
    }

    #[test]
    fn a_caller_that_gives_up_disturbs_nobody() {
        let file = File::new();
        let store = file.open().unwrap();
        for number in 0..20 {
            let started = block_on(poll_once(store.commit(put(&format!("{number:02}"), ""))));
            assert!(started.is_none_or(|result| result.is_ok()));
        }
        commit(&store, "last", "").unwrap();
        assert_eq!(ids(&store).len(), 21);
        let given_up = block_on(poll_once(store.commit(put("queued", ""))));
        assert!(given_up.is_none_or(|result| result.is_ok()));
        drop(store);
        assert_eq!(ids(&file.open().unwrap()).len(), 22);
    }

    const BUSY_TIMEOUT: Duration = Duration::from_millis(20);

    struct File {
        _folder: TempDir,
        path: PathBuf,
    }

    impl File {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("worker.db");
            Self { _folder: folder, path }
        }

        fn open(&self) -> Result<SqliteStore> {
            SqliteStore::open_within(&self.path, schema(), BUSY_TIMEOUT)
        }

        /// A store that uses this one connection.
        fn open_on(&self, connection: Connection) -> SqliteStore {
            let (catalog, tables) = SqliteStore::prepare(&schema()).unwrap();
            let (watch, pen) = watch::pair(&connection, None).unwrap();
            let workers = Workers::shared(connection, pen).unwrap();
            SqliteStore { catalog, tables, watch, workers, detail: String::new() }
        }

        fn lock(&self) -> Connection {
            let connection = Connection::open(&self.path).unwrap();
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            connection
        }
    }

    fn schema() -> Schema {
        Schema { kinds: vec![KindSchema { name: "call", indexes: Vec::new() }] }
    }

    fn put(id: &str, text: &str) -> Batch {
        let mut batch = Batch::default();
        batch.put(Put::new(RecordKey::new(tenant(1), "call", id), Expect::Absent, json!(text)));
        batch
    }

    fn commit(store: &SqliteStore, id: &str, text: &str) -> Result<()> {
        block_on(store.commit(put(id, text))).map(|_| ())
    }

    fn ids(store: &SqliteStore) -> Vec<String> {
        let page = block_on(store.list(Query::new(None, "call"))).unwrap();
        page.records.into_iter().map(|record| record.key.id).collect()
    }
}
