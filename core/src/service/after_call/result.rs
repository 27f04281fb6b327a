//! VoxCore's result of a call, and the values that its key mappers can name.

use serde_json::{Map, Value, json};

use super::Facts;
use crate::call::record::{EndReason, TransferOutcome};
use crate::call::{CallRecord, Speaker};
use crate::dialect::Dialect;
use crate::service::analysis::Analysis;
use crate::service::clock;
use crate::time::Timestamp;

/// The whole result (FL-043, FL-048).
pub(super) fn result(facts: &Facts<'_>) -> Value {
    let call = facts.call;
    json!({
        "session_id": call.id,
        "caller_id": customer(call),
        "call_duration_seconds": seconds(call),
        "disconnected_by": Dialect::VoxCore.words(call).status,
        "transcript": transcript(call),
        "recording_url": facts.recording_url,
        "post_call_analysis": analysis(facts.analysis),
    })
}

/// What a key mapper can name: the namespaces `call`, `crm`, `system`, `result`, `analysis` and `qc` (FL-034, FL-035), and
/// beside them every name of `system`, `crm` and `call`, in that order of precedence.
pub(super) fn values(facts: &Facts<'_>) -> Value {
    let namespace = |name: &str| facts.values.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
    let analysis = analysis(facts.analysis);
    let result = results(facts, &analysis);
    let crm = namespace("crm");
    let mut call = namespace("call");
    // Both the earlier and the later names (FL-049).
    for (alias, name) in [("duration", "call_duration_seconds"), ("recording_url", "recording_url")] {
        call.insert(alias.to_owned(), result[name].clone());
    }
    let system = clock::system(facts.now, &facts.zone);
    let mut all = Map::new();
    for names in [&call, &crm, &system] {
        all.extend(names.clone());
    }
    let qc = quality(facts.analysis);
    let namespaces: [(&str, Map<String, Value>); 6] =
        [("analysis", analysis), ("call", call), ("crm", crm), ("qc", qc), ("result", result), ("system", system)];
    all.extend(namespaces.map(|(name, values)| (name.to_owned(), Value::Object(values))));
    // A namespace of the owner's own stands beside them.
    for (name, values) in facts.values {
        all.entry(name.clone()).or_insert_with(|| values.clone());
    }
    Value::Object(all)
}

fn results(facts: &Facts<'_>, analysis: &Map<String, Value>) -> Map<String, Value> {
    let call = facts.call;
    let ended = Dialect::VoxCore.words(call).status;
    let moment = |moment: Option<Timestamp>| moment.map(|moment| facts.zoned(moment, "%Y-%m-%d %H:%M:%S%:z"));
    let transfer = call.transfers.last();
    let was_transferred = call.transfers.iter().any(|transfer| transfer.outcome == TransferOutcome::Completed);
    let failed = transfer.and_then(|transfer| match transfer.outcome {
        TransferOutcome::Failed { cause } => Some(cause.to_string()),
        TransferOutcome::Abandoned => Some("abandoned".to_owned()),
        TransferOutcome::Completed => None,
    });
    let transferred_at = transfer.map(|transfer| call.started_at + std::time::Duration::from_millis(transfer.at_ms));
    let result = json!({
        "call_id": call.id,
        "session_id": call.id,
        "caller_id": customer(call),
        "recording_url": facts.recording_url,
        "call_duration_seconds": seconds(call),
        "disconnected_by": ended,
        "disposition": analysis.get("DISPOSITION").cloned().unwrap_or_else(|| json!(coarse(ended))),
        "remarks": analysis.get("CALLING_REMARKS"),
        "start_time": moment(Some(call.started_at)),
        "answer_time": moment(call.answered_at),
        "end_time": moment(call.ended_at),
        "transcript": Value::Array(transcript(call)).to_string(),
        "was_transferred": if was_transferred { "yes" } else { "no" },
        "transfer_destination": transfer.filter(|_| was_transferred).map(|transfer| &transfer.target),
        "transfer_target": transfer.map(|transfer| &transfer.target),
        "transfer_reason": transfer.filter(|_| call.end_reason == Some(EndReason::Transferred)).map(|_| "handed over"),
        "transfer_method": transfer.map(|transfer| &transfer.mode),
        "transfer_at": moment(transferred_at),
        "transfer_failed_reason": failed,
    });
    let Value::Object(result) = result else { return Map::new() };
    result
}

/// What the model found out, and the label that stands for the call where a rule sets it (FL-045).
fn analysis(analysis: &Analysis) -> Map<String, Value> {
    let mut all = analysis.data.clone();
    if !analysis.summary.is_empty() {
        all.entry("summary").or_insert_with(|| json!(analysis.summary));
    }
    if let Some(label) = &analysis.disposition {
        all.insert("DISPOSITION".to_owned(), json!(label.disposition));
        all.insert("SUB_DISPOSITION".to_owned(), json!(label.sub_disposition));
        all.insert("CALLING_REMARKS".to_owned(), json!(label.remarks));
    }
    all
}

/// How well the agent did, where that was judged (FL-034).
fn quality(analysis: &Analysis) -> Map<String, Value> {
    let quality = analysis.quality.as_ref().and_then(|quality| serde_json::to_value(quality).ok());
    match quality {
        Some(Value::Object(quality)) => quality,
        _ => Map::new(),
    }
}

/// FL-046
fn coarse(disconnected_by: &str) -> &'static str {
    match disconnected_by {
        "bot" | "customer" | "timeout" => "Connected",
        "error" => "Failed",
        _ => "Unknown",
    }
}

fn transcript(call: &CallRecord) -> Vec<Value> {
    let entry = |entry: &crate::call::TranscriptEntry| {
        let speaker = match entry.speaker {
            Speaker::Agent => "bot",
            Speaker::Caller => "customer",
        };
        let at = call.started_at + std::time::Duration::from_millis(entry.at_ms);
        json!({ "speaker": speaker, "text": entry.text, "timestamp": at.to_string() })
    };
    call.transcript.iter().map(entry).collect()
}

/// The customer's number, also where the customer was called (FL-A6).
pub(super) fn customer(call: &CallRecord) -> Option<&crate::provider::telephony::E164> {
    match call.direction {
        crate::call::record::Direction::Inbound => call.from.as_ref(),
        crate::call::record::Direction::Outbound => call.to.as_ref(),
    }
}

fn seconds(call: &CallRecord) -> Value {
    // Milliseconds in a call are few enough to be exact.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let seconds = call.duration_ms as f64 / 1_000.0;
    json!(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fl_046_the_coarse_label_says_whether_somebody_was_reached() {
        for (ended, label) in [
            ("customer", "Connected"),
            ("bot", "Connected"),
            ("timeout", "Connected"),
            ("error", "Failed"),
            ("voicemail", "Unknown"),
            ("RNR", "Unknown"),
            ("no_answer", "Unknown"),
        ] {
            assert_eq!(coarse(ended), label, "{ended}");
        }
    }
}
