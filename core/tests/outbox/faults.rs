//! Faults on our own side: they are seen, they end, and they stop nobody else.

use offhook::ErrorKind;
use offhook::engine::Engine;
use offhook::provider::Store;
use offhook::provider::reach::URL_BYTES_MAX;
use offhook::provider::store::{Batch, Expect, Put, RecordKey};
use offhook::service::outbox::{
    Attempts, DELIVERY, DeliveryState, FAILURES_MAX, HINDRANCE_DELAY, Inline, PATIENCE, Target,
};
use offhook::service::vault::{KEY_BYTES, VaultKey};
use offhook::service::webhooks::Form;
use serde_json::json;

use crate::world::{Reply, World, secs, settings, tell};

const PUSH_URL: &str = "https://crm.example/push";

fn inline(url: &str) -> Target {
    Target::Inline(Box::new(Inline::new(url, secs(5))))
}

#[test]
fn an_attempt_that_panics_is_one_that_failed_and_comes_to_its_end() {
    tell(|world| async move {
        world.endpoint("crm", Form::Native).await;
        world.customer.behave(|request, before| match (&request.body[..], before) {
            (b"bad 0", _) => Reply::Panics,
            _ => Reply::status(204),
        });
        let (bad, good) = (world.send_to("crm", "bad").await, world.send_to("crm", "good").await);
        world.wait(secs(60)).await;
        assert_eq!(world.delivery(&good).await.state, DeliveryState::Delivered);
        let delivery = world.delivery(&bad).await;
        assert!((3..10).contains(&delivery.attempts_made), "it is tried again, later each time");
        assert!(delivery.attempts.iter().all(|attempt| attempt.error == Some(ErrorKind::Unexpected)));
        world.wait_long(PATIENCE).await;
        assert_eq!(world.delivery(&bad).await.state, DeliveryState::Dead);
    });
}

#[test]
fn a_delivery_whose_key_is_gone_waits_for_it_and_loses_no_attempt() {
    tell(|mut world| async move {
        let mut target = Inline::new(PUSH_URL, secs(5));
        target.attempts = Attempts::Once;
        target.sealed_headers =
            vec![("authorization".to_owned(), world.engine.outbox().seal(world.tenant, b"token").unwrap())];
        let with_keys = |world: &World, keys: &[u8]| {
            let mut settings = settings();
            settings.vault_keys = keys.iter().map(|key| VaultKey::new([*key; KEY_BYTES])).collect();
            Engine::with_settings(world.providers.clone(), settings)
        };
        world.engine = with_keys(&world, &[8]);
        world.wait(secs(1)).await;
        let id = world.send(Target::Inline(Box::new(target)), "push").await;
        world.wait(HINDRANCE_DELAY * 3).await;
        let delivery = world.delivery(&id).await;
        assert_eq!((delivery.state, delivery.attempts_made), (DeliveryState::Pending, 0));
        assert!(delivery.hindrance.unwrap().contains("not configured"));
        assert!(world.customer.arrivals().is_empty());
        world.engine = with_keys(&world, &[8, 7]);
        world.wait(HINDRANCE_DELAY * 2).await;
        let delivery = world.delivery(&id).await;
        assert_eq!((delivery.state, delivery.attempts_made), (DeliveryState::Delivered, 1));
        assert_eq!(delivery.hindrance, None);
        // The key that it waits for may never come back.
        world.engine = with_keys(&world, &[9]);
        world.engine.outbox().redeliver(world.tenant, &id).await.unwrap();
        world.wait_long(PATIENCE + secs(3_600)).await;
        assert_eq!(world.delivery(&id).await.state, DeliveryState::Dead);
    });
}

#[test]
fn a_row_that_cannot_be_read_is_dead_and_its_queue_goes_on() {
    tell(|world| async move {
        world.customer.behave(|_, _| Reply::IsAway);
        let ids = [world.send(inline(PUSH_URL), "a").await, world.send(inline(PUSH_URL), "b").await];
        world.wait(secs(1)).await;
        let key = RecordKey::new(world.tenant, DELIVERY, &ids[0]);
        let row = world.store.get(key.clone()).await.unwrap().unwrap();
        let mut body = row.body;
        body["target"]["inline"]["method"] = json!("BREW");
        let mut batch = Batch::default();
        batch.put(Put { key: key.clone(), expect: Expect::Any, indexes: row.indexes, due_at: row.due_at, body });
        world.store.commit(batch).await.unwrap();
        world.customer.behave(|_, _| Reply::status(200));
        world.wait(secs(60)).await;
        assert_eq!(world.delivery(&ids[1]).await.state, DeliveryState::Delivered);
        let row = world.store.get(key).await.unwrap().unwrap();
        assert_eq!(row.body["state"], "dead");
        assert_eq!(row.indexes["standing"], "origin:https://crm.example dead".into());
        assert!(!row.indexes.contains_key("turn") && row.due_at.is_some());
        let outbox = world.engine.outbox();
        assert_eq!(outbox.get(world.tenant, &ids[0]).await.unwrap_err().kind(), ErrorKind::Unexpected);
        let dead = outbox.queue(world.tenant, "origin:https://crm.example", DeliveryState::Dead).await.unwrap();
        assert!(dead.is_empty(), "lists leave it out");
        outbox.redeliver_dead(world.tenant, "origin:https://crm.example").await.unwrap();
    });
}

#[test]
fn a_delivery_that_waits_is_sent_at_once_when_somebody_asks_for_it() {
    tell(|world| async move {
        world.customer.behave(|_, _| Reply::status(422));
        let ids = [world.send(inline(PUSH_URL), "a").await, world.send(inline(PUSH_URL), "a").await];
        world.wait(secs(1_000)).await;
        let tried = world.customer.arrivals().len();
        assert!(world.delivery(&ids[1]).await.next_at > world.providers.runtime.wall_clock() + secs(5));
        world.customer.behave(|_, _| Reply::status(200));
        world.engine.outbox().redeliver(world.tenant, &ids[1]).await.unwrap();
        world.wait(secs(1)).await;
        assert_eq!(world.customer.bodies()[tried..], ["a 0", "a 1"], "what goes before it goes with it");
        for id in &ids {
            assert_eq!(world.delivery(id).await.state, DeliveryState::Delivered);
        }
    });
}

#[test]
fn what_nobody_can_send_is_dead_and_can_be_found() {
    tell(|world| async move {
        let url = format!("{PUSH_URL}?told={}", "x".repeat(URL_BYTES_MAX));
        let ids = [world.send(inline(&url), "long").await, world.send(inline("ftp://crm.example"), "odd").await];
        world.wait(secs(5)).await;
        for id in &ids {
            let delivery = world.delivery(id).await;
            assert_eq!((delivery.state, delivery.attempts_made), (DeliveryState::Dead, 1));
            assert_eq!(delivery.attempts[0].error, Some(ErrorKind::ConfigInvalid));
            assert!(delivery.attempts[0].answer.contains("URL"), "{}", delivery.attempts[0].answer);
        }
        assert!(world.customer.arrivals().is_empty());
        // Trying them again keeps nobody else of their origin waiting.
        let dead = world.engine.outbox().queue(world.tenant, "origin:https://crm.example", DeliveryState::Dead).await;
        assert_eq!(dead.unwrap().len(), 1);
        for _ in 0..FAILURES_MAX {
            world.engine.outbox().redeliver(world.tenant, &ids[0]).await.unwrap();
            world.wait(secs(1)).await;
        }
        let id = world.send(inline(PUSH_URL), "short").await;
        world.wait(secs(1)).await;
        assert_eq!(world.delivery(&id).await.state, DeliveryState::Delivered);
    });
}
