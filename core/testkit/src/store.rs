//! What every [`Store`] promises.

mod claims;
mod counters;
mod lists;
mod logs;
pub mod model;
pub mod processes;
mod records;
pub mod whole;

use std::sync::Arc;

use offhook::provider::Store;
use offhook::provider::store::{
    Add, Batch, CounterKey, Expect, IndexType, KindSchema, LogKey, Operation, Put, Record, RecordKey, Schema,
};
use offhook::time::Timestamp;
use offhook::{ErrorKind, Result};
use serde_json::json;

use crate::behaviour::Suite;

pub use offhook::ids::TenantId;

/// A kind of [`schema`] with indexes: [`COLOUR`], [`LABEL`] and [`SIZE`].
pub const THING: &str = "thing";
/// A kind of [`schema`] without indexes.
pub const PLAIN: &str = "plain";
/// An [`IndexType::Text`] of [`THING`].
pub const COLOUR: &str = "colour";
/// Another [`IndexType::Text`] of [`THING`].
pub const LABEL: &str = "label";
/// An [`IndexType::Integer`] of [`THING`].
pub const SIZE: &str = "size";

/// What the store under test must be made for.
pub fn schema() -> Schema {
    let indexes = vec![(COLOUR, IndexType::Text), (LABEL, IndexType::Text), (SIZE, IndexType::Integer)];
    Schema { kinds: vec![KindSchema { name: THING, indexes }, KindSchema { name: PLAIN, indexes: Vec::new() }] }
}

/// The promises. Every case wants an empty store of [`schema`].
pub fn suite() -> Suite<Arc<dyn Store>> {
    let tables = [records::cases(), counters::cases(), logs::cases(), lists::cases(), claims::cases()];
    Suite::new(tables.into_iter().flatten().collect())
}

/// The tenant number `number`; they sort by number.
pub fn tenant(number: u8) -> TenantId {
    TenantId::new(Timestamp::from_unix_micros(1_800_000_000_000_000), [number; 10])
}

fn thing(id: impl ToString) -> RecordKey {
    RecordKey::new(tenant(1), THING, id)
}

fn put(id: impl ToString) -> Put {
    Put::new(thing(id), Expect::Any, json!({}))
}

fn counter(name: &str) -> CounterKey {
    CounterKey::new(tenant(1), name)
}

fn log(name: &str) -> LogKey {
    LogKey::new(tenant(1), name)
}

fn move_by(name: &str, delta: i64) -> Add {
    Add::new(counter(name), delta)
}

fn batch(operations: impl IntoIterator<Item = Operation>) -> Batch {
    let mut batch = Batch::default();
    batch.operations.extend(operations);
    batch
}

async fn put_all(store: &dyn Store, puts: impl IntoIterator<Item = Put>) -> Result<()> {
    store.commit(batch(puts.into_iter().map(Operation::Put))).await.map(|_| ())
}

async fn add(store: &dyn Store, add: Add) -> Result<i64> {
    let counter = add.counter.clone();
    let committed = store.commit(batch([Operation::Add(add)])).await?;
    Ok(committed.counters[&counter])
}

async fn value_of(store: &dyn Store, name: &str) -> Result<i64> {
    add(store, move_by(name, 0)).await
}

fn ids(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.key.id.as_str()).collect()
}

/// The kind of error, or `None` for a success.
fn refusal<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}
