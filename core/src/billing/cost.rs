//! What the providers take for what a call used.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use super::usage::{Item, Resource, Usage};
use crate::error::{Error, ErrorKind, Result};
use crate::money::{Currency, MICROS_PER_UNIT, Money};

/// What providers charge, and the currencies in which a call's cost is told.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PriceList {
    /// What one unit of a currency is worth in others.
    pub exchange: Vec<Exchange>,
    /// The prices. Those of a model go before those of its provider.
    pub prices: Vec<Price>,
    /// In what to tell the cost of a call.
    pub currencies: Vec<Currency>,
}

/// What a provider charges for something.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// The provider's name.
    pub provider: String,
    /// Of this model alone; `None` for all that have no price of their own.
    #[serde(default)]
    pub model: Option<String>,
    /// Of what.
    pub resource: Resource,
    /// How much.
    pub price: Money,
    /// For so many of the resource: 1,000,000 of a price for a million tokens, 60,000 of one for a minute.
    pub per: NonZeroU64,
}

/// What one unit of a currency is worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// One unit of this
    pub from: Currency,
    /// is worth this.
    pub to: Money,
}

/// What something cost. Both figures come from the exact sum, each rounded half up once.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// To the millionth.
    pub money: Money,
    /// In whole units of the currency.
    pub whole: i64,
    /// Whether all that was used, but for requests, had a price.
    pub is_complete: bool,
}

impl PriceList {
    /// What `usage` cost in each of the list's currencies.
    ///
    /// `ConfigInvalid` when a price is in a currency without an exchange, or the sum does not fit.
    pub fn costs(&self, usage: &Usage) -> Result<Vec<Cost>> {
        self.currencies.iter().map(|currency| self.cost(usage, *currency)).collect()
    }

    /// What `usage` cost, in `currency`. Errors as in [`PriceList::costs`].
    pub fn cost(&self, usage: &Usage, currency: Currency) -> Result<Cost> {
        let mut sums: BTreeMap<Currency, Fraction> = BTreeMap::new();
        let mut is_complete = true;
        for (item, quantity) in usage.items() {
            let Some(price) = self.price(item) else {
                // Hardly anybody charges for requests as such.
                is_complete &= item.resource == Resource::Requests;
                continue;
            };
            let part = Fraction::new(i128::from(price.price.micros()), i128::from(price.per.get()))
                .times(i128::from(quantity), 1)?;
            let sum = sums.entry(price.price.currency()).or_default();
            *sum = sum.plus(part)?;
        }
        let mut total = Fraction::default();
        for (from, sum) in sums {
            total = total.plus(self.exchange(sum, from, currency)?)?;
        }
        let money = Money::from_micros(total.half_up()?, currency);
        let whole = total.times(1, i128::from(MICROS_PER_UNIT))?.half_up()?;
        Ok(Cost { money, whole, is_complete })
    }

    /// Tokens that were found again cost what others do, unless they have a price.
    fn price(&self, item: &Item) -> Option<&Price> {
        let of = |resource| {
            let prices =
                self.prices.iter().filter(move |price| price.provider == item.provider && price.resource == resource);
            let own = prices.clone().find(|price| price.model.as_ref() == Some(&item.model));
            own.or_else(|| prices.clone().find(|price| price.model.is_none()))
        };
        match item.resource {
            Resource::CachedTokens => of(Resource::CachedTokens).or_else(|| of(Resource::InputTokens)),
            resource => of(resource),
        }
    }

    fn exchange(&self, sum: Fraction, from: Currency, to: Currency) -> Result<Fraction> {
        if from == to {
            return Ok(sum);
        }
        let rate = self.exchange.iter().find(|exchange| exchange.from == from && exchange.to.currency() == to);
        let rate = rate.ok_or_else(|| {
            Error::new(ErrorKind::ConfigInvalid, "price_list", "there is no exchange between two currencies")
                .with_context("from", from)
                .with_context("to", to)
        })?;
        sum.times(i128::from(rate.to.micros()), i128::from(MICROS_PER_UNIT))
    }
}

/// An exact number of millionths, in lowest terms, its denominator positive.
#[derive(Clone, Copy, Debug)]
struct Fraction {
    numerator: i128,
    denominator: i128,
}

impl Default for Fraction {
    fn default() -> Self {
        Self { numerator: 0, denominator: 1 }
    }
}

impl Fraction {
    /// `denominator` must be positive.
    fn new(numerator: i128, denominator: i128) -> Self {
        let divisor = greatest_divisor(numerator.unsigned_abs(), denominator.unsigned_abs()).cast_signed().max(1);
        Self { numerator: numerator / divisor, denominator: denominator / divisor }
    }

    fn plus(self, other: Self) -> Result<Self> {
        let left = self.numerator.checked_mul(other.denominator);
        let right = other.numerator.checked_mul(self.denominator);
        let sum = left.zip(right).and_then(|(left, right)| left.checked_add(right));
        let denominator = self.denominator.checked_mul(other.denominator);
        sum.zip(denominator).map(|(sum, denominator)| Self::new(sum, denominator)).ok_or_else(overflow)
    }

    fn times(self, numerator: i128, denominator: i128) -> Result<Self> {
        let product = self.numerator.checked_mul(numerator).zip(self.denominator.checked_mul(denominator));
        product.map(|(numerator, denominator)| Self::new(numerator, denominator)).ok_or_else(overflow)
    }

    /// The nearest whole number; of two, the greater one.
    fn half_up(self) -> Result<i64> {
        let doubled = self.numerator.checked_mul(2).and_then(|twice| twice.checked_add(self.denominator));
        let doubled = doubled.zip(self.denominator.checked_mul(2)).ok_or_else(overflow)?;
        i64::try_from(doubled.0.div_euclid(doubled.1)).map_err(|_| overflow())
    }
}

/// Euclid's.
fn greatest_divisor(a: u128, b: u128) -> u128 {
    let (mut a, mut b) = (a, b);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn overflow() -> Error {
    Error::new(ErrorKind::ConfigInvalid, "price_list", "a cost does not fit in 64 bits of millionths")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::provider::ProviderInfo;

    #[test]
    fn a_call_knows_what_its_providers_cost() {
        let usage = usage(&[
            (Resource::InputTokens, 1_200),
            (Resource::CachedTokens, 800),
            (Resource::OutputTokens, 350),
            (Resource::Characters, 420),
            (Resource::Milliseconds, 31_500),
        ]);
        let prices = [
            (Resource::InputTokens, 150_000, 1_000_000),
            (Resource::CachedTokens, 75_000, 1_000_000),
            (Resource::OutputTokens, 600_000, 1_000_000),
            (Resource::Characters, 15_000_000, 1_000_000),
            (Resource::Milliseconds, 4_300, 60_000),
        ];
        let list = list(&prices);
        // 180 + 60 + 210 + 6300 + 2257.5 millionths.
        let cost = list.cost(&usage, usd()).unwrap();
        assert_eq!((cost.money.micros(), cost.whole, cost.is_complete), (9_008, 0, true));
        // At 16,250 rupiah a dollar: 146.371875 rupiah, from the exact sum.
        let cost = list.cost(&usage, idr()).unwrap();
        assert_eq!((cost.money.micros(), cost.whole), (146_371_875, 146));
    }

    /// DR-058: whole rupiah, rounded half up once, at the end.
    #[test]
    fn whole_units_are_rounded_once() {
        let list = list(&[(Resource::InputTokens, 4_999_996, 10_000_000)]);
        let cost = |tokens| list.cost(&usage(&[(Resource::InputTokens, tokens)]), usd()).unwrap();
        // 0.4999996 of a millionth, and of a unit: rounding twice would make a whole one of it.
        assert_eq!((cost(1).money.micros(), cost(1).whole), (0, 0));
        assert_eq!((cost(1_000_000).money.micros(), cost(1_000_000).whole), (500_000, 0));
        assert_eq!(cost(1_000_001).whole, 1);
    }

    #[test]
    fn a_model_has_its_own_price_and_what_has_none_is_told() {
        let mut list = list(&[(Resource::InputTokens, 1_000, 1)]);
        list.prices.push(Price { model: Some("large".to_owned()), price: micros(9_000), ..list.prices[0].clone() });
        let mut usage = Usage::default();
        usage.add(&provider("small"), Resource::InputTokens, 1);
        usage.add(&provider("large"), Resource::InputTokens, 1);
        usage.add(&provider("large"), Resource::CachedTokens, 1);
        assert_eq!(list.cost(&usage, usd()).unwrap().money.micros(), 19_000);
        usage.add(&provider("small"), Resource::Requests, 1);
        assert!(list.cost(&usage, usd()).unwrap().is_complete);
        usage.add(&provider("small"), Resource::Characters, 1);
        assert!(!list.cost(&usage, usd()).unwrap().is_complete);
    }

    #[test]
    fn what_cannot_be_exchanged_or_does_not_fit_is_an_error() {
        let usage = usage(&[(Resource::InputTokens, u64::MAX)]);
        let list = list(&[(Resource::InputTokens, i64::MAX, 1)]);
        let kind = |currency| list.cost(&usage, currency).unwrap_err().kind();
        assert_eq!(kind(usd()), ErrorKind::ConfigInvalid);
        assert_eq!(kind("EUR".parse().unwrap()), ErrorKind::ConfigInvalid);
    }

    proptest! {
        #[test]
        fn a_cost_is_the_nearest_figure(
            lines in proptest::collection::vec((0_u64..100_000, 0_i64..10_000_000, 1_u64..2_000_000), 1..3),
        ) {
            let resources = [Resource::InputTokens, Resource::Characters, Resource::Milliseconds];
            let used: Vec<_> = resources.into_iter().zip(&lines).map(|(resource, line)| (resource, line.0)).collect();
            let prices: Vec<_> =
                resources.into_iter().zip(&lines).map(|(resource, line)| (resource, line.1, line.2)).collect();
            let cost = list(&prices).cost(&usage(&used), usd()).unwrap();
            // Twice the distance, over the common denominator.
            let common: i128 = lines.iter().map(|line| i128::from(line.2)).product();
            let exact: i128 = lines.iter().map(|line| i128::from(line.0) * i128::from(line.1) * (common / i128::from(line.2))).sum();
            let off = 2 * (i128::from(cost.money.micros()) * common - exact);
            prop_assert!(-common < off && off <= common);
            let off = 2 * (i128::from(cost.whole) * 1_000_000 * common - exact);
            prop_assert!(-common * 1_000_000 < off && off <= common * 1_000_000);
        }
    }

    fn list(prices: &[(Resource, i64, u64)]) -> PriceList {
        let prices = prices.iter().map(|(resource, price, per)| Price {
            provider: "maker".to_owned(),
            model: None,
            resource: *resource,
            price: micros(*price),
            per: NonZeroU64::new(*per).unwrap(),
        });
        let rupiah = Exchange { from: usd(), to: Money::from_micros(16_250 * MICROS_PER_UNIT, idr()) };
        PriceList { exchange: vec![rupiah], prices: prices.collect(), currencies: vec![idr(), usd()] }
    }

    fn usage(used: &[(Resource, u64)]) -> Usage {
        let mut usage = Usage::default();
        used.iter().for_each(|(resource, quantity)| usage.add(&provider("small"), *resource, *quantity));
        usage
    }

    fn provider(model: &str) -> ProviderInfo {
        ProviderInfo { name: "maker", detail: model.to_owned() }
    }

    fn micros(micros: i64) -> Money {
        Money::from_micros(micros, usd())
    }

    fn usd() -> Currency {
        "USD".parse().unwrap()
    }

    fn idr() -> Currency {
        "IDR".parse().unwrap()
    }
}
