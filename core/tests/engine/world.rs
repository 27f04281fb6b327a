//! An engine, its providers and a tenant with an hour of credit.

use std::sync::Arc;
use std::time::Duration;

use offhook::engine::{CallHandle, Engine, Providers};
use offhook::ids::{AgentId, TenantId};
use offhook::memory::MemoryStore;
use offhook::provider::TextToSpeech;
use offhook::provider::llm::{FinishReason, LlmEvent, LlmRequest, Message, Tool, ToolCall};
use offhook::provider::transport::HttpRequest;
use offhook::runtime::Runtime;
use offhook::service;
use offhook::service::agents::{Agent, Function};
use offhook::service::webhooks::NewEndpoint;
use offhook::signing::Secret;
use offhook::signing::standard;
use offhook_testkit::carrier::{Caller, Carrier};
use offhook_testkit::script::{CueRecogniser, MemoryBlob, ScriptedHttp, ScriptedModel, ToneSpeech};

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
pub(crate) const FUNCTION_URL: &str = "http://clinic.example/check_appointment";
pub(crate) const WEBHOOK_URL: &str = "http://clinic.example/webhooks";

pub(crate) struct World {
    pub(crate) agent: Arc<Agent>,
    pub(crate) blob: MemoryBlob,
    pub(crate) carrier: Carrier,
    pub(crate) engine: Engine,
    pub(crate) http: ScriptedHttp,
    pub(crate) providers: Providers,
    pub(crate) runtime: Arc<dyn Runtime>,
    /// Signs the webhooks.
    pub(crate) secret: Secret,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) tenant: TenantId,
}

impl World {
    /// Callers say `lines`, one for each time they are heard.
    pub(crate) async fn new(runtime: Arc<dyn Runtime>, lines: &[&str]) -> Self {
        Self::with_http(runtime, lines, |request| {
            let answer = if request.url == FUNCTION_URL { "{\"time\":\"ten\"}" } else { "" };
            Ok((200, answer.to_owned()))
        })
        .await
    }

    pub(crate) async fn with_http(
        runtime: Arc<dyn Runtime>,
        lines: &[&str],
        answer: impl Fn(&HttpRequest) -> offhook::Result<(u16, String)> + Send + Sync + 'static,
    ) -> Self {
        Self::with(runtime, lines, answer, Arc::new(ToneSpeech::default())).await
    }

    pub(crate) async fn with(
        runtime: Arc<dyn Runtime>,
        lines: &[&str],
        answer: impl Fn(&HttpRequest) -> offhook::Result<(u16, String)> + Send + Sync + 'static,
        tts: Arc<dyn TextToSpeech>,
    ) -> Self {
        let carrier = Carrier::new(runtime.clone());
        let store = Arc::new(MemoryStore::new(service::schema()).unwrap());
        let (http, blob) = (ScriptedHttp::new(answer), MemoryBlob::default());
        let providers = Providers {
            blob: Some(Arc::new(blob.clone())),
            http: Arc::new(http.clone()),
            llm: Arc::new(ScriptedModel::new(receptionist)),
            runtime: runtime.clone(),
            store: store.clone(),
            stt: Arc::new(CueRecogniser::new(lines)),
            telephony: Arc::new(carrier.clone()),
            tts,
        };
        let engine = Engine::with_settings(providers.clone(), offhook_testkit::settings());
        let tenant = TenantId::new(runtime.wall_clock(), [7; 10]);
        engine.credits().grant(tenant, HOUR, "first").await.unwrap();
        let (_, secret) = engine.webhooks().register(tenant, "crm", NewEndpoint::new(WEBHOOK_URL)).await.unwrap();
        let secret = standard::parse_secret(&secret).unwrap();
        let agent = agent(&*runtime);
        Self { agent: Arc::new(agent), blob, carrier, engine, http, providers, runtime, secret, store, tenant }
    }

    /// A caller rings and the agent is put on.
    pub(crate) fn ring(&self) -> (CallHandle, Caller) {
        let (incoming, caller) = self.carrier.ring("+628123456789", "+622150001000");
        (self.engine.accept(self.tenant, self.agent.clone(), incoming).unwrap(), caller)
    }

    pub(crate) async fn wait(&self, duration: Duration) {
        self.runtime.sleep_until(self.runtime.now() + duration).await;
    }
}

fn agent(runtime: &dyn Runtime) -> Agent {
    let mut agent = Agent::new(AgentId::new(runtime.wall_clock(), [8; 10]), "Sari", "You are {{agent.name}}.");
    agent.greeting = Some("Good morning.".to_owned());
    let tool = Tool {
        description: "Looks an appointment up.".to_owned(),
        name: "check_appointment".to_owned(),
        parameters: serde_json::json!({ "type": "object" }),
    };
    agent.functions.push(Function::new(FUNCTION_URL, tool).signed(Secret::new("function secret")));
    agent
}

fn receptionist(request: &LlmRequest) -> Vec<LlmEvent> {
    let text = |text: &str| vec![LlmEvent::Text(text.to_owned())];
    let tool = |name: &str| {
        let arguments = "{\"phone_number\":\"+628123456789\"}".to_owned();
        LlmEvent::ToolCall(ToolCall { arguments, id: format!("{name}-1"), name: name.to_owned() })
    };
    let finished = LlmEvent::Finished { reason: FinishReason::ToolCalls };
    match request.messages.last() {
        Some(Message::Tool { content, .. }) => text(&format!("I found {content}.")),
        Some(Message::User { text: said }) if said.contains("appointment") => {
            vec![LlmEvent::Text("Let me check.".to_owned()), tool("check_appointment"), finished]
        }
        Some(Message::User { text: said }) if said.contains("bye") => {
            vec![LlmEvent::Text("Goodbye!".to_owned()), tool("end_call"), finished]
        }
        Some(Message::User { text: said }) if said.contains("story") => {
            text("Once upon a time there was a clinic that was open from nine to five on every day of the week.")
        }
        _ => text("From nine to five."),
    }
}
