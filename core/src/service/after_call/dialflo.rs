//! Dialflo's post-call webhook (DF-020).

use serde_json::{Map, Value, json};

use super::Facts;
use crate::call::record::Direction;
use crate::dialect::Dialect;
use crate::ids::AgentId;
use crate::provider::telephony::E164;
use crate::service::analysis::{Insights, Judgement};
use crate::time::Timestamp;

/// Bits of an integer that every JSON reader keeps exact (RFC 8259, section 6).
const EXACT_BITS: u32 = 53;

/// The body.
pub(super) fn body(facts: &Facts<'_>) -> Value {
    let call = facts.call;
    let insights = facts.analysis.insights.clone().unwrap_or_else(|| facts.insights_by_rules());
    let moment = |moment: Option<Timestamp>| moment.map(|moment| facts.zoned(moment, "%Y-%m-%d %H:%M:%S%:z"));
    json!({
        "call_id": call.id,
        "task_id": call.task,
        "agent_id": integer(call.agent),
        "agent_name": facts.agent_name,
        "call_insights": told(&insights, &facts.analysis.data),
        "call_recording_url": facts.recording_url,
        "from_number": call.from.as_ref().map(digits),
        "to_number": call.to.as_ref().map(digits),
        "call_status": Dialect::Dialflo.words(call).status,
        "call_duration": call.duration_ms / 1_000,
        "answer_time": moment(call.answered_at),
        "end_time": moment(call.ended_at),
        "call_direction": match call.direction {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        },
        "call_triggered": call.direction == Direction::Outbound,
        "call_quality": {
            "user_engagement": judgement(&insights.user_engagement),
            "user_satisfaction": judgement(&insights.user_satisfaction),
        },
    })
}

/// `next_action` is its word alone (DF-A4); what was found out is text (DF-020).
fn told(insights: &Insights, data: &Map<String, Value>) -> Value {
    let interest = &insights.user_interest;
    json!({
        "metadata": data.iter().map(|(name, value)| (name.clone(), text(value))).collect::<Map<_, _>>(),
        "user_interest": {
            "status": interest.status,
            "confidence_score": interest.confidence_score,
            "reasoning": interest.reasoning,
        },
        "next_action": insights.next_action.value,
    })
}

fn text(value: &Value) -> Value {
    match value {
        Value::Null | Value::String(_) => value.clone(),
        other => Value::String(other.to_string()),
    }
}

fn judgement(judgement: &Judgement) -> Value {
    json!({
        "value": judgement.value,
        "reason": judgement.reason,
        "confidence_score": judgement.confidence_score,
    })
}

/// Without the plus (DF-007).
fn digits(number: &E164) -> String {
    number.to_string().trim_start_matches('+').to_owned()
}

/// The vendor counts its agents. Ours get a number that is always the same: the last bits of their id, which are random.
pub(crate) fn integer(agent: AgentId) -> u64 {
    let bits = agent.as_uuid().as_u128() & ((1 << EXACT_BITS) - 1);
    u64::try_from(bits).unwrap_or_default()
}
