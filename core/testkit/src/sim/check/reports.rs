//! Every event reached its receiver, in order, with the same bytes at each attempt and a signature that holds.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use offhook::ids::TenantId;
use offhook::provider::store::{Query, RecordKey, Store};
use offhook::service::webhooks::{DELIVERY, Delivery, DeliveryState, ENDPOINT, Endpoint, EventName};
use offhook::signing::{Secret, standard};
use offhook::time::Timestamp;

use super::{Findings, Invariant};
use crate::sim::http::Message;
use crate::sim::world::World;

/// Events of a call, in their order.
const ORDER: [EventName; 3] = [EventName::CallStarted, EventName::CallAnswered, EventName::CallEnded];

pub(super) fn check(world: &World, findings: &mut Findings) {
    let mut secrets = Vec::new();
    let mut delivered: BTreeMap<u32, Vec<EventName>> = BTreeMap::new();
    for tenant in &world.tenants {
        secrets.extend(secret(world, *tenant));
        for (id, delivery) in deliveries(world, *tenant) {
            let call = world.whose(&delivery.lane);
            if delivery.state != DeliveryState::Delivered {
                findings.add(Invariant::Reports, call, format!("{} is {:?}", delivery.event.as_str(), delivery.state));
            }
            match world.inbox.received().messages.get(&id) {
                Some(message) if message.is_accepted => {
                    if message.body != delivery.body.as_bytes() {
                        findings.add(Invariant::Reports, call, "a webhook has another body than was stored");
                    }
                }
                _ => findings.add(Invariant::Reports, call, format!("{} was never accepted", delivery.event.as_str())),
            }
            delivered.entry(call).or_default().push(delivery.event);
        }
    }
    check_messages(world, &secrets, findings);
    check_completeness(&delivered, findings);
}

fn check_messages(world: &World, secrets: &[Secret], findings: &mut Findings) {
    let received = world.inbox.received();
    for (id, message) in &received.messages {
        let call = world.whose(id.split(':').next().unwrap_or_default());
        if !message.is_steady {
            findings.add(Invariant::Reports, call, "a webhook changed between two attempts");
        }
        if !is_signed(id, message, secrets) {
            findings.add(Invariant::Reports, call, "the signature of a webhook does not hold");
        }
    }
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for id in &received.accepted {
        let mut parts = id.rsplitn(2, ':');
        let name = parts.next().unwrap_or_default();
        let stream = parts.next().unwrap_or_default();
        let place = ORDER.iter().position(|event| event.as_str().replace('.', "_") == name).unwrap_or(0);
        if last.insert(stream, place).is_some_and(|before| before >= place) {
            let call = world.whose(stream.split(':').next().unwrap_or_default());
            findings.add(Invariant::Reports, call, format!("{name} was delivered out of order"));
        }
    }
}

/// A call that has ended told of its beginning, of its answer if it was answered, and of its end.
fn check_completeness(delivered: &BTreeMap<u32, Vec<EventName>>, findings: &mut Findings) {
    let ends: Vec<_> = findings.ends.iter().filter_map(|end| Some((end.call, end.stored.clone()?.record))).collect();
    for (call, record) in ends {
        let mut told = delivered.get(&call).cloned().unwrap_or_default();
        told.sort_unstable_by_key(|event| ORDER.iter().position(|name| name == event));
        let mut expected = ORDER.to_vec();
        expected.retain(|event| *event != EventName::CallAnswered || record.answered_at.is_some());
        if told != expected {
            findings.add(Invariant::Reports, call, format!("told {told:?} and not {expected:?}"));
        }
    }
}

fn is_signed(id: &str, message: &Message, secrets: &[Secret]) -> bool {
    let headers = standard::Headers {
        id: id.to_owned(),
        signature: message.signature.clone(),
        timestamp: message.timestamp.clone(),
    };
    let Ok(seconds) = message.timestamp.parse::<i64>() else { return false };
    standard::verify(secrets, &headers, &message.body, Timestamp::from_unix_micros(seconds * 1_000_000)).is_ok()
}

fn deliveries(world: &World, tenant: TenantId) -> Vec<(String, Delivery)> {
    let page = world.store.list(Query::new(Some(tenant), DELIVERY)).now_or_never();
    let records = page.and_then(Result::ok).map(|page| page.records).unwrap_or_default();
    let read =
        |record: offhook::provider::store::Record| Some((record.key.id, serde_json::from_value(record.body).ok()?));
    records.into_iter().filter_map(read).collect()
}

fn secret(world: &World, tenant: TenantId) -> Option<Secret> {
    let record = world.store.get(RecordKey::new(tenant, ENDPOINT, "crm")).now_or_never()?.ok()??;
    let endpoint: Endpoint = serde_json::from_value(record.body).ok()?;
    standard::parse_secret(&endpoint.secret).ok()
}
