//! Where a tenant's prepaid time and money can be.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ledger::EntryKind;
use crate::error::Error;
use crate::ids::TenantId;
use crate::money::{Currency, Money};
use crate::provider::store::CounterKey;
use crate::time::{Timestamp, millis};

/// What a set of accounts counts. Written `ms` or as the currency's code.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Unit {
    /// Millionths of a currency's unit.
    Money(Currency),
    /// Milliseconds of talk.
    #[default]
    Time,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Money(currency) => currency.fmt(f),
            Self::Time => f.write_str("ms"),
        }
    }
}

impl FromStr for Unit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "ms" { Ok(Self::Time) } else { text.parse().map(Self::Money) }
    }
}

impl TryFrom<String> for Unit {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Unit> for String {
    fn from(unit: Unit) -> Self {
        unit.to_string()
    }
}

/// So much of a unit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Amount {
    /// Of what.
    pub unit: Unit,
    /// How much.
    pub value: i64,
}

impl From<Duration> for Amount {
    /// Whole milliseconds, rounded down, as many as 64 bits hold.
    fn from(time: Duration) -> Self {
        Self { unit: Unit::Time, value: i64::try_from(millis(time)).unwrap_or(i64::MAX) }
    }
}

impl From<Money> for Amount {
    fn from(money: Money) -> Self {
        Self { unit: Unit::Money(money.currency()), value: money.micros() }
    }
}

/// An account. The sum over all accounts of a tenant and a unit is always zero.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// What calls may still take.
    Available,
    /// What live calls hold.
    Held,
    /// What was bought or given, counted downwards: the source of everything.
    Purchased,
    /// What was used.
    Used,
}

impl Account {
    /// All accounts.
    pub const ALL: [Self; 4] = [Self::Available, Self::Held, Self::Purchased, Self::Used];

    /// The counter that holds the account's balance.
    pub fn counter(self, tenant: TenantId, unit: Unit) -> CounterKey {
        let name = match self {
            Self::Available => "available",
            Self::Held => "held",
            Self::Purchased => "purchased",
            Self::Used => "used",
        };
        CounterKey::new(tenant, format!("ledger_{unit}_{name}"))
    }
}

/// The counter of what was purchased less what was used. It repeats what the accounts say, because no hold moves it: what
/// has to happen when a tenant runs low hangs on it.
pub fn balance_counter(tenant: TenantId, unit: Unit) -> CounterKey {
    CounterKey::new(tenant, format!("ledger_{unit}_balance"))
}

/// A day of UTC, counted from 1970.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Day(i64);

impl Day {
    const MICROS: i64 = 24 * 3_600 * 1_000_000;

    /// The day of a moment.
    pub fn of(moment: Timestamp) -> Self {
        Self(moment.as_unix_micros().div_euclid(Self::MICROS))
    }

    /// Its first moment, as far as 64 bits tell moments.
    pub fn start(self) -> Timestamp {
        Timestamp::from_unix_micros(self.0.saturating_mul(Self::MICROS))
    }

    /// The day after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// How many days later `other` is; zero when it is not.
    pub fn until(self, other: Self) -> u64 {
        other.0.checked_sub(self.0).and_then(|days| u64::try_from(days).ok()).unwrap_or(0)
    }
}

/// The counter of what the entries of one kind did to the balance on a day, so that a statement need not read them all.
pub fn day_counter(tenant: TenantId, unit: Unit, day: Day, kind: EntryKind) -> CounterKey {
    CounterKey::new(tenant, format!("ledger_{unit}_{}_{}", day.0, kind.as_str()))
}

/// The counter of the entries that moved the balance on a day.
pub fn day_entries_counter(tenant: TenantId, unit: Unit, day: Day) -> CounterKey {
    CounterKey::new(tenant, format!("ledger_{unit}_{}_entries", day.0))
}

/// The counter of a tenant's entries of all units: who reads the same twice has seen one state of the ledger in between.
pub fn entries_counter(tenant: TenantId) -> CounterKey {
    CounterKey::new(tenant, "ledger_entries")
}
