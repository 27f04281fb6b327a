//! `offhook simulate`: calls by the million in virtual time, each held to every invariant.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use offhook::journal::Journal;
use offhook_testkit::fates::Family;
use offhook_testkit::sim::{self, Reproduction, Simulation, Tally};
use serde::Serialize;

use super::replay::EXTENSION;
use crate::args::SimulateArgs;
use crate::failure::{Failure, Outcome};
use crate::terminal::{self, Output};

/// How often the progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Worlds that fail and are remembered; only the first is made smaller.
const FAILURES_MAX: usize = 20;

/// What came of it, for machines.
#[derive(Debug, Serialize)]
struct Summary {
    calls: u64,
    calls_per_second: u64,
    causes: BTreeMap<String, u64>,
    digest: String,
    elapsed_ms: u64,
    seed: u64,
    violations: u64,
}

/// Runs the command.
pub fn run(args: &SimulateArgs) -> Outcome<()> {
    let seed = args.seed.unwrap_or_else(fresh_seed);
    let families = args.faults.families.iter().copied().collect();
    let simulation = Simulation { calls: args.calls, families, mutation: None, seed };
    let threads = args.threads.map_or_else(available_threads, |threads| usize::from(threads.get()));
    let view = if args.quiet { Output::Nowhere } else { Output::Stderr };
    view.line(format_args!("seed {seed}, {} calls, {threads} threads, faults: {}", args.calls, args.faults));
    let started = Instant::now();
    let (tally, failures) = play(&simulation, threads, view, started);
    let elapsed = started.elapsed();
    let summary = Summary {
        calls: tally.calls(),
        calls_per_second: per_second(tally.calls(), elapsed),
        causes: tally.causes().clone(),
        digest: tally.digest(),
        elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        seed,
        violations: tally.violations(),
    };
    if args.json {
        terminal::print(serde_json::to_string(&summary).unwrap_or_default());
    } else {
        print_table(&summary);
    }
    let Some((world, violation)) = failures.first_key_value() else { return Ok(()) };
    view.line(format_args!("world {world} fails: {violation}; making it smaller"));
    if let Some(reproduction) = sim::shrink(simulation.plan(*world)) {
        let folder = args.keep.clone().unwrap_or_else(|| PathBuf::from("."));
        let path = write(&folder, seed, *world, &reproduction)?;
        view.line(format_args!("{}\nwritten to {}", described(&reproduction), path.display()));
    }
    Err(Failure::new(format_args!(
        "seed {seed}: {} violations, the first in world {world}: {violation}",
        summary.violations
    )))
}

/// The worlds of a simulation, spread over threads. Returns the tally and the worlds that failed, the first one first.
fn play(simulation: &Simulation, threads: usize, view: Output, started: Instant) -> (Tally, BTreeMap<u64, String>) {
    let (next, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let outcome = Mutex::new((Tally::default(), BTreeMap::new()));
    let work = || {
        loop {
            let world = next.fetch_add(1, Ordering::Relaxed);
            if world >= simulation.worlds() {
                return;
            }
            let report = sim::run(simulation.plan(world));
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            let (tally, failures) = &mut *outcome;
            tally.add(world, &report);
            if let Some(violation) = report.violations.first() {
                failures.insert(world, violation.to_string());
                if failures.len() > FAILURES_MAX {
                    failures.pop_last();
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        scope.spawn(|| {
            let mut told = started;
            while !is_over.load(Ordering::Relaxed) {
                std::thread::sleep(PROGRESS_INTERVAL / 20);
                if told.elapsed() < PROGRESS_INTERVAL {
                    continue;
                }
                told = Instant::now();
                let outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                let (calls, violations) = (outcome.0.calls(), outcome.0.violations());
                drop(outcome);
                let speed = per_second(calls, started.elapsed());
                view.line(format_args!(
                    "{calls} of {} calls, {speed} a second, {violations} violations",
                    simulation.calls
                ));
            }
        });
        for worker in workers {
            // A world that panics is a violation of the testkit's own making and ends the program.
            if let Err(panic) = worker.join() {
                is_over.store(true, Ordering::Relaxed);
                std::panic::resume_unwind(panic);
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn print_table(summary: &Summary) {
    let width = summary.causes.keys().map(String::len).max().unwrap_or(0).max("end".len());
    terminal::print(format_args!("{:width$}  {:>10}  {:>6}", "end", "calls", "%"));
    for (cause, calls) in &summary.causes {
        let percent = *calls as f64 * 100.0 / summary.calls.max(1) as f64;
        terminal::print(format_args!("{cause:width$}  {calls:>10}  {percent:>6.2}"));
    }
    terminal::print(format_args!(
        "\n{} calls in {:.1} s, {} a second\nseed {}, {} violations, digest {}",
        summary.calls,
        summary.elapsed_ms as f64 / 1_000.0,
        summary.calls_per_second,
        summary.seed,
        summary.violations,
        summary.digest,
    ));
}

/// What a failing world needs, in words.
fn described(reproduction: &Reproduction) -> String {
    let Reproduction { plan, report, trials } = reproduction;
    let mut text = format!("after {trials} trials, what is left:\n");
    for call in &plan.calls {
        text.push_str(&format!("  call {}: {:?}, starts at {:?}\n", call.index, call.direction, call.starts));
        call.acts.iter().for_each(|act| text.push_str(&format!("    {act:?}\n")));
        if let Some((after, order)) = &call.operator {
            text.push_str(&format!("    its holder after {after:?}: {order:?}\n"));
        }
    }
    report.faults.iter().for_each(|fault| text.push_str(&format!("  fault: {fault}\n")));
    report.violations.iter().for_each(|violation| text.push_str(&format!("  violation: {violation}\n")));
    text
}

/// Writes what a failing world needs, and beside it the journal of each call, as `offhook replay` takes it.
fn write(folder: &Path, seed: u64, world: u64, reproduction: &Reproduction) -> Outcome<PathBuf> {
    let save = |name: String, bytes: &[u8]| {
        let path = folder.join(name);
        let failed = |error| Failure::new(format_args!("cannot write {}: {error}", path.display()));
        std::fs::write(&path, bytes).map_err(failed).map(|()| path.clone())
    };
    for (call, journal) in &reproduction.report.journals {
        save(format!("world-{seed}-{world}-call-{call}.{EXTENSION}"), &Journal::file_of(journal))?;
    }
    save(format!("world-{seed}-{world}.txt"), described(reproduction).as_bytes())
}

fn per_second(calls: u64, elapsed: Duration) -> u64 {
    (calls as f64 / elapsed.as_secs_f64().max(0.001)) as u64
}

fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs() ^ u64::from(now.subsec_nanos()) << 20
}

fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A list of families of faults, `none` or `all`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Faults {
    /// Which.
    pub families: Vec<Family>,
}

impl std::str::FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let families = match text {
            "all" => Family::ALL.to_vec(),
            "none" => Vec::new(),
            list => list.split(',').map(|name| family(name.trim())).collect::<Result<_, _>>()?,
        };
        Ok(Self { families })
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.families.iter().map(|family| family.name()).collect();
        f.write_str(if names.is_empty() { "none".to_owned() } else { names.join(", ") }.as_str())
    }
}

fn family(name: &str) -> Result<Family, String> {
    let found = Family::ALL.into_iter().find(|family| family.name() == name);
    found.ok_or_else(|| {
        let names: Vec<_> = Family::ALL.iter().map(|family| family.name()).collect();
        format!("there are no faults of \"{name}\"; there are all, none, {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::replay;

    #[test]
    fn what_is_written_of_a_world_is_what_replay_looks_for() {
        let simulation = Simulation { calls: 1, families: Default::default(), mutation: None, seed: 7 };
        let plan = simulation.plan(0);
        let report = sim::run(plan.clone());
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), 7, 0, &Reproduction { plan, report, trials: 0 }).unwrap();
        assert!(std::fs::read_to_string(path).unwrap().contains("call 0"));
        let journal = Journal::from_file(&replay::read(folder.path()).unwrap()).unwrap();
        assert_eq!(journal.verify().unwrap().difference, None);
    }
}
