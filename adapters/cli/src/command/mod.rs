//! The commands, one file each.

pub mod call;
pub mod demo;
pub mod replay;
pub mod setup;
pub mod simulate;
