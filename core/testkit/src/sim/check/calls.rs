//! One terminal state, one settlement, a journal that gives the same outputs again.

use bytes::Bytes;
use futures_util::FutureExt;
use offhook::call::{CallEventKind, CallRecord};
use offhook::ids::TenantId;
use offhook::journal::{self, Difference, Journal, Tail};
use offhook::provider::store::{LIMIT_MAX, RecordKey, Store};
use offhook::service::calls::{CALL, StoredCall};

use super::{Findings, Invariant, words};
use crate::fates::Family;
use crate::machine::Stage;
use crate::sim::plan::CallPlan;
use crate::sim::world::{History, World};

/// How a call ended.
pub(in crate::sim) struct Ending {
    pub(in crate::sim) call: u32,
    pub(in crate::sim) journal: Vec<Bytes>,
    pub(in crate::sim) stored: Option<StoredCall>,
}

pub(super) fn check(world: &World, plan: &CallPlan, findings: &mut Findings) {
    let Some(history) = world.with_history(plan.index, std::mem::take) else { return };
    let Some(id) = history.id else {
        findings.add(Invariant::OneEnd, plan.index, "the call was never begun");
        return;
    };
    let tenant = world.tenants[plan.tenant];
    let stored = stored(world, RecordKey::new(tenant, CALL, id));
    let journal = journal_of(world, tenant, id);
    let store_fails = world.plan.families.contains(&Family::Store);
    match &stored {
        Some(stored) => check_record(plan.index, stored, &history, findings),
        // It was never committed that it began, so nothing was held and nobody was told.
        None if history.is_crashed || (store_fails && was_never_stored(&history)) => {}
        None => findings.add(Invariant::OneEnd, plan.index, "the call is not in the store"),
    }
    if !history.is_crashed {
        check_events(plan.index, stored.as_ref(), &history, findings);
    }
    let replay = replay(plan.index, &journal, &history, store_fails, findings);
    if let Some(stored) = &stored {
        words::check(world, plan.index, &stored.record, &history, findings);
        if let Some(stage) = replay
            && stage.call.record() != stored.record
        {
            findings.add(Invariant::Replay, plan.index, "the replayed record is not the stored one");
        }
    }
    findings.ends.push(Ending { call: plan.index, journal, stored });
}

/// Whether the holder was told that nothing of the call could be committed.
fn was_never_stored(history: &History) -> bool {
    matches!(history.events.last().map(|event| &event.kind), Some(CallEventKind::Ended { ledger: None, .. }))
}

fn check_record(call: u32, stored: &StoredCall, history: &History, findings: &mut Findings) {
    let record = &stored.record;
    if record.ended_at.is_none()
        || record.end_reason.is_none()
        || record.hangup_cause.is_none()
        || record.hangup_party.is_none()
    {
        findings.add(Invariant::OneEnd, call, format!("no terminal state: {}", record.status));
    }
    if record.talk_time_ms > record.duration_ms {
        findings.add(Invariant::Settlement, call, "talk time exceeds duration");
    }
    let Some(ledger) = stored.ledger else {
        findings.add(Invariant::Settlement, call, "the call was not settled");
        return;
    };
    let talk_ms = i64::try_from(record.talk_time_ms).unwrap_or(i64::MAX);
    let (held, settled) = (ledger.held, ledger.settled);
    if settled != talk_ms.min(held) || held != stored.hold.map_or(0, |hold| hold.held) {
        findings.add(Invariant::Settlement, call, format!("settled {settled} ms of {held} held for {talk_ms} talked"));
    }
    if talk_ms > held && !history.is_crashed {
        findings.add(Invariant::Settlement, call, format!("talked {talk_ms} ms and held {held}"));
    }
}

fn check_events(call: u32, stored: Option<&StoredCall>, history: &History, findings: &mut Findings) {
    let ends = history.events.iter().filter(|event| matches!(event.kind, CallEventKind::Ended { .. })).count();
    let Some(CallEventKind::Ended { record, ledger }) = history.events.last().map(|event| &event.kind) else {
        findings.add(Invariant::OneEnd, call, "the last event is not the end");
        return;
    };
    if ends != 1 {
        findings.add(Invariant::OneEnd, call, format!("{ends} ends"));
    }
    let Some(stored) = stored else { return };
    if **record != stored.record {
        findings.add(
            Invariant::OneEnd,
            call,
            format!("the holder was told another record than was stored: {}", difference(record, &stored.record)),
        );
    }
    if ledger.is_some() && *ledger != stored.ledger {
        findings.add(Invariant::Settlement, call, "the holder was told another settlement than was stored");
    }
}

/// The first field in which two records differ.
fn difference(told: &CallRecord, stored: &CallRecord) -> String {
    let (told, stored) =
        (serde_json::to_value(told).unwrap_or_default(), serde_json::to_value(stored).unwrap_or_default());
    let fields = told.as_object().into_iter().flatten();
    let differing = fields.filter(|(name, value)| stored.get(name) != Some(value));
    differing.map(|(name, value)| format!("{name}: {value} and {}", stored[name])).next().unwrap_or_default()
}

/// Runs the journal again; `None` when it is not whole, which only a failing store or a crash may bring about.
fn replay(
    call: u32,
    journal: &[Bytes],
    history: &History,
    store_fails: bool,
    findings: &mut Findings,
) -> Option<Stage> {
    if journal.is_empty() {
        return None;
    }
    let journal = match Journal::from_log(journal) {
        Ok(journal) => journal,
        Err(error) => {
            findings.add(Invariant::Replay, call, format!("the journal cannot be read: {error}"));
            return None;
        }
    };
    if journal.tail != Tail::Clean {
        findings.add(Invariant::Replay, call, format!("the journal ends {:?}", journal.tail));
    }
    match journal.verify() {
        Ok(verdict) => {
            if let Some(Difference { index, entry, .. }) = verdict.difference {
                findings.add(Invariant::Replay, call, format!("the replay differs from entry {index} on: {entry:?}"));
            }
        }
        Err(error) => findings.add(Invariant::Replay, call, format!("the journal cannot be replayed: {error}")),
    }
    let stage = match Stage::replay(journal.entries) {
        Ok(stage) => stage,
        Err(problem) => {
            findings.add(Invariant::Replay, call, problem);
            return None;
        }
    };
    if !stage.call.is_ended() {
        if !history.is_crashed && !store_fails {
            findings.add(Invariant::Replay, call, "the journal does not hold the call's end");
        }
        return None;
    }
    for problem in stage.check() {
        findings.add(Invariant::Commands, call, problem);
    }
    let seen = history.events.len().min(stage.events.len());
    if !history.is_crashed && stage.events[stage.events.len() - seen..] != history.events[history.events.len() - seen..]
    {
        findings.add(Invariant::Replay, call, "the replay tells other events than the call did");
    }
    Some(stage)
}

fn stored(world: &World, key: RecordKey) -> Option<StoredCall> {
    let record = world.store.get(key).now_or_never()?.ok()??;
    serde_json::from_value(record.body).ok()
}

fn journal_of(world: &World, tenant: TenantId, id: offhook::ids::CallId) -> Vec<Bytes> {
    let mut journal = Vec::new();
    loop {
        let log = journal::log_key(tenant, id);
        let page = world.store.read_log(log, journal.len() as u64, LIMIT_MAX).now_or_never();
        match page {
            Some(Ok(page)) if !page.is_empty() => journal.extend(page),
            _ => return journal,
        }
    }
}
