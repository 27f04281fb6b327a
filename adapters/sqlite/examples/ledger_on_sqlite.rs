//! Many random ledger operations in SQLite, each history in a file of its own, each against the model:
//! `cargo run --release -p offhook-sqlite --example ledger_on_sqlite -- [--operations N] [--seed N] [--tasks N]`.
//!
//! The files are where temporary files are: with `TMPDIR=/dev/shm` it is not the disk that takes the time.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "it takes the time and tells it")]

use std::env;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_lite::future::block_on;
use offhook::service;
use offhook_sqlite::SqliteStore;
use offhook_testkit::behaviour::on_threads;
use offhook_testkit::ledger::{self, Tally};

/// Operations in one history: enough for each to meet the traces of many others.
const HISTORY: u64 = 5_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (mut operations, mut first, mut tasks) = (100_000, 0, 2);
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--operations" => operations = value.parse()?,
            [name, value] if name == "--seed" => first = value.parse()?,
            [name, value] if name == "--tasks" => tasks = value.parse()?,
            _ => return Err("usage: ledger_on_sqlite [--operations N] [--seed N] [--tasks N]".into()),
        }
    }
    let (start, next, histories) = (Instant::now(), Arc::new(AtomicU64::new(0)), u64::div_ceil(operations, HISTORY));
    let tallies = on_threads(tasks, |_| {
        let next = next.clone();
        async move {
            let mut all = Tally::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= histories {
                    return Ok(all);
                }
                let folder = tempfile::tempdir().map_err(no_folder)?;
                let store = SqliteStore::open(folder.path().join("ledger.db"), service::schema())?;
                let length = HISTORY.min(operations - number * HISTORY);
                all.add(&ledger::run(Arc::new(store), first + number, length).await?);
            }
        }
    });
    let tallies = block_on(tallies).map_err(|failed| failed.message().unwrap_or("a history failed").to_owned())?;
    let mut all = Tally::default();
    tallies.iter().for_each(|tally| all.add(tally));
    println!("{all:#?}");
    let seconds = start.elapsed().as_secs_f64();
    println!("no difference in {seconds:.1} s, the last seed was {}", (first + histories).saturating_sub(1));
    Ok(())
}

fn no_folder(error: std::io::Error) -> offhook::Error {
    offhook::Error::new(offhook::ErrorKind::Unavailable, "ledger", "there is no temporary folder").with_source(error)
}
