//! Models behind the mock server aimock, and what they are asked.

#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::Arc;

use offhook::provider::HttpTransport;
use offhook::provider::llm::{LlmRequest, Message, Tool};
use offhook_openai::{ApiKey, OpenAi, OpenAiConfig};
use offhook_testkit::aimock::{Aimock, KEY};
use offhook_tokio::{ReqwestTransport, Tls};
use serde_json::{Value, json};

/// The server with its key and its model.
pub(crate) struct Server(Aimock);

impl Server {
    pub(crate) fn start(fixtures: &Value, options: &[&str]) -> Self {
        Self(Aimock::start(env!("CARGO_TARGET_TMPDIR"), fixtures, options))
    }

    pub(crate) fn config(&self) -> OpenAiConfig {
        OpenAiConfig::compatible(self.0.base_url(), "gpt-4o").with_api_key(ApiKey::new(KEY))
    }

    pub(crate) fn model(&self) -> OpenAi {
        model(self.config())
    }
}

pub(crate) fn model(config: OpenAiConfig) -> OpenAi {
    let http: Arc<dyn HttpTransport> = Arc::new(ReqwestTransport::new(&Tls::public().unwrap()).unwrap());
    OpenAi::new(config, http).unwrap()
}

pub(crate) fn question(text: &str) -> LlmRequest {
    LlmRequest::new(vec![
        Message::System { text: "You answer the phone of a clinic.".into() },
        Message::User { text: text.into() },
    ])
}

pub(crate) fn check_appointment() -> Tool {
    Tool {
        description: "Looks an appointment up.".into(),
        name: "check_appointment".into(),
        parameters: json!({"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]}),
    }
}

/// A clinic's two sentences and one tool.
pub(crate) fn clinic() -> Value {
    json!([
        {
            "match": {"userMessage": "opening hours"},
            "response": {"content": "We are open from nine to five, Monday to Friday, and from ten to noon on Saturday."},
            "chunkSize": 7,
        },
        {
            "match": {"userMessage": "my appointment", "hasToolResult": false, "toolName": "check_appointment"},
            "response": {"toolCalls": [{"name": "check_appointment", "arguments": "{\"day\":\"Monday\"}"}]},
        },
        {
            "match": {"userMessage": "my appointment", "toolResultContains": "half past nine"},
            "response": {"content": "You are expected at half past nine."},
        },
    ])
}
