//! Calls that one core carries: the whole engine in real time, over an in-memory socket that speaks Twilio's protocol, with
//! providers that cost nothing, and recorded. Prints a line of JSON.
//!
//! `cargo bench -p offhook-benches --bench calls -- --calls 100 [--window 16] [--warm 9] [--rate 16000] [--barge-in]`

#![allow(clippy::print_stdout, clippy::expect_used, reason = "a benchmark")]

mod far;
mod null;
mod process;
mod script;

use std::collections::VecDeque;
use std::env;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use offhook::engine::{Engine, Providers};
use offhook::ids::{AgentId, TenantId};
use offhook::memory::MemoryStore;
use offhook::provider::transport::{Socket, SocketMessage};
use offhook::service::{self, agents::Agent};
use offhook_blob::ObjectBlob;
use offhook_streams::MediaStreams;
use offhook_tokio::{ReqwestTransport, Tls, TokioRuntime};
use serde_json::{Value, json};

use crate::far::{Far, Measures};
use crate::null::{NullModel, NullRecogniser, NullVoice};

/// Messages that wait in the socket, each way.
const SOCKET_MAX: usize = 256;

/// Longest wait for a call to be set up.
const SET_UP_LIMIT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.iter().any(|argument| argument == "--test" || argument == "--list") {
        return Ok(());
    }
    let options = Options::parse(&arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(options))
}

struct Options {
    barge_in: bool,
    calls: usize,
    rate_hz: u32,
    record: bool,
    warm: Duration,
    window: Duration,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            barge_in: false,
            calls: 100,
            rate_hz: 16_000,
            record: true,
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
                "--rate" => options.rate_hz = value()?.parse()?,
                "--warm" => options.warm = Duration::from_secs(value()?.parse()?),
                "--window" => options.window = Duration::from_secs(value()?.parse()?),
                _ => return Err(format!("{name} is not an option").into()),
            }
        }
        Ok(options)
    }
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let runtime = Arc::new(TokioRuntime::current()?);
    let streams = Arc::new(MediaStreams::new(runtime.clone()));
    let waiting = Arc::new(Mutex::new(VecDeque::new()));
    let engine = Engine::new(Providers {
        blob: if options.record { Some(Arc::new(ObjectBlob::folder(folder.path())?)) } else { None },
        http: Arc::new(ReqwestTransport::new(&Tls::public()?)?),
        llm: Arc::new(NullModel),
        runtime: runtime.clone(),
        store: Arc::new(MemoryStore::new(service::schema())?),
        stt: Arc::new(NullRecogniser { rate_hz: options.rate_hz, waiting: waiting.clone() }),
        telephony: streams.clone(),
        tts: Arc::new(NullVoice(Arc::new(sentences(&options)))),
    });
    let tenant = TenantId::generate(&*runtime);
    engine.credits().grant(tenant, Duration::from_secs(1 << 30), "bench").await?;
    let mut agent = Agent::new(AgentId::generate(&*runtime), "Sari", "You are a helpful receptionist.");
    agent.policy.duration_max = Duration::from_secs(3_600);
    let configured_wait = agent.policy.endpointing.delay_min;
    let agent = Arc::new(agent);

    let resident = process::resident_bytes();
    let messages = Arc::new(script::messages());
    let (mut calls, mut set_up_ms) = (Vec::new(), Vec::new());
    let base = Instant::now() + Duration::from_millis(200);
    for number in 0..options.calls {
        let far = Far::new(number * script::CYCLE_FRAMES / options.calls);
        waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(far.clone());
        let (to_engine, incoming) = async_channel::bounded(SOCKET_MAX);
        let (outgoing, from_engine) = async_channel::bounded(SOCKET_MAX);
        for message in handshake(number) {
            to_engine.try_send(Ok(SocketMessage::Text(message)))?;
        }
        tokio::spawn(listen(far.clone(), from_engine));
        let started = Instant::now();
        let accepted = streams.accept(Socket { incoming: incoming.boxed(), outgoing }).await?;
        engine.accept(tenant, agent.clone(), accepted.call)?;
        while far.listened_at().is_none() {
            tokio::task::yield_now().await;
            if started.elapsed() > SET_UP_LIMIT {
                return Err("a call was not set up".into());
            }
        }
        set_up_ms.push(far.listened_at().map_or(0.0, |at| (at - started).as_secs_f64() * 1e3));
        // Calls are spread over the frame, in steps of a millisecond.
        let phase = Duration::from_millis((number * 20 / options.calls) as u64);
        let first = (base.elapsed().as_secs_f64() / 0.02).ceil() as u32 + 1;
        let due = base + script::FRAME * first + phase;
        far.begin(due);
        calls.push(Line { due, far, index: 0, stream: format!("MZ{number}"), to_engine });
        if number == 0 || calls.iter().any(|line| line.due < Instant::now()) {
            feed(&mut calls, &messages);
        }
    }
    let built = process::resident_bytes();
    calls.sort_by_key(|line| line.due);

    pump(&mut calls, &messages, options.warm).await;
    calls.iter().for_each(|line| line.far.measure());
    let (began, cpu) = (Instant::now(), process::cpu());
    pump(&mut calls, &messages, options.window).await;
    let (wall, cpu) = (began.elapsed(), process::cpu() - cpu);
    let measures: Vec<Measures> = calls.iter().map(|line| line.far.measures()).collect();
    let live = engine.live_calls();
    let all = |of: fn(&Measures) -> &Vec<f64>| percentiles(measures.iter().flat_map(of).copied().collect());
    let added = |of: fn(&Measures) -> &Vec<f64>| {
        let wait = configured_wait.as_secs_f64() * 1e3;
        percentiles(measures.iter().flat_map(of).map(|turn| turn - wait).collect())
    };
    let per_call = |bytes: u64| bytes.saturating_sub(resident) / 1_024 / options.calls as u64;
    let line = json!({
        "engine": "offhook",
        "calls": options.calls,
        "live": live,
        "cpu_s_per_call_s": cpu.as_secs_f64() / wall.as_secs_f64() / options.calls as f64,
        "cpu_busy": cpu.as_secs_f64() / wall.as_secs_f64(),
        "in_late_ms": all(|measures| &measures.in_late_ms),
        "out_late_ms": all(|measures| &measures.out_late_ms),
        "turn_added_ms": added(|measures| &measures.turn_ms),
        "turns": measures.iter().map(|measures| measures.turn_ms.len()).sum::<usize>(),
        "barge_in_ms": all(|measures| &measures.barge_in_ms),
        "barge_ins": measures.iter().map(|measures| measures.barge_in_ms.len()).sum::<usize>(),
        "received": measures.iter().map(|measures| measures.received).sum::<usize>(),
        "set_up_ms": percentiles(set_up_ms),
        "memory_kib_per_call": { "built": per_call(built), "held": per_call(process::resident_bytes()) },
    });
    println!("{line}");
    // What is left to wind up is no part of the measurement.
    std::process::exit(0);
}

fn sentences(options: &Options) -> Vec<Vec<i16>> {
    let sentence = script::sentence();
    // One who is to be interrupted speaks for longer.
    let times = if options.barge_in { 3 } else { 1 };
    sentence.iter().cycle().take(sentence.len() * times).cloned().collect()
}

struct Line {
    due: Instant,
    far: Arc<Far>,
    index: usize,
    stream: String,
    to_engine: async_channel::Sender<offhook::Result<SocketMessage>>,
}

fn handshake(number: usize) -> [String; 2] {
    let format = json!({ "encoding": "audio/x-mulaw", "sampleRate": 8_000, "channels": 1 });
    let stream = format!("MZ{number}");
    let start = json!({ "streamSid": stream, "callSid": format!("CA{number}"), "accountSid": "AC0", "tracks": ["inbound"], "mediaFormat": format });
    [
        json!({ "event": "connected", "protocol": "Call", "version": "1.0.0" }).to_string(),
        json!({ "event": "start", "sequenceNumber": "1", "streamSid": stream, "start": start }).to_string(),
    ]
}

/// Feeds all calls in real time.
async fn pump(calls: &mut [Line], messages: &[String], length: Duration) {
    let end = Instant::now() + length;
    while Instant::now() < end {
        feed(calls, messages);
        let next = calls.iter().map(|line| line.due).min().unwrap_or(end);
        tokio::time::sleep_until(next.into()).await;
    }
}

/// Sends every frame that is due.
fn feed(calls: &mut [Line], messages: &[String]) {
    let now = Instant::now();
    for line in calls {
        while line.due <= now {
            for name in line.far.sent(line.index, now) {
                let mark = format!(r#"{{"event":"mark","sequenceNumber":"4","mark":{{"name":"{name}"}}}}"#);
                let _ = line.to_engine.try_send(Ok(SocketMessage::Text(mark)));
            }
            let rest = &messages[(line.index + line.far.offset) % messages.len()];
            let message = [r#"{"event":"media","streamSid":""#, &line.stream, rest].concat();
            let _ = line.to_engine.try_send(Ok(SocketMessage::Text(message)));
            line.index += 1;
            line.due += script::FRAME;
        }
    }
}

/// The far end's ear.
async fn listen(far: Arc<Far>, from_engine: async_channel::Receiver<SocketMessage>) {
    while let Ok(message) = from_engine.recv().await {
        let SocketMessage::Text(text) = message else { continue };
        let now = Instant::now();
        if let Some(payload) = between(&text, r#""payload":""#) {
            let bytes = payload.len() / 4 * 3 - payload.bytes().rev().take_while(|byte| *byte == b'=').count();
            far.received(now, Duration::from_micros(bytes as u64 * 125));
        } else if let Some(name) = between(&text, r#""name":""#) {
            far.marked(name.to_owned());
        } else if text.contains(r#""clear""#) {
            far.cleared(now);
        }
    }
}

fn between<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once('"').map(|(value, _)| value)
}

fn percentiles(mut values: Vec<f64>) -> Value {
    if values.is_empty() {
        return Value::Null;
    }
    values.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let value = values[((values.len() - 1) as f64 * share).round() as usize];
        (value * 1_000.0).round() / 1_000.0
    };
    json!({ "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1.0) })
}
