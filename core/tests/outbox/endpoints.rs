//! Endpoints: what they ask for, where they may be, and how their secrets change.

use std::slice;

use offhook::ErrorKind;
use offhook::billing::Unit;
use offhook::engine::{Engine, Settings};
use offhook::provider::Store;
use offhook::provider::reach::Reach;
use offhook::provider::store::{Batch, RecordKey};
use offhook::service::outbox::DeliveryState;
use offhook::service::webhooks::{
    CreditsLow, ENDPOINT, ENDPOINTS_MAX, EndpointChange, Event, EventName, Form, NewEndpoint, OVERLAP_MAX,
};
use offhook::signing::{Secret, body, standard};
use offhook_testkit::runtime::VirtualRuntime;

use crate::world::{Arrival, Reply, SECRET, URL, World, secs, tell};

fn signatures(arrival: &Arrival) -> usize {
    arrival.header("webhook-signature").unwrap().split(' ').count()
}

fn holds(arrival: &Arrival, secret: &str) -> bool {
    let header = |name: &str| arrival.header(name).unwrap().to_owned();
    let headers = standard::Headers {
        id: header("webhook-id"),
        signature: header("webhook-signature"),
        timestamp: header("webhook-timestamp"),
    };
    let secret = standard::parse_secret(secret).unwrap();
    standard::verify(slice::from_ref(&secret), &headers, &arrival.request.body, arrival.at).is_ok()
}

/// DR-076
#[test]
fn what_cannot_be_an_endpoint_is_refused() {
    let runtime = VirtualRuntime::new(1);
    runtime.block_on(async {
        let world = World::new(&runtime);
        let mut settings = crate::world::settings();
        settings.reach = Reach::public();
        let engine = Engine::with_settings(world.providers.clone(), settings);
        let refused = async |id: &str, endpoint: NewEndpoint| {
            engine.webhooks().register(world.tenant, id, endpoint).await.unwrap_err().kind()
        };
        for url in ["http://customer.example/", "https://127.0.0.1/", "https://localhost/", "ftp://a.example/", "x"] {
            assert_eq!(refused("crm", NewEndpoint::new(url)).await, ErrorKind::ConfigInvalid, "{url}");
        }
        for id in ["", "Upper", "dot.ted", "a/b", &"x".repeat(65)] {
            assert_eq!(refused(id, NewEndpoint::new(URL)).await, ErrorKind::ConfigInvalid, "{id}");
        }
        for events in [vec![], vec![EventName::WebhookTest]] {
            let mut endpoint = NewEndpoint::new(URL);
            endpoint.events = events;
            assert_eq!(refused("crm", endpoint).await, ErrorKind::ConfigInvalid);
        }
        assert_eq!("call.exploded".parse::<EventName>().unwrap_err().kind(), ErrorKind::ConfigInvalid);
        for (form, secret) in [(Form::Native, "plain text"), (Form::Native, ""), (Form::Dialro, "")] {
            let mut endpoint = NewEndpoint::new(URL);
            (endpoint.form, endpoint.secret) = (form, Some(secret.to_owned()));
            assert_eq!(refused("crm", endpoint).await, ErrorKind::ConfigInvalid, "{secret}");
        }
        engine.webhooks().register(world.tenant, "crm", NewEndpoint::new(URL)).await.unwrap();
        assert_eq!(refused("crm", NewEndpoint::new(URL)).await, ErrorKind::Conflict);
        let change = EndpointChange { url: Some("https://10.0.0.1/".to_owned()), ..EndpointChange::default() };
        let error = engine.webhooks().update(world.tenant, "crm", change).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
    });
}

#[test]
fn a_tenant_has_so_many_endpoints_and_no_more() {
    tell(|world| async move {
        for index in 0..ENDPOINTS_MAX {
            world.endpoint(&format!("e{index}"), Form::Native).await;
        }
        let webhooks = world.engine.webhooks();
        let one_more = webhooks.register(world.tenant, "more", NewEndpoint::new(URL)).await;
        assert_eq!(one_more.unwrap_err().kind(), ErrorKind::RateLimited);
        webhooks.delete(world.tenant, "e0").await.unwrap();
        assert_eq!(webhooks.delete(world.tenant, "e0").await.unwrap_err().kind(), ErrorKind::NotFound);
        webhooks.register(world.tenant, "more", NewEndpoint::new(URL)).await.unwrap();
        assert_eq!(webhooks.endpoints(world.tenant).await.unwrap().len(), ENDPOINTS_MAX as usize);
    });
}

/// DR-071: `credits.low`, to those who ask for it, in the form that they ask for.
#[test]
fn an_event_is_told_once_to_each_who_asks_for_it() {
    tell(|world| async move {
        for (id, form) in [("dialro", Form::Dialro), ("native", Form::Native)] {
            world.endpoint(id, form).await;
        }
        let mut other = NewEndpoint::new(format!("{URL}/other"));
        other.events = vec![EventName::CallEnded];
        world.engine.webhooks().register(world.tenant, "other", other).await.unwrap();
        world.endpoint("off", Form::Native).await;
        let off = EndpointChange { is_active: Some(false), ..EndpointChange::default() };
        world.engine.webhooks().update(world.tenant, "off", off).await.unwrap();

        let (key, tenant, unit) = ("k1".to_owned(), world.tenant, Unit::Time);
        let low = CreditsLow { balance: 5_970_000, key, tenant, threshold: 6_000_000, unit };
        let mut batch = Batch::default();
        for put in world.engine.webhooks().puts(&Event::CreditsLow(&low)).await.unwrap() {
            batch.put(put);
        }
        world.store.commit(batch.clone()).await.unwrap();
        assert_eq!(world.store.commit(batch).await.unwrap_err().kind(), ErrorKind::Conflict, "it is the same event");
        world.wait(secs(2)).await;
        let mut bodies = world.customer.bodies();
        bodies.sort();
        assert_eq!(bodies.len(), 2);
        let [dialro, native]: [serde_json::Value; 2] =
            [&bodies[0], &bodies[1]].map(|body| serde_json::from_str(body).unwrap());
        let (dialro, native) = if dialro["event"].is_null() { (native, dialro) } else { (dialro, native) };
        assert_eq!(dialro["event"], "credits.low");
        assert_eq!(dialro["data"], serde_json::json!({ "balanceMinutes": 99.5, "threshold": 100 }));
        assert_eq!(native["type"], "credits.low");
        assert_eq!(
            native["data"],
            serde_json::json!({ "balance": 5_970_000, "threshold": 6_000_000, "unit": Unit::Time })
        );
    });
}

#[test]
fn an_endpoint_is_tried_on_demand() {
    tell(|world| async move {
        world.endpoint("crm", Form::Native).await;
        let id = world.engine.webhooks().test(world.tenant, "crm").await.unwrap();
        world.wait(secs(1)).await;
        assert_eq!(world.delivery(&id).await.state, DeliveryState::Delivered);
        let body: serde_json::Value = serde_json::from_str(&world.customer.bodies()[0]).unwrap();
        assert_eq!(body["type"], "webhook.test");
        let unknown = world.engine.webhooks().test(world.tenant, "erp").await.unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_new_secret_signs_beside_the_old_one_for_a_while() {
    tell(|world| async move {
        let webhooks = world.engine.webhooks();
        world.endpoint("crm", Form::Native).await;
        world.endpoint("dialro", Form::Dialro).await;
        let first = webhooks.rotate(world.tenant, "crm", None, secs(3_600)).await.unwrap();
        let second = webhooks.rotate(world.tenant, "crm", None, secs(3_600)).await.unwrap();
        let own = webhooks.rotate(world.tenant, "dialro", Some("my own".to_owned()), OVERLAP_MAX * 2).await.unwrap();
        assert_eq!(own, "my own");
        let row = world.store.get(RecordKey::new(world.tenant, ENDPOINT, "dialro")).await.unwrap().unwrap();
        assert!(!row.body.to_string().contains("my own") && !row.body.to_string().contains(SECRET));
        world.send_to("crm", "a").await;
        world.send_to("dialro", "a").await;
        world.wait(secs(3_600)).await;
        world.send_to("crm", "b").await;
        world.wait(OVERLAP_MAX).await;
        world.send_to("dialro", "b").await;
        world.wait(secs(2)).await;
        let arrivals = world.customer.arrivals().clone();
        let of = |url: &str| -> Vec<&Arrival> {
            arrivals.iter().filter(|arrival| arrival.request.url.ends_with(url)).collect()
        };
        let crm = of("crm");
        assert_eq!([signatures(crm[0]), signatures(crm[1])], [2, 1]);
        assert!(holds(crm[0], &first) && holds(crm[0], &second) && holds(crm[1], &second));
        assert!(!holds(crm[0], SECRET) && !holds(crm[1], &first));
        let dialro = of("dialro");
        let sign = |secret: &str, arrival: &Arrival| body::sign(&Secret::new(secret), &arrival.request.body);
        for arrival in &dialro {
            assert_eq!(arrival.header("x-dialro-signature"), Some(sign("my own", arrival).as_str()));
        }
        let previous = |arrival: &Arrival| arrival.header("x-dialro-signature-previous").map(str::to_owned);
        assert_eq!([previous(dialro[0]), previous(dialro[1])], [Some(sign(SECRET, dialro[0])), None]);
    });
}

#[test]
fn what_was_on_its_way_to_an_endpoint_that_is_removed_is_given_up() {
    tell(|world| async move {
        world.endpoint("crm", Form::Native).await;
        world.customer.behave(|_, _| Reply::status(500));
        let ids = [world.send_to("crm", "a").await, world.send_to("crm", "b").await];
        world.wait(secs(1)).await;
        world.engine.webhooks().delete(world.tenant, "crm").await.unwrap();
        world.wait(secs(60)).await;
        let tried = world.customer.arrivals().len();
        for id in ids {
            let delivery = world.delivery(&id).await;
            assert_eq!(delivery.state, DeliveryState::Dead);
            assert_eq!(delivery.attempts.last().unwrap().error, Some(ErrorKind::NotFound));
        }
        world.wait(secs(3_600)).await;
        assert_eq!(world.customer.arrivals().len(), tried);
    });
}

#[test]
fn without_a_key_there_is_no_endpoint() {
    tell(|world| async move {
        let keyless = Engine::with_settings(world.providers.clone(), Settings::default());
        let refused = keyless.webhooks().register(world.tenant, "crm", NewEndpoint::new(URL)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConfigInvalid);
    });
}
