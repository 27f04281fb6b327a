//! Slots: never one too many, none lost, and everybody's turn comes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use offhook::billing::Unit;
use offhook::call::record::{CallStatus, EndReason};
use offhook::call::{CallEventKind, CallRecord};
use offhook::engine::{CallHandle, Engine, Settings};
use offhook::ids::TenantId;
use offhook::provider::telephony::HangupCause;
use offhook::service::agents::Agent;
use offhook::service::capacity::{Limits, Occupancy, WhenFull};
use offhook::service::hours::{Hours, Weekday};
use offhook::time::Timestamp;
use offhook_testkit::carrier::Caller;
use offhook_testkit::runtime::VirtualRuntime;
use proptest::prelude::*;

use crate::remote::Remote;
use crate::world::{HOUR, World};

const SILENCE: u8 = 0xff;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn limits(calls_max: u32, when_full: WhenFull) -> Limits {
    Limits { calls_max: Some(calls_max), when_full }
}

fn queue(depth: u32, wait: Duration) -> WhenFull {
    WhenFull::Queue { depth, wait }
}

/// A world whose callers hold little and are never asked anything, with an engine of `settings`.
async fn world(runtime: &VirtualRuntime, settings: Settings) -> World {
    let mut world = World::new(Arc::new(runtime.clone()), &[]).await;
    let agent = Arc::make_mut(&mut world.agent);
    agent.policy.reserve = secs(60);
    agent.policy.record = false;
    agent.policy.silence.timeout = secs(300);
    agent.greeting = None;
    world.engine = Engine::with_settings(world.providers.clone(), settings);
    for number in 0..3 {
        world.engine.credits().grant(tenant(number), HOUR * 10, "start").await.unwrap();
    }
    world
}

fn tenant(number: u8) -> TenantId {
    TenantId::new(Timestamp::default(), [number; 10])
}

impl World {
    fn ring_for(&self, tenant: TenantId) -> (CallHandle, Caller) {
        let (incoming, caller) = self.carrier.ring("+628123456789", "+622150001000");
        (self.engine.accept(tenant, self.agent.clone(), incoming).unwrap(), caller)
    }

    /// Rings, talks once it is connected, and hangs up.
    async fn talk(&self, tenant: TenantId, length: Duration) -> CallRecord {
        let (mut handle, caller) = self.ring_for(tenant);
        while let Some(event) = handle.next_event().await {
            match event.kind {
                CallEventKind::Phase { phase: offhook::call::Phase::Connected } => {
                    caller.sound(SILENCE, length).await;
                    caller.hang_up(HangupCause::NORMAL_CLEARING);
                }
                CallEventKind::Ended { record, .. } => return *record,
                _ => {}
            }
        }
        panic!("a call without an end")
    }
}

#[test]
fn two_hundred_callers_share_twenty_slots() {
    let runtime = VirtualRuntime::new(1);
    runtime.block_on(async {
        let world = world(&runtime, offhook_testkit::settings()).await;
        world.engine.capacity().set_limits(tenant(0), &limits(20, WhenFull::Reject)).await.unwrap();
        let records = join_all((0..200).map(|_| world.talk(tenant(0), secs(5)))).await;
        let (talked, refused): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.answered_at.is_some());
        assert_eq!((talked.len(), refused.len()), (20, 180));
        for record in refused {
            assert_eq!((record.status, record.end_reason), (CallStatus::Rejected, Some(EndReason::OverCapacity)));
            assert_eq!((record.hangup_cause, record.talk_time_ms), (Some(HangupCause::USER_BUSY), 0));
        }
        assert_eq!(world.engine.capacity().occupancy(tenant(0)).await.unwrap(), Occupancy::default());
        assert_eq!(
            world.engine.credits().balance(tenant(0), Unit::Time).await.unwrap().used,
            talked.len() as i64 * 5_000
        );
    });
}

#[test]
fn those_who_wait_come_in_in_their_order_and_the_tenants_take_turns() {
    let runtime = VirtualRuntime::new(2);
    runtime.block_on(async {
        let mut settings = offhook_testkit::settings();
        settings.calls_max = Some(1);
        settings.limits = limits(1, queue(10, secs(120)));
        let world = world(&runtime, settings).await;
        // Five of one tenant, and then two of others: nobody has to wait for all five.
        let order = [0, 0, 0, 0, 0, 1, 2, 1];
        let calls = order.iter().enumerate().map(async |(place, number)| {
            world.wait(Duration::from_millis(place as u64 * 10)).await;
            (place, world.talk(tenant(*number), secs(5)).await)
        });
        let mut records = join_all(calls).await;
        records.sort_by_key(|(_, record)| record.answered_at.unwrap());
        let places: Vec<_> = records.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [0, 5, 6, 1, 7, 2, 3, 4]);
        for pair in records.windows(2) {
            assert!(pair[0].1.ended_at.unwrap() <= pair[1].1.answered_at.unwrap(), "two at once");
        }
    });
}

#[test]
fn waiting_has_a_depth_and_an_end() {
    let runtime = VirtualRuntime::new(3);
    runtime.block_on(async {
        let world = world(&runtime, offhook_testkit::settings()).await;
        world.engine.capacity().set_limits(tenant(0), &limits(1, queue(2, secs(30)))).await.unwrap();
        let talking = world.talk(tenant(0), secs(40));
        let late = async |after| {
            world.wait(secs(after)).await;
            world.talk(tenant(0), secs(1)).await
        };
        let (first, second, third, fourth) = futures_util::join!(talking, late(1), late(15), late(16));
        assert_eq!(first.end_reason, Some(EndReason::CallerHangUp));
        assert_eq!((second.end_reason, second.duration_ms), (Some(EndReason::OverCapacity), 30_000));
        assert!((39_500..41_500).contains(&(15_000 + third.duration_ms - third.talk_time_ms)), "{third:?}");
        assert_eq!((fourth.end_reason, fourth.duration_ms), (Some(EndReason::OverCapacity), 0));
    });
}

#[test]
fn who_hangs_up_leaves_the_line_at_once() {
    let runtime = VirtualRuntime::new(4);
    runtime.block_on(async {
        let world = world(&runtime, offhook_testkit::settings()).await;
        world.engine.capacity().set_limits(tenant(0), &limits(1, queue(1, secs(60)))).await.unwrap();
        let (talking, caller) = world.ring_for(tenant(0));
        caller.sound(SILENCE, secs(1)).await;
        let (mut waiting, _caller) = world.ring_for(tenant(0));
        while !matches!(waiting.next_event().await.unwrap().kind, CallEventKind::Queued { .. }) {}
        waiting.hang_up().unwrap();
        let (record, ledger) = waiting.finished().await.unwrap();
        assert_eq!((record.end_reason, ledger.unwrap().held), (Some(EndReason::OperatorHangUp), 0));
        let next = world.talk(tenant(0), secs(1));
        let ends = async {
            caller.sound(SILENCE, secs(2)).await;
            caller.hang_up(HangupCause::NORMAL_CLEARING);
            talking.finished().await.unwrap()
        };
        let (next, _) = futures_util::join!(next, ends);
        assert_eq!(next.end_reason, Some(EndReason::CallerHangUp), "the place in the line is free again");
        assert_eq!(world.engine.capacity().occupancy(tenant(0)).await.unwrap(), Occupancy::default());
    });
}

#[test]
fn a_crash_gives_the_slot_back() {
    let runtime = VirtualRuntime::new(5);
    let world = runtime.block_on(async {
        let mut settings = offhook_testkit::settings();
        settings.limits = limits(1, WhenFull::Reject);
        let world = world(&runtime, settings).await;
        let (_, caller) = world.ring_for(tenant(0));
        caller.sound(SILENCE, secs(5)).await;
        assert_eq!(world.engine.capacity().occupancy(tenant(0)).await.unwrap(), Occupancy { all: 1, tenant: 1 });
        world
    });
    runtime.block_on(async {
        let mut settings = offhook_testkit::settings();
        settings.limits = limits(1, WhenFull::Reject);
        let world = World { engine: Engine::with_settings(world.providers.clone(), settings), ..world };
        assert_eq!(world.talk(tenant(0), secs(1)).await.end_reason, Some(EndReason::OverCapacity));
        world.wait(secs(40)).await;
        assert_eq!(world.engine.capacity().occupancy(tenant(0)).await.unwrap(), Occupancy::default());
        assert_eq!(world.talk(tenant(0), secs(1)).await.end_reason, Some(EndReason::CallerHangUp));
    });
}

#[test]
fn an_agent_that_is_off_or_at_home_takes_no_call_and_costs_nothing() {
    let runtime = VirtualRuntime::new(6);
    runtime.block_on(async {
        let mut world = world(&runtime, offhook_testkit::settings()).await;
        // The virtual clock begins on Thursday, 2025-11-20, at 07:00 UTC.
        let hours = |opens: &str, closes: &str| {
            let hours = Hours::new("Asia/Jakarta").unwrap();
            hours.with_window([Weekday::Thursday], opens.parse().unwrap(), closes.parse().unwrap()).unwrap()
        };
        for (active, hours, expected) in [
            (true, hours("09:00", "14:00"), Some(EndReason::OutsideHours)),
            (false, hours("09:00", "17:00"), Some(EndReason::AgentInactive)),
            (true, hours("09:00", "17:00"), Some(EndReason::CallerHangUp)),
        ] {
            let agent: &mut Agent = Arc::make_mut(&mut world.agent);
            (agent.active, agent.hours) = (active, Some(hours));
            let (handle, caller) = world.ring_for(tenant(0));
            let leg = caller.leg.clone();
            caller.sound(SILENCE, secs(1)).await;
            caller.hang_up(HangupCause::NORMAL_CLEARING);
            let id = handle.id();
            let (record, ledger) = handle.finished().await.unwrap();
            assert_eq!(record.end_reason, expected);
            if expected != Some(EndReason::CallerHangUp) {
                assert_eq!((record.status, record.talk_time_ms), (CallStatus::Rejected, 0));
                assert_eq!((ledger.unwrap().held, record.duration_ms), (0, 0));
                assert_eq!(world.carrier.hung_up(&leg), Some(HangupCause::CALL_REJECTED));
                assert_eq!(world.engine.calls().get(tenant(0), id).await.unwrap().unwrap().record, record);
            }
        }
    });
}

/// How many of the calls went on at the busiest moment.
fn most_at_once<'a>(records: impl Iterator<Item = &'a CallRecord>) -> i32 {
    let mut changes = Vec::new();
    for record in records {
        if let (Some(answered_at), Some(ended_at)) = (record.answered_at, record.ended_at) {
            changes.extend([(answered_at, 1), (ended_at, -1)]);
        }
    }
    changes.sort_unstable();
    changes
        .iter()
        .scan(0, |now, (_, change)| {
            Some({
                *now += change;
                *now
            })
        })
        .max()
        .unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_interleaving_lets_in_one_too_many_or_loses_a_slot(
        seed in any::<u64>(),
        calls in prop::collection::vec((0_u8..3, 0_u64..4_000, 100_u64..2_000), 1..40),
        all in 1_u32..6,
        each in 1_u32..4,
        depth in 0_u32..6,
    ) {
        let runtime = VirtualRuntime::new(seed);
        let records = runtime.block_on(async {
            let mut settings = offhook_testkit::settings();
            settings.calls_max = Some(all);
            settings.limits = limits(each, queue(depth, secs(3)));
            let mut world = world(&runtime, settings.clone()).await;
            world.providers.store = Arc::new(Remote::new(Arc::new(runtime.clone()), world.store.clone(), 15));
            world.engine = Engine::with_settings(world.providers.clone(), settings);
            world.engine.capacity().set_limits(tenant(2), &limits(each, WhenFull::Reject)).await.unwrap();
            let calls = calls.iter().map(async |(number, after, length)| {
                world.wait(Duration::from_millis(*after)).await;
                world.talk(tenant(*number), Duration::from_millis(*length)).await
            });
            let records = join_all(calls).await;
            for number in 0..3 {
                let occupancy = world.engine.capacity().occupancy(tenant(number)).await.unwrap();
                assert_eq!(occupancy, Occupancy::default());
                assert_eq!(world.engine.credits().balance(tenant(number), Unit::Time).await.unwrap().held, 0);
            }
            records
        });
        prop_assert!(most_at_once(records.iter()) <= all as i32);
        for number in 0..3 {
            prop_assert!(most_at_once(records.iter().filter(|record| record.tenant == tenant(number))) <= each as i32);
        }
        for record in &records {
            let fine = [EndReason::CallerHangUp, EndReason::OverCapacity];
            prop_assert!(fine.contains(&record.end_reason.unwrap()), "{:?}", record.end_reason);
        }
        prop_assert!(records.iter().any(|record| record.answered_at.is_some()));
    }
}
