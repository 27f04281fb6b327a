//! Billing increments.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::time::micros;

/// The steps in which talk time is billed: at least `first`, then whole multiples of `then`.
///
/// Written `first/then` in seconds, as carriers do: `60/60`, `30/6`, `1/1`; `exact` bills each millisecond. `per_second`
/// and `per_minute_ceil` count the talk in whole seconds, rounded down, before they step.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Increment {
    /// What is broken of this much talk is not counted.
    counted: Duration,
    first: Duration,
    then: Duration,
}

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

impl Increment {
    /// Each millisecond.
    pub const EXACT: Self = Self { counted: MILLISECOND, first: Duration::ZERO, then: MILLISECOND };

    /// Each minute that was begun, of talk in whole seconds.
    pub const PER_MINUTE_CEIL: Self = Self { counted: SECOND, first: MINUTE, then: MINUTE };

    /// Each whole second of talk.
    pub const PER_SECOND: Self = Self { counted: SECOND, first: Duration::ZERO, then: SECOND };

    /// Steps of `first`, then `then`, in seconds; `then` is at least one.
    pub fn seconds(first: u32, then: u32) -> Result<Self, Error> {
        if then == 0 {
            return Err(Error::new(ErrorKind::ConfigInvalid, "increment", "the second step must not be zero"));
        }
        let (first, then) = (Duration::from_secs(first.into()), Duration::from_secs(then.into()));
        Ok(Self { counted: MILLISECOND, first, then })
    }

    /// What is billed for `talk`; nothing for nothing.
    pub fn billable(self, talk: Duration) -> Duration {
        let counted = micros(self.counted);
        let talk = Duration::from_micros(micros(talk) / counted * counted);
        if talk.is_zero() {
            return Duration::ZERO;
        }
        let over = micros(talk.saturating_sub(self.first));
        let step = micros(self.then);
        self.first.saturating_add(Duration::from_micros(over.div_ceil(step).saturating_mul(step)))
    }
}

/// Increments that are called by a name.
const NAMED: [(&str, Increment); 3] = [
    ("exact", Increment::EXACT),
    ("per_minute_ceil", Increment::PER_MINUTE_CEIL),
    ("per_second", Increment::PER_SECOND),
];

impl FromStr for Increment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some((_, named)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(*named);
        }
        let steps = text.split_once('/').and_then(|(first, then)| Some((first.parse().ok()?, then.parse().ok()?)));
        match steps {
            Some((first, then)) => Self::seconds(first, then),
            None => Err(Error::new(
                ErrorKind::ConfigInvalid,
                "increment.parse",
                "write it as 60/60, 1/1, exact or per_second",
            )),
        }
    }
}

impl TryFrom<String> for Increment {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Increment> for String {
    fn from(increment: Increment) -> Self {
        increment.to_string()
    }
}

impl fmt::Display for Increment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = NAMED.iter().find(|(_, named)| named == self) {
            return f.write_str(name);
        }
        write!(f, "{}/{}", self.first.as_secs(), self.then.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(increment: &str, talk_ms: u64) -> f64 {
        let increment: Increment = increment.parse().unwrap();
        increment.billable(Duration::from_millis(talk_ms)).as_secs_f64()
    }

    #[test]
    fn increments_round_up_as_carriers_do() {
        assert_eq!(seconds("60/60", 1), 60.0);
        assert_eq!(seconds("60/60", 60_001), 120.0);
        assert_eq!(seconds("30/6", 31_000), 36.0);
        assert_eq!(seconds("1/1", 1_001), 2.0);
        assert_eq!(seconds("exact", 1_001), 1.001);
        assert_eq!(seconds("60/60", 0), 0.0);
    }

    /// DR-055 and DR-064: minutes are rounded up from talk in whole seconds, which is rounded down.
    #[test]
    fn named_increments_count_whole_seconds() {
        assert_eq!(seconds("per_minute_ceil", 60_999), 60.0);
        assert_eq!(seconds("per_minute_ceil", 61_000), 120.0);
        assert_eq!(seconds("per_minute_ceil", 999), 0.0);
        assert_eq!(seconds("per_second", 1_999), 1.0);
        for name in ["exact", "per_minute_ceil", "per_second"] {
            assert_eq!(name.parse::<Increment>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "60", "60/0", "a/b", "-1/1", "60/60/60"] {
            assert!(text.parse::<Increment>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn billing_never_falls_short_and_never_exceeds_a_step(first in 0_u32..600, then in 1_u32..600, talk in 1_u64..90_000_000) {
            let increment = Increment::seconds(first, then).unwrap();
            let talk = Duration::from_millis(talk);
            let billed = increment.billable(talk);
            prop_assert!(billed >= talk);
            let limit = talk.max(Duration::from_secs(first.into())) + Duration::from_secs(then.into());
            prop_assert!(billed < limit);
            prop_assert_eq!(increment.to_string().parse::<Increment>().unwrap(), increment);
        }
    }
}
