use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use offhook::ErrorKind;
use offhook::provider::Store;
use offhook::provider::store::catalog::{BODY_DEPTH_MAX, KEY_BYTES_MAX, OPERATIONS_MAX};
use offhook::provider::store::{Add, Append, Committed, Delete, Expect, Operation, Put, Query, RecordKey};
use offhook::time::Timestamp;
use serde_json::{Value, json};

use super::{COLOUR, LABEL, PLAIN, SIZE, THING, batch, log, move_by, put, put_all, refusal, tenant, thing, value_of};
use crate::behaviour::{Case, Verdict, on_threads};
use crate::case;

pub(super) fn cases() -> Vec<Case<Arc<dyn Store>>> {
    vec![
        case!(records_come_back_whole),
        case!(records_are_replaced_whole),
        case!(records_count_their_writes),
        case!(records_keep_any_json),
        case!(records_keep_large_bodies),
        case!(records_keep_extreme_moments),
        case!(records_take_any_id),
        case!(records_belong_to_a_tenant_and_a_kind),
        case!(puts_check_what_they_expect),
        case!(deletes_check_what_they_expect),
        case!(batches_may_be_empty),
        case!(batches_see_their_own_operations),
        case!(batches_are_all_or_nothing),
        case!(batches_of_several_threads_do_not_mix),
        case!(versions_change_with_what_is_written),
        case!(undeclared_names_are_refused),
        case!(oversized_requests_are_refused),
    ]
}

async fn records_come_back_whole(store: Arc<dyn Store>) -> Verdict {
    assert_eq!(store.get(thing("a")).await?, None);
    let due_at = Timestamp::from_unix_micros(1_763_622_000_123_456);
    put_all(store.as_ref(), [put("a").index(COLOUR, "red").index(SIZE, -7).due_at(due_at)]).await?;
    let record = store.get(thing("a")).await?.ok_or("the record is gone")?;
    assert_eq!(record.key, thing("a"));
    assert_eq!(record.revision, 1);
    assert_eq!(record.indexes, [(COLOUR.to_owned(), "red".into()), (SIZE.to_owned(), (-7).into())].into());
    assert_eq!(record.due_at, Some(due_at));
    assert_eq!(record.body, json!({}));
    Ok(())
}

async fn records_are_replaced_whole(store: Arc<dyn Store>) -> Verdict {
    let due_at = Timestamp::from_unix_micros(1);
    put_all(store.as_ref(), [put("a").index(COLOUR, "red").index(LABEL, "x").due_at(due_at)]).await?;
    let replacement = Put::new(thing("a"), Expect::Revision(1), json!(["new"])).index(LABEL, "y");
    put_all(store.as_ref(), [replacement]).await?;
    let record = store.get(thing("a")).await?.ok_or("the record is gone")?;
    assert_eq!(record.indexes, [(LABEL.to_owned(), "y".into())].into());
    assert_eq!(record.due_at, None);
    assert_eq!(record.body, json!(["new"]));
    Ok(())
}

async fn records_count_their_writes(store: Arc<dyn Store>) -> Verdict {
    for revision in 1..=3 {
        put_all(store.as_ref(), [put("a")]).await?;
        assert_eq!(revision_of(&store, "a").await?, Some(revision));
    }
    store.commit(batch([delete("a", Expect::Any)])).await?;
    assert_eq!(revision_of(&store, "a").await?, None);
    put_all(store.as_ref(), [put("a")]).await?;
    assert_eq!(revision_of(&store, "a").await?, Some(1));
    Ok(())
}

async fn records_keep_any_json(store: Arc<dyn Store>) -> Verdict {
    let nested = (1..BODY_DEPTH_MAX).fold(json!([]), |value, _| json!([value]));
    let bodies = [
        Value::Null,
        json!("a string"),
        json!({"": "", "kožušček ☎": "日本語 🤙 \u{0} \u{7f} \u{2028} \" \\ '"}),
        json!([u64::MAX, i64::MIN, 0, true, false, null]),
        json!([0.1, 1.0 / 3.0, -0.0, 1e300, 5e-324, 1.797_693_134_862_315_7e308, 2.225_073_858_507_201e-308, 1.0]),
        json!([122.416_294_033_786_58, 9_007_199_254_740_993.0, 0.000_001_234_567_890_123_456_7]),
        nested,
    ];
    for (number, body) in bodies.into_iter().enumerate() {
        put_all(store.as_ref(), [Put::new(thing(number), Expect::Any, body.clone())]).await?;
        let record = store.get(thing(number)).await?.ok_or("the record is gone")?;
        assert_eq!(record.body, body);
        assert_eq!(record.body.to_string(), body.to_string());
    }
    Ok(())
}

async fn records_keep_large_bodies(store: Arc<dyn Store>) -> Verdict {
    let body = json!({"text": "š".repeat(2 << 20), "list": (0..10_000).collect::<Vec<u32>>()});
    put_all(store.as_ref(), [Put::new(thing("large"), Expect::Any, body.clone())]).await?;
    let record = store.get(thing("large")).await?.ok_or("the record is gone")?;
    assert!(record.body == body);
    Ok(())
}

async fn records_keep_extreme_moments(store: Arc<dyn Store>) -> Verdict {
    for micros in [i64::MIN, -1, 0, i64::MAX] {
        let moment = Timestamp::from_unix_micros(micros);
        put_all(store.as_ref(), [put("a").due_at(moment).index(SIZE, micros)]).await?;
        let record = store.get(thing("a")).await?.ok_or("the record is gone")?;
        assert_eq!(record.due_at, Some(moment));
        assert_eq!(record.indexes[SIZE], micros.into());
    }
    Ok(())
}

async fn records_take_any_id(store: Arc<dyn Store>) -> Verdict {
    let longest = "l".repeat(KEY_BYTES_MAX);
    let ids = ["", " ", "%", "_", "' OR 1=1 --", "a\nb", "A", "a", "é", "e\u{301}", "🤙", &longest];
    put_all(store.as_ref(), ids.map(|id| put(id).index(LABEL, id))).await?;
    for id in ids {
        let record = store.get(thing(id)).await?.ok_or("the record is gone")?;
        assert_eq!((record.key.id.as_str(), &record.indexes[LABEL]), (id, &id.into()));
        let page = store.list(Query::new(Some(tenant(1)), THING).equal(LABEL, id)).await?;
        assert_eq!(super::ids(&page.records), [id]);
    }
    Ok(())
}

async fn records_belong_to_a_tenant_and_a_kind(store: Arc<dyn Store>) -> Verdict {
    let keys = [thing("a"), RecordKey::new(tenant(2), THING, "a"), RecordKey::new(tenant(1), PLAIN, "a")];
    for (number, key) in keys.iter().enumerate() {
        put_all(store.as_ref(), [Put::new(key.clone(), Expect::Absent, json!(number))]).await?;
    }
    store.commit(batch([Operation::Delete(Delete { key: keys[0].clone(), expect: Expect::Any })])).await?;
    assert_eq!(store.get(keys[0].clone()).await?, None);
    for (number, key) in keys.iter().enumerate().skip(1) {
        let record = store.get(key.clone()).await?.ok_or("the record is gone")?;
        assert_eq!((record.key, record.body), (key.clone(), json!(number)));
    }
    assert_eq!(store.get(RecordKey::new(tenant(2), PLAIN, "a")).await?, None);
    Ok(())
}

async fn puts_check_what_they_expect(store: Arc<dyn Store>) -> Verdict {
    let put_if = |expect| put_all(store.as_ref(), [Put::new(thing("a"), expect, json!({}))]);
    for expect in [Expect::Revision(0), Expect::Revision(1), Expect::Revision(u64::MAX)] {
        assert_eq!(refusal(put_if(expect).await), Some(ErrorKind::Conflict), "{expect:?}");
    }
    assert_eq!(revision_of(&store, "a").await?, None);
    put_if(Expect::Absent).await?;
    assert_eq!(refusal(put_if(Expect::Absent).await), Some(ErrorKind::Conflict));
    put_if(Expect::Revision(1)).await?;
    for expect in [Expect::Revision(0), Expect::Revision(1), Expect::Revision(3), Expect::Revision(u64::MAX)] {
        assert_eq!(refusal(put_if(expect).await), Some(ErrorKind::Conflict), "{expect:?}");
    }
    put_if(Expect::Any).await?;
    assert_eq!(revision_of(&store, "a").await?, Some(3));
    Ok(())
}

async fn deletes_check_what_they_expect(store: Arc<dyn Store>) -> Verdict {
    let delete_if = |expect| store.commit(batch([delete("a", expect)]));
    delete_if(Expect::Any).await?;
    delete_if(Expect::Absent).await?;
    assert_eq!(refusal(delete_if(Expect::Revision(1)).await), Some(ErrorKind::Conflict));
    put_all(store.as_ref(), [put("a"), put("a")]).await?;
    for expect in [Expect::Absent, Expect::Revision(1), Expect::Revision(u64::MAX)] {
        assert_eq!(refusal(delete_if(expect).await), Some(ErrorKind::Conflict), "{expect:?}");
    }
    assert_eq!(revision_of(&store, "a").await?, Some(2));
    delete_if(Expect::Revision(2)).await?;
    assert_eq!(revision_of(&store, "a").await?, None);
    Ok(())
}

async fn batches_may_be_empty(store: Arc<dyn Store>) -> Verdict {
    assert_eq!(store.commit(batch([])).await?, Committed::default());
    Ok(())
}

async fn batches_see_their_own_operations(store: Arc<dyn Store>) -> Verdict {
    let first = Put::new(thing("a"), Expect::Absent, json!(1));
    let second = Put::new(thing("a"), Expect::Revision(1), json!(2));
    store.commit(batch([Operation::Put(first.clone()), Operation::Put(second)])).await?;
    let record = store.get(thing("a")).await?.ok_or("the record is gone")?;
    assert_eq!((record.revision, record.body), (2, json!(2)));

    let doubled = store.commit(batch([delete("a", Expect::Revision(2)), Operation::Put(first.clone())])).await;
    assert!(doubled.is_ok());
    assert_eq!(revision_of(&store, "a").await?, Some(1));

    let fresh = Put { key: thing("b"), ..first };
    let doubled = store.commit(batch([Operation::Put(fresh.clone()), Operation::Put(fresh)])).await;
    assert_eq!(refusal(doubled), Some(ErrorKind::Conflict));
    assert_eq!(revision_of(&store, "b").await?, None);
    Ok(())
}

async fn batches_are_all_or_nothing(store: Arc<dyn Store>) -> Verdict {
    let due_at = Timestamp::from_unix_micros(5);
    put_all(store.as_ref(), [put("old").index(COLOUR, "red").due_at(due_at), put("doomed")]).await?;
    store.append(log("call"), 0, vec![Bytes::from_static(b"0")]).await?;
    let good = [
        Operation::Put(put("new").index(COLOUR, "blue").due_at(due_at)),
        Operation::Put(put("old").index(COLOUR, "green")),
        delete("doomed", Expect::Any),
        Operation::Add(move_by("balance", 5)),
        Operation::Append(Append { log: log("call"), seq: 1, entries: vec![Bytes::from_static(b"1")] }),
    ];
    let bad = [
        (Operation::Put(Put::new(thing("x"), Expect::Revision(9), json!({}))), ErrorKind::Conflict),
        (delete("x", Expect::Revision(1)), ErrorKind::Conflict),
        (Operation::Add(Add { floor: Some(0), ..move_by("empty", -1) }), ErrorKind::InsufficientFunds),
        (Operation::Add(Add { ceiling: Some(0), ..move_by("full", 1) }), ErrorKind::RateLimited),
        (Operation::Append(Append { log: log("gap"), seq: 1, entries: Vec::new() }), ErrorKind::Conflict),
    ];
    let before = snapshot(&store).await?;
    for (wrong, kind) in bad {
        for place in 0..=good.len() {
            let mut operations = good.to_vec();
            operations.insert(place, wrong.clone());
            assert_eq!(refusal(store.commit(batch(operations)).await), Some(kind), "{wrong:?}");
            assert_eq!(snapshot(&store).await?, before, "{wrong:?} as number {place} left something behind");
        }
    }
    let claimed = store.claim(THING.into(), due_at, Duration::from_secs(1), 10).await?;
    assert_eq!(super::ids(&claimed), ["old"]);
    store.commit(batch(good)).await?;
    assert_ne!(snapshot(&store).await?, before);
    Ok(())
}

async fn batches_of_several_threads_do_not_mix(store: Arc<dyn Store>) -> Verdict {
    let kept = on_threads(8, |writer| {
        let store = Arc::clone(&store);
        async move {
            let mut kept = 0;
            for number in 0..10 {
                let mut all = batch([Operation::Put(put(format!("{writer}:{number}")))]);
                all.add(move_by("count", 1)).add(Add { ceiling: Some(40), ..move_by("bounded", 1) });
                match store.commit(all).await {
                    Ok(_) => kept += 1,
                    Err(error) if error.kind() == ErrorKind::RateLimited => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(kept)
        }
    });
    assert_eq!(kept.await?.into_iter().sum::<usize>(), 40);
    assert_eq!(value_of(store.as_ref(), "count").await?, 40);
    assert_eq!(store.list(Query::new(None, THING)).await?.records.len(), 40);
    Ok(())
}

/// Only where a store can tell.
async fn versions_change_with_what_is_written(store: Arc<dyn Store>) -> Verdict {
    let version = |number, kind| store.version(Some(tenant(number)), kind);
    let all = |kind| store.version(None, kind);
    if all(THING).is_none() {
        assert_eq!((version(1, THING), version(2, PLAIN)), (None, None));
        return Ok(());
    }
    let mut before = (version(1, THING), all(THING));
    let mut has_changed = |is_wanted: bool, what: &str| {
        let now = (version(1, THING), all(THING));
        assert_eq!((now.0 != before.0, now.1 != before.1), (is_wanted, is_wanted), "{what}");
        before = now;
    };
    has_changed(false, "nothing");
    put_all(store.as_ref(), [put("a").due_at(Timestamp::from_unix_micros(1))]).await?;
    has_changed(true, "a record was made");
    store.get(thing("a")).await?;
    store.list(Query::new(None, THING)).await?;
    has_changed(false, "a record was read");
    put_all(store.as_ref(), [put("a").due_at(Timestamp::from_unix_micros(1))]).await?;
    has_changed(true, "a record was written again");
    let refused = put_all(store.as_ref(), [Put::new(thing("a"), Expect::Absent, json!(1))]).await;
    assert_eq!(refusal(refused), Some(ErrorKind::Conflict));
    store.commit(batch([Operation::Add(move_by("counter", 1))])).await?;
    store.append(log("log"), 0, vec![Bytes::from_static(b"entry")]).await?;
    has_changed(false, "no record was written");
    store.claim(THING.to_owned(), Timestamp::from_unix_micros(2), Duration::from_secs(1), 1).await?;
    has_changed(true, "a record was claimed");
    let crossing = move_by("counter", -2).crossing(0, vec![put("crossed")]);
    store.commit(batch([Operation::Add(crossing)])).await?;
    has_changed(true, "a record was written by a crossing");
    store.commit(batch([Operation::Delete(Delete { key: thing("a"), expect: Expect::Any })])).await?;
    has_changed(true, "a record was deleted");
    let of_another = RecordKey::new(tenant(2), THING, "a");
    put_all(store.as_ref(), [Put::new(of_another, Expect::Any, json!({}))]).await?;
    let now = (version(1, THING), all(THING));
    assert_eq!((now.0 == before.0, now.1 == before.1), (true, false), "another tenant's record was made");
    Ok(())
}

async fn undeclared_names_are_refused(store: Arc<dyn Store>) -> Verdict {
    let invalid = Some(ErrorKind::ConfigInvalid);
    for kind in ["unknown", "", "thing\"; DROP TABLE x", "counters"] {
        let key = RecordKey::new(tenant(1), kind, "a");
        assert_eq!(refusal(store.get(key.clone()).await), invalid);
        assert_eq!(refusal(store.list(Query::new(None, kind)).await), invalid);
        assert_eq!(refusal(store.claim(kind.into(), Timestamp::default(), Duration::ZERO, 1).await), invalid);
        let put = Put::new(key.clone(), Expect::Any, json!({}));
        assert_eq!(refusal(put_all(store.as_ref(), [put]).await), invalid);
        let delete = Operation::Delete(Delete { key, expect: Expect::Any });
        assert_eq!(refusal(store.commit(batch([delete])).await), invalid);
    }
    for wrong in [put("a").index("unknown", 1), put("a").index(SIZE, "1"), put("a").index(COLOUR, 1)] {
        assert_eq!(refusal(put_all(store.as_ref(), [put("b"), wrong]).await), invalid);
    }
    let without_indexes = Put::new(RecordKey::new(tenant(1), PLAIN, "a"), Expect::Any, json!({})).index(SIZE, 1);
    assert_eq!(refusal(put_all(store.as_ref(), [without_indexes]).await), invalid);
    assert_eq!(store.get(thing("b")).await?, None);
    Ok(())
}

async fn oversized_requests_are_refused(store: Arc<dyn Store>) -> Verdict {
    let invalid = Some(ErrorKind::ConfigInvalid);
    let long = "l".repeat(KEY_BYTES_MAX + 1);
    for text in [long.as_str(), "a\0b"] {
        assert_eq!(refusal(store.get(thing(text)).await), invalid);
        assert_eq!(refusal(put_all(store.as_ref(), [put(text)]).await), invalid);
        assert_eq!(refusal(put_all(store.as_ref(), [put("a").index(LABEL, text)]).await), invalid);
        assert_eq!(refusal(super::add(store.as_ref(), move_by(text, 1)).await), invalid);
        assert_eq!(refusal(store.append(log(text), 0, Vec::new()).await), invalid);
        assert_eq!(refusal(store.read_log(log(text), 0, 1).await), invalid);
    }
    let deep = (0..BODY_DEPTH_MAX).fold(json!({}), |value, _| json!({"a": value}));
    assert_eq!(refusal(put_all(store.as_ref(), [Put::new(thing("a"), Expect::Any, deep)]).await), invalid);
    let many = (0..=OPERATIONS_MAX).map(|_| Operation::Add(move_by("a", 0)));
    assert_eq!(refusal(store.commit(batch(many)).await), invalid);
    Ok(())
}

async fn revision_of(store: &Arc<dyn Store>, id: &str) -> offhook::Result<Option<u64>> {
    Ok(store.get(thing(id)).await?.map(|record| record.revision))
}

/// Everything that [`batches_are_all_or_nothing`] writes to, in words.
async fn snapshot(store: &Arc<dyn Store>) -> offhook::Result<Vec<String>> {
    let mut seen = Vec::new();
    for record in store.list(Query::new(None, THING)).await?.records {
        seen.push(format!("{record:?}"));
    }
    for colour in ["red", "green", "blue"] {
        let page = store.list(Query::new(Some(tenant(1)), THING).equal(COLOUR, colour)).await?;
        seen.push(format!("{colour} {:?}", super::ids(&page.records)));
    }
    for counter in ["balance", "empty", "full"] {
        let read = Operation::Add(move_by(counter, 0));
        seen.push(format!("{:?}", store.commit(batch([read])).await?));
    }
    for name in ["call", "gap"] {
        seen.push(format!("{:?}", store.read_log(log(name), 0, 10).await?));
    }
    Ok(seen)
}

fn delete(id: &str, expect: Expect) -> Operation {
    Operation::Delete(Delete { key: thing(id), expect })
}
