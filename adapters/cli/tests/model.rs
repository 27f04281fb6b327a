//! The demo with a model behind a Chat Completions API: the mock server aimock (npm `@copilotkit/aimock`).
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use offhook_testkit::aimock::{Aimock, KEY};
use serde_json::{Value, json};

#[test]
fn a_model_holds_the_same_conversation() {
    let folder = tempfile::tempdir().unwrap();
    let server = Aimock::start(env!("CARGO_TARGET_TMPDIR"), &fixtures(), &[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    command.args(["demo", "--json", "--quiet", "--llm", "openai:gpt-4o", "--llm-key-env", "KEY_OF_THE_TEST"]);
    command.arg("--llm-url").arg(server.base_url()).arg("--keep").arg(folder.path());
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
    json!([
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
            "match": { "userMessage": "wanted to know" },
            "response": {
                "content": "My pleasure. Goodbye!",
                "toolCalls": [{ "name": "end_call", "arguments": "{}" }],
            },
        },
    ])
}
