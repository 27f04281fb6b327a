//! offhook picks up the phone for an AI agent: it answers and places calls, listens, thinks, speaks, uses tools, bills the
//! minutes and tells the customer's systems what happened.
//!
//! This crate is the engine, on no runtime in particular. A call is a value: [`call::Call`] takes inputs and the time and
//! yields outputs. Everything else is vocabulary ([`provider`]), arithmetic ([`audio`], [`billing`], [`signing`],
//! [`template`]) or plumbing ([`engine`], [`service`], [`wrap`], and the adapters in crates of their own).

pub mod audio;
pub mod billing;
pub mod call;
pub mod dialect;
pub mod engine;
pub mod error;
pub mod ids;
pub mod journal;
pub mod memory;
pub mod money;
pub mod provider;
pub mod runtime;
pub mod service;
pub mod signing;
pub mod template;
pub mod time;
pub mod trace;
pub mod wrap;

pub use error::{Error, ErrorKind, Result, Retry};
