//! The server as a user runs it: its own process, the sandbox's people, real speech.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use offhook::signing::{Secret, body};
use serde_json::{Value, json};

use self::support::{Server, admin};

const OFFHOOK: &str = env!("CARGO_BIN_EXE_offhook");

/// Calls run so many times faster.
const TIME_SCALE: &str = "3";

fn start(data: &Path) -> Server {
    Server::start(data, |command| {
        let command = command.args(["--root", "dialro", "--time-scale", TIME_SCALE]);
        command.env("OFFHOOK_WEBHOOKS_ALLOW", "127.0.0.1/32")
    })
}

/// Takes webhooks and passes on what they say, once their signatures hold.
fn receiver(secret: &str) -> (String, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, received) = mpsc::channel();
    let secret = Secret::new(secret);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut reader = BufReader::new(socket.unwrap());
            let (mut length, mut signature) = (0, String::new());
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
                    break;
                }
                let (name, value) = line.split_once(':').unwrap_or((&line, ""));
                match name.to_lowercase().as_str() {
                    "content-length" => length = value.trim().parse().unwrap(),
                    "x-dialro-signature" => signature = value.trim().to_owned(),
                    _ => {}
                }
            }
            let mut bytes = vec![0; length];
            reader.read_exact(&mut bytes).unwrap();
            let verdict = body::verify(&secret, &bytes, &signature);
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            verdict.unwrap();
            if sender.send(serde_json::from_slice(&bytes).unwrap()).is_err() {
                return;
            }
        }
    });
    (url, received)
}

#[test]
fn a_call_of_one_dialect_is_seen_in_the_others_and_outlives_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let tenant = admin(&data, &["tenant", "create", "Klinik Sehat", "--plan", "enterprise", "--minutes", "100"]);
    let key = |dialect: &str| tenant["keys"][dialect].as_str().unwrap().to_owned();
    let (dialro, voxcore, dialflo) = (key("dialro"), key("voxcore"), format!("Bearer {}", key("dialflo")));
    let dialro = [("x-api-key", dialro.as_str())];
    let server = start(&data);
    assert_eq!(server.ask("GET", "/health", &[], &Value::Null).0, 200);

    let (url, events) = receiver("hush");
    let hook = json!({ "url": url, "events": ["call.started", "call.answered", "call.ended", "call.transcript"], "secret": "hush" });
    assert_eq!(server.ask("POST", "/api/v1/webhooks", &dialro, &hook).0, 201);
    let agent = json!({
        "name": "Maya", "systemPrompt": "You are a receptionist.", "greetingText": "Hello {{crm.customer_name}}.",
        "language": "en", "maxCallDurationMinutes": 2,
    });
    let (status, agent) = server.ask("POST", "/api/v1/agents", &dialro, &agent);
    assert_eq!(status, 201);
    let bot = agent["id"].as_str().unwrap().strip_prefix("agent_").unwrap().to_owned();

    let order = json!({ "bot_id": bot, "to_number": "+15550100005", "variables": { "customer_name": "Rahul" } });
    let (status, placed) = server.ask("POST", "/voxcore/api/v1/dialout", &[("x-api-key", &voxcore)], &order);
    assert_eq!(status, 200, "{placed}");
    let told: Vec<Value> = (0..4).map(|_| events.recv_timeout(Duration::from_secs(60)).unwrap()).collect();
    let names: Vec<_> = told.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["call.started", "call.answered", "call.ended", "call.transcript"]);
    let path = format!("/api/v1/calls/call_{}", placed["call_id"].as_str().unwrap());
    let (_, call) = server.ask("GET", &path, &dialro, &Value::Null);
    assert_eq!((&call["status"], &call["hangupInitiator"]), (&json!("ended"), &json!("caller")));
    let (_, credits) = server.ask("GET", "/api/v1/credits", &dialro, &Value::Null);
    assert_eq!((&credits["balanceMinutes"], &credits["lifetimeUsedMinutes"]), (&json!(99), &json!(1)));

    let wish = json!({ "agent_name": "Maya", "to_number": "15550100002" });
    let (status, queued) = server.ask("POST", "/dialflo/call", &[("auth_token", &dialflo)], &wish);
    assert_eq!(status, 200, "{queued}");
    let path = format!("/dialflo/call_details/{}", queued["task_id"].as_str().unwrap());
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        let (_, details) = server.ask("GET", &path, &[("auth_token", &dialflo)], &Value::Null);
        if let Some(details) = details.as_array().and_then(|details| details.first()) {
            assert_eq!(details["call_status"], "BUSY");
            break;
        }
        assert!(Instant::now() < patience, "the task does not end");
        std::thread::sleep(Duration::from_millis(100));
    }

    // Beside the running server: a key is gone at once, a copy is whole.
    let made =
        admin(&data, &["key", "create", "--tenant", tenant["tenant_id"].as_str().unwrap(), "--dialect", "dialro"]);
    let made = made["key"].as_str().unwrap();
    assert_eq!(server.ask("GET", "/api/v1/calls", &[("x-api-key", made)], &Value::Null).1["total"], 2);
    admin(&data, &["key", "revoke", "--tenant", tenant["tenant_id"].as_str().unwrap(), made]);
    assert_eq!(server.ask("GET", "/api/v1/calls", &[("x-api-key", made)], &Value::Null).0, 401);
    let copy = folder.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    admin(&data, &["backup", copy.join("offhook.db").to_str().unwrap()]);
    drop(server);
    std::fs::copy(data.join("vault.key"), copy.join("vault.key")).unwrap();
    let tenants = admin(&copy, &["tenant", "list"]);
    assert_eq!(tenants["tenants"][0]["name"], "Klinik Sehat");

    let server = start(&data);
    assert_eq!(server.ask("GET", "/api/v1/calls", &dialro, &Value::Null).1["total"], 2);
    assert_eq!(server.ask("GET", "/api/v1/webhooks", &dialro, &Value::Null).1["webhooks"][0]["url"], url);
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("offhook.toml");
    let check = |text: &str| {
        std::fs::write(&config, text).unwrap();
        let output = Command::new(OFFHOOK).arg("check-config").arg(&config).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check(include_str!("../offhook.sample.toml")).0, 0);
    for (text, wanted) in [
        ("listen = 1", "line 1"),
        ("x = 1", "unknown field"),
        ("root = \"x\"", "no dialect"),
        ("[tls]\ncertificate = \"a\"\nkey = \"b\"", "there is no file a"),
    ] {
        let (code, said) = check(text);
        assert!(code != 0 && said.contains(wanted) && said.lines().count() == 1, "{said}");
    }
    let data = folder.path().join("data");
    for arguments in [
        vec!["tenant", "create", "x", "--plan", "golden"],
        vec!["key", "list", "--tenant", "x"],
        vec!["key", "list", "--tenant", "00000000-0000-0000-0000-000000000000"],
        vec!["number", "add", "0811", "--tenant", "00000000-0000-0000-0000-000000000000"],
        vec!["backup", "/nowhere/at/all"],
    ] {
        let output = Command::new(OFFHOOK).arg("admin").args(&arguments).arg("--data").arg(&data).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.lines().count() == 1, "{arguments:?}: {said}");
    }
}
