//! Our own form of an event: `{"type", "timestamp", "data"}`, as Standard Webhooks recommends.

use serde_json::{Value, json};

use super::event::Event;
use crate::call::CallRecord;
use crate::service::calls::StoredCall;
use crate::time::Timestamp;

/// The body of `event`, which happened at `at`.
pub(super) fn body(event: &Event<'_>, at: Timestamp) -> String {
    let data = match event {
        Event::CallAnswered(call) | Event::CallStarted(call) => json!({ "call": shown(&call.record) }),
        Event::CallEnded(call) => ended(call),
        Event::CallTranscript(call) => json!({
            "call_id": call.record.id,
            "summary": call.analysis.as_ref().map(|analysis| &analysis.summary),
            "transcript": call.record.transcript,
        }),
        Event::CreditsLow(event) => json!({
            "balance": event.balance,
            "threshold": event.threshold,
            "unit": event.unit,
        }),
        Event::FunctionCalled(call, index) => {
            let function = call.record.functions.get(*index);
            json!({
                "call_id": call.record.id,
                "function": function.map(|function| &function.name),
                "parameters": function.map(|function| &function.parameters),
                "result": function.map(|function| &function.result),
            })
        }
        Event::WebhookTest(_) => json!({}),
    };
    json!({ "type": event.name().as_str(), "timestamp": at.to_string(), "data": data }).to_string()
}

fn ended(call: &StoredCall) -> Value {
    let mut data = json!({ "call": shown(&call.record) });
    data["costs"] = serde_json::to_value(&call.costs).unwrap_or_default();
    if let Some(ledger) = &call.ledger {
        data["ledger"] = serde_json::to_value(ledger).unwrap_or_default();
    }
    data
}

/// The record, its moments in RFC 3339.
fn shown(record: &CallRecord) -> Value {
    let mut call = serde_json::to_value(record).unwrap_or_default();
    for (field, moment) in
        [("started_at", Some(record.started_at)), ("answered_at", record.answered_at), ("ended_at", record.ended_at)]
    {
        call[field] = moment.map_or(Value::Null, |moment| Value::String(moment.to_string()));
    }
    call
}
