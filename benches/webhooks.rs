//! Webhooks: a signature over 1 KiB beside the bare HMAC of AWS-LC and that of the `openssl` program, and messages that are
//! signed, delivered to a receiver on loopback and recorded, for each second.
//!
//! `cargo bench -p offhook-benches --bench webhooks`

#![allow(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]
#![allow(clippy::print_stdout, reason = "deliveries are not criterion's to count")]

use std::hint::black_box;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use criterion::{Criterion, Throughput, criterion_group};
use offhook::engine::{Engine, Providers};
use offhook::ids::TenantId;
use offhook::memory::MemoryStore;
use offhook::provider::Store;
use offhook::provider::store::Batch;
use offhook::runtime::Runtime;
use offhook::service;
use offhook::service::outbox::{Message, Target};
use offhook::service::webhooks::NewEndpoint;
use offhook::signing::{Secret, body, standard};
use offhook::time::Timestamp;
use offhook_sqlite::SqliteStore;
use offhook_testkit::carrier::Carrier;
use offhook_testkit::script::{CueRecogniser, ScriptedModel, ToneSpeech};
use offhook_tokio::{ReqwestTransport, Tls, TokioRuntime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const BODY_BYTES: usize = 1_024;
/// How often this and OpenSSL are timed in turns.
const ROUNDS: usize = 3;
const MESSAGES: usize = 20_000;
const ENDPOINTS: usize = 4;
const BATCH: usize = 250;

criterion_group!(signing, signatures);

fn main() {
    signing();
    Criterion::default().configure_from_args().final_summary();
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    beside_openssl();
    let memory = Arc::new(MemoryStore::new(service::schema()).expect("the schema is sound"));
    deliver("memory", memory);
    let folder = tempfile::tempdir().expect("a folder");
    let sqlite = SqliteStore::open(folder.path().join("bench.db"), service::schema()).expect("a database");
    deliver("SQLite", Arc::new(sqlite));
}

fn signatures(criterion: &mut Criterion) {
    let payload = vec![b'x'; BODY_BYTES];
    let secret = Secret::new(vec![7; 32]);
    let mut group = criterion.benchmark_group("sign 1 KiB");
    group.throughput(Throughput::Bytes(BODY_BYTES as u64));
    group.bench_function("sha256=", |bencher| bencher.iter(|| body::sign(&secret, black_box(&payload))));
    let at = Timestamp::from_unix_micros(1_763_622_000_000_000);
    let secrets = [secret];
    group.bench_function("standard", |bencher| {
        bencher.iter(|| {
            standard::sign(&secrets, "01980000-0000-7000-8000-000000000001:call_ended:crm", at, black_box(&payload))
        });
    });
    group.bench_function("bare HMAC of AWS-LC, key made each time", |bencher| {
        bencher.iter(|| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), black_box(&payload)));
    });
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
    group.bench_function("bare HMAC of AWS-LC, key kept", |bencher| {
        bencher.iter(|| hmac::sign(&key, black_box(&payload)));
    });
    group.finish();
}

/// Prints how long a signature takes as a multiple of what OpenSSL's own benchmark of a HMAC takes, in turns with it.
fn beside_openssl() {
    let payload = vec![b'x'; BODY_BYTES];
    let secret = Secret::new(vec![7; 32]);
    for _ in 0..ROUNDS {
        let Some(theirs) = openssl_nanos() else {
            println!("there is no openssl program to compare with");
            return;
        };
        let (start, mut signed) = (Instant::now(), 0_u32);
        while start.elapsed() < Duration::from_secs(1) {
            for _ in 0..1_000 {
                black_box(body::sign(&secret, black_box(&payload)));
            }
            signed += 1_000;
        }
        let ours = start.elapsed().as_secs_f64() * 1e9 / f64::from(signed);
        let ratio = ours / theirs;
        println!(
            "sign 1 KiB: {ours:.0} ns, OpenSSL's HMAC with its key kept: {theirs:.0} ns, {ratio:.2} times as long"
        );
    }
}

/// What OpenSSL needs for a HMAC of 1 KiB, by its machine-readable report: `+F:9:hmac(sha256):1600716800.00`, bytes a second.
fn openssl_nanos() -> Option<f64> {
    let bytes = BODY_BYTES.to_string();
    let speed = ["speed", "-mr", "-seconds", "1", "-hmac", "sha256", "-bytes", &bytes];
    let output = Command::new("openssl").args(speed).stderr(Stdio::null()).output().ok()?;
    let report = String::from_utf8(output.stdout).ok()?;
    let rate: f64 = report.lines().find(|line| line.starts_with("+F:"))?.rsplit(':').next()?.trim().parse().ok()?;
    Some(BODY_BYTES as f64 * 1e9 / rate)
}

/// How many messages a second go from the store to a receiver and back into the store, sender and receiver together.
fn deliver(name: &str, store: Arc<dyn Store>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let received = Arc::new(AtomicUsize::new(0));
        let port = receive(received.clone()).await;
        let (engine, tenant) = engine(store.clone());
        for index in 0..ENDPOINTS {
            let endpoint = NewEndpoint::new(format!("http://127.0.0.1:{port}/hooks/{index}"));
            engine.webhooks().register(tenant, &format!("e{index}"), endpoint).await.expect("an endpoint");
        }
        let payload = format!("{{\"x\":\"{}\"}}", "x".repeat(BODY_BYTES - 8));
        let mut written = Vec::new();
        for start in (0..MESSAGES).step_by(BATCH) {
            let mut batch = Batch::default();
            for index in start..start + BATCH {
                let lane = format!("lane{index}");
                let message = Message {
                    body: payload.clone(),
                    event: "bench".to_owned(),
                    event_id: lane.clone(),
                    id: lane.clone(),
                    lane,
                    place: 0,
                    target: Target::endpoint(&format!("e{}", index % ENDPOINTS)),
                    tenant,
                };
                engine.outbox().enqueue(&mut batch, message).expect("a message");
            }
            written.push(batch);
        }
        let (wall, cpu) = (Instant::now(), cpu_seconds());
        for batch in written {
            store.commit(batch).await.expect("it is written");
            engine.outbox().wake();
        }
        while received.load(Ordering::Relaxed) < MESSAGES {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let rate = |seconds: f64| MESSAGES as f64 / seconds;
        println!("{name}: {:.0} webhooks a second, {:.0} a second and core", rate(wall), rate(cpu));
    });
}

fn engine(store: Arc<dyn Store>) -> (Engine, TenantId) {
    let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime::current().expect("inside of a runtime"));
    let tenant = TenantId::generate(&*runtime);
    let tls = Tls::public().expect("authorities");
    let providers = Providers {
        blob: None,
        http: Arc::new(ReqwestTransport::new(&tls).expect("a transport")),
        llm: Arc::new(ScriptedModel::new(|_| Vec::new())),
        runtime: runtime.clone(),
        store,
        stt: Arc::new(CueRecogniser::default()),
        telephony: Arc::new(Carrier::new(runtime)),
        tts: Arc::new(ToneSpeech::default()),
    };
    (Engine::with_settings(providers, offhook_testkit::settings()), tenant)
}

/// Answers every POST with 204, and counts them. As little as HTTP allows, so that the sender is measured.
async fn receive(received: Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream, received.clone()));
        }
    });
    port
}

async fn answer_all(mut stream: TcpStream, received: Arc<AtomicUsize>) {
    let mut buffer = Vec::with_capacity(16 * 1_024);
    loop {
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            if stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
                continue;
            }
            return;
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.trim().parse().ok());
        let whole = end + 4 + length.unwrap_or(0_usize);
        while buffer.len() < whole {
            if stream.read_buf(&mut buffer).await.map_or(0, |read| read) == 0 {
                return;
            }
        }
        buffer.drain(..whole);
        received.fetch_add(1, Ordering::Relaxed);
        if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.is_err() {
            return;
        }
    }
}

/// Of this process so far, in user and kernel.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux tells");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}
