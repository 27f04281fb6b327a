//! Random histories: two stores that are told the same things must answer the same.

use std::time::Duration;

use bytes::Bytes;
use offhook::provider::Store;
use offhook::provider::store::{
    Add, Append, Batch, Committed, CounterKey, Crossing, Delete, Expect, IndexValue, LogKey, Operation, Order, Put,
    Query, Record, RecordKey,
};
use offhook::time::Timestamp;
use offhook::{ErrorKind, Result};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{COLOUR, LABEL, PLAIN, SIZE, THING, tenant};

const STEPS_MAX: usize = 40;
const OPERATIONS_MAX: usize = 6;
const PAGES_MAX: usize = 20;
const TENANTS: std::ops::RangeInclusive<u8> = 1..=2;

/// Something to tell a store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Step {
    /// [`Store::claim`].
    Claim {
        /// The kind.
        kind: &'static str,
        /// The moment.
        now: Timestamp,
        /// For how long.
        lease: Duration,
        /// How many at most.
        limit: u32,
    },
    /// [`Store::commit`].
    Commit(Batch),
    /// [`Store::get`].
    Get(RecordKey),
    /// [`Store::list`], page after page.
    List(Query),
    /// [`Store::read_log`].
    ReadLog(LogKey, u64, u32),
}

/// Histories in which the same few records, counters and logs meet often.
pub fn histories() -> impl Strategy<Value = Vec<Step>> {
    let commit = vec(operation(), 0..OPERATIONS_MAX).prop_map(|operations| Step::Commit(Batch { operations }));
    let claim = (kind(), 0..30_i64, 0..20_u64, 0..4_u32).prop_map(|(kind, now, lease, limit)| Step::Claim {
        kind,
        now: Timestamp::from_unix_micros(now),
        lease: Duration::from_micros(lease),
        limit,
    });
    let read_log = (log(), 0..6_u64, 0..4_u32).prop_map(|(log, seq, limit)| Step::ReadLog(log, seq, limit));
    let step = prop_oneof![
        8 => commit,
        2 => claim,
        1 => record().prop_map(Step::Get),
        3 => query().prop_map(Step::List),
        1 => read_log,
    ];
    vec(step, 1..STEPS_MAX)
}

/// Tells both stores the same history and compares every answer, and what they hold in the end.
pub async fn assert_same(reference: &dyn Store, subject: &dyn Store, history: &[Step]) {
    for (number, step) in history.iter().enumerate() {
        let expected = tell(reference, step).await;
        assert_eq!(tell(subject, step).await, expected, "step {number}: {step:?}");
    }
    for step in everything() {
        assert_eq!(tell(subject, &step).await, tell(reference, &step).await, "in the end: {step:?}");
    }
}

/// What a store says, in a form that two stores have in common.
#[derive(Debug, PartialEq)]
enum Answer {
    Committed(Committed),
    Entries(Vec<Bytes>),
    Pages(Vec<Vec<Record>>),
    Record(Option<Record>),
    Records(Vec<Record>),
}

async fn tell(store: &dyn Store, step: &Step) -> Result<Answer, ErrorKind> {
    let answer = match step.clone() {
        Step::Claim { kind, now, lease, limit } => {
            store.claim(kind.into(), now, lease, limit).await.map(Answer::Records)
        }
        Step::Commit(batch) => store.commit(batch).await.map(Answer::Committed),
        Step::Get(key) => store.get(key).await.map(Answer::Record),
        Step::List(query) => walk(store, query).await.map(Answer::Pages),
        Step::ReadLog(log, seq, limit) => store.read_log(log, seq, limit).await.map(Answer::Entries),
    };
    answer.map_err(|error| error.kind())
}

async fn walk(store: &dyn Store, mut query: Query) -> Result<Vec<Vec<Record>>> {
    let mut pages = Vec::new();
    while pages.len() < PAGES_MAX {
        let page = store.list(query.clone()).await?;
        pages.push(page.records);
        let Some(next) = page.next else { break };
        query = query.after(next);
    }
    Ok(pages)
}

/// Steps that read all that a history can have touched.
fn everything() -> Vec<Step> {
    let mut steps = vec![Step::List(Query::new(None, PLAIN))];
    for index in [COLOUR, LABEL, SIZE] {
        steps.push(Step::List(Query::new(None, THING).order(Order::IndexAscending(index.into()))));
    }
    for tenant in TENANTS.map(tenant) {
        steps.extend(["a", "b"].map(|name| Step::ReadLog(LogKey::new(tenant, name), 0, 100)));
        let reads = ["a", "b"].map(|name| Add::read(CounterKey::new(tenant, name)));
        steps.push(Step::Commit(Batch { operations: reads.into_iter().map(Operation::Add).collect() }));
    }
    steps
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => put().prop_map(Operation::Put),
        2 => add().prop_map(Operation::Add),
        1 => (record(), expect()).prop_map(|(key, expect)| Operation::Delete(Delete { key, expect })),
        2 => (log(), 0..5_u64, vec(any::<Vec<u8>>(), 0..3)).prop_map(|(log, seq, entries)| {
            let entries = entries.into_iter().map(Bytes::from).collect();
            Operation::Append(Append { log, seq, entries })
        }),
        1 => log().prop_map(Operation::DeleteLog),
    ]
}

fn put() -> impl Strategy<Value = Put> {
    let indexes = prop_oneof![
        10 => btree_map(Just(COLOUR), text(), 0..=1),
        10 => btree_map(Just(LABEL), text(), 0..=1),
        20 => btree_map(Just(SIZE), number(), 0..=1),
        1 => btree_map(Just("unknown"), number(), 0..=1),
    ];
    let due_at = option::of((0..30_i64).prop_map(Timestamp::from_unix_micros));
    (record(), expect(), vec(indexes, 0..3), due_at, body()).prop_map(|(key, expect, indexes, due_at, body)| {
        let mut put = Put::new(key, expect, body);
        put.due_at = due_at;
        // The kind without indexes gets them rarely enough for its batches to pass.
        if put.key.kind == THING {
            put.indexes = indexes.into_iter().flatten().map(|(name, value)| (name.to_owned(), value)).collect();
        }
        put
    })
}

fn add() -> impl Strategy<Value = Add> {
    let delta = prop_oneof![10 => -5..=5_i64, 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    let crossing = (-3..=3_i64, vec(put(), 0..3)).prop_map(|(below, then)| Crossing { below, then });
    (tenants(), name(), delta, option::of(-5..=5_i64), option::of(-5..=5_i64), option::of(crossing)).prop_map(
        |(tenant, name, delta, floor, ceiling, crossing)| {
            let counter = CounterKey::new(tenant, name);
            Add { counter, delta, floor, ceiling, crossing }
        },
    )
}

fn query() -> impl Strategy<Value = Query> {
    let ordered = prop_oneof![Just(COLOUR), Just(LABEL), Just(SIZE)].prop_map(str::to_owned);
    let order = (ordered, 0..4).prop_map(|(index, which)| match which {
        0 => Order::IdAscending,
        1 => Order::IdDescending,
        2 => Order::IndexAscending(index),
        _ => Order::IndexDescending(index),
    });
    let equal = prop_oneof![
        text().prop_map(|value| (COLOUR, value)),
        text().prop_map(|value| (LABEL, value)),
        number().prop_map(|value| (SIZE, value)),
    ];
    let range = prop_oneof![
        (Just(SIZE), option::of(number()), option::of(number())),
        (Just(LABEL), option::of(text()), option::of(text())),
    ];
    let filters = (option::of(tenants()), vec(equal, 0..2), option::weighted(0.3, range));
    (filters, order, 0..8_u64, 0..5_u32).prop_map(|((tenant, equal, range), order, offset, limit)| {
        let query = Query::new(tenant, THING).order(order).limit(limit);
        let query = if offset < 4 { query.offset(offset) } else { query };
        let query = equal.into_iter().fold(query, |query, (index, value)| query.equal(index, value));
        match range {
            Some((index, from, to)) => query.range(index, from, to),
            None => query,
        }
    })
}

fn record() -> impl Strategy<Value = RecordKey> {
    let id = prop_oneof![Just(""), Just("a"), Just("b"), Just("é"), Just("z")];
    (tenants(), kind(), id).prop_map(|(tenant, kind, id)| RecordKey::new(tenant, kind, id))
}

fn log() -> impl Strategy<Value = LogKey> {
    (tenants(), name()).prop_map(|(tenant, name)| LogKey::new(tenant, name))
}

fn expect() -> impl Strategy<Value = Expect> {
    prop_oneof![2 => Just(Expect::Absent), 6 => Just(Expect::Any), 3 => (0..4_u64).prop_map(Expect::Revision)]
}

fn body() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..3).prop_map(|fields| json!(fields)),
        ]
    })
}

fn tenants() -> impl Strategy<Value = super::TenantId> {
    TENANTS.prop_map(tenant)
}

fn kind() -> impl Strategy<Value = &'static str> {
    prop_oneof![5 => Just(THING), 1 => Just(PLAIN)]
}

fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b")]
}

fn text() -> impl Strategy<Value = IndexValue> {
    prop_oneof![Just(""), Just("blue"), Just("red"), Just("é")].prop_map(IndexValue::from)
}

fn number() -> impl Strategy<Value = IndexValue> {
    prop_oneof![4 => -2..=2_i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX)].prop_map(IndexValue::from)
}
