//! Behaviour suites for the provider traits of [`offhook`]: what every implementation is held to.

#![allow(clippy::expect_used, clippy::panic, reason = "everything here is part of a test")]

pub mod aimock;
pub mod behaviour;
pub mod blob;
pub mod carrier;
pub mod chaos;
pub mod cleanup;
pub mod disk;
pub mod fates;
mod hearing;
pub mod ledger;
pub mod llm;
pub mod machine;
pub mod peer;
pub mod postgres;
pub mod random;
pub mod reference;
pub mod runtime;
pub mod script;
pub mod sim;
pub mod store;
pub mod trace;

/// How the engines of tests work: as by default, with a key for their vaults and with customers on this machine.
pub fn settings() -> offhook::engine::Settings {
    let mut settings = offhook::engine::Settings::default();
    settings.reach = offhook::provider::reach::Reach::Any;
    settings.vault_keys = vec![offhook::service::vault::VaultKey::new([7; offhook::service::vault::KEY_BYTES])];
    settings
}
