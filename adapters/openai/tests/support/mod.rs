//! The mock server aimock (npm `@copilotkit/aimock`), as a process of the test's own.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use offhook::provider::HttpTransport;
use offhook::provider::llm::{LlmRequest, Message, Tool};
use offhook_openai::{ApiKey, OpenAi, OpenAiConfig};
use offhook_tokio::{ReqwestTransport, Tls};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The folder that the package was installed into; the default is where set-up puts it.
const FOLDER_VARIABLE: &str = "OFFHOOK_AIMOCK";
const READY_TIMEOUT: Duration = Duration::from_secs(60);
pub(crate) const KEY: &str = "sk-of-the-test";

/// A running server; dropping it ends the process.
pub(crate) struct Aimock {
    process: Child,
    url: String,
    _fixtures: TempDir,
}

impl Aimock {
    /// Starts a server that knows `fixtures` and [`KEY`], with `options` of its command line, and waits until it listens.
    pub(crate) fn start(fixtures: &Value, options: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("fixtures.json"), json!({"fixtures": fixtures}).to_string()).unwrap();
        let mut process = Command::new("node")
            .arg(program())
            .args(["--port", "0", "--strict", "--fixtures"])
            .arg(folder.path())
            .args(options)
            .env("AIMOCK_API_KEYS", KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("node does not start ({error}); run `cargo xtask setup`"));
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut server = Self { process, url: String::new(), _fixtures: folder };
        let (sender, receiver) = mpsc::channel();
        // Reads on behind the address, because a full pipe would stop the server.
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some((_, url)) = line.split_once("listening on ") {
                    let _ = sender.send(url.trim().to_owned());
                }
            }
        });
        server.url = receiver.recv_timeout(READY_TIMEOUT).expect("aimock does not listen");
        server
    }

    pub(crate) fn config(&self) -> OpenAiConfig {
        OpenAiConfig::compatible(format!("{}/v1", self.url), "gpt-4o").with_api_key(ApiKey::new(KEY))
    }

    pub(crate) fn model(&self) -> OpenAi {
        model(self.config())
    }
}

impl Drop for Aimock {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn program() -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers").join("aimock");
    let folder = std::env::var_os(FOLDER_VARIABLE).map_or_else(default, PathBuf::from);
    let program = folder.join("node_modules/@copilotkit/aimock/dist/cli.js");
    assert!(program.is_file(), "the mock server is not installed in {}: run `cargo xtask setup`", folder.display());
    program
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
