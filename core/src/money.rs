//! Money in integer micro-units of an ISO 4217 currency. Never a float.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// Millionths in one unit.
pub const MICROS_PER_UNIT: i64 = 1_000_000;

/// An ISO 4217 alphabetic code, such as `USD` or `IDR`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// The code's three letters.
    pub fn as_str(&self) -> &str {
        // The constructor admits A to Z only.
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl FromStr for Currency {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match *text.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(u8::is_ascii_uppercase) => Ok(Self([a, b, c])),
            _ => Err(Error::new(ErrorKind::ConfigInvalid, "currency.parse", "a currency is three capital letters")),
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An amount: millionths of the currency's unit.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Money {
    micros: i64,
    currency: Currency,
}

impl Money {
    /// `micros` millionths of one unit of `currency`.
    pub const fn from_micros(micros: i64, currency: Currency) -> Self {
        Self { micros, currency }
    }

    /// Nothing, in `currency`.
    pub const fn zero(currency: Currency) -> Self {
        Self::from_micros(0, currency)
    }

    /// Millionths of one unit.
    pub const fn micros(self) -> i64 {
        self.micros
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The sum; an error when the currencies differ or the sum does not fit.
    pub fn checked_add(self, other: Self) -> Result<Self, Error> {
        self.same_currency(other)?;
        let micros = self.micros.checked_add(other.micros).ok_or_else(overflow)?;
        Ok(Self { micros, ..self })
    }

    /// The difference; an error when the currencies differ or it does not fit.
    pub fn checked_sub(self, other: Self) -> Result<Self, Error> {
        self.same_currency(other)?;
        let micros = self.micros.checked_sub(other.micros).ok_or_else(overflow)?;
        Ok(Self { micros, ..self })
    }

    /// `count` times the amount; an error when it does not fit.
    pub fn checked_mul(self, count: i64) -> Result<Self, Error> {
        let micros = self.micros.checked_mul(count).ok_or_else(overflow)?;
        Ok(Self { micros, ..self })
    }

    fn same_currency(self, other: Self) -> Result<(), Error> {
        if self.currency == other.currency {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, "money", "amounts are in different currencies")
            .with_context("left", self.currency)
            .with_context("right", other.currency))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.micros < 0 { "-" } else { "" };
        let micros = self.micros.unsigned_abs();
        let unit = MICROS_PER_UNIT.unsigned_abs();
        write!(f, "{sign}{}.{:06} {}", micros / unit, micros % unit, self.currency)
    }
}

fn overflow() -> Error {
    Error::new(ErrorKind::Unexpected, "money", "the amount does not fit in 64 bits of millionths")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn currencies_do_not_mix() {
        let (usd, idr) = ("USD".parse().unwrap(), "IDR".parse().unwrap());
        let error = Money::from_micros(1, usd).checked_add(Money::from_micros(1, idr)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!("usd".parse::<Currency>().is_err());
    }

    #[test]
    fn amounts_print_exactly_and_never_wrap() {
        let usd = "USD".parse().unwrap();
        assert_eq!(Money::from_micros(-1_500_000, usd).to_string(), "-1.500000 USD");
        assert_eq!(Money::from_micros(i64::MIN, usd).to_string(), "-9223372036854.775808 USD");
        assert!(Money::from_micros(i64::MAX, usd).checked_add(Money::from_micros(1, usd)).is_err());
        assert!(Money::from_micros(i64::MIN, usd).checked_mul(-1).is_err());
    }
}
