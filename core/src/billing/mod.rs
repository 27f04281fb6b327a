//! What a call costs: arithmetic in integers, without a clock or a store.

pub mod ledger;
pub mod rate;

pub use ledger::{Account, Entry, EntryKind, Posting};
pub use rate::Increment;
