//! Engines that stop without a word, and engines that only seem to have: each call has one end and one bill.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use offhook::billing::Unit;
use offhook::call::record::{CallStatus, EndReason, HangupParty, TransferOutcome};
use offhook::call::{CallRecord, Input};
use offhook::engine::{CallHandle, Engine, LEASE, Providers};
use offhook::ids::CallId;
use offhook::journal::{self, Entry, Journal};
use offhook::provider::Store;
use offhook::provider::store::RecordKey;
use offhook::provider::telephony::{E164, HangupCause};
use offhook::service::calls::{CALL, StoredCall};
use offhook::service::outbox::DeliveryState;
use offhook_testkit::carrier::{Answering, Caller};
use offhook_testkit::chaos;
use offhook_testkit::runtime::VirtualRuntime;

use crate::remote::Remote;
use crate::world::{HOUR, World};

const SPEECH: u8 = 0x80;
const SILENCE: u8 = 0xff;

/// A lease and a sweep after it.
const PATIENCE: Duration = Duration::from_secs(36);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A question and its answer.
async fn converse(caller: &Caller) {
    caller.sound(SILENCE, Duration::from_millis(1_500)).await;
    caller.sound(SPEECH, Duration::from_millis(500)).await;
    caller.sound(SILENCE, Duration::from_millis(3_000)).await;
}

async fn stored(world: &World, call: CallId) -> StoredCall {
    let row = world.store.get(RecordKey::new(world.tenant, CALL, call)).await.unwrap().unwrap();
    serde_json::from_value(row.body).unwrap()
}

async fn entries(world: &World, call: CallId) -> Vec<Entry> {
    let log = world.store.read_log(journal::log_key(world.tenant, call), 0, 1_000).await.unwrap();
    Journal::from_log(&log).unwrap().entries
}

async fn replayed(world: &World, call: CallId) -> CallRecord {
    journal::replay(entries(world, call).await).unwrap().call.record()
}

/// The call is settled once for its talk, nothing is held, and its events were delivered in order.
async fn check_settled(world: &World, call: CallId) -> CallRecord {
    let StoredCall { ledger, lease, record, .. } = stored(world, call).await;
    assert_eq!(lease, None);
    assert_eq!(ledger.unwrap().settled.unsigned_abs(), record.talk_time_ms);
    assert!(record.talk_time_ms <= record.duration_ms);
    let balance = world.engine.credits().balance(world.tenant, Unit::Time).await.unwrap();
    assert_eq!(balance.held, 0);
    let audit = world.engine.credits().audit(world.tenant).await.unwrap();
    assert!(audit.is_clean(), "{:?}", audit.findings);
    let deliveries = world.engine.webhooks().deliveries(world.tenant, call).await.unwrap();
    assert!(deliveries.iter().all(|delivery| delivery.state == DeliveryState::Delivered), "{deliveries:?}");
    assert!(deliveries.iter().any(|delivery| delivery.event == "call.ended"));
    record
}

/// Tells `before` until the process dies, and `after` to an engine that is started anew `away` later.
fn crash<T, B: Future<Output = T>, A: Future<Output = ()>>(
    before: impl FnOnce(Arc<World>) -> B,
    away: Duration,
    after: impl FnOnce(Arc<World>, T) -> A,
) {
    let runtime = VirtualRuntime::new(11);
    let world = runtime.block_on(World::new(Arc::new(runtime.clone()), &["What are your opening hours?"]));
    // Work that is left at the end of `block_on` is dropped where it stands, so the engine is made inside of it.
    let mut world = Arc::new(World {
        engine: Engine::with_settings(world.providers.clone(), offhook_testkit::settings()),
        ..world
    });
    let seen = runtime.block_on(before(world.clone()));
    runtime.block_on(async {
        runtime.sleep(away).await;
        let Some(inner) = Arc::get_mut(&mut world) else { panic!("the story still holds the world") };
        inner.engine = Engine::with_settings(inner.providers.clone(), offhook_testkit::settings());
        after(world, seen).await;
    });
}

#[test]
fn a_call_whose_engine_dies_is_ended_where_it_was_last_known_to_live() {
    let before = async |world: Arc<World>| {
        let (handle, caller) = world.ring();
        converse(&caller).await;
        // Two renewals, and nothing that is worth an entry.
        caller.sound(SILENCE, secs(16)).await;
        (handle.id(), caller)
    };
    crash(before, secs(600), async |world, (call, caller)| {
        world.wait(secs(3)).await;
        let record = check_settled(&world, call).await;
        assert_eq!((record.status, record.end_reason), (CallStatus::Failed, Some(EndReason::EngineLost)));
        assert_eq!(record.hangup_party, Some(HangupParty::System));
        assert_eq!(record.hangup_cause, Some(HangupCause::TEMPORARY_FAILURE));
        assert!((20_000..22_000).contains(&record.talk_time_ms), "{}", record.talk_time_ms);
        let said: Vec<_> = record.transcript.iter().map(|entry| entry.text.as_str()).collect();
        assert_eq!(said[..3], ["Good morning.", "What are your opening hours?", "From nine to five."]);
        assert_eq!(replayed(&world, call).await, record, "the journal tells of the loss too");
        assert_eq!(world.carrier.hung_up(&caller.leg), Some(HangupCause::TEMPORARY_FAILURE));
    });
}

#[test]
fn a_lease_that_still_runs_is_waited_for() {
    let before = async |world: Arc<World>| {
        let (handle, caller) = world.ring();
        converse(&caller).await;
        handle.id()
    };
    crash(before, secs(1), async |world, call| {
        world.wait(LEASE - secs(8)).await;
        assert_eq!(stored(&world, call).await.ledger, None);
        world.wait(secs(14)).await;
        check_settled(&world, call).await;
    });
}

#[test]
fn a_call_that_had_ended_keeps_its_own_end() {
    let before = async |world: Arc<World>| {
        let (handle, caller) = world.ring();
        converse(&caller).await;
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        // The hang-up is heard and journalled, the last transcript is waited for.
        world.wait(Duration::from_millis(1)).await;
        handle.id()
    };
    crash(before, secs(60), async |world, call| {
        world.wait(secs(3)).await;
        let record = check_settled(&world, call).await;
        assert_eq!((record.status, record.end_reason), (CallStatus::Completed, Some(EndReason::CallerHangUp)));
        assert_eq!(replayed(&world, call).await, record);
    });
}

#[test]
fn a_placed_call_that_rings_is_taken_down() {
    let to: E164 = "+628123456789".parse().unwrap();
    let number = to.clone();
    let before = async move |world: Arc<World>| {
        world.carrier.when_dialled(&number, Answering::Rings);
        let from = "+622150001000".parse().unwrap();
        let handle = world.engine.dial(world.tenant, world.agent.clone(), from, number).unwrap();
        world.wait(secs(2)).await;
        (handle.id(), world.carrier.legs().remove(0))
    };
    crash(before, secs(60), async |world, (call, leg)| {
        world.wait(secs(3)).await;
        let record = check_settled(&world, call).await;
        assert_eq!((record.talk_time_ms, record.end_reason), (0, Some(EndReason::EngineLost)));
        assert_eq!(world.carrier.hung_up(&leg), Some(HangupCause::TEMPORARY_FAILURE));
    });
}

#[test]
fn a_leg_that_the_carrier_took_over_is_left_alone() {
    let before = async |world: Arc<World>| {
        let desk: E164 = "+622150002000".parse().unwrap();
        world.carrier.when_dialled(&desk, Answering::After(secs(1)));
        let mut agent = (*world.agent).clone();
        agent.policy.transfer.targets = chaos::targets();
        // The settlement takes more ways to the store than the journal's entry of what the carrier said.
        let slow = Arc::new(Remote::new(world.runtime.clone(), world.store.clone(), 100));
        let engine =
            Engine::with_settings(Providers { store: slow, ..world.providers.clone() }, offhook_testkit::settings());
        let (incoming, caller) = world.carrier.ring("+628123456789", "+622150001000");
        let handle = engine.accept(world.tenant, Arc::new(agent), incoming).unwrap();
        caller.sound(SILENCE, secs(8)).await;
        handle.transfer("desk", "").unwrap();
        while replayed(&world, handle.id()).await.end_reason.is_none() {
            world.wait(Duration::from_millis(1)).await;
        }
        assert_eq!(stored(&world, handle.id()).await.ledger, None);
        (handle.id(), caller.leg.clone())
    };
    crash(before, secs(60), async |world, (call, leg)| {
        world.wait(secs(3)).await;
        let record = check_settled(&world, call).await;
        assert_eq!(record.end_reason, Some(EndReason::Transferred));
        assert_eq!(record.transfers[0].outcome, TransferOutcome::Completed);
        assert_eq!(world.carrier.hung_up(&leg), None, "the caller talks to the desk");
    });
}

#[test]
fn a_journal_that_cannot_be_read_gives_way_to_the_stored_record() {
    let before = async |world: Arc<World>| {
        let (handle, caller) = world.ring();
        converse(&caller).await;
        caller.sound(SILENCE, secs(6)).await;
        let log = journal::log_key(world.tenant, handle.id());
        let length = world.store.read_log(log.clone(), 0, 1_000).await.unwrap().len();
        world.store.append(log, length as u64, vec![Bytes::from_static(b"nonsense")]).await.unwrap();
        handle.id()
    };
    crash(before, secs(60), async |world, call| {
        world.wait(secs(3)).await;
        let record = check_settled(&world, call).await;
        assert_eq!((record.status, record.end_reason), (CallStatus::Failed, Some(EndReason::EngineLost)));
        assert_eq!(record.transcript.len(), 3, "as of the last renewal");
        assert!((9_500..10_500).contains(&record.talk_time_ms), "{}", record.talk_time_ms);
        assert_eq!(
            record.ended_at.unwrap().saturating_since(record.started_at).as_millis(),
            u128::from(record.duration_ms)
        );
    });
}

/// A story with an engine whose store can be cut off.
fn with_reach<F: Future<Output = ()>>(story: impl FnOnce(World, Arc<Remote>) -> F) {
    let runtime = VirtualRuntime::new(12);
    runtime.block_on(async {
        let mut world = World::new(Arc::new(runtime.clone()), &["What are your opening hours?"]).await;
        let reach = Arc::new(Remote::new(Arc::new(runtime.clone()), world.store.clone(), 0));
        world.providers.store = reach.clone();
        world.engine = Engine::with_settings(world.providers.clone(), offhook_testkit::settings());
        Arc::make_mut(&mut world.agent).policy.silence.timeout = secs(300);
        story(world, reach).await;
    });
}

/// Rings and goes on making no sound for a while after the first exchange.
async fn long_call(world: &World, length: Duration) -> (CallHandle, Caller) {
    let (handle, caller) = world.ring();
    converse(&caller).await;
    caller.sound(SILENCE, length).await;
    (handle, caller)
}

#[test]
fn an_engine_that_comes_back_finds_its_call_settled_and_ends_it() {
    with_reach(async |mut world, reach| {
        let (handle, caller) = long_call(&world, secs(8)).await;
        reach.cut(true);
        world.providers.store = world.store.clone();
        let other = Engine::with_settings(world.providers.clone(), offhook_testkit::settings());
        caller.sound(SILENCE, PATIENCE).await;
        let id = handle.id();
        let first = other.calls().get(world.tenant, id).await.unwrap().unwrap();
        assert_eq!(first.record.end_reason, Some(EndReason::EngineLost));
        assert!(first.record.talk_time_ms < 15_000, "what the engine did out of sight is not billed");
        reach.cut(false);
        caller.sound(SILENCE, secs(12)).await;
        let (record, ledger) = handle.finished().await.unwrap();
        assert_eq!(record.end_reason, Some(EndReason::EngineLost));
        assert_eq!(world.carrier.hung_up(&caller.leg), Some(HangupCause::TEMPORARY_FAILURE));
        assert_eq!((ledger, stored(&world, id).await), (first.ledger, first));
        check_settled(&world, id).await;
    });
}

#[test]
fn an_engine_that_comes_back_before_the_settlement_does_not_get_its_call_back() {
    with_reach(async |world, reach| {
        let (handle, caller) = long_call(&world, secs(8)).await;
        let id = handle.id();
        let holder = async || stored(&world, id).await.lease.map(|lease| lease.holder);
        let first = holder().await;
        reach.cut(true);
        let slow = Arc::new(Remote::new(world.runtime.clone(), world.store.clone(), 200));
        let _other = Engine::with_settings(
            Providers { store: slow.clone(), ..world.providers.clone() },
            offhook_testkit::settings(),
        );
        let story = async {
            while holder().await == first {
                world.wait(Duration::from_millis(5)).await;
            }
            slow.cut(true);
            assert!(holder().await.is_some(), "it is still to be settled");
            reach.cut(false);
            world.wait(secs(12)).await;
            assert_eq!(check_settled(&world, id).await.end_reason, Some(EndReason::EngineLost));
        };
        futures_util::join!(caller.sound(SILENCE, secs(60)), story);
    });
}

#[test]
fn an_engine_alone_keeps_its_call_through_an_outage_of_the_store() {
    with_reach(async |world, reach| {
        let (handle, caller) = long_call(&world, secs(5)).await;
        reach.cut(true);
        caller.sound(SILENCE, secs(50)).await;
        reach.cut(false);
        caller.sound(SILENCE, secs(20)).await;
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        let id = handle.id();
        let (record, _) = handle.finished().await.unwrap();
        assert!(record.end_reason != Some(EndReason::EngineLost) && record.talk_time_ms > 60_000, "{record:?}");
        world.wait(secs(5)).await;
        assert_eq!(check_settled(&world, id).await, record);
        assert_eq!(replayed(&world, id).await, record, "the journal caught up");
    });
}

#[test]
fn a_settlement_that_failed_to_the_last_is_made_later_with_the_true_record() {
    with_reach(async |world, reach| {
        let (handle, caller) = long_call(&world, secs(1)).await;
        reach.cut(true);
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        let id = handle.id();
        let (record, ledger) = handle.finished().await.unwrap();
        assert_eq!((record.end_reason, ledger), (Some(EndReason::CallerHangUp), None));
        world.wait(secs(100)).await;
        reach.cut(false);
        world.wait(PATIENCE).await;
        assert_eq!(check_settled(&world, id).await, record);
    });
}

#[test]
fn many_engines_settle_an_orphan_once() {
    let before = async |world: Arc<World>| {
        let mut calls = Vec::new();
        for _ in 0..5 {
            let (handle, caller) = world.ring();
            calls.push((handle.id(), caller));
        }
        world.wait(secs(4)).await;
        calls
    };
    crash(before, secs(29), async |world, calls| {
        let others: Vec<_> =
            (0..3).map(|_| Engine::with_settings(world.providers.clone(), offhook_testkit::settings())).collect();
        world.wait(secs(20)).await;
        for (call, _) in &calls {
            check_settled(&world, *call).await;
        }
        let balance = others[0].credits().balance(world.tenant, Unit::Time).await.unwrap();
        assert_eq!(balance.available + balance.used, i64::try_from(HOUR.as_millis()).unwrap());
    });
}

#[test]
fn an_engine_that_dies_while_it_recovers_is_recovered_from() {
    for millis in (0..120).step_by(2) {
        let runtime = VirtualRuntime::new(millis);
        let remote = |world: &World| Arc::new(Remote::new(Arc::new(runtime.clone()), world.store.clone(), 9));
        let (mut world, call) = runtime.block_on(async {
            let mut world = World::new(Arc::new(runtime.clone()), &["What are your opening hours?"]).await;
            world.providers.store = remote(&world);
            world.engine = Engine::with_settings(world.providers.clone(), offhook_testkit::settings());
            let (handle, caller) = world.ring();
            converse(&caller).await;
            (world, handle.id())
        });
        runtime.block_on(async {
            world.wait(secs(60)).await;
            world.engine = Engine::with_settings(world.providers.clone(), offhook_testkit::settings());
            world.wait(Duration::from_millis(millis)).await;
        });
        runtime.block_on(async {
            world.wait(secs(60)).await;
            world.engine = Engine::with_settings(world.providers.clone(), offhook_testkit::settings());
            world.wait(secs(5)).await;
            let record = check_settled(&world, call).await;
            assert_eq!(record.end_reason, Some(EndReason::EngineLost), "after {millis} ms");
            assert_eq!(replayed(&world, call).await, record, "after {millis} ms");
            let is_told = |entry: &&Entry| matches!(entry, Entry::Input { input: Input::EngineLost, .. });
            assert_eq!(entries(&world, call).await.iter().filter(is_told).count(), 1, "after {millis} ms");
        });
    }
}
