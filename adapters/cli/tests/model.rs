//! The demo with a model behind a Chat Completions API: the mock server aimock (npm `@copilotkit/aimock`).
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// The folder that the package was installed into; the default is where set-up puts it.
const FOLDER_VARIABLE: &str = "OFFHOOK_AIMOCK";
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const KEY: &str = "sk-of-the-test";

#[test]
fn a_model_holds_the_same_conversation() {
    let folder = tempfile::tempdir().unwrap();
    let server = Aimock::start(folder.path());
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    command.args(["demo", "--json", "--quiet", "--llm", "openai:gpt-4o", "--llm-key-env", "KEY_OF_THE_TEST"]);
    command.arg("--llm-url").arg(format!("{}/v1", server.url)).arg("--keep").arg(folder.path());
    let output = command.env("KEY_OF_THE_TEST", KEY).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["functions"][0]["parameters"], json!({ "phone_number": "+628123456789" }));
    assert_eq!(report["functions"][0]["result"]["found"], true);
    assert_eq!(report["call"]["hangup_party"], "agent");
    let entries = report["transcript"].as_array().unwrap();
    let cut = entries.iter().find(|entry| entry["cut"] == true).expect("nothing is cut");
    assert!(cut["text"].as_str().unwrap().starts_with("The clinic is open"), "{cut}");
    let last = entries.last().unwrap();
    assert_eq!((&last["speaker"], &last["text"]), (&json!("agent"), &json!("My pleasure. Goodbye!")));
}

/// What the model says, by words in what the caller said last.
fn fixtures() -> Value {
    let number = json!({ "phone_number": "+628123456789" }).to_string();
    let hours =
        "The clinic is open from Monday to Friday, from eight in the morning until half past six in the evening.";
    json!({ "fixtures": [
        { "match": { "userMessage": "opening hours" }, "response": { "content": hours }, "chunkSize": 7 },
        { "match": { "userMessage": "check an appointment" }, "response": { "content": "Of course. Under which number?" } },
        {
            "match": { "userMessage": "has an appointment", "hasToolResult": false },
            "response": { "toolCalls": [{ "name": "check_appointment", "arguments": number }] },
        },
        {
            "match": { "userMessage": "has an appointment", "toolResultContains": "Tuesday" },
            "response": { "content": "Yes, on Tuesday at half past ten." },
        },
        {
            "match": { "userMessage": "bye" },
            "response": {
                "content": "My pleasure. Goodbye!",
                "toolCalls": [{ "name": "end_call", "arguments": "{}" }],
            },
        },
    ] })
}

/// A running server; dropping it ends the process.
struct Aimock {
    process: Child,
    url: String,
}

impl Aimock {
    fn start(folder: &Path) -> Self {
        let folder = folder.join("fixtures");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("demo.json"), fixtures().to_string()).unwrap();
        let mut process = Command::new("node")
            .arg(program())
            .args(["--port", "0", "--strict", "--fixtures"])
            .arg(folder)
            .env("AIMOCK_API_KEYS", KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node does not start: run `cargo xtask setup`");
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut server = Self { process, url: String::new() };
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
    assert!(program.is_file(), "the mock server is not installed: run `cargo xtask setup`");
    program
}
