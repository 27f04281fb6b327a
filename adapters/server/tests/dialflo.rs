//! Dialflo's API, item by item of its contract.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use axum::body::Body;
use offhook::dialect::Dialect;
use offhook::ids::{AgentId, TaskId};
use offhook::provider::telephony::HangupCause;
use offhook::service::tasks::{NewTask, TaskStatus};
use offhook::service::tenants::Plan;
use offhook_testkit::carrier::Answering;
use serde_json::{Value, json};
use support::{Answer, Server};

const TO: &str = "+918035736461";
const FROM: &str = "+918000000000";

impl Server {
    async fn get(&self, task: &str) -> Answer {
        self.ask(Dialect::Dialflo, "GET", &format!("/call_details/{task}"), Value::Null).await
    }

    async fn post(&self, body: Value) -> Answer {
        self.ask(Dialect::Dialflo, "POST", "/call", body).await
    }

    async fn task_over(&self, task: TaskId) {
        for _ in 0..2_000 {
            let task = self.engine.tasks().get(self.tenant, task).await.unwrap().unwrap();
            if !matches!(task.status, TaskStatus::InProgress | TaskStatus::Pending) {
                return;
            }
            self.wait(10).await;
        }
        panic!("the task does not end");
    }

    async fn refuses(&self, cause: HangupCause) -> AgentId {
        self.carrier.when_dialled(&TO.parse().unwrap(), Answering::Refuses(Duration::ZERO, cause));
        self.an_agent(|_| {}).await
    }
}

#[tokio::test]
async fn df_001_002_003_009_a9_a12_tokens_stand_in_a_header_of_their_own() {
    let server = Server::new().await;
    let token = format!("Bearer {}", server.key(Dialect::Dialflo));
    assert!(token.starts_with("Bearer df_"));
    let ask = async |name: &str, token: &str| {
        server.raw("GET", "/dialflo/call_details/x", &[(name, token)], Body::empty()).await
    };
    // X19
    for name in ["auth_token", "auth-token", "authorization"] {
        ask(name, &token).await.is(404);
    }
    let other = format!("Bearer {}", server.key(Dialect::Dialro));
    for (name, token) in
        [("auth_token", "Bearer x"), ("auth_token", &token[7..]), ("auth_token", &other), ("x-api-key", &token)]
    {
        let refused = ask(name, token).await;
        assert!(refused.is(401)["error"].is_string());
    }
    let (_, keys) = server.stranger(Plan::Starter).await;
    let mut refused = None;
    for _ in 0..90 {
        let answer =
            server.ask_as(Dialect::Dialflo, &keys[&Dialect::Dialflo], "GET", "/call_details/x", Value::Null).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    assert!(!refused.unwrap().header("retry-after").is_empty());
}

#[tokio::test]
async fn df_004_005_006_007_008_a1_a2_a3_a4_a5_a6_a7_a8_a11_a_call_is_wished_and_told() {
    let server = Server::new().await;
    let agent = server.refuses(HangupCause::USER_BUSY).await;
    let context = json!({ "name": "Ann", "order": { "id": 7 } });
    let body =
        json!({ "agent_name": "Maya", "to_number": "918035736461", "from_number": FROM, "call_context": context });
    let queued = server.post(body).await.is(200).clone();
    assert_eq!(queued["status"], "queued");
    let task = queued["task_id"].as_str().unwrap();
    server.task_over(task.parse().unwrap()).await;
    let told = server.get(task).await.is(200).clone();
    let [call] = &told.as_array().unwrap()[..] else { panic!("{told}") };
    assert_eq!((&call["agent_name"], &call["call_context"]), (&json!("Maya"), &context));
    assert_eq!((&call["from_number"], &call["to_number"]), (&json!("918000000000"), &json!("918035736461")));
    assert_eq!((&call["call_status"], &call["call_recording_url"]), (&json!("BUSY"), &json!("")));
    assert!(call["call_duration"].is_f64() && call["call_id"].is_string());
    let insights = &call["call_insights"];
    assert_eq!(insights["metadata"], json!({}));
    assert!(["Yes", "No", "Unclear"].contains(&insights["user_interest"]["status"].as_str().unwrap()));
    let score = insights["user_interest"]["confidence_score"].as_f64().unwrap();
    assert!((0.0..=100.0).contains(&score) && insights["user_interest"]["reasoning"].is_string());
    assert_eq!(insights["next_action"]["value"], "REDIAL");
    assert!(insights["next_action"]["reason"].is_string());
    let by_id = json!({ "agent_id": agent, "to_number": TO, "from_number": FROM });
    server.post(by_id).await.is(200);
}

#[tokio::test]
async fn df_a2_each_attempt_is_told_once_the_task_is_over() {
    let server = Server::new().await;
    let agent = server.refuses(HangupCause::NO_ANSWER).await;
    let mut wish = NewTask::new(agent, FROM.parse().unwrap(), TO.parse().unwrap());
    (wish.attempts_max, wish.retry_delay) = (2, Duration::from_millis(300));
    let task = server.engine.tasks().create(server.tenant, "a", wish).await.unwrap().id;
    assert_eq!(server.get(&task.to_string()).await.is(200), &json!([]));
    server.task_over(task).await;
    let told = server.get(&task.to_string()).await.is(200).clone();
    let status: Vec<_> = told.as_array().unwrap().iter().map(|call| call["call_status"].as_str().unwrap()).collect();
    assert_eq!(status, ["NO_ANSWER", "NO_ANSWER"]);
    let ids: Vec<_> = told.as_array().unwrap().iter().map(|call| call["call_id"].as_str().unwrap()).collect();
    assert!(ids[0] < ids[1], "the oldest comes first");
}

#[tokio::test]
async fn df_a10_the_recording_is_a_link_of_our_own_that_expires() {
    let server = Server::new().await;
    let agent = server.an_agent(|_| {}).await;
    server.carrier.when_dialled(&TO.parse().unwrap(), Answering::After(Duration::ZERO));
    let wish = NewTask::new(agent, FROM.parse().unwrap(), TO.parse().unwrap());
    let task = server.engine.tasks().create(server.tenant, "a", wish).await.unwrap().id;
    let callee = loop {
        if let Some(callee) = server.carrier.take_dialled() {
            break callee;
        }
        server.wait(10).await;
    };
    callee.sound(0xff, Duration::from_millis(500)).await;
    callee.hang_up(HangupCause::NORMAL_CLEARING);
    server.task_over(task).await;
    let told = server.get(&task.to_string()).await.is(200).clone();
    assert_eq!(told[0]["call_status"], "ANSWERED");
    let url = told[0]["call_recording_url"].as_str().unwrap();
    let path = url.strip_prefix("http://server.example").unwrap();
    let sound = server.raw("GET", path, &[], Body::empty()).await;
    assert_eq!((sound.status.as_u16(), &sound.bytes[..4]), (200, &b"RIFF"[..]));
    let part = server.raw("GET", path, &[("range", "bytes=0-3")], Body::empty()).await;
    assert_eq!((part.status.as_u16(), part.bytes.as_slice()), (206, &b"RIFF"[..]));
    assert_eq!(part.header("content-range"), format!("bytes 0-3/{}", sound.bytes.len()));
    let forged = path.replace("signature=", "signature=0");
    server.raw("GET", &forged, &[], Body::empty()).await.is(401);
}

#[tokio::test]
async fn df_a1_what_is_wrong_and_what_is_not_there_is_said() {
    let server = Server::new().await;
    let agent = server.an_agent(|_| {}).await;
    for (body, status) in [
        (json!({ "to_number": TO, "from_number": FROM }), 400),
        (json!({ "agent_id": agent, "from_number": FROM }), 400),
        (json!({ "agent_id": agent, "to_number": "x", "from_number": FROM }), 400),
        (json!({ "agent_id": agent, "to_number": TO }), 400),
        (json!({ "agent_id": agent, "to_number": TO, "from_number": FROM, "call_context": "x" }), 400),
        (json!({ "agent_id": "x", "to_number": TO, "from_number": FROM }), 404),
        (json!({ "agent_name": "Nobody", "to_number": TO, "from_number": FROM }), 404),
    ] {
        let answer = server.post(body).await;
        assert!(answer.is(status)["error"].is_string());
    }
    for task in ["x", "00000000-0000-0000-0000-000000000000"] {
        server.get(task).await.is(404);
    }
    let wish = NewTask::new(agent, FROM.parse().unwrap(), TO.parse().unwrap());
    let task = server.engine.tasks().create(server.tenant, "a", wish).await.unwrap().id;
    let (_, strangers) = server.stranger(Plan::Starter).await;
    let key = &strangers[&Dialect::Dialflo];
    server.ask_as(Dialect::Dialflo, key, "GET", &format!("/call_details/{task}"), Value::Null).await.is(404);
}
