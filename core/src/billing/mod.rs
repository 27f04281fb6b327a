//! What a call costs: arithmetic in integers, without a clock or a store.

pub mod account;
pub mod card;
pub mod cost;
pub mod ledger;
pub mod rate;
pub mod tariff;
pub mod terms;
pub mod usage;

pub use account::{Account, Amount, Unit};
pub use card::{Rate, RateCard};
pub use cost::{Cost, PriceList};
pub use ledger::{Entry, EntryKind, Posting, Rules};
pub use rate::Increment;
pub use tariff::Tariff;
pub use terms::Terms;
pub use usage::{Resource, Usage};
