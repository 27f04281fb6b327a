//! What must hold of the store and of the webhooks when all is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Failed;

use offhook::billing::ledger::ENTRY;
use offhook::billing::{Entry, EntryKind};
use offhook::call::CallRecord;
use offhook::call::record::CallStatus;
use offhook::ids::{CallId, TaskId};
use offhook::provider::{Blob, Store};
use offhook::service::calls::{CALL, StoredCall};
use offhook::service::credits::Credits;
use offhook::service::outbox::{DELIVERY, Delivery, DeliveryState};
use offhook::service::recordings::{RECORDING, Recording};
use offhook::service::tasks::{TASK, Task, TaskStatus};
use offhook_blob::ObjectBlob;
use offhook_tokio::TokioRuntime;
use serde::Serialize;

use crate::receiver::Arrival;
use crate::worker::{TENANTS, all, open};

/// What came of it all.
#[derive(Debug, Serialize)]
pub(crate) struct Tally {
    kills: usize,
    calls: usize,
    unsettled: usize,
    doubled: usize,
    events: usize,
    unacknowledged: usize,
    out_of_order: usize,
    bad_signatures: usize,
    /// What the ledger's own audit finds.
    findings: usize,
}

impl Tally {
    pub(crate) fn require_clean(&self) -> Result<(), Failed> {
        let Self { unsettled, doubled, unacknowledged, out_of_order, bad_signatures, findings, .. } = self;
        let wrong = unsettled + doubled + unacknowledged + out_of_order + bad_signatures + findings;
        if wrong == 0 && self.calls > 0 { Ok(()) } else { Err(format!("{self:?}").into()) }
    }
}

/// Counts what is wrong, and fails for what there is no count of.
pub(crate) async fn check(place: &str, recordings: &str, kills: usize, told: &[String], arrivals: &[Arrival]) -> Tally {
    let store = open(place).await;
    let mut calls = BTreeMap::new();
    for row in all(&*store, CALL).await {
        assert_eq!(row.due_at, None, "a call is still leased");
        let call: StoredCall = serde_json::from_value(row.body).unwrap();
        calls.insert(call.record.id, call);
    }
    let unsettled = calls.values().filter(|call| call.ledger.is_none()).count();
    calls.values().filter(|call| call.ledger.is_some()).for_each(check_end);
    check_told(&calls, told);
    let doubled = check_ledger(&*store, &calls).await;
    let tasks = check_tasks(&*store, &calls, told).await;
    let recorded = check_recordings(&*store, recordings).await;
    let credits = Credits::new(Arc::new(TokioRuntime::current().unwrap()), store.clone());
    let audits = credits.audit_all().await.unwrap();
    assert_eq!(audits.len(), usize::from(TENANTS));
    let findings = audits.iter().map(|audit| audit.findings.len()).sum();
    let lost = calls.values().filter(|call| call.record.status == CallStatus::Failed).count();
    let answered = calls.values().filter(|call| call.record.answered_at.is_some()).count();
    assert!(lost > 0 && answered > 0, "the kills hit no call");
    let tally = Tally {
        kills,
        calls: calls.len(),
        unsettled,
        doubled,
        findings,
        ..check_webhooks(&*store, &calls, arrivals).await
    };
    let came = arrivals.len();
    eprintln!(
        "{answered} calls answered, {lost} cut short, {tasks} tasks, {recorded} recordings, {came} messages came"
    );
    tally
}

fn check_end(call: &StoredCall) {
    let record = &call.record;
    assert_eq!(call.lease, None);
    assert!(!matches!(record.status, CallStatus::InProgress | CallStatus::Ringing), "{record:?}");
    assert!(record.end_reason.is_some() && record.hangup_cause.is_some() && record.hangup_party.is_some());
    let ended_at = record.ended_at.unwrap();
    assert_eq!(ended_at.saturating_since(record.started_at).as_millis(), u128::from(record.duration_ms));
    let talk = record.answered_at.map_or(0, |answered| ended_at.saturating_since(answered).as_millis());
    assert_eq!(talk, u128::from(record.talk_time_ms));
}

/// What a process said of a call's end before it died is what is kept.
fn check_told(calls: &BTreeMap<CallId, StoredCall>, told: &[String]) {
    assert!(!told.is_empty());
    for line in told {
        let (id, record) = line.split_once(' ').unwrap_or_default();
        // The last line of a killed process may be cut.
        if let Ok(record) = serde_json::from_str::<CallRecord>(record) {
            assert_eq!(calls[&id.parse().unwrap()].record, record);
        }
    }
}

/// Each task was tried once, and stands as that call ended. Returns how many there were.
async fn check_tasks(store: &dyn Store, calls: &BTreeMap<CallId, StoredCall>, told: &[String]) -> usize {
    let mut begun: BTreeMap<TaskId, Vec<&StoredCall>> = BTreeMap::new();
    for call in calls.values().filter(|call| call.hold.is_some()) {
        if let Some(task) = call.record.task {
            begun.entry(task).or_default().push(call);
        }
    }
    let rows = all(store, TASK).await;
    for row in &rows {
        let task: Task = serde_json::from_value(row.body.clone()).unwrap();
        let calls = &begun[&task.id];
        assert_eq!((calls.len(), task.attempts.len()), (1, 1), "{task:?}");
        assert_eq!(task.attempts[0].call, calls[0].record.id);
        assert_eq!(task.attempts[0].reason, calls[0].record.end_reason);
        let is_completed = calls[0].record.status == CallStatus::Completed;
        assert_eq!(task.status, if is_completed { TaskStatus::Completed } else { TaskStatus::Failed });
    }
    let ids: Vec<_> = rows.iter().map(|row| row.key.id.as_str()).collect();
    for id in told.iter().filter_map(|line| line.strip_prefix("task ")).filter(|id| id.len() == 36) {
        assert!(ids.contains(&id), "a task was promised and is gone");
    }
    rows.len()
}

/// Every call holds and settles what it talked. Returns how many did so twice.
async fn check_ledger(store: &dyn Store, calls: &BTreeMap<CallId, StoredCall>) -> usize {
    let mut by_call: BTreeMap<CallId, Vec<Entry>> = BTreeMap::new();
    for row in all(store, ENTRY).await {
        let entry: Entry = serde_json::from_value(row.body).unwrap();
        if let Some(call) = entry.call {
            by_call.entry(call).or_default().push(entry);
        }
    }
    // A call that its task had stopped waiting for was never begun.
    let begun = calls.iter().filter(|(_, call)| call.hold.is_some()).map(|(id, _)| id);
    assert!(by_call.keys().eq(begun), "an entry without a call, or a call without one");
    let mut doubled = 0;
    for (id, entries) in by_call {
        let amounts = |kind| entries.iter().filter(|entry| entry.kind == kind).map(|entry| entry.amount).collect();
        let [held, settled, released]: [Vec<i64>; 3] =
            [EntryKind::Hold, EntryKind::Settle, EntryKind::Release].map(amounts);
        doubled += usize::from(settled.len() > 1 || released.len() > 1);
        let Some(ledger) = calls[&id].ledger else { continue };
        assert_eq!(held.iter().sum::<i64>(), settled[0] + released[0]);
        let talk = Duration::from_millis(calls[&id].record.talk_time_ms);
        let charge = calls[&id].hold.unwrap().tariff.charge(talk).unwrap();
        assert_eq!(settled[0], charge.min(held.iter().sum()), "time or money");
        assert_eq!(ledger.settled, settled[0]);
    }
    doubled
}

/// Every recording that is known has its object, and every object is known. Returns how many there are.
async fn check_recordings(store: &dyn Store, folder: &str) -> usize {
    let rows: Vec<Recording> =
        all(store, RECORDING).await.into_iter().map(|row| serde_json::from_value(row.body).unwrap()).collect();
    let blob = ObjectBlob::folder(folder).unwrap();
    for recording in rows.iter().filter(|recording| !recording.is_uncertain) {
        assert!(blob.length(recording.key.clone()).await.unwrap() > 44, "a recording without sound");
    }
    let keys: BTreeSet<&str> = rows.iter().map(|recording| recording.key.as_str()).collect();
    let mut objects = 0;
    for tenant in std::fs::read_dir(format!("{folder}/recordings")).into_iter().flatten() {
        let tenant = tenant.unwrap();
        for object in std::fs::read_dir(tenant.path()).unwrap() {
            let name = object.unwrap().file_name().into_string().unwrap();
            // What a killed process was writing has another name until it is whole.
            if name.ends_with(".wav") {
                let key = format!("recordings/{}/{name}", tenant.file_name().to_str().unwrap());
                assert!(keys.contains(key.as_str()), "an object that nobody knows of");
                objects += 1;
            }
        }
    }
    objects
}

/// Each event of each call came at least once, with the same bytes each time and a signature that held, and none before the
/// one that precedes it. Counts what is not so.
async fn check_webhooks(store: &dyn Store, calls: &BTreeMap<CallId, StoredCall>, arrivals: &[Arrival]) -> Tally {
    let mut by_id: BTreeMap<&str, Vec<&Arrival>> = BTreeMap::new();
    for arrival in arrivals {
        by_id.entry(&arrival.id).or_default().push(arrival);
    }
    let rows = all(store, DELIVERY).await;
    let deliveries: Vec<Delivery> = rows.into_iter().map(|row| serde_json::from_value(row.body).unwrap()).collect();
    let mut events: BTreeMap<CallId, BTreeMap<u64, &Delivery>> = BTreeMap::new();
    let mut pushed: BTreeSet<CallId> = BTreeSet::new();
    let mut unacknowledged = 0;
    for delivery in &deliveries {
        let came = by_id.get(delivery.id.as_str()).map(Vec::as_slice).unwrap_or_default();
        let is_taken = came.iter().any(|arrival| arrival.taken);
        unacknowledged += usize::from(delivery.state != DeliveryState::Delivered || !is_taken);
        assert!(came.iter().all(|arrival| arrival.body == delivery.body), "a body changed");
        match delivery.lane.split_once(':') {
            Some((call, _)) => drop(pushed.insert(call.parse().unwrap())),
            None => drop(events.entry(delivery.lane.parse().unwrap()).or_default().insert(delivery.place, delivery)),
        }
    }
    let ids: BTreeSet<&str> = deliveries.iter().map(|delivery| delivery.id.as_str()).collect();
    assert!(by_id.keys().all(|id| ids.contains(id)), "a webhook that nobody knows of");
    let mut out_of_order = 0;
    for (id, call) in calls.iter().filter(|(_, call)| call.ledger.is_some()) {
        let mut expected = vec!["call.started"];
        expected.extend(call.record.answered_at.map(|_| "call.answered"));
        expected.push("call.ended");
        expected.extend((!call.record.transcript.is_empty()).then_some("call.transcript"));
        let told = &events[id];
        assert!(told.values().map(|delivery| delivery.event.as_str()).eq(expected), "{told:?}");
        assert!(pushed.contains(id), "nobody was told of a call's end");
        let place = |arrival: &Arrival| told.values().position(|delivery| delivery.id == arrival.id);
        out_of_order += usize::from(!arrivals.iter().filter_map(place).is_sorted());
    }
    Tally {
        kills: 0,
        calls: 0,
        unsettled: 0,
        doubled: 0,
        events: deliveries.len(),
        unacknowledged,
        out_of_order,
        bad_signatures: arrivals.iter().filter(|arrival| !arrival.verified).count(),
        findings: 0,
    }
}
