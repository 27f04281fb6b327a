use std::sync::Arc;
use std::time::Duration;

use offhook::ErrorKind;
use offhook::provider::Store;
use offhook::provider::store::{Delete, Expect, LIMIT_MAX, Operation, Put, RecordKey};
use offhook::time::Timestamp;
use serde_json::json;

use super::{COLOUR, PLAIN, THING, batch, ids, put, put_all, refusal, tenant, thing};
use crate::behaviour::{Case, Verdict, on_threads};
use crate::case;

const LEASE: Duration = Duration::from_secs(30);

pub(super) fn cases() -> Vec<Case<Arc<dyn Store>>> {
    vec![
        case!(claims_hand_out_what_is_due_earliest_first),
        case!(claims_come_back_when_the_lease_ends),
        case!(claims_fence_off_a_late_worker),
        case!(claims_follow_puts_and_deletes),
        case!(claims_cover_all_tenants_and_one_kind),
        case!(claims_clamp_their_limit),
        case!(claims_survive_extreme_moments),
        case!(claims_bear_clocks_that_differ),
        case!(claims_go_to_exactly_one_worker),
    ]
}

async fn claims_hand_out_what_is_due_earliest_first(store: Arc<dyn Store>) -> Verdict {
    let body = json!({"url": "https://example.com"});
    let early = Put { body: body.clone(), ..put("z").index(COLOUR, "red").due_at(at(1)) };
    put_all(store.as_ref(), [put("a").due_at(at(3)), early, put("b").due_at(at(2)), put("never")]).await?;
    assert!(store.claim(THING.into(), at(0), LEASE, 10).await?.is_empty());
    let claimed = store.claim(THING.into(), at(2), LEASE, 10).await?;
    assert_eq!(ids(&claimed), ["z", "b"]);
    assert_eq!(claimed[0].due_at, Some(at(2) + LEASE));
    assert_eq!(claimed[0].revision, 2);
    assert_eq!(claimed[0].indexes, [(COLOUR.to_owned(), "red".into())].into());
    assert_eq!(claimed[0].body, body);
    for record in claimed {
        assert_eq!(store.get(record.key.clone()).await?, Some(record));
    }
    assert_eq!(ids(&store.claim(THING.into(), at(3), LEASE, 10).await?), ["a"]);
    Ok(())
}

async fn claims_come_back_when_the_lease_ends(store: Arc<dyn Store>) -> Verdict {
    put_all(store.as_ref(), [put("a").due_at(at(0))]).await?;
    assert_eq!(ids(&store.claim(THING.into(), at(5), LEASE, 1).await?), ["a"]);
    assert!(store.claim(THING.into(), at(34), LEASE, 1).await?.is_empty());
    let again = store.claim(THING.into(), at(35), LEASE, 1).await?;
    assert_eq!(ids(&again), ["a"]);
    assert_eq!((again[0].revision, again[0].due_at), (3, Some(at(65))));
    Ok(())
}

async fn claims_fence_off_a_late_worker(store: Arc<dyn Store>) -> Verdict {
    put_all(store.as_ref(), [put("a").due_at(at(0))]).await?;
    let slow = store.claim(THING.into(), at(0), LEASE, 1).await?;
    let quick = store.claim(THING.into(), at(30), LEASE, 1).await?;
    let finish = |revision| put_all(store.as_ref(), [Put { expect: Expect::Revision(revision), ..put("a") }]);
    finish(quick[0].revision).await?;
    assert_eq!(refusal(finish(slow[0].revision).await), Some(ErrorKind::Conflict));
    assert!(store.claim(THING.into(), at(1_000), LEASE, 1).await?.is_empty());
    Ok(())
}

async fn claims_follow_puts_and_deletes(store: Arc<dyn Store>) -> Verdict {
    put_all(store.as_ref(), ["a", "b", "c"].map(|id| put(id).due_at(at(1)))).await?;
    put_all(store.as_ref(), [put("a"), put("b").due_at(at(9))]).await?;
    assert_eq!(ids(&store.claim(THING.into(), at(1), LEASE, 10).await?), ["c"]);
    store.commit(batch([Operation::Delete(Delete { key: thing("c"), expect: Expect::Any })])).await?;
    assert_eq!(ids(&store.claim(THING.into(), at(100), LEASE, 10).await?), ["b"]);
    Ok(())
}

async fn claims_cover_all_tenants_and_one_kind(store: Arc<dyn Store>) -> Verdict {
    let foreign = RecordKey::new(tenant(2), THING, "a");
    let plain = RecordKey::new(tenant(1), PLAIN, "a");
    for key in [&foreign, &plain] {
        put_all(store.as_ref(), [Put { key: key.clone(), ..put("") }.due_at(at(1))]).await?;
    }
    put_all(store.as_ref(), [put("a").due_at(at(1))]).await?;
    let claimed = store.claim(THING.into(), at(1), LEASE, 10).await?;
    let keys: Vec<RecordKey> = claimed.into_iter().map(|record| record.key).collect();
    assert_eq!(keys, [thing("a"), foreign]);
    let claimed = store.claim(PLAIN.into(), at(1), LEASE, 10).await?;
    assert_eq!(claimed.into_iter().map(|record| record.key).collect::<Vec<_>>(), [plain]);
    Ok(())
}

async fn claims_clamp_their_limit(store: Arc<dyn Store>) -> Verdict {
    let total = LIMIT_MAX + 2;
    put_all(store.as_ref(), (0..total).map(|number| put(format!("{number:04}")).due_at(at(1)))).await?;
    assert_eq!(ids(&store.claim(THING.into(), at(1), LEASE, 0).await?), ["0000"]);
    assert_eq!(store.claim(THING.into(), at(1), LEASE, u32::MAX).await?.len(), LIMIT_MAX as usize);
    assert_eq!(ids(&store.claim(THING.into(), at(1), LEASE, u32::MAX).await?), ["1001"]);
    Ok(())
}

async fn claims_survive_extreme_moments(store: Arc<dyn Store>) -> Verdict {
    let (first, last) = (Timestamp::from_unix_micros(i64::MIN), Timestamp::from_unix_micros(i64::MAX));
    put_all(store.as_ref(), [put("a").due_at(first), put("b").due_at(last)]).await?;
    let claimed = store.claim(THING.into(), at(0), Duration::MAX, 10).await?;
    assert_eq!((ids(&claimed), claimed[0].due_at), (vec!["a"], Some(last)));
    assert_eq!(ids(&store.claim(THING.into(), last, Duration::ZERO, 10).await?), ["a", "b"]);
    Ok(())
}

/// A lease is as much shorter or longer as two clocks are apart, and nothing else happens.
async fn claims_bear_clocks_that_differ(store: Arc<dyn Store>) -> Verdict {
    let finish = |id, revision| put_all(store.as_ref(), [Put { expect: Expect::Revision(revision), ..put(id) }]);
    put_all(store.as_ref(), [put("a").due_at(at(100)), put("b").due_at(at(100))]).await?;
    let held = store.claim(THING.into(), at(100), LEASE, 1).await?;
    // A clock that is ahead by less than the lease does not see the record, nor does one that is behind.
    assert_eq!(ids(&store.claim(THING.into(), at(129), LEASE, 10).await?), ["b"]);
    assert!(store.claim(THING.into(), at(70), LEASE, 10).await?.is_empty());
    // One that is further ahead takes it over, and the first worker can do no harm.
    let taken = store.claim(THING.into(), at(130), LEASE, 10).await?;
    assert_eq!((ids(&taken), taken[0].due_at), (vec!["a"], Some(at(160))));
    assert_eq!(refusal(finish("a", held[0].revision).await), Some(ErrorKind::Conflict));
    // If it dies, the record comes back to everybody, later by what its clock was ahead.
    assert!(store.claim(THING.into(), at(158), LEASE, 10).await?.is_empty());
    assert_eq!(ids(&store.claim(THING.into(), at(160), LEASE, 1).await?), ["b"]);
    let back = store.claim(THING.into(), at(161), LEASE, 1).await?;
    assert_eq!((ids(&back), back[0].revision), (vec!["a"], 4));
    finish("a", 4).await?;
    assert!(store.claim(THING.into(), at(1_000_000), LEASE, 10).await?.iter().all(|record| record.key.id == "b"));
    Ok(())
}

async fn claims_go_to_exactly_one_worker(store: Arc<dyn Store>) -> Verdict {
    const TOTAL: usize = 200;
    put_all(store.as_ref(), (0..TOTAL).map(|number| put(format!("{number:04}")).due_at(at(1)))).await?;
    let claimed = on_threads(8, |_| {
        let store = Arc::clone(&store);
        async move {
            let mut mine = Vec::new();
            loop {
                let claimed = store.claim(THING.into(), at(1), LEASE, 7).await?;
                if claimed.is_empty() {
                    return Ok(mine);
                }
                mine.extend(claimed.into_iter().map(|record| (record.key.id, record.revision)));
            }
        }
    });
    let mut claimed: Vec<(String, u64)> = claimed.await?.into_iter().flatten().collect();
    claimed.sort();
    let expected: Vec<(String, u64)> = (0..TOTAL).map(|number| (format!("{number:04}"), 2)).collect();
    assert_eq!(claimed, expected);
    Ok(())
}

/// That many seconds after some moment.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_micros(1_800_000_000_000_000) + Duration::from_secs(seconds)
}
