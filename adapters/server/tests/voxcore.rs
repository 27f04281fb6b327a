//! VoxCore's API, item by item of its contract.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use axum::body::Body;
use futures_util::future::join_all;
use offhook::call::record::EndReason;
use offhook::dialect::Dialect;
use offhook::ids::{AgentId, CallId};
use offhook::provider::telephony::{E164, HangupCause};
use offhook::service::hours::Hours;
use offhook::service::keys::NewApiKey;
use offhook::service::prefetch::Prefetch;
use offhook::service::tenants::Plan;
use offhook_server::Options;
use offhook_testkit::carrier::Answering;
use serde_json::{Value, json};
use support::{Answer, Server};

const TO: &str = "+919876543210";
const FROM: &str = "+911234567890";

impl Server {
    async fn dialout(&self, body: Value) -> Answer {
        self.ask(Dialect::VoxCore, "POST", "/api/v1/dialout", body).await
    }

    fn picks_up(&self, number: &str) {
        self.carrier.when_dialled(&number.parse().unwrap(), Answering::After(Duration::from_millis(10)));
    }
}

fn order(bot: AgentId) -> Value {
    json!({ "bot_id": bot, "to_number": TO, "from_number": FROM })
}

fn placed(answer: &Answer) -> CallId {
    assert_eq!(answer.is(200)["status"], "ok");
    answer.body["call_id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn fl_001_002_013_016_017_keys_are_for_bots() {
    let server = Server::new().await;
    let (mine, other) = (server.an_agent(|_| {}).await, server.an_agent(|_| {}).await);
    server.picks_up(TO);
    let mut scoped = NewApiKey::new(Dialect::VoxCore, "one bot");
    scoped.agents = Some(vec![mine]);
    let (key, text) = server.engine.keys().create(server.tenant, scoped).await.unwrap();
    assert!(text.starts_with("vx_") && text.len() == 35);
    let ask = async |key: &str, bot: AgentId| {
        server.ask_as(Dialect::VoxCore, key, "POST", "/api/v1/dialout", order(bot)).await
    };
    ask(&text, mine).await.is(200);
    assert_eq!(ask(&text, other).await.is(404), &json!({ "detail": "Bot not found" }));
    ask(server.key(Dialect::VoxCore), other).await.is(200);
    server.engine.keys().revoke(server.tenant, key.id).await.unwrap();
    for key in [text.as_str(), "", "vx_nothing", server.key(Dialect::Dialro)] {
        assert!(ask(key, mine).await.is(401)["detail"].is_string());
    }
    let (_, strangers) = server.stranger(Plan::Starter).await;
    ask(&strangers[&Dialect::VoxCore], mine).await.is(404);
    server.raw("POST", "/voxcore/api/v1/dialout", &[], Body::empty()).await.is(401);
}

#[tokio::test]
async fn fl_011_012_015_019_a2_a6_a7_a_call_is_placed_by_either_path() {
    let server = Server::new().await;
    let bot = server.an_agent(|_| {}).await;
    server.picks_up(TO);
    for path in ["/api/v1/dialout", "/api/v1/sip/dialout"] {
        let answer = server.ask(Dialect::VoxCore, "POST", path, order(bot)).await;
        let call = placed(&answer);
        server.wait(200).await;
        server.carrier.take_dialled().unwrap().hang_up(HangupCause::NORMAL_CLEARING);
        let record = server.ended(call).await.record;
        assert_eq!((record.from, record.to), (Some(FROM.parse().unwrap()), Some(TO.parse().unwrap())));
        assert_eq!(record.agent, bot);
    }
    // Digits alone, and a bot as another dialect names it.
    let loose = json!({ "bot_id": format!("agent_{bot}"), "to_number": "91 98765-43210", "from_number": FROM });
    placed(&server.dialout(loose).await);
}

#[tokio::test]
async fn fl_011_without_a_number_to_show_the_bots_own_or_the_servers_is_shown() {
    let mut options = Options::default();
    options.caller_id = Some("+15550100000".parse().unwrap());
    let server = Server::with(options, |_| {}).await;
    let bot = server.an_agent(|_| {}).await;
    server.picks_up(TO);
    let shown = async || {
        let call = placed(&server.dialout(json!({ "bot_id": bot, "to_number": TO })).await);
        server.engine.calls().get(server.tenant, call).await.unwrap().unwrap().record.from.unwrap().to_string()
    };
    assert_eq!(shown().await, "+15550100000");
    let own: E164 = "+911111111111".parse().unwrap();
    server.engine.numbers().add(server.tenant, own, "", Some(bot)).await.unwrap();
    assert_eq!(shown().await, "+911111111111");
    let server = Server::new().await;
    let bot = server.an_agent(|_| {}).await;
    let answer = server.dialout(json!({ "bot_id": bot, "to_number": TO })).await;
    assert_eq!(answer.is(422)["detail"][0]["loc"], json!(["body", "from_number"]));
}

#[tokio::test]
async fn fl_013_016_mistakes_are_told_as_fastapi_does() {
    let server = Server::new().await;
    let bot = server.an_agent(|_| {}).await;
    for (body, place, kind) in [
        (json!({ "to_number": TO }), "bot_id", "missing"),
        (json!({ "bot_id": bot }), "to_number", "missing"),
        (json!({ "bot_id": bot, "to_number": 5 }), "to_number", "value_error"),
        (json!({ "bot_id": bot, "to_number": "somebody", "from_number": FROM }), "to_number", "value_error"),
        (json!({ "bot_id": bot, "to_number": TO, "from_number": "x" }), "from_number", "value_error"),
        (json!({ "bot_id": bot, "to_number": TO, "variables": [] }), "variables", "value_error"),
        (
            json!({ "bot_id": bot, "to_number": TO, "variables": {}, "connected_event": {} }),
            "connected_event",
            "value_error",
        ),
    ] {
        let answer = server.dialout(body).await;
        let detail = &answer.is(422)["detail"][0];
        assert_eq!((&detail["loc"], &detail["type"]), (&json!(["body", place]), &json!(kind)), "{detail}");
        assert!(detail["msg"].is_string());
    }
    let deep = (0..60).fold(json!(1), |value, _| json!([value]));
    let deep = json!({ "bot_id": bot, "to_number": TO, "from_number": FROM, "variables": { "deep": deep } });
    server.dialout(deep).await.is(422);
    let (stranger, _) = server.stranger(Plan::Starter).await;
    server.engine.numbers().add(stranger, FROM.parse().unwrap(), "", None).await.unwrap();
    let answer = server.dialout(order(bot)).await;
    assert_eq!(answer.is(422)["detail"][0]["loc"], json!(["body", "from_number"]), "it is another tenant's");
    let headers = [("x-api-key", server.key(Dialect::VoxCore))];
    server.raw("POST", "/voxcore/api/v1/dialout", &headers, "{").await.is(422);
    for bot in ["nothing", "00000000-0000-0000-0000-000000000000"] {
        server.dialout(json!({ "bot_id": bot, "to_number": TO })).await.is(404);
    }
}

#[tokio::test]
async fn fl_014_018_a1_of_ten_times_as_many_as_there_are_slots_exactly_those_are_placed() {
    const SLOTS: usize = 5;
    let server = Server::with(Options::default(), |settings| settings.calls_max = Some(5)).await;
    let bot = server.an_agent(|_| {}).await;
    let answers = join_all((0..10 * SLOTS).map(|number| {
        let to = format!("+91987654{number:04}");
        server.carrier.when_dialled(&to.parse().unwrap(), Answering::Rings);
        server.dialout(json!({ "bot_id": bot, "to_number": to, "from_number": FROM }))
    }))
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), SLOTS);
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(refused.is(503), &json!({ "detail": "No healthy fleet server available" }));
        assert!(refused.header("retry-after").parse::<u32>().unwrap() >= 1);
    }
}

#[tokio::test]
async fn fl_013_016_044_091_a_bot_that_does_not_work_now_is_refused() {
    let server = Server::new().await;
    let closed = server.an_agent(|agent| agent.hours = Some(Hours::new("Asia/Kolkata").unwrap())).await;
    let answer = server.dialout(order(closed)).await;
    assert!(answer.is(503)["detail"].as_str().unwrap().starts_with("outside_active_hours: "));
    assert!(!answer.header("retry-after").is_empty());
    let off = server.an_agent(|agent| agent.active = false).await;
    assert!(server.dialout(order(off)).await.is(503)["detail"].as_str().unwrap().starts_with("bot_inactive: "));
}

#[tokio::test]
async fn fl_030_031_034_036_037_079_090_a3_a4_variables_fill_what_is_said() {
    let server = Server::new().await;
    let bot = server
        .an_agent(|agent| {
            agent.greeting = Some(
                "{{crm.name}} {{call.name}} {{name}} {{ crm.amount }} {{crm.tags}} {{crm.vip}} {{crm.nothing}} {{crm.none}}."
                    .to_owned(),
            );
            agent.prefetch = Some(Prefetch { is_post: false, token: None, url: "http://crm.example/".to_owned() });
            agent.policy.screening = None;
        })
        .await;
    server.picks_up(TO);
    let greeting = async |variables: Value| {
        let mut body = order(bot);
        body["variables"] = variables;
        let call = placed(&server.dialout(body).await);
        for _ in 0..500 {
            if let Some((_, glance)) = server.engine.follow(server.tenant, call)
                && let Some(entry) = glance.transcript.values().next()
                && entry.text.ends_with('.')
            {
                return entry.text.clone();
            }
            server.wait(10).await;
        }
        panic!("nothing is said");
    };
    let variables = json!({
        "name": "Rahul", "amount": 15000, "tags": ["a", { "b": 1.5 }], "vip": true, "none": null, "_skip_prefetch": true,
    });
    assert_eq!(greeting(variables).await, r#"Rahul Rahul Rahul 15000 ["a",{"b":1.5}] true {{crm.nothing}} ."#);
    assert!(server.http.requests().is_empty(), "the pre-fetch was left out");
    let mock = json!({ "name": "Ann", "_mock_crm": { "name": "Mock", "nothing": "x" }, "none": "" });
    let said = greeting(mock).await;
    assert!(said.starts_with("Mock Ann Mock") && said.contains(" x "), "{said}");
    assert_eq!(server.http.requests().len(), 1);
}

#[tokio::test]
async fn fl_035_043_a_call_that_nobody_answers_says_so() {
    let server = Server::new().await;
    let bot = server.an_agent(|_| {}).await;
    let refuses = Answering::Refuses(Duration::ZERO, HangupCause::USER_BUSY);
    server.carrier.when_dialled(&TO.parse().unwrap(), refuses);
    let call = placed(&server.dialout(order(bot)).await);
    let call = server.ended(call).await;
    assert_eq!(call.record.end_reason, Some(EndReason::Busy));
    assert_eq!(Dialect::VoxCore.words(&call.record).status, "rejected");
}

#[tokio::test]
async fn fl_060_061_062_063_064_health_needs_no_key_and_adds_up() {
    let server = Server::with(Options::default(), |settings| settings.calls_max = Some(8)).await;
    let bot = server.an_agent(|_| {}).await;
    server.carrier.when_dialled(&TO.parse().unwrap(), Answering::Rings);
    placed(&server.dialout(order(bot)).await);
    for path in ["/voxcore/health/fleet", "/health/fleet"] {
        let fleet = server.raw("GET", path, &[], Body::empty()).await.is(200).clone();
        assert_eq!(fleet["status"], "ok");
        let number = |name: &str| fleet[name].as_u64().unwrap();
        assert_eq!((number("fleet_calls"), number("fleet_max"), number("fleet_available")), (1, 8, 7));
        let worker = &fleet["workers"][0];
        assert_eq!((&worker["calls"], &worker["max"]), (&json!(1), &json!(8)));
        assert!(worker["pid"].is_u64());
    }
    let health = server.raw("GET", "/voxcore/health", &[], Body::empty()).await.is(200).clone();
    assert_eq!((&health["worker_calls"], &health["total_available"]), (&json!(1), &json!(7)));
    for name in ["status", "worker_max", "total_capacity", "workers", "worker_id", "worker_pid"] {
        assert!(!health[name].is_null(), "{name}");
    }
}

#[tokio::test]
async fn prometheus_is_told_of_requests_and_calls() {
    let server = Server::new().await;
    let bot = server.an_agent(|_| {}).await;
    server.carrier.when_dialled(&TO.parse().unwrap(), Answering::Rings);
    placed(&server.dialout(order(bot)).await);
    server.raw("BREW", "/whatever", &[], Body::empty()).await.is(404);
    let answer = server.raw("GET", "/metrics", &[], Body::empty()).await;
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"));
    let text = String::from_utf8(answer.bytes).unwrap();
    for line in [
        "offhook_calls_live 1",
        "offhook_http_requests_total{api=\"voxcore\",method=\"POST\",status=\"200\"} 1",
        "offhook_http_requests_total{api=\"root\",method=\"other\",status=\"404\"} 1",
        "offhook_http_request_duration_seconds_count{api=\"voxcore\"} 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
}

#[tokio::test]
async fn fl_040_042_049_050_a5_df_021_what_vendors_set_by_hand_is_set_over_an_api_of_our_own() {
    let server = Server::new().await;
    let bot = server.an_agent(|_| {}).await;
    let path = format!("/agents/{bot}");
    let key = format!("Bearer {}", server.key(Dialect::VoxCore));
    let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
    let mapper = json!({ "CUSTOMER": "{{crm.id}}", "DISPOSITION": "{{result.disposition}}", "ENDED": "{{result.disconnected_by}}" });
    let push = json!({
        "id": "crm", "url": "http://crm.example/result", "method": "PUT", "token": "Bearer hush", "form": { "key_mapper": mapper },
    });
    let patch = json!({ "after_call": { "pushes": [push], "zone": "Asia/Kolkata" }, "policy": { "record": false } });
    let shown = server.raw("PATCH", &path, &headers, patch.to_string()).await.is(200).clone();
    assert_eq!(shown["after_call"]["zone"], "Asia/Kolkata");
    assert!(!shown.to_string().contains("hush"));
    let refuses = Answering::Refuses(Duration::ZERO, HangupCause::USER_BUSY);
    server.carrier.when_dialled(&TO.parse().unwrap(), refuses);
    let mut body = order(bot);
    body["variables"] = json!({ "id": "C-17" });
    placed(&server.dialout(body).await);
    let pushed = loop {
        match server.http.requests().into_iter().find(|request| request.url == "http://crm.example/result") {
            Some(pushed) => break pushed,
            None => server.wait(20).await,
        }
    };
    let header = pushed.headers.iter().find(|(name, _)| name == "authorization").unwrap();
    assert_eq!((pushed.method, header.1.as_str()), (offhook::provider::transport::HttpMethod::Put, "Bearer hush"));
    let told: Value = serde_json::from_slice(&pushed.body).unwrap();
    assert_eq!(told, json!({ "CUSTOMER": "C-17", "DISPOSITION": "Not Connected", "ENDED": "rejected" }));

    assert_eq!(server.raw("GET", &path, &headers, Body::empty()).await.is(200)["name"], "Maya");
    let prefetch = json!({ "prefetch": { "url": "http://crm.example/fetch", "token": "Bearer hush" } });
    server.raw("PATCH", &path, &headers, prefetch.to_string()).await.is(200);
    let token = async || {
        let agent = server.engine.agents().get(server.tenant, bot).await.unwrap().unwrap();
        agent.prefetch.unwrap().token.map(|token| token.expose().to_vec())
    };
    assert_eq!(token().await.unwrap(), b"Bearer hush");
    let elsewhere = json!({ "prefetch": { "url": "http://elsewhere.example/" } });
    server.raw("PATCH", &path, &headers, elsewhere.to_string()).await.is(200);
    assert_eq!(token().await, None, "a token does not go where it was not given for");
    server.raw("PATCH", &path, &[], "nonsense").await.is(401);
    for patch in [json!({ "policy": 1 }), json!({ "name": null }), json!({ "after_call": { "zone": "Mars" } })] {
        server.raw("PATCH", &path, &headers, patch.to_string()).await.is(400);
    }
    let (_, strangers) = server.stranger(Plan::Starter).await;
    let stranger = format!("Bearer {}", strangers[&Dialect::Dialro]);
    server.raw("GET", &path, &[("authorization", &stranger)], Body::empty()).await.is(404);
    server.raw("GET", &path, &[], Body::empty()).await.is(401);
    let mut scoped = NewApiKey::new(Dialect::VoxCore, "one bot");
    scoped.agents = Some(vec![bot]);
    let (_, scoped) = server.engine.keys().create(server.tenant, scoped).await.unwrap();
    server.raw("GET", &path, &[("x-api-key", &scoped)], Body::empty()).await.is(403);
}
