//! A real process that is killed again and again in the middle of its calls, over real HTTP: nothing is lost, nothing is
//! done twice.
//!
//! The process is this program again, told what to do by its first argument. Every kill is followed by a start on the same
//! store, so that what one process leaves behind is finished by the next ones while they are killed in turn.
//! `tally KILLS sqlite|postgres` runs it with as many kills, fifty calls at once and 500 webhooks that wait, and prints one
//! JSON object.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a test may say what it did")]

mod audit;
mod receiver;
mod worker;

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use offhook_testkit::behaviour;
use offhook_testkit::postgres::Cluster;

use self::audit::Tally;
use self::receiver::Receiver;

/// How hard it is.
#[derive(Clone, Copy)]
struct Ordeal {
    kills: usize,
    /// Calls at once.
    lines: usize,
    /// Webhooks that wait at any moment.
    queued: usize,
}

const OF_THE_TEST: Ordeal = Ordeal { kills: 25, lines: 6, queued: 40 };
const OF_THE_TEST_ON_POSTGRES: Ordeal = Ordeal { kills: 8, ..OF_THE_TEST };

/// Latest kill after a process has begun its calls.
const LIFE_MAX: Duration = Duration::from_millis(900);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "call", place, folder, url, lines, queued] => {
            let (lines, queued) = (lines.parse().unwrap(), queued.parse().unwrap());
            worker::run(worker::call_until_killed(place, folder, url, lines, queued))
        }
        [_, "recover", place, folder, url] => worker::run(worker::recover(place, folder, url)),
        [_, "tally", kills, store] => tally(kills.parse().unwrap(), store),
        _ => behaviour::run(vec![
            Trial::test("no_kill_loses_or_doubles_anything_on_sqlite", || on_sqlite(OF_THE_TEST)?.require_clean()),
            Trial::test("no_kill_loses_or_doubles_anything_on_postgres", || {
                on_postgres(OF_THE_TEST_ON_POSTGRES)?.require_clean()
            }),
        ]),
    }
}

fn tally(kills: usize, store: &str) -> ExitCode {
    let ordeal = Ordeal { kills, lines: 50, queued: 500 };
    let tally = match store {
        "postgres" => on_postgres(ordeal),
        "sqlite" => on_sqlite(ordeal),
        _ => Err("a store is sqlite or postgres".into()),
    };
    match tally {
        Ok(tally) => {
            println!("{}", serde_json::to_string(&tally).unwrap());
            if tally.require_clean().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(failed) => {
            println!("{}", failed.message().unwrap_or("it failed"));
            ExitCode::FAILURE
        }
    }
}

fn on_sqlite(ordeal: Ordeal) -> Result<Tally, Failed> {
    let folder = tempfile::tempdir()?;
    kill_again_and_again(folder.path().join("offhook.db").to_str().unwrap(), ordeal)
}

fn on_postgres(ordeal: Ordeal) -> Result<Tally, Failed> {
    kill_again_and_again(&Cluster::shared().database()?, ordeal)
}

fn kill_again_and_again(place: &str, ordeal: Ordeal) -> Result<Tally, Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let receiver = runtime.block_on(Receiver::start());
    let folder = tempfile::tempdir()?;
    let recordings = folder.path().to_str().unwrap();
    runtime.block_on(worker::set_up(place, recordings, &receiver.url, ordeal.queued));
    let mut told = Vec::new();
    let (lines, queued) = (ordeal.lines.to_string(), ordeal.queued.to_string());
    for _ in 0..ordeal.kills {
        told.extend(live_and_die(&["call", place, recordings, &receiver.url, &lines, &queued])?);
    }
    let (mut process, output) = start(&["recover", place, recordings, &receiver.url])?;
    told.extend(output.lines().map_while(Result::ok));
    if !process.wait()?.success() {
        return Err("the last process did not bring everything to its end".into());
    }
    Ok(runtime.block_on(audit::check(place, recordings, ordeal.kills, &told, &receiver.arrivals())))
}

/// Lets a process make calls and kills it at some moment. Returns what it told of them until then.
fn live_and_die(arguments: &[&str]) -> Result<Vec<String>, Failed> {
    let (mut process, output) = start(arguments)?;
    let mut lines = output.lines();
    lines.next().ok_or("the process did not begin")??;
    thread::sleep(LIFE_MAX.mul_f64(worker::random()));
    process.kill()?;
    process.wait()?;
    Ok(lines.map_while(Result::ok).collect())
}

fn start(arguments: &[&str]) -> Result<(Child, BufReader<ChildStdout>), Failed> {
    let mut process = Command::new(std::env::current_exe()?).args(arguments).stdout(Stdio::piped()).spawn()?;
    let output = process.stdout.take().ok_or("no output")?;
    Ok((process, BufReader::new(output)))
}
