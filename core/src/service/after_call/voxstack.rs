//! VoxStack's webhooks of a task (VS-070 to VS-074).

use serde_json::{Value, json};

use crate::call::{CallRecord, Speaker};
use crate::dialect::Dialect;
use crate::ids::TaskId;
use crate::service::analysis::Analysis;

/// Characters of the transcript and of the report that are told.
const EXCERPT_CHARS_MAX: usize = 500;

/// The body of `event` (VS-071).
pub(crate) fn body(event: &str, task: TaskId, call: &CallRecord, analysis: Option<&Analysis>) -> Value {
    let said = call.transcript.iter().map(|entry| {
        let speaker = match entry.speaker {
            Speaker::Agent => "agent",
            Speaker::Caller => "user",
        };
        format!("{speaker}: {}", entry.text)
    });
    let transcript = said.collect::<Vec<_>>().join("\n");
    let report = analysis.map(|analysis| analysis.summary.as_str()).unwrap_or_default();
    json!({
        "event_type": event,
        "task_id": task,
        "call_id": call.id,
        "status": Dialect::VoxStack.words(call).status,
        "data": { "transcript_excerpt": excerpt(&transcript), "report_excerpt": excerpt(report) },
    })
}

fn excerpt(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.chars().take(EXCERPT_CHARS_MAX).collect())
}
