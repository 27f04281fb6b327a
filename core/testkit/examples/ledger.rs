//! Many random ledger operations on the reference store, in histories of their own:
//! `cargo run --release -p offhook-testkit --example ledger -- [--operations N] [--seed N]`.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "it takes the time and tells it")]

use std::env;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use futures_lite::future::block_on;
use offhook::memory::MemoryStore;
use offhook::service;
use offhook_testkit::ledger::{self, Tally};

/// Operations in one history: enough for each to meet the traces of many others.
const HISTORY: u64 = 5_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (mut operations, mut seed) = (1_000_000, 0);
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--operations" => operations = value.parse()?,
            [name, value] if name == "--seed" => seed = value.parse()?,
            _ => return Err("usage: ledger [--operations N] [--seed N]".into()),
        }
    }
    let (start, mut all) = (Instant::now(), Tally::default());
    while all.operations < operations {
        let store = Arc::new(MemoryStore::new(service::schema())?);
        let length = HISTORY.min(operations - all.operations);
        all.add(&block_on(ledger::run(store, seed, length))?);
        seed += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{all:#?}");
    println!("no difference in {seconds:.1} s, the last seed was {}", seed - 1);
    Ok(())
}
