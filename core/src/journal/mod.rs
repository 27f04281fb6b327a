//! What happened in a call, append-only: every input with its time, from which the call can be run again.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::call::{Call, CallConfig, Input, Offer, Output};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CallId, TenantId};
use crate::provider::store::LogKey;
use crate::time::Instant;

/// The version that this crate writes; it reads no other.
pub const VERSION: u32 = 1;

/// One entry of a journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// An input was given to the call.
    Input {
        /// When.
        at: Instant,
        /// What.
        input: Input,
    },
    /// The call began. Always the first entry.
    Start {
        /// When.
        at: Instant,
        /// How the call is to be held.
        config: Box<CallConfig>,
        /// The other side.
        offer: Offer,
        /// [`VERSION`].
        version: u32,
    },
    /// The call was woken by a timer.
    Timeout {
        /// When.
        at: Instant,
    },
}

impl Entry {
    /// When.
    pub fn at(&self) -> Instant {
        match self {
            Self::Input { at, .. } | Self::Start { at, .. } | Self::Timeout { at } => *at,
        }
    }

    /// The stored form.
    pub fn encode(&self) -> Bytes {
        // Numbers, texts and maps with text keys: this cannot fail.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Reads the stored form; `Rejected` when it is not one.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|error| unreadable("the entry cannot be read").with_source(error))
    }
}

/// The log that holds a call's journal.
pub fn log_key(tenant: TenantId, call: CallId) -> LogKey {
    LogKey::new(tenant, format!("call/{call}"))
}

/// A call that was run again.
#[derive(Debug)]
pub struct Replay {
    /// The call after its last entry.
    pub call: Call,
    /// All that it put out, in order.
    pub outputs: Vec<Output>,
}

/// Runs a journal. The same entries give the same outputs, byte for byte.
///
/// `Rejected` for a journal without a start, with a second one, or of another version.
pub fn replay(entries: impl IntoIterator<Item = Entry>) -> Result<Replay> {
    let mut entries = entries.into_iter();
    let Some(Entry::Start { at, config, offer, version }) = entries.next() else {
        return Err(unreadable("the journal does not begin with a start"));
    };
    if version != VERSION {
        return Err(unreadable("the journal is of another version").with_context("version", version));
    }
    let mut replay = Replay { call: Call::new(*config, offer, at), outputs: Vec::new() };
    replay.drain();
    for entry in entries {
        match entry {
            Entry::Input { at, input } => replay.call.handle_input(at, input),
            Entry::Start { .. } => return Err(unreadable("the journal starts twice")),
            Entry::Timeout { at } => replay.call.handle_timeout(at),
        }
        replay.drain();
    }
    Ok(replay)
}

impl Replay {
    fn drain(&mut self) {
        self.outputs.extend(std::iter::from_fn(|| self.call.poll_output()));
    }
}

fn unreadable(message: &str) -> Error {
    Error::new(ErrorKind::Rejected, "journal.replay", message)
}
