//! Opening a file: whose it is, its settings, and the changes it needs.
//!
//! The tables that every database has come from numbered scripts, counted by `PRAGMA user_version`. The tables of the kinds
//! follow the schema: what is missing is added, and what is no longer declared stays where it is.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use offhook::provider::store::IndexType;
use offhook::{Error, ErrorKind, Result};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior};

use crate::error::Failure;
use crate::table::{Table, Tables, quoted, table_name};

/// How long a statement waits for another process's lock before it gives up.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const OPEN: &str = "store.open";
/// `ohdb`, at a fixed place of the file's header.
const APPLICATION_ID: i32 = 0x6f68_6462;
/// The scripts that bring a database from each version to the next.
const SCRIPTS: [&str; 2] = [include_str!("migrations/1.sql"), include_str!("migrations/2.sql")];
/// Statements kept prepared for each connection.
const STATEMENTS_MAX: usize = 256;
/// How long to wait between attempts to turn the write-ahead log on.
const WAL_RETRY: Duration = Duration::from_millis(10);

/// The connection that writes, to a file that has all of `tables`.
pub(crate) fn open_writer(path: &Path, tables: &Tables, busy_timeout: Duration) -> Result<Connection> {
    let open = || -> Result<Connection, Failure> {
        let mut connection = connect(path, busy_timeout)?;
        // Before anything is changed in a file that may not be ours.
        read_version(&connection)?;
        use_wal(&connection, busy_timeout)?;
        // FULL flushes the log at every commit, so that an acknowledged commit outlives the power; NORMAL would lose the
        // last ones. The other makes a flush reach the medium on the systems whose plain one does not.
        connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA fullfsync = ON;")?;
        migrate(&mut connection, tables)?;
        Ok(connection)
    };
    open().map_err(|failure| failure.into_error(OPEN).with_context("path", path.display()))
}

/// A connection that only reads, to a file that a writer has opened before.
pub(crate) fn open_reader(path: &Path, busy_timeout: Duration) -> Result<Connection> {
    let open = || -> Result<Connection, Failure> {
        let connection = connect(path, busy_timeout)?;
        connection.execute_batch("PRAGMA query_only = ON;")?;
        Ok(connection)
    };
    open().map_err(|failure| failure.into_error(OPEN).with_context("path", path.display()))
}

/// The one connection to a database in memory.
pub(crate) fn open_in_memory(tables: &Tables) -> Result<Connection> {
    let open = || -> Result<Connection, Failure> {
        let mut connection = Connection::open_in_memory()?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        migrate(&mut connection, tables)?;
        Ok(connection)
    };
    open().map_err(|failure| failure.into_error(OPEN))
}

fn connect(path: &Path, busy_timeout: Duration) -> Result<Connection, Failure> {
    // Without the flag for URIs, so that a path is a path.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| {
        Error::new(ErrorKind::ConfigInvalid, OPEN, "the database file cannot be opened").with_source(error)
    })?;
    connection.busy_timeout(busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

/// How many scripts the database has had; `ConfigInvalid` when it is not ours or from a newer release.
fn read_version(connection: &Connection) -> Result<usize, Failure> {
    // In one statement, because another process may be making the file right now.
    let (application, version, empty) = connection.query_row(
        "SELECT application_id, user_version, NOT EXISTS (SELECT 1 FROM sqlite_schema) \
         FROM pragma_application_id, pragma_user_version",
        [],
        |row| Ok((row.get::<_, i32>(0)?, row.get::<_, i32>(1)?, row.get::<_, bool>(2)?)),
    )?;
    if application != APPLICATION_ID && !(application == 0 && version == 0 && empty) {
        return Err(invalid("the database belongs to another program").into());
    }
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > SCRIPTS.len() {
        let error = invalid("the database was made by a newer release");
        return Err(error.with_context("version", version).with_context("newest_known", SCRIPTS.len()).into());
    }
    Ok(version)
}

/// Turns the write-ahead log on. SQLite does not wait for the lock that this needs, so this does.
fn use_wal(connection: &Connection, busy_timeout: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + busy_timeout;
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0)) {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(_) => return Err(invalid("the file system cannot hold a write-ahead log").into()),
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
                if Instant::now() >= deadline {
                    return Err(error.into());
                }
                thread::sleep(WAL_RETRY);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn migrate(connection: &mut Connection, tables: &Tables) -> Result<(), Failure> {
    if changes(connection, tables)?.is_empty() {
        return Ok(());
    }
    // Another process may be about the same: look again once it cannot.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for change in changes(&transaction, tables)? {
        transaction.execute_batch(&change)?;
    }
    Ok(transaction.commit()?)
}

/// The SQL that is missing.
fn changes(connection: &Connection, tables: &Tables) -> Result<Vec<String>, Failure> {
    let version = read_version(connection)?;
    let mut changes: Vec<String> = SCRIPTS[version..].iter().map(|script| (*script).to_owned()).collect();
    if !changes.is_empty() {
        let latest = SCRIPTS.len();
        changes.push(format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {latest};"));
    }
    for table in tables.iter() {
        add_table(connection, table, &mut changes)?;
    }
    Ok(changes)
}

fn add_table(connection: &Connection, table: &Table, changes: &mut Vec<String>) -> Result<(), Failure> {
    let name = table_name(table.kind);
    let mut columns = indexes_of(connection, table.kind)?;
    if columns.is_none() {
        changes.push(format!(
            "CREATE TABLE {name} (tenant TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL, due_at INTEGER, \
             body TEXT NOT NULL, UNIQUE (tenant, id)) STRICT;\n\
             CREATE INDEX {} ON {name} (due_at, id, tenant) WHERE due_at IS NOT NULL;",
            index_name(table.kind, "due_at"),
        ));
    }
    let columns = columns.get_or_insert_default();
    for (index, r#type) in &table.columns {
        let wanted = sql_type(*r#type);
        match columns.iter().find(|(column, _)| column == index) {
            Some((_, found)) if found == wanted => {}
            Some((_, found)) => {
                let error = invalid("an index has another type in the database").with_context("kind", table.kind);
                return Err(error.with_context("index", index).with_context("found", found).into());
            }
            None => {
                changes.push(format!(
                    "ALTER TABLE {name} ADD COLUMN {} {wanted};\n{}",
                    quoted(index),
                    create_index(table.kind, index, *r#type)
                ));
                columns.push(((*index).to_owned(), wanted.to_owned()));
            }
        }
    }
    replace_view(connection, table.kind, columns, changes)
}

/// The name and type of each index column, declared or not; `None` when there is no such table.
fn indexes_of(connection: &Connection, kind: &str) -> Result<Option<Vec<(String, String)>>, Failure> {
    let mut statement = connection.prepare("SELECT name, type FROM pragma_table_info(?1) ORDER BY cid")?;
    let rows = statement.query_map([format!("{kind}_records")], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let columns: rusqlite::Result<Vec<(String, String)>> = rows.collect();
    let mut columns = columns?;
    if columns.is_empty() {
        return Ok(None);
    }
    columns.retain(|(name, _)| !["tenant", "id", "revision", "due_at", "body"].contains(&name.as_str()));
    Ok(Some(columns))
}

/// Numbers are mostly moments, listed in order within a tenant; texts are mostly looked up, often across tenants.
fn create_index(kind: &str, index: &str, r#type: IndexType) -> String {
    let (name, table, column) = (index_name(kind, index), table_name(kind), quoted(index));
    match r#type {
        IndexType::Integer => format!("CREATE INDEX {name} ON {table} (tenant, {column}, id);"),
        IndexType::Text => {
            format!("CREATE INDEX {name} ON {table} ({column}, tenant, id) WHERE {column} IS NOT NULL;")
        }
    }
}

fn replace_view(
    connection: &Connection,
    kind: &str,
    columns: &[(String, String)],
    changes: &mut Vec<String>,
) -> Result<(), Failure> {
    let view = format!("{kind}_view");
    let mut shown = vec![quoted("tenant"), quoted("id"), quoted("revision"), as_rfc3339("due_at")];
    shown.extend(columns.iter().map(|(name, r#type)| {
        if r#type == sql_type(IndexType::Integer) && name.ends_with("_at") { as_rfc3339(name) } else { quoted(name) }
    }));
    shown.push(quoted("body"));
    let wanted = format!("CREATE VIEW {} AS SELECT {} FROM {}", quoted(&view), shown.join(", "), table_name(kind));
    let found: Option<String> = connection
        .query_row("SELECT sql FROM sqlite_schema WHERE type = 'view' AND name = ?1", [&view], |row| row.get(0))
        .optional()?;
    if found.as_ref() != Some(&wanted) {
        changes.push(format!("DROP VIEW IF EXISTS {};\n{wanted};", quoted(&view)));
    }
    Ok(())
}

/// Unix microseconds as RFC 3339 in UTC, such as `2026-11-20T09:30:00.000001Z`; as they are where SQLite has no date.
fn as_rfc3339(column: &str) -> String {
    let column = quoted(column);
    let fraction = format!("(({column} % 1000000 + 1000000) % 1000000)");
    let second = format!("strftime('%Y-%m-%dT%H:%M:%S', ({column} - {fraction}) / 1000000, 'unixepoch')");
    format!("coalesce({second} || printf('.%06dZ', {fraction}), {column}) AS {column}")
}

fn index_name(kind: &str, index: &str) -> String {
    // The dot keeps the names of indexes apart from each other and from those of tables.
    quoted(&format!("{kind}.{index}"))
}

fn sql_type(r#type: IndexType) -> &'static str {
    match r#type {
        IndexType::Integer => "INTEGER",
        IndexType::Text => "TEXT",
    }
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::ConfigInvalid, OPEN, message)
}
