//! The reference store keeps the promises of a store, and so does one that remembers what it has read.

use std::process::ExitCode;
use std::sync::Arc;

use offhook::memory::MemoryStore;
use offhook::provider::Store;
use offhook::wrap::Cached;
use offhook_testkit::{behaviour, store};

fn main() -> ExitCode {
    let memory = || async { Ok(Arc::new(MemoryStore::new(store::schema())?) as Arc<dyn Store>) };
    let cached = || async {
        let below = Arc::new(MemoryStore::new(store::schema())?);
        Ok(Arc::new(Cached::new(below, [store::THING, store::PLAIN])) as Arc<dyn Store>)
    };
    let mut trials = store::suite().trials("memory", memory);
    trials.extend(store::suite().trials("cached", cached));
    behaviour::run(trials)
}
