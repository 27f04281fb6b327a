//! Development tasks: `cargo xtask setup | demo | test | contracts | crash | fuzz | bench`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

mod contracts;
mod setup;
mod shell;

use std::process::ExitCode;

use shell::{Result, Shell};

const USAGE: &str = "usage: cargo xtask TASK

  setup             install what the programs and the tests need, and fetch the speech models
  demo [OPTION…]    set up what the demo needs and run it (`cargo demo` is the same)
  test              set up and run every check and test
  contracts [--json]
                    list the items of the vendors' contracts that have no test
  crash [--kills N] [--store sqlite|postgres] [--json]
                    kill a process again and again under fifty calls, and count what was lost (100 kills, SQLite)
  crash --server [--kills N]
                    kill `offhook serve` again and again under clients, and count what it had acknowledged and lost (30 kills)
  fuzz [SECONDS]    run each fuzz target for a while (60 seconds unless told)
  bench [FILTER]    run the benchmarks
  bench audio       race the audio against other programs and write the table of benches/README.md
  bench calls       how many calls one core carries, next to Pipecat and LiveKit Agents
  bench server [--seconds N] [--rounds N] [--requests N]
                    the server next to FastAPI on uvicorn (6 seconds, 3 rounds), then its memory over so many requests (a million)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let shell = Shell::default();
    let result = match arguments.as_slice() {
        ["bench", "calls"] => bench_calls(&shell),
        ["bench", "server", options @ ..] => bench_server(&shell, options),
        ["bench", filter @ ..] => bench(&shell, filter),
        ["contracts"] => contracts::run(false),
        ["contracts", "--json"] => contracts::run(true),
        ["crash", "--server"] => crash_server(&shell, "30"),
        ["crash", "--server", "--kills", kills] => crash_server(&shell, kills),
        ["crash", options @ ..] => crash(&shell, options),
        ["demo", options @ ..] => return demo(&shell, options),
        ["fuzz"] => fuzz(&shell, "60"),
        ["fuzz", seconds] => fuzz(&shell, seconds),
        ["setup"] => setup::everything(&shell),
        ["test"] => test(&shell),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Ends as the demo ends, so that its exit code can be used.
fn demo(shell: &Shell, options: &[&str]) -> ExitCode {
    if let Err(message) = setup::speech(shell) {
        eprintln!("{message}");
        return ExitCode::FAILURE;
    }
    shell.exit_of("cargo", &[&["run", "--quiet", "--package", "offhook-cli", "--", "demo"], options].concat())
}

fn test(shell: &Shell) -> Result {
    setup::everything(shell)?;
    shell.step("formatting", "cargo", &["fmt", "--all", "--check"])?;
    no_runtime_in_core(shell)?;
    shell.step("lints", "cargo", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    shell.step("documentation", "cargo", &["doc", "--workspace", "--no-deps", "--quiet"])?;
    shell.step("tests", "cargo", &["test", "--workspace", "--no-fail-fast"])?;
    // A fresh seed each time, which the run prints.
    shell.step("simulation", "cargo", &["run", "--package", "offhook-cli", "--", "simulate", "--calls", "20000"])?;
    shell.step("examples", "cargo", &["build", "--package", "offhook-examples", "--examples"])?;
    shell.step(
        "fuzz targets",
        "cargo",
        &["check", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target/fuzz"],
    )?;
    licences(shell)
}

/// The engine's core must run under any executor, so it must not bring one.
fn no_runtime_in_core(shell: &Shell) -> Result {
    let tree = shell.output("cargo", &["tree", "--package", "offhook", "--edges", "normal", "--prefix", "none"])?;
    let runtimes = ["tokio", "smol", "async-std", "async-io"];
    let found = tree.lines().filter_map(|line| line.split(' ').next()).find(|name| runtimes.contains(name));
    match found {
        Some(name) => Err(format!("the core depends on {name}")),
        None => Ok(()),
    }
}

fn licences(shell: &Shell) -> Result {
    setup::cargo_deny(shell)?;
    shell.step("licences", "cargo", &["deny", "--all-features", "check", "licenses", "bans", "sources"])
}

fn crash(shell: &Shell, options: &[&str]) -> Result {
    let (mut kills, mut store, mut is_quiet) = ("100", "sqlite", false);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let mut value = || options.next().copied().ok_or_else(|| format!("{option} needs a value"));
        match *option {
            "--json" => is_quiet = true,
            "--kills" => kills = value()?,
            "--store" => store = value()?,
            _ => return Err(USAGE.to_owned()),
        }
    }
    let test =
        ["test", "--release", "--quiet", "--package", "offhook-cli", "--test", "crash", "--", "tally", kills, store];
    if is_quiet { shell.run("cargo", &test) } else { shell.step("crash", "cargo", &test) }
}

fn crash_server(shell: &Shell, kills: &str) -> Result {
    setup::speech(shell)?;
    let test = ["test", "--release", "--quiet", "--package", "offhook-cli", "--test", "kill", "--", "tally", kills];
    shell.step("crash", "cargo", &test)
}

fn fuzz(shell: &Shell, seconds: &str) -> Result {
    setup::cargo_fuzz(shell)?;
    let targets = shell.output("cargo", &["fuzz", "list"])?;
    let limit = format!("-max_total_time={seconds}");
    for target in targets.split_whitespace() {
        shell.step(target, "cargo", &["fuzz", "run", target, "--", &limit])?;
    }
    Ok(())
}

/// The peers run in the same run, on the same core.
fn bench_calls(shell: &Shell) -> Result {
    setup::speech(shell)?;
    let peers = setup::voice_engines(shell)?;
    let bench = ["bench", "--package", "offhook-benches", "--bench", "calls", "--", "--compare", &peers];
    shell.step("calls on a core", "cargo", &bench)
}

/// On this machine, in one run: only the ratios mean something elsewhere.
fn bench_server(shell: &Shell, options: &[&str]) -> Result {
    setup::speech(shell)?;
    let python = setup::fast_api(shell)?;
    shell.step("server", "cargo", &["build", "--release", "--package", "offhook-cli"])?;
    let offhook = shell.target().join("release/offhook").to_string_lossy().into_owned();
    let bench = ["bench", "--package", "offhook-benches", "--bench", "server", "--"];
    let programs = ["--offhook", &offhook, "--python", &python];
    shell.step("benchmark", "cargo", &[&bench[..], &programs, options].concat())
}

/// The race of audio has a runner of its own, which brings the peers and writes the table.
fn bench(shell: &Shell, filter: &[&str]) -> Result {
    if filter == ["audio"] {
        setup::race(shell)?;
        return shell.step("the race of audio", "python3", &["benches/peers/race.py"]);
    }
    shell.step(
        "benchmarks",
        "cargo",
        &[&["bench", "--package", "offhook-benches", "--package", "offhook-audio-benches", "--"], filter].concat(),
    )
}
