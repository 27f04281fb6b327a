//! Tasks: dialled when they are due, in order of urgency, and at most once an attempt whatever crashes.

use std::sync::Arc;
use std::time::Duration;

use offhook::billing::Unit;
use offhook::call::CallRecord;
use offhook::call::policy::{OnMachine, Screening, Voicemail};
use offhook::call::record::{CallStatus, EndReason, HangupParty};
use offhook::engine::{Engine, Providers, Settings};
use offhook::error::ErrorKind;
use offhook::ids::{AgentId, TaskId, TenantId};
use offhook::provider::Store;
use offhook::provider::store::{Batch, Expect, Put, Query, RecordKey};
use offhook::provider::telephony::{E164, HangupCause};
use offhook::runtime::Runtime;
use offhook::service::agents::AGENT;
use offhook::service::calls::{CALL, StoredCall};
use offhook::service::capacity::{LIMITS, Limits, WhenFull};
use offhook::service::hours::{Hours, Weekday};
use offhook::service::tasks::{NewTask, Start, TASK, Task, TaskFailure, TaskStatus};
use offhook::service::webhooks::NewEndpoint;
use offhook::time::Timestamp;
use offhook_testkit::carrier::Answering;
use offhook_testkit::runtime::VirtualRuntime;
use serde_json::{Value, json};

use crate::remote::Remote;
use crate::world::{HOUR, WEBHOOK_URL, World};

const SILENCE: u8 = 0xff;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn number(last: u32) -> E164 {
    format!("+6281{last:08}").parse().unwrap()
}

fn tenant(number: u8) -> TenantId {
    TenantId::new(Timestamp::default(), [number; 10])
}

/// An engine whose agent is kept for three tenants with credit.
async fn world(runtime: &VirtualRuntime, settings: Settings) -> World {
    let mut world = World::new(Arc::new(runtime.clone()), &[]).await;
    let agent = Arc::make_mut(&mut world.agent);
    agent.policy.record = false;
    agent.policy.reserve = secs(60);
    world.engine = Engine::with_settings(world.providers.clone(), settings);
    for number in 0..3 {
        world.engine.credits().grant(tenant(number), HOUR, "start").await.unwrap();
        world.engine.agents().put(tenant(number), &world.agent).await.unwrap();
    }
    world
}

/// So many calls at once.
fn at_once(calls: u32) -> Settings {
    let mut settings = offhook_testkit::settings();
    settings.calls_max = Some(calls);
    settings
}

impl World {
    fn wish(&self, to: E164) -> NewTask {
        NewTask::new(self.agent.id, number(0), to)
    }

    async fn wished(&self, tenant: TenantId, key: &str, wish: NewTask) -> TaskId {
        self.engine.tasks().create(tenant, key, wish).await.unwrap().id
    }

    async fn task(&self, tenant: TenantId, task: TaskId) -> Task {
        self.engine.tasks().get(tenant, task).await.unwrap().unwrap()
    }

    /// All calls there ever were, in the order of their beginning.
    async fn calls(&self) -> Vec<CallRecord> {
        let page = self.store.list(Query::new(None, CALL)).await.unwrap();
        let stored = page.records.into_iter().map(|row| serde_json::from_value::<StoredCall>(row.body).unwrap().record);
        let mut calls: Vec<_> = stored.collect();
        calls.sort_by_key(|call| (call.started_at, call.id));
        calls
    }
}

/// Lets whoever is called talk for `length`, for ever.
fn answer_all(world: &World, length: Duration) {
    let (carrier, runtime) = (world.carrier.clone(), world.runtime.clone());
    let answer = async move {
        loop {
            runtime.sleep_until(runtime.now() + Duration::from_millis(100)).await;
            while let Some(callee) = carrier.take_dialled() {
                let talk = async move {
                    callee.sound(SILENCE, length).await;
                    callee.hang_up(HangupCause::NORMAL_CLEARING);
                };
                runtime.spawn("callee", Box::pin(talk));
            }
        }
    };
    world.runtime.spawn("callees", Box::pin(answer));
}

#[test]
fn a_task_is_created_once_and_called_when_it_is_due() {
    let runtime = VirtualRuntime::new(1);
    runtime.block_on(async {
        let world = world(&runtime, offhook_testkit::settings()).await;
        world.carrier.when_dialled(&number(1), Answering::After(secs(2)));
        answer_all(&world, secs(3));
        let mut wish = world.wish(number(1));
        wish.start = Start::At(runtime.wall_clock() + secs(60));
        wish.variables.insert("patient".to_owned(), serde_json::json!({ "name": "Ayu" }));
        let id = world.wished(tenant(0), "reminder-1", wish.clone()).await;
        assert_eq!(world.wished(tenant(0), "reminder-1", wish.clone()).await, id);
        world.wait(secs(59)).await;
        assert_eq!((world.task(tenant(0), id).await.status, world.calls().await.len()), (TaskStatus::Pending, 0));
        world.wait(secs(3)).await;
        assert_eq!(world.task(tenant(0), id).await.status, TaskStatus::InProgress);
        let refusal = world.engine.tasks().cancel(tenant(0), id).await.unwrap_err();
        assert_eq!(refusal.kind(), ErrorKind::Conflict);
        world.wait(secs(20)).await;
        let task = world.task(tenant(0), id).await;
        let call = world.engine.calls().get(tenant(0), task.attempts[0].call).await.unwrap().unwrap();
        assert_eq!((task.status, task.attempts.len(), call.record.task), (TaskStatus::Completed, 1, Some(id)));
        assert_eq!(task.attempts[0].reason, Some(EndReason::CallerHangUp));
        assert_eq!((call.record.status, call.record.to), (CallStatus::Completed, Some(number(1))));
        assert_eq!(world.wished(tenant(0), "reminder-1", wish).await, id, "a key is never used again");
        world.wait(secs(120)).await;
        assert_eq!(world.calls().await.len(), 1);
    });
}

#[test]
fn who_does_not_answer_is_called_again_and_then_given_up() {
    let runtime = VirtualRuntime::new(2);
    runtime.block_on(async {
        let world = world(&runtime, offhook_testkit::settings()).await;
        world.carrier.when_dialled(&number(1), Answering::Refuses(Duration::ZERO, HangupCause::USER_BUSY));
        let mut wish = world.wish(number(1));
        (wish.attempts_max, wish.retry_delay) = (3, secs(600));
        let id = world.wished(tenant(0), "k", wish).await;
        world.wait(secs(3_600)).await;
        let task = world.task(tenant(0), id).await;
        let reasons: Vec<_> = task.attempts.iter().map(|attempt| attempt.reason.unwrap()).collect();
        assert_eq!((task.status, reasons), (TaskStatus::Failed, vec![EndReason::Busy; 3]));
        let gap = task.attempts[2].at.saturating_since(task.attempts[1].at);
        assert!((secs(600)..secs(602)).contains(&gap), "{gap:?}");

        world.carrier.when_dialled(&number(1), Answering::After(secs(1)));
        answer_all(&world, secs(1));
        world.engine.tasks().reset(tenant(0), id).await.unwrap();
        world.wait(secs(30)).await;
        assert_eq!(world.task(tenant(0), id).await.status, TaskStatus::Completed);
    });
}

#[test]
fn a_machine_that_is_left_no_message_is_called_again() {
    let runtime = VirtualRuntime::new(15);
    runtime.block_on(async {
        let mut world = world(&runtime, offhook_testkit::settings()).await;
        let (carrier, clock) = (world.carrier.clone(), runtime.clone());
        let answer = async move {
            loop {
                clock.sleep(secs(1)).await;
                while let Some(machine) = carrier.take_dialled() {
                    let beep = async move {
                        machine.tone(1_000.0, Duration::from_millis(400)).await;
                        machine.sound(SILENCE, secs(8)).await;
                    };
                    clock.spawn("machine", Box::pin(beep));
                }
            }
        };
        runtime.spawn("machines", Box::pin(answer));
        let mut ids = Vec::new();
        for (owner, on_machine) in [(0, OnMachine::HangUp), (1, OnMachine::LeaveMessage(Voicemail::new("Call us.")))] {
            let agent = Arc::make_mut(&mut world.agent);
            agent.policy.screening = Some(Screening { on_machine, ..Screening::default() });
            world.engine.agents().put(tenant(owner), &world.agent).await.unwrap();
            let to = number(u32::from(owner) + 1);
            world.carrier.when_dialled(&to, Answering::After(secs(1)));
            let mut wish = world.wish(to);
            wish.attempts_max = 2;
            ids.push(world.wished(tenant(owner), "k", wish).await);
        }
        world.wait(secs(60)).await;
        let ended = async |owner: u8| {
            let task = world.task(tenant(owner), ids[usize::from(owner)]).await;
            (task.status, task.attempts.iter().map(|attempt| attempt.reason.unwrap()).collect::<Vec<_>>())
        };
        assert_eq!(ended(0).await, (TaskStatus::Pending, vec![EndReason::MachineAnswered]));
        assert_eq!(ended(1).await, (TaskStatus::Completed, vec![EndReason::MessageLeft]));
        world.wait(secs(600)).await;
        assert_eq!(ended(0).await, (TaskStatus::Failed, vec![EndReason::MachineAnswered; 2]));
    });
}

#[test]
fn a_change_gives_no_attempt_back_and_hastens_nothing() {
    let runtime = VirtualRuntime::new(13);
    runtime.block_on(async {
        let world = world(&runtime, offhook_testkit::settings()).await;
        world.carrier.when_dialled(&number(1), Answering::Refuses(Duration::ZERO, HangupCause::USER_BUSY));
        let mut wish = world.wish(number(1));
        (wish.attempts_max, wish.retry_delay) = (3, secs(600));
        let id = world.wished(tenant(0), "k", wish).await;
        world.wait(secs(60)).await;
        let before = world.task(tenant(0), id).await;
        assert_eq!((before.attempts.len(), before.attempts_left), (1, 2));
        let tasks = world.engine.tasks();
        let after = tasks.update(tenant(0), id, |wish| wish.priority = 7).await.unwrap();
        assert_eq!((after.attempts_left, after.due_at), (2, before.due_at));
        let refusal = tasks.update(tenant(0), id, |wish| wish.attempts_max = 1).await.unwrap_err();
        assert_eq!(refusal.kind(), ErrorKind::ConfigInvalid);
        let after = tasks.update(tenant(0), id, |wish| wish.attempts_max = 2).await.unwrap();
        assert_eq!((after.attempts_left, after.due_at), (1, before.due_at));
        let soon = runtime.wall_clock() + secs(10);
        let after = tasks.update(tenant(0), id, |wish| wish.start = Start::At(soon)).await.unwrap();
        assert_eq!((after.attempts_left, after.due_at), (1, Some(soon)));
        world.wait(secs(3_600)).await;
        let task = world.task(tenant(0), id).await;
        assert_eq!((task.status, task.attempts.len()), (TaskStatus::Failed, 2));
    });
}

#[test]
fn urgent_tasks_go_first_and_tenants_take_turns() {
    let runtime = VirtualRuntime::new(3);
    runtime.block_on(async {
        let world = world(&runtime, at_once(1)).await;
        answer_all(&world, secs(1));
        // Between two looks of the dispatcher, which therefore finds all of them due.
        let due = runtime.wall_clock() + Duration::from_millis(10_100);
        // Tenant, priority, seconds after the first moment.
        let wishes = [(0, 0, 2), (0, 0, 1), (0, 5, 3), (0, -5, 0), (1, 0, 0), (1, 9, 4), (2, 0, 5)];
        for (place, (owner, priority, after)) in wishes.into_iter().enumerate() {
            let to = number(u32::try_from(place).unwrap() + 1);
            world.carrier.when_dialled(&to, Answering::After(secs(1)));
            let mut wish = world.wish(to);
            (wish.priority, wish.start) = (priority, Start::At(due + Duration::from_millis(after)));
            world.wished(tenant(owner), &place.to_string(), wish).await;
        }
        world.wait(secs(120)).await;
        let calls = world.calls().await;
        assert!(calls.iter().all(|call| call.status == CallStatus::Completed), "{calls:?}");
        for pair in calls.windows(2) {
            assert!(pair[0].ended_at.unwrap() <= pair[1].started_at, "two at once");
        }
        let of = |owner: u8| -> Vec<_> {
            let of_tenant = calls.iter().filter(|call| call.tenant == tenant(owner));
            of_tenant.map(|call| call.to.clone().unwrap()).collect()
        };
        assert_eq!(of(0), [3, 2, 1, 4].map(number));
        assert_eq!(of(1), [6, 5].map(number));
        let first: std::collections::BTreeSet<_> = calls[..3].iter().map(|call| call.tenant).collect();
        assert_eq!(first.len(), 3, "each tenant has had its turn before one has its second");
    });
}

#[test]
fn tasks_wait_for_slots_and_for_the_agents_hours() {
    let runtime = VirtualRuntime::new(4);
    runtime.block_on(async {
        let mut world = world(&runtime, offhook_testkit::settings()).await;
        world.carrier.when_dialled(&number(1), Answering::After(secs(1)));
        answer_all(&world, secs(2));
        let one = Limits { calls_max: Some(1), when_full: WhenFull::Reject };
        world.engine.capacity().set_limits(tenant(0), &one).await.unwrap();
        let (incoming, caller) = world.carrier.ring("+628123456789", "+622150001000");
        let handle = world.engine.accept(tenant(0), world.agent.clone(), incoming).unwrap();
        let waiting = world.wished(tenant(0), "waits", world.wish(number(1))).await;
        caller.sound(SILENCE, secs(8)).await;
        assert_eq!(world.task(tenant(0), waiting).await.status, TaskStatus::Pending);
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        handle.finished().await.unwrap();
        world.wait(secs(10)).await;
        assert_eq!(world.task(tenant(0), waiting).await.status, TaskStatus::Completed);
        assert_eq!(world.calls().await.len(), 2, "nothing was tried while there was no slot");

        // It is Thursday, 07:00 UTC.
        let hours = Hours::new("UTC").unwrap();
        let friday = hours.with_window([Weekday::Friday], "09:00".parse().unwrap(), "10:00".parse().unwrap()).unwrap();
        Arc::make_mut(&mut world.agent).hours = Some(friday);
        world.engine.agents().put(tenant(1), &world.agent).await.unwrap();
        let id = world.wished(tenant(1), "friday", world.wish(number(1))).await;
        world.wait(secs(26 * 3_600 - 60)).await;
        let task = world.task(tenant(1), id).await;
        assert_eq!(task.due_at.unwrap().to_string(), "2025-11-21T09:00:00.000Z");
        world.wait(secs(120)).await;
        assert_eq!(world.task(tenant(1), id).await.status, TaskStatus::Completed);
    });
}

#[test]
fn a_tenant_whose_callers_wait_holds_up_nobody_elses_tasks() {
    let runtime = VirtualRuntime::new(10);
    runtime.block_on(async {
        let world = world(&runtime, at_once(2)).await;
        let own = Limits { calls_max: Some(1), when_full: WhenFull::Queue { depth: 5, wait: secs(120) } };
        world.engine.capacity().set_limits(tenant(0), &own).await.unwrap();
        answer_all(&world, secs(2));
        let ring = || {
            let (incoming, caller) = world.carrier.ring("+628123456789", "+622150001000");
            (world.engine.accept(tenant(0), world.agent.clone(), incoming).unwrap(), caller)
        };
        let (_talking, caller) = ring();
        caller.sound(SILENCE, secs(1)).await;
        let (waiting, next) = ring();
        let mut tasks = Vec::new();
        for (place, owner) in [(1, 0), (2, 1)] {
            world.carrier.when_dialled(&number(place), Answering::After(secs(1)));
            tasks.push((tenant(owner), world.wished(tenant(owner), "k", world.wish(number(place))).await));
        }
        caller.sound(SILENCE, secs(12)).await;
        let status = async |place: usize| world.task(tasks[place].0, tasks[place].1).await.status;
        assert_eq!([status(0).await, status(1).await], [TaskStatus::Pending, TaskStatus::Completed]);

        caller.hang_up(HangupCause::NORMAL_CLEARING);
        next.sound(SILENCE, secs(3)).await;
        assert_eq!(status(0).await, TaskStatus::Pending, "who waits goes first");
        next.hang_up(HangupCause::NORMAL_CLEARING);
        assert!(waiting.finished().await.unwrap().0.answered_at.is_some());
        world.wait(secs(10)).await;
        assert_eq!(status(0).await, TaskStatus::Completed);
    });
}

#[test]
fn a_caller_who_waits_for_any_slot_goes_before_all_tasks() {
    let runtime = VirtualRuntime::new(11);
    runtime.block_on(async {
        let world = world(&runtime, at_once(1)).await;
        let patient = Limits { calls_max: None, when_full: WhenFull::Queue { depth: 5, wait: secs(120) } };
        world.engine.capacity().set_limits(tenant(1), &patient).await.unwrap();
        world.carrier.when_dialled(&number(1), Answering::After(secs(1)));
        answer_all(&world, secs(2));
        let ring = |owner| {
            let (incoming, caller) = world.carrier.ring("+628123456789", "+622150001000");
            (world.engine.accept(tenant(owner), world.agent.clone(), incoming).unwrap(), caller)
        };
        let (_talking, caller) = ring(0);
        caller.sound(SILENCE, secs(1)).await;
        let (waiting, next) = ring(1);
        let task = world.wished(tenant(2), "k", world.wish(number(1))).await;
        caller.sound(SILENCE, secs(2)).await;
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        next.sound(SILENCE, secs(4)).await;
        next.hang_up(HangupCause::NORMAL_CLEARING);
        let (record, _) = waiting.finished().await.unwrap();
        world.wait(secs(10)).await;
        let task = world.task(tenant(2), task).await;
        assert_eq!(task.status, TaskStatus::Completed);
        assert!(record.answered_at.unwrap() < task.attempts[0].at);
    });
}

/// Overwrites a record's content; returns what it was.
async fn overwrite(world: &World, key: RecordKey, body: Value) -> Value {
    let row = world.store.get(key.clone()).await.unwrap();
    let mut put = Put::new(key, Expect::Any, body);
    let before = row.map_or(Value::Null, |row| {
        (put.indexes, put.due_at) = (row.indexes, row.due_at);
        row.body
    });
    let mut batch = Batch::default();
    batch.put(put);
    world.store.commit(batch).await.unwrap();
    before
}

#[test]
fn what_cannot_be_read_holds_up_nothing_else() {
    for kind in [AGENT, LIMITS, TASK] {
        let runtime = VirtualRuntime::new(12);
        runtime.block_on(async {
            // This engine dials nothing.
            let world = world(&runtime, at_once(0)).await;
            answer_all(&world, secs(1));
            let mut own_agent = (*world.agent).clone();
            own_agent.id = AgentId::generate(&runtime);
            world.engine.agents().put(tenant(0), &own_agent).await.unwrap();
            let mut wishes = Vec::new();
            for (place, owner) in [(1, 0), (2, 0), (3, 1), (4, 2)] {
                world.carrier.when_dialled(&number(place), Answering::After(secs(1)));
                let mut wish = world.wish(number(place));
                wish.agent = if place == 1 { own_agent.id } else { wish.agent };
                wishes.push((tenant(owner), world.wished(tenant(owner), &place.to_string(), wish).await));
            }
            let key = match kind {
                AGENT => RecordKey::new(tenant(0), AGENT, own_agent.id),
                LIMITS => RecordKey::new(tenant(0), LIMITS, "calls"),
                _ => RecordKey::new(tenant(0), TASK, wishes[0].1),
            };
            let readable = overwrite(&world, key.clone(), json!("nonsense")).await;
            let _engine = Engine::with_settings(world.providers.clone(), at_once(1));
            world.wait(secs(60)).await;
            let others = if kind == LIMITS { &wishes[2..] } else { &wishes[1..] };
            for (owner, id) in others {
                assert_eq!(world.task(*owner, *id).await.status, TaskStatus::Completed, "{kind}");
            }
            assert_eq!(world.calls().await.len(), others.len(), "{kind}");

            let body = if kind == LIMITS { json!(Limits::default()) } else { readable };
            overwrite(&world, key, body).await;
            world.wait(secs(60)).await;
            for (owner, id) in wishes {
                assert_eq!(world.task(owner, id).await.status, TaskStatus::Completed, "{kind}");
            }
        });
    }
}

#[test]
fn tasks_that_cannot_be_done_say_why() {
    let runtime = VirtualRuntime::new(5);
    runtime.block_on(async {
        let mut world = world(&runtime, offhook_testkit::settings()).await;
        let mut later = world.wish(number(1));
        later.start = Start::At(runtime.wall_clock() + secs(5));
        let missing = world.wished(tenant(0), "a", later).await;
        world.engine.agents().delete(tenant(0), world.agent.id).await.unwrap();
        let agent = Arc::make_mut(&mut world.agent);
        agent.active = false;
        world.engine.agents().put(tenant(1), &world.agent).await.unwrap();
        let inactive = world.wished(tenant(1), "a", world.wish(number(1))).await;
        let mut later = world.wish(number(1));
        later.start = Start::At(runtime.wall_clock() + secs(5));
        let cancelled = world.wished(tenant(2), "a", later).await;
        world.engine.tasks().cancel(tenant(2), cancelled).await.unwrap();
        world.wait(secs(60)).await;
        let failure = async |owner, id| world.task(tenant(owner), id).await.failure;
        assert_eq!(failure(0, missing).await, Some(TaskFailure::AgentMissing));
        assert_eq!(failure(1, inactive).await, Some(TaskFailure::AgentInactive));
        assert_eq!(world.task(tenant(2), cancelled).await.status, TaskStatus::Cancelled);
        assert!(world.calls().await.is_empty());
        let listed = world.engine.tasks().list(tenant(1), Some("failed"), Some(world.agent.id), 0, 10).await;
        assert_eq!(listed.unwrap().0.iter().map(|task| task.id).collect::<Vec<_>>(), [inactive]);
        let mut wish = world.wish(number(1));
        wish.attempts_max = 0;
        let refusal = world.engine.tasks().create(tenant(2), "b", wish).await.unwrap_err();
        assert_eq!(refusal.kind(), ErrorKind::ConfigInvalid);
    });
}

#[test]
fn no_crash_dials_a_task_twice_or_leaves_it_undone() {
    // The engine dies at any time from before the dispatch until after the settlement.
    for millis in (0..9_000).step_by(97) {
        let runtime = VirtualRuntime::new(millis);
        let (world, tasks) = runtime.block_on(async {
            let world = world(&runtime, at_once(2)).await;
            answer_all(&world, secs(2));
            let mut tasks = Vec::new();
            for place in 1..=4 {
                world.carrier.when_dialled(&number(place), Answering::After(Duration::from_millis(900)));
                let mut wish = world.wish(number(place));
                wish.attempts_max = 3;
                tasks.push(world.wished(tenant(0), &place.to_string(), wish).await);
            }
            world.wait(Duration::from_millis(millis)).await;
            (world, tasks)
        });
        while world.carrier.take_dialled().is_some() {}
        runtime.block_on(async {
            let world = World { engine: Engine::with_settings(world.providers.clone(), at_once(2)), ..world };
            answer_all(&world, secs(2));
            world.wait(secs(90)).await;
            let calls = world.calls().await;
            for id in &tasks {
                let task = world.task(tenant(0), *id).await;
                let attempts: Vec<_> = calls.iter().filter(|call| call.task == Some(*id)).collect();
                assert_eq!((attempts.len(), task.attempts.len()), (1, 1), "after {millis} ms: {task:?}");
                assert_eq!(task.attempts[0].reason, attempts[0].end_reason);
                let expected = match attempts[0].status {
                    CallStatus::Completed => TaskStatus::Completed,
                    _ => TaskStatus::Failed,
                };
                assert_eq!(task.status, expected, "after {millis} ms");
                let is_lost = attempts[0].end_reason == Some(EndReason::EngineLost);
                assert!(is_lost || task.status == TaskStatus::Completed, "after {millis} ms: {task:?}");
            }
            let balance = world.engine.credits().balance(tenant(0), Unit::Time).await.unwrap();
            assert_eq!(balance.held, 0);
        });
    }
}

#[test]
fn a_task_that_is_put_off_while_its_call_begins_is_not_dialled() {
    let runtime = VirtualRuntime::new(9);
    runtime.block_on(async {
        // This engine dials nothing, the slow one does.
        let world = world(&runtime, at_once(0)).await;
        let store = Arc::new(Remote::new(world.runtime.clone(), world.store.clone(), 200));
        let slow = Engine::with_settings(Providers { store, ..world.providers.clone() }, at_once(1));
        world.carrier.when_dialled(&number(1), Answering::After(secs(1)));
        answer_all(&world, secs(1));
        let id = world.wished(tenant(0), "k", world.wish(number(1))).await;
        while world.task(tenant(0), id).await.next_call.is_none() {
            world.wait(Duration::from_millis(5)).await;
        }
        let later = runtime.wall_clock() + secs(3_600);
        world.engine.tasks().update(tenant(0), id, |wish| wish.start = Start::At(later)).await.unwrap();
        world.wait(secs(3_500)).await;
        assert!(world.calls().await.iter().all(|call| call.answered_at.is_none()));
        let task = world.task(tenant(0), id).await;
        assert_eq!((task.status, task.attempts.len()), (TaskStatus::Pending, 0));
        world.wait(secs(200)).await;
        let task = world.task(tenant(0), id).await;
        assert_eq!((task.status, task.attempts.len()), (TaskStatus::Completed, 1));
        drop(slow);
    });
}

#[test]
fn a_task_that_is_called_off_while_its_call_begins_is_not_told_of() {
    let runtime = VirtualRuntime::new(14);
    runtime.block_on(async {
        // This engine dials nothing, the slow one does.
        let world = world(&runtime, at_once(0)).await;
        let store = Arc::new(Remote::new(world.runtime.clone(), world.store.clone(), 200));
        let _slow = Engine::with_settings(Providers { store, ..world.providers.clone() }, at_once(1));
        world.engine.webhooks().register(tenant(0), "crm", NewEndpoint::new(WEBHOOK_URL)).await.unwrap();
        world.carrier.when_dialled(&number(1), Answering::After(secs(1)));
        let id = world.wished(tenant(0), "k", world.wish(number(1))).await;
        while world.task(tenant(0), id).await.next_call.is_none() {
            world.wait(Duration::from_millis(5)).await;
        }
        world.engine.tasks().cancel(tenant(0), id).await.unwrap();
        world.wait(secs(60)).await;
        let task = world.task(tenant(0), id).await;
        assert_eq!((task.status, task.attempts.len()), (TaskStatus::Cancelled, 0));
        let calls = world.calls().await;
        let ends: Vec<_> = calls.iter().map(|call| (call.end_reason, call.hangup_party)).collect();
        assert_eq!(ends, [(Some(EndReason::OperatorHangUp), Some(HangupParty::Operator))]);
        assert!(world.engine.webhooks().deliveries(tenant(0), calls[0].id).await.unwrap().is_empty());
        assert!(world.carrier.legs().is_empty(), "nobody was rung");
        assert_eq!(world.engine.credits().balance(tenant(0), Unit::Time).await.unwrap().held, 0);
    });
}

#[test]
fn engines_that_share_a_store_share_the_tasks() {
    const TASKS: u32 = 40;
    let runtime = VirtualRuntime::new(8);
    runtime.block_on(async {
        let world = world(&runtime, at_once(10)).await;
        let engine = |_| {
            let mut providers = world.providers.clone();
            providers.store = Arc::new(Remote::new(world.runtime.clone(), world.store.clone(), 40));
            Engine::with_settings(providers, at_once(10))
        };
        let _engines: Vec<_> = (0..3).map(engine).collect();
        answer_all(&world, secs(1));
        let mut ids = Vec::new();
        for place in 1..=TASKS {
            world.carrier.when_dialled(&number(place), Answering::After(secs(1)));
            ids.push(world.wished(tenant(0), &place.to_string(), world.wish(number(place))).await);
            world.wait(Duration::from_millis(130)).await;
        }
        world.wait(secs(600)).await;
        let begun: Vec<_> = world.calls().await.into_iter().filter(|call| call.answered_at.is_some()).collect();
        assert_eq!(begun.len(), TASKS as usize);
        for id in ids {
            assert_eq!(begun.iter().filter(|call| call.task == Some(id)).count(), 1);
            assert_eq!(world.task(tenant(0), id).await.status, TaskStatus::Completed);
        }
    });
}
