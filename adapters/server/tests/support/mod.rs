//! A server in the test's own process, over scripted providers.
#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use offhook::billing::Increment;
use offhook::dialect::Dialect;
use offhook::engine::{Engine, Providers, Settings};
use offhook::ids::{AgentId, CallId, TenantId};
use offhook::memory::MemoryStore;
use offhook::provider::Telephony;
use offhook::provider::llm::{FinishReason, LlmEvent, LlmRequest, Message, ToolCall};
use offhook::service;
use offhook::service::agents::Agent;
use offhook::service::calls::StoredCall;
use offhook::service::keys::NewApiKey;
use offhook::service::tenants::Plan;
use offhook::wrap::{Cached, CarrierName, Carriers};
use offhook_server::{App, Options, Streams, router};
use offhook_streams::MediaStreams;
use offhook_testkit::carrier::Carrier;
use offhook_testkit::script::{CueRecogniser, MemoryBlob, ScriptedHttp, ScriptedModel, ToneSpeech};
use offhook_tokio::TokioRuntime;
use serde_json::Value;
use tower::ServiceExt;

/// A server, its engine and a tenant with a key of each dialect.
pub(crate) struct Server {
    pub(crate) app: App,
    pub(crate) carrier: Carrier,
    pub(crate) engine: Engine,
    pub(crate) http: ScriptedHttp,
    pub(crate) router: Router,
    pub(crate) tenant: TenantId,
    pub(crate) keys: BTreeMap<Dialect, String>,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
    pub(crate) body: Value,
}

impl Server {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default(), |_| {}).await
    }

    pub(crate) async fn with(options: Options, change: impl FnOnce(&mut Settings)) -> Self {
        Self::build(options, change, false).await
    }

    /// A server whose calls come in over media streams alone.
    pub(crate) async fn of_streams_with(options: Options) -> Self {
        Self::build(options, |settings| settings.calls_max = Some(2), true).await
    }

    async fn build(options: Options, change: impl FnOnce(&mut Settings), has_streams: bool) -> Self {
        let runtime = Arc::new(TokioRuntime::current().unwrap());
        let carrier = Carrier::new(runtime.clone());
        let http = ScriptedHttp::new(|_| Ok((200, "{}".to_owned())));
        let media = Arc::new(MediaStreams::new(runtime.clone()));
        let name: CarrierName = "streams".parse().unwrap();
        let all: BTreeMap<_, Arc<dyn Telephony>> = BTreeMap::from([(name.clone(), media.clone() as _)]);
        let carriers = Arc::new(Carriers::new(all, Vec::new()).unwrap());
        let streams = has_streams.then(|| Streams { carriers: carriers.clone(), media, name });
        let store = Arc::new(MemoryStore::new(service::schema()).unwrap());
        let providers = Providers {
            blob: Some(Arc::new(MemoryBlob::default())),
            http: Arc::new(http.clone()),
            llm: Arc::new(ScriptedModel::new(says_little)),
            runtime: runtime.clone(),
            store: Arc::new(Cached::new(store, service::SELDOM_WRITTEN)),
            stt: Arc::new(CueRecogniser::new(&[])),
            telephony: if has_streams { carriers } else { Arc::new(carrier.clone()) },
            tts: Arc::new(ToneSpeech::default()),
        };
        let mut settings = offhook_testkit::settings();
        settings.increment = Increment::seconds(60, 60).unwrap();
        settings.public_url = Some("http://server.example".to_owned());
        change(&mut settings);
        let mut options = options;
        options.calls_max = settings.calls_max;
        let engine = Engine::with_settings(providers, settings);
        let app = App::new(engine.clone(), runtime, options, streams);
        let router = router(app.clone());
        let (tenant, keys) = tenant(&engine, Plan::Enterprise).await;
        Self { app, carrier, engine, http, router, tenant, keys }
    }

    /// Another tenant and its keys.
    pub(crate) async fn stranger(&self, plan: Plan) -> (TenantId, BTreeMap<Dialect, String>) {
        tenant(&self.engine, plan).await
    }

    pub(crate) fn key(&self, dialect: Dialect) -> &str {
        &self.keys[&dialect]
    }

    /// Sends a request with exactly those headers.
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, bytes, body }
    }

    /// Sends a request with the key of a dialect, in its header.
    pub(crate) async fn ask(&self, dialect: Dialect, method: &str, path: &str, body: Value) -> Answer {
        self.ask_as(dialect, self.key(dialect), method, path, body).await
    }

    pub(crate) async fn ask_as(&self, dialect: Dialect, key: &str, method: &str, path: &str, body: Value) -> Answer {
        let (name, prefix, value) = match dialect {
            Dialect::Dialflo => ("auth_token", "/dialflo", format!("Bearer {key}")),
            Dialect::Dialro => ("x-api-key", "/dialro/api/v1", key.to_owned()),
            Dialect::VoxCore => ("x-api-key", "/voxcore", key.to_owned()),
            Dialect::VoxStack => ("authorization", "/voxstack/api/v1", format!("Bearer {key}")),
            Dialect::Dialai => unreachable!(),
        };
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let headers = [(name, value.as_str()), ("content-type", "application/json")];
        self.raw(method, &format!("{prefix}{path}"), &headers, body).await
    }

    /// An agent of the tenant, as the library makes it.
    pub(crate) async fn an_agent(&self, change: impl FnOnce(&mut Agent)) -> AgentId {
        let runtime = TokioRuntime::current().unwrap();
        let mut agent = Agent::new(AgentId::generate(&runtime), "Maya", "You call {{crm.name}}.");
        change(&mut agent);
        self.engine.agents().put(self.tenant, &agent).await.unwrap();
        agent.id
    }

    /// Waits for the end of a call.
    pub(crate) async fn ended(&self, call: CallId) -> StoredCall {
        for _ in 0..1_000 {
            let call = self.engine.calls().get(self.tenant, call).await.unwrap();
            if let Some(call) = call.filter(|call| call.ledger.is_some()) {
                return call;
            }
            self.wait(10).await;
        }
        panic!("the call does not end");
    }

    pub(crate) async fn wait(&self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The status and the body, for a message.
    pub(crate) fn is(&self, status: u16) -> &Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.bytes));
        &self.body
    }
}

async fn tenant(engine: &Engine, plan: Plan) -> (TenantId, BTreeMap<Dialect, String>) {
    let tenant = engine.tenants().create("Klinik Sehat", plan).await.unwrap().id;
    engine.credits().purchase(tenant, Duration::from_secs(3_000 * 60), "first").await.unwrap();
    let mut keys = BTreeMap::new();
    for dialect in Dialect::ALL {
        keys.insert(dialect, engine.keys().create(tenant, NewApiKey::new(dialect, "test")).await.unwrap().1);
    }
    (tenant, keys)
}

/// Ends the call when it is told goodbye.
fn says_little(request: &LlmRequest) -> Vec<LlmEvent> {
    match request.messages.last() {
        Some(Message::User { text }) if text.contains("bye") => vec![
            LlmEvent::Text("Goodbye.".to_owned()),
            LlmEvent::ToolCall(ToolCall {
                arguments: "{}".to_owned(),
                id: "1".to_owned(),
                name: "end_call".to_owned(),
            }),
            LlmEvent::Finished { reason: FinishReason::ToolCalls },
        ],
        _ => vec![LlmEvent::Text("I see.".to_owned())],
    }
}
