//! Spans travel together, and a collector that fails is in nobody's way.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use offhook::provider::transport::HttpRequest;
use offhook::runtime::Runtime;
use offhook::time::Timestamp;
use offhook::trace::{Span, SpanKind};
use offhook::{Error, ErrorKind, Result};
use offhook_otel::{Collector, exporter};
use offhook_testkit::runtime::VirtualRuntime;
use offhook_testkit::script::ScriptedHttp;

#[test]
fn spans_travel_together() {
    let told = export(|_| Ok((200, String::new())), &[600, 3]);
    let [first, second, third] = &told.requests[..] else { panic!("{:?}", told.requests) };
    // As many as fit, the rest, and those that came later.
    assert!(first.body.len() > 5 * second.body.len() && second.body.len() > 10 * third.body.len());
    assert_eq!(first.url, "http://collector.example/v1/traces");
    assert_eq!(first.headers, [("content-type".to_owned(), "application/x-protobuf".to_owned())]);
}

#[test]
fn what_is_refused_for_now_is_tried_again_and_what_is_refused_is_not() {
    for (status, tries) in [(503, 3), (429, 3), (400, 1), (404, 1)] {
        assert_eq!(export(move |_| Ok((status, String::new())), &[1]).requests.len(), tries, "{status}");
    }
}

#[test]
fn a_collector_out_of_reach_holds_up_nobody() {
    let away = |_: &HttpRequest| Err(Error::new(ErrorKind::Unavailable, "http.send", "nobody is there"));
    let told = export(away, &[10_000]);
    assert!(told.taken < 10_000, "what waits is bounded");
    assert!(told.requests.len() > 3, "it goes on with the next batch");
}

struct Told {
    requests: Vec<HttpRequest>,
    /// Spans for which there was room.
    taken: usize,
}

/// Sends so many spans at a time, then closes the channel.
fn export(answer: impl Fn(&HttpRequest) -> Result<(u16, String)> + Send + Sync + 'static, portions: &[usize]) -> Told {
    let runtime = VirtualRuntime::new(3);
    let http = ScriptedHttp::new(answer);
    let taken = runtime.block_on(async {
        let collector = Collector::at("http://collector.example").unwrap();
        let (spans, exporter) = exporter(collector, Arc::new(runtime.clone()), Arc::new(http.clone()));
        runtime.spawn("exporter", Box::pin(exporter.run()));
        let mut taken = 0;
        for portion in portions {
            taken += (0..*portion).filter(|_| spans.try_send(span()).is_ok()).count();
            runtime.sleep(Duration::from_secs(60)).await;
        }
        spans.close();
        runtime.sleep(Duration::from_secs(60)).await;
        taken
    });
    Told { requests: http.requests(), taken }
}

fn span() -> Span {
    let moment = Timestamp::from_unix_micros(1_780_000_000_000_000);
    Span {
        attributes: vec![("gen_ai.operation.name", "chat".into())],
        begin: moment,
        end: moment + Duration::from_secs(1),
        events: vec![("first_token", moment)],
        failure: None,
        id: [1; 8],
        kind: SpanKind::Llm,
        parent: Some([2; 8]),
        trace: [3; 16],
    }
}
