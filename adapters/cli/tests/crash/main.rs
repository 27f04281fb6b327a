//! A real process that is killed fifty times in the middle of its calls, on SQLite and over real HTTP: nothing is lost,
//! nothing is done twice.
//!
//! The process is this program again, told what to do by its first argument. Every kill is followed by a start on the same
//! file, so that what one process leaves behind is finished by the next ones while they are killed in turn.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test may say what it did")]

mod audit;
mod receiver;
mod worker;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use offhook_testkit::behaviour;

use self::receiver::Receiver;

const KILLS: usize = 50;

/// Latest kill after a process has begun its calls.
const LIFE_MAX: Duration = Duration::from_millis(900);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "call", path] => worker::run(worker::call_until_killed(Path::new(path))),
        [_, "recover", path] => worker::run(worker::recover(Path::new(path))),
        _ => behaviour::run(vec![Trial::test(
            "fifty_kills_lose_and_double_nothing",
            fifty_kills_lose_and_double_nothing,
        )]),
    }
}

fn fifty_kills_lose_and_double_nothing() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("offhook.db");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let receiver = runtime.block_on(Receiver::start());
    runtime.block_on(worker::set_up(&path, &receiver.url));
    let mut told = Vec::new();
    for _ in 0..KILLS {
        told.extend(live_and_die(&path)?);
    }
    let (mut process, output) = start("recover", &path)?;
    told.extend(output.lines().map_while(Result::ok));
    assert!(process.wait()?.success(), "the last process did not bring everything to its end");
    runtime.block_on(audit::check(&path, &told, &receiver.arrivals()));
    Ok(())
}

/// Lets a process make calls and kills it at some moment. Returns what it told of them until then.
fn live_and_die(path: &Path) -> Result<Vec<String>, Failed> {
    let (mut process, output) = start("call", path)?;
    let mut lines = output.lines();
    lines.next().ok_or("the process did not begin")??;
    thread::sleep(LIFE_MAX.mul_f64(worker::random()));
    process.kill()?;
    process.wait()?;
    Ok(lines.map_while(Result::ok).collect())
}

fn start(what: &str, path: &Path) -> Result<(Child, BufReader<ChildStdout>), Failed> {
    let mut process = Command::new(std::env::current_exe()?).arg(what).arg(path).stdout(Stdio::piped()).spawn()?;
    let output = process.stdout.take().ok_or("no output")?;
    Ok((process, BufReader::new(output)))
}
