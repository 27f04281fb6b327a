//! Calls that one core carries: the whole engine in real time, with providers that cost nothing, recorded. Callers speak
//! Twilio's protocol, over an in-memory socket or over real ones on loopback. Prints a line of JSON.
//!
//! `cargo xtask bench calls` finds the greatest number and compares; a single run, in memory:
//!
//! `cargo bench -p offhook-benches --bench calls -- --calls 100 [--window 16] [--warm 9] [--rate 16000] [--barge-in]`
//!
//! Over sockets, the engine and its callers each in a process: `--serve PORT`, and
//! `--url ws://127.0.0.1:PORT [--pid PID]`, which any engine can be driven with that follows `script.rs`.

#![allow(clippy::print_stderr, clippy::print_stdout, clippy::expect_used, reason = "a benchmark")]

mod compare;
mod engine;
mod far;
mod feeder;
mod measure;
mod null;
mod process;
mod script;

use std::env;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.iter().any(|argument| argument == "--test" || argument == "--list") {
        return Ok(());
    }
    if let [first, rest @ ..] = arguments.as_slice()
        && first == "--compare"
    {
        return compare::run(rest.first().map(Path::new));
    }
    let options = Options::parse(&arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match (&options.url, options.serve) {
        (Some(url), _) => runtime.block_on(measure::over_sockets(&options, url)),
        (None, Some(port)) => runtime.block_on(engine::serve(&options, port)),
        (None, None) => runtime.block_on(measure::in_memory(&options)),
    }
}

/// What is measured.
pub(crate) struct Options {
    /// The caller speaks again while the agent is speaking.
    pub(crate) barge_in: bool,
    /// A network tells speech from silence, and not the energy of the sound.
    pub(crate) neural: bool,
    pub(crate) calls: usize,
    /// The process whose time and memory count, when it is not this one.
    pub(crate) pid: Option<u32>,
    /// The recogniser's rate.
    pub(crate) rate_hz: u32,
    pub(crate) record: bool,
    pub(crate) serve: Option<u16>,
    pub(crate) url: Option<String>,
    pub(crate) warm: Duration,
    pub(crate) window: Duration,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            barge_in: false,
            neural: false,
            calls: 100,
            pid: None,
            rate_hz: 16_000,
            record: true,
            serve: None,
            url: None,
            warm: Duration::from_secs(9),
            window: Duration::from_secs(16),
        };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--barge-in" => options.barge_in = true,
                "--calls" => options.calls = value()?.parse()?,
                "--no-recording" => options.record = false,
                "--pid" => options.pid = Some(value()?.parse()?),
                "--rate" => options.rate_hz = value()?.parse()?,
                "--serve" => options.serve = Some(value()?.parse()?),
                "--vad" => options.neural = value()? == "neural",
                "--url" => options.url = Some(value()?.clone()),
                "--warm" => options.warm = Duration::from_secs(value()?.parse()?),
                "--window" => options.window = Duration::from_secs(value()?.parse()?),
                _ => return Err(format!("{name} is not an option").into()),
            }
        }
        if options.calls == 0 {
            return Err("--calls is at least 1".into());
        }
        Ok(options)
    }
}
