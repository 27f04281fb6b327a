//! What becomes of a file: reopened, grown with the schema, damaged, locked, or not ours.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future::block_on;
use offhook::ids::TenantId;
use offhook::provider::Store;
use offhook::provider::store::{
    Add, Batch, CounterKey, Expect, IndexType, IndexValue, KindSchema, LogKey, Order, Put, Query, RecordKey, Schema,
};
use offhook::time::Timestamp;
use offhook::{ErrorKind, Result};
use offhook_sqlite::SqliteStore;
use offhook_testkit::store::tenant;
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

#[test]
fn a_reopened_file_has_everything() {
    let file = File::new();
    let log = LogKey::new(tenant(1), "log");
    let store = file.open(&[("status", IndexType::Text)]).unwrap();
    let mut batch = Batch::default();
    let due_at = Timestamp::from_unix_micros(5);
    batch
        .put(Put::new(call("a"), Expect::Absent, json!({"name": "Ana"})).index("status", "ended").due_at(due_at))
        .add(Add::new(CounterKey::new(tenant(1), "balance"), 7))
        .append(log.clone(), 0, vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")]);
    block_on(store.commit(batch)).unwrap();
    let before = block_on(store.get(call("a"))).unwrap();
    drop(store);

    let store = file.open(&[("status", IndexType::Text)]).unwrap();
    assert_eq!(block_on(store.get(call("a"))).unwrap(), before);
    assert_eq!(balance(&store), 7);
    assert_eq!(block_on(store.read_log(log.clone(), 0, 10)).unwrap().len(), 2);
    block_on(store.append(log, 2, vec![Bytes::new()])).unwrap();
    assert_eq!(block_on(store.claim("call".into(), due_at, Duration::ZERO, 1)).unwrap().len(), 1);
}

#[test]
fn opening_again_changes_nothing() {
    let file = File::new();
    let schema_version = || {
        let connection = Connection::open(&file.path).unwrap();
        connection.pragma_query_value(None, "schema_version", |row| row.get::<_, i64>(0)).unwrap()
    };
    drop(file.open(&[("status", IndexType::Text), ("started_at", IndexType::Integer)]).unwrap());
    let before = schema_version();
    drop(file.open(&[("status", IndexType::Text), ("started_at", IndexType::Integer)]).unwrap());
    assert_eq!(schema_version(), before);
}

#[test]
fn a_file_left_by_its_last_store_is_whole_by_itself() {
    let file = File::new();
    let store = file.open(&[]).unwrap();
    put(&store, Put::new(call("a"), Expect::Absent, json!({})));
    drop(store);
    let mut left: Vec<_> = fs::read_dir(file.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["calls.db"]);
}

#[test]
fn kinds_and_indexes_may_be_added_later() {
    let file = File::new();
    let store = file.open(&[("status", IndexType::Text)]).unwrap();
    put(&store, Put::new(call("old"), Expect::Absent, json!({})).index("status", "ended"));
    drop(store);

    let mut schema = schema(&[("status", IndexType::Text), ("size", IndexType::Integer)]);
    schema.kinds.push(KindSchema { name: "agent", indexes: vec![("name", IndexType::Text)] });
    let store = SqliteStore::open(&file.path, schema.clone()).unwrap();
    let record = block_on(store.get(call("old"))).unwrap().unwrap();
    assert_eq!(record.indexes, [("status".to_owned(), IndexValue::from("ended"))].into());
    put(&store, Put::new(call("new"), Expect::Absent, json!({})).index("size", 3));
    put(&store, Put::new(RecordKey::new(tenant(1), "agent", "a"), Expect::Absent, json!({})).index("name", "Ana"));
    let by_size = Query::new(None, "call").order(Order::IndexAscending("size".into()));
    assert_eq!(ids(&store, by_size), ["new", "old"]);
    drop(store);

    let rows = file.query("SELECT id || ' ' || coalesce(status, '-') || ' ' || coalesce(size, '-') FROM call_view");
    assert_eq!(rows, ["old ended -", "new - 3"]);
    assert_eq!(file.query("SELECT name FROM agent_view"), ["Ana"]);
}

#[test]
fn an_index_that_is_no_longer_declared_is_kept_and_no_hindrance() {
    let file = File::new();
    let store = file.open(&[("status", IndexType::Text)]).unwrap();
    put(&store, Put::new(call("a"), Expect::Absent, json!({})).index("status", "ended"));
    drop(store);
    let store = file.open(&[]).unwrap();
    assert!(block_on(store.get(call("a"))).unwrap().unwrap().indexes.is_empty());
    put(&store, Put::new(call("b"), Expect::Absent, json!({})));
    drop(store);
    let store = file.open(&[("status", IndexType::Text)]).unwrap();
    assert_eq!(ids(&store, Query::new(None, "call").equal("status", "ended")), ["a"]);
}

#[test]
fn views_show_moments_and_bodies_to_people() {
    let file = File::new();
    let store = file.open(&[("started_at", IndexType::Integer), ("size", IndexType::Integer)]).unwrap();
    let row = |id, micros: i64| {
        let due_at = Timestamp::from_unix_micros(micros);
        Put::new(call(id), Expect::Absent, json!({"to": id}))
            .due_at(due_at)
            .index("started_at", micros)
            .index("size", 9)
    };
    put(&store, row("a", 1_763_622_000_123_999));
    put(&store, row("b", -1));
    put(&store, row("c", i64::MAX));
    put(&store, Put::new(call("d"), Expect::Absent, json!(null)));
    let rows = file.query(
        "SELECT concat_ws(' ', id, revision, due_at, started_at, size, body ->> '$.to') FROM call_view ORDER BY id",
    );
    assert_eq!(
        rows,
        [
            "a 1 2025-11-20T07:00:00.123999Z 2025-11-20T07:00:00.123999Z 9 a",
            "b 1 1969-12-31T23:59:59.999999Z 1969-12-31T23:59:59.999999Z 9 b",
            "c 1 9223372036854775807 9223372036854775807 9 c",
            "d 1",
        ]
    );
    assert_eq!(file.query("SELECT tenant FROM call_view WHERE id = 'a'"), [tenant(1).to_string()]);
}

#[test]
fn files_that_cannot_be_used_say_why() {
    let file = File::new();
    for garbage in [&b"not a database"[..], &[0xff; 5_000], b"SQLite format 3\0 but then no more of it"] {
        fs::write(&file.path, garbage).unwrap();
        assert_eq!(file.refusal(&[]), (ErrorKind::ConfigInvalid, "the file is not an SQLite database".into()));
        assert_eq!(fs::read(&file.path).unwrap(), garbage);
    }
    fs::remove_file(&file.path).unwrap();
    fs::create_dir(&file.path).unwrap();
    assert_eq!(file.refusal(&[]).0, ErrorKind::ConfigInvalid);
    let nowhere = SqliteStore::open("/nowhere/at/all.db", schema(&[]));
    assert_eq!(nowhere.err().map(|error| error.kind()), Some(ErrorKind::ConfigInvalid));
}

#[test]
fn files_of_others_are_left_alone() {
    let file = File::new();
    Connection::open(&file.path).unwrap().execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
    let before = fs::read(&file.path).unwrap();
    assert_eq!(file.refusal(&[]), (ErrorKind::ConfigInvalid, "the database belongs to another program".into()));
    assert_eq!(fs::read(&file.path).unwrap(), before);
}

#[test]
fn files_of_newer_releases_are_left_alone() {
    let file = File::new();
    drop(file.open(&[]).unwrap());
    Connection::open(&file.path).unwrap().execute_batch("PRAGMA user_version = 1000").unwrap();
    assert_eq!(file.refusal(&[]), (ErrorKind::ConfigInvalid, "the database was made by a newer release".into()));
}

#[test]
fn an_index_keeps_its_type() {
    let file = File::new();
    drop(file.open(&[("status", IndexType::Text)]).unwrap());
    let (kind, message) = file.refusal(&[("status", IndexType::Integer)]);
    assert_eq!((kind, message.as_str()), (ErrorKind::ConfigInvalid, "an index has another type in the database"));
    assert!(file.open(&[("status", IndexType::Text)]).is_ok());
}

#[test]
fn a_damaged_record_is_an_error_and_not_a_panic() {
    let file = File::new();
    let store = file.open(&[]).unwrap();
    let columns = [("body", "'{'"), ("revision", "-1"), ("tenant", "'nobody'")];
    for (column, value) in columns {
        put(&store, Put::new(call(column), Expect::Absent, json!({})));
        let damage = format!("UPDATE call_records SET {column} = {value} WHERE id = '{column}'");
        Connection::open(&file.path).unwrap().execute_batch(&damage).unwrap();
        let listed = block_on(store.list(Query::new(None, "call")));
        assert_eq!(listed.err().map(|error| error.kind()), Some(ErrorKind::Unexpected), "{column}");
        Connection::open(&file.path).unwrap().execute_batch("DELETE FROM call_records").unwrap();
    }
}

#[test]
fn names_that_sqlite_keeps_are_refused() {
    for name in ["sqlite", "sqlite_master"] {
        let schema = Schema { kinds: vec![KindSchema { name, indexes: Vec::new() }] };
        let error = SqliteStore::open_in_memory(schema).err().map(|error| error.kind());
        assert_eq!(error, Some(ErrorKind::ConfigInvalid));
    }
    // These are words of SQL, and harmless.
    let indexes = vec![("select", IndexType::Text), ("group", IndexType::Integer), ("0", IndexType::Text)];
    let schema = Schema { kinds: vec![KindSchema { name: "order", indexes }] };
    let store = SqliteStore::open_in_memory(schema).unwrap();
    let key = RecordKey::new(tenant(1), "order", "a");
    put(&store, Put::new(key.clone(), Expect::Absent, json!(1)).index("select", "x").index("group", 9).index("0", "y"));
    put(&store, Put::new(key, Expect::Revision(1), json!(2)).index("group", 8));
    assert_eq!(ids(&store, Query::new(None, "order").equal("group", 8)), ["a"]);
}

struct File {
    folder: TempDir,
    path: PathBuf,
}

impl File {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.db");
        Self { folder, path }
    }

    fn open(&self, indexes: &[(&'static str, IndexType)]) -> Result<SqliteStore> {
        SqliteStore::open(&self.path, schema(indexes))
    }

    fn refusal(&self, indexes: &[(&'static str, IndexType)]) -> (ErrorKind, String) {
        let error = self.open(indexes).err().unwrap();
        assert!(error.context().contains(&("path", path_text(&self.path))), "{error}");
        (error.kind(), error.message().to_owned())
    }

    fn query(&self, sql: &str) -> Vec<String> {
        let connection = Connection::open(&self.path).unwrap();
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
}

fn schema(indexes: &[(&'static str, IndexType)]) -> Schema {
    Schema { kinds: vec![KindSchema { name: "call", indexes: indexes.to_vec() }] }
}

fn call(id: &str) -> RecordKey {
    let tenant: TenantId = tenant(1);
    RecordKey::new(tenant, "call", id)
}

fn put(store: &SqliteStore, put: Put) {
    let mut batch = Batch::default();
    batch.put(put);
    block_on(store.commit(batch)).unwrap();
}

fn balance(store: &SqliteStore) -> i64 {
    let counter = CounterKey::new(tenant(1), "balance");
    let mut batch = Batch::default();
    batch.add(Add::read(counter.clone()));
    block_on(store.commit(batch)).unwrap().counters[&counter]
}

fn ids(store: &SqliteStore, query: Query) -> Vec<String> {
    let page = block_on(store.list(query)).unwrap();
    page.records.into_iter().map(|record| record.key.id).collect()
}
