//! A run and its figures.

use std::error::Error;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use offhook::provider::SocketTransport;
use offhook::provider::transport::{Socket, SocketMessage, SocketRequest};
use offhook_tokio::{Tls, TungsteniteTransport};
use serde_json::{Value, json};

use crate::engine::Bench;
use crate::far::{Far, Measures};
use crate::feeder::{self, Line};
use crate::process::Process;
use crate::{Options, script};

/// Messages that wait in an in-memory socket, each way; as many as in a real one.
const SOCKET_MAX: usize = 64;

/// Longest wait for a call to be set up.
const SET_UP_LIMIT: Duration = Duration::from_secs(10);

/// Engine and callers in this process.
pub(crate) async fn in_memory(options: &Options) -> Result<(), Box<dyn Error>> {
    let bench = Bench::new(options).await?;
    let messages = script::messages()?;
    let process = Process::this();
    let resident = process.resident_bytes();
    let (mut lines, mut set_up) = (Vec::with_capacity(options.calls), Vec::new());
    let base = Instant::now();
    for number in 0..options.calls {
        let far = Far::new(number * script::CYCLE_FRAMES / options.calls);
        bench.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(far.clone());
        let (to_engine, incoming) = async_channel::bounded(SOCKET_MAX);
        let (outgoing, from_engine) = async_channel::bounded(SOCKET_MAX);
        tokio::spawn(feeder::listen(far.clone(), Box::pin(from_engine)));
        let started = Instant::now();
        // Calls are spread over the frame, in steps of a millisecond.
        let phase = Duration::from_millis((number * 20 / options.calls) as u64);
        let frames = u32::try_from(base.elapsed().as_millis() / script::FRAME.as_millis())? + 2;
        let due = base + script::FRAME * frames + phase;
        let send = move |message| drop(to_engine.try_send(Ok(SocketMessage::Text(message))));
        lines.push(Line::new(number, due, far.clone(), send));
        bench.accept(Socket { incoming: incoming.boxed(), outgoing }).await?;
        while far.listened_at().is_none() {
            tokio::task::yield_now().await;
            if started.elapsed() > SET_UP_LIMIT {
                return Err("a call was not set up".into());
            }
        }
        set_up.extend(far.listened_at().map(|at| milliseconds(at - started)));
        feeder::feed(&mut lines, &messages);
    }
    let built = process.resident_bytes();
    lines.sort_by_key(|line| line.due);
    let run = run(options, &mut lines, &messages, &process).await;
    let wait = milliseconds(bench.configured_wait());
    let per_call = |bytes: u64| bytes.saturating_sub(resident) / 1_024 / options.calls as u64;
    let mut report = run.report(options, wait);
    report["live"] = bench.live_calls().into();
    report["set_up_ms"] = percentiles(set_up);
    report["memory_kib_per_call"] = json!({ "built": per_call(built), "held": per_call(process.resident_bytes()) });
    println!("{report}");
    // What is left to wind up is no part of the measurement.
    std::process::exit(0);
}

/// Callers of the engine at `url`.
pub(crate) async fn over_sockets(options: &Options, url: &str) -> Result<(), Box<dyn Error>> {
    let transport = TungsteniteTransport::new(&Tls::public()?);
    let messages = script::messages()?;
    let process = options.pid.map_or_else(Process::this, Process::of);
    let resident = process.resident_bytes();
    let mut lines = Vec::with_capacity(options.calls);
    let cycle = script::FRAME * script::CYCLE_FRAMES as u32;
    let base = Instant::now();
    for number in 0..options.calls {
        // They begin one after the other, so that not all speak at once.
        let due = base + cycle * u32::try_from(number)? / u32::try_from(options.calls)?;
        while Instant::now() < due {
            feeder::feed(&mut lines, &messages);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let request = SocketRequest::new(url, SET_UP_LIMIT);
        let Socket { incoming, outgoing } = transport.connect(request).await?;
        let far = Far::new(0);
        let messages_in = incoming.filter_map(|message| std::future::ready(message.ok()));
        tokio::spawn(feeder::listen(far.clone(), messages_in));
        let send: Box<dyn FnMut(String)> =
            Box::new(move |message| drop(outgoing.try_send(SocketMessage::Text(message))));
        lines.push(Line::new(number, Instant::now(), far, send));
    }
    lines.sort_by_key(|line| line.due);
    let run = run(options, &mut lines, &messages, &process).await;
    let mut report = run.report(options, 0.0);
    let held = process.resident_bytes().saturating_sub(resident) / 1_024 / options.calls as u64;
    report["memory_kib_per_call"] = json!({ "held": held });
    println!("{report}");
    std::process::exit(0);
}

struct Run {
    cpu: Duration,
    measures: Vec<Measures>,
    wall: Duration,
}

async fn run<S: FnMut(String)>(
    options: &Options,
    lines: &mut [Line<S>],
    messages: &[String],
    process: &Process,
) -> Run {
    feeder::pump(lines, messages, options.warm).await;
    lines.iter().for_each(|line| line.far.measure());
    let (began, cpu) = (Instant::now(), process.cpu());
    feeder::pump(lines, messages, options.window).await;
    let (wall, cpu) = (began.elapsed(), process.cpu().saturating_sub(cpu));
    Run { cpu, measures: lines.iter().map(|line| line.far.measures()).collect(), wall }
}

impl Run {
    /// The figures; from the time of an answer, what it waits for by configuration is taken off.
    fn report(&self, options: &Options, wait_ms: f64) -> Value {
        let busy = self.cpu.as_secs_f64() / self.wall.as_secs_f64();
        let all = |of: fn(&Measures) -> &Vec<f64>| self.measures.iter().flat_map(of).copied().collect::<Vec<_>>();
        let turns = all(|measures| &measures.turn_ms);
        let barge_ins = all(|measures| &measures.barge_in_ms);
        json!({
            "calls": options.calls,
            "cpu_s_per_call_s": round(busy / options.calls as f64, 1e7),
            "core_busy": round(busy, 1e3),
            "in_late_ms": percentiles(all(|measures| &measures.in_late_ms)),
            "out_late_ms": percentiles(all(|measures| &measures.out_late_ms)),
            "turns": turns.len(),
            "turns_asked": self.measures.iter().map(|measures| measures.turns_asked).sum::<usize>(),
            "turn_added_ms": percentiles(turns.into_iter().map(|turn| turn - wait_ms).collect()),
            "barge_ins": barge_ins.len(),
            "barge_in_ms": percentiles(barge_ins),
            "received": self.measures.iter().map(|measures| measures.received).sum::<usize>(),
        })
    }
}

fn percentiles(mut values: Vec<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return Value::Null };
    let at = |share: f64| round(values[(last as f64 * share).round() as usize], 1e3);
    json!({ "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1.0) })
}

fn round(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
