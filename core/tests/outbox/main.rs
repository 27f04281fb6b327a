//! The outbox and the webhooks, in virtual time, from the commit to the customer.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod delivering;
mod endpoints;
mod engines;
mod faults;
mod isolation;
mod world;
