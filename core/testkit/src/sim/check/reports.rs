//! Every event reached its receiver, in order, with the same bytes at each attempt and a signature that holds.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use offhook::ids::TenantId;
use offhook::provider::store::{Query, Record, Store};
use offhook::service::outbox::{DELIVERY, Delivery, DeliveryState};
use offhook::signing::{Secret, standard};
use offhook::time::Timestamp;

use super::{Findings, Invariant};
use crate::sim::http::{Message, WEBHOOK_SECRET};
use crate::sim::world::World;

pub(super) fn check(world: &World, findings: &mut Findings) {
    let all: Vec<Delivery> = world.tenants.iter().flat_map(|tenant| deliveries(world, *tenant)).collect();
    for delivery in &all {
        let call = world.whose(&delivery.lane);
        if delivery.state != DeliveryState::Delivered {
            findings.add(Invariant::Reports, call, format!("{} is {:?}", delivery.event, delivery.state));
        }
        match world.inbox.received().messages.get(&delivery.id) {
            Some(message) if message.is_accepted => {
                if message.body != delivery.body.as_bytes() {
                    findings.add(Invariant::Reports, call, "a webhook has another body than was stored");
                }
            }
            _ => findings.add(Invariant::Reports, call, format!("{} was never accepted", delivery.event)),
        }
    }
    check_messages(world, findings);
    check_order(world, &all, findings);
    check_completeness(world, &all, findings);
}

fn check_messages(world: &World, findings: &mut Findings) {
    let secret = standard::parse_secret(WEBHOOK_SECRET).ok();
    for (id, message) in &world.inbox.received().messages {
        let call = world.whose(id.split(':').next().unwrap_or_default());
        if !message.is_steady {
            findings.add(Invariant::Reports, call, "a webhook changed between two attempts");
        }
        if !secret.iter().any(|secret| is_signed(id, message, secret)) {
            findings.add(Invariant::Reports, call, "the signature of a webhook does not hold");
        }
    }
}

fn check_order(world: &World, all: &[Delivery], findings: &mut Findings) {
    let by_id: BTreeMap<&str, &Delivery> = all.iter().map(|delivery| (delivery.id.as_str(), delivery)).collect();
    let mut last: BTreeMap<(&str, String), u64> = BTreeMap::new();
    for id in &world.inbox.received().accepted {
        let Some(delivery) = by_id.get(id.as_str()) else {
            findings.add(Invariant::Reports, world.whose(id), "a webhook that nobody knows of");
            continue;
        };
        let lane = (delivery.lane.as_str(), delivery.target.queue());
        if last.insert(lane, delivery.place).is_some_and(|before| before >= delivery.place) {
            let call = world.whose(&delivery.lane);
            findings.add(Invariant::Reports, call, format!("{} was delivered out of order", delivery.event));
        }
    }
}

/// A call that has ended told of its beginning, of its answer if it was answered, of each function, of its end, and of what
/// was said if anything was.
fn check_completeness(world: &World, all: &[Delivery], findings: &mut Findings) {
    let mut told: BTreeMap<u32, BTreeMap<u64, &str>> = BTreeMap::new();
    for delivery in all {
        told.entry(world.whose(&delivery.lane)).or_default().insert(delivery.place, &delivery.event);
    }
    let ends: Vec<_> = findings.ends.iter().filter_map(|end| Some((end.call, end.stored.clone()?.record))).collect();
    for (call, record) in ends {
        let told: Vec<_> = told.remove(&call).unwrap_or_default().into_values().collect();
        let mut expected = vec!["call.started"];
        expected.extend(record.answered_at.map(|_| "call.answered"));
        expected.extend(record.functions.iter().map(|_| "function.called"));
        expected.push("call.ended");
        expected.extend((!record.transcript.is_empty()).then_some("call.transcript"));
        if told != expected {
            findings.add(Invariant::Reports, call, format!("told {told:?} and not {expected:?}"));
        }
    }
}

fn is_signed(id: &str, message: &Message, secret: &Secret) -> bool {
    let headers = standard::Headers {
        id: id.to_owned(),
        signature: message.signature.clone(),
        timestamp: message.timestamp.clone(),
    };
    let Ok(seconds) = message.timestamp.parse::<i64>() else { return false };
    let at = Timestamp::from_unix_micros(seconds * 1_000_000);
    standard::verify(std::slice::from_ref(secret), &headers, &message.body, at).is_ok()
}

fn deliveries(world: &World, tenant: TenantId) -> Vec<Delivery> {
    let page = world.store.list(Query::new(Some(tenant), DELIVERY)).now_or_never();
    let records = page.and_then(Result::ok).map(|page| page.records).unwrap_or_default();
    records.into_iter().filter_map(|record: Record| serde_json::from_value(record.body).ok()).collect()
}
