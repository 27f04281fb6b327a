//! How a tenant is billed.

use serde::{Deserialize, Serialize};

use super::account::Unit;
use super::card::RateCard;
use super::rate::Increment;
use super::tariff::Tariff;
use crate::error::{Error, ErrorKind, Result};
use crate::provider::telephony::E164;
use crate::time::Timestamp;

/// A tenant's terms; what they leave open is the engine's default.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Terms {
    /// Least that may be available, in the unit; negative for a tenant that may owe.
    pub floor: i64,
    /// The steps in which prepaid time is taken.
    pub increment: Option<Increment>,
    /// Below this balance, in the unit, the tenant is told that it runs low; `None` never tells.
    pub low: Option<i64>,
    /// The prices of a tenant that is billed in money.
    pub rates: Option<RateCard>,
    /// What calls take: the tenant's prepaid time, or money.
    pub unit: Unit,
}

impl Terms {
    /// Least that may be available in `unit`: a debt is allowed in the unit of the terms alone.
    pub fn floor_of(&self, unit: Unit) -> i64 {
        if unit == self.unit { self.floor } else { 0 }
    }

    /// How a call to `number` that begins at `at` is billed, with the defaults `increment` and `rates`.
    ///
    /// `ConfigInvalid` for a tenant that is billed in money without prices in it, `Rejected` when there is none for the
    /// number.
    pub fn tariff(
        &self,
        number: Option<&E164>,
        at: Timestamp,
        increment: Increment,
        rates: Option<&RateCard>,
    ) -> Result<Tariff> {
        let Unit::Money(currency) = self.unit else {
            return Ok(Tariff::time(self.increment.unwrap_or(increment)));
        };
        let card = self.rates.as_ref().or(rates).filter(|card| card.currency() == currency);
        let card = card.ok_or_else(|| {
            Error::new(ErrorKind::ConfigInvalid, "terms.tariff", "there is no rate card in the tenant's currency")
                .with_context("currency", currency)
        })?;
        Ok(Tariff::money(currency, card.rate(number, at)?))
    }
}
