//! A checked [`Schema`], and the checks of requests that are the same for every store.

use std::collections::BTreeMap;

use serde_json::Value;

use super::cursor::Cursor;
use super::{
    Batch, Crossing, IndexType, IndexValue, LogKey, Operation, Order, Position, Put, Query, RecordKey, Schema,
};
use crate::error::{Error, ErrorKind, Result};

/// Longest name of a kind or an index, in bytes.
pub const NAME_BYTES_MAX: usize = 48;
/// Longest id, index text, counter name or log name, in bytes.
pub const KEY_BYTES_MAX: usize = 1_024;
/// Deepest nesting of arrays and objects in a body. JSON parsers refuse more than about 128.
pub const BODY_DEPTH_MAX: usize = 100;

/// Levels of what customers and models send that becomes a part of a body: with what stands around it, it must fit.
pub(crate) const FOREIGN_DEPTH_MAX: usize = 32;
/// Most operations in one [`Batch`], those of its [`Crossing`]s included.
pub const OPERATIONS_MAX: usize = 10_000;

/// What every record has besides its indexes, and what no index may therefore be called.
const RESERVED: [&str; 5] = ["body", "due_at", "id", "revision", "tenant"];

/// The indexes of one kind, by name.
pub type Indexes = BTreeMap<&'static str, IndexType>;

/// A [`Schema`] whose names are sound. All its checks answer `ConfigInvalid`, and say no id and no value.
#[derive(Clone, Debug)]
pub struct Catalog {
    kinds: BTreeMap<&'static str, Indexes>,
}

impl Catalog {
    /// Checks that names are short, of `a-z`, `0-9` and `_`, declared once, and not the name of a part of every record.
    pub fn new(schema: &Schema) -> Result<Self> {
        let mut kinds = BTreeMap::new();
        for kind in &schema.kinds {
            check_name("store.open", kind.name)?;
            let mut indexes = Indexes::new();
            for (index, r#type) in &kind.indexes {
                check_name("store.open", index)?;
                if RESERVED.contains(index) {
                    return Err(invalid("store.open", "an index has a reserved name").with_context("index", index));
                }
                if indexes.insert(*index, *r#type).is_some() {
                    return Err(invalid("store.open", "an index is declared twice").with_context("index", index));
                }
            }
            if kinds.insert(kind.name, indexes).is_some() {
                return Err(invalid("store.open", "a kind is declared twice").with_context("kind", kind.name));
            }
        }
        Ok(Self { kinds })
    }

    /// The kinds with their indexes, in the order of their names.
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, &Indexes)> {
        self.kinds.iter().map(|(name, indexes)| (*name, indexes))
    }

    /// The indexes of `kind`.
    pub fn indexes(&self, operation: &'static str, kind: &str) -> Result<&Indexes> {
        self.kinds.get(kind).ok_or_else(|| invalid(operation, "no such kind").with_context("kind", kind))
    }

    /// Checks a key.
    pub fn check_key(&self, operation: &'static str, key: &RecordKey) -> Result<()> {
        self.indexes(operation, &key.kind)?;
        check_text(operation, "an id", &key.id)
    }

    /// Checks the name of a log.
    pub fn check_log(&self, operation: &'static str, log: &LogKey) -> Result<()> {
        check_text(operation, "a log's name", &log.name)
    }

    /// Checks everything in a batch that does not depend on what is stored.
    pub fn check_batch(&self, operation: &'static str, batch: &Batch) -> Result<()> {
        let crossings = batch.operations.iter().filter_map(crossing);
        let operations = batch.operations.len() + crossings.map(|crossing| crossing.then.len()).sum::<usize>();
        if operations > OPERATIONS_MAX {
            return Err(invalid(operation, "a batch has too many operations").with_context("most", OPERATIONS_MAX));
        }
        batch.operations.iter().try_for_each(|step| match step {
            Operation::Add(add) => {
                check_text(operation, "a counter's name", &add.counter.name)?;
                let mut puts = add.crossing.iter().flat_map(|crossing| &crossing.then);
                puts.try_for_each(|put| self.check_put(operation, put))
            }
            Operation::Append(append) => self.check_log(operation, &append.log),
            Operation::Delete(delete) => self.check_key(operation, &delete.key),
            Operation::DeleteLog(log) => self.check_log(operation, log),
            Operation::Put(put) => self.check_put(operation, put),
        })
    }

    /// Checks a query and reads the cursor that it goes on from.
    pub fn check_query(&self, operation: &'static str, query: &Query) -> Result<Option<Cursor>> {
        let indexes = self.indexes(operation, &query.kind)?;
        for (index, value) in &query.equal {
            check_value(operation, indexes, index, value)?;
        }
        if let Some(range) = &query.range {
            index_type(operation, indexes, &range.index)?;
            for value in range.from.iter().chain(&range.to) {
                check_value(operation, indexes, &range.index, value)?;
            }
        }
        if let Order::IndexAscending(index) | Order::IndexDescending(index) = &query.order {
            index_type(operation, indexes, index)?;
        }
        let Position::After(text) = &query.position else {
            return Ok(None);
        };
        let cursor = Cursor::decode(text, query)
            .filter(|cursor| self.fits(indexes, query, cursor))
            .ok_or_else(|| invalid(operation, "not a cursor of this list"))?;
        Ok(Some(cursor))
    }

    fn check_put(&self, operation: &'static str, put: &Put) -> Result<()> {
        self.check_key(operation, &put.key)?;
        let indexes = self.indexes(operation, &put.key.kind)?;
        for (index, value) in &put.indexes {
            check_value(operation, indexes, index, value)?;
        }
        if !nests_within(&put.body, BODY_DEPTH_MAX) {
            return Err(invalid(operation, "a body is nested too deeply").with_context("most", BODY_DEPTH_MAX));
        }
        Ok(())
    }

    fn fits(&self, indexes: &Indexes, query: &Query, cursor: &Cursor) -> bool {
        let Some(value) = &cursor.value else { return true };
        match &query.order {
            Order::IdAscending | Order::IdDescending => false,
            Order::IndexAscending(index) | Order::IndexDescending(index) => {
                check_value("store.list", indexes, index, value).is_ok()
            }
        }
    }
}

fn crossing(operation: &Operation) -> Option<&Crossing> {
    match operation {
        Operation::Add(add) => add.crossing.as_ref(),
        Operation::Append(_) | Operation::Delete(_) | Operation::DeleteLog(_) | Operation::Put(_) => None,
    }
}

fn check_name(operation: &'static str, name: &str) -> Result<()> {
    let sound = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if sound {
        return Ok(());
    }
    Err(invalid(operation, "a name is not 1 to 48 of a-z, 0-9 and _").with_context("name", name.escape_debug()))
}

fn check_text(operation: &'static str, what: &str, text: &str) -> Result<()> {
    if text.len() > KEY_BYTES_MAX {
        return Err(invalid(operation, &format!("{what} is longer than {KEY_BYTES_MAX} bytes")));
    }
    // Several databases cannot hold it in text.
    if text.contains('\0') {
        return Err(invalid(operation, &format!("{what} holds a NUL character")));
    }
    Ok(())
}

fn check_value(operation: &'static str, indexes: &Indexes, index: &str, value: &IndexValue) -> Result<()> {
    match (index_type(operation, indexes, index)?, value) {
        (IndexType::Integer, IndexValue::Integer(_)) => Ok(()),
        (IndexType::Text, IndexValue::Text(text)) => check_text(operation, "an index text", text),
        _ => Err(invalid(operation, "an index has a value of the other type").with_context("index", index)),
    }
}

fn index_type(operation: &'static str, indexes: &Indexes, index: &str) -> Result<IndexType> {
    indexes.get(index).copied().ok_or_else(|| invalid(operation, "no such index").with_context("index", index))
}

/// Whether `value` has at most so many levels of lists and objects.
pub(crate) fn nests_within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| nests_within(item, levels - 1)),
        Value::Object(fields) => levels > 0 && fields.values().all(|field| nests_within(field, levels - 1)),
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => true,
    }
}

fn invalid(operation: &'static str, message: &str) -> Error {
    Error::new(ErrorKind::ConfigInvalid, operation, message)
}

#[cfg(test)]
mod tests {
    use super::super::KindSchema;
    use super::*;

    #[test]
    fn names_that_sql_or_a_record_could_trip_over_are_refused() {
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for name in ["", "Call", "call-leg", "call\"", "é", &long] {
            assert_refused(vec![kind(name, &[])], name);
            assert_refused(vec![kind("call", &[name.to_owned().leak()])], name);
        }
        assert_refused(vec![kind("call", &["tenant"])], "reserved");
        assert_refused(vec![kind("call", &["status", "status"])], "index twice");
        assert_refused(vec![kind("call", &[]), kind("call", &[])], "kind twice");
        assert!(Catalog::new(&Schema { kinds: vec![kind("call", &["status", "2nd_leg"]), kind("0", &[])] }).is_ok());
    }

    fn assert_refused(kinds: Vec<KindSchema>, why: &str) {
        let kind = Catalog::new(&Schema { kinds }).map(|_| ()).map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::ConfigInvalid), "{why}");
    }

    fn kind(name: &str, indexes: &[&'static str]) -> KindSchema {
        KindSchema {
            name: name.to_owned().leak(),
            indexes: indexes.iter().map(|name| (*name, IndexType::Text)).collect(),
        }
    }
}
