//! The call machine: ns for each input, and bytes for each call that lives.
//!
//! `cargo bench -p offhook-benches --bench call`

#![allow(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]
#![allow(clippy::print_stdout, reason = "bytes are not criterion's to print")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group};
use offhook::call::{Call, Input};
use offhook::journal::Entry;
use offhook_testkit::machine::conversation;

/// Turns of the conversation that is measured.
const TURNS: usize = 10;

/// Calls that live at once while their bytes are counted.
const LIVE_CALLS: usize = 5_000;

criterion_group!(call, inputs);

fn main() {
    call();
    Criterion::default().configure_from_args().final_summary();
    if let Some(bytes) = bytes_per_live_call() {
        println!("live call, {TURNS} turns in: {bytes} bytes");
    }
}

fn inputs(criterion: &mut Criterion) {
    let entries = conversation(TURNS).entries().to_vec();
    let mut group = criterion.benchmark_group("call");
    group.throughput(Throughput::Elements(entries.len() as u64 - 1));
    group.bench_function("inputs", |bencher| bencher.iter(|| black_box(run(&entries))));
    group.finish();
}

fn run(entries: &[Entry]) -> Call {
    let Some(Entry::Start { at, config, offer }) = entries.first() else { unreachable!("a journal has a start") };
    let mut call = Call::new((**config).clone(), offer.clone(), *at);
    for entry in &entries[1..] {
        match entry {
            Entry::Input { at, input } => call.handle_input(*at, Input::clone(input)),
            entry => call.handle_timeout(entry.at()),
        }
        while let Some(output) = call.poll_output() {
            black_box(output);
        }
    }
    call
}

/// What the process grows by for each call, as the operating system sees it; `None` where it does not say.
fn bytes_per_live_call() -> Option<u64> {
    let entries = conversation(TURNS).entries().to_vec();
    let before = resident_bytes()?;
    let calls: Vec<Call> = (0..LIVE_CALLS).map(|_| run(&entries)).collect();
    let after = resident_bytes()?;
    black_box(&calls);
    Some(after.saturating_sub(before) / LIVE_CALLS as u64)
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1_024)
}
