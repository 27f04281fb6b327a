//! What can be said of a call without a model.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    Analysis, AnalysisPlan, Analyst, Disposition, Insights, Interest, Judgement, NextAction, Outcome, UserInterest,
};
use crate::call::record::{AnsweredBy, EndReason};
use crate::call::{CallRecord, Speaker};

/// A shorter call holds nothing to analyse (FL-045).
const CONVERSATION_MIN: Duration = Duration::from_secs(5);

/// Characters of what each side said that stand for a summary.
const QUOTE_CHARS_MAX: usize = 160;

impl Outcome {
    /// What usually stands for such a call (FL-045); `None` where words decide.
    pub fn usual(self) -> Option<Disposition> {
        let (disposition, sub_disposition, remarks) = match self {
            Self::Conversation => return None,
            Self::Error => ("Failed", "fallback", "Call ended due to a system error."),
            Self::Silent => ("RNR", "RNR", "Customer picked up but did not respond."),
            Self::Timeout => ("Not Connected", "DSCN_PARTIAL", "Call exceeded maximum duration."),
            Self::Unanswered => ("Not Connected", "NO_ANSWER", "Customer did not answer the call."),
            Self::Voicemail => ("IVR", "MAIN_MESSAGE", "Voicemail or automated system detected."),
        };
        Some(Disposition {
            disposition: disposition.to_owned(),
            remarks: remarks.to_owned(),
            sub_disposition: sub_disposition.to_owned(),
        })
    }
}

/// What a call came to.
pub fn outcome(call: &CallRecord) -> Outcome {
    let reason = call.end_reason;
    let is_machine = call.answered_by == Some(AnsweredBy::Machine)
        || matches!(reason, Some(EndReason::MachineAnswered | EndReason::MessageLeft));
    let failed = matches!(
        reason,
        Some(
            EndReason::CarrierFailure
                | EndReason::EngineLost
                | EndReason::MediaLost
                | EndReason::ProviderFailure
                | EndReason::SetUpTimeout
                | EndReason::Stalled
                | EndReason::StoreFailure
                | EndReason::UnknownNumber
        )
    );
    if is_machine {
        Outcome::Voicemail
    } else if failed {
        Outcome::Error
    } else if call.answered_at.is_none() {
        Outcome::Unanswered
    } else if reason == Some(EndReason::MaxDuration) {
        Outcome::Timeout
    } else if !call.transcript.iter().any(|entry| entry.speaker == Speaker::Caller) {
        Outcome::Silent
    } else if matches!(reason, Some(EndReason::CreditsExhausted | EndReason::Silence)) {
        // The vendor calls these ends a timeout too.
        Outcome::Timeout
    } else {
        Outcome::Conversation
    }
}

/// Whether there is anything that a model could say more than the rules.
pub(super) fn is_worth_asking(call: &CallRecord) -> bool {
    outcome(call) == Outcome::Conversation && Duration::from_millis(call.duration_ms) >= CONVERSATION_MIN
}

/// What rules say of a call.
pub fn by_rules(plan: &AnalysisPlan, call: &CallRecord) -> Analysis {
    let outcome = outcome(call);
    Analysis {
        by: Analyst::Rules,
        data: defaults(plan.schema.as_ref()),
        disposition: disposition(plan, outcome),
        insights: plan.insights.then(|| insights(outcome)),
        quality: None,
        summary: quotes(call),
    }
}

/// The label of such a call by the plan, or the usual one.
pub(super) fn disposition(plan: &AnalysisPlan, outcome: Outcome) -> Option<Disposition> {
    let rule = plan.dispositions.iter().find(|rule| rule.outcome == outcome);
    rule.map(|rule| rule.disposition.clone()).or_else(|| outcome.usual())
}

/// Every fact of the schema, empty.
pub(super) fn defaults(schema: Option<&Value>) -> Map<String, Value> {
    let properties = schema.and_then(|schema| schema.get("properties")?.as_object());
    let empty = |property: &Value| {
        property.get("default").cloned().unwrap_or_else(|| match property["type"].as_str() {
            Some("array") => Value::Array(Vec::new()),
            Some("boolean" | "integer" | "null" | "number") => Value::Null,
            Some("object") => Value::Object(Map::new()),
            // "Default is the empty text" (DF-A11).
            _ => Value::String(String::new()),
        })
    };
    properties.into_iter().flatten().map(|(name, property)| (name.clone(), empty(property))).collect()
}

/// What rules say of the other side.
pub fn insights_by_rules(call: &CallRecord) -> Insights {
    insights(outcome(call))
}

pub(super) fn insights(outcome: Outcome) -> Insights {
    let (value, reason) = match outcome {
        Outcome::Conversation => ("NONE", "The call held a conversation that was not analysed."),
        Outcome::Error => ("REDIAL", "The call ended because of an error."),
        Outcome::Silent => ("REDIAL", "The other side answered and said nothing."),
        Outcome::Timeout => ("NONE", "The call reached its longest duration."),
        Outcome::Unanswered => ("REDIAL", "Nobody answered."),
        Outcome::Voicemail => ("REDIAL", "A machine answered."),
    };
    let reasoning = match outcome {
        Outcome::Conversation => "The conversation was not analysed.",
        _ => "There was no conversation.",
    };
    let unclear = || Judgement { confidence_score: 0.0, reason: reasoning.to_owned(), value: "Unclear".to_owned() };
    Insights {
        next_action: NextAction { reason: reason.to_owned(), value: value.to_owned() },
        user_engagement: unclear(),
        user_satisfaction: unclear(),
        user_interest: UserInterest {
            confidence_score: 0.0,
            reasoning: reasoning.to_owned(),
            status: Interest::Unclear,
        },
    }
}

/// What each side said at length, for want of a summary.
fn quotes(call: &CallRecord) -> String {
    let longest = |speaker| {
        let said = call.transcript.iter().filter(|entry| entry.speaker == speaker);
        // The first of the longest.
        said.rev().max_by_key(|entry| entry.text.chars().count()).map(|entry| entry.text.trim())
    };
    let quote = |name, text: &str| {
        let mut quoted: String = text.chars().take(QUOTE_CHARS_MAX).collect();
        if quoted.len() < text.len() {
            quoted.push('\u{2026}');
        }
        format!("{name}: \u{201c}{quoted}\u{201d}")
    };
    let sides = [("Caller", longest(Speaker::Caller)), ("Agent", longest(Speaker::Agent))];
    let quotes: Vec<_> = sides.into_iter().filter_map(|(name, text)| Some(quote(name, text?))).collect();
    quotes.join(" ")
}
