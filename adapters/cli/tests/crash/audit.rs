//! What must hold of the file and of the webhooks when all is over.

use std::collections::BTreeMap;
use std::path::Path;

use offhook::billing::ledger::ENTRY;
use offhook::billing::{Account, Entry, EntryKind, Unit};
use offhook::call::CallRecord;
use offhook::call::record::CallStatus;
use offhook::ids::{CallId, TaskId};
use offhook::provider::Store;
use offhook::provider::store::{Add, Batch};
use offhook::service::calls::{CALL, StoredCall};
use offhook::service::outbox::{DELIVERY, Delivery, DeliveryState};
use offhook::service::tasks::{TASK, Task, TaskStatus};

use crate::receiver::Arrival;
use crate::worker::{TENANTS, all, open, tenant};

pub(crate) async fn check(path: &Path, told: &[String], arrivals: &[Arrival]) {
    let store = open(path);
    let mut calls = BTreeMap::new();
    for row in all(&*store, CALL).await {
        assert_eq!(row.due_at, None, "a call is still leased");
        let call: StoredCall = serde_json::from_value(row.body).unwrap();
        check_end(&call);
        calls.insert(call.record.id, call);
    }
    check_told(&calls, told);
    check_ledger(&*store, &calls).await;
    let tasks = check_tasks(&*store, &calls, told).await;
    check_webhooks(&*store, &calls, arrivals).await;
    let lost = calls.values().filter(|call| call.record.status == CallStatus::Failed).count();
    let answered = calls.values().filter(|call| call.record.answered_at.is_some()).count();
    let (count, webhooks) = (calls.len(), arrivals.len());
    println!("{count} calls, {answered} answered, {lost} cut short, {tasks} tasks, {webhooks} webhooks");
    assert!(lost > 0 && answered > lost / 2, "the kills hit no call");
}

fn check_end(call: &StoredCall) {
    let record = &call.record;
    assert_eq!(call.lease, None);
    assert!(call.ledger.is_some(), "{} is not settled", record.id);
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

async fn check_ledger(store: &dyn Store, calls: &BTreeMap<CallId, StoredCall>) {
    let mut by_call: BTreeMap<CallId, Vec<Entry>> = BTreeMap::new();
    let mut sums: BTreeMap<_, i64> = BTreeMap::new();
    for row in all(store, ENTRY).await {
        let entry: Entry = serde_json::from_value(row.body).unwrap();
        for (account, delta) in entry.account_deltas() {
            *sums.entry((row.key.tenant, account)).or_default() += delta;
        }
        if let Some(call) = entry.call {
            by_call.entry(call).or_default().push(entry);
        }
    }
    // A call that its task had stopped waiting for was never begun.
    let begun = calls.iter().filter(|(_, call)| call.hold.is_some()).map(|(id, _)| id);
    assert!(by_call.keys().eq(begun), "an entry without a call, or a call without one");
    for (id, entries) in by_call {
        let amounts = |kind| entries.iter().filter(|entry| entry.kind == kind).map(|entry| entry.amount).collect();
        let [held, settled, released]: [Vec<i64>; 3] =
            [EntryKind::Hold, EntryKind::Settle, EntryKind::Release].map(amounts);
        assert_eq!((settled.len(), released.len(), entries.len()), (1, 1, held.len() + 2), "{id}");
        assert_eq!(held.iter().sum::<i64>(), settled[0] + released[0]);
        assert_eq!(settled[0].unsigned_abs(), calls[&id].record.talk_time_ms);
        assert_eq!(calls[&id].ledger.unwrap().settled, settled[0]);
    }
    for number in 0..TENANTS {
        let tenant = tenant(number);
        for account in Account::ALL {
            let mut batch = Batch::default();
            batch.add(Add::read(account.counter(tenant, Unit::Time)));
            let balance = store.commit(batch).await.unwrap().counters[&account.counter(tenant, Unit::Time)];
            assert_eq!(balance, sums[&(tenant, account)], "{account:?}");
            assert!(account != Account::Held || balance == 0, "a hold is left");
        }
    }
}

/// Each event of each call came at least once, with the same bytes each time and a signature that held, and none before the
/// one that precedes it.
async fn check_webhooks(store: &dyn Store, calls: &BTreeMap<CallId, StoredCall>, arrivals: &[Arrival]) {
    let mut by_id: BTreeMap<&str, Vec<&Arrival>> = BTreeMap::new();
    for arrival in arrivals {
        by_id.entry(&arrival.headers.id).or_default().push(arrival);
    }
    let rows = all(store, DELIVERY).await;
    let deliveries: Vec<Delivery> = rows.into_iter().map(|row| serde_json::from_value(row.body).unwrap()).collect();
    let mut events: BTreeMap<CallId, BTreeMap<u64, &Delivery>> = BTreeMap::new();
    for delivery in &deliveries {
        let came = &by_id[delivery.id.as_str()];
        assert_eq!(delivery.state, DeliveryState::Delivered);
        assert!(came.iter().any(|arrival| arrival.taken));
        assert!(came.iter().all(|arrival| arrival.body == delivery.body && arrival.verified));
        events.entry(delivery.lane.parse().unwrap()).or_default().insert(delivery.place, delivery);
    }
    assert_eq!(by_id.len(), deliveries.len(), "a webhook that nobody knows of");
    for (id, call) in calls {
        let mut expected = vec!["call.started"];
        expected.extend(call.record.answered_at.map(|_| "call.answered"));
        expected.push("call.ended");
        expected.extend((!call.record.transcript.is_empty()).then_some("call.transcript"));
        let told = &events[id];
        assert!(told.values().map(|delivery| delivery.event.as_str()).eq(expected), "{told:?}");
        let place = |arrival: &Arrival| told.values().position(|delivery| delivery.id == arrival.headers.id);
        assert!(arrivals.iter().filter_map(place).is_sorted(), "{id}: an event came before the one that precedes it");
    }
}
