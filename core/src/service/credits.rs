//! A tenant's prepaid time and money.

use std::sync::Arc;

use super::webhooks::{CreditsLow, Event, Webhooks, from_value, to_value};
use crate::billing::account::{balance_counter, entries_counter};
use crate::billing::ledger::entry_key;
use crate::billing::{Account, Amount, Entry, EntryKind, Posting, Rules, Terms, Unit};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CallId, EntryId, TenantId};
use crate::provider::Store;
use crate::provider::store::{Add, Batch, Committed, Crossing, Expect, Put, RecordKey};
use crate::runtime::Runtime;
use crate::time::Timestamp;

/// The record kind of terms.
pub const TERMS: &str = "billing_terms";

/// A tenant has one set of terms.
const TERMS_ID: &str = "terms";

/// Prepaid time and money, for all tenants.
#[derive(Clone)]
pub struct Credits {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) store: Arc<dyn Store>,
    /// Who hears of low balances.
    webhooks: Option<Webhooks>,
}

/// Where a tenant's time or money is: purchased = available + held + used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Balance {
    /// Milliseconds, or millionths of a currency.
    pub unit: Unit,
    /// What calls may still take.
    pub available: i64,
    /// What live calls hold.
    pub held: i64,
    /// All that was bought or given, as corrected.
    pub purchased: i64,
    /// What was used and not refunded.
    pub used: i64,
}

impl Balance {
    /// What was purchased less what was used.
    pub fn balance(&self) -> i64 {
        self.available.saturating_add(self.held)
    }
}

impl Credits {
    /// The ledgers in `store`. Low balances are told by those of an [`Engine`](crate::engine::Engine) alone.
    pub fn new(runtime: Arc<dyn Runtime>, store: Arc<dyn Store>) -> Self {
        Self { runtime, store, webhooks: None }
    }

    /// Low balances are told by `webhooks`.
    pub(crate) fn told_by(self, webhooks: Webhooks) -> Self {
        Self { webhooks: Some(webhooks), ..self }
    }

    /// Adds what the tenant bought: a [`Duration`](std::time::Duration) of talk or [`Money`](crate::money::Money).
    ///
    /// The same `key` adds it once, however often it is called, and answers the first entry; `Conflict` when the first had
    /// other content. `ConfigInvalid` for nothing or less.
    pub async fn purchase(&self, tenant: TenantId, amount: impl Into<Amount>, key: &str) -> Result<Entry> {
        self.post(Posting::new(tenant, EntryKind::Purchase, amount.into(), key, self.now())).await
    }

    /// Adds what the tenant is given. Otherwise like [`Credits::purchase`].
    pub async fn grant(&self, tenant: TenantId, amount: impl Into<Amount>, key: &str) -> Result<Entry> {
        self.post(Posting::new(tenant, EntryKind::Grant, amount.into(), key, self.now())).await
    }

    /// Corrects what was purchased, up or down. Otherwise like [`Credits::purchase`].
    ///
    /// `InsufficientFunds` when less than the tenant's floor would be available.
    pub async fn adjust(&self, tenant: TenantId, amount: Amount, key: &str, note: &str) -> Result<Entry> {
        self.post(Posting::new(tenant, EntryKind::Adjustment, amount, key, self.now()).note(note)).await
    }

    /// Gives back `amount` of what a call took, once for each call. Otherwise like [`Credits::purchase`].
    ///
    /// `NotFound` for a call that was not settled, `InsufficientFunds` for more than it took.
    pub async fn refund(&self, tenant: TenantId, call: CallId, amount: Amount, note: &str) -> Result<Entry> {
        let key = call.to_string();
        let settled = self.entry(tenant, EntryKind::Settle, &key).await?.filter(|entry| entry.unit == amount.unit);
        let Some(settled) = settled else {
            return Err(Error::new(ErrorKind::NotFound, "credits.refund", "the call took nothing of this kind"));
        };
        if amount.value > settled.amount {
            return Err(Error::new(ErrorKind::InsufficientFunds, "credits.refund", "the call took less than that"));
        }
        self.post(Posting::new(tenant, EntryKind::Refund, amount, key, self.now()).for_call(call).note(note)).await
    }

    /// Posts an entry by the tenant's terms, once: a second time answers the first entry.
    ///
    /// `Conflict` when the entry of that kind and key says something else, `InsufficientFunds` when an account would pass
    /// its floor, `ConfigInvalid` for an amount that the kind does not admit.
    pub async fn post(&self, posting: Posting) -> Result<Entry> {
        let terms = self.terms(posting.tenant).await?;
        let Posting { entry, key, tenant } = &posting;
        let mut batch = Batch::default();
        let delta = Amount { unit: entry.unit, value: entry.balance_delta() };
        posting.post(&mut batch, &self.rules(*tenant, delta, &terms).await?)?;
        match self.store.commit(batch).await {
            Ok(committed) => {
                if let Some(webhooks) = self.webhooks.as_ref().filter(|_| !committed.crossed.is_empty()) {
                    webhooks.wake();
                }
                Ok(posting.entry)
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let first = self.entry(*tenant, entry.kind, key).await?;
                first.filter(|first| first.repeats(entry)).ok_or_else(|| {
                    Error::new(ErrorKind::Conflict, "credits.post", "an entry of this key says something else")
                })
            }
            Err(error) => Err(error),
        }
    }

    /// The balance of one unit now.
    pub async fn balance(&self, tenant: TenantId, unit: Unit) -> Result<Balance> {
        self.standing(tenant, unit).await.map(|standing| standing.balance)
    }

    /// How the tenant is billed.
    pub async fn terms(&self, tenant: TenantId) -> Result<Terms> {
        let record = self.store.get(RecordKey::new(tenant, TERMS, TERMS_ID)).await?;
        record.map_or_else(|| Ok(Terms::default()), |record| from_value(&record.body))
    }

    /// Bills the tenant by `terms` from now on. A call that goes on is billed as it began.
    pub async fn set_terms(&self, tenant: TenantId, terms: &Terms) -> Result<()> {
        let mut batch = Batch::default();
        batch.put(Put::new(RecordKey::new(tenant, TERMS, TERMS_ID), Expect::Any, to_value(terms)?));
        self.store.commit(batch).await.map(|_| ())
    }

    /// What postings are bound by that move the balance by `delta`.
    pub(super) async fn rules(&self, tenant: TenantId, delta: Amount, terms: &Terms) -> Result<Rules> {
        if delta.unit != terms.unit {
            return Ok(Rules::default());
        }
        let low = match terms.low {
            Some(below) if delta.value < 0 => {
                Some(Crossing { below, then: self.runs_low(tenant, delta, below).await? })
            }
            _ => None,
        };
        Ok(Rules { floor: terms.floor, low })
    }

    /// What is written in the commit that takes the balance below `threshold`.
    async fn runs_low(&self, tenant: TenantId, delta: Amount, threshold: i64) -> Result<Vec<Put>> {
        let Some(webhooks) = &self.webhooks else { return Ok(Vec::new()) };
        let Amount { unit, value } = delta;
        // Others may move the balance until this is committed; whoever is told has no more than the threshold all the same.
        let balance = self.standing(tenant, unit).await?.counted.saturating_add(value).min(threshold);
        let key = EntryId::generate(&*self.runtime).to_string();
        webhooks.puts(&Event::CreditsLow(&CreditsLow { balance, key, tenant, threshold, unit })).await
    }

    pub(super) async fn entry(&self, tenant: TenantId, kind: EntryKind, key: &str) -> Result<Option<Entry>> {
        let record = self.store.get(entry_key(tenant, kind, key)).await?;
        record.map(|record| from_value(&record.body)).transpose()
    }

    /// All counters of one unit, at one moment.
    pub(super) async fn standing(&self, tenant: TenantId, unit: Unit) -> Result<Standing> {
        let mut batch = Batch::default();
        for account in Account::ALL {
            batch.add(Add::read(account.counter(tenant, unit)));
        }
        batch.add(Add::read(balance_counter(tenant, unit)));
        batch.add(Add::read(entries_counter(tenant)));
        Ok(Standing::of(&self.store.commit(batch).await?, tenant, unit))
    }

    fn now(&self) -> Timestamp {
        self.runtime.wall_clock()
    }
}

/// The counters of one unit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Standing {
    pub(super) balance: Balance,
    /// What the counter of the balance says, which must be the same.
    pub(super) counted: i64,
    pub(super) entries: i64,
}

impl Standing {
    fn of(committed: &Committed, tenant: TenantId, unit: Unit) -> Self {
        let value = |counter| committed.counters.get(&counter).copied().unwrap_or(0);
        let account = |account: Account| value(account.counter(tenant, unit));
        let balance = Balance {
            unit,
            available: account(Account::Available),
            held: account(Account::Held),
            purchased: account(Account::Purchased).saturating_neg(),
            used: account(Account::Used),
        };
        let counted = value(balance_counter(tenant, unit));
        Self { balance, counted, entries: value(entries_counter(tenant)) }
    }
}
