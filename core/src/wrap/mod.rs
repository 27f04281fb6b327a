//! Providers around providers.

pub mod carriers;
pub mod scaled;

pub use carriers::{CarrierName, Carriers, Route};
pub use scaled::Scaled;
