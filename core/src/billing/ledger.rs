//! A tenant's prepaid talk time, as double entry in whole milliseconds.

use serde::{Deserialize, Serialize};

use crate::ids::{CallId, TenantId};
use crate::provider::store::{Add, Batch, CounterKey, Expect, Put, RecordKey};
use crate::time::Timestamp;

/// The record kind of entries.
pub const ENTRY: &str = "ledger_entry";

/// Where time can be. The sum over all accounts of a tenant is always zero.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// What calls may still take.
    Available,
    /// What live calls hold.
    Held,
    /// What was bought or given, counted downwards: the source of all time.
    Purchased,
    /// What was talked.
    Used,
}

impl Account {
    /// All accounts.
    pub const ALL: [Self; 4] = [Self::Available, Self::Held, Self::Purchased, Self::Used];

    /// The counter that holds the account's balance.
    pub fn counter(self, tenant: TenantId) -> CounterKey {
        let name = match self {
            Self::Available => "prepaid_available_ms",
            Self::Held => "prepaid_held_ms",
            Self::Purchased => "prepaid_purchased_ms",
            Self::Used => "prepaid_used_ms",
        };
        CounterKey::new(tenant, name)
    }

    /// Least balance; only the source may fall below zero.
    fn floor(self) -> Option<i64> {
        match self {
            Self::Available | Self::Held | Self::Used => Some(0),
            Self::Purchased => None,
        }
    }
}

/// What an entry is for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Given to the tenant.
    Grant,
    /// Set aside for a call.
    Hold,
    /// Given back after a call.
    Release,
    /// Taken for a call.
    Settle,
}

impl EntryKind {
    /// From where to where the time moves.
    pub fn accounts(self) -> (Account, Account) {
        match self {
            Self::Grant => (Account::Purchased, Account::Available),
            Self::Hold => (Account::Available, Account::Held),
            Self::Release => (Account::Held, Account::Available),
            Self::Settle => (Account::Held, Account::Used),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Settle => "settle",
        }
    }
}

/// One entry as it is stored.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// How much moved.
    pub amount_ms: i64,
    /// When.
    pub at: Timestamp,
    /// For which call.
    pub call: Option<CallId>,
    /// What for.
    pub kind: EntryKind,
}

/// A movement of time that is to be committed.
#[derive(Clone, Debug)]
pub struct Posting {
    /// How much; not negative.
    pub amount_ms: i64,
    /// When.
    pub at: Timestamp,
    /// For which call.
    pub call: Option<CallId>,
    /// Makes it happen once: a second posting of the same kind and key is a conflict.
    pub key: String,
    /// What for.
    pub kind: EntryKind,
    /// Whose.
    pub tenant: TenantId,
}

impl Posting {
    /// The record of the entry that this posting writes.
    pub fn record_key(&self) -> RecordKey {
        entry_key(self.tenant, self.kind, &self.key)
    }

    /// Adds the movement and its entry to `batch`. A balance never passes its floor.
    pub fn post(&self, batch: &mut Batch) {
        let entry = Entry { amount_ms: self.amount_ms, at: self.at, call: self.call, kind: self.kind };
        let body = serde_json::to_value(&entry).unwrap_or_default();
        let mut put = Put::new(self.record_key(), Expect::Absent, body)
            .index("kind", self.kind.name())
            .index("at", self.at.as_unix_micros());
        if let Some(call) = self.call {
            put = put.index("call", call.to_string());
        }
        batch.put(put);
        let (from, to) = self.kind.accounts();
        for (account, delta) in [(from, -self.amount_ms), (to, self.amount_ms)] {
            batch.add(Add { floor: account.floor(), ..Add::new(account.counter(self.tenant), delta) });
        }
    }
}

/// Where the entry of that kind and key is.
pub fn entry_key(tenant: TenantId, kind: EntryKind, key: &str) -> RecordKey {
    RecordKey::new(tenant, ENTRY, format!("{}:{key}", kind.name()))
}
