//! Whole outbound calls through each dialect, on the sandbox: placed, held, told, billed, and seen in all of them.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use offhook::signing::{Secret, body};
use serde_json::{Value, json};
use support::receiver::{Customer, Told};
use support::{Server, Tenant, admin, run};

/// Somebody who talks and hangs up.
const TALKER: &str = "+15550100005";

struct House {
    agent: String,
    customer: Customer,
    server: Server,
    tenant: Tenant,
    _folder: tempfile::TempDir,
}

impl House {
    /// An agent whose owner is told of its calls in every vendor's way.
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let tenant = Tenant::create(&data);
        admin(&data, &["number", "add", "+622150001000", "--tenant", &tenant.id, "--label", "Desk"]);
        let server = Server::start(&data, "dialro");
        let mut house = Self { agent: String::new(), customer: Customer::open(), server, tenant, _folder: folder };
        let agent = json!({
            "name": "Maya", "system_prompt": "You are a receptionist.", "starting_message": "Hello {{crm.customer_name}}.",
        });
        house.agent = text(&house.ask("voxstack", "POST", "/voxstack/api/v1/agents", agent)["data"]["id"]);
        let hook = json!({
            "url": house.url("dialro"), "secret": "hush",
            "events": ["call.started", "call.answered", "call.ended", "call.transcript"],
        });
        house.ask("dialro", "POST", "/api/v1/webhooks", hook);
        let mapper = json!({
            "CUSTOMER": "{{crm.customer_name}}", "CALL": "{{result.call_id}}", "ENDED": "{{result.disconnected_by}}",
            "RECORDING": "{{call.recording_url}}",
        });
        let pushes = json!([
            { "url": house.url("voxcore"), "token": "Bearer crm", "method": "POST", "key_mapper": mapper },
            { "url": house.url("dialflo"), "token": "Bearer flow", "id": "flow", "form": "dialflo" },
        ]);
        let path = format!("/agents/{}", house.agent);
        house.ask("dialro", "PATCH", &path, json!({ "after_call": { "pushes": pushes } }));
        house
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.customer.base)
    }

    fn ask(&self, dialect: &str, method: &str, path: &str, body: Value) -> Value {
        let (name, value) = self.tenant.header(dialect);
        let (status, answer) = self.server.ask(method, path, &[(name, &value)], body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    fn until(&self, dialect: &str, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let (name, value) = self.tenant.header(dialect);
        self.server.until(path, &[(name, &value)], is_so)
    }

    fn used_minutes(&self) -> u64 {
        self.ask("dialro", "GET", "/api/v1/credits", Value::Null)["lifetimeUsedMinutes"].as_u64().unwrap()
    }

    /// What the customer was told, by the path that it was told at; as often as each path asks for.
    fn told(&self, times: &[(&str, usize)]) -> BTreeMap<String, Vec<Told>> {
        let all = times.iter().map(|(_, times)| times).sum();
        let mut told: BTreeMap<String, Vec<Told>> = BTreeMap::new();
        for _ in 0..all {
            let next = self.customer.next();
            told.entry(next.path.trim_start_matches('/').to_owned()).or_default().push(next);
        }
        for (path, times) in times {
            assert_eq!(told.get(*path).map_or(0, Vec::len), *times, "{path}");
        }
        told
    }

    /// The call as every vendor's API shows it, what its owner was told, and what it cost.
    fn check(&self, call: &str, told: &BTreeMap<String, Vec<Told>>) {
        let shown = self.ask("dialro", "GET", &format!("/api/v1/calls/call_{call}"), Value::Null);
        assert_eq!((&shown["status"], &shown["hangupInitiator"]), (&json!("ended"), &json!("caller")), "DR-051");
        let (duration, talk) = (shown["durationSeconds"].as_u64().unwrap(), shown["talkTimeSeconds"].as_u64().unwrap());
        assert!((1..=60).contains(&talk) && talk <= duration, "DR-052: {shown}");
        let said = self.ask("dialro", "GET", &format!("/api/v1/calls/call_{call}/transcript"), Value::Null);
        assert_eq!(said["transcript"][0]["text"], "Hello Rahul.", "FL-030, DR-A9");

        let path = format!("/voxstack/api/v1/calls/{call}");
        let details = self.ask("voxstack", "GET", &path, Value::Null)["data"].clone();
        assert_eq!((&details["status"], &details["transcript"][0]["role"]), (&json!("completed"), &json!("agent")));
        let report = self.ask("voxstack", "GET", &format!("{path}/report"), Value::Null)["data"].clone();
        assert!(report["generated_by"] == "rules" && report["insights"].is_object(), "VS-044: {report}");
        let recording = self.ask("voxstack", "GET", &format!("{path}/recording"), Value::Null)["data"].clone();
        assert_eq!(start_of(&text(&recording["recording_url"])), "RIFF", "VS-045");

        let names = told["dialro"].iter().map(|told| {
            let signature = told.header("x-dialro-signature");
            body::verify(&Secret::new("hush"), &told.bytes, signature).unwrap();
            assert_eq!(told.body()["data"]["callId"], json!(format!("call_{call}")));
            text(&told.body()["event"])
        });
        let names: Vec<_> = names.collect();
        assert_eq!(names, ["call.started", "call.answered", "call.ended", "call.transcript"], "DR-077");
        let pushed = &told["voxcore"][0];
        assert_eq!(pushed.header("authorization"), "Bearer crm", "FL-050");
        self.verify(pushed);
        let mapped = pushed.body();
        assert_eq!((&mapped["CUSTOMER"], &mapped["CALL"]), (&json!("Rahul"), &json!(call)), "FL-041");
        assert_eq!(
            (mapped["ENDED"].as_str(), start_of(&text(&mapped["RECORDING"])).as_str()),
            (Some("customer"), "RIFF")
        );
        let flow = &told["dialflo"][0];
        assert_eq!(flow.header("authorization"), "Bearer flow");
        self.verify(flow);
        assert_eq!(
            (&flow.body()["call_id"], &flow.body()["call_status"]),
            (&json!(call), &json!("ANSWERED")),
            "DF-020"
        );
        assert!(flow.body()["call_insights"]["user_interest"]["status"].is_string());
    }

    /// Where no secret was given, the tenant's signs.
    fn verify(&self, told: &Told) {
        let secret = Secret::new(self.tenant.signing_secret.as_str());
        body::verify(&secret, &told.bytes, told.header("x-offhook-signature")).unwrap();
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The first bytes of what a link leads to, which needs no key.
fn start_of(url: &str) -> String {
    run(Command::new("curl").args(["-sS", "-r", "0-3", "-o", "-", url]))
}

#[test]
fn a_call_through_each_dialect_is_whole_and_seen_in_all_fl_012_vs_025_df_a1() {
    let house = House::open();
    let calls = [("dialro", 4), ("voxcore", 1), ("dialflo", 1)];

    let order = json!({ "bot_id": house.agent, "to_number": TALKER, "variables": { "customer_name": "Rahul" } });
    let placed = house.ask("voxcore", "POST", "/voxcore/api/v1/dialout", order);
    let told = house.told(&calls);
    house.check(&text(&placed["call_id"]), &told);
    assert_eq!(house.used_minutes(), 1);

    let wish = json!({
        "agent_id": house.agent, "name": "Call customer", "to_number": TALKER, "context_data": { "customer_name": "Rahul" },
        "webhook_url": house.url("voxstack"),
    });
    let task = text(&house.ask("voxstack", "POST", "/voxstack/api/v1/tasks", wish)["data"]["id"]);
    let path = format!("/voxstack/api/v1/tasks/{task}");
    let call = text(&house.ask("voxstack", "POST", &format!("{path}/execute"), Value::Null)["data"]["call_id"]);
    let told = house.told(&[calls[0], calls[1], calls[2], ("voxstack", 2)]);
    house.check(&call, &told);
    let events: Vec<Value> = told["voxstack"].iter().map(Told::body).collect();
    let names: Vec<_> = events.iter().map(|event| text(&event["event_type"])).collect();
    assert_eq!(names, ["call_started", "call_completed"], "VS-070, VS-074");
    assert_eq!((&events[1]["task_id"], &events[1]["call_id"]), (&json!(task), &json!(call)), "VS-071");
    assert!(text(&events[1]["data"]["transcript_excerpt"]).starts_with("agent: Hello Rahul."));
    told["voxstack"].iter().for_each(|told| house.verify(told));
    house.until("voxstack", &path, |task| task["data"]["status"] == "completed");
    assert_eq!(house.used_minutes(), 2);

    let wish = json!({ "agent_name": "Maya", "to_number": TALKER, "call_context": { "customer_name": "Rahul" } });
    let queued = house.ask("dialflo", "POST", "/dialflo/call", wish);
    let told = house.told(&calls);
    let path = format!("/dialflo/call_details/{}", text(&queued["task_id"]));
    let details = house.until("dialflo", &path, |details| details[0].is_object());
    let details = &details[0];
    house.check(&text(&details["call_id"]), &told);
    assert_eq!((&details["call_status"], &details["agent_name"]), (&json!("ANSWERED"), &json!("Maya")), "DF-005");
    assert_eq!(start_of(&text(&details["call_recording_url"])), "RIFF", "DF-A10");
    assert!(details["call_insights"]["next_action"]["value"].is_string(), "DF-006");
    assert_eq!(details["call_context"], json!({ "customer_name": "Rahul" }));
    assert_eq!(house.used_minutes(), 3);
    let credits = house.ask("dialro", "GET", "/api/v1/credits/transactions", Value::Null);
    assert_eq!(credits["transactions"].as_array().unwrap().iter().filter(|line| line["type"] == "usage").count(), 3);
}
