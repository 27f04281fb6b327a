//! A journal's cost: writing, reading, replaying and verifying a call of some minutes, for each entry.
//!
//! `cargo bench -p offhook-benches --bench journal`; divide by the elements for ns an entry or an output.

#![allow(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use offhook::call::Input;
use offhook::journal::{Entry, Journal, Writer, replay};
use offhook::time::Instant;
use offhook_testkit::machine;

criterion_group!(journal, write, read, run_again);
criterion_main!(journal);

/// Turns of the call.
const TURNS: usize = 20;

fn inputs(journal: &Journal) -> Vec<(Instant, Input)> {
    let input = |entry: &Entry| match entry {
        Entry::Input { at, input } => Some((*at, input.clone())),
        _ => None,
    };
    journal.entries.iter().filter_map(input).collect()
}

/// What a live call pays: for each input, and for the check of each output.
fn write(criterion: &mut Criterion) {
    let journal = machine::conversation(TURNS).journal();
    let Some(Entry::Start { at, config, offer }) = journal.entries.first() else { return };
    let inputs = inputs(&journal);
    let mut group = criterion.benchmark_group("write");
    group.throughput(Throughput::Elements(inputs.len() as u64));
    group.bench_function("inputs", |bencher| {
        bencher.iter(|| {
            let (mut writer, _) = Writer::new(*at, config, offer);
            inputs.iter().for_each(|(at, input)| drop(black_box(writer.input(*at, input))));
        });
    });
    group.bench_function("inputs as JSON", |bencher| {
        bencher.iter(|| {
            for (at, input) in &inputs {
                let _ = black_box(serde_json::to_vec(&serde_json::json!({ "at": at, "input": input })));
            }
        });
    });
    let outputs = replay(journal.entries.iter().cloned()).expect("a whole journal").outputs;
    group.throughput(Throughput::Elements(outputs.len() as u64));
    group.bench_function("outputs", |bencher| {
        bencher.iter(|| {
            let (mut writer, _) = Writer::new(*at, config, offer);
            outputs.iter().for_each(|output| writer.output(output));
            black_box(writer.end(*at))
        });
    });
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let journal = machine::conversation(TURNS).journal();
    let file = journal.to_file();
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Elements(journal.entries.len() as u64));
    group.bench_function("file", |bencher| bencher.iter(|| Journal::from_file(black_box(&file))));
    group.finish();
}

/// What settling a lost call costs, and what the check of every output adds.
fn run_again(criterion: &mut Criterion) {
    let journal = machine::conversation(TURNS).journal();
    let mut group = criterion.benchmark_group("run again");
    group.throughput(Throughput::Elements(journal.entries.len() as u64));
    group.bench_function("replay", |bencher| bencher.iter(|| replay(black_box(journal.entries.iter().cloned()))));
    group.bench_function("verify", |bencher| bencher.iter(|| black_box(&journal).verify()));
    group.finish();
}
