//! The model against the mock server: what it says, and how it fails.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod support;

use std::time::Duration;

use futures_util::StreamExt;
use offhook::provider::Llm;
use offhook::provider::llm::{FinishReason, LlmEvent, LlmRequest, Message};
use offhook::{Error, ErrorKind, Retry};
use offhook_openai::{ApiKey, OpenAi};
use offhook_testkit::aimock::KEY;
use serde_json::{Value, json};
use support::{Server, check_appointment, clinic, model, question};

const SECRET: &str = "+628123456789";

async fn ask(model: &OpenAi, request: LlmRequest) -> (Vec<LlmEvent>, Option<Error>) {
    let mut answer = match model.generate(request).await {
        Ok(answer) => answer,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut events = Vec::new();
    while let Some(event) = answer.next().await {
        match event {
            Ok(event) => events.push(event),
            Err(error) => {
                assert!(answer.next().await.is_none(), "something came after the error");
                return (events, Some(error));
            }
        }
    }
    (events, None)
}

fn text(events: &[LlmEvent]) -> String {
    let piece = |event: &LlmEvent| match event {
        LlmEvent::Text(text) => Some(text.clone()),
        _ => None,
    };
    events.iter().filter_map(piece).collect()
}

/// How the answer to a question fails that the server meets with `response` and `options`.
async fn failure(response: Value, options: &[&str]) -> Error {
    let server = Server::start(&json!([{"match": {"userMessage": SECRET}, "response": response}]), options);
    let (_, error) = ask(&server.model(), question(SECRET)).await;
    let error = error.expect("the answer came");
    assert!(!format!("{error} {error:?}").contains(SECRET) && !format!("{error:?}").contains(KEY), "{error:?}");
    error
}

fn context<'a>(error: &'a Error, name: &str) -> Option<&'a str> {
    error.context().iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
}

#[tokio::test]
async fn text_comes_in_pieces_with_its_usage() {
    let server = Server::start(
        &json!([{
            "match": {"userMessage": "hours"},
            "response": {"content": "From nine to five.", "usage": {"prompt_tokens": 21, "completion_tokens": 6}},
            "chunkSize": 6,
        }]),
        &[],
    );
    let (events, error) = ask(&server.model(), question("hours")).await;
    let pieces = ["From n", "ine to", " five."].map(|piece| LlmEvent::Text(piece.into()));
    let usage = LlmEvent::Usage { cached_tokens: 0, input_tokens: 21, output_tokens: 6 };
    let finished = LlmEvent::Finished { reason: FinishReason::Stop };
    assert_eq!(events, [&pieces[..], &[usage, finished]].concat());
    assert!(error.is_none());
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_is_spoken() {
    let server = Server::start(&clinic(), &[]);
    let model = server.model();
    let mut request = question("When is my appointment?").with_tools(vec![check_appointment()]);
    let (events, _) = ask(&model, request.clone()).await;
    let [LlmEvent::ToolCall(call), LlmEvent::Usage { .. }, LlmEvent::Finished { reason }] = &events[..] else {
        panic!("unexpected {events:?}");
    };
    assert_eq!((call.name.as_str(), call.arguments.as_str()), ("check_appointment", "{\"day\":\"Monday\"}"));
    assert_eq!(*reason, FinishReason::ToolCalls);
    request.messages.push(Message::Assistant { text: String::new(), tool_calls: vec![call.clone()] });
    request.messages.push(Message::Tool { call_id: call.id.clone(), content: "at half past nine".into() });
    let (events, error) = ask(&model, request).await;
    assert_eq!(text(&events), "You are expected at half past nine.");
    assert!(error.is_none());
}

#[tokio::test]
async fn text_and_several_calls_come_in_one_answer() {
    let server = Server::start(
        &json!([{
            "match": {"userMessage": "both"},
            "response": {"content": "One moment.", "toolCalls": [
                {"id": "call_a", "name": "check_appointment", "arguments": "{\"day\":\"Monday\"}"},
                {"id": "call_b", "name": "check_appointment", "arguments": "{\"day\":\"Friday, after nine in the morning\"}"},
            ]},
        }]),
        &["--chunk-size", "3"],
    );
    let (events, _) = ask(&server.model(), question("both").with_tools(vec![check_appointment()])).await;
    assert_eq!(text(&events), "One moment.");
    let calls: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            LlmEvent::ToolCall(call) => Some((call.id.as_str(), call.arguments.as_str())),
            _ => None,
        })
        .collect();
    let expected = [("call_a", "{\"day\":\"Monday\"}"), ("call_b", "{\"day\":\"Friday, after nine in the morning\"}")];
    assert_eq!(calls, expected);
}

#[tokio::test]
async fn an_answer_that_breaks_off_keeps_what_was_said_and_fails() {
    let whole = "From nine to five, and on Saturdays from ten.";
    let fixtures = json!([{
        "match": {"userMessage": "hours"}, "response": {"content": whole},
        "chunkSize": 5, "latency": 50, "truncateAfterChunks": 5,
    }]);
    let server = Server::start(&fixtures, &[]);
    let (events, error) = ask(&server.model(), question("hours")).await;
    let said = text(&events);
    assert!(!said.is_empty() && said.len() < whole.len() && whole.starts_with(&said), "{said:?}");
    assert!(!events.iter().any(|event| matches!(event, LlmEvent::Finished { .. })));
    assert_eq!(error.expect("the answer ended well").kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn an_answer_that_stalls_times_out() {
    let fixtures = json!([{
        "match": {"userMessage": "hours"}, "response": {"content": "From nine to five."}, "chunkSize": 5, "latency": 30_000,
    }]);
    let server = Server::start(&fixtures, &[]);
    let hasty = model(server.config().with_timeout(Duration::from_millis(300)));
    let (_, error) = ask(&hasty, question("hours")).await;
    assert_eq!(error.expect("the answer came").kind(), ErrorKind::TimedOut);
}

#[tokio::test]
async fn refusals_become_kinds() {
    let limited = json!({"error": {"message": format!("slow down, {SECRET}"), "type": "rate_limit_error",
        "code": "rate_limit_exceeded"}, "status": 429, "retryAfter": 7});
    let error = failure(limited, &[]).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::RateLimited, Retry::Later));
    assert_eq!(context(&error, "retry_after_s"), Some("7"));
    assert_eq!(context(&error, "code"), Some("rate_limit_exceeded"));

    for (status, kind) in [
        (400, ErrorKind::Rejected),
        (403, ErrorKind::PermissionDenied),
        (404, ErrorKind::NotFound),
        (500, ErrorKind::Unavailable),
    ] {
        let refused = json!({"error": {"message": SECRET, "type": "some_error"}, "status": status});
        let error = failure(refused, &[]).await;
        assert_eq!((error.kind(), context(&error, "type")), (kind, Some("some_error")), "{status}");
    }
}

#[tokio::test]
async fn chaos_becomes_errors() {
    let response = json!({"content": "never said"});
    for (chaos, kind) in [
        ("--chaos-drop", ErrorKind::Unavailable),
        ("--chaos-disconnect", ErrorKind::Unavailable),
        ("--chaos-ratelimit", ErrorKind::RateLimited),
        ("--chaos-malformed", ErrorKind::Unexpected),
    ] {
        let error = failure(response.clone(), &[chaos, "1"]).await;
        assert_eq!(error.kind(), kind, "{chaos}: {error:?}");
    }
}

#[tokio::test]
async fn a_wrong_key_is_told_at_warm_up_and_at_the_question() {
    let server = Server::start(&clinic(), &[]);
    server.model().warm_up().await.unwrap();
    let wrong = model(server.config().with_api_key(ApiKey::new("sk-wrong")));
    assert_eq!(wrong.warm_up().await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    let (_, error) = ask(&wrong, question("What are your opening hours?")).await;
    let error = error.expect("the answer came");
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(!format!("{error:?}").contains("sk-wrong"));
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable() {
    let server = Server::start(&clinic(), &[]);
    let model = server.model();
    drop(server);
    assert_eq!(model.warm_up().await.unwrap_err().kind(), ErrorKind::Unavailable);
    let (_, error) = ask(&model, question("anyone?")).await;
    assert_eq!(error.expect("the answer came").kind(), ErrorKind::Unavailable);
}
