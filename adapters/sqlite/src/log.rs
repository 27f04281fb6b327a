//! Append-only logs.

use bytes::Bytes;
use offhook::provider::store::LogKey;
use rusqlite::{Connection, OptionalExtension as _};

use crate::error::{Failure, conflict};

/// A log's row and the number of its last entry.
const FIND: &str = "SELECT log_id, (SELECT max(seq) FROM log_entries WHERE log_entries.log_id = logs.log_id) \
    FROM logs WHERE tenant = ?1 AND name = ?2";
const CREATE: &str = "INSERT INTO logs (tenant, name) VALUES (?1, ?2)";
const APPEND: &str = "INSERT INTO log_entries (log_id, seq, bytes) VALUES (?1, ?2, ?3)";
const READ: &str = "SELECT bytes FROM log_entries \
    WHERE log_id = (SELECT log_id FROM logs WHERE tenant = ?1 AND name = ?2) AND seq >= ?3 ORDER BY seq LIMIT ?4";

const DELETE_ENTRIES: &str = "DELETE FROM log_entries \
    WHERE log_id = (SELECT log_id FROM logs WHERE tenant = ?1 AND name = ?2)";
const DELETE: &str = "DELETE FROM logs WHERE tenant = ?1 AND name = ?2";

pub(crate) fn append(
    connection: &Connection,
    operation: &'static str,
    log: &LogKey,
    seq: u64,
    entries: &[Bytes],
) -> Result<(), Failure> {
    let tenant = log.tenant.to_string();
    let find = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?));
    let found = connection.prepare_cached(FIND)?.query_row((&tenant, &log.name), find).optional()?;
    let length = found.and_then(|(_, last)| last).map_or(0, |last| last + 1);
    if i64::try_from(seq) != Ok(length) {
        return Err(conflict(operation, "a log has another length").into());
    }
    if entries.is_empty() {
        return Ok(());
    }
    let log_id = match found {
        Some((log_id, _)) => log_id,
        None => connection.prepare_cached(CREATE)?.insert((&tenant, &log.name))?,
    };
    let mut append = connection.prepare_cached(APPEND)?;
    for (number, entry) in (length..).zip(entries) {
        append.execute((log_id, number, &entry[..]))?;
    }
    Ok(())
}

pub(crate) fn delete(connection: &Connection, log: &LogKey) -> Result<(), Failure> {
    for sql in [DELETE_ENTRIES, DELETE] {
        connection.prepare_cached(sql)?.execute((log.tenant.to_string(), &log.name))?;
    }
    Ok(())
}

pub(crate) fn read(connection: &Connection, log: &LogKey, seq: u64, limit: u32) -> Result<Vec<Bytes>, Failure> {
    let Ok(seq) = i64::try_from(seq) else {
        return Ok(Vec::new());
    };
    let mut statement = connection.prepare_cached(READ)?;
    let rows = statement.query_map((log.tenant.to_string(), &log.name, seq, limit), |row| row.get::<_, Vec<u8>>(0))?;
    let entries: rusqlite::Result<Vec<Bytes>> = rows.map(|entry| entry.map(Bytes::from)).collect();
    Ok(entries?)
}
