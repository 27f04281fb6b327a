use std::sync::Arc;

use offhook::ErrorKind;
use offhook::provider::Store;
use offhook::provider::store::{Add, Operation};

use super::{add, batch, counter, move_by, refusal, tenant, value_of};
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
