//! What happened in a call, append-only: every input with its time, from which the call can be run again.
//!
//! A journal also keeps a check value of what the call put out before each input, and a digest of all of it at the end.
//! So a replay does not only give *an* account of the call: it proves that it is what really happened, to the byte, or
//! names the first entry at which it is not.

mod chain;
mod codec;
pub mod explain;
mod file;
mod redact;
mod rerun;
mod verify;
mod writer;

use bytes::Bytes;

use self::chain::Chain;
pub use self::file::MAGIC;
pub use self::redact::redact;
pub use self::rerun::{Rerun, rerun};
pub use self::verify::{Difference, Verdict};
pub use self::writer::Writer;
use crate::call::{Call, CallConfig, Input, Offer, Output};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CallId, TenantId};
use crate::provider::store::LogKey;
use crate::time::Instant;

/// The version that this crate writes; it reads no other.
pub const VERSION: u64 = 3;

/// One entry of a journal.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// The call has ended and this is what it put out. Always the last entry, if it is there.
    End {
        /// When.
        at: Instant,
        /// SHA-256 over all outputs, chained.
        digest: Digest,
        /// How many there were.
        outputs: u64,
    },
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
    },
    /// The call was woken by a timer.
    Timeout {
        /// When.
        at: Instant,
    },
}

/// SHA-256.
pub type Digest = [u8; 32];

impl Entry {
    /// When.
    pub fn at(&self) -> Instant {
        match self {
            Self::End { at, .. } | Self::Input { at, .. } | Self::Start { at, .. } | Self::Timeout { at } => *at,
        }
    }

    /// The stored form of an entry that stands by itself, without a check value: it may follow any other. What runs a call
    /// uses a [`Writer`].
    pub fn encode(&self) -> Bytes {
        codec::alone(self.at(), self.body())
    }

    fn body(&self) -> codec::Body<'_> {
        match self {
            Self::End { digest, outputs, .. } => codec::Body::End { digest, outputs: *outputs },
            Self::Input { input, .. } => codec::Body::Input(input),
            Self::Start { config, offer, .. } => codec::Body::Start { config, offer },
            Self::Timeout { .. } => codec::Body::Timeout,
        }
    }
}

/// A journal that was kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Journal {
    /// In order; the first is the start.
    pub entries: Vec<Entry>,
    /// What is behind the last entry.
    pub tail: Tail,
    /// For each entry the check value of all outputs before it; `None` for one that was written without.
    checks: Vec<Option<u32>>,
}

/// What is behind the last entry of a journal that can be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tail {
    /// Nothing.
    Clean,
    /// The beginning of an entry: whoever wrote it was interrupted.
    Torn,
    /// An entry that cannot be read. Nothing behind it was.
    Unreadable,
}

impl Journal {
    /// Reads what a log holds, up to the first entry that cannot be read.
    ///
    /// `Rejected` for a journal that does not begin with a start, or of another version.
    pub fn from_log<T: AsRef<[u8]>>(items: impl IntoIterator<Item = T>) -> Result<Self> {
        let mut journal = Self { entries: Vec::new(), tail: Tail::Clean, checks: Vec::new() };
        let mut codec = codec::Codec::default();
        for item in items {
            match codec.decode(item.as_ref()) {
                Ok((entry, check)) => {
                    journal.entries.push(entry);
                    journal.checks.push(check);
                }
                Err(error) if journal.entries.is_empty() => return Err(error),
                Err(_) => {
                    journal.tail = Tail::Unreadable;
                    break;
                }
            }
        }
        match journal.entries.first() {
            Some(Entry::Start { .. }) => Ok(journal),
            _ => Err(rejected("the journal does not begin with a start")),
        }
    }

    /// The journal of entries that were given to a call by hand: runs them, to know the check values and the end.
    ///
    /// `Rejected` for entries without a start, or with a second one.
    pub fn seal(entries: impl IntoIterator<Item = Entry>) -> Result<Self> {
        let mut chain = Chain::default();
        let mut entries = entries.into_iter().filter(|entry| !matches!(entry, Entry::End { .. }));
        let first = entries.next();
        let mut runner = Runner::start(first.clone())?;
        let mut journal = Self { entries: first.into_iter().collect(), tail: Tail::Clean, checks: vec![Some(0)] };
        runner.outputs().iter().for_each(|output| chain.push(output));
        for entry in entries {
            journal.entries.push(entry.clone());
            journal.checks.push(Some(chain.check()));
            runner.step(entry)?;
            runner.outputs().iter().for_each(|output| chain.push(output));
        }
        if let Some(last) = journal.entries.last().filter(|_| runner.call.is_ended()) {
            journal.entries.push(Entry::End { at: last.at(), digest: chain.digest(), outputs: chain.outputs() });
            journal.checks.push(Some(chain.check()));
        }
        Ok(journal)
    }

    /// The stored form, an item an entry.
    pub fn to_log(&self) -> Vec<Bytes> {
        let mut codec = codec::Codec::default();
        let kept = self.entries.iter().zip(&self.checks);
        kept.map(|(entry, check)| match check {
            Some(check) => codec.encode(entry.at(), entry.body(), *check),
            None => codec.pass(entry),
        })
        .collect()
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

/// Runs entries. The same entries give the same outputs, byte for byte.
///
/// `Rejected` for entries without a start, or with a second one.
pub fn replay(entries: impl IntoIterator<Item = Entry>) -> Result<Replay> {
    let mut entries = entries.into_iter();
    let mut runner = Runner::start(entries.next())?;
    let mut outputs = runner.outputs();
    for entry in entries {
        runner.step(entry)?;
        outputs.append(&mut runner.outputs());
    }
    Ok(Replay { call: runner.call, outputs })
}

/// Gives a call its entries, one by one.
struct Runner {
    call: Call,
}

impl Runner {
    fn start(entry: Option<Entry>) -> Result<Self> {
        match entry {
            Some(Entry::Start { at, config, offer }) => Ok(Self { call: Call::new(*config, offer, at) }),
            _ => Err(rejected("the journal does not begin with a start")),
        }
    }

    fn step(&mut self, entry: Entry) -> Result<()> {
        match entry {
            Entry::End { .. } => {}
            Entry::Input { at, input } => self.call.handle_input(at, input),
            Entry::Start { .. } => return Err(rejected("the journal starts twice")),
            Entry::Timeout { at } => self.call.handle_timeout(at),
        }
        Ok(())
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.call.poll_output()).collect()
    }
}

fn rejected(message: &str) -> Error {
    Error::new(ErrorKind::Rejected, "journal.read", message)
}
