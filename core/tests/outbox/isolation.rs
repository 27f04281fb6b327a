//! A target that is dead or slow slows nobody.

use std::sync::Arc;
use std::time::Duration;

use offhook::memory::MemoryStore;
use offhook::provider::Store;
use offhook::provider::store::Batch;
use offhook::service;
use offhook::service::outbox::{Message, Target};
use offhook::service::webhooks::Form;
use offhook_testkit::runtime::VirtualRuntime;

use crate::engines::Slow;
use crate::world::{Reply, World, ms, secs};

const BACKLOG: u64 = 10_000;
const HEALTHY: u64 = 120;

/// How long each message to a healthy endpoint took, while so many wait for another that hangs.
fn latencies(backlog: u64, hangs: bool) -> Vec<Duration> {
    let runtime = VirtualRuntime::new(9);
    runtime.block_on(async {
        let store = Arc::new(MemoryStore::new(service::schema()).unwrap());
        let slow = Slow { delay: ms(2), inner: store.clone(), runtime: runtime.clone() };
        let world = World::on(&runtime, store, Arc::new(slow));
        world.customer.behave(move |request, _| match request.url.ends_with("good") {
            false if hangs => Reply::Hangs,
            false => Reply::status(200).after(secs(9)),
            true => Reply::status(200),
        });
        world.endpoint("bad", Form::Native).await;
        world.endpoint("good", Form::Native).await;
        for chunk in 0..backlog / 100 {
            let mut batch = Batch::default();
            for index in 0..100 {
                let lane = format!("bad{chunk}-{index}");
                let message = Message {
                    body: "bad".to_owned(),
                    event: "test".to_owned(),
                    event_id: lane.clone(),
                    id: lane.clone(),
                    lane,
                    place: 0,
                    target: Target::endpoint("bad"),
                    tenant: world.tenant,
                };
                world.engine.outbox().enqueue(&mut batch, message).unwrap();
            }
            world.store.commit(batch).await.unwrap();
        }
        world.engine.outbox().wake();
        let mut ids = Vec::new();
        for index in 0..HEALTHY {
            world.wait(secs(1)).await;
            ids.push(world.send_to("good", &format!("good{index}")).await);
        }
        world.wait(secs(30)).await;
        let mut latencies = Vec::new();
        for id in ids {
            let delivery = world.delivery(&id).await;
            latencies.push(delivery.attempts[0].at.saturating_since(delivery.created_at));
        }
        let bad = world.customer.arrivals().iter().filter(|arrival| arrival.body() == "bad").count();
        assert!(backlog == 0 || bad > 0);
        // A target that hangs is asked now and then; one that is slow gets as much as it takes.
        assert!(!hangs || bad < 40, "{bad}");
        latencies
    })
}

#[test]
fn ten_thousand_messages_to_a_target_that_hangs_delay_no_other() {
    let alone = latencies(0, true);
    assert_eq!(alone, latencies(BACKLOG, true));
    assert!(alone.iter().all(|latency| *latency <= ms(50)), "{alone:?}");
}

#[test]
fn ten_thousand_messages_to_a_target_that_is_slow_delay_no_other() {
    assert_eq!(latencies(0, false), latencies(BACKLOG, false));
}

/// The backlog of a target that comes back goes out, in one piece.
#[test]
fn a_target_that_comes_back_gets_all_that_has_waited() {
    let runtime = VirtualRuntime::new(4);
    runtime.block_on(async {
        let world = World::new(&runtime);
        world.endpoint("crm", Form::Native).await;
        world.customer.behave(|_, _| Reply::IsAway);
        for index in 0..1_000 {
            world.send_to("crm", &format!("lane{index}")).await;
        }
        world.wait(secs(1_200)).await;
        let tried = world.customer.arrivals().len();
        assert!(tried < 100, "{tried} attempts at a target that is away");
        world.customer.behave(|_, _| Reply::status(200));
        world.wait(secs(600)).await;
        let mut bodies = world.customer.bodies().split_off(tried);
        assert_eq!(bodies.len(), 1_000, "each once");
        bodies.sort();
        bodies.dedup();
        assert_eq!(bodies.len(), 1_000);
    });
}
