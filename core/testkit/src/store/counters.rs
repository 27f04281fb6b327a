use std::sync::Arc;

use offhook::provider::Store;
use offhook::provider::store::catalog::OPERATIONS_MAX;
use offhook::provider::store::{Add, Expect, Operation, Put, RecordKey};
use offhook::{ErrorKind, Result};
use serde_json::json;

use super::{add, batch, counter, move_by, put, put_all, refusal, tenant, thing, value_of};
use crate::behaviour::{Case, Verdict, on_threads};
use crate::case;

pub(super) fn cases() -> Vec<Case<Arc<dyn Store>>> {
    vec![
        case!(counters_start_at_zero_and_move),
        case!(counters_do_not_pass_their_floor),
        case!(counters_do_not_pass_their_ceiling),
        case!(counters_beyond_a_bound_may_move_back),
        case!(counters_do_not_wrap_around),
        case!(counters_move_several_times_in_a_batch),
        case!(counters_check_bounds_at_every_move_of_a_batch),
        case!(counters_belong_to_a_tenant),
        case!(counters_hold_their_floor_under_32_threads),
        case!(counters_hold_their_ceiling_under_32_threads),
        case!(crossings_happen_once_for_each_way_down),
        case!(crossings_happen_at_the_threshold_itself),
        case!(crossings_happen_at_each_move_of_a_batch),
        case!(crossings_follow_the_order_of_a_batch),
        case!(crossings_that_cannot_be_written_refuse_the_commit),
        case!(crossings_are_taken_back_with_their_commit),
        case!(crossings_are_checked_like_any_operation),
        case!(crossings_happen_once_under_32_threads),
    ]
}

async fn counters_start_at_zero_and_move(store: Arc<dyn Store>) -> Verdict {
    let store = store.as_ref();
    assert_eq!(value_of(store, "balance").await?, 0);
    assert_eq!(add(store, move_by("balance", 5)).await?, 5);
    assert_eq!(add(store, move_by("balance", -12)).await?, -7);
    assert_eq!(value_of(store, "balance").await?, -7);
    assert_eq!(value_of(store, "other").await?, 0);
    Ok(())
}

async fn counters_do_not_pass_their_floor(store: Arc<dyn Store>) -> Verdict {
    let store = store.as_ref();
    add(store, move_by("balance", 10)).await?;
    let spend = |delta| Add { floor: Some(3), ..move_by("balance", delta) };
    assert_eq!(refusal(add(store, spend(-8)).await), Some(ErrorKind::InsufficientFunds));
    assert_eq!(value_of(store, "balance").await?, 10);
    assert_eq!(add(store, spend(-7)).await?, 3);
    assert_eq!(refusal(add(store, spend(-1)).await), Some(ErrorKind::InsufficientFunds));
    assert_eq!(refusal(add(store, spend(i64::MIN)).await), Some(ErrorKind::InsufficientFunds));
    assert_eq!(value_of(store, "balance").await?, 3);
    Ok(())
}

async fn counters_do_not_pass_their_ceiling(store: Arc<dyn Store>) -> Verdict {
    let store = store.as_ref();
    let take = |delta| Add { ceiling: Some(4), ..move_by("lines", delta) };
    assert_eq!(refusal(add(store, take(5)).await), Some(ErrorKind::RateLimited));
    assert_eq!(add(store, take(4)).await?, 4);
    assert_eq!(refusal(add(store, take(1)).await), Some(ErrorKind::RateLimited));
    assert_eq!(refusal(add(store, take(i64::MAX)).await), Some(ErrorKind::RateLimited));
    assert_eq!(value_of(store, "lines").await?, 4);
    Ok(())
}

async fn counters_beyond_a_bound_may_move_back(store: Arc<dyn Store>) -> Verdict {
    let store = store.as_ref();
    let bounded = |delta| Add { floor: Some(0), ceiling: Some(10), ..move_by("lines", delta) };
    add(store, move_by("lines", 20)).await?;
    assert_eq!(add(store, bounded(0)).await?, 20);
    assert_eq!(add(store, bounded(-5)).await?, 15);
    assert_eq!(refusal(add(store, bounded(1)).await), Some(ErrorKind::RateLimited));
    add(store, move_by("lines", -35)).await?;
    assert_eq!(add(store, bounded(0)).await?, -20);
    assert_eq!(add(store, bounded(5)).await?, -15);
    assert_eq!(refusal(add(store, bounded(-1)).await), Some(ErrorKind::InsufficientFunds));
    assert_eq!(value_of(store, "lines").await?, -15);
    Ok(())
}

async fn counters_do_not_wrap_around(store: Arc<dyn Store>) -> Verdict {
    let store = store.as_ref();
    assert_eq!(add(store, move_by("high", i64::MAX)).await?, i64::MAX);
    assert_eq!(refusal(add(store, move_by("high", 1)).await), Some(ErrorKind::ConfigInvalid));
    assert_eq!(add(store, move_by("low", i64::MIN)).await?, i64::MIN);
    assert_eq!(refusal(add(store, move_by("low", -1)).await), Some(ErrorKind::ConfigInvalid));
    let ceiling = Add { ceiling: Some(i64::MAX), ..move_by("high", 1) };
    assert_eq!(refusal(add(store, ceiling).await), Some(ErrorKind::RateLimited));
    assert_eq!(value_of(store, "high").await?, i64::MAX);
    assert_eq!(value_of(store, "low").await?, i64::MIN);
    Ok(())
}

async fn counters_move_several_times_in_a_batch(store: Arc<dyn Store>) -> Verdict {
    let moves = [move_by("a", 5), move_by("b", 1), move_by("a", -2), move_by("c", 0)];
    let committed = store.commit(batch(moves.map(Operation::Add))).await?;
    let values: Vec<i64> = ["a", "b", "c"].iter().map(|name| committed.counters[&counter(name)]).collect();
    assert_eq!(values, [3, 1, 0]);
    assert_eq!(committed.counters.len(), 3);
    assert_eq!(value_of(store.as_ref(), "a").await?, 3);
    Ok(())
}

async fn counters_check_bounds_at_every_move_of_a_batch(store: Arc<dyn Store>) -> Verdict {
    let spend = |delta| Operation::Add(Add { floor: Some(0), ..move_by("balance", delta) });
    let overdrawn = store.commit(batch([spend(5), spend(-6), spend(10)])).await;
    assert_eq!(refusal(overdrawn), Some(ErrorKind::InsufficientFunds));
    assert_eq!(value_of(store.as_ref(), "balance").await?, 0);
    Ok(())
}

async fn counters_belong_to_a_tenant(store: Arc<dyn Store>) -> Verdict {
    let store = store.as_ref();
    let mut theirs = move_by("balance", 100);
    theirs.counter.tenant = tenant(2);
    assert_eq!(add(store, theirs.clone()).await?, 100);
    assert_eq!(add(store, move_by("balance", 1)).await?, 1);
    theirs.delta = 0;
    assert_eq!(add(store, theirs).await?, 100);
    Ok(())
}

async fn counters_hold_their_floor_under_32_threads(store: Arc<dyn Store>) -> Verdict {
    add(store.as_ref(), move_by("balance", 100)).await?;
    let spend = Add { floor: Some(0), ..move_by("balance", -3) };
    let spent = spend_on_32_threads(&store, spend, ErrorKind::InsufficientFunds).await?;
    assert_eq!(spent, 33);
    assert_eq!(value_of(store.as_ref(), "balance").await?, 1);
    Ok(())
}

async fn counters_hold_their_ceiling_under_32_threads(store: Arc<dyn Store>) -> Verdict {
    let take = Add { ceiling: Some(50), ..move_by("lines", 1) };
    let taken = spend_on_32_threads(&store, take, ErrorKind::RateLimited).await?;
    assert_eq!(taken, 50);
    assert_eq!(value_of(store.as_ref(), "lines").await?, 50);
    Ok(())
}

async fn crossings_happen_once_for_each_way_down(store: Arc<dyn Store>) -> Verdict {
    let store = store.as_ref();
    let steps = [
        (4, false, "below from the start"),
        (-1, false, "still below"),
        (20, false, "upwards"),
        (-3, false, "still above"),
        (-15, true, "downwards"),
        (-2, false, "below already"),
        (7, false, "back to the threshold"),
        (-1, true, "downwards again"),
        (0, false, "a read"),
        (i64::MAX - 9, false, "far up"),
        (-i64::MAX, true, "far down"),
    ];
    let mut crossed = 0;
    for (delta, crosses, when) in steps {
        let committed = store.commit(batch([Operation::Add(watched(delta, 10, [put("low")]))])).await?;
        assert_eq!(committed.crossed.contains(&counter("balance")), crosses, "{when}");
        crossed += u64::from(crosses);
        assert_eq!(revision_of(store, "low").await?, crossed, "{when}");
    }
    Ok(())
}

async fn crossings_happen_at_the_threshold_itself(store: Arc<dyn Store>) -> Verdict {
    let store = store.as_ref();
    let extremes = [(0, -1), (i64::MIN + 1, i64::MIN), (i64::MAX, i64::MAX - 1)];
    for (number, (threshold, under)) in extremes.into_iter().enumerate() {
        let name = number.to_string();
        let watch = |delta| Add::new(counter(&name), delta).crossing(threshold, vec![put(&name)]);
        assert_eq!(add(store, watch(threshold)).await?, threshold);
        let before = revision_of(store, &name).await?;
        assert_eq!(add(store, watch(-1)).await?, under);
        assert_eq!(revision_of(store, &name).await?, before + 1, "{threshold}");
    }
    Ok(())
}

async fn crossings_happen_at_each_move_of_a_batch(store: Arc<dyn Store>) -> Verdict {
    let moves = [12, -5, 5, -5].map(|delta| Operation::Add(watched(delta, 10, [put("low")])));
    let committed = store.commit(batch(moves)).await?;
    assert_eq!(committed.counters[&counter("balance")], 7);
    assert_eq!(committed.crossed, [counter("balance")].into());
    assert_eq!(revision_of(store.as_ref(), "low").await?, 2);
    Ok(())
}

async fn crossings_follow_the_order_of_a_batch(store: Arc<dyn Store>) -> Verdict {
    add(store.as_ref(), move_by("balance", 10)).await?;
    let before = Put::new(thing("low"), Expect::Absent, json!("before"));
    let crossing = Put::new(thing("low"), Expect::Revision(1), json!("crossing"));
    let after = Put::new(thing("low"), Expect::Revision(2), json!("after"));
    let steps = [Operation::Put(before), Operation::Add(watched(-1, 10, [crossing])), Operation::Put(after)];
    store.commit(batch(steps)).await?;
    let record = store.get(thing("low")).await?.ok_or("the record is gone")?;
    assert_eq!((record.revision, record.body), (3, json!("after")));
    Ok(())
}

async fn crossings_that_cannot_be_written_refuse_the_commit(store: Arc<dyn Store>) -> Verdict {
    let store = store.as_ref();
    add(store, move_by("balance", 10)).await?;
    let absent = |id| Put::new(thing(id), Expect::Absent, json!({}));
    put_all(store, [absent("taken")]).await?;
    let blocked = || watched(-1, 10, [absent("free"), absent("taken")]);
    let refused = store.commit(batch([Operation::Put(put("other")), Operation::Add(blocked())])).await;
    assert_eq!(refusal(refused), Some(ErrorKind::Conflict));
    assert_eq!(value_of(store, "balance").await?, 10);
    assert_eq!(revision_of(store, "free").await?, 0);
    assert_eq!(revision_of(store, "other").await?, 0);
    // What is not written is not checked either.
    assert_eq!(add(store, Add { delta: 3, ..blocked() }).await?, 13);
    assert_eq!(add(store, Add { delta: -3, ..blocked() }).await?, 10);
    assert_eq!(refusal(add(store, blocked()).await), Some(ErrorKind::Conflict));
    Ok(())
}

async fn crossings_are_taken_back_with_their_commit(store: Arc<dyn Store>) -> Verdict {
    let store = store.as_ref();
    add(store, move_by("balance", 10)).await?;
    let spend = Add::new(counter("empty"), -1).floor(0);
    let refused = store.commit(batch([watched(-1, 10, [put("low")]), spend].map(Operation::Add))).await;
    assert_eq!(refusal(refused), Some(ErrorKind::InsufficientFunds));
    assert_eq!(revision_of(store, "low").await?, 0);
    let committed = store.commit(batch([Operation::Add(watched(-1, 10, [put("low")]))])).await?;
    assert_eq!(committed.crossed, [counter("balance")].into());
    assert_eq!(revision_of(store, "low").await?, 1);
    Ok(())
}

async fn crossings_are_checked_like_any_operation(store: Arc<dyn Store>) -> Verdict {
    let store = store.as_ref();
    let unknown_kind = Put::new(RecordKey::new(tenant(1), "unknown", "a"), Expect::Any, json!({}));
    let many: Vec<Put> = (0..OPERATIONS_MAX).map(put).collect();
    for (then, why) in [(vec![unknown_kind], "kind"), (vec![put("a").index("unknown", 1)], "index"), (many, "many")] {
        let refused = add(store, move_by("balance", 1).crossing(0, then)).await;
        assert_eq!(refusal(refused), Some(ErrorKind::ConfigInvalid), "{why}");
    }
    assert_eq!(value_of(store, "balance").await?, 0);
    Ok(())
}

async fn crossings_happen_once_under_32_threads(store: Arc<dyn Store>) -> Verdict {
    add(store.as_ref(), move_by("balance", 128)).await?;
    let crossed = on_threads(32, |_| {
        let store = Arc::clone(&store);
        async move {
            let mut crossed = 0;
            for _ in 0..4 {
                let spend = watched(-1, 64, [Put::new(thing("low"), Expect::Absent, json!({}))]).floor(0);
                let committed = store.commit(batch([Operation::Add(spend)])).await?;
                crossed += committed.crossed.len();
            }
            Ok(crossed)
        }
    });
    assert_eq!(crossed.await?.into_iter().sum::<usize>(), 1);
    assert_eq!(value_of(store.as_ref(), "balance").await?, 0);
    assert_eq!(revision_of(store.as_ref(), "low").await?, 1);
    Ok(())
}

/// A move of the balance that writes `then` when it crosses.
fn watched(delta: i64, below: i64, then: impl Into<Vec<Put>>) -> Add {
    move_by("balance", delta).crossing(below, then.into())
}

/// How often the thing was written since there was none.
async fn revision_of(store: &dyn Store, id: &str) -> Result<u64> {
    Ok(store.get(thing(id)).await?.map_or(0, |record| record.revision))
}

/// How many of 32 times 4 moves were let through; the others must have been refused with `expected`.
async fn spend_on_32_threads(
    store: &Arc<dyn Store>,
    step: Add,
    expected: ErrorKind,
) -> Result<usize, libtest_mimic::Failed> {
    let outcomes = on_threads(32, |_| {
        let (store, step) = (Arc::clone(store), step.clone());
        async move {
            let mut passed = 0;
            for _ in 0..4 {
                match add(store.as_ref(), step.clone()).await {
                    Ok(_) => passed += 1,
                    Err(error) if error.kind() == expected => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(passed)
        }
    });
    Ok(outcomes.await?.into_iter().sum())
}
