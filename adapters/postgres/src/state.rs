//! What a batch touches: found under lock, changed in memory as the operations say, then written.
//!
//! Counters, records and logs are locked, and new ones inserted, in the order of their keys; so no two batches wait for
//! each other. What does not exist yet cannot be locked: when another batch makes it meanwhile, the insert fails and
//! the batch is begun again. So a record that must not exist yet is not even looked for, at first: its insert will tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use offhook::ids::TenantId;
use offhook::provider::store::{Add, Append, Committed, CounterKey, Expect, IndexType, IndexValue, LogKey, RecordKey};
use offhook::{Error, ErrorKind, Result};
use tokio_postgres::Row;

use crate::commit::{Step, Write};
use crate::error::{Failure, conflict};
use crate::pool::{Query, Value};
use crate::table::{NewRow, Table, Tables};

/// The counters, records and logs of one batch.
pub(crate) struct State<'a> {
    tables: &'a Tables,
    counters: BTreeMap<&'a CounterKey, Counter>,
    records: BTreeMap<&'static str, Records<'a>>,
    logs: BTreeMap<&'a LogKey, Log<'a>>,
}

#[derive(Default)]
struct Counter {
    found: Option<i64>,
    value: i64,
}

struct Records<'a> {
    table: &'a Arc<Table>,
    slots: BTreeMap<(TenantId, &'a str), Slot<'a>>,
}

/// How a batch is begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Looks {
    /// All that it touches is looked for.
    Everywhere,
    /// All but the records that must not exist yet are looked for. The batch can be committed then and cannot be refused.
    WhereNeeded,
}

/// A record, or the place where there is none.
#[derive(Default)]
struct Slot<'a> {
    /// Nobody looks for it, because it must not exist yet.
    is_taken_for_new: bool,
    found: Option<u64>,
    /// As the batch leaves it; `None` for no record.
    revision: Option<u64>,
    /// What the batch wrote last, if anything.
    row: Option<&'a NewRow>,
}

#[derive(Default)]
struct Log<'a> {
    found: Option<(i64, i64)>,
    /// What was found goes; the entries make a new one.
    is_deleted: bool,
    entries: Vec<&'a Bytes>,
}

impl<'a> State<'a> {
    /// All that `steps` may touch, as if nothing of it existed.
    pub(crate) fn new(tables: &'a Tables, steps: &'a [Step], looks: Looks) -> Self {
        let mut state = Self { tables, counters: BTreeMap::new(), records: BTreeMap::new(), logs: BTreeMap::new() };
        let is_new = |expect: &Expect| looks == Looks::WhereNeeded && *expect == Expect::Absent;
        for step in steps {
            match step {
                Step::Add(add, writes) => {
                    state.counters.entry(&add.counter).or_default();
                    // They may never be written, and then nothing tells whether they were there.
                    writes.iter().for_each(|write| state.touch(&write.table, &write.key, false));
                }
                Step::Append(Append { log, .. }) | Step::DeleteLog(log) => {
                    state.logs.entry(log).or_default();
                }
                Step::Delete { table, key, .. } => state.touch(table, key, false),
                Step::Put(Write { table, key, expect, .. }) => state.touch(table, key, is_new(expect)),
            }
        }
        state
    }

    /// Whether something was not looked for.
    pub(crate) fn assumes(&self) -> bool {
        self.slots().any(|slot| slot.is_taken_for_new)
    }

    /// Whether something was not looked for that no insert will find.
    pub(crate) fn assumes_blindly(&self) -> bool {
        self.slots().any(|slot| slot.is_taken_for_new && slot.revision.is_none())
    }

    fn slots(&self) -> impl Iterator<Item = &Slot<'a>> {
        self.records.values().flat_map(|records| records.slots.values())
    }

    /// What locks and reads all of it; the rows go to [`State::find`].
    pub(crate) fn locks(&self) -> Vec<Query<'a>> {
        let mut locks = Vec::new();
        if !self.counters.is_empty() {
            let keys = self.counters.keys().map(|key| (key.tenant, key.name.as_str()));
            locks.push(Query { sql: &self.tables.counters.lock, values: key_arrays(keys) });
        }
        for records in self.records.values().filter(|records| records.is_looked_for()) {
            let sought = records.slots.iter().filter(|(_, slot)| !slot.is_taken_for_new);
            locks.push(Query { sql: &records.table.lock, values: key_arrays(sought.map(|(key, _)| *key)) });
        }
        if !self.logs.is_empty() {
            let keys = self.logs.keys().map(|key| (key.tenant, key.name.as_str()));
            locks.push(Query { sql: &self.tables.logs.lock, values: key_arrays(keys) });
        }
        locks
    }

    /// Takes in the rows of [`State::locks`].
    pub(crate) fn find(&mut self, rows: Vec<Vec<Row>>) -> Result<(), Failure> {
        let mut rows = rows.into_iter();
        if !self.counters.is_empty() {
            for row in rows.next().unwrap_or_default() {
                let key = CounterKey { tenant: TenantId::from_uuid(row.try_get(0)?), name: row.try_get(1)? };
                let value = row.try_get(2)?;
                if let Some(counter) = self.counters.get_mut(&key) {
                    *counter = Counter { found: Some(value), value };
                }
            }
        }
        for records in self.records.values_mut().filter(|records| records.is_looked_for()) {
            let mut revisions = BTreeMap::new();
            for row in rows.next().unwrap_or_default() {
                let key: (_, String) = (TenantId::from_uuid(row.try_get(0)?), row.try_get(1)?);
                let revision: i64 = row.try_get(2)?;
                revisions.insert(key, u64::try_from(revision).map_err(|_| records.table.damaged("revision"))?);
            }
            for ((tenant, id), slot) in &mut records.slots {
                slot.found = revisions.remove(&(*tenant, (*id).to_owned()));
                slot.revision = slot.found;
            }
        }
        for row in rows.next().unwrap_or_default() {
            let key = LogKey { tenant: TenantId::from_uuid(row.try_get(0)?), name: row.try_get(1)? };
            let found = Some((row.try_get(2)?, row.try_get(3)?));
            if let Some(log) = self.logs.get_mut(&key) {
                log.found = found;
            }
        }
        Ok(())
    }

    /// Applies `steps` in their order, or says why not.
    pub(crate) fn apply(&mut self, steps: &'a [Step]) -> Result<Committed> {
        let mut committed = Committed::default();
        for step in steps {
            match step {
                Step::Add(add, writes) => self.add(add, writes, &mut committed)?,
                Step::Append(append) => self.append(append)?,
                Step::Delete { key, expect, .. } => self.delete(key, *expect)?,
                Step::DeleteLog(log) => {
                    let log = self.logs.entry(log).or_default();
                    log.is_deleted = true;
                    log.entries.clear();
                }
                Step::Put(write) => self.put(write)?,
            }
        }
        Ok(committed)
    }

    /// What writes the changes.
    pub(crate) fn writes(&self) -> Vec<Query<'a>> {
        let mut writes = Vec::new();
        self.write_counters(&mut writes);
        for records in self.records.values() {
            records.write(&mut writes);
        }
        for (key, log) in &self.logs {
            log.write(self.tables, key, &mut writes);
        }
        writes
    }

    fn touch(&mut self, table: &'a Arc<Table>, key: &'a RecordKey, is_new: bool) {
        let records = || Records { table, slots: BTreeMap::new() };
        let slots = &mut self.records.entry(table.kind).or_insert_with(records).slots;
        // What else the batch does with it does not change what it must be first.
        slots.entry((key.tenant, &key.id)).or_insert_with(|| Slot { is_taken_for_new: is_new, ..Slot::default() });
    }

    fn add(&mut self, add: &'a Add, writes: &'a [Write], committed: &mut Committed) -> Result<()> {
        let counter = self.counters.entry(&add.counter).or_default();
        let before = counter.value;
        counter.value = add.apply(before)?;
        committed.counters.insert(add.counter.clone(), counter.value);
        if add.crossing.as_ref().is_some_and(|crossing| crossing.happens(before, counter.value)) {
            committed.crossed.insert(add.counter.clone());
            writes.iter().try_for_each(|write| self.put(write))?;
        }
        Ok(())
    }

    fn append(&mut self, append: &'a Append) -> Result<()> {
        let log = self.logs.entry(&append.log).or_default();
        if append.seq != log.length() {
            return Err(conflict("a log has another length"));
        }
        log.entries.extend(&append.entries);
        Ok(())
    }

    fn delete(&mut self, key: &'a RecordKey, expect: Expect) -> Result<()> {
        let slot = self.slot(key, expect)?;
        (slot.revision, slot.row) = (None, None);
        Ok(())
    }

    fn put(&mut self, write: &'a Write) -> Result<()> {
        let slot = self.slot(&write.key, write.expect)?;
        slot.revision = Some(slot.revision.map_or(1, |revision| revision + 1));
        slot.row = Some(&write.row);
        Ok(())
    }

    /// The place of `key`, of which `expect` holds.
    fn slot(&mut self, key: &'a RecordKey, expect: Expect) -> Result<&mut Slot<'a>> {
        let slot = self
            .records
            .get_mut(key.kind.as_str())
            .and_then(|records| records.slots.get_mut(&(key.tenant, key.id.as_str())));
        let Some(slot) = slot else {
            return Err(Error::new(ErrorKind::Unexpected, "store.commit", "a record was not locked"));
        };
        if !expect.holds(slot.revision) {
            return Err(conflict("a record is not in the expected state").with_context("kind", &key.kind));
        }
        Ok(slot)
    }

    fn write_counters(&self, writes: &mut Vec<Query<'a>>) {
        let tables = &self.tables.counters;
        for (sql, is_new) in [(&tables.update, false), (&tables.insert, true)] {
            let moved = self.counters.iter().filter(|(_, counter)| {
                counter.found.is_none() == is_new && counter.value != counter.found.unwrap_or(0)
            });
            let (keys, amounts): (Vec<_>, Vec<i64>) =
                moved.map(|(key, counter)| ((key.tenant, key.name.as_str()), counter.value)).unzip();
            if !amounts.is_empty() {
                let mut values = key_arrays(keys.into_iter());
                values.push(Box::new(amounts));
                writes.push(Query { sql, values });
            }
        }
    }
}

impl<'a> Records<'a> {
    fn is_looked_for(&self) -> bool {
        self.slots.values().any(|slot| !slot.is_taken_for_new)
    }

    fn write(&self, writes: &mut Vec<Query<'a>>) {
        let gone = self.slots.iter().filter(|(_, slot)| slot.found.is_some() && slot.revision.is_none());
        let gone: Vec<_> = gone.map(|(key, _)| *key).collect();
        if !gone.is_empty() {
            writes.push(Query { sql: &self.table.delete, values: key_arrays(gone.into_iter()) });
        }
        for (sql, is_new) in [(&self.table.update, false), (&self.table.insert, true)] {
            let written = self.slots.iter().filter(|(_, slot)| slot.found.is_none() == is_new);
            let rows: Vec<(_, u64, &NewRow)> =
                written.filter_map(|(key, slot)| Some((*key, slot.revision?, slot.row?))).collect();
            if !rows.is_empty() {
                writes.push(Query { sql, values: self.row_arrays(&rows) });
            }
        }
    }

    /// One array for each column.
    fn row_arrays(&self, rows: &[((TenantId, &'a str), u64, &'a NewRow)]) -> Vec<Value<'a>> {
        let mut values = key_arrays(rows.iter().map(|(key, _, _)| *key));
        let revision = |revision: u64| i64::try_from(revision).unwrap_or(i64::MAX);
        values.push(Box::new(rows.iter().map(|(_, number, _)| revision(*number)).collect::<Vec<_>>()));
        values.push(Box::new(rows.iter().map(|(_, _, row)| row.due_at).collect::<Vec<_>>()));
        values.push(Box::new(rows.iter().map(|(_, _, row)| row.body.as_str()).collect::<Vec<_>>()));
        for (column, (_, r#type)) in self.table.columns.iter().enumerate() {
            let cells = rows.iter().map(|(_, _, row)| row.indexes.get(column).and_then(Option::as_ref));
            values.push(match r#type {
                IndexType::Integer => Box::new(cells.map(integer).collect::<Vec<_>>()),
                IndexType::Text => Box::new(cells.map(text).collect::<Vec<_>>()),
            });
        }
        values
    }
}

impl<'a> Log<'a> {
    fn length(&self) -> u64 {
        let found = self.found.filter(|_| !self.is_deleted).map_or(0, |(_, length)| length);
        u64::try_from(found).unwrap_or(u64::MAX).saturating_add(self.entries.len() as u64)
    }

    fn write(&self, tables: &'a Tables, key: &'a LogKey, writes: &mut Vec<Query<'a>>) {
        let mut found = self.found;
        if let (true, Some((log_id, _))) = (self.is_deleted, found) {
            writes.push(Query { sql: &tables.logs.delete, values: vec![Box::new(log_id)] });
            found = None;
        }
        if self.entries.is_empty() {
            return;
        }
        let entries: Value<'a> = Box::new(self.entries.iter().map(|entry| &entry[..]).collect::<Vec<_>>());
        writes.push(match found {
            Some((log_id, length)) => {
                Query { sql: &tables.logs.append, values: vec![Box::new(log_id), Box::new(length), entries] }
            }
            None => Query {
                sql: &tables.logs.create,
                values: vec![Box::new(key.tenant.as_uuid()), Box::new(&key.name), entries],
            },
        });
    }
}

/// Tenants and names, each as an array.
pub(crate) fn key_arrays<'a>(keys: impl Iterator<Item = (TenantId, &'a str)>) -> Vec<Value<'a>> {
    let (tenants, names): (Vec<_>, Vec<&str>) = keys.map(|(tenant, name)| (tenant.as_uuid(), name)).unzip();
    vec![Box::new(tenants), Box::new(names)]
}

fn integer(value: Option<&IndexValue>) -> Option<i64> {
    match value {
        Some(IndexValue::Integer(number)) => Some(*number),
        _ => None,
    }
}

fn text(value: Option<&IndexValue>) -> Option<&str> {
    match value {
        Some(IndexValue::Text(text)) => Some(text),
        _ => None,
    }
}
