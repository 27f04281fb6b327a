//! The commands, one file each.

pub mod admin;
pub mod call;
pub mod check_config;
pub mod demo;
pub mod replay;
pub mod serve;
pub mod setup;
pub mod simulate;
