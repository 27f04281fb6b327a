//! Which languages a call may change to.

use serde::{Deserialize, Serialize};

/// Which languages a call may change to, beside the one that it begins in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Languages {
    /// BCP 47; empty keeps to the one that the call begins in.
    pub allowed: Vec<String>,
    /// Whether to follow the caller when the recogniser tells languages apart.
    pub follow: bool,
    /// Whether the model may change the language, by a tool.
    pub tool: bool,
    /// Words that the caller must say in a language before it is followed: "okay, thanks" is not a change.
    pub words_min: u32,
}

impl Default for Languages {
    fn default() -> Self {
        Self { allowed: Vec::new(), follow: true, tool: true, words_min: 3 }
    }
}
