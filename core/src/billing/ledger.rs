//! A tenant's ledger: double entry in whole units, each entry once.

use serde::{Deserialize, Serialize};

use super::account::{Account, Amount, Day, Unit, balance_counter, day_counter, day_entries_counter, entries_counter};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CallId, TenantId};
use crate::provider::store::{Add, Batch, Crossing, Expect, Put, RecordKey};
use crate::time::Timestamp;

/// The record kind of entries.
pub const ENTRY: &str = "ledger_entry";

/// What an entry is for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A correction of what was purchased, up or down.
    Adjustment,
    /// Given to the tenant.
    Grant,
    /// Set aside for a call.
    Hold,
    /// Bought by the tenant.
    Purchase,
    /// Given back of what was used.
    Refund,
    /// Given back of what was held.
    Release,
    /// Taken of what was held.
    Settle,
}

impl EntryKind {
    /// All kinds.
    pub const ALL: [Self; 7] =
        [Self::Adjustment, Self::Grant, Self::Hold, Self::Purchase, Self::Refund, Self::Release, Self::Settle];

    /// Those that change what was purchased less what was used: what a tenant sees on its statement.
    pub const MOVING: [Self; 5] = [Self::Adjustment, Self::Grant, Self::Purchase, Self::Refund, Self::Settle];

    /// From where to where the amount moves; a negative one moves back.
    pub fn accounts(self) -> (Account, Account) {
        match self {
            Self::Adjustment | Self::Grant | Self::Purchase => (Account::Purchased, Account::Available),
            Self::Hold => (Account::Available, Account::Held),
            Self::Refund => (Account::Used, Account::Available),
            Self::Release => (Account::Held, Account::Available),
            Self::Settle => (Account::Held, Account::Used),
        }
    }

    /// Whether it is one of [`EntryKind::MOVING`].
    pub fn moves_balance(self) -> bool {
        Self::MOVING.contains(&self)
    }

    /// Its name in snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Adjustment => "adjustment",
            Self::Grant => "grant",
            Self::Hold => "hold",
            Self::Purchase => "purchase",
            Self::Refund => "refund",
            Self::Release => "release",
            Self::Settle => "settle",
        }
    }

    /// What may be moved. A call that costs nothing holds nothing.
    fn admits(self, amount: i64) -> bool {
        match self {
            Self::Adjustment => amount != 0 && amount != i64::MIN,
            Self::Grant | Self::Purchase | Self::Refund => amount > 0,
            Self::Hold | Self::Release | Self::Settle => amount >= 0,
        }
    }
}

/// One entry as it is stored.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// How much moved: milliseconds or millionths of a currency. Negative only for an adjustment downwards.
    pub amount: i64,
    /// When.
    pub at: Timestamp,
    /// For which call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// What for.
    pub kind: EntryKind,
    /// What a person should know of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Of what.
    pub unit: Unit,
}

impl Entry {
    /// What the entry does to the balance, which is what was purchased less what was used.
    pub fn balance_delta(&self) -> i64 {
        match self.kind {
            EntryKind::Hold | EntryKind::Release => 0,
            EntryKind::Settle => -self.amount,
            EntryKind::Adjustment | EntryKind::Grant | EntryKind::Purchase | EntryKind::Refund => self.amount,
        }
    }

    /// What the entry does to the accounts.
    pub fn account_deltas(&self) -> [(Account, i64); 2] {
        let (from, to) = self.kind.accounts();
        [(from, -self.amount), (to, self.amount)]
    }

    /// Whether both say the same, if perhaps not at the same time.
    pub fn repeats(&self, other: &Self) -> bool {
        *self == Self { at: self.at, ..other.clone() }
    }
}

/// What a posting is bound by.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Least that may be available afterwards; negative for a tenant that may owe.
    pub floor: i64,
    /// What else is written when the balance sinks below a threshold.
    pub low: Option<Crossing>,
}

/// An entry that is to be committed.
#[derive(Clone, Debug)]
pub struct Posting {
    /// What it will say.
    pub entry: Entry,
    /// Makes it happen once: a second posting of the same kind and key is a conflict.
    pub key: String,
    /// Whose.
    pub tenant: TenantId,
}

impl Posting {
    /// A posting of `amount` at `at`.
    pub fn new(tenant: TenantId, kind: EntryKind, amount: Amount, key: impl Into<String>, at: Timestamp) -> Self {
        let entry = Entry { amount: amount.value, at, call: None, kind, note: String::new(), unit: amount.unit };
        Self { entry, key: key.into(), tenant }
    }

    /// The two that end the holds of a call: `settled` of what is `held` is taken, the rest is given back.
    pub fn settlement(tenant: TenantId, call: CallId, held: Amount, settled: i64, at: Timestamp) -> [Self; 2] {
        let settled = settled.clamp(0, held.value.max(0));
        [(EntryKind::Settle, settled), (EntryKind::Release, held.value - settled)]
            .map(|(kind, value)| Self::new(tenant, kind, Amount { value, ..held }, call.to_string(), at).for_call(call))
    }

    /// It is for `call`.
    #[must_use]
    pub fn for_call(mut self, call: CallId) -> Self {
        self.entry.call = Some(call);
        self
    }

    /// With a remark for people.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.entry.note = note.into();
        self
    }

    /// The record of the entry that this posting writes.
    pub fn record_key(&self) -> RecordKey {
        entry_key(self.tenant, self.entry.kind, &self.key)
    }

    /// Adds the movement and its entry to `batch`, which then fails with `Conflict` when there is an entry of that kind
    /// and key, and with `InsufficientFunds` when an account would pass its floor.
    ///
    /// `ConfigInvalid` for an amount that the kind does not admit.
    pub fn post(&self, batch: &mut Batch, rules: &Rules) -> Result<()> {
        let Entry { amount, at, kind, unit, .. } = self.entry;
        if !kind.admits(amount) {
            let error = Error::new(ErrorKind::ConfigInvalid, "ledger.post", "an entry of this kind has no such amount");
            return Err(error.with_context("kind", kind.as_str()));
        }
        batch.put(self.put(Expect::Absent)?);
        for (account, delta) in self.entry.account_deltas() {
            batch.add(Add { floor: floor(account, rules), ..Add::new(account.counter(self.tenant, unit), delta) });
        }
        if kind.moves_balance() {
            let balance = Add::new(balance_counter(self.tenant, unit), self.entry.balance_delta());
            batch.add(Add { crossing: rules.low.clone(), ..balance });
            let day = Day::of(at);
            batch.add(Add::new(day_counter(self.tenant, unit, day, kind), self.entry.balance_delta()));
            batch.add(Add::new(day_entries_counter(self.tenant, unit, day), 1));
        }
        batch.add(Add::new(entries_counter(self.tenant), 1));
        Ok(())
    }

    /// The record of the entry by itself.
    pub(crate) fn put(&self, expect: Expect) -> Result<Put> {
        let body = serde_json::to_value(&self.entry).map_err(|error| {
            Error::new(ErrorKind::Unexpected, "ledger.post", "an entry cannot be written").with_source(error)
        })?;
        let mut put = Put::new(self.record_key(), expect, body).index("at", self.entry.at.as_unix_micros());
        if let Some(call) = self.entry.call {
            put = put.index("call", call.to_string());
        }
        if self.entry.kind.moves_balance() {
            put = put.index("statement", self.entry.unit.to_string());
        }
        Ok(put)
    }
}

/// Where the entry of that kind and key is.
pub fn entry_key(tenant: TenantId, kind: EntryKind, key: &str) -> RecordKey {
    RecordKey::new(tenant, ENTRY, format!("{}:{key}", kind.as_str()))
}

/// Least balance; only the source may fall without end.
fn floor(account: Account, rules: &Rules) -> Option<i64> {
    match account {
        Account::Available => Some(rules.floor),
        Account::Held | Account::Used => Some(0),
        Account::Purchased => None,
    }
}
