//! How many calls one core carries, engine by engine, and what they cost: a table.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A number of calls is carried while their frames are no later than this, at the 99th percentile.
const LATE_MAX_MS: f64 = 20.0;

/// Of the answers that the script asks for, so many must come.
const ANSWERED_MIN: f64 = 0.9;

/// Calls of the first run; each next has half as many more until one fails, and then the bounds close in.
const CALLS_FIRST: usize = 20;

/// The bounds are close when they differ by less than this share.
const CLOSE: f64 = 0.1;

/// The program under test is alone on this core, its callers on the other.
const CORES: [&str; 2] = ["1", "0"];

/// Longest wait for an engine to listen.
const START_LIMIT: Duration = Duration::from_secs(60);

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Engine {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    /// What its answers wait for by configuration.
    wait_ms: f64,
}

/// Runs all engines and prints the table. `peers` is a folder with `bin/python`, which has the peers' packages.
pub(crate) fn run(peers: Option<&Path>) -> Outcome<()> {
    let this = std::env::current_exe()?;
    println!("| engine | calls on a core | CPU-s per call-s | memory a call | turn added p50, p99 | barge-in p50 |");
    println!("|---|---|---|---|---|---|");
    for vad in ["energy", "neural"] {
        let (mut best, mut calls, mut failed) = (Value::Null, 200, None);
        while !is_close(calls, failed) {
            let report = report_of(on_core(0, &this).args(in_memory(calls, vad)).output()?.stdout)?;
            step(report, &mut best, &mut calls, &mut failed);
        }
        let barge_in = on_core(0, &this).args(in_memory(50, vad)).arg("--barge-in").output()?.stdout;
        row(&format!("offhook, {vad} VAD, in memory"), &best, &report_of(barge_in)?, 0.0);
    }
    for engine in engines(&this, peers) {
        let (mut best, mut calls, mut failed) = (Value::Null, CALLS_FIRST, None);
        while !is_close(calls, failed) {
            step(engine.run(&this, calls, &[])?, &mut best, &mut calls, &mut failed);
        }
        let barge_in = engine.run(&this, 5, &["--barge-in"])?;
        row(&format!("{}, over WebSockets", engine.name), &best, &barge_in, engine.wait_ms);
    }
    Ok(())
}

fn in_memory(calls: usize, vad: &str) -> Vec<String> {
    ["--calls", &calls.to_string(), "--vad", vad].map(str::to_owned).to_vec()
}

fn engines(this: &Path, peers: Option<&Path>) -> Vec<Engine> {
    let own = |name, vad: &str| Engine {
        name,
        program: this.to_owned(),
        arguments: ["--vad", vad, "--serve"].map(str::to_owned).to_vec(),
        wait_ms: 300.0,
    };
    let mut engines = vec![own("offhook, energy VAD", "energy"), own("offhook, neural VAD", "neural")];
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    for (name, script, vad, wait_ms) in [
        ("Pipecat, webrtcvad", "calls_pipecat.py", "webrtc", 500.0),
        ("Pipecat, Silero", "calls_pipecat.py", "silero", 500.0),
        ("LiveKit Agents, its VAD", "calls_livekit.py", "native", 300.0),
        ("LiveKit Agents, Silero", "calls_livekit.py", "silero", 300.0),
    ] {
        let Some(peers) = peers else { break };
        let script = scripts.join(script).to_string_lossy().into_owned();
        let arguments = vec!["-W".to_owned(), "ignore".to_owned(), script, vad.to_owned()];
        engines.push(Engine { name, program: peers.join("bin/python"), arguments, wait_ms });
    }
    engines
}

impl Engine {
    fn run(&self, this: &Path, calls: usize, options: &[&str]) -> Outcome<Value> {
        let port = free_port()?;
        let server = Server::start(self, port, options)?;
        let url = format!("ws://127.0.0.1:{port}/");
        let pid = server.0.id().to_string();
        let mut callers = on_core(1, this);
        callers.args(["--url", &url, "--pid", &pid, "--calls", &calls.to_string()]);
        report_of(callers.output()?.stdout)
    }
}

struct Server(Child);

impl Server {
    fn start(engine: &Engine, port: u16, options: &[&str]) -> Outcome<Self> {
        let mut command = on_core(0, &engine.program);
        command.args(&engine.arguments).arg(port.to_string());
        if engine.arguments.iter().any(|argument| argument == "--serve") {
            command.args(options);
        }
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("OMP_NUM_THREADS", "1");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        // What it prints is read, so that it never waits for a reader.
        let lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        std::thread::spawn(move || lines.count());
        let server = Self(child);
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if began.elapsed() > START_LIMIT {
                return Err(format!("{} does not listen", engine.name).into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn on_core(core: usize, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", CORES[core]]).arg(program);
    command
}

fn free_port() -> Outcome<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn report_of(output: Vec<u8>) -> Outcome<Value> {
    let output = String::from_utf8(output)?;
    let line = output.lines().last().ok_or("a run printed nothing")?;
    Ok(serde_json::from_str(line)?)
}

fn is_carried(report: &Value) -> bool {
    let late = |name: &str| report[name]["p99"].as_f64().unwrap_or(0.0);
    let answered = report["turns"].as_f64().unwrap_or(0.0) / report["turns_asked"].as_f64().unwrap_or(1.0);
    late("in_late_ms") < LATE_MAX_MS && late("out_late_ms") < LATE_MAX_MS && answered >= ANSWERED_MIN
}

fn is_close(calls: usize, failed: Option<usize>) -> bool {
    failed.is_some_and(|failed| (failed.abs_diff(calls) as f64) < failed as f64 * CLOSE)
}

/// Takes a run of `calls`, and chooses how many come next.
fn step(report: Value, best: &mut Value, calls: &mut usize, failed: &mut Option<usize>) {
    let carried = |best: &Value| usize::try_from(best["calls"].as_u64().unwrap_or(0)).unwrap_or(0);
    eprintln!("{report}");
    if is_carried(&report) {
        *best = report;
    } else {
        *failed = Some(*calls);
    }
    *calls = match *failed {
        None => *calls + calls.div_ceil(2),
        Some(failed) => carried(best).midpoint(failed),
    };
}

fn row(name: &str, best: &Value, barge_in: &Value, wait_ms: f64) {
    let turn = |at: &str| best["turn_added_ms"][at].as_f64().unwrap_or(f64::NAN) - wait_ms;
    println!(
        "| {name} | {} | {:.5} | {} KiB | {:.1} ms, {:.1} ms | {:.0} ms |",
        best["calls"].as_u64().unwrap_or(0),
        best["cpu_s_per_call_s"].as_f64().unwrap_or(f64::NAN),
        best["memory_kib_per_call"]["held"],
        turn("p50"),
        turn("p99"),
        barge_in["barge_in_ms"]["p50"].as_f64().unwrap_or(f64::NAN),
    );
}
