//! Dialro's form of an event: `{"event", "timestamp", "data"}` in camel case (DR-071, DR-072, DR-074).
//!
//! Where the vendor shows two payloads for one event, the union is told (DR-A6).

use serde_json::{Value, json};

use super::event::{CreditsLow, Event};
use crate::billing::Unit;
use crate::call::CallRecord;
use crate::call::Speaker;
use crate::dialect::Dialect;
use crate::service::calls::StoredCall;
use crate::time::Timestamp;

const MILLIS_PER_MINUTE: i64 = 60_000;

/// The body of `event`, which happened at `at`.
pub(super) fn body(event: &Event<'_>, at: Timestamp) -> String {
    let data = match event {
        Event::CallAnswered(call) => answered(&call.record),
        Event::CallEnded(call) => ended(call),
        Event::CallStarted(call) => started(&call.record),
        Event::CallTranscript(call) => transcript(&call.record),
        Event::CreditsLow(event) => credits_low(event),
        Event::FunctionCalled(call, index) => function(&call.record, *index),
        Event::WebhookTest(_) => json!({}),
    };
    json!({ "event": event.name().as_str(), "timestamp": at.to_string(), "data": data }).to_string()
}

/// With `did`, `calleeNumber` and `direction` (DR-079, DR-A3).
fn started(record: &CallRecord) -> Value {
    let mut data = call(record);
    data["did"] = json!(record.to);
    data["agentId"] = agent_id(record);
    data
}

/// `startedAt` is the start of the call everywhere (DR-A4).
fn answered(record: &CallRecord) -> Value {
    let mut data = call(record);
    data["agentId"] = agent_id(record);
    data["startedAt"] = moment(Some(record.started_at));
    data["answeredAt"] = moment(record.answered_at);
    data
}

fn ended(stored: &StoredCall) -> Value {
    let record = &stored.record;
    let words = Dialect::Dialro.words(record);
    let mut data = call(record);
    data["agentId"] = agent_id(record);
    data["aiCostIdr"] = json!(stored.cost("IDR").map(|cost| cost.whole));
    data["answeredAt"] = moment(record.answered_at);
    data["durationSeconds"] = json!(record.duration_ms / 1_000);
    data["endedAt"] = moment(record.ended_at);
    data["hangupInitiator"] = json!(words.party);
    data["hangupReason"] = json!(words.reason);
    data["startedAt"] = moment(Some(record.started_at));
    data["status"] = json!(words.status);
    data["talkTimeSeconds"] = json!(record.talk_time_ms / 1_000);
    data["transcriptSummary"] = Value::Null;
    data
}

/// With the words themselves (DR-A9).
fn transcript(record: &CallRecord) -> Value {
    let entry = |entry: &crate::call::TranscriptEntry| {
        let role = match entry.speaker {
            Speaker::Agent => "agent",
            Speaker::Caller => "caller",
        };
        json!({ "role": role, "text": entry.text, "atMs": entry.at_ms, "interrupted": entry.cut })
    };
    json!({
        "callId": call_id(record),
        "transcript": record.transcript.iter().map(entry).collect::<Vec<_>>(),
        "transcriptSummary": null,
    })
}

/// A tenant that is billed in money has no minutes.
fn credits_low(event: &CreditsLow) -> Value {
    match event.unit {
        Unit::Money(currency) => json!({
            "balanceMicros": event.balance,
            "balanceMinutes": null,
            "currency": currency,
            "thresholdMicros": event.threshold,
        }),
        Unit::Time => json!({ "balanceMinutes": minutes(event.balance), "threshold": minutes(event.threshold) }),
    }
}

fn function(record: &CallRecord, index: usize) -> Value {
    let function = record.functions.get(index);
    json!({
        "callId": call_id(record),
        "functionName": function.map(|function| &function.name),
        "parameters": function.map(|function| &function.parameters),
        "result": function.map(|function| &function.result),
    })
}

/// What every event of a call bears.
fn call(record: &CallRecord) -> Value {
    json!({
        "callId": call_id(record),
        "calleeNumber": record.to,
        "callerNumber": record.from,
        "direction": record.direction,
        "phoneNumberId": null,
    })
}

fn call_id(record: &CallRecord) -> String {
    format!("call_{}", record.id)
}

fn agent_id(record: &CallRecord) -> Value {
    Value::String(format!("agent_{}", record.agent))
}

fn moment(moment: Option<Timestamp>) -> Value {
    moment.map_or(Value::Null, |moment| Value::String(moment.to_string()))
}

/// A whole number where it is one.
fn minutes(millis: i64) -> Value {
    if millis % MILLIS_PER_MINUTE == 0 {
        return json!(millis / MILLIS_PER_MINUTE);
    }
    // Exact as long as anybody's balance: 53 bits of milliseconds are 285,000 years.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let minutes = millis as f64 / MILLIS_PER_MINUTE as f64;
    json!(minutes)
}
