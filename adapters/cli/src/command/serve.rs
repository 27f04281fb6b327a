//! `offhook serve`: the vendors' APIs on one engine.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_channel::Sender;
use offhook::billing::Increment;
use offhook::engine::{Engine, Providers, Settings};
use offhook::provider::Telephony;
use offhook::provider::telephony::E164;
use offhook::runtime::Runtime;
use offhook::service;
use offhook::service::capacity::Limits;
use offhook::trace::Span;
use offhook::wrap::{Cached, CarrierName, Carriers, Route, Scaled};
use offhook_blob::ObjectBlob;
use offhook_sandbox::{Sandbox, SandboxOptions};
use offhook_server::{App, Options, Streams, router, serve};
use offhook_streams::MediaStreams;
use offhook_tokio::TokioRuntime;
use tokio::net::TcpListener;
use tokio::signal;
use tokio::task::JoinHandle;

use crate::args::ServeArgs;
use crate::config::Config;
use crate::failure::{Failure, Outcome};
use crate::house::House;
use crate::speech::Speech;
use crate::stage::Wires;
use crate::terminal::Output;
use crate::{brain, terminal};

/// The sandbox's name among the carriers.
const SANDBOX: &str = "sandbox";

/// The name of the carrier that diallers connect to.
const STREAMS: &str = "streams";

/// Longest wait for the last spans when the server stops.
const SPANS_FLUSH: Duration = Duration::from_secs(5);

/// Shown to those whom the sandbox stands for when nothing else is configured: reserved, as all of its numbers.
const CALLER_ID: &str = "+15550100000";

/// Runs the command until it is told to stop.
pub async fn run(args: ServeArgs) -> Outcome<()> {
    let config = Config::of_server(&args)?;
    let tls = config.tls.as_ref().map(|(certificate, key)| crate::tls::server(certificate, key)).transpose()?;
    let listener = TcpListener::bind(config.listen).await;
    let listener =
        listener.map_err(|error| Failure::new(format_args!("cannot listen on {}: {error}", config.listen)))?;
    let addr = listener.local_addr().map_err(Failure::new)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", reachable(addr));
    let wires = Wires::new()?;
    let telemetry = Telemetry::start(&config, &wires)?;
    let (engine, app) = open(&config, &url, wires, telemetry.as_ref()).await?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(serve(listener, router(app), tls, offhook_server::Limits::default(), async {
        let _ = stopped.await;
    }));
    terminal::print(format_args!(
        "offhook listens on {url} (APIs below /dialro, /voxstack, /voxcore and /dialflo, all described at /docs)"
    ));
    told_to_stop().await?;
    terminal::print("stopping: no more calls begin, those that go on may end");
    let left = tokio::select! {
        left = engine.drain(config.drain) => left,
        result = told_to_stop() => { result?; engine.live_calls() }
    };
    // Whoever follows a call hears its end first.
    let _ = stop.send(());
    let _ = serving.await;
    if let Some(telemetry) = telemetry {
        telemetry.stop().await;
    }
    match left {
        0 => Ok(()),
        left => Err(Failure::new(format_args!("{left} calls were cut off; the next start settles them"))),
    }
}

async fn open(config: &Config, url: &str, wires: Wires, telemetry: Option<&Telemetry>) -> Outcome<(Engine, App)> {
    let real: Arc<dyn Runtime> = Arc::new(TokioRuntime::current()?);
    let runtime: Arc<dyn Runtime> = match config.time_scale.get() {
        1 => real,
        _ => Arc::new(Scaled::new(real, config.time_scale)),
    };
    let house = House::open(config, runtime.clone()).await?;
    for trunk in house.desk(config, runtime.clone()).trunks.list().await? {
        Output::Stderr.line(format_args!(
            "offhook: trunk {}: this build has no adapter for SIP and does not use it; calls go to the sandbox",
            trunk.name
        ));
    }
    let (speech, llm) = tokio::try_join!(Speech::load_for_all(), brain::chosen(&config.model, wires.http.clone()))?;
    let sandbox: Arc<dyn Telephony> = Arc::new(Sandbox::new(
        runtime.clone(),
        speech.tts.clone(),
        Some(speech.stt.clone()),
        SandboxOptions::default(),
    )?);
    let name: CarrierName = SANDBOX.parse()?;
    let media = Arc::new(MediaStreams::new(runtime.clone()));
    let streams: CarrierName = STREAMS.parse()?;
    let all: BTreeMap<_, Arc<dyn Telephony>> =
        BTreeMap::from([(name.clone(), sandbox), (streams.clone(), media.clone() as Arc<dyn Telephony>)]);
    let carriers = Arc::new(Carriers::new(all, vec![Route::all(name)])?);
    let streams = Streams { carriers: carriers.clone(), media, name: streams };
    let public_url = config.public_url.clone().unwrap_or_else(|| url.to_owned());
    let mut settings = Settings::default();
    settings.calls_max = config.calls_max;
    // DR-064
    settings.increment = Increment::seconds(60, 60)?;
    settings.limits = Limits { calls_max: config.calls_max_per_tenant, ..Limits::default() };
    settings.public_url = Some(public_url);
    settings.reach = config.reach.clone();
    settings.spans = telemetry.map(|telemetry| telemetry.spans.clone());
    settings.vault_keys = house.vault_keys.clone();
    let blob = ObjectBlob::folder(&config.data)?;
    let providers = Providers {
        blob: Some(Arc::new(blob)),
        http: wires.http,
        llm,
        runtime: runtime.clone(),
        store: Arc::new(Cached::new(house.store, service::SELDOM_WRITTEN)),
        stt: speech.stt,
        telephony: carriers,
        tts: speech.tts,
    };
    let engine = Engine::with_settings(providers, settings);
    let mut options = Options::default();
    let fallback: E164 = CALLER_ID.parse()?;
    options.caller_id = Some(config.caller_id.clone().unwrap_or(fallback));
    options.calls_max = config.calls_max;
    options.cors = config.cors.clone();
    // What was not said is not known behind a proxy: then the host of each request counts.
    options.public_url = config.public_url.clone();
    options.root = config.root;
    options.voxcore_allow = config.voxcore_allow.clone();
    options.voxcore_requires_key = config.voxcore_requires_key;
    Ok((engine.clone(), App::new(engine, runtime, options, Some(streams))))
}

/// The spans of calls on their way to a collector.
struct Telemetry {
    exporting: JoinHandle<()>,
    spans: Sender<Span>,
}

impl Telemetry {
    fn start(config: &Config, wires: &Wires) -> Outcome<Option<Self>> {
        let Some(collector) = config.collector.clone() else { return Ok(None) };
        // By the real clock, however fast calls run.
        let (spans, exporter) =
            offhook_otel::exporter(collector, Arc::new(TokioRuntime::current()?), wires.http.clone());
        Ok(Some(Self { exporting: tokio::spawn(exporter.run()), spans }))
    }

    /// Sends what still waits.
    async fn stop(self) {
        self.spans.close();
        let _ = tokio::time::timeout(SPANS_FLUSH, self.exporting).await;
    }
}

/// Where programs on this machine find it.
fn reachable(addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() { SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), addr.port()) } else { addr }
}

async fn told_to_stop() -> Outcome<()> {
    #[cfg(unix)]
    {
        let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate()).map_err(Failure::new)?;
        tokio::select! {
            result = signal::ctrl_c() => result.map_err(Failure::new),
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    signal::ctrl_c().await.map_err(Failure::new)
}
