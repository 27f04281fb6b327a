//! Durable state: records, bounded counters and append-only logs under one atomic commit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::ProviderInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::TenantId;
use crate::time::Timestamp;

pub mod catalog;
pub mod changes;
pub mod cursor;

/// Most records in one [`Page`] or one [`Store::claim`], and most entries in one [`Store::read_log`].
pub const LIMIT_MAX: u32 = 1_000;

/// A store. Records are typed by the engine and opaque here.
///
/// Every method answers `ConfigInvalid` for a kind that the schema does not declare and for what [`catalog`] refuses.
#[async_trait]
pub trait Store: Send + Sync {
    /// Who this is.
    fn info(&self) -> ProviderInfo;

    /// The record, if there is one.
    async fn get(&self, key: RecordKey) -> Result<Option<Record>>;

    /// Records that match `query`.
    ///
    /// `ConfigInvalid` for a kind or an index that the schema does not declare, or a cursor that this store did not make.
    async fn list(&self, query: Query) -> Result<Page>;

    /// How many records match `query`; its order, position and limit do not count.
    async fn count(&self, query: Query) -> Result<u64>;

    /// A number that is another one as soon as a write to a record of `kind`, of `tenant` or of anybody, was acknowledged to
    /// whomever: what was read after it was asked for is still so while it stays the same. `None` where telling would cost
    /// as much as reading.
    fn version(&self, tenant: Option<TenantId>, kind: &str) -> Option<u64>;

    /// Applies all of `batch` or, on any error, nothing of it.
    ///
    /// `Conflict` when an [`Expect`] or a log's sequence does not hold; `InsufficientFunds` when an [`Add`] would pass its
    /// floor, `RateLimited` when it would pass its ceiling. `TimedOut` and `Unavailable` leave open whether it happened.
    async fn commit(&self, batch: Batch) -> Result<Committed>;

    /// Hands each record of `kind` whose `due_at` has come to exactly one worker, earliest first, and moves its `due_at`
    /// to `now + lease`, so that it comes back if the worker dies. The returned records are as after that move, which
    /// counts as a write: a worker that outlived its lease finds its revision gone. `limit` is clamped as in a [`Query`].
    ///
    /// Clocks of workers may differ: a lease is as much shorter or longer for another worker as their clocks are apart.
    async fn claim(&self, kind: String, now: Timestamp, lease: Duration, limit: u32) -> Result<Vec<Record>>;

    /// Appends `entries` to `log`, the first of them as number `seq`, counted from zero.
    ///
    /// `Conflict` unless `seq` is the log's length, so that a log has no gap and no double.
    async fn append(&self, log: LogKey, seq: u64, entries: Vec<Bytes>) -> Result<()>;

    /// At most `limit` entries of `log` from number `seq`; none when there is no such log. `limit` is clamped as in a
    /// [`Query`].
    async fn read_log(&self, log: LogKey, seq: u64, limit: u32) -> Result<Vec<Bytes>>;
}

/// The kinds of records that a store must hold, with what they can be found by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Schema {
    /// Each declared once.
    pub kinds: Vec<KindSchema>,
}

/// One kind of record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KindSchema {
    /// The kind's name: `a-z`, `0-9` and `_`.
    pub name: &'static str,
    /// Declared indexes: name (`a-z`, `0-9` and `_`) and type. A record that was written before an index was declared
    /// lacks it until it is written again.
    pub indexes: Vec<(&'static str, IndexType)>,
}

/// The type of an index.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IndexType {
    /// Signed 64-bit.
    Integer,
    /// UTF-8, compared byte by byte.
    Text,
}

/// The value of an index.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IndexValue {
    /// Of an [`IndexType::Integer`].
    Integer(i64),
    /// Of an [`IndexType::Text`].
    Text(String),
}

impl From<&str> for IndexValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for IndexValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for IndexValue {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

/// Where a record is.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RecordKey {
    /// Whose it is.
    pub tenant: TenantId,
    /// A kind of the schema.
    pub kind: String,
    /// Unique in tenant and kind.
    pub id: String,
}

impl RecordKey {
    /// The record `id` of `kind`.
    pub fn new(tenant: TenantId, kind: impl Into<String>, id: impl ToString) -> Self {
        Self { tenant, kind: kind.into(), id: id.to_string() }
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Where it is.
    pub key: RecordKey,
    /// Counts its writes, from one.
    pub revision: u64,
    /// What it can be found by; a declared index may be missing.
    pub indexes: BTreeMap<String, IndexValue>,
    /// When [`Store::claim`] hands it out; `None` for never.
    pub due_at: Option<Timestamp>,
    /// The content.
    pub body: serde_json::Value,
}

/// Which records to list.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub struct Query {
    /// Whose; `None` for all tenants.
    pub tenant: Option<TenantId>,
    /// Which kind.
    pub kind: String,
    /// Indexes that must have exactly these values.
    pub equal: BTreeMap<String, IndexValue>,
    /// An index whose value must lie in `from..to`; a missing bound is open. A record without the index is outside.
    pub range: Option<IndexRange>,
    /// The order.
    pub order: Order,
    /// Where to go on.
    pub position: Position,
    /// Records in the page at most, clamped to `1..=`[`LIMIT_MAX`].
    pub limit: u32,
}

impl Query {
    /// All records of `kind`, of `tenant` or of all, newest id first.
    pub fn new(tenant: Option<TenantId>, kind: impl Into<String>) -> Self {
        Self {
            tenant,
            kind: kind.into(),
            equal: BTreeMap::new(),
            range: None,
            order: Order::IdDescending,
            position: Position::Offset(0),
            limit: LIMIT_MAX,
        }
    }

    /// Only records whose `index` is `value`.
    #[must_use]
    pub fn equal(mut self, index: impl Into<String>, value: impl Into<IndexValue>) -> Self {
        self.equal.insert(index.into(), value.into());
        self
    }

    /// Only records whose `index` lies in `from..to`; a missing bound is open.
    #[must_use]
    pub fn range(mut self, index: impl Into<String>, from: Option<IndexValue>, to: Option<IndexValue>) -> Self {
        self.range = Some(IndexRange { index: index.into(), from, to });
        self
    }

    /// In this order.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// After the page that gave `cursor`.
    #[must_use]
    pub fn after(mut self, cursor: impl Into<String>) -> Self {
        self.position = Position::After(cursor.into());
        self
    }

    /// After `records` records.
    #[must_use]
    pub fn offset(mut self, records: u64) -> Self {
        self.position = Position::Offset(records);
        self
    }

    /// At most `limit` records.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }
}

/// A half-open range of an index.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct IndexRange {
    /// The index.
    pub index: String,
    /// First value inside.
    pub from: Option<IndexValue>,
    /// First value outside.
    pub to: Option<IndexValue>,
}

/// The order of a list. Ids break ties, in the same direction; records without the index come last.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Order {
    /// Oldest id first.
    IdAscending,
    /// Newest id first.
    IdDescending,
    /// By an index, smallest first.
    IndexAscending(String),
    /// By an index, largest first.
    IndexDescending(String),
}

/// Where a list goes on.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Position {
    /// After the page that gave this cursor in [`Page::next`]; stable while records are added.
    After(String),
    /// After that many records.
    Offset(u64),
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// In the query's order.
    pub records: Vec<Record>,
    /// The cursor of the next page, when there is one.
    pub next: Option<String>,
}

/// Operations that happen together or not at all, in their order.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The operations.
    pub operations: Vec<Operation>,
}

impl Batch {
    /// Writes a record.
    pub fn put(&mut self, put: Put) -> &mut Self {
        self.operations.push(Operation::Put(put));
        self
    }

    /// Moves a counter.
    pub fn add(&mut self, add: Add) -> &mut Self {
        self.operations.push(Operation::Add(add));
        self
    }

    /// Appends to a log.
    pub fn append(&mut self, log: LogKey, seq: u64, entries: Vec<Bytes>) -> &mut Self {
        self.operations.push(Operation::Append(Append { log, seq, entries }));
        self
    }

    /// Removes a record.
    pub fn delete(&mut self, key: RecordKey, expect: Expect) -> &mut Self {
        self.operations.push(Operation::Delete(Delete { key, expect }));
        self
    }

    /// Removes a log.
    pub fn delete_log(&mut self, log: LogKey) -> &mut Self {
        self.operations.push(Operation::DeleteLog(log));
        self
    }
}

/// One operation of a [`Batch`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Operation {
    /// Moves a counter.
    Add(Add),
    /// Appends to a log.
    Append(Append),
    /// Removes a record.
    Delete(Delete),
    /// Removes a log with all its entries. Removing none is no error.
    DeleteLog(LogKey),
    /// Writes a record.
    Put(Put),
}

/// What must hold of a record before it is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expect {
    /// There is none.
    Absent,
    /// Anything.
    Any,
    /// It exists in this revision.
    Revision(u64),
}

impl Expect {
    /// Whether it holds of a record in `revision`, or of none.
    pub fn holds(self, revision: Option<u64>) -> bool {
        match self {
            Self::Absent => revision.is_none(),
            Self::Any => true,
            Self::Revision(expected) => revision == Some(expected),
        }
    }
}

/// Writes a record. Its revision becomes one more than before, or one.
#[derive(Clone, Debug)]
pub struct Put {
    /// Where.
    pub key: RecordKey,
    /// What must hold before.
    pub expect: Expect,
    /// As in [`Record`]; only declared indexes, of their declared type.
    pub indexes: BTreeMap<String, IndexValue>,
    /// As in [`Record`].
    pub due_at: Option<Timestamp>,
    /// As in [`Record`].
    pub body: serde_json::Value,
}

impl Put {
    /// Writes `body` at `key`, without indexes and never due.
    pub fn new(key: RecordKey, expect: Expect, body: serde_json::Value) -> Self {
        Self { key, expect, indexes: BTreeMap::new(), due_at: None, body }
    }

    /// Sets an index.
    #[must_use]
    pub fn index(mut self, name: impl Into<String>, value: impl Into<IndexValue>) -> Self {
        self.indexes.insert(name.into(), value.into());
        self
    }

    /// Makes it due at `moment`.
    #[must_use]
    pub fn due_at(mut self, moment: Timestamp) -> Self {
        self.due_at = Some(moment);
        self
    }
}

/// Removes a record. Removing nothing is an error only when `expect` names a revision.
#[derive(Clone, Debug)]
pub struct Delete {
    /// Where.
    pub key: RecordKey,
    /// What must hold before.
    pub expect: Expect,
}

/// The name of a counter. A counter that was never moved is zero.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct CounterKey {
    /// Whose it is.
    pub tenant: TenantId,
    /// Unique in the tenant.
    pub name: String,
}

impl CounterKey {
    /// The counter `name` of `tenant`.
    pub fn new(tenant: TenantId, name: impl Into<String>) -> Self {
        Self { tenant, name: name.into() }
    }
}

/// Moves a counter by `delta`, but never past a bound. A delta of zero reads it.
///
/// A bound is checked only in the direction of the move: a counter beyond a bound may always move back. Without a bound a
/// move past the 64 bits is `ConfigInvalid`.
#[derive(Clone, Debug)]
pub struct Add {
    /// Which.
    pub counter: CounterKey,
    /// By how much.
    pub delta: i64,
    /// Least value after a downward move.
    pub floor: Option<i64>,
    /// Greatest value after an upward move.
    pub ceiling: Option<i64>,
    /// What else is written when the counter sinks below a threshold.
    pub crossing: Option<Crossing>,
}

/// Records that are written in the commit that takes a counter from `below` or more to less than `below`, and in no other:
/// once for each time that the counter sinks, whoever else moves it. They are written right after the move, and fail the
/// whole commit if they cannot be.
#[derive(Clone, Debug)]
pub struct Crossing {
    /// The least value that is not yet across.
    pub below: i64,
    /// What is written. Each counts as an operation of the batch.
    pub then: Vec<Put>,
}

impl Crossing {
    /// Whether a move from `before` to `after` crosses.
    pub fn happens(&self, before: i64, after: i64) -> bool {
        before >= self.below && after < self.below
    }
}

impl Add {
    /// Moves `counter` by `delta`, without bounds.
    pub fn new(counter: CounterKey, delta: i64) -> Self {
        Self { counter, delta, floor: None, ceiling: None, crossing: None }
    }

    /// Reads `counter`.
    pub fn read(counter: CounterKey) -> Self {
        Self::new(counter, 0)
    }

    /// Moves down to `floor` at most.
    #[must_use]
    pub fn floor(mut self, floor: i64) -> Self {
        self.floor = Some(floor);
        self
    }

    /// Moves up to `ceiling` at most.
    #[must_use]
    pub fn ceiling(mut self, ceiling: i64) -> Self {
        self.ceiling = Some(ceiling);
        self
    }

    /// Writes `then` as well if this takes the counter below `below`.
    #[must_use]
    pub fn crossing(mut self, below: i64, then: Vec<Put>) -> Self {
        self.crossing = Some(Crossing { below, then });
        self
    }

    /// Where this takes a counter that stands at `value`, or why it may not.
    pub fn apply(&self, value: i64) -> Result<i64> {
        let moved = value.checked_add(self.delta);
        let passes_floor = self.delta < 0 && self.floor.is_some_and(|floor| moved.is_none_or(|moved| moved < floor));
        let passes_ceiling = self.delta > 0 && self.ceiling.is_some_and(|most| moved.is_none_or(|moved| moved > most));
        let refuse = |kind, message| Err(Error::new(kind, "store.commit", message));
        match moved {
            _ if passes_floor => refuse(ErrorKind::InsufficientFunds, "a counter would pass its floor"),
            _ if passes_ceiling => refuse(ErrorKind::RateLimited, "a counter would pass its ceiling"),
            Some(moved) => Ok(moved),
            None => refuse(ErrorKind::ConfigInvalid, "a counter would leave the range of 64 bits"),
        }
    }
}

/// The name of a log.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct LogKey {
    /// Whose it is.
    pub tenant: TenantId,
    /// Unique in the tenant.
    pub name: String,
}

impl LogKey {
    /// The log `name` of `tenant`.
    pub fn new(tenant: TenantId, name: impl Into<String>) -> Self {
        Self { tenant, name: name.into() }
    }
}

/// Appends to a log; see [`Store::append`].
#[derive(Clone, Debug)]
pub struct Append {
    /// Which.
    pub log: LogKey,
    /// Number of the first entry.
    pub seq: u64,
    /// The entries.
    pub entries: Vec<Bytes>,
}

/// What a commit did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Committed {
    /// Each counter that was moved, with its value after the commit.
    pub counters: BTreeMap<CounterKey, i64>,
    /// The counters of each [`Crossing`] that happened.
    pub crossed: BTreeSet<CounterKey>,
}
