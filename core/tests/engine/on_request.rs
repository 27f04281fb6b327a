//! What a server asks of an engine: calls placed on request, and followed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use offhook::call::Phase;
use offhook::call::policy::Policy;
use offhook::engine::{Engine, Settings};
use offhook::error::ErrorKind;
use offhook::ids::TenantId;
use offhook::provider::telephony::{E164, HangupCause};
use offhook::service::calls::CallFilter;
use offhook::service::hours::Hours;
use offhook::service::tasks::{NewTask, Start, TaskStatus};
use offhook::time::Timestamp;
use offhook_testkit::carrier::Answering;
use offhook_testkit::runtime::VirtualRuntime;

use crate::world::{HOUR, World};

const SILENCE: u8 = 0xff;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn number(last: u32) -> E164 {
    format!("+6281{last:08}").parse().unwrap()
}

async fn world(runtime: &VirtualRuntime, settings: Settings) -> World {
    let mut world = World::new(Arc::new(runtime.clone()), &[]).await;
    let agent = Arc::make_mut(&mut world.agent);
    agent.policy = Policy { record: false, reserve: secs(60), ..Policy::default() };
    world.engine = Engine::with_settings(world.providers.clone(), settings);
    world.engine.agents().put(world.tenant, &world.agent).await.unwrap();
    world.engine.credits().grant(world.tenant, HOUR * 10, "more").await.unwrap();
    world
}

fn on_request(world: &World) -> NewTask {
    let mut wish = NewTask::new(world.agent.id, number(0), number(1));
    wish.start = Start::OnRequest;
    wish.greeting = Some("This is about {{order}}.".to_owned());
    wish.variables.insert("order".to_owned(), "12345".into());
    wish
}

#[test]
fn vs_a12_of_many_executes_one_places_a_call() {
    let runtime = VirtualRuntime::new(1);
    runtime.block_on(async {
        let world = world(&runtime, offhook_testkit::settings()).await;
        world.carrier.when_dialled(&number(1), Answering::After(secs(1)));
        let task = world.engine.tasks().create(world.tenant, "a", on_request(&world)).await.unwrap();
        world.wait(secs(60)).await;
        assert!(world.carrier.take_dialled().is_none(), "nobody has asked for it");
        let results = join_all((0..8).map(|_| world.engine.execute(world.tenant, task.id))).await;
        let (placed, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(placed.len(), 1);
        assert!(refused.into_iter().all(|error| error.err().unwrap().kind() == ErrorKind::Conflict));
        world.wait(secs(5)).await;
        let callee = world.carrier.take_dialled().unwrap();
        assert!(world.carrier.take_dialled().is_none());
        let handle = placed.into_iter().next().unwrap().unwrap();
        let (_, glance) = world.engine.follow(world.tenant, handle.id()).unwrap();
        assert_eq!(glance.transcript.values().next().unwrap().text, "This is about 12345.");
        let filter = CallFilter { task: Some(task.id), ..CallFilter::default() };
        assert_eq!(world.engine.calls().list(world.tenant, &filter, 0, 10).await.unwrap().1, 1);
        assert_eq!(
            world.engine.execute(world.tenant, task.id).await.err().unwrap().kind(),
            ErrorKind::Conflict,
            "it is in progress"
        );
        callee.hang_up(HangupCause::NORMAL_CLEARING);
        handle.finished().await.unwrap();
        let task = world.engine.tasks().get(world.tenant, task.id).await.unwrap().unwrap();
        assert_eq!(task.status, TaskStatus::Completed);
    });
}

#[test]
fn fl_018_of_many_dialled_as_many_begin_as_may() {
    const SLOTS: u32 = 5;
    let runtime = VirtualRuntime::new(2);
    runtime.block_on(async {
        let mut settings = offhook_testkit::settings();
        settings.calls_max = Some(SLOTS);
        let world = world(&runtime, settings).await;
        let calls = (0..10 * SLOTS).map(|last| {
            world.carrier.when_dialled(&number(last), Answering::Rings);
            let handle = world.engine.dial(world.tenant, world.agent.clone(), number(0), number(last));
            async move { handle.unwrap().begun().await.map_err(|error| error.kind()) }
        });
        let begun = join_all(calls).await;
        assert_eq!(begun.iter().filter(|begun| begun.is_ok()).count(), SLOTS as usize);
        assert!(begun.iter().all(|begun| matches!(begun, Ok(()) | Err(ErrorKind::RateLimited))));
    });
}

#[test]
fn a_call_that_cannot_begin_says_why_and_its_task_waits_for_the_next_request() {
    let runtime = VirtualRuntime::new(3);
    runtime.block_on(async {
        let mut settings = offhook_testkit::settings();
        settings.calls_max = Some(0);
        let mut world = world(&runtime, settings).await;
        let (engine, tenant) = (world.engine.clone(), world.tenant);
        let task = engine.tasks().create(tenant, "a", on_request(&world)).await.unwrap();
        let error = engine.execute(tenant, task.id).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert!(error.context().contains(&("reason", "over_capacity".to_owned())));
        world.wait(secs(60)).await;
        let task = engine.tasks().get(tenant, task.id).await.unwrap().unwrap();
        assert_eq!((task.status, task.due_at), (TaskStatus::Pending, None));

        let agent = Arc::make_mut(&mut world.agent);
        agent.active = false;
        engine.agents().put(tenant, agent).await.unwrap();
        assert_eq!(engine.execute(tenant, task.id).await.err().unwrap().kind(), ErrorKind::Rejected);
        agent.active = true;
        agent.hours = Some(Hours::new("UTC").unwrap());
        engine.agents().put(tenant, agent).await.unwrap();
        assert_eq!(engine.execute(tenant, task.id).await.err().unwrap().kind(), ErrorKind::Rejected);
        let error = engine.dial(tenant, world.agent.clone(), number(0), number(1)).unwrap().begun().await;
        assert!(error.unwrap_err().context().contains(&("reason", "outside_hours".to_owned())));
        engine.tasks().delete(tenant, task.id).await.unwrap();
        assert_eq!(engine.execute(tenant, task.id).await.err().unwrap().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_call_is_followed_by_any_number_and_by_its_tenant_alone() {
    let runtime = VirtualRuntime::new(4);
    runtime.block_on(async {
        let world = world(&runtime, offhook_testkit::settings()).await;
        let (first, caller) = world.ring();
        caller.sound(SILENCE, secs(2)).await;
        let (mut late, glance) = world.engine.follow(world.tenant, first.id()).unwrap();
        assert_eq!(glance.phase, Some(Phase::Connected));
        let stranger = TenantId::new(Timestamp::default(), [1; 10]);
        assert!(world.engine.follow(stranger, first.id()).is_none());
        assert_eq!(world.engine.live_calls(), 1);
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        let mut ended = 0;
        while let Some(event) = late.next_event().await {
            ended += u32::from(matches!(event.kind, offhook::call::CallEventKind::Ended { .. }));
        }
        assert_eq!(ended, 1);
        let id = first.id();
        first.finished().await.unwrap();
        world.wait(secs(1)).await;
        assert!(world.engine.follow(world.tenant, id).is_none());
        assert_eq!(world.engine.live_calls(), 0);
    });
}
