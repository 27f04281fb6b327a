//! Dialro's API, item by item of its contract.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use axum::body::Body;
use offhook::billing::{Amount, Unit};
use offhook::dialect::Dialect;
use offhook::provider::telephony::{E164, HangupCause};
use offhook::service::keys::NewApiKey;
use offhook::service::tenants::Plan;
use offhook_server::Options;
use serde_json::{Value, json};
use support::{Answer, Server};

impl Server {
    async fn get(&self, path: &str) -> Answer {
        self.ask(Dialect::Dialro, "GET", path, Value::Null).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Dialect::Dialro, "POST", path, body).await
    }

    async fn patch(&self, path: &str, body: Value) -> Answer {
        self.ask(Dialect::Dialro, "PATCH", path, body).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.ask(Dialect::Dialro, "DELETE", path, Value::Null).await
    }

    async fn agent(&self) -> String {
        let agent = self.post("/agents", json!({ "name": "Sari", "systemPrompt": "Anda adalah resepsionis." })).await;
        agent.is(201)["id"].as_str().unwrap().to_owned()
    }

    /// A call that came in on a number of the tenant's agent, talked for a while and is over.
    async fn call(&self, agent: &str, talk: Duration) -> String {
        let number = format!("+6289{:09}", self.get("/calls").await.is(200)["total"].as_u64().unwrap());
        let number: E164 = number.parse().unwrap();
        let agent = agent.strip_prefix("agent_").unwrap().parse().unwrap();
        self.engine.numbers().add(self.tenant, number.clone(), "Line", Some(agent)).await.unwrap();
        let agent = self.engine.agents().get(self.tenant, agent).await.unwrap().unwrap();
        let (incoming, caller) = self.carrier.ring("+628123456789", number.as_str());
        let handle = self.engine.accept(self.tenant, agent.into(), incoming).unwrap();
        let id = format!("call_{}", handle.id());
        caller.sound(0xff, talk).await;
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        handle.finished().await.unwrap();
        id
    }
}

#[tokio::test]
async fn dr_001_002_003_004_006_keys_open_the_door_until_they_are_revoked() {
    let server = Server::new().await;
    assert!(server.key(Dialect::Dialro).starts_with("dkl_"));
    server.get("/agents").await.is(200);
    let second = server.engine.keys().create(server.tenant, NewApiKey::new(Dialect::Dialro, "b")).await.unwrap();
    let ask = async |name: &str, key: &str| {
        let headers: &[(&str, &str)] = if name.is_empty() { &[] } else { &[(name, key)] };
        server.raw("GET", "/dialro/api/v1/agents", headers, Body::empty()).await
    };
    ask("X-API-KEY", &second.1).await.is(200);
    server.engine.keys().revoke(server.tenant, second.0.id).await.unwrap();
    for (name, key) in [
        ("x-api-key", second.1.as_str()),
        ("", ""),
        ("x-api-key", ""),
        ("x-api-key", "dkl_nothing"),
        ("x-api-key", server.key(Dialect::VoxStack)),
        ("authorization", server.key(Dialect::Dialro)),
    ] {
        let answer = ask(name, key).await;
        assert_eq!(answer.is(401)["code"], "unauthorized");
        assert!(answer.body["error"].is_string());
        assert_eq!(answer.header("content-type"), "application/json");
    }
    server.get("/agents").await.is(200);
    // X18: who may not come in is not told what there is.
    server.raw("GET", "/dialro/api/v1/nothing", &[], Body::empty()).await.is(401);
    assert_eq!(server.get("/nothing").await.is(404)["code"], "not_found");
    server.ask(Dialect::Dialro, "PUT", "/agents", Value::Null).await.is(405);
    assert_eq!(server.get("/agents/%ff").await.is(400)["code"], "invalid_request");
}

#[tokio::test]
async fn dr_005_a5_the_api_stands_once_below_its_prefix_and_at_the_root_if_asked() {
    let server = Server::with(
        {
            let mut options = Options::default();
            options.root = Some(Dialect::Dialro);
            options
        },
        |_| {},
    )
    .await;
    let headers = [("x-api-key", server.key(Dialect::Dialro))];
    server.raw("GET", "/api/v1/agents", &headers, Body::empty()).await.is(200);
    server.raw("GET", "/dialro/api/v1/agents", &headers, Body::empty()).await.is(200);
    server.raw("GET", "/api/v1/api/v1/agents", &headers, Body::empty()).await.is(404);
    server.raw("GET", "/health", &[], Body::empty()).await.is(200);
}

#[tokio::test]
async fn dr_010_011_012_013_requests_are_counted_for_the_tenant_and_told() {
    let server = Server::new().await;
    let (tenant, keys) = server.stranger(Plan::Starter).await;
    let first = &keys[&Dialect::Dialro];
    let second = server.engine.keys().create(tenant, NewApiKey::new(Dialect::Dialro, "b")).await.unwrap().1;
    let ask = async |key: &str, path: &str| server.ask_as(Dialect::Dialro, key, "GET", path, Value::Null).await;
    let answer = ask(first, "/agents").await;
    let number = |answer: &Answer, name: &str| answer.header(name).parse::<u64>().unwrap();
    assert_eq!((number(&answer, "x-ratelimit-limit"), number(&answer, "x-ratelimit-remaining")), (60, 59));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((now..now + 120).contains(&number(&answer, "x-ratelimit-reset")));
    assert!(number(&ask(first, "/agents/agent_x").await, "x-ratelimit-remaining") <= 58);
    let mut refused = None;
    for turn in 0..80 {
        let key = if turn % 2 == 0 { first } else { &second };
        let answer = ask(key, "/agents").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("sixty and a few are all");
    assert_eq!(refused.body["code"], "rate_limited");
    assert_eq!(number(&refused, "x-ratelimit-remaining"), 0);
    assert!(number(&refused, "retry-after") >= 1);
    server.get("/agents").await.is(200);
}

#[tokio::test]
async fn dr_020_021_022_023_024_025_026_027_agents_are_made_shown_changed_and_deleted() {
    let server = Server::new().await;
    assert_eq!(server.get("/agents").await.is(200), &json!({ "agents": [] }));
    let made = server.post("/agents", json!({ "name": "Sari", "systemPrompt": "Anda", "unknown": 1 })).await;
    let made = made.is(201).clone();
    let id = made["id"].as_str().unwrap();
    assert!(id.starts_with("agent_"));
    let wanted = json!({
        "id": id, "name": "Sari", "systemPrompt": "Anda", "voiceId": null, "greetingText": null, "language": "id",
        "maxCallDurationMinutes": 10, "toolsEnabled": [], "isActive": true, "escalationNumber": null,
    });
    assert_eq!(made, wanted);
    let path = format!("/agents/{id}");
    assert_eq!(server.get(&path).await.is(200), &wanted);
    let change = json!({
        "name": "Budi", "voiceId": "Puck", "greetingText": "Halo", "language": "en-GB", "maxCallDurationMinutes": 3,
        "toolsEnabled": ["search_kb"], "isActive": false, "escalationNumber": "+628111",
    });
    let changed = server.patch(&path, change.clone()).await.is(200).clone();
    for (name, value) in change.as_object().unwrap() {
        assert_eq!(&changed[name], value, "{name}");
    }
    assert_eq!(changed["systemPrompt"], "Anda");
    let cleared = json!({ "voiceId": null, "greetingText": null, "escalationNumber": null });
    let cleared = server.patch(&path, cleared).await.is(200).clone();
    assert!(cleared["voiceId"].is_null() && cleared["greetingText"].is_null() && cleared["escalationNumber"].is_null());
    assert_eq!(server.get("/agents").await.is(200)["agents"], json!([cleared]));
    let deleted = server.delete(&path).await;
    assert!(deleted.is(204).is_null() && deleted.bytes.is_empty());
    server.delete(&path).await.is(404);
    server.get(&path).await.is(404);
    server.patch(&path, json!({})).await.is(404);
}

#[tokio::test]
async fn dr_028_029_a8_mistakes_are_told_with_their_field() {
    let server = Server::new().await;
    let good = json!({ "name": "Sari", "systemPrompt": "Anda" });
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    for (body, field) in [
        (json!({ "systemPrompt": "x" }), "name"),
        (json!({ "name": "x" }), "systemPrompt"),
        (with("name", json!(1)), "name"),
        (with("name", json!(" ")), "name"),
        (with("systemPrompt", json!("")), "systemPrompt"),
        (with("voiceId", json!("Bob")), "voiceId"),
        (with("maxCallDurationMinutes", json!("ten")), "maxCallDurationMinutes"),
        (with("isActive", json!("yes")), "isActive"),
        (with("maxCallDurationMinutes", json!(0)), "maxCallDurationMinutes"),
        (with("maxCallDurationMinutes", json!(1_441)), "maxCallDurationMinutes"),
        (with("language", json!("??")), "language"),
        (with("escalationNumber", json!("0811")), "escalationNumber"),
    ] {
        let answer = server.post("/agents", body.clone()).await;
        assert_eq!(answer.is(400)["code"], "invalid_request");
        assert!(answer.body["error"].as_str().unwrap().starts_with(&format!("{field}: ")), "{body} {}", answer.body);
    }
    let voices = server.post("/agents", with("voiceId", json!("Bob"))).await.body["error"].to_string();
    assert!(["Puck", "Charon", "Kore", "Fenrir", "Aoede"].iter().all(|voice| voices.contains(voice)));
    let headers = [("x-api-key", server.key(Dialect::Dialro))];
    for body in ["", "{", "[]", "{} x", "null", "\"x\""] {
        server.raw("POST", "/dialro/api/v1/agents", &headers, body).await.is(400);
    }
    let deep = "[".repeat(200_000);
    server.raw("POST", "/dialro/api/v1/agents", &headers, deep).await.is(400);
    let long = format!("\"{}\"", "x".repeat(1024 * 1024));
    server.raw("POST", "/dialro/api/v1/agents", &headers, long).await.is(413);
}

#[tokio::test]
async fn dr_031_040_041_042_numbers_are_listed_and_assigned() {
    let server = Server::new().await;
    let number: E164 = "+6289502159000".parse().unwrap();
    let added = server.engine.numbers().add(server.tenant, number, "Klinik Sehat", None).await.unwrap();
    let mut wanted = json!({
        "id": format!("pn_{}", added.id), "displayNumber": "+6289502159000", "label": "Klinik Sehat",
        "isActive": true, "agentId": null,
    });
    assert_eq!(server.get("/phone-numbers").await.is(200), &json!({ "phoneNumbers": [wanted] }));
    let agent = server.agent().await;
    let path = format!("/phone-numbers/pn_{}/assign-agent", added.id);
    wanted["agentId"] = json!(agent);
    assert_eq!(server.post(&path, json!({ "agentId": agent })).await.is(200), &wanted);
    server.post(&path, json!({ "agentId": format!("agent_{}", added.id) })).await.is(404);
    server.post(&path, json!({ "agentId": "agent" })).await.is(404);
    server.post("/phone-numbers/pn_1/assign-agent", json!({ "agentId": agent })).await.is(404);
    server.post(&path, json!({})).await.is(400);
    server.post(&path, json!({ "agentId": 1 })).await.is(400);
    server.delete(&format!("/agents/{agent}")).await.is(204);
    wanted["agentId"] = Value::Null;
    assert_eq!(server.get("/phone-numbers").await.is(200)["phoneNumbers"][0], wanted);
    assert_eq!(server.post(&path, json!({ "agentId": null })).await.is(200), &wanted);
}

#[tokio::test]
async fn dr_050_051_052_053_055_058_a9_calls_are_listed_and_shown() {
    let server = Server::new().await;
    let agent = server.agent().await;
    let call = server.call(&agent, Duration::from_millis(1_500)).await;
    let shown = server.get(&format!("/calls/{call}")).await.is(200).clone();
    let fields = [
        "id",
        "phoneNumberId",
        "agentId",
        "callerNumber",
        "calleeNumber",
        "direction",
        "status",
        "startedAt",
        "endedAt",
        "durationSeconds",
        "talkTimeSeconds",
        "hangupReason",
        "transcriptSummary",
        "aiCostIdr",
        "metadata",
    ];
    assert!(fields.iter().all(|field| shown.get(field).is_some()), "{shown}");
    assert_eq!((&shown["id"], &shown["agentId"]), (&json!(call), &json!(agent)));
    assert_eq!((&shown["status"], &shown["direction"]), (&json!("ended"), &json!("inbound")));
    assert_eq!((&shown["hangupReason"], &shown["hangupInitiator"]), (&json!("normal"), &json!("caller")));
    assert_eq!(shown["callerNumber"], "+628123456789");
    let numbers = server.get("/phone-numbers").await;
    assert_eq!(shown["phoneNumberId"], numbers.body["phoneNumbers"][0]["id"]);
    let (duration, talk) = (shown["durationSeconds"].as_u64().unwrap(), shown["talkTimeSeconds"].as_u64().unwrap());
    assert!(duration >= 1 && talk <= duration);
    let moment = |name: &str| shown[name].as_str().unwrap().parse::<offhook::time::Timestamp>().unwrap();
    assert_eq!(moment("endedAt").saturating_since(moment("startedAt")).as_secs(), duration);
    assert_eq!(shown["metadata"], json!({}));
    let listed = server.get("/calls").await.is(200).clone();
    assert_eq!(listed, json!({ "calls": [shown], "limit": 50, "offset": 0, "total": 1 }));
    let said = server.get(&format!("/calls/{call}/transcript")).await.is(200).clone();
    assert_eq!((&said["callId"], said["transcript"].is_array()), (&json!(call), true));
    for path in ["/calls/call_1", "/calls/x", &call.replace("call_", "/calls/agent_"), "/calls/x/transcript"] {
        server.get(path).await.is(404);
    }
}

#[tokio::test]
async fn dr_050_054_056_calls_are_filtered() {
    let server = Server::new().await;
    let agent = server.agent().await;
    let first = server.call(&agent, Duration::from_millis(100)).await;
    let between = offhook::runtime::Runtime::wall_clock(&offhook_tokio::TokioRuntime::current().unwrap()).to_string();
    server.wait(10).await;
    let second = server.call(&agent, Duration::from_millis(100)).await;
    let ids = async |query: &str| {
        let listed = server.get(&format!("/calls?{query}")).await.is(200).clone();
        let ids = listed["calls"].as_array().unwrap().iter().map(|call| call["id"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), listed["total"].as_u64().unwrap())
    };
    assert_eq!(ids("").await, (vec![second.clone(), first.clone()], 2));
    assert_eq!(ids("limit=1&offset=1").await, (vec![first.clone()], 2));
    assert_eq!(ids("limit=1000&unknown=x").await.1, 2);
    assert_eq!(ids("limit=0").await.0.len(), 1);
    assert_eq!(ids("status=ended").await.1, 2);
    for status in ["ringing", "answered", "dropped", "failed"] {
        assert_eq!(ids(&format!("status={status}")).await, (vec![], 0));
    }
    assert_eq!(ids(&format!("from={between}")).await.0, std::slice::from_ref(&second));
    assert_eq!(ids(&format!("to={between}")).await.0, [first]);
    assert_eq!(ids("from=2020-01-01&to=2021-01-01").await.1, 0);
    for query in ["status=odd", "from=tomorrow", "to=2020-13-01", "limit=x", "limit=-1", "offset=-1", "offset=1.5"] {
        server.get(&format!("/calls?{query}")).await.is(400);
    }
    assert_eq!(server.get("/calls?limit=1000").await.is(200)["limit"], 100);
}

#[tokio::test]
async fn dr_060_061_062_063_064_credits_add_up() {
    let server = Server::new().await;
    let wanted = json!({ "balanceMinutes": 3000, "lifetimePurchasedMinutes": 3000, "lifetimeUsedMinutes": 0 });
    assert_eq!(server.get("/credits").await.is(200), &wanted);
    let agent = server.agent().await;
    let call = server.call(&agent, Duration::from_millis(100)).await;
    let credits = server.engine.credits();
    let minus = Amount { unit: Unit::Time, value: -90_000 };
    credits.adjust(server.tenant, minus, "a", "Mistake").await.unwrap();
    let balance = server.get("/credits").await.is(200).clone();
    let wanted = json!({ "balanceMinutes": 2997.5, "lifetimePurchasedMinutes": 2998.5, "lifetimeUsedMinutes": 1 });
    assert_eq!(balance, wanted);
    let listed = server.get("/credits/transactions?limit=20").await.is(200).clone();
    let listed = listed["transactions"].as_array().unwrap();
    let kinds: Vec<_> = listed.iter().map(|entry| entry["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["adjustment", "usage", "purchase"]);
    let sum: f64 = listed.iter().map(|entry| entry["minutes"].as_f64().unwrap()).sum();
    assert!((sum - 2997.5).abs() < f64::EPSILON);
    assert_eq!(listed[0]["balanceAfterMinutes"], 2997.5);
    assert_eq!((&listed[1]["callId"], &listed[1]["minutes"]), (&json!(call), &json!(-1)));
    assert!(listed[2]["callId"].is_null() && listed[2]["createdAt"].is_string());
    let page = server.get("/credits/transactions?limit=2").await.is(200).clone();
    let after = page["next"].as_str().unwrap();
    let after: String = url::form_urlencoded::byte_serialize(after.as_bytes()).collect();
    let rest = server.get(&format!("/credits/transactions?after={after}")).await.is(200).clone();
    assert_eq!(rest["transactions"], json!([listed[2]]));
    server.get("/credits/transactions?after=nonsense").await.is(400);
    server.get("/credits/transactions?limit=many").await.is(400);
}

#[tokio::test]
async fn dr_070_075_076_webhooks_are_registered_listed_and_removed() {
    let server = Server::new().await;
    let url = "http://customer.example/webhooks/dialro";
    let made =
        server.post("/webhooks", json!({ "url": url, "events": ["call.ended", "call.started"], "secret": "s" })).await;
    let made = made.is(201).clone();
    assert!(made.get("secret").is_none());
    let listed = server.get("/webhooks").await.is(200).clone();
    assert_eq!(listed, json!({ "webhooks": [made] }));
    assert_eq!((&made["url"], &made["isActive"]), (&json!(url), &json!(true)));
    let own = server.post("/webhooks", json!({ "url": url, "events": ["credits.low"] })).await.is(201).clone();
    assert!(own["secret"].as_str().unwrap().len() > 20);
    assert!(!server.get("/webhooks").await.body.to_string().contains("secret"));
    for body in [
        json!({ "url": url, "events": [] }),
        json!({ "url": url, "events": ["call.begun"] }),
        json!({ "url": url, "events": ["webhook.test"] }),
        json!({ "url": "ftp://customer.example", "events": ["call.ended"] }),
        json!({ "url": "http://user:password@x", "events": ["call.ended"], "secret": "" }),
        json!({ "events": ["call.ended"] }),
        json!({ "url": url }),
        json!({ "url": url, "events": "call.ended" }),
    ] {
        server.post("/webhooks", body).await.is(400);
    }
    let path = format!("/webhooks/{}", made["id"].as_str().unwrap());
    server.delete(&path).await.is(204);
    server.delete(&path).await.is(404);
}

#[tokio::test]
async fn dr_076_urls_that_lead_inside_are_refused() {
    let server = Server::with(Options::default(), |settings| {
        settings.reach = offhook::provider::reach::Reach::public();
    })
    .await;
    for url in ["http://127.0.0.1/x", "https://10.0.0.1/x", "https://169.254.169.254/", "http://customer.example/x"] {
        let answer = server.post("/webhooks", json!({ "url": url, "events": ["call.ended"] })).await;
        assert!(answer.is(400)["error"].as_str().unwrap().starts_with("url: "), "{}", answer.body);
    }
    server.post("/webhooks", json!({ "url": "https://customer.example/x", "events": ["call.ended"] })).await.is(201);
}

#[tokio::test]
async fn dr_071_072_077_078_079_events_of_a_call_come_in_order_and_can_be_sent_again() {
    let server = Server::new().await;
    let events = ["call.started", "call.answered", "call.ended", "call.transcript", "credits.low", "function.called"];
    let hook = json!({ "url": "http://customer.example/hook", "events": events, "secret": "s" });
    let hook = server.post("/webhooks", hook).await.is(201)["id"].as_str().unwrap().to_owned();
    let agent = server.agent().await;
    server.patch(&format!("/agents/{agent}"), json!({ "greetingText": "Halo." })).await.is(200);
    let call = server.call(&agent, Duration::from_millis(1_000)).await;
    let told = async || {
        let requests = server.http.requests();
        let bodies = requests.iter().map(|request| serde_json::from_slice::<Value>(&request.body).unwrap());
        bodies.map(|body| body["event"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for _ in 0..500 {
        if told().await.len() >= 4 {
            break;
        }
        server.wait(10).await;
    }
    assert_eq!(told().await, ["call.started", "call.answered", "call.ended", "call.transcript"]);
    let path = format!("/webhooks/{hook}/deliveries");
    let listed = server.get(&format!("{path}?callId={call}")).await.is(200).clone();
    let listed = listed["deliveries"].as_array().unwrap().clone();
    assert_eq!(listed.len(), 4);
    let ended = &listed[2];
    assert_eq!((&ended["event"], &ended["state"]), (&json!("call.ended"), &json!("delivered")));
    let delivery = ended["id"].as_str().unwrap();
    server.post(&format!("{path}/{delivery}/redeliver"), Value::Null).await.is(202);
    for _ in 0..500 {
        if told().await.len() >= 5 {
            break;
        }
        server.wait(10).await;
    }
    let requests = server.http.requests();
    assert_eq!(requests[4].body, requests[2].body);
    assert_eq!(told().await[4], "call.ended");
    server.post(&format!("{path}/nothing:{hook}/redeliver"), Value::Null).await.is(404);
    server.post(&format!("{path}/nothing/redeliver"), Value::Null).await.is(404);
    server.get(&path).await.is(400);
    server.get(&format!("/webhooks/wh_1/deliveries?callId={call}")).await.is(404);
}

#[tokio::test]
async fn dr_090_091_095_functions_are_given_listed_and_taken_away() {
    let server = Server::new().await;
    let agent = server.agent().await;
    let path = format!("/agents/{agent}/functions");
    assert_eq!(server.get(&path).await.is(200), &json!({ "functions": [] }));
    let function = json!({
        "name": "check_appointment", "description": "Check", "endpoint": "http://customer.example/check", "method": "GET",
        "parameters": { "type": "object", "properties": { "phone": { "type": "string" } }, "required": ["phone"] },
    });
    assert_eq!(server.post(&path, function.clone()).await.is(201), &function);
    assert_eq!(server.post(&path, function.clone()).await.is(409)["code"], "conflict");
    assert_eq!(server.get(&path).await.is(200), &json!({ "functions": [function] }));
    let with = |name: &str, value: Value| {
        let mut body = function.clone();
        (body["name"], body[name]) = (json!("other"), value);
        body
    };
    for body in [
        with("name", json!("with space")),
        with("name", json!("")),
        with("endpoint", json!("ftp://x")),
        with("method", json!("TRACE")),
        with("parameters", json!({ "type": "string" })),
        with("parameters", json!({ "type": "object", "properties": { "a": { "type": "odd" } } })),
    ] {
        server.post(&path, body).await.is(400);
    }
    let minimal = json!({ "name": "other", "endpoint": "http://customer.example/other" });
    assert_eq!(server.post(&path, minimal).await.is(201)["method"], "POST");
    server.post("/agents/agent_1/functions", function).await.is(404);
    server.get("/agents/agent_1/functions").await.is(404);
    server.delete(&format!("{path}/check_appointment")).await.is(204);
    server.delete(&format!("{path}/check_appointment")).await.is(404);
    assert_eq!(server.get(&path).await.body["functions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn dr_a7_x18_what_is_another_tenants_is_not_there() {
    let server = Server::new().await;
    let (_, keys) = server.stranger(Plan::Enterprise).await;
    let agent = server.agent().await;
    let call = server.call(&agent, Duration::from_millis(50)).await;
    let number = server.get("/phone-numbers").await.body["phoneNumbers"][0]["id"].as_str().unwrap().to_owned();
    let hook = json!({ "url": "http://customer.example/hook", "events": ["call.ended"] });
    let hook = server.post("/webhooks", hook).await.is(201)["id"].as_str().unwrap().to_owned();
    let stranger = &keys[&Dialect::Dialro];
    for (method, path, body) in [
        ("GET", format!("/agents/{agent}"), Value::Null),
        ("PATCH", format!("/agents/{agent}"), json!({ "name": "Mine" })),
        ("DELETE", format!("/agents/{agent}"), Value::Null),
        ("GET", format!("/agents/{agent}/functions"), Value::Null),
        ("GET", format!("/calls/{call}"), Value::Null),
        ("GET", format!("/calls/{call}/transcript"), Value::Null),
        ("POST", format!("/phone-numbers/{number}/assign-agent"), json!({ "agentId": null })),
        ("DELETE", format!("/webhooks/{hook}"), Value::Null),
    ] {
        server.ask_as(Dialect::Dialro, stranger, method, &path, body).await.is(404);
    }
    for (path, name) in
        [("/agents", "agents"), ("/calls", "calls"), ("/phone-numbers", "phoneNumbers"), ("/webhooks", "webhooks")]
    {
        let listed = server.ask_as(Dialect::Dialro, stranger, "GET", path, Value::Null).await;
        assert_eq!(listed.is(200)[name], json!([]));
    }
    server.get(&format!("/agents/{agent}")).await.is(200);
}

#[tokio::test]
async fn dr_030_032_057_065_066_calls_end_as_the_contract_says_and_are_settled_once() {
    let server = Server::new().await;
    let minutes = async || server.get("/credits").await.is(200)["balanceMinutes"].clone();
    let last = async || server.get("/calls?limit=1").await.is(200)["calls"][0].clone();
    let agent = server.agent().await;
    let id = agent.strip_prefix("agent_").unwrap().parse().unwrap();

    server.patch(&format!("/agents/{agent}"), json!({ "isActive": false })).await.is(200);
    server.call(&agent, Duration::from_millis(50)).await;
    let call = last().await;
    assert_eq!((&call["status"], &call["hangupReason"]), (&json!("failed"), &json!("agent_inactive")));
    assert_eq!((&call["talkTimeSeconds"], minutes().await), (&json!(0), json!(3000)));

    server.patch(&format!("/agents/{agent}"), json!({ "isActive": true })).await.is(200);
    let short = |agent: &mut offhook::service::agents::Agent| {
        agent.policy.duration_max = Duration::from_millis(300);
        Ok(())
    };
    server.engine.agents().update(server.tenant, id, short).await.unwrap();
    server.call(&agent, Duration::from_millis(1_500)).await;
    let call = last().await;
    assert_eq!((&call["status"], &call["hangupReason"]), (&json!("ended"), &json!("max_duration")));
    assert_eq!((&call["hangupInitiator"], minutes().await), (&json!("system"), json!(2999)));

    let all = Amount { unit: Unit::Time, value: -2_999 * 60_000 };
    server.engine.credits().adjust(server.tenant, all, "all", "").await.unwrap();
    server.call(&agent, Duration::from_millis(50)).await;
    let call = last().await;
    assert_eq!((&call["status"], &call["hangupReason"]), (&json!("failed"), &json!("credits_exhausted")));
    assert_eq!(minutes().await, json!(0));
    let transactions = server.get("/credits/transactions").await.is(200)["transactions"].clone();
    let used =
        transactions.as_array().unwrap().iter().filter(|entry| entry["type"] == "usage" && entry["minutes"] != 0);
    assert_eq!(used.count(), 1, "{transactions}");
}
