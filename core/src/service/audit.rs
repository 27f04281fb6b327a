//! The audit of a ledger: a proof from its entries that every account stands where it should, and that every call was
//! settled once.

use std::collections::{BTreeMap, BTreeSet};

use super::calls::{CALL, StoredCall, hold_key};
use super::credits::Credits;
use super::webhooks::from_value;
use crate::billing::account::{Day, day_counter};
use crate::billing::ledger::ENTRY;
use crate::billing::{Account, Entry, EntryKind, Unit};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::ids::{CallId, TenantId};
use crate::provider::store::{Add, Batch, LIMIT_MAX, Order, Query, RecordKey};
use crate::time::Timestamp;

/// How often an audit begins anew because somebody wrote to the ledger.
const SNAPSHOTS_MAX: u32 = 5;

/// Findings of one audit at most; more of them say nothing new.
const FINDINGS_MAX: usize = 1_000;

/// What an audit found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Audit {
    /// Whose ledger.
    pub tenant: TenantId,
    /// Calls that something was held for.
    pub calls: u64,
    /// Entries of the ledger.
    pub entries: u64,
    /// What is wrong, at most 1,000 of it; nothing in a sound ledger.
    pub findings: Vec<Finding>,
}

/// Something that should not be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// An account does not stand where its entries take it.
    Account {
        /// Of what.
        unit: Unit,
        /// Which.
        account: Account,
        /// Where it stands.
        stands_at: i64,
        /// What the entries add up to.
        entries: i64,
    },
    /// The balance is not what was purchased less what was used.
    Balance {
        /// Of what.
        unit: Unit,
        /// What its counter says.
        counted: i64,
        /// What was purchased less what was used.
        owned: i64,
    },
    /// A call is not as its entries say.
    Call {
        /// Which.
        call: CallId,
        /// In which way.
        fault: CallFault,
    },
    /// A day's entries do not add up to what its counters say.
    Day {
        /// Of what.
        unit: Unit,
        /// The first moment of the day, which is one of UTC.
        day: Timestamp,
        /// Of which kind.
        kind: EntryKind,
        /// What the counter says.
        counted: i64,
        /// What the entries did to the balance.
        entries: i64,
    },
    /// There are not as many entries as were written.
    Entries {
        /// How many were written.
        counted: i64,
        /// How many there are.
        found: u64,
    },
    /// The accounts do not add up to zero.
    Sum {
        /// Of what.
        unit: Unit,
        /// What they add up to.
        sum: i64,
    },
}

/// What is wrong with a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CallFault {
    /// The call's record says other amounts than its entries.
    Differs,
    /// It is over, and something is still held for it.
    HoldLeft,
    /// Its record says that something was held, and there is no entry.
    NoEntry,
    /// There are entries and no call.
    NoRecord,
    /// It was settled while it went on.
    SettledEarly,
    /// It was settled more than once.
    SettledTwice,
    /// It is over and was not settled.
    Unsettled,
}

impl Credits {
    /// Audits the ledger of a tenant, page by page.
    ///
    /// `Unavailable` when others keep writing to it: an audit wants a ledger that stands still for a moment.
    pub async fn audit(&self, tenant: TenantId) -> Result<Audit> {
        for _ in 0..SNAPSHOTS_MAX {
            let before = self.standing(tenant, Unit::Time).await?.entries;
            let audit = self.try_audit(tenant, before).await?;
            if self.standing(tenant, Unit::Time).await?.entries == before {
                return Ok(audit);
            }
        }
        let error = Error::new(ErrorKind::Unavailable, "credits.audit", "the ledger does not stand still");
        Err(error.with_retry(Retry::Later))
    }

    /// Audits the ledger of each tenant that has entries or calls.
    pub async fn audit_all(&self) -> Result<Vec<Audit>> {
        let mut tenants = BTreeSet::new();
        for kind in [CALL, ENTRY] {
            let mut query = Query::new(None, kind).order(Order::IdAscending);
            loop {
                let page = self.store.list(query.clone()).await?;
                tenants.extend(page.records.iter().map(|record| record.key.tenant));
                let Some(next) = page.next else { break };
                query = query.after(next);
            }
        }
        let mut audits = Vec::with_capacity(tenants.len());
        for tenant in tenants {
            audits.push(self.audit(tenant).await?);
        }
        Ok(audits)
    }

    async fn try_audit(&self, tenant: TenantId, counted: i64) -> Result<Audit> {
        let mut audit = Audit { tenant, calls: 0, entries: 0, findings: Vec::new() };
        let mut sums: BTreeMap<(Unit, Account), i64> = BTreeMap::new();
        let mut days: BTreeMap<(Unit, Day, EntryKind), i64> = BTreeMap::new();
        let mut of_call: Option<OfCall> = None;
        let mut query = Query::new(Some(tenant), ENTRY).order(Order::IndexAscending("call".to_owned()));
        loop {
            let page = self.store.list(query.clone()).await?;
            for record in &page.records {
                let entry: Entry = from_value(&record.body)?;
                audit.entries += 1;
                for (account, delta) in entry.account_deltas() {
                    let sum = sums.entry((entry.unit, account)).or_default();
                    *sum = sum.saturating_add(delta);
                }
                if entry.kind.moves_balance() {
                    let sum = days.entry((entry.unit, Day::of(entry.at), entry.kind)).or_default();
                    *sum = sum.saturating_add(entry.balance_delta());
                }
                if let Some(done) = of_call.take_if(|of_call| Some(of_call.call) != entry.call) {
                    self.audit_call(&mut audit, &done).await?;
                }
                if let Some(call) = entry.call {
                    of_call.get_or_insert_with(|| OfCall::new(call)).add(&entry);
                }
            }
            let Some(next) = page.next else { break };
            query = query.after(next);
        }
        if let Some(done) = of_call {
            self.audit_call(&mut audit, &done).await?;
        }
        if i64::try_from(audit.entries) != Ok(counted) {
            audit.find(Finding::Entries { counted, found: audit.entries });
        }
        self.audit_accounts(&mut audit, &sums).await?;
        self.audit_days(&mut audit, days).await?;
        self.audit_records(&mut audit).await?;
        Ok(audit)
    }

    async fn audit_accounts(&self, audit: &mut Audit, sums: &BTreeMap<(Unit, Account), i64>) -> Result<()> {
        let mut units: BTreeSet<Unit> = sums.keys().map(|(unit, _)| *unit).collect();
        units.insert(Unit::Time);
        for unit in units {
            let standing = self.standing(audit.tenant, unit).await?;
            let balance = standing.balance;
            let mut sum = 0_i64;
            for account in Account::ALL {
                let stands_at = match account {
                    Account::Available => balance.available,
                    Account::Held => balance.held,
                    Account::Purchased => balance.purchased.saturating_neg(),
                    Account::Used => balance.used,
                };
                sum = sum.saturating_add(stands_at);
                let entries = sums.get(&(unit, account)).copied().unwrap_or(0);
                if stands_at != entries {
                    audit.find(Finding::Account { unit, account, stands_at, entries });
                }
            }
            if sum != 0 {
                audit.find(Finding::Sum { unit, sum });
            }
            let owned = balance.purchased.saturating_sub(balance.used);
            if standing.counted != owned || owned != balance.balance() {
                audit.find(Finding::Balance { unit, counted: standing.counted, owned });
            }
        }
        Ok(())
    }

    async fn audit_days(&self, audit: &mut Audit, days: BTreeMap<(Unit, Day, EntryKind), i64>) -> Result<()> {
        let days: Vec<_> = days.into_iter().collect();
        for days in days.chunks(LIMIT_MAX as usize) {
            let tenant = audit.tenant;
            let counter = |unit, day, kind| day_counter(tenant, unit, day, kind);
            let mut batch = Batch::default();
            for ((unit, day, kind), _) in days {
                batch.add(Add::read(counter(*unit, *day, *kind)));
            }
            let counters = self.store.commit(batch).await?.counters;
            for ((unit, day, kind), entries) in days {
                let counted = counters.get(&counter(*unit, *day, *kind)).copied().unwrap_or(0);
                if counted != *entries {
                    let day = day.start();
                    audit.find(Finding::Day { unit: *unit, day, kind: *kind, counted, entries: *entries });
                }
            }
        }
        Ok(())
    }

    /// Holds the entries of a call against its record.
    async fn audit_call(&self, audit: &mut Audit, entries: &OfCall) -> Result<()> {
        let call = entries.call;
        let record = self.store.get(RecordKey::new(audit.tenant, CALL, call)).await?;
        let stored: Option<StoredCall> = record.map(|record| from_value(&record.body)).transpose()?;
        audit.calls += u64::from(stored.as_ref().is_some_and(|stored| stored.hold.is_some()));
        if let Some(fault) = entries.fault(stored.as_ref()) {
            audit.find(Finding::Call { call, fault });
        }
        Ok(())
    }

    /// Looks for calls that something was held for and that have no entry.
    async fn audit_records(&self, audit: &mut Audit) -> Result<()> {
        // All calls with entries have been seen: if there are no more calls than these, none lacks its entries.
        if self.walk_records(audit, false).await? > audit.calls {
            self.walk_records(audit, true).await?;
        }
        Ok(())
    }

    /// Counts the calls that something was held for, and looks for their entries if told to.
    async fn walk_records(&self, audit: &mut Audit, searches: bool) -> Result<u64> {
        let mut query = Query::new(Some(audit.tenant), CALL).order(Order::IdAscending);
        let mut calls = 0;
        loop {
            let page = self.store.list(query.clone()).await?;
            for record in &page.records {
                let stored: StoredCall = from_value(&record.body)?;
                let (call, Some(_)) = (stored.record.id, stored.hold) else { continue };
                calls += 1;
                if searches && self.entry(audit.tenant, EntryKind::Hold, &hold_key(call, 1)).await?.is_none() {
                    audit.find(Finding::Call { call, fault: CallFault::NoEntry });
                }
            }
            let Some(next) = page.next else { return Ok(calls) };
            query = query.after(next);
        }
    }
}

impl Audit {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

/// The entries of one call, added up.
struct OfCall {
    call: CallId,
    held: i64,
    released: i64,
    settled: i64,
    settlements: u32,
    units: BTreeSet<Unit>,
}

impl OfCall {
    fn new(call: CallId) -> Self {
        Self { call, held: 0, released: 0, settled: 0, settlements: 0, units: BTreeSet::new() }
    }

    fn add(&mut self, entry: &Entry) {
        self.units.insert(entry.unit);
        match entry.kind {
            EntryKind::Hold => self.held = self.held.saturating_add(entry.amount),
            EntryKind::Release => self.released = self.released.saturating_add(entry.amount),
            EntryKind::Settle => {
                self.settled = self.settled.saturating_add(entry.amount);
                self.settlements += 1;
            }
            EntryKind::Adjustment | EntryKind::Grant | EntryKind::Purchase | EntryKind::Refund => {}
        }
    }

    fn fault(&self, stored: Option<&StoredCall>) -> Option<CallFault> {
        let Some(stored) = stored else { return Some(CallFault::NoRecord) };
        let Some(hold) = stored.hold else { return Some(CallFault::Differs) };
        let is_other = hold.held != self.held || !self.units.iter().eq([&hold.tariff.unit()]);
        let Some(ledger) = stored.ledger else {
            let is_settled = self.settlements > 0 || self.released > 0;
            return match (is_settled, stored.lease) {
                (true, _) => Some(CallFault::SettledEarly),
                (false, None) => Some(CallFault::Unsettled),
                (false, Some(_)) => is_other.then_some(CallFault::Differs),
            };
        };
        match self.settlements {
            0 => Some(CallFault::Unsettled),
            1 if self.held != self.settled.saturating_add(self.released) => Some(CallFault::HoldLeft),
            1 => (is_other || ledger.settled != self.settled || ledger.held != self.held).then_some(CallFault::Differs),
            _ => Some(CallFault::SettledTwice),
        }
    }
}
