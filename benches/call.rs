//! The call machine: ns for each input, and bytes for each call that lives.
//!
//! `cargo bench -p offhook-benches --bench call`

#![allow(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]
#![allow(clippy::print_stdout, reason = "bytes are not criterion's to print")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group};
use offhook::call::{Call, Input, Outcome, Policy, Progress};
use offhook::journal::{Entry, Journal, Writer};
use offhook::provider::llm::LlmEvent;
use offhook_testkit::machine::Stage;

/// Turns of the conversation that is measured.
const TURNS: usize = 10;

/// Calls that live at once while their bytes are counted.
const LIVE_CALLS: usize = 5_000;

criterion_group!(call, inputs, journal);

fn main() {
    call();
    Criterion::default().configure_from_args().final_summary();
    if let Some(bytes) = bytes_per_live_call() {
        println!("live call, {TURNS} turns in: {bytes} bytes");
    }
}

/// A call of ten turns, in the inputs that a driver gives: interim transcripts, model tokens, marks.
fn conversation() -> Vec<Entry> {
    let mut stage = Stage::connected(Policy::default());
    let step = Duration::from_millis(200);
    for _ in 0..TURNS {
        stage.caller_says("Do you have time for me on Tuesday morning?", Duration::from_secs(2), step);
        for word in "We are open from nine to five on every day of the week. Shall I book you in?".split_inclusive(' ')
        {
            stage.progress("generate", Progress::Generated(LlmEvent::Text(word.to_owned())));
        }
        stage.model_says("", &[]);
        play_by_word(&mut stage);
        stage.wait(step);
    }
    stage.entries().to_vec()
}

fn play_by_word(stage: &mut Stage) {
    while let (Some(id), Some(text)) = (stage.find("speak"), stage.speaking().first().map(ToString::to_string)) {
        stage.input(Input::Progress(id, Progress::Playing));
        for (text_end, _) in text.match_indices(' ') {
            stage.wait(Duration::from_millis(250));
            stage.input(Input::Progress(id, Progress::Heard { text_end }));
        }
        stage.input(Input::Completed(id, Outcome::Done));
    }
}

fn inputs(criterion: &mut Criterion) {
    let entries = conversation();
    let mut group = criterion.benchmark_group("call");
    group.throughput(Throughput::Elements(entries.len() as u64 - 1));
    group.bench_function("inputs", |bencher| bencher.iter(|| black_box(run(&entries))));
    group.finish();
}

fn journal(criterion: &mut Criterion) {
    let entries = conversation();
    let (Entry::Start { at, config, offer }, inputs) = entries.split_first().expect("a start") else { return };
    let mut group = criterion.benchmark_group("journal");
    group.throughput(Throughput::Elements(inputs.len() as u64));
    group.bench_function("write", |bencher| {
        bencher.iter(|| {
            let (mut writer, mut bytes) = Writer::new(*at, config, offer);
            for entry in inputs {
                bytes = match entry {
                    Entry::Input { at, input } => writer.input(*at, input),
                    entry => writer.timeout(entry.at()),
                };
            }
            black_box(bytes)
        });
    });
    group.bench_function("verify", |bencher| {
        let journal = Journal::seal(entries.clone()).expect("a journal");
        bencher.iter(|| black_box(journal.verify().expect("a verdict")));
    });
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
    let entries = conversation();
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
