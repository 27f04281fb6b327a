//! Providers around providers.

pub mod cached;
pub mod carriers;
pub(crate) mod memory;
pub mod scaled;

pub use cached::Cached;
pub use carriers::{CarrierName, Carriers, Route};
pub use scaled::Scaled;
