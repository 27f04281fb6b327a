//! A service that answers Twilio's calls: point a `<Connect><Stream url="wss://…"/></Connect>` at it.

use std::sync::Arc;
use std::time::Duration;

use offhook::engine::{Engine, Providers};
use offhook::ids::{AgentId, TenantId};
use offhook::service::{self, agents::Agent};
use offhook_blob::ObjectBlob;
use offhook_local::{LocalSpeechToText, LocalTextToSpeech, Models, RulesBrain, SttConfig};
use offhook_sqlite::SqliteStore;
use offhook_streams::MediaStreams;
use offhook_tokio::{ReqwestTransport, SocketListener, Tls, TokioRuntime};

#[tokio::main]
async fn main() -> offhook::Result<()> {
    let runtime = Arc::new(TokioRuntime::current()?);
    let models = Models::locate()?;
    let streams = Arc::new(MediaStreams::new(runtime.clone()));
    let engine = Engine::new(Providers {
        blob: Some(Arc::new(ObjectBlob::folder("recordings")?)),
        http: Arc::new(ReqwestTransport::new(&Tls::public()?)?),
        llm: Arc::new(RulesBrain::clinic()?),
        runtime: runtime.clone(),
        store: Arc::new(SqliteStore::open("offhook.db", service::schema())?),
        stt: Arc::new(LocalSpeechToText::new(&models, SttConfig::default())?),
        telephony: streams.clone(),
        tts: Arc::new(LocalTextToSpeech::new(&models)?),
    });
    let tenant = TenantId::generate(&*runtime);
    engine.credits().grant(tenant, Duration::from_secs(3_600), "welcome").await?;
    let agent = Agent::new(AgentId::generate(&*runtime), "Sari", "You answer for Bloom Clinic.");
    let agent = Arc::new(agent.with_greeting("Bloom Clinic, this is {{agent.name}}. How can I help you?"));
    let listener = SocketListener::bind("127.0.0.1:8080").await?;
    loop {
        let socket = listener.accept().await?.socket;
        let (engine, streams, agent) = (engine.clone(), streams.clone(), agent.clone());
        tokio::spawn(async move { engine.accept(tenant, agent, streams.accept(socket).await?.call) });
    }
}
