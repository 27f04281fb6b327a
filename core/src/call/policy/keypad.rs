//! What the caller's keys do.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::provider::telephony::DtmfDigit;
use crate::time::duration_ms;

/// Keys that a rule can ask for.
const PATTERN_KEYS_MAX: usize = 32;

/// What the caller's keys do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Keypad {
    /// Longest pause between two keys that belong together.
    #[serde(with = "duration_ms", rename = "inter_digit_timeout_ms")]
    pub inter_digit_timeout: Duration,
    /// Tried at each key; the longest match wins, and the first among equals.
    pub rules: Vec<KeyRule>,
    /// Keys that no rule takes are told to the model as a turn of the caller; otherwise they are only reported.
    pub tell_model: bool,
}

impl Default for Keypad {
    fn default() -> Self {
        Self { inter_digit_timeout: Duration::from_secs(3), rules: Vec::new(), tell_model: true }
    }
}

/// What some keys do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyRule {
    /// Which keys.
    pub keys: KeyPattern,
    /// What they do.
    pub action: KeyAction,
}

/// What keys do. The agent falls silent first, except for `SetVariable`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyAction {
    /// Run one of the agent's functions with what was entered as its parameter `digits`, and let the agent go on with its answer.
    CallFunction {
        /// Which.
        name: String,
    },
    /// End the call, after these words if there are any.
    End {
        /// Said before.
        text: Option<String>,
    },
    /// Say this.
    Say {
        /// The words.
        text: String,
    },
    /// Keep what was entered under a name, which the model then knows and the record holds.
    SetVariable {
        /// The name.
        name: String,
    },
    /// Transfer the call to one of the policy's [targets](super::TransferTarget).
    Transfer {
        /// The target's name.
        target: String,
    },
}

/// Keys in order; `x` stands for any digit. Such as `1`, `*9` or `xxxx#`.
///
/// What the caller enters with it are the digits at each `x`, or all keys when there is none.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct KeyPattern(Vec<Option<DtmfDigit>>);

impl KeyPattern {
    /// How many keys it takes.
    pub fn length(&self) -> usize {
        self.0.len()
    }

    /// What these keys enter.
    pub fn entered(&self, keys: &[DtmfDigit]) -> String {
        let is_asked = |wanted: &Option<DtmfDigit>| wanted.is_none() || self.0.iter().all(Option::is_some);
        let entered = keys.iter().zip(&self.0).filter(|(_, wanted)| is_asked(wanted));
        entered.map(|(key, _)| key.as_char()).collect()
    }

    /// Whether these keys begin it, or are it.
    pub fn begins_with(&self, keys: &[DtmfDigit]) -> bool {
        keys.len() <= self.0.len()
            && keys.iter().zip(&self.0).all(|(key, wanted)| match wanted {
                Some(wanted) => key == wanted,
                None => key.as_char().is_ascii_digit(),
            })
    }

    /// Whether these keys are it.
    pub fn is(&self, keys: &[DtmfDigit]) -> bool {
        keys.len() == self.0.len() && self.begins_with(keys)
    }
}

impl TryFrom<String> for KeyPattern {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let keys = text.chars().map(|key| match key {
            'x' | 'X' => Ok(None),
            key => DtmfDigit::try_from(key).map(Some),
        });
        let keys = keys.collect::<Result<Vec<_>>>()?;
        if keys.is_empty() || keys.len() > PATTERN_KEYS_MAX {
            return Err(Error::new(ErrorKind::ConfigInvalid, "key_pattern.parse", "a pattern has 1 to 32 keys"));
        }
        Ok(Self(keys))
    }
}

impl std::str::FromStr for KeyPattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.to_owned().try_into()
    }
}

impl From<KeyPattern> for String {
    fn from(pattern: KeyPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for KeyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|key| write!(f, "{}", key.map_or('x', DtmfDigit::as_char)))
    }
}
