use std::sync::Arc;

use offhook::ErrorKind;
use offhook::provider::Store;
use offhook::provider::store::{Delete, Expect, LIMIT_MAX, Operation, Order, Page, Put, Query, RecordKey};
use serde_json::json;

use super::{COLOUR, LABEL, PLAIN, SIZE, THING, batch, ids, put, put_all, refusal, tenant, thing};
use crate::behaviour::{Case, Verdict};
use crate::case;

pub(super) fn cases() -> Vec<Case<Arc<dyn Store>>> {
    vec![
        case!(lists_are_by_id),
        case!(lists_find_equal_indexes),
        case!(lists_find_index_ranges),
        case!(lists_are_ordered_by_an_index_with_missing_ones_last),
        case!(lists_compare_text_byte_by_byte),
        case!(lists_follow_updates_and_deletes),
        case!(lists_cover_one_tenant_or_all),
        case!(lists_clamp_their_limit),
        case!(lists_skip_an_offset),
        case!(counts_are_of_what_matches),
        case!(cursors_walk_every_order_to_its_end),
        case!(cursors_walk_with_filters),
        case!(cursors_are_stable_under_inserts_and_deletes),
        case!(cursors_that_are_not_ours_are_refused),
        case!(lists_refuse_undeclared_names),
    ]
}

async fn lists_are_by_id(store: Arc<dyn Store>) -> Verdict {
    assert_eq!(store.list(all()).await?, Page { records: Vec::new(), next: None });
    put_all(store.as_ref(), ["b", "d", "a", "c"].map(put)).await?;
    assert_eq!(list(&store, all()).await?, ["d", "c", "b", "a"]);
    assert_eq!(list(&store, ordered(Order::IdAscending)).await?, ["a", "b", "c", "d"]);
    let page = store.list(all()).await?;
    for record in &page.records {
        assert_eq!(store.get(record.key.clone()).await?.as_ref(), Some(record));
    }
    assert_eq!(page.next, None);
    Ok(())
}

async fn lists_find_equal_indexes(store: Arc<dyn Store>) -> Verdict {
    put_things(&store).await?;
    assert_eq!(list(&store, all().equal(COLOUR, "red")).await?, ["f", "c", "a"]);
    assert_eq!(list(&store, all().equal(SIZE, 2)).await?, ["f", "b"]);
    assert_eq!(list(&store, all().equal(SIZE, 2).equal(COLOUR, "red")).await?, ["f"]);
    assert!(list(&store, all().equal(SIZE, 2).equal(COLOUR, "blue").equal(LABEL, "x")).await?.is_empty());
    assert!(list(&store, all().equal(COLOUR, "Red")).await?.is_empty());
    assert!(list(&store, all().equal(COLOUR, "")).await?.is_empty());
    Ok(())
}

async fn lists_find_index_ranges(store: Arc<dyn Store>) -> Verdict {
    put_things(&store).await?;
    let cases: [(Option<i64>, Option<i64>, &[&str]); 7] = [
        (Some(2), Some(3), &["f", "b"]),
        (Some(2), None, &["f", "d", "b"]),
        (None, Some(2), &["e", "a"]),
        (None, None, &["f", "e", "d", "b", "a"]),
        (Some(3), Some(2), &[]),
        (Some(2), Some(2), &[]),
        (Some(i64::MIN), Some(i64::MAX), &["f", "e", "b", "a"]),
    ];
    for (from, to, expected) in cases {
        let found = list(&store, all().range(SIZE, from.map(Into::into), to.map(Into::into))).await?;
        assert_eq!(found, expected, "{from:?}..{to:?}");
    }
    let texts = all().range(COLOUR, Some("blue".into()), Some("red".into()));
    assert_eq!(list(&store, texts).await?, ["e", "b"]);
    let both = all().range(SIZE, Some(1.into()), Some(3.into())).equal(COLOUR, "red");
    assert_eq!(list(&store, both).await?, ["f", "a"]);
    Ok(())
}

async fn lists_are_ordered_by_an_index_with_missing_ones_last(store: Arc<dyn Store>) -> Verdict {
    put_things(&store).await?;
    let up = ordered(Order::IndexAscending(SIZE.into()));
    let down = ordered(Order::IndexDescending(SIZE.into()));
    assert_eq!(list(&store, up.clone()).await?, ["e", "a", "b", "f", "d", "c", "g"]);
    assert_eq!(list(&store, down).await?, ["d", "f", "b", "a", "e", "g", "c"]);
    assert_eq!(list(&store, up.equal(COLOUR, "red")).await?, ["a", "f", "c"]);
    let by_colour = ordered(Order::IndexDescending(COLOUR.into())).range(SIZE, Some(2.into()), None);
    assert_eq!(list(&store, by_colour).await?, ["f", "b", "d"]);
    Ok(())
}

async fn lists_compare_text_byte_by_byte(store: Arc<dyn Store>) -> Verdict {
    let sorted = ["", " ", "10", "9", "A", "Z", "a", "aa", "b", "e\u{301}", "z", "é", "日", "🤙"];
    put_all(store.as_ref(), sorted.map(|text| put(text).index(LABEL, text))).await?;
    assert_eq!(list(&store, ordered(Order::IndexAscending(LABEL.into()))).await?, sorted);
    assert_eq!(list(&store, ordered(Order::IdAscending)).await?, sorted);
    let capitals = ordered(Order::IdAscending).range(LABEL, Some("A".into()), Some("a".into()));
    assert_eq!(list(&store, capitals).await?, ["A", "Z"]);
    Ok(())
}

async fn lists_follow_updates_and_deletes(store: Arc<dyn Store>) -> Verdict {
    put_things(&store).await?;
    put_all(store.as_ref(), [put("a").index(COLOUR, "blue"), put("c")]).await?;
    store.commit(batch([Operation::Delete(Delete { key: thing("f"), expect: Expect::Any })])).await?;
    assert!(list(&store, all().equal(COLOUR, "red")).await?.is_empty());
    assert_eq!(list(&store, all().equal(COLOUR, "blue")).await?, ["b", "a"]);
    assert_eq!(list(&store, ordered(Order::IdAscending)).await?, ["a", "b", "c", "d", "e", "g"]);
    Ok(())
}

async fn lists_cover_one_tenant_or_all(store: Arc<dyn Store>) -> Verdict {
    let foreign = |number, id: &str| Put { key: RecordKey::new(tenant(number), THING, id), ..put(id) }.index(SIZE, 7);
    put_all(store.as_ref(), [put("b").index(SIZE, 7), put("d"), foreign(2, "a"), foreign(2, "b"), foreign(3, "c")])
        .await?;
    put_all(store.as_ref(), [Put::new(RecordKey::new(tenant(1), PLAIN, "z"), Expect::Any, json!({}))]).await?;
    assert_eq!(list(&store, all()).await?, ["d", "b"]);
    assert_eq!(list(&store, Query::new(Some(tenant(2)), THING)).await?, ["b", "a"]);
    assert!(list(&store, Query::new(Some(tenant(4)), THING)).await?.is_empty());
    assert_eq!(list(&store, Query::new(None, PLAIN)).await?, ["z"]);
    let page = store.list(Query::new(None, THING)).await?;
    let places: Vec<_> = page.records.iter().map(|record| (record.key.id.as_str(), record.key.tenant)).collect();
    let expected = [("d", 1), ("c", 3), ("b", 2), ("b", 1), ("a", 2)].map(|(id, number)| (id, tenant(number)));
    assert_eq!(places, expected);
    let sevens = list(&store, Query::new(None, THING).equal(SIZE, 7)).await?;
    assert_eq!(sevens, ["c", "b", "b", "a"]);
    for order in orders() {
        let query = Query::new(None, THING).order(order);
        let whole = store.list(query.clone()).await?.records;
        assert_eq!(walk(&store, query, 1).await?, whole.iter().map(|record| record.key.clone()).collect::<Vec<_>>());
    }
    Ok(())
}

async fn lists_clamp_their_limit(store: Arc<dyn Store>) -> Verdict {
    let total = LIMIT_MAX + 2;
    put_all(store.as_ref(), (0..total).map(|number| put(format!("{number:04}")).index(SIZE, i64::from(number))))
        .await?;
    for order in orders() {
        let query = ordered(order);
        assert_eq!(store.list(query.clone().limit(0)).await?.records.len(), 1);
        let page = store.list(query.clone().limit(u32::MAX)).await?;
        assert_eq!(page.records.len(), LIMIT_MAX as usize);
        let next = page.next.ok_or("there is a next page")?;
        let rest = store.list(query.after(next).limit(u32::MAX)).await?;
        assert_eq!((rest.records.len(), rest.next), (2, None));
    }
    let exact = all().limit(2).offset(u64::from(LIMIT_MAX));
    assert_eq!(store.list(exact).await?.next, None);
    Ok(())
}

async fn lists_skip_an_offset(store: Arc<dyn Store>) -> Verdict {
    put_things(&store).await?;
    for order in orders() {
        let query = ordered(order);
        let whole = list(&store, query.clone()).await?;
        for offset in 0..whole.len() + 2 {
            let page = store.list(query.clone().offset(offset as u64).limit(2)).await?;
            let expected: Vec<_> = whole.iter().skip(offset).take(2).collect();
            assert_eq!(ids(&page.records), expected, "{:?} from {offset}", query.order);
            assert_eq!(page.next.is_some(), offset + 2 < whole.len());
        }
        assert_eq!(store.list(query.offset(u64::MAX)).await?, Page { records: Vec::new(), next: None });
    }
    Ok(())
}

async fn counts_are_of_what_matches(store: Arc<dyn Store>) -> Verdict {
    assert_eq!(store.count(all()).await?, 0);
    put_things(&store).await?;
    let red = || all().equal(COLOUR, "red");
    for query in [all(), red(), red().equal(SIZE, 2), all().range(SIZE, Some(2.into()), None), red().equal(SIZE, 99)] {
        let listed = list(&store, query.clone()).await?.len() as u64;
        assert_eq!(store.count(query.clone()).await?, listed, "{query:?}");
        let part = query.order(Order::IndexAscending(SIZE.to_owned())).limit(1).offset(1);
        assert_eq!(store.count(part).await?, listed);
    }
    assert_eq!(refusal(store.count(Query::new(None, "nothing")).await), Some(ErrorKind::ConfigInvalid));
    Ok(())
}

async fn cursors_walk_every_order_to_its_end(store: Arc<dyn Store>) -> Verdict {
    put_things(&store).await?;
    for order in orders() {
        let query = ordered(order);
        let whole: Vec<RecordKey> = list(&store, query.clone()).await?.iter().map(thing).collect();
        assert_eq!(whole.len(), 7);
        for limit in 1..=8 {
            assert_eq!(walk(&store, query.clone(), limit).await?, whole, "{:?} by {limit}", query.order);
        }
    }
    Ok(())
}

async fn cursors_walk_with_filters(store: Arc<dyn Store>) -> Verdict {
    put_things(&store).await?;
    for order in orders() {
        let by_size = ordered(order.clone()).range(SIZE, Some(1.into()), Some(3.into()));
        for query in [ordered(order.clone()).equal(COLOUR, "red"), by_size] {
            let whole: Vec<RecordKey> = list(&store, query.clone()).await?.iter().map(thing).collect();
            assert_eq!(whole.len(), 3);
            assert_eq!(walk(&store, query, 1).await?, whole, "{order:?}");
        }
    }
    Ok(())
}

async fn cursors_are_stable_under_inserts_and_deletes(store: Arc<dyn Store>) -> Verdict {
    put_all(store.as_ref(), ["b", "d", "f", "h"].map(put)).await?;
    let first = store.list(all().limit(2)).await?;
    assert_eq!(ids(&first.records), ["h", "f"]);
    put_all(store.as_ref(), ["i", "g", "e", "a"].map(put)).await?;
    store.commit(batch([Operation::Delete(Delete { key: thing("f"), expect: Expect::Any })])).await?;
    let next = first.next.ok_or("there is a next page")?;
    let rest = store.list(all().after(next)).await?;
    assert_eq!(ids(&rest.records), ["e", "d", "b", "a"]);
    Ok(())
}

async fn cursors_that_are_not_ours_are_refused(store: Arc<dyn Store>) -> Verdict {
    put_things(&store).await?;
    let by_size = ordered(Order::IndexAscending(SIZE.into()));
    let cursor = store.list(by_size.clone().limit(1)).await?.next.ok_or("there is a next page")?;
    assert!(store.list(by_size.clone().after(&cursor)).await.is_ok());
    let invalid = Some(ErrorKind::ConfigInvalid);
    for garbage in ["", "a", "42", "e30", "bnVsbA", "☎", "' OR 1=1", &cursor[1..], &format!("{cursor}{cursor}")] {
        for query in [all(), by_size.clone()] {
            assert_eq!(refusal(store.list(query.after(garbage)).await), invalid, "{garbage}");
        }
    }
    let plain = Query::new(Some(tenant(1)), PLAIN);
    for other in
        [all(), plain, ordered(Order::IndexDescending(SIZE.into())), ordered(Order::IndexAscending(LABEL.into()))]
    {
        assert_eq!(refusal(store.list(other.after(&cursor)).await), invalid);
    }
    Ok(())
}

async fn lists_refuse_undeclared_names(store: Arc<dyn Store>) -> Verdict {
    let wrong = [
        all().equal("unknown", 1),
        all().equal("id", "a"),
        all().equal(SIZE, "1"),
        all().equal(COLOUR, 1),
        all().range("unknown", None, None),
        all().range(SIZE, Some("1".into()), None),
        all().range(COLOUR, None, Some(1.into())),
        ordered(Order::IndexAscending("unknown".into())),
        ordered(Order::IndexDescending("size desc, id".into())),
        Query::new(None, PLAIN).equal(SIZE, 1),
    ];
    for query in wrong {
        assert_eq!(refusal(store.list(query.clone()).await), Some(ErrorKind::ConfigInvalid), "{query:?}");
    }
    Ok(())
}

/// Seven things: three red ones, ties and gaps in every index.
async fn put_things(store: &Arc<dyn Store>) -> offhook::Result<()> {
    let things = [
        put("a").index(COLOUR, "red").index(SIZE, 1).index(LABEL, "x"),
        put("b").index(COLOUR, "blue").index(SIZE, 2),
        put("c").index(COLOUR, "red").index(LABEL, "x"),
        put("d").index(SIZE, i64::MAX),
        put("e").index(COLOUR, "green").index(SIZE, -3).index(LABEL, "w"),
        put("f").index(COLOUR, "red").index(SIZE, 2).index(LABEL, "y"),
        put("g").index(LABEL, "x"),
    ];
    put_all(store.as_ref(), things).await
}

fn all() -> Query {
    Query::new(Some(tenant(1)), THING)
}

fn ordered(order: Order) -> Query {
    all().order(order)
}

fn orders() -> Vec<Order> {
    let up = [COLOUR, LABEL, SIZE].map(|index| Order::IndexAscending(index.into()));
    let down = [COLOUR, LABEL, SIZE].map(|index| Order::IndexDescending(index.into()));
    [Order::IdAscending, Order::IdDescending].into_iter().chain(up).chain(down).collect()
}

async fn list(store: &Arc<dyn Store>, query: Query) -> offhook::Result<Vec<String>> {
    Ok(store.list(query).await?.records.into_iter().map(|record| record.key.id).collect())
}

/// The keys of all pages of `limit` records.
async fn walk(store: &Arc<dyn Store>, query: Query, limit: u32) -> Result<Vec<RecordKey>, libtest_mimic::Failed> {
    let mut query = query.limit(limit);
    let mut keys = Vec::new();
    for _ in 0..100 {
        let page = store.list(query.clone()).await?;
        keys.extend(page.records.into_iter().map(|record| record.key));
        let Some(next) = page.next else { return Ok(keys) };
        query = query.after(next);
    }
    Err("the list has no end".into())
}
