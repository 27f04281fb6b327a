//! The table of one kind of record: its statements, and how rows become records.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use offhook::provider::store::catalog::Catalog;
use offhook::provider::store::{Delete, Expect, IndexType, IndexValue, Put, Record, RecordKey};
use offhook::time::Timestamp;
use offhook::{Error, ErrorKind, Result};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use crate::error::{Failure, conflict};

/// Names that SQLite gives a meaning of its own, besides all that begin with `sqlite_`.
const KEPT_BY_SQLITE: [&str; 4] = ["_rowid_", "oid", "rowid", "sqlite"];

/// The tables, by kind.
pub(crate) struct Tables(BTreeMap<&'static str, Arc<Table>>);

impl Tables {
    /// `ConfigInvalid` for a kind whose table SQLite would not make.
    pub(crate) fn new(catalog: &Catalog) -> Result<Self> {
        let mut tables = BTreeMap::new();
        for (kind, indexes) in catalog.kinds() {
            for name in indexes.keys().copied().chain([kind]) {
                if KEPT_BY_SQLITE.contains(&name) || name.starts_with("sqlite_") {
                    let error = Error::new(ErrorKind::ConfigInvalid, "store.open", "SQLite keeps a name to itself");
                    return Err(error.with_context("name", name));
                }
            }
            let columns = indexes.iter().map(|(name, r#type)| (*name, *r#type)).collect();
            tables.insert(kind, Arc::new(Table::new(kind, columns)));
        }
        Ok(Self(tables))
    }

    pub(crate) fn get(&self, operation: &'static str, kind: &str) -> Result<Arc<Table>> {
        let unknown = || Error::new(ErrorKind::ConfigInvalid, operation, "no such kind").with_context("kind", kind);
        self.0.get(kind).cloned().ok_or_else(unknown)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Table> {
        self.0.values().map(Arc::as_ref)
    }
}

/// The table of one kind, with its statements made once.
pub(crate) struct Table {
    pub(crate) kind: &'static str,
    /// The declared indexes, by name.
    pub(crate) columns: Vec<(&'static str, IndexType)>,
    /// `SELECT` of whole records up to and without a `WHERE`; [`Table::record`] reads its rows.
    pub(crate) select: String,
    claim: String,
    delete: String,
    delete_revision: String,
    due: String,
    exists: String,
    get: String,
    insert: String,
    update: String,
    upsert: String,
}

/// A record on its way in, as the parameters of a statement.
pub(crate) struct NewRow {
    table: Arc<Table>,
    expect: Expect,
    /// Tenant, id, due moment, body, then the indexes.
    values: Vec<Value>,
}

impl NewRow {
    pub(crate) fn new(table: Arc<Table>, mut put: Put) -> Self {
        let mut values = Vec::with_capacity(table.columns.len() + 5);
        values.push(Value::Text(put.key.tenant.to_string()));
        values.push(Value::Text(put.key.id));
        values.push(put.due_at.map_or(Value::Null, |due_at| Value::Integer(due_at.as_unix_micros())));
        values.push(Value::Text(put.body.to_string()));
        values.extend(table.columns.iter().map(|(index, _)| put.indexes.remove(*index).map_or(Value::Null, bound)));
        if let Expect::Revision(revision) = put.expect {
            values.push(revision_value(revision));
        }
        Self { table, expect: put.expect, values }
    }

    pub(crate) fn write(&self, connection: &Connection) -> Result<(), Failure> {
        let statement = match self.expect {
            Expect::Absent => &self.table.insert,
            Expect::Any => &self.table.upsert,
            Expect::Revision(_) => &self.table.update,
        };
        let written = connection.prepare_cached(statement)?.execute(params_from_iter(&self.values))?;
        if written == 0 { Err(self.table.unexpected_state()) } else { Ok(()) }
    }
}

impl Table {
    fn new(kind: &'static str, columns: Vec<(&'static str, IndexType)>) -> Self {
        let table = table_name(kind);
        let mut names = String::new();
        let mut places = String::new();
        let mut updates = "revision = revision + 1, due_at = ?3, body = ?4".to_owned();
        for (number, (name, _)) in columns.iter().enumerate() {
            let place = number + 5;
            // Writing to a string cannot fail.
            let _ = write!(names, ", {}", quoted(name));
            let _ = write!(places, ", ?{place}");
            let _ = write!(updates, ", {} = ?{place}", quoted(name));
        }
        let by_key = format!("FROM {table} WHERE tenant = ?1 AND id = ?2");
        let select = format!("SELECT rowid, tenant, id, revision, due_at, body{names} FROM {table}");
        let insert = format!(
            "INSERT INTO {table} (tenant, id, revision, due_at, body{names}) VALUES (?1, ?2, 1, ?3, ?4{places})"
        );
        let revision_place = columns.len() + 5;
        Self {
            kind,
            claim: format!("UPDATE {table} SET revision = ?2, due_at = ?3 WHERE rowid = ?1"),
            delete: format!("DELETE {by_key}"),
            delete_revision: format!("DELETE {by_key} AND revision = ?3"),
            due: format!("{select} WHERE due_at <= ?1 ORDER BY due_at, id, tenant LIMIT ?2"),
            exists: format!("SELECT 1 {by_key}"),
            get: format!("{select} WHERE tenant = ?1 AND id = ?2"),
            upsert: format!("{insert} ON CONFLICT (tenant, id) DO UPDATE SET {updates}"),
            update: format!(
                "UPDATE {table} SET {updates} WHERE tenant = ?1 AND id = ?2 AND revision = ?{revision_place}"
            ),
            insert: format!("{insert} ON CONFLICT (tenant, id) DO NOTHING"),
            select,
            columns,
        }
    }

    pub(crate) fn get(&self, connection: &Connection, key: &RecordKey) -> Result<Option<Record>, Failure> {
        let mut statement = connection.prepare_cached(&self.get)?;
        let mut rows = statement.query((key.tenant.to_string(), &key.id))?;
        rows.next()?.map(|row| self.record(row)).transpose()
    }

    pub(crate) fn delete(&self, connection: &Connection, delete: &Delete) -> Result<(), Failure> {
        let (tenant, id) = (delete.key.tenant.to_string(), &delete.key.id);
        let holds = match delete.expect {
            Expect::Absent => !connection.prepare_cached(&self.exists)?.exists((tenant, id))?,
            Expect::Any => {
                connection.prepare_cached(&self.delete)?.execute((tenant, id))?;
                true
            }
            Expect::Revision(revision) => {
                let values = (tenant, id, revision_value(revision));
                connection.prepare_cached(&self.delete_revision)?.execute(values)? > 0
            }
        };
        if holds { Ok(()) } else { Err(self.unexpected_state()) }
    }

    pub(crate) fn claim(
        &self,
        connection: &Connection,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<Record>, Failure> {
        let mut due = connection.prepare_cached(&self.due)?;
        let mut rows = due.query((now.as_unix_micros(), limit))?;
        let mut claimed: Vec<(i64, Record)> = Vec::new();
        while let Some(row) = rows.next()? {
            claimed.push((row.get(0)?, self.record(row)?));
        }
        let mut claim = connection.prepare_cached(&self.claim)?;
        for (rowid, record) in &mut claimed {
            record.revision += 1;
            record.due_at = Some(until);
            claim.execute((*rowid, revision_value(record.revision), until.as_unix_micros()))?;
        }
        Ok(claimed.into_iter().map(|(_, record)| record).collect())
    }

    /// The record in a row of [`Table::select`].
    pub(crate) fn record(&self, row: &Row<'_>) -> Result<Record, Failure> {
        let tenant = text(row, 1)?.parse().map_err(|_| self.damaged("tenant"))?;
        let mut indexes = BTreeMap::new();
        for (number, (name, r#type)) in self.columns.iter().enumerate() {
            let value = match r#type {
                IndexType::Integer => row.get::<_, Option<i64>>(number + 6)?.map(IndexValue::Integer),
                IndexType::Text => row.get::<_, Option<String>>(number + 6)?.map(IndexValue::Text),
            };
            if let Some(value) = value {
                indexes.insert((*name).to_owned(), value);
            }
        }
        Ok(Record {
            key: RecordKey { tenant, kind: self.kind.to_owned(), id: row.get(2)? },
            revision: u64::try_from(row.get::<_, i64>(3)?).map_err(|_| self.damaged("revision"))?,
            indexes,
            due_at: row.get::<_, Option<i64>>(4)?.map(Timestamp::from_unix_micros),
            body: serde_json::from_str(text(row, 5)?).map_err(|_| self.damaged("body"))?,
        })
    }

    fn unexpected_state(&self) -> Failure {
        conflict("store.commit", "a record is not in the expected state").with_context("kind", self.kind).into()
    }

    fn damaged(&self, column: &str) -> Failure {
        let error = Error::new(ErrorKind::Unexpected, "store.read", "a stored record is damaged");
        error.with_context("kind", self.kind).with_context("column", column).into()
    }
}

/// The quoted name of the table of `kind`.
pub(crate) fn table_name(kind: &str) -> String {
    quoted(&format!("{kind}_records"))
}

/// A name as SQL takes it. Names of kinds and indexes hold no quotes: the catalog has seen to it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// An index value as a parameter.
pub(crate) fn bound(value: IndexValue) -> Value {
    match value {
        IndexValue::Integer(number) => Value::Integer(number),
        IndexValue::Text(text) => Value::Text(text),
    }
}

/// A revision as a parameter; no record has one beyond SQLite's integers.
fn revision_value(revision: u64) -> Value {
    Value::Integer(i64::try_from(revision).unwrap_or(-1))
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, Failure> {
    Ok(row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?)
}

#[cfg(test)]
mod tests {
    use offhook::provider::store::{KindSchema, Schema};

    use super::*;
    use crate::migrate;

    #[test]
    fn claims_walk_the_index_of_due_moments() {
        let schema = Schema { kinds: vec![KindSchema { name: "job", indexes: Vec::new() }] };
        let tables = Tables::new(&Catalog::new(&schema).unwrap()).unwrap();
        let connection = migrate::open_in_memory(&tables).unwrap();
        let explain = format!("EXPLAIN QUERY PLAN {}", tables.get("store.claim", "job").unwrap().due);
        let mut statement = connection.prepare(&explain).unwrap();
        let rows = statement.query_map((1, 1), |row| row.get::<_, String>(3)).unwrap();
        let plan: rusqlite::Result<Vec<String>> = rows.collect();
        assert_eq!(plan.unwrap(), ["SEARCH job_records USING INDEX job.due_at (due_at<?)"]);
    }
}
