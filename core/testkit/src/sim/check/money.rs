//! Every millisecond of prepaid time is in one place, and the entries say how it came there.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use offhook::billing::ledger::{ENTRY, Entry};
use offhook::billing::{Account, EntryKind, Unit};
use offhook::ids::{CallId, TenantId};
use offhook::provider::store::{Add, Batch, CounterKey, Query, Store};
use offhook::service::credits::Credits;

use super::{Findings, Invariant};
use crate::runtime::VirtualRuntime;
use crate::sim::world::World;

/// The counter of a tenant's live calls.
const CALLS_LIVE: &str = "calls_live";

pub(super) fn check(world: &World, findings: &mut Findings) {
    let credits = Credits::new(Arc::new(VirtualRuntime::new(0)), world.store.clone());
    for tenant in &world.tenants {
        check_tenant(world, *tenant, findings);
        match credits.audit(*tenant).now_or_never() {
            Some(Ok(audit)) => audit.findings.iter().for_each(|finding| {
                findings.add(Invariant::Settlement, None, format!("the audit found {finding:?}"));
            }),
            failed => findings.add(Invariant::Settlement, None, format!("there was no audit: {failed:?}")),
        }
    }
}

fn check_tenant(world: &World, tenant: TenantId, findings: &mut Findings) {
    let entries = entries(world, tenant);
    let mut sums: BTreeMap<Account, i64> = BTreeMap::new();
    let mut by_call: BTreeMap<CallId, BTreeMap<EntryKind, Vec<i64>>> = BTreeMap::new();
    for entry in &entries {
        for (account, delta) in entry.account_deltas() {
            *sums.entry(account).or_default() += delta;
        }
        if let Some(call) = entry.call {
            by_call.entry(call).or_default().entry(entry.kind).or_default().push(entry.amount);
        }
    }
    for account in Account::ALL {
        let (balance, sum) = (balance(world, tenant, account), sums.get(&account).copied().unwrap_or(0));
        if balance != sum {
            findings.add(
                Invariant::Settlement,
                None,
                format!("{account:?} stands at {balance} and its entries at {sum}"),
            );
        }
        if balance < 0 && account != Account::Purchased {
            findings.add(Invariant::Settlement, None, format!("{account:?} is overdrawn: {balance}"));
        }
    }
    let held = balance(world, tenant, Account::Held);
    if held != 0 {
        findings.add(Invariant::Settlement, None, format!("{held} ms are held and no call is live"));
    }
    let live = counter(world, CounterKey::new(tenant, CALLS_LIVE));
    if live != 0 {
        findings.add(Invariant::Settlement, None, format!("{live} slots are taken and no call is live"));
    }
    for (call, kinds) in by_call {
        let amounts = |kind| kinds.get(&kind).map_or(&[][..], Vec::as_slice);
        let (holds, settled, released) =
            (amounts(EntryKind::Hold), amounts(EntryKind::Settle), amounts(EntryKind::Release));
        let balanced = holds.iter().sum::<i64>() == settled.iter().chain(released).sum::<i64>();
        if holds.is_empty() || settled.len() != 1 || released.len() > 1 || !balanced {
            let index = world.whose(&call.to_string());
            findings.add(
                Invariant::Settlement,
                index,
                format!("held {holds:?}, settled {settled:?}, released {released:?}"),
            );
        }
    }
}

fn entries(world: &World, tenant: TenantId) -> Vec<Entry> {
    let page = world.store.list(Query::new(Some(tenant), ENTRY)).now_or_never();
    let records = page.and_then(Result::ok).map(|page| page.records).unwrap_or_default();
    records.into_iter().filter_map(|record| serde_json::from_value(record.body).ok()).collect()
}

fn balance(world: &World, tenant: TenantId, account: Account) -> i64 {
    counter(world, account.counter(tenant, Unit::Time))
}

fn counter(world: &World, counter: CounterKey) -> i64 {
    let mut batch = Batch::default();
    batch.add(Add::read(counter.clone()));
    let committed = world.store.commit(batch).now_or_never().and_then(Result::ok);
    committed.and_then(|committed| committed.counters.get(&counter).copied()).unwrap_or(0)
}
