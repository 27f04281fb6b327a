//! Behaviour suites for the provider traits of [`offhook`]: what every implementation is held to.

pub mod behaviour;
pub mod blob;
pub mod carrier;
pub mod chaos;
pub mod llm;
pub mod machine;
pub mod runtime;
pub mod script;
pub mod store;
