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
        Event::CallAnswered(call) => answered(call),
        Event::CallEnded(call) => ended(call),
        Event::CallStarted(call) => started(call),
        Event::CallTranscript(call) => transcript(call),
        Event::CreditsLow(event) => credits_low(event),
        Event::FunctionCalled(call, index) => function(&call.record, *index),
        Event::WebhookTest(_) => json!({}),
    };
    json!({ "event": event.name().as_str(), "timestamp": at.to_string(), "data": data }).to_string()
}

/// With `did`, `calleeNumber` and `direction` (DR-079, DR-A3).
fn started(stored: &StoredCall) -> Value {
    let record = &stored.record;
    let mut data = call(stored);
    data["did"] = json!(record.to);
    data["agentId"] = agent_id(record);
    data
}

/// `startedAt` is the start of the call everywhere (DR-A4).
fn answered(stored: &StoredCall) -> Value {
    let record = &stored.record;
    let mut data = call(stored);
    data["agentId"] = agent_id(record);
    data["startedAt"] = moment(Some(record.started_at));
    data["answeredAt"] = moment(record.answered_at);
    data
}

fn ended(stored: &StoredCall) -> Value {
    let record = &stored.record;
    let words = Dialect::Dialro.words(record);
    let mut data = call(stored);
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
    data["transcriptSummary"] = summary(stored);
    data
}

/// With the words themselves (DR-A9).
fn transcript(stored: &StoredCall) -> Value {
    let record = &stored.record;
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
        "transcriptSummary": summary(stored),
    })
}

/// Known once the call was analysed, which the transcript waits for.
fn summary(stored: &StoredCall) -> Value {
    let summary = stored.analysis.as_ref().map(|analysis| analysis.summary.as_str());
    json!(summary.filter(|summary| !summary.is_empty()))
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
fn call(stored: &StoredCall) -> Value {
    let record = &stored.record;
    json!({
        "callId": call_id(record),
        "calleeNumber": record.to,
        "callerNumber": record.from,
        "direction": record.direction,
        "phoneNumberId": stored.number.map(|number| format!("pn_{number}")),
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
/// Milliseconds as minutes: whole where they can be (DR-064).
pub fn minutes(millis: i64) -> Value {
    if millis % MILLIS_PER_MINUTE == 0 {
        return json!(millis / MILLIS_PER_MINUTE);
    }
    // Exact as long as anybody's balance: 53 bits of milliseconds are 285,000 years.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let minutes = millis as f64 / MILLIS_PER_MINUTE as f64;
    json!(minutes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The call of the vendor's samples.
    fn sample() -> StoredCall {
        let stored = json!({
            "hold": null, "lease": null, "ledger": null, "legs": [],
            "record": {
                "id": "01980000-0000-7000-8000-000000000001",
                "tenant": "01980000-0000-7000-8000-000000000002",
                "agent": "01980000-0000-7000-8000-000000000003",
                "direction": "inbound", "from": "+628123456789", "to": "+6289502159000", "status": "completed",
                "started_at": 1_782_640_800_000_000_i64, "answered_at": 1_782_640_815_000_000_i64,
                "ended_at": 1_782_641_010_999_000_i64, "duration_ms": 210_999, "talk_time_ms": 195_999,
                "hangup_cause": 16, "hangup_party": "caller", "end_reason": "caller_hang_up", "answered_by": null,
                "transcript": [
                    { "at_ms": 1_500, "cut": true, "speaker": "agent", "text": "Halo, selamat" },
                    { "at_ms": 4_000, "cut": false, "speaker": "caller", "text": "Apakah saya ada janji besok?" },
                ],
                "turns": [], "barge_ins": [],
                "functions": [{
                    "name": "check_appointment", "parameters": { "phone": "+628123456789" },
                    "result": { "hasAppointment": true },
                }],
                "recording": null, "transfers": [], "variables": {},
            },
        });
        serde_json::from_value(stored).unwrap()
    }

    /// The body of `event`, whose envelope is as the vendor shows it (DR-072).
    fn told(event: Event<'_>, at: i64) -> Value {
        let body: Value = serde_json::from_str(&body(&event, Timestamp::from_unix_micros(at * 1_000_000))).unwrap();
        let fields: BTreeSet<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, BTreeSet::from(["data", "event", "timestamp"]));
        assert_eq!(body["event"], event.name().as_str());
        body
    }

    fn has(data: &Value, fields: &[&str]) {
        fields.iter().for_each(|field| assert!(data.get(field).is_some(), "{field} is missing in {data}"));
    }

    /// DR-071, DR-079, DR-A3
    #[test]
    fn call_started_has_what_the_table_names_and_its_direction() {
        let data = &told(Event::CallStarted(&sample()), 1_782_640_800)["data"];
        has(data, &["callId", "phoneNumberId", "callerNumber", "did"]);
        assert_eq!(data["callId"], "call_01980000-0000-7000-8000-000000000001");
        assert_eq!((&data["did"], &data["calleeNumber"]), (&json!("+6289502159000"), &json!("+6289502159000")));
        assert_eq!((&data["callerNumber"], &data["direction"]), (&json!("+628123456789"), &json!("inbound")));
    }

    /// DR-071, DR-A4
    #[test]
    fn call_answered_tells_the_start_of_the_call_and_the_moment_of_the_answer() {
        let data = &told(Event::CallAnswered(&sample()), 1_782_640_815)["data"];
        has(data, &["callId", "agentId", "startedAt"]);
        assert_eq!(data["agentId"], "agent_01980000-0000-7000-8000-000000000003");
        assert_eq!(data["startedAt"], "2026-06-28T10:00:00.000Z");
        assert_eq!(data["answeredAt"], "2026-06-28T10:00:15.000Z");
    }

    /// DR-052, DR-055, DR-071, DR-074, DR-A6
    #[test]
    fn call_ended_has_the_union_of_table_and_sample() {
        let body = told(Event::CallEnded(&sample()), 1_782_641_010);
        assert_eq!(body["timestamp"], "2026-06-28T10:03:30.000Z");
        let data = &body["data"];
        has(
            data,
            &[
                "callId",
                "phoneNumberId",
                "callerNumber",
                "calleeNumber",
                "durationSeconds",
                "talkTimeSeconds",
                "hangupReason",
                "hangupInitiator",
                "transcriptSummary",
                "aiCostIdr",
            ],
        );
        assert_eq!((&data["durationSeconds"], &data["talkTimeSeconds"]), (&json!(210), &json!(195)));
        assert_eq!((&data["hangupReason"], &data["hangupInitiator"]), (&json!("normal"), &json!("caller")));
        assert_eq!(data["status"], "ended");
        assert!(data["aiCostIdr"].is_null() && data["transcriptSummary"].is_null(), "nobody worked them out");
    }

    /// DR-071, DR-A9
    #[test]
    fn call_transcript_has_the_words_beside_their_summary() {
        let mut call = sample();
        call.analysis = serde_json::from_value(json!({
            "by": "rules", "data": {}, "disposition": null, "insights": null, "summary": "Asked about tomorrow.",
        }))
        .unwrap();
        let data = &told(Event::CallTranscript(&call), 1_782_641_011)["data"];
        assert_eq!(data["transcriptSummary"], "Asked about tomorrow.");
        assert_eq!(told(Event::CallEnded(&call), 0)["data"]["transcriptSummary"], "Asked about tomorrow.");
        assert_eq!(
            data["transcript"],
            json!([
                { "role": "agent", "text": "Halo, selamat", "atMs": 1_500, "interrupted": true },
                { "role": "caller", "text": "Apakah saya ada janji besok?", "atMs": 4_000, "interrupted": false },
            ])
        );
    }

    /// DR-071, DR-094
    #[test]
    fn function_called_has_parameters_and_result() {
        let data = &told(Event::FunctionCalled(&sample(), 0), 1_782_640_900)["data"];
        let expected = json!({
            "callId": "call_01980000-0000-7000-8000-000000000001",
            "functionName": "check_appointment",
            "parameters": { "phone": "+628123456789" },
            "result": { "hasAppointment": true },
        });
        assert_eq!(*data, expected);
    }

    /// DR-071
    #[test]
    fn minutes_are_whole_where_they_can_be() {
        assert_eq!(minutes(2_850 * 60_000).to_string(), "2850");
        assert_eq!(minutes(90_000).to_string(), "1.5");
        assert_eq!(minutes(-30_000).to_string(), "-0.5");
    }
}
