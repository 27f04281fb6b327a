//! Behaviour suites for the provider traits of [`offhook`]: what every implementation is held to.

#![allow(clippy::expect_used, clippy::panic, reason = "everything here is part of a test")]

pub mod aimock;
pub mod behaviour;
pub mod blob;
pub mod carrier;
pub mod chaos;
pub mod fates;
mod hearing;
pub mod ledger;
pub mod llm;
pub mod machine;
pub mod random;
pub mod reference;
pub mod runtime;
pub mod script;
pub mod sim;
pub mod store;
pub mod trace;
