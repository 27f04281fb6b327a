//! The engine under test.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use offhook::engine::{Engine, Providers, Settings};
use offhook::ids::{AgentId, TenantId};
use offhook::memory::MemoryStore;
use offhook::provider::transport::Socket;
use offhook::service::{self, agents::Agent};
use offhook_blob::ObjectBlob;
use offhook_local::{Models, silero};
use offhook_streams::MediaStreams;
use offhook_tokio::{ReqwestTransport, SocketListener, Tls, TokioRuntime};
use tempfile::TempDir;

use crate::Options;
use crate::far::Far;
use crate::null::{NullModel, NullRecogniser, NullVoice};
use crate::script;

/// An engine with providers that cost nothing.
pub(crate) struct Bench {
    agent: Arc<Agent>,
    engine: Engine,
    _recordings: TempDir,
    streams: Arc<MediaStreams>,
    tenant: TenantId,
    /// Calls whose recogniser has not begun, in their order.
    pub(crate) waiting: Arc<Mutex<VecDeque<Arc<Far>>>>,
}

impl Bench {
    pub(crate) async fn new(options: &Options) -> Result<Self, Box<dyn Error>> {
        let recordings = tempfile::tempdir()?;
        let runtime = Arc::new(TokioRuntime::current()?);
        let streams = Arc::new(MediaStreams::new(runtime.clone()));
        let waiting = Arc::new(Mutex::new(VecDeque::new()));
        let mut settings = Settings::default();
        if options.neural {
            settings.speech_detector = Some(silero::load(&Models::locate()?)?);
        }
        let providers = Providers {
            blob: if options.record { Some(Arc::new(ObjectBlob::folder(recordings.path())?)) } else { None },
            http: Arc::new(ReqwestTransport::new(&Tls::public()?)?),
            llm: Arc::new(NullModel),
            runtime: runtime.clone(),
            store: Arc::new(MemoryStore::new(service::schema())?),
            stt: Arc::new(NullRecogniser { rate_hz: options.rate_hz, waiting: waiting.clone() }),
            telephony: streams.clone(),
            tts: Arc::new(NullVoice(Arc::new(script::sentence(options.barge_in)))),
        };
        let engine = Engine::with_settings(providers, settings);
        let tenant = TenantId::generate(&*runtime);
        engine.credits().grant(tenant, Duration::from_secs(1 << 30), "bench").await?;
        let mut agent = Agent::new(AgentId::generate(&*runtime), "Sari", "You are a helpful receptionist.");
        agent.policy.duration_max = Duration::from_secs(3_600);
        Ok(Self { agent: Arc::new(agent), engine, _recordings: recordings, streams, tenant, waiting })
    }

    /// Takes a call.
    pub(crate) async fn accept(&self, socket: Socket) -> offhook::Result<()> {
        let accepted = self.streams.accept(socket).await?;
        self.engine.accept(self.tenant, self.agent.clone(), accepted.call).map(|_| ())
    }

    pub(crate) fn live_calls(&self) -> usize {
        self.engine.live_calls()
    }

    /// What an answer waits for by configuration: silence, before the caller's turn counts as over.
    pub(crate) fn configured_wait(&self) -> Duration {
        self.agent.policy.endpointing.delay_min
    }
}

/// Takes calls on `port` until the process is ended.
pub(crate) async fn serve(options: &Options, port: u16) -> Result<(), Box<dyn Error>> {
    let bench = Arc::new(Bench::new(options).await?);
    let listener = SocketListener::bind(("127.0.0.1", port)).await?;
    println!("{}", listener.local_addr());
    loop {
        let (bench, socket) = (bench.clone(), listener.accept().await?.socket);
        // A connection that is no call was only a probe.
        tokio::spawn(async move { bench.accept(socket).await.ok() });
    }
}
