//! The reference store keeps the promises of a store.

use std::process::ExitCode;
use std::sync::Arc;

use offhook::memory::MemoryStore;
use offhook::provider::Store;
use offhook_testkit::{behaviour, store};

fn main() -> ExitCode {
    let make = || async { Ok(Arc::new(MemoryStore::new(store::schema())?) as Arc<dyn Store>) };
    behaviour::run(store::suite().trials("memory", make))
}
