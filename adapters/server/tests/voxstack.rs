//! VoxStack's API, item by item of its contract.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;
#[path = "support/voxstack.rs"]
mod vox;

use std::time::Duration;

use axum::body::Body;
use offhook::dialect::Dialect;
use offhook::provider::reach::Reach;
use offhook::provider::telephony::{E164, HangupCause};
use offhook::service::hours::Hours;
use offhook::service::tenants::Plan;
use offhook_testkit::carrier::Answering;
use serde_json::{Value, json};
use support::{Answer, Server};
use vox::{CALLEE, CALLER_ID, callee};

#[tokio::test]
async fn vs_001_003_004_005_keys_open_the_door_and_every_answer_is_in_the_envelope() {
    let server = Server::vox().await;
    assert!(server.key(Dialect::VoxStack).starts_with("va_"));
    server.get("/agents").await.data(200);
    for headers in [
        &[][..],
        &[("authorization", "Bearer va_nothing")],
        &[("authorization", server.key(Dialect::VoxStack))],
        &[("authorization", &format!("Bearer {}", server.key(Dialect::Dialro)))],
        &[("x-api-key", server.key(Dialect::VoxStack))],
    ] {
        server.raw("GET", "/voxstack/api/v1/agents", headers, Body::empty()).await.refused(401);
    }
    server.raw("GET", "/voxstack/api/v1/nothing", &[], Body::empty()).await.refused(401);
    server.get("/nothing").await.refused(404);
    // The list of codes is closed: no 405, 409, 413 or 422.
    server.ask(Dialect::VoxStack, "PUT", "/agents", json!({})).await.refused(404);
    server.post("/agents", Value::Null).await.refused(400);
    server.post("/agents", json!({ "name": "a".repeat(2 * 1024 * 1024), "system_prompt": "x" })).await.refused(400);
    let wrong = server.post("/agents", json!({ "name": "x" })).await;
    assert_eq!(wrong.refused(400), "system_prompt: is required");
    assert_eq!(wrong.body["details"], json!({ "code": "invalid_request", "field": "system_prompt" }));
}

#[tokio::test]
async fn vs_002_a_thousand_requests_a_minute_for_each_key() {
    let server = Server::vox().await;
    let number = |answer: &Answer, name: &str| answer.header(name).parse::<u64>().unwrap();
    let first = server.get("/agents/x").await;
    assert_eq!((number(&first, "x-ratelimit-limit"), number(&first, "x-ratelimit-remaining")), (1_000, 999));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((now..now + 120).contains(&number(&first, "x-ratelimit-reset")));
    let mut refused = None;
    for _ in 0..2_000 {
        let answer = server.get("/agents/x").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a thousand and a few are all");
    refused.refused(429);
    assert!(number(&refused, "retry-after") >= 1);
    let other = offhook::service::keys::NewApiKey::new(Dialect::VoxStack, "b");
    let other = server.engine.keys().create(server.tenant, other).await.unwrap().1;
    server.ask_as(Dialect::VoxStack, &other, "GET", "/agents", Value::Null).await.data(200);
}

#[tokio::test]
async fn vs_006_010_011_012_013_015_a1_agents_are_made_shown_changed_and_deleted() {
    let server = Server::vox().await;
    let made = json!({
        "name": "Customer Service Agent", "system_prompt": "You are helpful.", "description": "Handles inquiries",
        "starting_message": "Hello!", "enabled": true, "voice_settings": { "stability": 0.5, "similarity_boost": 0.75 },
        "unknown": 1,
    });
    let agent = server.post("/agents", made.clone()).await.data(201).clone();
    for name in ["name", "system_prompt", "description", "starting_message", "enabled", "voice_settings"] {
        assert_eq!(agent[name], made[name], "{name}");
    }
    assert!(agent.get("prompt").is_none());
    let path = format!("/agents/{}", agent["id"].as_str().unwrap());
    assert_eq!(server.get(&path).await.data(200), &agent);
    server.wait(2).await;
    let second = server.post("/agents", json!({ "name": "B", "system_prompt": "x", "enabled": false })).await;
    let second = second.data(201).clone();
    assert_eq!((&second["dtmf_rules"], &second["voice_settings"]), (&json!([]), &Value::Null));
    let listed = server.get("/agents").await;
    assert_eq!(listed.data(200), &json!([second, agent]));
    assert_eq!(listed.body["meta"]["pagination"], json!({ "limit": 50, "offset": 0, "total": 2 }));
    let page = server.get("/agents?limit=1000&offset=1").await;
    assert_eq!(page.data(200), &json!([agent]));
    assert_eq!(page.body["meta"]["pagination"], json!({ "limit": 100, "offset": 1, "total": 2 }));
    assert_eq!(server.get("/agents?enabled=true&limit=10").await.data(200), &json!([agent]));
    assert_eq!(server.get("/agents?enabled=false").await.data(200), &json!([second]));
    for query in ["enabled=maybe", "limit=x", "limit=-1", "offset=-1"] {
        server.get(&format!("/agents?{query}")).await.refused(400);
    }
    let change = json!({
        "name": "C", "description": "d", "system_prompt": "p", "starting_message": null, "voice_settings": null,
        "enabled": false,
    });
    let changed = server.patch(&path, change.clone()).await.data(200).clone();
    for (name, value) in change.as_object().unwrap() {
        assert_eq!(&changed[name], value, "{name}");
    }
    assert_eq!(server.patch(&path, json!({})).await.data(200), &changed);
    for body in [json!({ "name": " " }), json!({ "system_prompt": "" }), json!({ "voice_settings": [1] })] {
        server.patch(&path, body).await.refused(400);
    }
    assert_eq!(server.delete(&path).await.data(200), &json!({ "deleted": true }));
    server.delete(&path).await.refused(404);
    server.get(&path).await.refused(404);
    server.patch(&path, json!({})).await.refused(404);
    server.post("/agents", json!({ "name": "x", "prompt": "y" })).await.refused(400);
}

#[tokio::test]
async fn vs_a7_dtmf_rules_round_trip() {
    let server = Server::vox().await;
    let rules = json!([
        { "digits": "1", "action": "transfer", "value": "+14155550199" },
        { "digits": "2", "action": "say", "value": "We open at nine." },
        { "digits": "9", "action": "end_call", "value": "Goodbye." },
        { "digits": "0", "action": "end_call", "value": null },
        { "digits": "xxxx#", "action": "set_variable", "value": "pin" },
        { "digits": "*1", "action": "function", "value": "check" },
    ]);
    let agent = json!({ "name": "A", "system_prompt": "x", "dtmf_rules": rules });
    let agent = server.post("/agents", agent).await.data(201).clone();
    assert_eq!(agent["dtmf_rules"], rules);
    let path = format!("/agents/{}", agent["id"].as_str().unwrap());
    assert_eq!(server.patch(&path, json!({ "name": "B" })).await.data(200)["dtmf_rules"], rules);
    assert_eq!(server.patch(&path, json!({ "dtmf_rules": rules })).await.data(200)["dtmf_rules"], rules);
    for rule in [
        json!({ "digits": "", "action": "say", "value": "x" }),
        json!({ "digits": "1", "action": "dance", "value": "x" }),
        json!({ "digits": "1", "action": "transfer", "value": "12" }),
        json!({ "digits": "1", "action": "say" }),
    ] {
        server.patch(&path, json!({ "dtmf_rules": [rule] })).await.refused(400);
    }
    assert_eq!(server.patch(&path, json!({ "dtmf_rules": null })).await.data(200)["dtmf_rules"], json!([]));
}

#[tokio::test]
async fn vs_014_an_agent_with_tasks_to_do_is_not_deleted() {
    let server = Server::vox().await;
    let agent = server.agent().await;
    let task = server.task(&agent, json!({})).await;
    server.delete(&format!("/agents/{agent}")).await.refused(400);
    server.delete(&format!("/tasks/{task}")).await.data(200);
    server.delete(&format!("/agents/{agent}")).await.data(200);
}

#[tokio::test]
async fn vs_020_021_022_029_a5_a6_tasks_are_made_shown_and_listed() {
    let server = Server::vox().await;
    let agent = server.agent().await;
    let wish = json!({
        "agent_id": agent, "name": "Call customer", "to_number": "+442071234567", "description": "Follow up call",
        "starting_message": "Hello from us", "context_data": { "customer_name": "John Doe", "crm": { "tier": "gold" } },
        "priority": 7, "scheduled_at": "2099-01-01T00:00:00.000Z", "webhook_url": "https://your-app.com/webhooks",
        "webhook_events": ["call_started", "call_completed"],
    });
    let task = server.post("/tasks", wish.clone()).await.data(201).clone();
    for (name, value) in wish.as_object().unwrap() {
        assert_eq!(&task[name], value, "{name}");
    }
    assert_eq!((&task["status"], &task["from_number"]), (&json!("pending"), &json!(CALLER_ID)));
    let mut shown = server.get(&format!("/tasks/{}", task["id"].as_str().unwrap())).await.data(200).clone();
    assert_eq!(shown["agent"], *server.get(&format!("/agents/{agent}")).await.data(200));
    shown.as_object_mut().unwrap().remove("agent");
    assert_eq!(shown, task);
    let least = json!({ "agent_id": agent, "name": "n", "to_number": CALLEE, "scheduled_at": null });
    let second = server.post("/tasks", least.clone()).await.data(201).clone();
    assert_eq!((&second["priority"], &second["scheduled_at"]), (&json!(0), &Value::Null));
    assert_eq!((&second["webhook_url"], &second["context_data"]), (&Value::Null, &json!({})));
    assert_ne!(server.post("/tasks", least.clone()).await.data(201)["id"], second["id"]);
    let listed = server.get(&format!("/tasks?agent_id={agent}&status=pending&limit=2")).await;
    assert_eq!(listed.data(200).as_array().unwrap().len(), 2);
    assert_eq!(listed.body["meta"]["pagination"]["total"], 3);
    for status in ["in_progress", "completed", "failed"] {
        assert_eq!(server.get(&format!("/tasks?status={status}")).await.data(200), &json!([]));
    }
    let other = server.agent().await;
    assert_eq!(server.get(&format!("/tasks?agent_id={other}")).await.data(200), &json!([]));
    server.get("/tasks?status=odd").await.refused(400);
    server.get("/tasks?agent_id=odd").await.refused(400);
    for name in ["agent_id", "name", "to_number"] {
        let mut without = least.clone();
        without.as_object_mut().unwrap().remove(name);
        let answer = server.post("/tasks", without).await;
        answer.refused(400);
        assert_eq!(answer.body["details"]["field"], name);
    }
    server.get("/tasks/x").await.refused(404);
}

#[tokio::test]
async fn vs_021_028_070_073_what_is_wrong_with_a_task_is_told() {
    let server = Server::vox_with(|settings| settings.reach = Reach::public()).await;
    let agent = server.agent().await;
    let with = |name: &str, value: Value| {
        let mut task = json!({ "agent_id": agent, "name": "n", "to_number": CALLEE });
        task[name] = value;
        task
    };
    for (name, value) in [
        ("agent_id", json!("x")),
        ("name", json!("")),
        ("to_number", json!("14155550123")),
        ("to_number", json!("+1 415 555")),
        ("to_number", json!("")),
        ("priority", json!(100_000)),
        ("scheduled_at", json!("tomorrow")),
        ("context_data", json!([])),
        ("webhook_url", json!("http://your-app.com/webhooks")),
        ("webhook_url", json!("https://127.0.0.1/webhooks")),
        ("webhook_url", json!("nonsense")),
        ("webhook_events", json!(["call_began"])),
        ("webhook_events", json!([])),
    ] {
        server.post("/tasks", with(name, value.clone())).await.refused(400);
        if name != "agent_id" {
            let task = server.task(&agent, json!({})).await;
            server.patch(&format!("/tasks/{task}"), json!({ name: value })).await.refused(400);
        }
    }
    let answer = server.post("/tasks", with("webhook_url", json!("http://your-app.com"))).await;
    assert_eq!(answer.body["details"]["field"], "webhook_url");
    let fine = server.post("/tasks", with("webhook_url", json!("https://your-app.com/webhooks"))).await;
    assert_eq!(fine.data(201)["webhook_events"], json!(["call_started", "call_completed", "call_failed"]));
    server.post("/tasks", with("agent_id", json!(uuid::Uuid::nil().to_string()))).await.refused(404);
}

#[tokio::test]
async fn vs_021_a_task_needs_a_number_to_call_from() {
    let server = Server::new().await;
    let agent = server.agent().await;
    let task = json!({ "agent_id": agent, "name": "n", "to_number": CALLEE });
    assert!(server.post("/tasks", task.clone()).await.refused(400).contains("number to call from"));
    let own: E164 = "+14155550177".parse().unwrap();
    server.engine.numbers().add(server.tenant, own.clone(), "Line", Some(agent.parse().unwrap())).await.unwrap();
    assert_eq!(server.post("/tasks", task).await.data(201)["from_number"], own.as_str());
}

#[tokio::test]
async fn vs_023_024_only_a_pending_task_changes_and_only_one_that_never_began_or_failed_goes() {
    let server = Server::vox().await;
    let (task, call, callee) = server.talking().await;
    let path = format!("/tasks/{task}");
    assert_eq!(server.get(&path).await.data(200)["call_id"], call);
    server.patch(&path, json!({ "name": "x" })).await.refused(400);
    server.delete(&path).await.refused(400);
    callee.hang_up(HangupCause::NORMAL_CLEARING);
    server.until(&path, |task| task["status"] == "completed").await;
    server.patch(&path, json!({ "name": "x" })).await.refused(400);
    server.delete(&path).await.refused(400);
    let agent = server.get(&path).await.data(200)["agent_id"].as_str().unwrap().to_owned();
    let task =
        server.task(&agent, json!({ "webhook_url": "https://a.example/x", "webhook_events": ["call_failed"] })).await;
    let path = format!("/tasks/{task}");
    let change = json!({
        "name": "New", "description": "d", "to_number": "+442071234567", "starting_message": "s",
        "context_data": { "a": 1 }, "priority": -3, "scheduled_at": "2099-01-01T00:00:00.000Z",
        "webhook_url": "https://b.example/x",
    });
    let changed = server.patch(&path, change.clone()).await.data(200).clone();
    for (name, value) in change.as_object().unwrap() {
        assert_eq!(&changed[name], value, "{name}");
    }
    assert_eq!(changed["webhook_events"], json!(["call_failed"]));
    let other = server.agent().await;
    let same = server.patch(&path, json!({ "agent_id": other, "scheduled_at": null, "webhook_url": null })).await;
    assert_eq!((&same.data(200)["agent_id"], &same.body["data"]["scheduled_at"]), (&json!(agent), &Value::Null));
    assert_eq!(same.body["data"]["webhook_url"], Value::Null);
    assert_eq!(server.delete(&path).await.data(200), &json!({ "deleted": true }));
    server.delete(&path).await.refused(404);
    server.patch(&path, json!({})).await.refused(404);
}

#[tokio::test]
async fn vs_025_026_027_044_045_048_a14_a_task_is_executed_fails_and_is_reset() {
    let server = Server::vox().await;
    server.carrier.when_dialled(&callee(), Answering::Refuses(Duration::ZERO, HangupCause::USER_BUSY));
    let task = server.task(&server.agent().await, json!({})).await;
    let path = format!("/tasks/{task}");
    server.post(&format!("{path}/reset"), Value::Null).await.refused(400);
    let call = server.execute(&task).await;
    server.until(&path, |task| task["status"] == "failed").await;
    assert_eq!(server.get(&format!("/calls/{call}")).await.data(200)["status"], "failed");
    server.post(&format!("{path}/execute"), Value::Null).await.refused(400);
    let reset = server.post(&format!("{path}/reset"), Value::Null).await;
    assert_eq!(reset.data(200)["status"], "pending");
    server.carrier.when_dialled(&callee(), Answering::After(Duration::ZERO));
    let again = server.execute(&task).await;
    assert_ne!(again, call);
    server.until(&path, |task| task["status"] == "in_progress").await;
    server.post(&format!("{path}/reset"), Value::Null).await.refused(400);
    server.until(&format!("/calls/{again}"), |call| call["status"] == "in_progress").await;
    server.get(&format!("/calls/{again}/recording")).await.refused(400);
    server.get(&format!("/calls/{again}/recording/stream")).await.refused(400);
    server.get(&format!("/calls/{again}/report")).await.refused(400);
    let ended = server.post(&format!("/calls/{again}/end"), Value::Null).await;
    assert_eq!(ended.data(200)["status"], "completed");
    server.until(&path, |task| task["status"] == "completed").await;
    assert_eq!(server.post(&format!("{path}/reset"), Value::Null).await.data(200)["status"], "pending");
    server.post("/tasks/x/execute", Value::Null).await.refused(404);
    server.post("/tasks/x/reset", Value::Null).await.refused(404);
}

#[tokio::test]
async fn vs_025_a12_of_two_executes_one_places_a_call() {
    let server = Server::vox().await;
    server.carrier.when_dialled(&callee(), Answering::Rings);
    let task = server.task(&server.agent().await, json!({})).await;
    let path = format!("/tasks/{task}/execute");
    let (first, second) = tokio::join!(server.post(&path, Value::Null), server.post(&path, Value::Null));
    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
    let calls = server.get(&format!("/calls?task_id={task}")).await;
    assert_eq!(calls.data(200).as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn vs_025_a13_who_cannot_call_says_why() {
    let server = Server::vox_with(|settings| settings.calls_max = Some(0)).await;
    server.carrier.when_dialled(&callee(), Answering::Rings);
    let agent = server.agent().await;
    let path = format!("/tasks/{}/execute", server.task(&agent, json!({})).await);
    let full = server.post(&path, Value::Null).await;
    full.refused(503);
    assert!(!full.header("retry-after").is_empty());
    server.patch(&format!("/agents/{agent}"), json!({ "enabled": false })).await.data(200);
    assert!(server.post(&path, Value::Null).await.refused(400).contains("switched off"));
    server.patch(&format!("/agents/{agent}"), json!({ "enabled": true })).await.data(200);
    let id = agent.parse().unwrap();
    let closed = |agent: &mut offhook::service::agents::Agent| {
        agent.hours = Some(Hours::new("UTC")?);
        Ok(())
    };
    server.engine.agents().update(server.tenant, id, closed).await.unwrap();
    server.post(&path, Value::Null).await.refused(400);
}

#[tokio::test]
async fn vs_025_without_credits_nobody_is_called() {
    let server = Server::vox().await;
    let task = server.task(&server.agent().await, json!({})).await;
    let all = offhook::billing::Amount { unit: offhook::billing::Unit::Time, value: -3_000 * 60_000 };
    server.engine.credits().adjust(server.tenant, all, "all", "Spent").await.unwrap();
    server.post(&format!("/tasks/{task}/execute"), Value::Null).await.refused(400);
}

#[tokio::test]
async fn vs_a5_a8_a_scheduled_task_is_called_and_its_agent_knows_the_context() {
    let server = Server::vox().await;
    server.carrier.when_dialled(&callee(), Answering::After(Duration::ZERO));
    let agent = json!({
        "name": "Ann", "system_prompt": "x",
        "starting_message": "{{customer_name}} {{order}} {{crm.number}} {{call.nothing}}{{unknown}}",
    });
    let agent = server.agent_of(agent).await;
    let context = json!({ "customer_name": "John", "order": { "id": 5 }, "number": 7, "nothing": null });
    let task = server.task(&agent, json!({ "context_data": context, "scheduled_at": "2020-01-01T00:00:00Z" })).await;
    let task = server.until(&format!("/tasks/{task}"), |task| task["status"] == "in_progress").await;
    assert_eq!(task["context_data"], context);
    let call = task["call_id"].as_str().unwrap().parse().unwrap();
    let mut said = String::new();
    for _ in 0..1_000 {
        let (_, glance) = server.engine.follow(server.tenant, call).unwrap();
        said = glance.transcript.values().map(|entry| entry.text.as_str()).collect();
        if said.ends_with('}') && said.len() > 20 {
            break;
        }
        server.wait(10).await;
    }
    assert_eq!(said, r#"John {"id":5} 7 {{unknown}}"#);
    server.post(&format!("/calls/{call}/end"), Value::Null).await.data(200);
}

#[tokio::test]
async fn vs_040_041_042_043_044_050_a9_a15_calls_are_listed_shown_and_reported() {
    let server = Server::vox().await;
    let (task, call) = server.talked().await;
    let shown = server.get(&format!("/calls/{call}")).await.data(200).clone();
    assert_eq!((&shown["task_id"], &shown["status"]), (&json!(task), &json!("completed")));
    assert_eq!((&shown["from_number"], &shown["to_number"]), (&json!(CALLER_ID), &json!(CALLEE)));
    assert_eq!(shown["transcript"][0]["role"], "agent");
    assert!(shown["transcript"][0]["message"].as_str().unwrap().starts_with("Hello"));
    assert_eq!(shown["transcript"][0]["time_in_call_secs"], 0);
    assert!(shown.get("report").is_some());
    let stored = server.get(&format!("/calls/{call}/transcript")).await.data(200).clone();
    assert_eq!(stored, json!({ "call_id": call, "transcript": shown["transcript"] }));
    let report = server.get(&format!("/calls/{call}/report")).await.data(200).clone();
    assert!(report["summary"].is_string() && report["extracted_data"].is_object());
    assert_eq!(server.get(&format!("/calls/{call}")).await.data(200)["report"], report, "it is kept");
    let fetched = server.post(&format!("/calls/{call}/transcript"), Value::Null).await;
    fetched.refused(503);
    assert_eq!(fetched.body["details"]["provider"], "elevenlabs");
    server.post("/calls/x/transcript", Value::Null).await.refused(404);
    let agent = shown["agent_id"].as_str().unwrap();
    for query in [String::new(), format!("task_id={task}"), format!("agent_id={agent}"), "status=completed".to_owned()]
    {
        let listed = server.get(&format!("/calls?{query}")).await;
        assert_eq!(listed.data(200)[0]["id"], call, "{query}");
        assert_eq!(listed.body["meta"]["pagination"], json!({ "limit": 50, "offset": 0, "total": 1 }));
    }
    for query in ["status=failed", "status=initiated", "status=in_progress", &format!("task_id={agent}")] {
        assert_eq!(server.get(&format!("/calls?{query}")).await.data(200), &json!([]), "{query}");
    }
    for query in ["status=ended", "task_id=x", "agent_id=x", "limit=x"] {
        server.get(&format!("/calls?{query}")).await.refused(400);
    }
    server.carrier.when_dialled(&callee(), Answering::Refuses(Duration::ZERO, HangupCause::USER_BUSY));
    let task = server.task(agent, json!({})).await;
    let silent = server.execute(&task).await;
    server.until(&format!("/calls/{silent}"), |call| call["status"] == "failed").await;
    assert!(server.get(&format!("/calls/{silent}/transcript")).await.refused(404).contains("POST"));
    assert_eq!(server.get(&format!("/calls/{silent}/report")).await.data(200)["generated_by"], "rules");
    server.get(&format!("/calls/{silent}/recording")).await.refused(404);
}

#[tokio::test]
async fn vs_045_046_a10_a11_a_recording_is_linked_and_streamed() {
    let server = Server::vox().await;
    let (_, call) = server.talked().await;
    let linked = server.until(&format!("/calls/{call}/recording"), |_| true).await;
    assert_eq!(linked["content_type"], "audio/wav");
    assert!(linked["duration_seconds"].is_u64() && linked["expires_at"].is_string());
    let url = linked["recording_url"].as_str().unwrap().strip_prefix("http://server.example").unwrap();
    let whole = server.raw("GET", url, &[], Body::empty()).await;
    assert_eq!((whole.status.as_u16(), &whole.bytes[..4]), (200, &b"RIFF"[..]));
    let key = format!("Bearer {}", server.key(Dialect::VoxStack));
    let path = format!("/voxstack/api/v1/calls/{call}/recording/stream");
    let streamed = server.raw("GET", &path, &[("authorization", &key)], Body::empty()).await;
    assert_eq!((streamed.status.as_u16(), streamed.header("content-type")), (200, "audio/wav"));
    assert_eq!(streamed.bytes, whole.bytes);
    assert_eq!(streamed.header("content-length"), whole.bytes.len().to_string());
    let part = [("authorization", key.as_str()), ("range", "bytes=4-7")];
    let part = server.raw("GET", &path, &part, Body::empty()).await;
    assert_eq!((part.status.as_u16(), &part.bytes[..]), (206, &whole.bytes[4..8]));
    assert_eq!(part.header("content-range"), format!("bytes 4-7/{}", whole.bytes.len()));
    let behind = [("authorization", key.as_str()), ("range", "bytes=999999999-")];
    server.raw("GET", &path, &behind, Body::empty()).await.refused(400);
    server.raw("GET", &path, &[], Body::empty()).await.refused(401);
}

#[tokio::test]
async fn vs_048_049_050_a4_a_call_is_ended_or_called_off() {
    let server = Server::vox().await;
    for (order, status) in [("end", "completed"), ("cancel", "failed")] {
        let (task, call, callee) = server.talking().await;
        assert_eq!(server.get(&format!("/tasks/{task}")).await.data(200)["status"], "in_progress");
        let answer = server.post(&format!("/calls/{call}/{order}"), Value::Null).await;
        assert_eq!(answer.data(200)["status"], status);
        assert!(server.carrier.hung_up(&callee.leg).is_some());
        assert_eq!(server.get(&format!("/calls/{call}")).await.data(200)["status"], status);
        assert_eq!(server.get(&format!("/tasks/{task}")).await.data(200)["status"], status);
        for order in ["end", "cancel"] {
            server.post(&format!("/calls/{call}/{order}"), Value::Null).await.refused(400);
        }
        server.post(&format!("/calls/x/{order}"), Value::Null).await.refused(404);
    }
    server.carrier.when_dialled(&callee(), Answering::Rings);
    let task = server.task(&server.agent().await, json!({})).await;
    let call = server.execute(&task).await;
    assert_eq!(server.get(&format!("/calls/{call}")).await.data(200)["status"], "initiated");
    server.post(&format!("/calls/{call}/cancel"), Value::Null).await.data(200);
    assert_eq!(server.get(&format!("/tasks/{task}")).await.data(200)["status"], "failed");
}

#[tokio::test]
async fn vs_070_071_074_a_tasks_owner_hears_of_its_call() {
    let server = Server::vox().await;
    server.carrier.when_dialled(&callee(), Answering::Refuses(Duration::ZERO, HangupCause::USER_BUSY));
    let task = server.task(&server.agent().await, json!({ "webhook_url": "https://your-app.com/webhooks" })).await;
    let call = server.execute(&task).await;
    let told = || server.http.requests().iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
    let mut bodies: Vec<Value> = told();
    for _ in 0..1_000 {
        if bodies.len() >= 2 {
            break;
        }
        server.wait(10).await;
        bodies = told();
    }
    let events: Vec<_> = bodies.iter().map(|body| body["event_type"].as_str().unwrap()).collect();
    assert_eq!(events, ["call_started", "call_failed"]);
    assert!(bodies.iter().all(|body| body["task_id"] == json!(task) && body["call_id"] == json!(call)));
    assert_eq!((&bodies[0]["status"], &bodies[1]["status"]), (&json!("initiated"), &json!("failed")));
    assert!(bodies[1]["data"].as_object().unwrap().contains_key("report_excerpt"));
}

#[tokio::test]
async fn x18_what_is_another_tenants_is_not_there() {
    let server = Server::vox().await;
    let (_, keys) = server.stranger(Plan::Enterprise).await;
    let (task, call) = server.talked().await;
    let agent = server.get(&format!("/tasks/{task}")).await.data(200)["agent_id"].as_str().unwrap().to_owned();
    let stranger = &keys[&Dialect::VoxStack];
    for (method, path, body) in [
        ("GET", format!("/agents/{agent}"), Value::Null),
        ("PATCH", format!("/agents/{agent}"), json!({ "name": "Mine" })),
        ("DELETE", format!("/agents/{agent}"), Value::Null),
        ("GET", format!("/tasks/{task}"), Value::Null),
        ("PATCH", format!("/tasks/{task}"), json!({ "name": "Mine" })),
        ("DELETE", format!("/tasks/{task}"), Value::Null),
        ("POST", format!("/tasks/{task}/execute"), Value::Null),
        ("POST", format!("/tasks/{task}/reset"), Value::Null),
        ("POST", "/tasks".to_owned(), json!({ "agent_id": agent, "name": "x", "to_number": CALLEE })),
        ("GET", format!("/calls/{call}"), Value::Null),
        ("GET", format!("/calls/{call}/transcript"), Value::Null),
        ("POST", format!("/calls/{call}/transcript"), Value::Null),
        ("GET", format!("/calls/{call}/report"), Value::Null),
        ("GET", format!("/calls/{call}/recording"), Value::Null),
        ("GET", format!("/calls/{call}/recording/stream"), Value::Null),
        ("GET", format!("/calls/{call}/live"), Value::Null),
        ("POST", format!("/calls/{call}/end"), Value::Null),
        ("POST", format!("/calls/{call}/cancel"), Value::Null),
    ] {
        server.ask_as(Dialect::VoxStack, stranger, method, &path, body).await.refused(404);
    }
    for path in ["/agents", "/tasks", "/calls"] {
        let listed = server.ask_as(Dialect::VoxStack, stranger, "GET", path, Value::Null).await;
        assert_eq!(listed.data(200), &json!([]));
    }
}

#[tokio::test]
async fn the_api_is_described_whole() {
    let server = Server::vox().await;
    let document = server.raw("GET", "/openapi/voxstack.json", &[], Body::empty()).await.is(200).clone();
    let mut described: Vec<String> = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods =
            item.as_object().unwrap().keys().filter(|key| ["get", "post", "patch", "delete"].contains(&key.as_str()));
        described.extend(methods.map(|method| format!("{method} {path}")));
    }
    assert_eq!(described.len(), 36, "{described:#?}");
    for path in ["post /api/v1/tasks/{id}/execute", "get /ws/calls/{id}", "post /api/v1/api-keys/{id}/regenerate"] {
        assert!(described.iter().any(|known| known == path), "{path}");
    }
    // Nothing is named that is not there.
    let text = document.to_string();
    let names = text.match_indices("\"#/components/schemas/").map(|(at, begin)| &text[at + begin.len()..]);
    for name in names.map(|rest| rest.split('"').next().unwrap()) {
        assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
    }
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    assert!(schemes.contains_key("bearer") && schemes["session"]["name"] == "voxstack_session");
}
