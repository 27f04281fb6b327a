//! `offhook serve` on SQLite next to FastAPI on uvicorn, on one core each time, while another core asks: the list of a tenant
//! with 100,000 calls, and tasks with their commits, against a greeting in JSON. Then a million requests, and what memory they
//! leave behind.
//!
//! `cargo xtask bench server` installs FastAPI and runs it.
//! `-- --offhook PROGRAM --python PROGRAM [--seconds N] [--rounds N] [--requests N]`

#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark that cannot be set up has nothing to measure")]
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

#[path = "server/load.rs"]
mod load;
#[path = "server/place.rs"]
mod place;

use std::collections::BTreeMap;
use std::time::Duration;

use self::load::{Load, Tally};
use self::place::{Place, Process};

/// Calls that are stored.
const CALLS: u32 = 100_000;

/// Clients at once.
const CONNECTIONS: usize = 64;

/// How often memory is looked at.
const LOOK_EACH: u64 = 100_000;

fn main() {
    let options = Options::parse();
    if options.is_idle {
        return;
    }
    place::pin_to_core_0();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(&options));
}

async fn run(options: &Options) {
    let place = Place::new(&options.offhook);
    place.store_calls(CALLS).await;
    let server = place.serve();
    let subject = server.subject(&place).await;
    let contenders = [
        ("offhook: GET /calls of 100,000", Contender::Offhook(subject.list.clone())),
        ("offhook: POST /tasks", Contender::Offhook(subject.create.clone())),
        ("FastAPI, uvicorn", Contender::FastApi(&["--loop", "asyncio", "--http", "h11"])),
        ("FastAPI, uvicorn[standard]", Contender::FastApi(&["--loop", "uvloop", "--http", "httptools"])),
    ];
    let mut tallies: BTreeMap<&str, Vec<Tally>> = BTreeMap::new();
    for round in 1..=options.rounds {
        for (name, contender) in &contenders {
            let tally = contender.measure(&server, options).await;
            println!("round {round}: {tally} {name}");
            tallies.entry(name).or_default().push(tally);
        }
    }
    compare(&tallies);
    let mut mixed = vec![subject.create];
    mixed.extend(subject.pages);
    watch_memory(&server, mixed, options.requests).await;
}

enum Contender {
    FastApi(&'static [&'static str]),
    Offhook(Vec<u8>),
}

impl Contender {
    async fn measure(&self, server: &Process, options: &Options) -> Tally {
        let limit = Duration::from_secs(options.seconds);
        match self {
            Self::FastApi(arguments) => {
                let server = place::fast_api(&options.python, arguments);
                let load = Load { addr: server.addr, connections: CONNECTIONS, requests: vec![place::get("/", "")] };
                server.answers().await;
                load.warm_up().await;
                load.run_for(limit).await
            }
            Self::Offhook(request) => {
                let load = Load { addr: server.addr, connections: CONNECTIONS, requests: vec![request.clone()] };
                load.warm_up().await;
                load.run_for(limit).await
            }
        }
    }
}

/// Each middle rate, as so many times those of FastAPI.
fn compare(tallies: &BTreeMap<&str, Vec<Tally>>) {
    let middle = |name: &str| {
        let mut tallies = tallies[name].clone();
        tallies.sort_by(|a, b| a.per_second().total_cmp(&b.per_second()));
        tallies[tallies.len() / 2].clone()
    };
    for name in tallies.keys() {
        print!("{} {name}", middle(name));
        for peer in ["FastAPI, uvicorn", "FastAPI, uvicorn[standard]"] {
            if !name.starts_with("FastAPI") {
                print!(", {:.1} times {peer}", middle(name).per_second() / middle(peer).per_second());
            }
        }
        println!();
    }
}

/// Pages of many offsets, and now and then a task.
async fn watch_memory(server: &Process, requests: Vec<Vec<u8>>, count: u64) {
    let load = Load { addr: server.addr, connections: CONNECTIONS, requests };
    println!("{:>9} requests: {} KiB resident", 0, server.resident_kib());
    for done in (1..=count / LOOK_EACH).map(|looks| looks * LOOK_EACH) {
        let tally = load.run(LOOK_EACH).await;
        assert_eq!(tally.failures, 0, "some requests failed");
        println!("{done:>9} requests: {} KiB resident", server.resident_kib());
    }
}

struct Options {
    is_idle: bool,
    offhook: String,
    python: String,
    requests: u64,
    rounds: usize,
    seconds: u64,
}

impl Options {
    fn parse() -> Self {
        let all: Vec<String> = std::env::args().skip(1).collect();
        let value = |name: &str| all.iter().position(|option| option == name).and_then(|at| all.get(at + 1));
        let number = |name: &str, usual| value(name).map_or(usual, |text| text.parse().expect("a number"));
        let text = |name: &str| value(name).cloned().unwrap_or_default();
        Self {
            // Whoever runs all benchmarks has not said which program to measure.
            is_idle: value("--offhook").is_none(),
            offhook: text("--offhook"),
            python: text("--python"),
            requests: number("--requests", 1_000_000),
            rounds: usize::try_from(number("--rounds", 3)).expect("a small number"),
            seconds: number("--seconds", 6),
        }
    }
}
