//! What becomes of a database: reopened, grown with the schema, damaged, unreachable, or not ours.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod support;

use bytes::Bytes;
use futures_lite::future::block_on;
use offhook::provider::Store;
use offhook::provider::store::{
    Add, Batch, CounterKey, Expect, IndexType, IndexValue, KindSchema, LogKey, Order, Put, Query, RecordKey, Schema,
};
use offhook::time::Timestamp;
use offhook::{ErrorKind, Result};
use offhook_postgres::{Options, PostgresStore};
use offhook_testkit::postgres::Cluster;
use offhook_testkit::store::tenant;
use serde_json::json;

use self::support::on_runtime;

#[test]
fn a_reopened_database_has_everything() {
    let database = Database::new();
    let log = LogKey::new(tenant(1), "log");
    let balance = CounterKey::new(tenant(1), "balance");
    let store = database.open(&[("status", IndexType::Text)]).unwrap();
    let due_at = Timestamp::from_unix_micros(5);
    let mut batch = Batch::default();
    batch
        .put(Put::new(call("a"), Expect::Absent, json!({"name": "Ana"})).index("status", "ended").due_at(due_at))
        .add(Add::new(balance.clone(), 7))
        .append(log.clone(), 0, vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")]);
    block_on(store.commit(batch)).unwrap();
    let before = block_on(store.get(call("a"))).unwrap();
    drop(store);

    let store = database.open(&[("status", IndexType::Text)]).unwrap();
    assert_eq!(block_on(store.get(call("a"))).unwrap(), before);
    let mut read = Batch::default();
    read.add(Add::read(balance.clone()));
    assert_eq!(block_on(store.commit(read)).unwrap().counters[&balance], 7);
    assert_eq!(block_on(store.read_log(log.clone(), 0, 10)).unwrap().len(), 2);
    block_on(store.append(log, 2, vec![Bytes::new()])).unwrap();
    assert_eq!(block_on(store.claim("call".into(), due_at, std::time::Duration::ZERO, 1)).unwrap().len(), 1);
}

#[test]
fn opening_again_changes_nothing() {
    let database = Database::new();
    let indexes = [("status", IndexType::Text), ("started_at", IndexType::Integer)];
    let objects = "SELECT string_agg(oid::text || relname || xmin::text, ',' ORDER BY oid) FROM pg_class \
        WHERE relnamespace = 'offhook'::regnamespace";
    drop(database.open(&indexes).unwrap());
    let before = database.sql(objects);
    drop(database.open(&indexes).unwrap());
    assert_eq!(database.sql(objects), before);
}

#[test]
fn kinds_and_indexes_may_be_added_later_while_others_work() {
    let database = Database::new();
    let old = database.open(&[("status", IndexType::Text)]).unwrap();
    put(&old, Put::new(call("old"), Expect::Absent, json!({})).index("status", "ended"));

    let mut schema = schema(&[("status", IndexType::Text), ("size", IndexType::Integer)]);
    schema.kinds.push(KindSchema { name: "agent", indexes: vec![("name", IndexType::Text)] });
    let store = support::open(&database.url, schema).unwrap();
    let record = block_on(store.get(call("old"))).unwrap().unwrap();
    assert_eq!(record.indexes, [("status".to_owned(), IndexValue::from("ended"))].into());
    put(&store, Put::new(call("new"), Expect::Absent, json!({})).index("size", 3));
    put(&store, Put::new(RecordKey::new(tenant(1), "agent", "a"), Expect::Absent, json!({})).index("name", "Ana"));
    let by_size = Query::new(None, "call").order(Order::IndexAscending("size".into()));
    assert_eq!(ids(&store, by_size), ["new", "old"]);
    put(&old, Put::new(call("of the old"), Expect::Absent, json!({})).index("status", "ended"));
    assert_eq!(ids(&old, Query::new(None, "call").equal("status", "ended")), ["old", "of the old"]);

    let rows = "SELECT concat_ws(' ', id, coalesce(status, '-'), size) FROM offhook.call_view ORDER BY id";
    assert_eq!(database.sql(rows), "new - 3\nof the old ended\nold ended");
    assert_eq!(database.sql("SELECT name FROM offhook.agent_view"), "Ana");
}

#[test]
fn an_index_that_is_no_longer_declared_is_kept_and_no_hindrance() {
    let database = Database::new();
    let store = database.open(&[("status", IndexType::Text)]).unwrap();
    put(&store, Put::new(call("a"), Expect::Absent, json!({})).index("status", "ended"));
    let store = database.open(&[]).unwrap();
    assert!(block_on(store.get(call("a"))).unwrap().unwrap().indexes.is_empty());
    put(&store, Put::new(call("b"), Expect::Absent, json!({})));
    let store = database.open(&[("status", IndexType::Text)]).unwrap();
    assert_eq!(ids(&store, Query::new(None, "call").equal("status", "ended")), ["a"]);
}

#[test]
fn views_show_moments_and_bodies_to_people() {
    let database = Database::new();
    let store = database.open(&[("started_at", IndexType::Integer), ("size", IndexType::Integer)]).unwrap();
    for (id, micros) in [("a", 1_763_622_000_123_999), ("b", -1), ("c", i64::MAX), ("d", i64::MIN)] {
        let row = Put::new(call(id), Expect::Absent, json!({"to": id})).index("started_at", micros).index("size", 9);
        put(&store, row.due_at(Timestamp::from_unix_micros(micros)));
    }
    put(&store, Put::new(call("e"), Expect::Absent, json!(null)));
    let rows = "SELECT concat_ws(' ', id, revision, due_at, started_at, size, body ->> 'to') FROM offhook.call_view \
        ORDER BY id";
    let expected = [
        "a 1 2025-11-20T07:00:00.123999Z 2025-11-20T07:00:00.123999Z 9 a",
        "b 1 1969-12-31T23:59:59.999999Z 1969-12-31T23:59:59.999999Z 9 b",
        "c 1 9223372036854775807 9223372036854775807 9 c",
        "d 1 -9223372036854775808 -9223372036854775808 9 d",
        "e 1",
    ];
    assert_eq!(database.sql(rows), expected.join("\n"));
    assert_eq!(database.sql("SELECT DISTINCT tenant FROM offhook.call_view"), tenant(1).to_string());
}

#[test]
fn schemas_of_others_are_left_alone() {
    let database = Database::new();
    database.sql("CREATE SCHEMA offhook; CREATE TABLE offhook.songs (title text)");
    assert_eq!(database.refusal(&[]), "the schema of the database belongs to another program");
    assert_eq!(database.sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'offhook'::regnamespace"), "1");
}

#[test]
fn databases_of_newer_releases_are_left_alone() {
    let database = Database::new();
    drop(database.open(&[]).unwrap());
    database.sql("UPDATE offhook.offhook SET version = 1000");
    assert_eq!(database.refusal(&[]), "the database was made by a newer release");
}

#[test]
fn an_index_keeps_its_type() {
    let database = Database::new();
    drop(database.open(&[("status", IndexType::Text)]).unwrap());
    assert_eq!(database.refusal(&[("status", IndexType::Integer)]), "an index has another type in the database");
    assert!(database.open(&[("status", IndexType::Text)]).is_ok());
}

#[test]
fn namespaces_of_one_database_do_not_meet() {
    let database = Database::new();
    let [one, two] = ["one", "two"].map(|name| {
        let options = Options::new(&database.url).unwrap().namespace(name).unwrap();
        on_runtime(PostgresStore::connect_with(options, schema(&[]))).unwrap()
    });
    put(&one, Put::new(call("a"), Expect::Absent, json!(1)));
    put(&two, Put::new(call("a"), Expect::Absent, json!(2)));
    assert_eq!(database.sql("SELECT o.body, t.body FROM one.call_records o, two.call_records t"), "1|2");
}

#[test]
fn a_schema_may_be_made_beforehand_for_who_may_not_make_one() {
    let database = Database::new();
    database.sql("CREATE ROLE tenant LOGIN; CREATE SCHEMA offhook AUTHORIZATION tenant");
    let store = support::open(&database.url.replace("offhook@", "tenant@"), schema(&[])).unwrap();
    put(&store, Put::new(call("a"), Expect::Absent, json!({})));
    assert_eq!(ids(&store, Query::new(None, "call")), ["a"]);
}

#[test]
fn a_damaged_record_is_an_error_and_not_a_panic() {
    let database = Database::new();
    let store = database.open(&[("status", IndexType::Text)]).unwrap();
    // Deeper than a body is read.
    let deep = format!("'{}{}'", "[".repeat(200), "]".repeat(200));
    for (column, value) in [("revision", "-1"), ("body", deep.as_str())] {
        put(&store, Put::new(call(column), Expect::Absent, json!({})));
        database.sql(&format!("UPDATE offhook.call_records SET {column} = {value}"));
        let listed = block_on(store.list(Query::new(None, "call")));
        assert_eq!(listed.err().map(|error| error.kind()), Some(ErrorKind::Unexpected), "{column}");
        database.sql("DELETE FROM offhook.call_records");
    }
    database.sql("DROP TABLE offhook.counters");
    let mut batch = Batch::default();
    batch.add(Add::new(CounterKey::new(tenant(1), "a"), 1));
    assert_eq!(block_on(store.commit(batch)).unwrap_err().kind(), ErrorKind::Unexpected);
}

#[test]
fn names_that_postgres_keeps_are_refused() {
    let database = Database::new();
    assert_eq!(database.refusal(&[("ctid", IndexType::Text)]), "PostgreSQL keeps a name to itself");
    // These are words of SQL, and harmless.
    let indexes = vec![("select", IndexType::Text), ("group", IndexType::Integer), ("0", IndexType::Text)];
    let schema = Schema { kinds: vec![KindSchema { name: "order", indexes }] };
    let store = support::open(&database.url, schema).unwrap();
    let key = RecordKey::new(tenant(1), "order", "a");
    put(&store, Put::new(key.clone(), Expect::Absent, json!(1)).index("select", "x").index("group", 9).index("0", "y"));
    put(&store, Put::new(key, Expect::Revision(1), json!(2)).index("group", 8));
    assert_eq!(ids(&store, Query::new(None, "order").equal("group", 8)), ["a"]);
}

#[test]
fn databases_that_cannot_be_used_say_why_and_tell_no_secret() {
    let database = Database::new();
    let cluster = Cluster::shared();
    database.sql("CREATE ROLE guest LOGIN PASSWORD 'secret'");
    let latin = cluster.database_with("ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0").unwrap();
    let guest = database.url.replace("offhook@", "guest:secret@");
    let cases = [
        (cluster.url("nowhere"), ErrorKind::ConfigInvalid),
        ("postgres://me:secret@127.0.0.1:1/calls".to_owned(), ErrorKind::Unavailable),
        ("postgres://me:secret@host.invalid/calls".to_owned(), ErrorKind::Unavailable),
        (format!("{}?sslmode=require", database.url), ErrorKind::ConfigInvalid),
        (guest, ErrorKind::PermissionDenied),
        (latin, ErrorKind::ConfigInvalid),
    ];
    for (url, kind) in cases {
        let error = support::open(&url, schema(&[])).err().unwrap();
        assert_eq!((error.kind(), error.operation()), (kind, "store.open"), "{url}: {error}");
        let mut text = format!("{error:?}");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text += &cause.to_string();
            source = cause.source();
        }
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn a_store_needs_a_runtime() {
    let opened = block_on(PostgresStore::connect("postgres://127.0.0.1:1/", schema(&[])));
    assert_eq!(opened.err().unwrap().kind(), ErrorKind::ConfigInvalid);
}

struct Database {
    url: String,
}

impl Database {
    fn new() -> Self {
        Self { url: Cluster::shared().database().unwrap() }
    }

    fn open(&self, indexes: &[(&'static str, IndexType)]) -> Result<PostgresStore> {
        support::open(&self.url, schema(indexes))
    }

    /// Why it is `ConfigInvalid`.
    fn refusal(&self, indexes: &[(&'static str, IndexType)]) -> String {
        let error = self.open(indexes).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{error}");
        error.message().to_owned()
    }

    fn sql(&self, sql: &str) -> String {
        Cluster::shared().sql(&self.url, sql).unwrap()
    }
}

fn schema(indexes: &[(&'static str, IndexType)]) -> Schema {
    Schema { kinds: vec![KindSchema { name: "call", indexes: indexes.to_vec() }] }
}

fn call(id: &str) -> RecordKey {
    RecordKey::new(tenant(1), "call", id)
}

fn put(store: &PostgresStore, put: Put) {
    let mut batch = Batch::default();
    batch.put(put);
    block_on(store.commit(batch)).unwrap();
}

fn ids(store: &PostgresStore, query: Query) -> Vec<String> {
    let page = block_on(store.list(query)).unwrap();
    page.records.into_iter().map(|record| record.key.id).collect()
}
