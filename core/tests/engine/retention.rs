//! What is forgotten of calls when their time has come, and what is left of a tenant that is removed.

use std::time::Duration;

use offhook::ErrorKind;
use offhook::billing::Unit;
use offhook::call::CallRecord;
use offhook::engine::{CallHandle, Engine};
use offhook::ids::TenantId;
use offhook::journal;
use offhook::provider::Store;
use offhook::provider::store::Query;
use offhook::provider::telephony::{E164, HangupCause};
use offhook::service;
use offhook::service::recordings::object_key;
use offhook::service::retention::Retention;
use offhook::service::statements::Period;
use offhook::service::tenants::Plan;
use offhook::service::users::{NewUser, Role};
use offhook_testkit::runtime::VirtualRuntime;

use crate::world::World;

const DAY: Duration = Duration::from_secs(24 * 3_600);
const SPEECH: u8 = 0x80;
const SILENCE: u8 = 0xff;

async fn talk(world: &World) -> CallRecord {
    let (handle, caller) = world.ring();
    caller.sound(SILENCE, Duration::from_secs(3)).await;
    caller.sound(SPEECH, Duration::from_millis(500)).await;
    caller.sound(SILENCE, Duration::from_secs(3)).await;
    caller.hang_up(HangupCause::NORMAL_CLEARING);
    finished(handle).await
}

async fn finished(handle: CallHandle) -> CallRecord {
    handle.finished().await.unwrap().0
}

/// A world whose calls are recorded.
async fn world(runtime: &VirtualRuntime) -> World {
    let mut world = World::new(std::sync::Arc::new(runtime.clone()), &["When are you open?"; 4]).await;
    std::sync::Arc::make_mut(&mut world.agent).policy.record = true;
    let mut settings = offhook_testkit::settings();
    settings.public_url = Some("https://calls.example".to_owned());
    world.engine = Engine::with_settings(world.providers.clone(), settings);
    world
}

/// How many records and journal entries a tenant has, but for its ledger's.
async fn left_of(world: &World, tenant: TenantId, calls: &[&CallRecord]) -> usize {
    let mut left = 0;
    for kind in service::schema().kinds.iter().filter(|kind| kind.name != "ledger_entry") {
        left += world.store.list(Query::new(Some(tenant), kind.name)).await.unwrap().records.len();
    }
    for call in calls {
        left += world.store.read_log(journal::log_key(tenant, call.id), 0, 10).await.unwrap().len();
    }
    left
}

#[test]
fn calls_are_forgotten_when_their_time_has_come_and_the_ledger_stays_whole() {
    let runtime = VirtualRuntime::new(1);
    runtime.clone().block_on(async {
        let world = world(&runtime).await;
        let old = talk(&world).await;
        let days = |days: u64| i64::try_from((DAY * u32::try_from(days).unwrap()).as_micros()).unwrap();
        runtime.set_wall_clock(days(2));
        world.wait(Duration::from_secs(60)).await;
        let young = talk(&world).await;
        world.wait(Duration::from_secs(60)).await;
        let (engine, tenant) = (&world.engine, world.tenant);
        assert!(engine.recordings().get(tenant, old.id).await.unwrap().is_some());
        assert!(!engine.webhooks().deliveries(tenant, old.id).await.unwrap().is_empty());
        let refused = engine.retention().set(tenant, Retention { call_days: Some(0), ..Retention::default() }).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConfigInvalid);

        let rules = Retention { call_days: Some(3), delivery_days: Some(1), recording_days: None };
        engine.retention().set(tenant, rules).await.unwrap();
        assert_eq!(engine.retention().get(tenant).await.unwrap(), rules);
        world.wait(Duration::from_secs(120)).await;
        assert!(engine.webhooks().deliveries(tenant, old.id).await.unwrap().is_empty(), "after a day");
        assert!(!engine.webhooks().deliveries(tenant, young.id).await.unwrap().is_empty());
        assert_eq!(engine.calls().get(tenant, old.id).await.unwrap().unwrap().record, old, "its days are not over");
        runtime.set_wall_clock(days(1));
        world.wait(Duration::from_secs(120)).await;
        let stored = engine.calls().get(tenant, old.id).await.unwrap().unwrap();
        assert!(stored.record.transcript.is_empty() && stored.record.from.is_none() && stored.record.to.is_none());
        assert_eq!((stored.record.duration_ms, stored.record.status), (old.duration_ms, old.status));
        assert!(engine.recordings().get(tenant, old.id).await.unwrap().is_none());
        assert_eq!(world.blob.object(&object_key(tenant, old.id)), None);
        assert!(world.store.read_log(journal::log_key(tenant, old.id), 0, 1).await.unwrap().is_empty());
        assert_eq!(engine.calls().get(tenant, young.id).await.unwrap().unwrap().record, young);
        assert!(!world.store.read_log(journal::log_key(tenant, young.id), 0, 1).await.unwrap().is_empty());
        let audit = engine.credits().audit(tenant).await.unwrap();
        assert!(audit.is_clean(), "{:?}", audit.findings);

        // By hand at any time, but not while it goes on.
        engine.retention().forget_call(tenant, young.id).await.unwrap();
        let stored = engine.calls().get(tenant, young.id).await.unwrap().unwrap();
        assert!(stored.record.transcript.is_empty());
        let (handle, caller) = world.ring();
        let id = handle.id();
        world.wait(Duration::from_secs(2)).await;
        assert_eq!(engine.retention().forget_call(tenant, id).await.unwrap_err().kind(), ErrorKind::Conflict);
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        finished(handle).await;
    });
}

#[test]
fn of_a_tenant_that_is_removed_the_sums_are_left() {
    let runtime = VirtualRuntime::new(2);
    runtime.clone().block_on(async {
        let mut world = world(&runtime).await;
        let other = talk(&world).await;
        let others = left_of(&world, world.tenant, &[&other]).await;
        let first = std::mem::replace(&mut world.tenant, TenantId::new(world.runtime.wall_clock(), [9; 10]));
        let tenant = world.engine.tenants().create("The clinic", Plan::Starter).await.unwrap().id;
        world.tenant = tenant;
        let engine = world.engine.clone();
        let number: E164 = "+622150001000".parse().unwrap();
        engine.credits().purchase(tenant, Duration::from_secs(7_200), "first").await.unwrap();
        engine.agents().put(tenant, &world.agent).await.unwrap();
        engine.numbers().add(tenant, number.clone(), "front desk", None).await.unwrap();
        let new = |email: &str| NewUser { email: email.to_owned(), name: "Ann".to_owned(), role: Role::Member };
        let ann = engine.users().create(tenant, new("ann@clinic.example"), "hash".to_owned()).await.unwrap();
        let bob = engine.users().create(tenant, new("bob@clinic.example"), "hash".to_owned()).await.unwrap();
        engine.users().join(first, bob.user.clone(), Role::Member).await.unwrap();
        engine.users().invite(tenant, new("cat@clinic.example")).await.unwrap();
        let (_, session) = engine.sessions().open(&ann).await.unwrap();
        let calls = [talk(&world).await, talk(&world).await];
        world.wait(Duration::from_secs(60)).await;
        let before = engine.credits().balance(tenant, Unit::Time).await.unwrap();
        let statement = engine.credits().statement(tenant, Period::default()).await.unwrap();
        assert!(before.used > 0 && left_of(&world, tenant, &[&calls[0], &calls[1]]).await > 5);

        let (handle, caller) = world.ring();
        world.wait(Duration::from_secs(2)).await;
        assert_eq!(engine.retention().erase(tenant).await.unwrap_err().kind(), ErrorKind::Conflict);
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        let last = finished(handle).await;
        world.wait(Duration::from_secs(60)).await;
        for _ in 0..2 {
            engine.retention().erase(tenant).await.unwrap();
            assert_eq!(left_of(&world, tenant, &[&calls[0], &calls[1], &last]).await, 0);
            let entries = world.store.list(Query::new(Some(tenant), "ledger_entry")).await.unwrap().records;
            assert_eq!(entries.len(), 4, "a purchase, a hold, a settlement and a release");
            assert!(entries.iter().all(|entry| entry.body.get("call").is_none()));
            let audit = engine.credits().audit(tenant).await.unwrap();
            assert!(audit.is_clean(), "{:?}", audit.findings);
        }
        let after = engine.credits().balance(tenant, Unit::Time).await.unwrap();
        assert_eq!((after.purchased, after.held), (before.purchased, 0));
        assert!(after.used >= before.used);
        let sums = engine.credits().statement(tenant, Period::default()).await.unwrap();
        assert_eq!((sums.closing, sums.entries), (after.balance(), 2));
        assert!(sums.closing <= statement.closing);
        assert_eq!(engine.numbers().find(&number).await.unwrap(), None, "somebody else may have it");
        engine.numbers().add(first, number, "", None).await.unwrap();
        assert_eq!(world.blob.object(&object_key(tenant, calls[0].id)), None);
        assert_eq!(engine.users().find("ann@clinic.example", None).await.unwrap(), [], "she was a member nowhere else");
        assert_eq!(engine.sessions().get(&session).await.unwrap(), None);
        assert_eq!(engine.users().find("bob@clinic.example", Some(first)).await.unwrap()[0].0, bob.user);
        assert!(left_of(&world, first, &[&other]).await > others, "nobody else lost anything");
    });
}
