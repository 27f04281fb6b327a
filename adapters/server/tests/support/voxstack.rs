//! What the tests of VoxStack's API share.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::time::Duration;

use offhook::dialect::Dialect;
use offhook::engine::Settings;
use offhook::provider::telephony::{E164, HangupCause};
use offhook_server::Options;
use offhook_testkit::carrier::{Answering, Caller};
use serde_json::{Value, json};

use crate::support::{Answer, Server};

/// Whom the tests call.
pub(crate) const CALLEE: &str = "+14155550123";

/// What they call from.
pub(crate) const CALLER_ID: &str = "+14155550100";

/// In mu-law.
pub(crate) const SILENCE: u8 = 0xff;

impl Server {
    pub(crate) async fn vox() -> Self {
        Self::vox_with(|_| {}).await
    }

    pub(crate) async fn vox_with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::with(options(), change).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Dialect::VoxStack, "GET", path, Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Dialect::VoxStack, "POST", path, body).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.ask(Dialect::VoxStack, "PATCH", path, body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask(Dialect::VoxStack, "DELETE", path, Value::Null).await
    }

    pub(crate) async fn agent(&self) -> String {
        let agent =
            json!({ "name": "Ann", "system_prompt": "You help.", "starting_message": "Hello {{customer_name}}." });
        self.agent_of(agent).await
    }

    /// An agent that takes whoever answers for a person at once.
    pub(crate) async fn agent_of(&self, agent: Value) -> String {
        let id = self.post("/agents", agent).await.data(201)["id"].as_str().unwrap().to_owned();
        let at_once = |agent: &mut offhook::service::agents::Agent| {
            agent.policy.screening = None;
            Ok(())
        };
        self.engine.agents().update(self.tenant, id.parse().unwrap(), at_once).await.unwrap();
        id
    }

    pub(crate) async fn task(&self, agent: &str, more: Value) -> String {
        let mut task = json!({ "agent_id": agent, "name": "Call customer", "to_number": CALLEE });
        task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.post("/tasks", task).await.data(201)["id"].as_str().unwrap().to_owned()
    }

    /// Places a task's call.
    pub(crate) async fn execute(&self, task: &str) -> String {
        let executed = self.post(&format!("/tasks/{task}/execute"), Value::Null).await;
        let executed = executed.data(200);
        assert_eq!(executed["message"], "Call initiated");
        executed["call_id"].as_str().unwrap().to_owned()
    }

    /// Places the call of a new task and waits until it talks.
    pub(crate) async fn talking(&self) -> (String, String, Caller) {
        self.carrier.when_dialled(&callee(), Answering::After(Duration::ZERO));
        let task = self.task(&self.agent().await, json!({ "context_data": { "customer_name": "John" } })).await;
        let call = self.execute(&task).await;
        self.until(&format!("/calls/{call}"), |call| call["status"] == "in_progress").await;
        let callee = self.carrier.take_dialled().unwrap();
        (task, call, callee)
    }

    /// A call that was talked and is over.
    pub(crate) async fn talked(&self) -> (String, String) {
        let (task, call, callee) = self.talking().await;
        self.until(&format!("/calls/{call}/live"), |_| true).await;
        callee.sound(SILENCE, Duration::from_millis(1_200)).await;
        callee.hang_up(HangupCause::NORMAL_CLEARING);
        self.until(&format!("/tasks/{task}"), |task| task["status"] != "in_progress").await;
        (task, call)
    }

    /// Asks until the data is so.
    pub(crate) async fn until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..1_000 {
            let answer = self.get(path).await;
            if answer.status == 200 && is_so(&answer.body["data"]) {
                return answer.body["data"].clone();
            }
            self.wait(10).await;
        }
        panic!("{path} never came to be so: {}", self.get(path).await.body);
    }
}

impl Answer {
    /// The data of an answer of that status, in its envelope (VS-003).
    pub(crate) fn data(&self, status: u16) -> &Value {
        let body = self.is(status);
        assert_eq!(body["success"], true);
        self.meta();
        &body["data"]
    }

    /// The message of a refusal, in its envelope (VS-004).
    pub(crate) fn refused(&self, status: u16) -> &str {
        let body = self.is(status);
        assert_eq!(body["success"], false, "{body}");
        assert!(body["details"].is_object() && body.get("data").is_none());
        self.meta();
        body["error"].as_str().unwrap()
    }

    fn meta(&self) {
        let meta = &self.body["meta"];
        let timestamp = meta["timestamp"].as_str().unwrap();
        assert!(timestamp.ends_with('Z') && timestamp.len() == "2024-01-01T00:00:00.000Z".len(), "{timestamp}");
        timestamp.parse::<offhook::time::Timestamp>().unwrap();
        assert_eq!(meta["request_id"].as_str().unwrap(), self.header("x-request-id"));
        meta["request_id"].as_str().unwrap().parse::<uuid::Uuid>().unwrap();
        assert_eq!(self.header("content-type"), "application/json");
    }
}

pub(crate) fn callee() -> E164 {
    CALLEE.parse().unwrap()
}

/// A server that has a number to call from.
pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.caller_id = Some(CALLER_ID.parse().unwrap());
    options
}
