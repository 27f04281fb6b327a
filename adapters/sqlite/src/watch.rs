//! What has changed in a file that others may write to as well.
//!
//! This store's own writer says what it changes. That another one has written is found out by two means: each writer leaves
//! its name in the table `last_writer` when it finds another one there, and SQLite tells a connection whether anybody else
//! has committed since it asked last (`PRAGMA data_version`), which costs a few microseconds and no thread.

use std::sync::{Arc, Mutex, PoisonError};

use offhook::ids::TenantId;
use offhook::provider::store::changes::{Changes, Touched};
use rusqlite::Connection;

const DATA_VERSION: &str = "PRAGMA data_version";
const LAST: &str = "SELECT writer FROM last_writer";
const SIGN: &str = "UPDATE last_writer SET writer = ?1";
const NEW_NAME: &str = "SELECT random()";

/// What readers ask.
pub(crate) struct Watch {
    changes: Arc<Changes>,
    /// `None` where nobody else can write.
    others: Option<Mutex<Others>>,
}

struct Others {
    connection: Connection,
    seen: i64,
    us: i64,
}

/// What the writer notes.
pub(crate) struct Pen {
    changes: Arc<Changes>,
    us: i64,
}

/// The two, for a writer and readers of one file. `others` is a connection to it that is used for nothing else.
pub(crate) fn pair(writer: &Connection, others: Option<Connection>) -> rusqlite::Result<(Watch, Pen)> {
    let us = writer.query_row(NEW_NAME, [], |row| row.get(0))?;
    let changes = Arc::new(Changes::default());
    let others = others.map(|connection| Mutex::new(Others { connection, seen: 0, us }));
    Ok((Watch { changes: changes.clone(), others }, Pen { changes, us }))
}

impl Watch {
    /// As [`Store::version`](offhook::provider::Store::version); `None` when the file cannot be asked.
    pub(crate) fn version(&self, tenant: Option<TenantId>, kind: &str) -> Option<u64> {
        if let Some(others) = &self.others {
            // Nothing that runs under the lock can panic half way.
            let mut others = others.lock().unwrap_or_else(PoisonError::into_inner);
            if others.have_written().ok()? {
                self.changes.note_everything();
            }
        }
        Some(self.changes.version(tenant, kind))
    }
}

impl Others {
    /// Whether the last who wrote since this was asked is not us. Who wrote before us was noticed by the [`Pen`].
    fn have_written(&mut self) -> rusqlite::Result<bool> {
        let now: i64 = self.connection.prepare_cached(DATA_VERSION)?.query_row([], |row| row.get(0))?;
        if now == self.seen {
            return Ok(false);
        }
        let last: i64 = self.connection.prepare_cached(LAST)?.query_row([], |row| row.get(0))?;
        self.seen = now;
        Ok(last != self.us)
    }
}

impl Pen {
    /// Signs a transaction that has just begun, so that nobody else can write any more.
    pub(crate) fn sign(&self, transaction: &Connection) -> rusqlite::Result<()> {
        let last: i64 = transaction.prepare_cached(LAST)?.query_row([], |row| row.get(0))?;
        if last != self.us {
            self.changes.note_everything();
            transaction.prepare_cached(SIGN)?.execute([self.us])?;
        }
        Ok(())
    }

    /// Notes what a transaction has changed that is over.
    pub(crate) fn note(&self, touched: &Touched) {
        self.changes.note(touched);
    }
}
