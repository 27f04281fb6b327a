//! Billing increments.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::time::micros;

/// The steps in which talk time is billed: at least `first`, then whole multiples of `then`.
///
/// Written `first/then` in seconds, as carriers do: `60/60`, `30/6`, `1/1`; `exact` bills each millisecond.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Increment {
    first: Duration,
    then: Duration,
}

impl Increment {
    /// Each millisecond.
    pub const EXACT: Self = Self { first: Duration::ZERO, then: Duration::from_millis(1) };

    /// Steps of `first`, then `then`, in seconds; `then` is at least one.
    pub fn seconds(first: u32, then: u32) -> Result<Self, Error> {
        if then == 0 {
            return Err(Error::new(ErrorKind::ConfigInvalid, "increment", "the second step must not be zero"));
        }
        Ok(Self { first: Duration::from_secs(first.into()), then: Duration::from_secs(then.into()) })
    }

    /// What is billed for `talk`; nothing for nothing.
    pub fn billable(self, talk: Duration) -> Duration {
        if talk.is_zero() {
            return Duration::ZERO;
        }
        let over = micros(talk.saturating_sub(self.first));
        let step = micros(self.then);
        self.first.saturating_add(Duration::from_micros(over.div_ceil(step).saturating_mul(step)))
    }
}

impl FromStr for Increment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "exact" {
            return Ok(Self::EXACT);
        }
        let steps = text.split_once('/').and_then(|(first, then)| Some((first.parse().ok()?, then.parse().ok()?)));
        match steps {
            Some((first, then)) => Self::seconds(first, then),
            None => Err(Error::new(ErrorKind::ConfigInvalid, "increment.parse", "write it as 60/60, 1/1 or exact")),
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
        if *self == Self::EXACT {
            return f.write_str("exact");
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
