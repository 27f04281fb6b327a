//! Prices of talk, by the number that is called.

use serde::{Deserialize, Serialize};

use super::rate::Increment;
use crate::error::{Error, ErrorKind, Result};
use crate::money::Currency;
use crate::provider::telephony::E164;
use crate::time::Timestamp;

/// Most digits of a prefix, as many as a number can have.
const PREFIX_DIGITS_MAX: usize = 15;

/// Most rates of a card.
pub const RATES_MAX: usize = 100_000;

/// What a minute costs, by prefix. The rate with the longest prefix of a number counts.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(into = "CardText", try_from = "CardText")]
pub struct RateCard {
    currency: Currency,
    /// By prefix, then by the beginning of their validity.
    rates: Vec<Rate>,
}

/// The price of calls to the numbers that begin with a prefix.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Digits without `+`; empty for every number, and for one that is withheld.
    pub prefix: String,
    /// Millionths of the currency's unit for a minute.
    pub per_minute_micros: i64,
    /// Millionths for a call that was answered, beside its minutes.
    #[serde(default)]
    pub connection_fee_micros: i64,
    /// The steps in which talk is billed.
    pub increment: Increment,
    /// The first moment that it counts for; `None` for always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Timestamp>,
    /// The first moment that it no longer counts for; `None` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
}

impl RateCard {
    /// A card in `currency`.
    ///
    /// `ConfigInvalid` for a prefix that is not digits, a negative price, a validity that ends before it begins, two
    /// rates of one prefix that count at the same time, or more than [`RATES_MAX`].
    pub fn new(currency: Currency, mut rates: Vec<Rate>) -> Result<Self> {
        if rates.len() > RATES_MAX {
            return Err(invalid("a card has too many rates"));
        }
        rates.iter().try_for_each(Rate::check)?;
        rates.sort_by(|a, b| (&a.prefix, a.valid_from).cmp(&(&b.prefix, b.valid_from)));
        let overlaps = |pair: &[Rate]| match pair {
            [a, b] => {
                a.prefix == b.prefix && a.valid_until.is_none_or(|until| b.valid_from.is_none_or(|from| from < until))
            }
            _ => false,
        };
        if rates.windows(2).any(overlaps) {
            return Err(invalid("two rates of one prefix count at the same time"));
        }
        Ok(Self { currency, rates })
    }

    /// What all prices are in.
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// The rate of a call to `number` that begins at `at`; a number that is withheld has the rate of the empty prefix.
    ///
    /// `Rejected` when the card has none.
    pub fn rate(&self, number: Option<&E164>, at: Timestamp) -> Result<&Rate> {
        let digits = number.map_or("", |number| number.as_str().trim_start_matches('+'));
        (0..=digits.len()).rev().find_map(|length| self.exactly(&digits[..length], at)).ok_or_else(|| {
            Error::new(ErrorKind::Rejected, "rate_card.rate", "the rate card has no rate for this destination")
        })
    }

    fn exactly(&self, prefix: &str, at: Timestamp) -> Option<&Rate> {
        let first = self.rates.partition_point(|rate| rate.prefix.as_str() < prefix);
        let rates = self.rates[first..].iter().take_while(|rate| rate.prefix == prefix);
        rates.into_iter().find(|rate| rate.counts(at))
    }
}

impl Rate {
    fn counts(&self, at: Timestamp) -> bool {
        self.valid_from.is_none_or(|from| from <= at) && self.valid_until.is_none_or(|until| at < until)
    }

    fn check(&self) -> Result<()> {
        if self.prefix.len() > PREFIX_DIGITS_MAX || !self.prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid("a prefix is not up to 15 digits"));
        }
        if self.per_minute_micros < 0 || self.connection_fee_micros < 0 {
            return Err(invalid("a price is negative"));
        }
        if let (Some(from), Some(until)) = (self.valid_from, self.valid_until)
            && until <= from
        {
            return Err(invalid("a rate ends before it begins"));
        }
        Ok(())
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct CardText {
    currency: Currency,
    rates: Vec<Rate>,
}

impl From<RateCard> for CardText {
    fn from(card: RateCard) -> Self {
        Self { currency: card.currency, rates: card.rates }
    }
}

impl TryFrom<CardText> for RateCard {
    type Error = Error;

    fn try_from(text: CardText) -> Result<Self> {
        Self::new(text.currency, text.rates)
    }
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::ConfigInvalid, "rate_card", message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_prefix_counts() {
        let card = card(vec![rate("", 9), rate("62", 1), rate("6281", 2), rate("628", 3)]).unwrap();
        for (number, micros) in [("+6281234", 2), ("+6282", 3), ("+6221", 1), ("+1415", 9)] {
            assert_eq!(price(&card, Some(number), 0), Ok(micros), "{number}");
        }
        assert_eq!(price(&card, None, 0), Ok(9));
    }

    #[test]
    fn a_destination_without_a_rate_is_rejected() {
        let card = card(vec![rate("62", 1)]).unwrap();
        assert_eq!(price(&card, Some("+1415"), 0), Err(ErrorKind::Rejected));
        assert_eq!(price(&card, None, 0), Err(ErrorKind::Rejected));
    }

    #[test]
    fn a_rate_counts_for_its_time_and_a_shorter_prefix_fills_the_gap() {
        let at = |micros| Some(Timestamp::from_unix_micros(micros));
        let old = Rate { valid_until: at(10), ..rate("628", 1) };
        let new = Rate { valid_from: at(20), ..rate("628", 2) };
        let card = card(vec![new, rate("62", 7), old]).unwrap();
        for (moment, micros) in [(9, 1), (10, 7), (19, 7), (20, 2)] {
            assert_eq!(price(&card, Some("+62812"), moment), Ok(micros), "{moment}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let at = |micros| Some(Timestamp::from_unix_micros(micros));
        let bad = [
            vec![rate("+62", 1)],
            vec![rate("1234567890123456", 1)],
            vec![rate("62", -1)],
            vec![Rate { connection_fee_micros: -1, ..rate("62", 1) }],
            vec![rate("62", 1), rate("62", 2)],
            vec![Rate { valid_until: at(5), ..rate("62", 1) }, Rate { valid_from: at(4), ..rate("62", 1) }],
            vec![Rate { valid_from: at(5), valid_until: at(5), ..rate("62", 1) }],
        ];
        for rates in bad {
            assert_eq!(card(rates.clone()).map_err(|error| error.kind()), Err(ErrorKind::ConfigInvalid), "{rates:?}");
        }
        let text = r#"{"currency":"USD","rates":[{"prefix":"x","per_minute_micros":1,"increment":"1/1"}]}"#;
        assert!(serde_json::from_str::<RateCard>(text).is_err());
    }

    proptest! {
        #[test]
        fn a_card_finds_what_a_search_finds(
            prefixes in proptest::collection::btree_map("[1-3]{0,4}", 0_i64..100, 0..12),
            number in "[1-3]{2,6}",
        ) {
            let rates = prefixes.iter().map(|(prefix, micros)| rate(prefix, *micros)).collect();
            let found = price(&card(rates).unwrap(), Some(&format!("+{number}")), 0);
            let fits = prefixes.iter().filter(|(prefix, _)| number.starts_with(prefix.as_str()));
            let expected = fits.max_by_key(|(prefix, _)| prefix.len()).map(|(_, micros)| *micros);
            prop_assert_eq!(found.ok(), expected);
        }
    }

    fn card(rates: Vec<Rate>) -> Result<RateCard> {
        RateCard::new("USD".parse().unwrap(), rates)
    }

    fn rate(prefix: &str, per_minute_micros: i64) -> Rate {
        Rate {
            prefix: prefix.to_owned(),
            per_minute_micros,
            connection_fee_micros: 0,
            increment: Increment::EXACT,
            valid_from: None,
            valid_until: None,
        }
    }

    fn price(card: &RateCard, number: Option<&str>, at: i64) -> std::result::Result<i64, ErrorKind> {
        let number = number.map(|number| number.parse().unwrap());
        let rate = card.rate(number.as_ref(), Timestamp::from_unix_micros(at));
        rate.map(|rate| rate.per_minute_micros).map_err(|error| error.kind())
    }
}
