//! A PostgreSQL store keeps the promises of a store.

mod support;

use std::process::ExitCode;
use std::sync::Arc;

use offhook::provider::Store;
use offhook_testkit::{behaviour, store};

fn main() -> ExitCode {
    let make = || async { Ok(Arc::new(support::fresh(store::schema())?) as Arc<dyn Store>) };
    behaviour::run(store::suite().trials("postgres", make))
}
