//! Whether the model may begin before the caller's turn is over.

use serde::{Deserialize, Serialize};

/// Whether the model may begin before the caller's turn is over, on words that sound complete.
///
/// Nothing of such an answer is said and none of its functions runs before the turn is over, and then only if the words
/// are still the same. It saves time and may cost requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EarlyGeneration {
    /// Beginnings in one turn of the caller; zero never begins early.
    pub attempts_max: u32,
    /// How sure a recogniser that judges the end of turns must be, in percent.
    pub turn_end_percent_min: u8,
}

impl Default for EarlyGeneration {
    fn default() -> Self {
        Self { attempts_max: 2, turn_end_percent_min: 40 }
    }
}
