//! One engine and one customer: attempts, their order and their end.

use std::slice;

use offhook::ErrorKind;
use offhook::provider::Store;
use offhook::provider::store::RecordKey;
use offhook::provider::transport::HttpMethod;
use offhook::service::outbox::{
    ANSWER_BYTES_KEPT, Attempts, DELIVERY, Delivery, DeliveryState, Inline, PATIENCE, RETENTION, Scheme, Target,
};
use offhook::service::webhooks::Form;
use offhook::signing::{Secret, body, standard};
use proptest::prelude::*;

use crate::world::{Arrival, Reply, SECRET, World, mix, ms, secs, tell};

fn verify(arrival: &Arrival) {
    let header = |name: &str| arrival.header(name).unwrap().to_owned();
    let headers = standard::Headers {
        id: header("webhook-id"),
        signature: header("webhook-signature"),
        timestamp: header("webhook-timestamp"),
    };
    let secret = standard::parse_secret(SECRET).unwrap();
    standard::verify(slice::from_ref(&secret), &headers, &arrival.request.body, arrival.at).unwrap();
}

#[test]
fn a_lane_keeps_its_order_and_no_other_waits_for_it() {
    tell(|world| async move {
        world.endpoint("crm", Form::Native).await;
        world.customer.behave(|request, before| {
            Reply::status(if request.body.starts_with(b"a 0") && before < 12 { 500 } else { 200 })
        });
        for _ in 0..3 {
            world.send_to("crm", "a").await;
            world.send_to("crm", "b").await;
        }
        world.wait(secs(1)).await;
        let at_once = world.customer.bodies();
        assert_eq!(at_once.iter().filter(|body| body.starts_with("b")).count(), 3, "{at_once:?}");
        assert!(!at_once.iter().any(|body| body == "a 1"), "{at_once:?}");
        world.wait(secs(3_600)).await;
        for lane in ["a", "b"] {
            let mut places: Vec<_> =
                world.customer.bodies().into_iter().filter(|body| body.starts_with(lane)).collect();
            assert!(places.is_sorted(), "{places:?}");
            places.dedup();
            assert_eq!(places.len(), 3);
            let deliveries = world.engine.outbox().lane(world.tenant, lane).await.unwrap();
            assert!(deliveries.iter().all(|delivery| delivery.state == DeliveryState::Delivered));
        }
    });
}

/// DR-078
#[test]
fn each_attempt_has_the_same_bytes_and_the_same_signature() {
    tell(|world| async move {
        world.endpoint("dialro", Form::Dialro).await;
        world.customer.behave(|_, before| Reply::status(if before < 8 { 503 } else { 204 }));
        let id = world.send_to("dialro", "call").await;
        world.wait(secs(3_600)).await;
        let arrivals = world.customer.arrivals().clone();
        assert_eq!(arrivals.len(), 9);
        let signature = body::sign(&Secret::new(SECRET), b"call 0");
        for (index, arrival) in arrivals.iter().enumerate() {
            assert_eq!(arrival.body(), "call 0");
            assert_eq!(arrival.header("x-dialro-signature"), Some(signature.as_str()));
            assert_eq!(arrival.header("content-type"), Some("application/json"));
            assert_eq!(arrival.header("x-offhook-attempt"), Some((index + 1).to_string().as_str()));
            assert_eq!(arrival.header("x-offhook-delivery"), Some(id.as_str()));
            assert_eq!(arrival.header("x-offhook-event-id"), Some("call:0"));
            assert_eq!(arrival.header("x-offhook-timestamp"), Some(arrival.at.as_unix_seconds().to_string().as_str()));
            assert_eq!((arrival.request.method, arrival.request.timeout), (HttpMethod::Post, secs(10)));
        }
    });
}

#[test]
fn a_standard_signature_stays_until_it_would_be_refused() {
    tell(|world| async move {
        world.endpoint("crm", Form::Native).await;
        world.customer.behave(|_, before| Reply::status(if before < 14 { 400 } else { 204 }));
        let id = world.send_to("crm", "call").await;
        world.wait(secs(600)).await;
        world.wait_long(PATIENCE).await;
        assert_eq!(world.delivery(&id).await.state, DeliveryState::Delivered);
        let arrivals = world.customer.arrivals().clone();
        arrivals.iter().for_each(verify);
        let first = arrivals[0].at;
        for arrival in &arrivals {
            let same = arrival.header("webhook-signature") == arrivals[0].header("webhook-signature");
            assert_eq!(same, arrival.at.saturating_since(first) < standard::TOLERANCE / 2);
            assert_eq!(arrival.header("webhook-id"), Some(id.as_str()));
            assert_eq!(arrival.body(), "call 0");
        }
    });
}

#[test]
fn a_delivery_is_tried_for_a_day_and_then_dead_until_somebody_revives_it() {
    tell(|world| async move {
        world.endpoint("crm", Form::Native).await;
        let refusal = "no such customer ".repeat(100);
        let said = refusal.clone();
        world.customer.behave(move |_, _| match Reply::status(422) {
            Reply::Says { after, headers, status, .. } => Reply::Says { after, body: said.clone(), headers, status },
            reply => reply,
        });
        let ids = [world.send_to("crm", "call").await, world.send_to("crm", "call").await];
        world.wait(secs(2_100)).await;
        world.wait_long(PATIENCE * 2 + secs(3_600)).await;
        // The second had what time was left when the first was given up.
        for (id, attempts) in ids.iter().zip([12..=20, 1..=20]) {
            let delivery = world.delivery(id).await;
            assert_eq!(delivery.state, DeliveryState::Dead);
            assert!(attempts.contains(&delivery.attempts_made), "{}", delivery.attempts_made);
            let times: Vec<_> = delivery.attempts.iter().map(|attempt| attempt.at).collect();
            let waits: Vec<_> = times.windows(2).map(|pair| pair[1].saturating_since(pair[0])).collect();
            let doubles = waits.iter().zip(waits.iter().skip(1)).take(9).all(|(one, next)| next > one);
            assert!(id != &ids[0] || doubles, "{waits:?}");
            assert!(times[times.len() - 1].saturating_since(delivery.created_at) <= PATIENCE);
            let last = delivery.attempts.last().unwrap();
            assert_eq!((last.status, last.error, last.latency_ms), (Some(422), None, 20));
            assert_eq!(last.answer, refusal[..ANSWER_BYTES_KEPT]);
        }
        let first = world.customer.bodies();
        assert!(first.iter().rposition(|body| body == "call 0") < first.iter().position(|body| body == "call 1"));

        world.customer.behave(|_, _| Reply::status(204));
        assert_eq!(world.engine.webhooks().redeliver_dead(world.tenant, "crm").await.unwrap(), 2);
        world.wait(secs(5)).await;
        assert_eq!(world.customer.bodies()[first.len()..], ["call 0", "call 1"], "in their order");
        let redeliver = || world.engine.outbox().redeliver(world.tenant, &ids[0]);
        redeliver().await.unwrap();
        assert_eq!(redeliver().await.unwrap_err().kind(), ErrorKind::Conflict, "it is on its way");
        world.wait(secs(5)).await;
        assert_eq!(world.customer.bodies().last().unwrap(), "call 0");
        assert_eq!(world.delivery(&ids[0]).await.state, DeliveryState::Delivered);
        let unknown = world.engine.outbox().redeliver(world.tenant, "unknown").await;
        assert_eq!(unknown.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_receiver_that_names_its_moment_is_left_alone_until_then() {
    tell(|world| async move {
        world.endpoint("crm", Form::Native).await;
        world.customer.behave(|_, before| match before {
            0 => Reply::status(429).with("retry-after", "90"),
            1 => Reply::status(503).with("retry-after", "Thu, 20 Nov 2025 07:10:00 GMT"),
            2 => Reply::status(503).with("retry-after", "999999"),
            _ => Reply::status(200),
        });
        world.send_to("crm", "a").await;
        world.wait(secs(1)).await;
        // Whoever comes meanwhile waits as well: it is the receiver that wants rest.
        world.send_to("crm", "b").await;
        world.wait(secs(5_000)).await;
        let start = offhook::time::Timestamp::from_unix_micros(1_763_622_000_000_000);
        let at: Vec<_> =
            world.customer.arrivals().iter().map(|arrival| arrival.at.saturating_since(start).as_secs()).collect();
        assert_eq!(at[0], 0);
        assert!((90..=91).contains(&at[1]), "{at:?}");
        assert!((600..=601).contains(&at[2]), "{at:?}");
        assert!((4_200..=4_201).contains(&at[3]), "an hour is the most that is given: {at:?}");
        assert_eq!(at.len(), 5);
    });
}

#[test]
fn who_is_gone_is_told_nothing_more() {
    tell(|world| async move {
        world.endpoint("crm", Form::Native).await;
        world.customer.behave(|_, _| Reply::status(410));
        let ids = [world.send_to("crm", "a").await, world.send_to("crm", "a").await, world.send_to("crm", "b").await];
        world.wait(secs(60)).await;
        assert!(world.customer.arrivals().len() <= 2, "no more than were on their way");
        for id in &ids {
            assert_eq!(world.delivery(id).await.state, DeliveryState::Dead);
        }
        let endpoint = world.engine.webhooks().endpoint(world.tenant, "crm").await.unwrap().unwrap();
        assert!(!endpoint.is_active && endpoint.gone_at.is_some());
        let refused = world.engine.webhooks().test(world.tenant, "crm").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        world.customer.behave(|_, _| Reply::status(200));
        let change = offhook::service::webhooks::EndpointChange { is_active: Some(true), ..Default::default() };
        let endpoint = world.engine.webhooks().update(world.tenant, "crm", change).await.unwrap();
        assert!(endpoint.is_active && endpoint.gone_at.is_none());
        assert_eq!(world.engine.webhooks().redeliver_dead(world.tenant, "crm").await.unwrap(), 3);
        world.wait(secs(60)).await;
        assert_eq!(world.delivery(&ids[1]).await.state, DeliveryState::Delivered);
    });
}

/// VS-072, VS-073
#[test]
fn a_message_that_is_tried_once_is_tried_once_within_its_time() {
    tell(|world| async move {
        world.customer.behave(|_, _| Reply::Hangs);
        let mut inline = Inline::new("https://task.example/done", secs(10));
        inline.attempts = Attempts::Once;
        let id = world.send(Target::Inline(Box::new(inline)), "task").await;
        world.wait(secs(9)).await;
        assert_eq!(world.delivery(&id).await.state, DeliveryState::Pending);
        world.wait(secs(2)).await;
        let delivery = world.delivery(&id).await;
        assert_eq!(delivery.state, DeliveryState::Dead);
        assert_eq!(delivery.attempts[0].error, Some(ErrorKind::TimedOut));
        world.wait_long(PATIENCE).await;
        assert_eq!(world.customer.arrivals().len(), 1);
    });
}

/// FL-050
#[test]
fn an_inline_target_has_its_own_method_and_headers_and_keeps_its_secrets() {
    tell(|world| async move {
        let outbox = world.engine.outbox();
        let mut inline = Inline::new("https://crm.example/push?a=b", secs(7));
        inline.method = HttpMethod::Put;
        inline.headers = vec![("content-type".to_owned(), "text/plain".to_owned())];
        inline.sealed_headers = vec![("authorization".to_owned(), outbox.seal(world.tenant, b"token hush").unwrap())];
        inline.sealed_secrets = vec![outbox.seal(world.tenant, b"key").unwrap()];
        inline.scheme = Scheme::Body("x-offhook-signature".to_owned());
        let id = world.send(Target::Inline(Box::new(inline)), "push").await;
        let row = world.store.get(RecordKey::new(world.tenant, DELIVERY, &id)).await.unwrap().unwrap();
        assert!(!row.body.to_string().contains("hush"));
        world.wait(secs(1)).await;
        let arrival = world.customer.arrivals()[0].clone();
        assert_eq!((arrival.request.method, arrival.request.timeout), (HttpMethod::Put, secs(7)));
        assert_eq!(arrival.header("authorization"), Some("token hush"));
        assert_eq!(arrival.header("content-type"), Some("text/plain"));
        let signature = body::sign(&Secret::new("key"), b"push 0");
        assert_eq!(arrival.header("x-offhook-signature"), Some(signature.as_str()));
        assert_eq!(world.delivery(&id).await.state, DeliveryState::Delivered);
    });
}

#[test]
fn what_is_over_is_kept_for_a_while_and_then_removed() {
    tell(|world| async move {
        world.endpoint("crm", Form::Native).await;
        let ids = [world.send_to("crm", "a").await, world.send_to("crm", "b").await];
        world.wait(secs(60)).await;
        let half = i64::try_from(RETENTION.as_micros() / 2).unwrap();
        world.runtime.set_wall_clock(half);
        world.engine.outbox().redeliver(world.tenant, &ids[0]).await.unwrap();
        world.wait(secs(60)).await;
        world.runtime.set_wall_clock(half);
        world.wait(secs(120)).await;
        assert!(world.engine.outbox().get(world.tenant, &ids[1]).await.unwrap().is_none());
        assert_eq!(world.delivery(&ids[0]).await.state, DeliveryState::Delivered, "it was of use later");
        world.runtime.set_wall_clock(half);
        world.wait(secs(120)).await;
        assert!(world.engine.outbox().get(world.tenant, &ids[0]).await.unwrap().is_none());
    });
}

#[test]
fn the_worker_ends_with_its_engine_and_finishes_what_is_on_its_way() {
    let runtime = offhook_testkit::runtime::VirtualRuntime::new(1);
    runtime.block_on(async {
        let world = World::new(&runtime);
        world.endpoint("crm", Form::Native).await;
        world.customer.behave(|_, _| Reply::status(200).after(secs(8)));
        let ids: Vec<_> = [world.send_to("crm", "a").await, world.send_to("crm", "a").await].into();
        world.wait(secs(1)).await;
        let World { engine, runtime, store, tenant, providers, customer, .. } = world;
        drop(engine);
        runtime.sleep(secs(10)).await;
        assert!(!runtime.running().contains(&"outbox"), "{:?}", runtime.running());
        assert_eq!(customer.bodies(), ["a 0"], "nothing new was begun");
        let next = offhook::engine::Engine::with_settings(providers, crate::world::settings());
        runtime.sleep(secs(10)).await;
        assert_eq!(customer.bodies(), ["a 0", "a 1"], "nothing was sent twice, and the queue was given back");
        for id in ids {
            let row = store.get(RecordKey::new(tenant, DELIVERY, &id)).await.unwrap().unwrap();
            assert_eq!(row.body["state"], "delivered");
        }
        drop(next);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// Whatever fails, each lane arrives whole and in order.
    #[test]
    fn every_message_arrives_and_each_lane_in_order(seed: u64, failing in 0..6_u64, lanes in 1..12_usize) {
        let runtime = offhook_testkit::runtime::VirtualRuntime::new(seed);
        runtime.block_on(async {
            let world = World::new(&runtime);
            world.endpoint("crm", Form::Native).await;
            world.endpoint("erp", Form::Dialro).await;
            world.customer.behave(move |request, before| {
                let dice = mix(seed ^ before as u64 ^ (request.url.len() as u64) << 32);
                match (dice % 10 < failing, dice / 16 % 4) {
                    (false, _) => Reply::status(200).after(ms(dice % 300)),
                    (true, 0) => Reply::Hangs,
                    (true, 1) => Reply::IsAway,
                    (true, 2) => Reply::status(400),
                    (true, _) => Reply::status(503).after(ms(dice % 5_000)),
                }
            });
            for index in 0..60 {
                let lane = format!("lane{}", mix(seed ^ index) as usize % lanes);
                world.send_to("crm", &lane).await;
                world.send(Target::endpoint("erp"), &format!("x{lane}")).await;
                world.wait(ms(mix(index) % 400)).await;
            }
            world.wait(secs(300)).await;
            world.wait_long(PATIENCE / 2).await;
            for lane in 0..lanes {
                for lane in [format!("lane{lane}"), format!("xlane{lane}")] {
                    let deliveries = world.engine.outbox().lane(world.tenant, &lane).await.unwrap();
                    let is_delivered = |delivery: &Delivery| delivery.state == DeliveryState::Delivered;
                    assert!(deliveries.iter().all(is_delivered), "{deliveries:?}");
                    let arrivals = world.customer.arrivals();
                    let mut places: Vec<u64> = arrivals
                        .iter()
                        .filter_map(|arrival| arrival.body().strip_prefix(&format!("{lane} "))?.parse().ok())
                        .collect();
                    assert!(places.is_sorted(), "{lane}: {places:?}");
                    places.dedup();
                    assert_eq!(places.len(), deliveries.len());
                }
            }
        });
    }
}
