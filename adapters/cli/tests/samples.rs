//! What the vendors' own samples ask for, sent as they are sent: by curl, by JavaScript's `fetch` and by Python's `requests`.
//! Nothing of a sample changes but host, key and the ids that a reader is told to fill in.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::{Server, Tenant, admin, clients, python, run};

/// Sends one request and prints status and body; its arguments are method, URL, headers and body.
const FETCH: &str = "
    const [method, url, headers, body] = process.argv.slice(1);
    const response = await fetch(url, { method, headers: JSON.parse(headers), body: body || undefined });
    console.log(response.status + '\\n' + await response.text());
";

const REQUESTS: &str = "
import json, sys, requests
method, url, headers, body = sys.argv[1:]
response = requests.request(method, url, headers=json.loads(headers), data=body or None)
print(response.status_code, response.text, sep='\\n')
";

/// Follows a live transcript as the vendor's page does, until it is closed.
const WEB_SOCKET: &str = "
    const WebSocket = require('ws');
    const ws = new WebSocket(process.argv[1]);
    ws.on('open', () => ws.send(JSON.stringify({ type: 'ping' })));
    ws.on('message', (data) => console.log(JSON.stringify(JSON.parse(data))));
    ws.on('close', (code) => console.log(JSON.stringify({ closed: code })));
    ws.on('error', (error) => { console.error(error); process.exit(1); });
";

/// Rings as a dialler does, and hangs up once it is spoken to.
const DIALLER: &str = "
    const WebSocket = require('ws');
    const [url, connected] = process.argv.slice(1);
    const ws = new WebSocket(url);
    const say = (message) => ws.send(JSON.stringify(message));
    ws.on('open', () => {
        ws.send(connected);
        const mediaFormat = { encoding: 'LINEAR', sampleRate: 8000, channels: 1 };
        say({ event: 'start', streamId: 'stream-123', mediaFormat });
        say({ event: 'answer' });
    });
    ws.on('message', (data) => {
        const message = JSON.parse(data);
        console.log(JSON.stringify({ event: message.event }));
        if (message.event === 'reverse-media') say({ event: 'hangup-call', disconnectedBy: 'customer' });
    });
    ws.on('close', (code) => console.log(JSON.stringify({ closed: code })));
    ws.on('error', (error) => { console.error(error); process.exit(1); });
";

/// How a request is sent.
#[derive(Clone, Copy, Debug)]
enum Sender {
    Curl,
    Fetch,
    Requests,
}

const SENDERS: [Sender; 3] = [Sender::Curl, Sender::Fetch, Sender::Requests];

impl Sender {
    fn send(self, method: &str, url: &str, headers: &[(&str, String)], body: &str) -> (u16, Value) {
        let told = match self {
            Self::Curl => {
                let mut curl = Command::new("curl");
                curl.args(["--silent", "--show-error", "--location", "-X", method, url, "-w", "\n%{http_code}"]);
                for (name, value) in headers {
                    curl.args(["-H", &format!("{name}: {value}")]);
                }
                if !body.is_empty() {
                    curl.args(["-d", body]);
                }
                let told = run(&mut curl);
                let (body, status) = told.rsplit_once('\n').unwrap();
                format!("{status}\n{body}")
            }
            Self::Fetch => {
                let headers = as_json(headers);
                run(Command::new("node").args(["--input-type=module", "-e", FETCH, method, url, &headers, body]))
            }
            Self::Requests => run(python().args(["-c", REQUESTS, method, url, &as_json(headers), body])),
        };
        let (status, body) = told.split_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

fn as_json(headers: &[(&str, String)]) -> String {
    let headers: serde_json::Map<_, _> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    Value::Object(headers).to_string()
}

/// A vendor's API at `/` of a server.
struct Vendor<'a> {
    dialect: &'static str,
    server: &'a Server,
    tenant: &'a Tenant,
}

impl Vendor<'_> {
    /// A sample's request by one sender.
    fn ask(&self, sender: Sender, method: &str, path: &str, body: Value) -> (u16, Value) {
        let mut headers = vec![self.tenant.header(self.dialect)];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        // The samples say so of bodies; two of them also of requests without one.
        if !body.is_empty() || matches!(sender, Sender::Fetch) {
            headers.push(("Content-Type", "application/json".to_owned()));
        }
        sender.send(method, &format!("http://{}{path}", self.server.addr), &headers, &body)
    }

    /// The same by all senders; `check` sees each answer.
    fn by_all(&self, contract: &str, method: &str, path: &str, body: Value, status: u16, check: impl Fn(&Value)) {
        for sender in SENDERS {
            let (found, answer) = self.ask(sender, method, path, body.clone());
            assert_eq!(found, status, "{contract}: {method} {path} by {sender:?}: {answer}");
            check(&answer);
        }
    }
}

#[test]
fn dialros_samples_run_dr_001_020_022_023_024_041_050_060_062_070_090_091() {
    let folder = tempfile::tempdir().unwrap();
    let tenant = Tenant::create(folder.path());
    let number =
        admin(folder.path(), &["number", "add", "+6289502159000", "--tenant", &tenant.id, "--label", "Klinik"]);
    let server = Server::start(folder.path(), "dialro");
    let vendor = Vendor { dialect: "dialro", server: &server, tenant: &tenant };
    let none = Value::Null;
    vendor.by_all("DR-001", "GET", "/api/v1/calls", none.clone(), 200, |answer| assert_eq!(answer["calls"], json!([])));
    let list = "/api/v1/calls?limit=50&offset=0&status=ended";
    vendor.by_all("DR-050", "GET", list, none.clone(), 200, |answer| assert_eq!(answer["limit"], 50));
    vendor.by_all("DR-060", "GET", "/api/v1/credits", none.clone(), 200, |answer| {
        assert_eq!(answer["balanceMinutes"], 1000);
    });
    vendor.by_all("DR-062", "GET", "/api/v1/credits/transactions?limit=20", none.clone(), 200, |answer| {
        assert_eq!(answer["transactions"].as_array().unwrap().len(), 1);
    });
    for sender in SENDERS {
        let ask = |method, path: &str, body| vendor.ask(sender, method, path, body);
        let new = json!({ "name": "Klinik Sehat Receptionist", "systemPrompt": "Anda adalah resepsionis.", "voiceId": "Puck" });
        let (status, agent) = ask("POST", "/api/v1/agents", new);
        assert_eq!((status, &agent["language"], &agent["maxCallDurationMinutes"]), (201, &json!("id"), &json!(10)));
        let path = format!("/api/v1/agents/{}", agent["id"].as_str().unwrap());
        let (_, agents) = ask("GET", "/api/v1/agents", none.clone());
        assert_eq!(agents["agents"][0], agent);
        assert_eq!(ask("PATCH", &path, json!({ "greetingText": "Halo" })).1["greetingText"], "Halo");

        let numbers = ask("GET", "/api/v1/phone-numbers", none.clone()).1["phoneNumbers"].clone();
        assert_eq!(numbers[0]["id"], number["id"]);
        let assign = format!("/api/v1/phone-numbers/{}/assign-agent", numbers[0]["id"].as_str().unwrap());
        let (status, assigned) = ask("POST", &assign, json!({ "agentId": agent["id"] }));
        assert_eq!((status, &assigned["agentId"]), (200, &agent["id"]));

        let hook = json!({
            "url": "https://your-system.example/webhooks/dialro", "secret": "your_webhook_secret",
            "events": ["call.started", "call.ended", "call.transcript"],
        });
        let (status, hook) = ask("POST", "/api/v1/webhooks", hook);
        assert_eq!((status, hook.get("secret")), (201, None));
        assert_eq!(ask("GET", "/api/v1/webhooks", none.clone()).1["webhooks"][0], hook);
        assert_eq!(ask("DELETE", &format!("/api/v1/webhooks/{}", hook["id"].as_str().unwrap()), none.clone()).0, 204);

        let phone = json!({ "phone": { "type": "string", "description": "In E.164 form" } });
        let function = json!({
            "name": "check_appointment", "description": "Looks an appointment up", "method": "GET",
            "endpoint": "https://your-api.example/appointments/check",
            "parameters": { "type": "object", "properties": phone, "required": ["phone"] },
        });
        let functions = format!("{path}/functions");
        assert_eq!(ask("POST", &functions, function.clone()), (201, function.clone()));
        assert_eq!(ask("GET", &functions, none.clone()).1["functions"], json!([function]));
        assert_eq!(ask("DELETE", &format!("{functions}/check_appointment"), none.clone()).0, 204);
        assert_eq!(ask("DELETE", &path, none.clone()).0, 204);
    }
}

#[test]
fn voxstacks_samples_run_vs_001_010_012_021_025_045_048_060_061_062_063() {
    let folder = tempfile::tempdir().unwrap();
    let tenant = Tenant::create(folder.path());
    let server = Server::start(folder.path(), "voxstack");
    let vendor = Vendor { dialect: "voxstack", server: &server, tenant: &tenant };
    let (name, value) = tenant.header("voxstack");
    let header = [(name, value.as_str())];
    let new = json!({
        "name": "Customer Service Agent", "system_prompt": "You are a helpful customer service agent.",
        "description": "Handles customer inquiries", "starting_message": "Hello! How can I help you today?", "enabled": true,
        "voice_settings": { "stability": 0.5, "similarity_boost": 0.75 },
    });
    vendor.by_all("VS-012", "POST", "/api/v1/agents", new, 201, |answer| assert_eq!(answer["success"], true));
    vendor.by_all("VS-010", "GET", "/api/v1/agents?enabled=true&limit=10", Value::Null, 200, |answer| {
        assert_eq!(answer["meta"]["pagination"], json!({ "limit": 10, "offset": 0, "total": 3 }));
    });
    vendor.by_all("VS-001", "GET", "/api/v1/agents", Value::Null, 200, |answer| assert_eq!(answer["success"], true));
    let (_, agents) = server.ask("GET", "/api/v1/agents", &header, Value::Null);
    let task = |to: &str| {
        json!({
            "agent_id": agents["data"][0]["id"], "name": "Call customer", "to_number": to, "description": "Follow up call",
            "starting_message": "Hello, this is a call from our company", "priority": 0, "scheduled_at": null,
            "context_data": { "customer_name": "John Doe", "order_id": "12345" },
            "webhook_url": "https://your-app.example/webhooks", "webhook_events": ["call_started", "call_completed"],
        })
    };
    let is_pending = |answer: &Value| assert_eq!(answer["data"]["status"], "pending");
    vendor.by_all("VS-021", "POST", "/api/v1/tasks", task("+1234567890"), 201, is_pending);
    let call = |sender, to: &str| {
        let (_, made) = vendor.ask(sender, "POST", "/api/v1/tasks", task(to));
        let path = format!("/api/v1/tasks/{}/execute", made["data"]["id"].as_str().unwrap());
        let (status, begun) = vendor.ask(sender, "POST", &path, Value::Null);
        assert_eq!((status, &begun["data"]["message"]), (200, &json!("Call initiated")), "{begun}");
        format!("/api/v1/calls/{}", begun["data"]["call_id"].as_str().unwrap())
    };
    for sender in SENDERS {
        // Somebody who answers and is silent.
        let path = call(sender, "+15550100006");
        server.until(&path, &header, |call| call["data"]["status"] == "in_progress");
        let (status, ended) = vendor.ask(sender, "POST", &format!("{path}/end"), Value::Null);
        assert_eq!((status, &ended["success"]), (200, &json!(true)), "{ended}");
        server.until(&path, &header, |call| call["data"]["status"] == "completed");
        let (status, recording) = vendor.ask(sender, "GET", &format!("{path}/recording"), Value::Null);
        assert_eq!((status, &recording["data"]["content_type"]), (200, &json!("audio/wav")), "{recording}");
        let url = recording["data"]["recording_url"].as_str().unwrap();
        assert_eq!(run(Command::new("curl").args(["-sS", "-r", "0-3", "-o", "-", url])), "RIFF");
    }
    for parameter in ["api_key", "session_token"] {
        // Somebody who talks and hangs up.
        let path = call(Sender::Curl, "+15550100005");
        let (_, live) = vendor.ask(Sender::Curl, "GET", &format!("{path}/live"), Value::Null);
        let secret =
            if parameter == "api_key" { tenant.key("voxstack") } else { live["data"]["temp_token"].as_str().unwrap() };
        let url = format!("{}?{parameter}={secret}", live["data"]["websocket_url"].as_str().unwrap());
        let messages = web_socket(WEB_SOCKET, &[&url]);
        assert_eq!(messages[0]["type"], "connected", "VS-062: {messages:?}");
        let has = |kind: &str| messages.iter().any(|message| message["type"] == kind);
        assert!(has("pong") && has("transcript_update") && has("call_status_update"), "VS-062, VS-063: {messages:?}");
        assert_eq!(messages.last().unwrap()["closed"], 1000);
    }
}

#[test]
fn voxcores_samples_run_fl_001_011_012_040_060_070_071() {
    let folder = tempfile::tempdir().unwrap();
    let tenant = Tenant::create(folder.path());
    let server = Server::start(folder.path(), "voxcore");
    let vendor = Vendor { dialect: "voxcore", server: &server, tenant: &tenant };
    let (name, value) = tenant.header("dialro");
    let agent = json!({ "name": "Bot", "systemPrompt": "You collect dues.", "greetingText": "Am I speaking with {{crm.customer_name}}?" });
    let (_, agent) = server.ask("POST", "/dialro/api/v1/agents", &[(name, &value)], agent);
    let bot = agent["id"].as_str().unwrap().strip_prefix("agent_").unwrap();
    let is_placed = |answer: &Value| assert_eq!(answer["status"], "ok");
    let order = json!({
        "bot_id": bot, "to_number": "+919876543210", "variables": { "customer_name": "Rahul Sharma", "amount_due": "15000" },
    });
    vendor.by_all("FL-012", "POST", "/api/v1/dialout", order, 200, is_placed);
    let order = json!({
        "bot_id": bot, "to_number": "+919876543210", "from_number": "+911234567890",
        "variables": {
            "customer_name": "Rahul Sharma", "loan_number": "LN123456", "amount_due": "15000", "due_date": "2026-05-01",
        },
    });
    vendor.by_all("FL-011", "POST", "/api/v1/dialout", order, 200, is_placed);
    vendor.by_all("FL-060", "GET", "/health/fleet", Value::Null, 200, |answer| {
        assert!(answer["fleet_available"].as_u64().unwrap() > 0);
    });
    let mapper = json!({ "CUSTOMER_ID": "{{crm.customer_id}}", "CALL_DURATION": "{{call.duration}}" });
    let push = json!({
        "url": "https://your-crm.example/api/call-result", "token": "Bearer your-token", "method": "POST", "key_mapper": mapper,
    });
    let settings = json!({ "after_call": { "pushes": [push] } });
    vendor.by_all("FL-040", "PATCH", &format!("/agents/{bot}"), settings, 200, |answer| {
        assert_eq!(answer["after_call"]["pushes"][0]["form"]["key_mapper"], mapper);
    });
    let connected = json!({
        "event": "connected", "callerId": "+919876543210", "streamId": "stream-123", "customer_name": "Rahul Sharma",
        "loan_number": "LN123456",
    });
    let url = format!("ws://{}/ws/{bot}", server.addr);
    let messages = web_socket(DIALLER, &[&url, &connected.to_string()]);
    assert!(messages.iter().any(|message| message["event"] == "reverse-media"), "{messages:?}");
    assert_eq!(messages.last().unwrap()["closed"], 1000);
}

#[test]
fn dialflos_samples_run_df_002_004_005_a1() {
    let folder = tempfile::tempdir().unwrap();
    let tenant = Tenant::create(folder.path());
    let server = Server::start(folder.path(), "dialflo");
    let vendor = Vendor { dialect: "dialflo", server: &server, tenant: &tenant };
    let (name, value) = tenant.header("dialro");
    let agent = json!({ "name": "ONEST", "systemPrompt": "You ask about jobs.", "greetingText": "Hello." });
    server.ask("POST", "/dialro/api/v1/agents", &[(name, &value)], agent);
    let mut last = String::new();
    for sender in SENDERS {
        let order = json!({ "agent_name": "ONEST", "to_number": "15550100005", "call_context": { "job": "driver" } });
        let (status, queued) = vendor.ask(sender, "POST", "/call", order);
        assert_eq!((status, &queued["status"]), (200, &json!("queued")));
        last = format!("/call_details/{}", queued["task_id"].as_str().unwrap());
    }
    let (name, value) = tenant.header("dialflo");
    server.until(&last, &[(name, &value)], |details| details[0].is_object());
    vendor.by_all("DF-004", "GET", &last, Value::Null, 200, |details| {
        let details = &details[0];
        assert_eq!((&details["agent_name"], &details["call_status"]), (&json!("ONEST"), &json!("ANSWERED")));
        assert_eq!(
            (&details["to_number"], &details["call_context"]),
            (&json!("15550100005"), &json!({ "job": "driver" }))
        );
        assert!(details["call_insights"]["user_interest"]["status"].is_string() && details["call_duration"].is_f64());
    });
}

/// The messages that a page got, one a line.
fn web_socket(script: &str, arguments: &[&str]) -> Vec<Value> {
    let mut node = Command::new("node");
    node.env("NODE_PATH", clients().join("node_modules")).args(["-e", script]).args(arguments);
    run(&mut node).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
