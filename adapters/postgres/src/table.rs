//! The tables: their statements, made once, and how rows become records and records rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use offhook::ids::TenantId;
use offhook::provider::store::catalog::Catalog;
use offhook::provider::store::{IndexType, IndexValue, Put, Record, RecordKey};
use offhook::time::Timestamp;
use offhook::{Error, ErrorKind, Result};
use tokio_postgres::Row;

use crate::log::LogTables;
use crate::pool::{Pool, Query, Value};

/// What PostgreSQL calls the columns that every table has by itself.
const KEPT_BY_POSTGRES: [&str; 6] = ["cmax", "cmin", "ctid", "tableoid", "xmax", "xmin"];

/// The tables of a store.
pub(crate) struct Tables {
    pub(crate) namespace: String,
    pub(crate) counters: CounterTable,
    pub(crate) logs: LogTables,
    kinds: BTreeMap<&'static str, Arc<Table>>,
}

impl Tables {
    /// `ConfigInvalid` for a kind whose table PostgreSQL would not make.
    pub(crate) fn new(catalog: &Catalog, namespace: &str) -> Result<Self> {
        let mut kinds = BTreeMap::new();
        for (kind, indexes) in catalog.kinds() {
            if let Some(name) = indexes.keys().find(|name| KEPT_BY_POSTGRES.contains(name)) {
                let error = Error::new(ErrorKind::ConfigInvalid, "store.open", "PostgreSQL keeps a name to itself");
                return Err(error.with_context("name", name));
            }
            let columns = indexes.iter().map(|(name, r#type)| (*name, *r#type)).collect();
            kinds.insert(kind, Arc::new(Table::new(namespace, kind, columns)));
        }
        let (counters, logs) = (CounterTable::new(namespace), LogTables::new(namespace));
        Ok(Self { namespace: namespace.to_owned(), counters, logs, kinds })
    }

    pub(crate) fn get(&self, operation: &'static str, kind: &str) -> Result<Arc<Table>> {
        let unknown = || Error::new(ErrorKind::ConfigInvalid, operation, "no such kind").with_context("kind", kind);
        self.kinds.get(kind).cloned().ok_or_else(unknown)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Table> {
        self.kinds.values().map(Arc::as_ref)
    }
}

/// The statements of the counters. Keys come as one array for each column.
pub(crate) struct CounterTable {
    pub(crate) insert: String,
    pub(crate) lock: String,
    pub(crate) read: String,
    pub(crate) update: String,
}

impl CounterTable {
    fn new(namespace: &str) -> Self {
        let counters = qualified(namespace, "counters");
        let read = format!(
            "SELECT tenant, name, value FROM {counters} \
             WHERE (tenant, name) IN (SELECT * FROM unnest($1::uuid[], $2::text[]))"
        );
        let given = "unnest($1::uuid[], $2::text[], $3::bigint[]) AS given (tenant, name, value)";
        Self {
            insert: format!("INSERT INTO {counters} (tenant, name, value) SELECT * FROM {given}"),
            lock: lock_each(&counters, ["tenant", "name"], "tenant, name, value"),
            update: format!(
                "UPDATE {counters} AS counter SET value = given.value FROM {given} \
                 WHERE counter.tenant = given.tenant AND counter.name = given.name"
            ),
            read,
        }
    }
}

/// The table of one kind, with its statements made once.
pub(crate) struct Table {
    pub(crate) kind: &'static str,
    /// The declared indexes, by name.
    pub(crate) columns: Vec<(&'static str, IndexType)>,
    /// The table's name as SQL takes it.
    pub(crate) name: String,
    /// What [`Table::record`] reads, as SQL takes it.
    pub(crate) selected: String,
    pub(crate) delete: String,
    pub(crate) insert: String,
    /// Locks records in the order of their keys, and selects tenant, id and revision.
    pub(crate) lock: String,
    pub(crate) update: String,
    /// With `{limit}` in it.
    claim: String,
    get: String,
}

/// A record on its way in.
pub(crate) struct NewRow {
    pub(crate) due_at: Option<i64>,
    pub(crate) body: String,
    /// In the order of [`Table::columns`].
    pub(crate) indexes: Vec<Option<IndexValue>>,
}

impl Table {
    fn new(namespace: &str, kind: &'static str, columns: Vec<(&'static str, IndexType)>) -> Self {
        let table = qualified(namespace, &format!("{kind}_records"));
        let names: Vec<String> = columns.iter().map(|(name, _)| quoted(name)).collect();
        let listed = |prefix: &str| names.iter().map(|name| format!(", {prefix}{name}")).collect::<String>();
        let arrays = columns.iter().zip(6..).map(|((_, r#type), place)| format!(", ${place}::{}[]", sql_type(*r#type)));
        let given = format!(
            "unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::text[]{}) \
             AS given (tenant, id, revision, due_at, body{})",
            arrays.collect::<String>(),
            listed("")
        );
        let updates = names.iter().map(|name| format!(", {name} = given.{name}")).collect::<String>();
        let selected = |prefix: &str| {
            let indexes = listed(prefix);
            format!("{prefix}tenant, {prefix}id, {prefix}revision, {prefix}due_at, {prefix}body::text{indexes}")
        };
        Self {
            kind,
            claim: format!(
                "WITH due AS (\
                     SELECT tenant, id, due_at FROM {table} WHERE due_at <= $1 ORDER BY due_at, id, tenant LIMIT {{limit}} \
                     FOR UPDATE SKIP LOCKED\
                 ) \
                 UPDATE {table} AS record SET revision = record.revision + 1, due_at = $2 FROM due \
                 WHERE record.tenant = due.tenant AND record.id = due.id RETURNING {}, due.due_at",
                selected("record.")
            ),
            delete: format!(
                "DELETE FROM {table} AS record USING unnest($1::uuid[], $2::text[]) AS given (tenant, id) \
                 WHERE record.tenant = given.tenant AND record.id = given.id"
            ),
            get: format!("SELECT {} FROM {table} WHERE tenant = $1 AND id = $2", selected("")),
            insert: format!(
                "INSERT INTO {table} (tenant, id, revision, due_at, body{indexes}) \
                 SELECT tenant, id, revision, due_at, body::json{indexes} FROM {given}",
                indexes = listed("")
            ),
            lock: lock_each(&table, ["tenant", "id"], "tenant, id, revision"),
            update: format!(
                "UPDATE {table} AS record \
                 SET revision = given.revision, due_at = given.due_at, body = given.body::json{updates} FROM {given} \
                 WHERE record.tenant = given.tenant AND record.id = given.id"
            ),
            selected: selected(""),
            name: table,
            columns,
        }
    }

    pub(crate) fn new_row(&self, put: &mut Put) -> NewRow {
        NewRow {
            due_at: put.due_at.map(Timestamp::as_unix_micros),
            body: put.body.to_string(),
            indexes: self.columns.iter().map(|(index, _)| put.indexes.remove(*index)).collect(),
        }
    }

    pub(crate) async fn get(&self, pool: &Pool, key: &RecordKey) -> Result<Option<Record>> {
        let values: Vec<Value<'_>> = vec![Box::new(key.tenant.as_uuid()), Box::new(&key.id)];
        let rows = pool.read("store.get", &Query { sql: &self.get, values }).await?;
        rows.first().map(|row| self.record(row)).transpose()
    }

    /// Leaves out what other transactions hold right now: they are about to change it, or to claim it themselves.
    pub(crate) async fn claim(&self, pool: &Pool, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Record>> {
        const OPERATION: &str = "store.claim";
        let values: Vec<Value<'_>> = vec![Box::new(now.as_unix_micros()), Box::new(until.as_unix_micros())];
        // A number that the planner knows: it would prepare for a tenth of the table.
        let sql = self.claim.replace("{limit}", &limit.to_string());
        let rows = pool.get(OPERATION).await?.run(&Query { sql: &sql, values }).await;
        let rows = rows.map_err(|failure| failure.into_error(OPERATION))?;
        let was_due = self.columns.len() + 5;
        let mut claimed = Vec::with_capacity(rows.len());
        for row in &rows {
            let due_at: i64 = row.try_get(was_due).map_err(|_| self.damaged("due_at"))?;
            claimed.push((due_at, self.record(row)?));
        }
        claimed.sort_by(|(due, left), (other_due, right)| {
            let place = |record: &Record| (record.key.id.clone(), record.key.tenant);
            due.cmp(other_due).then_with(|| place(left).cmp(&place(right)))
        });
        Ok(claimed.into_iter().map(|(_, record)| record).collect())
    }

    /// The record in a row of [`Table::selected`].
    pub(crate) fn record(&self, row: &Row) -> Result<Record> {
        let mut indexes = BTreeMap::new();
        for (place, (name, r#type)) in (5..).zip(&self.columns) {
            let value = match r#type {
                IndexType::Integer => row.try_get::<_, Option<i64>>(place).map(|value| value.map(IndexValue::Integer)),
                IndexType::Text => row.try_get::<_, Option<String>>(place).map(|value| value.map(IndexValue::Text)),
            };
            if let Some(value) = value.map_err(|_| self.damaged(name))? {
                indexes.insert((*name).to_owned(), value);
            }
        }
        let tenant = TenantId::from_uuid(row.try_get(0).map_err(|_| self.damaged("tenant"))?);
        let id: String = row.try_get(1).map_err(|_| self.damaged("id"))?;
        let revision: i64 = row.try_get(2).map_err(|_| self.damaged("revision"))?;
        let due_at: Option<i64> = row.try_get(3).map_err(|_| self.damaged("due_at"))?;
        let body: &str = row.try_get(4).map_err(|_| self.damaged("body"))?;
        Ok(Record {
            key: RecordKey { tenant, kind: self.kind.to_owned(), id },
            revision: u64::try_from(revision).map_err(|_| self.damaged("revision"))?,
            indexes,
            due_at: due_at.map(Timestamp::from_unix_micros),
            body: serde_json::from_str(body).map_err(|_| self.damaged("body"))?,
        })
    }

    pub(crate) fn damaged(&self, column: &str) -> Error {
        let error = Error::new(ErrorKind::Unexpected, "store.read", "a stored record is damaged");
        error.with_context("kind", self.kind).with_context("column", column)
    }
}

/// Selects `columns` of the rows with the given keys, and locks them one after the other, in the order of the arrays.
pub(crate) fn lock_each(table: &str, [tenant, name]: [&str; 2], columns: &str) -> String {
    format!(
        "SELECT found.* FROM unnest($1::uuid[], $2::text[]) AS given (tenant, name) CROSS JOIN LATERAL (\
             SELECT {columns} FROM {table} AS row WHERE row.{tenant} = given.tenant AND row.{name} = given.name \
             FOR NO KEY UPDATE\
         ) AS found"
    )
}

/// A name as SQL takes it. Names of kinds, indexes and namespaces hold no quotes: their checks have seen to it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// The quoted name of an object of `namespace`.
pub(crate) fn qualified(namespace: &str, name: &str) -> String {
    format!("\"{namespace}\".\"{name}\"")
}

pub(crate) fn sql_type(r#type: IndexType) -> &'static str {
    match r#type {
        IndexType::Integer => "bigint",
        IndexType::Text => "text",
    }
}

/// An index value as a parameter.
pub(crate) fn bound<'a>(value: IndexValue) -> Value<'a> {
    match value {
        IndexValue::Integer(number) => Box::new(number),
        IndexValue::Text(text) => Box::new(text),
    }
}
