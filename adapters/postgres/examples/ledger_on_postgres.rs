//! Many random ledger operations in PostgreSQL, several histories at once, each against the model:
//! `cargo run --release -p offhook-postgres --example ledger_on_postgres -- [--operations N] [--seed N] [--tasks N]`.
//!
//! The server is its own and does not flush to the disk.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::env;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use offhook::service;
use offhook_postgres::{Options, PostgresStore};
use offhook_testkit::ledger::{self, Tally};
use offhook_testkit::postgres::Cluster;
use tokio::task::JoinSet;

/// Operations in one history: enough for each to meet the traces of many others.
const HISTORY: u64 = 5_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (mut operations, mut seed, mut tasks) = (100_000, 0, 8);
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--operations" => operations = value.parse()?,
            [name, value] if name == "--seed" => seed = value.parse()?,
            [name, value] if name == "--tasks" => tasks = value.parse()?,
            _ => return Err("usage: ledger [--operations N] [--seed N] [--tasks N]".into()),
        }
    }
    let cluster = Cluster::start(&["fsync=off"])?;
    let options = Options::new(&cluster.database()?)?.connections(tasks);
    let store = Arc::new(PostgresStore::connect_with(options, service::schema()).await?);
    let (start, mut all, mut begun, mut histories) = (Instant::now(), Tally::default(), 0, JoinSet::new());
    loop {
        while begun < operations && histories.len() < tasks {
            let length = HISTORY.min(operations - begun);
            histories.spawn(ledger::run(store.clone(), seed, length));
            (begun, seed) = (begun + length, seed + 1);
        }
        let Some(history) = histories.join_next().await else { break };
        all.add(&history??);
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{all:#?}");
    println!("no difference in {seconds:.1} s, the last seed was {}", seed - 1);
    Ok(())
}
