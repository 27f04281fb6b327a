//! Append-only logs. A log's row holds its length, so that locking it tells where the log ends.

use bytes::Bytes;
use offhook::provider::store::LogKey;
use offhook::{Error, ErrorKind, Result};

use crate::Shared;
use crate::pool::{Query, Value};
use crate::table::{lock_each, qualified};

/// The statements of the logs.
pub(crate) struct LogTables {
    /// To a log that there is: its id, its length, the entries.
    pub(crate) append: String,
    /// To a log that there is not: its tenant, its name, the entries.
    pub(crate) create: String,
    /// By its id.
    pub(crate) delete: String,
    pub(crate) lock: String,
    read: String,
}

impl LogTables {
    pub(crate) fn new(namespace: &str) -> Self {
        let (logs, entries) = (qualified(namespace, "logs"), qualified(namespace, "log_entries"));
        let numbered = "unnest($3::bytea[]) WITH ORDINALITY AS entry (bytes, number)";
        Self {
            append: format!(
                "WITH log AS (\
                     UPDATE {logs} SET length = $2::bigint + cardinality($3::bytea[]) WHERE log_id = $1 RETURNING log_id\
                 ) \
                 INSERT INTO {entries} (log_id, seq, bytes) \
                 SELECT log_id, $2::bigint + number - 1, bytes FROM log, {numbered}"
            ),
            create: format!(
                "WITH log AS (\
                     INSERT INTO {logs} (tenant, name, length) VALUES ($1, $2, cardinality($3::bytea[])) \
                     RETURNING log_id\
                 ) \
                 INSERT INTO {entries} (log_id, seq, bytes) SELECT log_id, number - 1, bytes FROM log, {numbered}"
            ),
            delete: format!(
                "WITH log AS (DELETE FROM {logs} WHERE log_id = $1 RETURNING log_id) \
                 DELETE FROM {entries} AS entry USING log WHERE entry.log_id = log.log_id"
            ),
            lock: lock_each(&logs, ["tenant", "name"], "tenant, name, log_id, length"),
            read: format!(
                "SELECT bytes FROM {entries} \
                 WHERE log_id = (SELECT log_id FROM {logs} WHERE tenant = $1 AND name = $2) AND seq >= $3 \
                 ORDER BY seq LIMIT $4"
            ),
        }
    }
}

pub(crate) async fn read(shared: &Shared, log: &LogKey, seq: u64, limit: u32) -> Result<Vec<Bytes>> {
    const OPERATION: &str = "store.read_log";
    let Ok(seq) = i64::try_from(seq) else {
        return Ok(Vec::new());
    };
    let values: Vec<Value<'_>> =
        vec![Box::new(log.tenant.as_uuid()), Box::new(&log.name), Box::new(seq), Box::new(i64::from(limit))];
    let rows = shared.pool.read(OPERATION, &Query { sql: &shared.tables.logs.read, values }).await?;
    let entry = |row: &tokio_postgres::Row| row.try_get::<_, Vec<u8>>(0).map(Bytes::from);
    let damaged = |_| Error::new(ErrorKind::Unexpected, OPERATION, "a stored log is damaged");
    rows.iter().map(|row| entry(row).map_err(damaged)).collect()
}
