//! How one call is billed, fixed when it begins.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::account::Unit;
use super::card::Rate;
use super::rate::Increment;
use crate::error::{Error, ErrorKind, Result};
use crate::money::Currency;
use crate::time::{micros, millis};

/// The longest talk that is ever said to be paid for, however cheap it is.
pub const TALK_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

const MICROS_PER_MINUTE: i128 = 60_000_000;

/// What talk takes of a tenant's prepaid time, or of its money.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Tariff {
    connection_fee_micros: i64,
    increment: Increment,
    per_minute_micros: i64,
    unit: Unit,
}

impl Tariff {
    /// Talk takes its own time, in steps.
    pub fn time(increment: Increment) -> Self {
        Self { connection_fee_micros: 0, increment, per_minute_micros: 0, unit: Unit::Time }
    }

    /// Talk takes what `rate` says, in `currency`.
    pub fn money(currency: Currency, rate: &Rate) -> Self {
        Self {
            connection_fee_micros: rate.connection_fee_micros,
            increment: rate.increment,
            per_minute_micros: rate.per_minute_micros,
            unit: Unit::Money(currency),
        }
    }

    /// What it is billed in.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// What `talk` costs, in milliseconds or in millionths of the currency, rounded half up once. No talk costs nothing.
    ///
    /// `ConfigInvalid` when it is more than 64 bits hold.
    pub fn charge(&self, talk: Duration) -> Result<i64> {
        self.price(talk, MICROS_PER_MINUTE / 2)
    }

    /// What has to be held for `talk`: never less than it will cost.
    pub fn hold(&self, talk: Duration) -> Result<i64> {
        self.price(talk, MICROS_PER_MINUTE - 1)
    }

    /// How long a call may talk for which `held` is held. What is left beyond the last full step may be talked, too.
    pub fn covers(&self, held: i64) -> Duration {
        let left = held.saturating_sub(self.connection_fee_micros);
        if left < 0 {
            return Duration::ZERO;
        }
        match self.unit {
            Unit::Time => Duration::from_millis(left.unsigned_abs()),
            Unit::Money(_) if self.per_minute_micros == 0 => TALK_MAX,
            Unit::Money(_) => {
                let talk = i128::from(left) * MICROS_PER_MINUTE / i128::from(self.per_minute_micros);
                Duration::from_millis(u64::try_from(talk / 1_000).unwrap_or(u64::MAX)).min(TALK_MAX)
            }
        }
    }

    /// `rounding` of [`MICROS_PER_MINUTE`] parts is what a broken part is raised by before it is cut off.
    fn price(&self, talk: Duration, rounding: i128) -> Result<i64> {
        let billable = self.increment.billable(talk);
        let price = match self.unit {
            _ if billable.is_zero() => 0,
            Unit::Time => i128::from(millis(billable)),
            Unit::Money(_) => {
                let parts = i128::from(self.per_minute_micros) * i128::from(micros(billable));
                i128::from(self.connection_fee_micros) + (parts + rounding) / MICROS_PER_MINUTE
            }
        };
        i64::try_from(price).map_err(|error| {
            Error::new(ErrorKind::ConfigInvalid, "tariff", "the price does not fit in 64 bits").with_source(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn money_is_rounded_half_up_once_at_the_end() {
        // 1/60 of 30, 29 and 31 millionths for each second: 0.5, 0.483 and 0.517.
        for (per_minute, second, two) in [(30, 1, 1), (29, 0, 1), (31, 1, 1), (90, 2, 3)] {
            let tariff = money(0, per_minute, "1/1");
            assert_eq!((charge(&tariff, 1), charge(&tariff, 1_001)), (second, two), "{per_minute}");
        }
    }

    #[test]
    fn the_fee_is_for_calls_that_were_answered() {
        let tariff = money(500, 6_000, "30/6");
        assert_eq!(charge(&tariff, 0), 0);
        assert_eq!(charge(&tariff, 1), 500 + 3_000);
        assert_eq!(charge(&tariff, 30_001), 500 + 3_600);
        assert_eq!(tariff.covers(499), Duration::ZERO);
        assert_eq!(tariff.covers(3_500), Duration::from_secs(30));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let tariff = money(i64::MAX, i64::MAX, "60/60");
        assert_eq!(tariff.charge(Duration::from_secs(1)).unwrap_err().kind(), ErrorKind::ConfigInvalid);
        assert_eq!(money(0, 0, "1/1").covers(0), TALK_MAX);
    }

    proptest! {
        #[test]
        fn a_hold_covers_the_talk_and_its_charge(
            fee in 0_i64..10_000,
            per_minute in 0_i64..10_000_000,
            increment in prop::sample::select(vec!["exact", "1/1", "30/6", "60/60", "per_second", "per_minute_ceil"]),
            talk_ms in 0_u64..10_000_000,
            is_time in any::<bool>(),
        ) {
            let talk = Duration::from_millis(talk_ms);
            let tariff = if is_time { Tariff::time(increment.parse().unwrap()) } else { money(fee, per_minute, increment) };
            let (held, charge) = (tariff.hold(talk).unwrap(), tariff.charge(talk).unwrap());
            prop_assert!(charge <= held && held <= charge + 1);
            let counted = talk - Duration::from_millis(talk_ms % 1_000);
            prop_assert!(charge == 0 || tariff.covers(held) >= counted);
            prop_assert!(tariff.charge(talk + Duration::from_millis(1)).unwrap() >= charge);
        }
    }

    fn money(connection_fee_micros: i64, per_minute_micros: i64, increment: &str) -> Tariff {
        let rate = Rate {
            prefix: String::new(),
            per_minute_micros,
            connection_fee_micros,
            increment: increment.parse().unwrap(),
            valid_from: None,
            valid_until: None,
        };
        Tariff::money("USD".parse().unwrap(), &rate)
    }

    fn charge(tariff: &Tariff, talk_ms: u64) -> i64 {
        tariff.charge(Duration::from_millis(talk_ms)).unwrap()
    }
}
