//! A batch, operation by operation, inside the writer's transaction.

use std::mem;
use std::sync::Arc;

use offhook::Result;
use offhook::provider::store::{Add, Append, Batch, Committed, Delete, LogKey, Operation, Put};
use offhook::{Error, ErrorKind};
use rusqlite::{Connection, OptionalExtension as _};

use crate::error::Failure;
use crate::log;
use crate::table::{NewRow, Table, Tables};

const COUNTER: &str = "SELECT value FROM counters WHERE tenant = ?1 AND name = ?2";
const SET_COUNTER: &str = "INSERT INTO counters (tenant, name, value) VALUES (?1, ?2, ?3) \
    ON CONFLICT (tenant, name) DO UPDATE SET value = ?3";

/// An operation with all the work done that needs no database.
pub(crate) enum Step {
    /// With the rows of its crossing.
    Add(Add, Vec<NewRow>),
    Append(Append),
    Delete(Arc<Table>, Delete),
    DeleteLog(LogKey),
    Put(NewRow),
}

impl Step {
    pub(crate) fn all(tables: &Tables, batch: Batch) -> Result<Vec<Self>> {
        batch.operations.into_iter().map(|operation| Self::new(tables, operation)).collect()
    }

    fn new(tables: &Tables, operation: Operation) -> Result<Self> {
        match operation {
            Operation::Add(mut add) => {
                let puts = add.crossing.as_mut().map(|crossing| mem::take(&mut crossing.then)).unwrap_or_default();
                let rows: Result<Vec<NewRow>> = puts.into_iter().map(|put| new_row(tables, put)).collect();
                Ok(Self::Add(add, rows?))
            }
            Operation::Append(append) => Ok(Self::Append(append)),
            Operation::Delete(delete) => Ok(Self::Delete(tables.get("store.commit", &delete.key.kind)?, delete)),
            Operation::DeleteLog(log) => Ok(Self::DeleteLog(log)),
            Operation::Put(put) => Ok(Self::Put(new_row(tables, put)?)),
            _ => Err(Error::new(ErrorKind::Unsupported, "store.commit", "this operation is not supported")),
        }
    }
}

/// Applies all of `steps`; after an error the caller takes back what was done.
pub(crate) fn apply(connection: &Connection, steps: &[Step]) -> Result<Committed, Failure> {
    let mut committed = Committed::default();
    for step in steps {
        match step {
            Step::Add(add, rows) => move_counter(connection, add, rows, &mut committed)?,
            Step::Append(Append { log, seq, entries }) => log::append(connection, "store.commit", log, *seq, entries)?,
            Step::Delete(table, delete) => table.delete(connection, delete)?,
            Step::DeleteLog(log) => log::delete(connection, log)?,
            Step::Put(row) => row.write(connection)?,
        }
    }
    Ok(committed)
}

fn move_counter(connection: &Connection, add: &Add, rows: &[NewRow], committed: &mut Committed) -> Result<(), Failure> {
    let (tenant, name) = (add.counter.tenant.to_string(), &add.counter.name);
    let stored: Option<i64> =
        connection.prepare_cached(COUNTER)?.query_row((&tenant, name), |row| row.get(0)).optional()?;
    let before = stored.unwrap_or(0);
    let after = add.apply(before)?;
    committed.counters.insert(add.counter.clone(), after);
    if add.delta != 0 {
        connection.prepare_cached(SET_COUNTER)?.execute((tenant, name, after))?;
    }
    if add.crossing.as_ref().is_some_and(|crossing| crossing.happens(before, after)) {
        committed.crossed.insert(add.counter.clone());
        rows.iter().try_for_each(|row| row.write(connection))?;
    }
    Ok(())
}

fn new_row(tables: &Tables, put: Put) -> Result<NewRow> {
    Ok(NewRow::new(tables.get("store.commit", &put.key.kind)?, put))
}
