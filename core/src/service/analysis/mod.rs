//! What a call that is over came to: its summary, the facts that the agent's owner asks for, a disposition, and what to do
//! next. A model says it; where none answers, or need not be asked, rules do.

mod ask;
mod rules;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use ask::{ANSWER_BYTES_MAX, ANSWER_TOKENS_MAX, TRANSCRIPT_BYTES_MAX, parse, request};
pub use rules::{by_rules, insights_by_rules, outcome};

/// What is to be found out about an agent's calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AnalysisPlan {
    /// Dispositions that need no model, in place of the [usual](Outcome::usual) ones.
    pub dispositions: Vec<DispositionRule>,
    /// Whether to judge the other side's interest and what to do next.
    pub insights: bool,
    /// What to look for, in the owner's words.
    pub instructions: String,
    /// By what to judge how well the agent did, in the owner's words (FL-092); `None` judges nothing.
    pub quality: Option<String>,
    /// JSON Schema of the facts, an object; `None` asks for none.
    pub schema: Option<Value>,
}

/// A disposition for calls that ended in one way.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct DispositionRule {
    /// Which calls.
    pub outcome: Outcome,
    /// What stands for them.
    #[serde(flatten)]
    pub disposition: Disposition,
}

/// A label for a call.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Disposition {
    /// The label.
    pub disposition: String,
    /// In a sentence.
    #[serde(default)]
    pub remarks: String,
    /// The finer label.
    #[serde(default)]
    pub sub_disposition: String,
}

/// What a call came to, as far as no words are needed to tell.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// A conversation.
    Conversation,
    /// Something failed.
    Error,
    /// Answered, and the other side said nothing.
    Silent,
    /// The longest call was reached.
    Timeout,
    /// Never answered by anybody.
    Unanswered,
    /// A machine answered.
    Voicemail,
}

/// What is known of a call that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Analysis {
    /// Who says so.
    pub by: Analyst,
    /// The facts that the plan's schema asks for.
    pub data: Map<String, Value>,
    /// The label, by a rule; `None` where words decide and the facts hold it.
    pub disposition: Option<Disposition>,
    /// If the plan asks for them.
    pub insights: Option<Insights>,
    /// If the plan asks for it and a model answered.
    #[serde(default)]
    pub quality: Option<Quality>,
    /// In one to three sentences; empty when nothing was said.
    pub summary: String,
}

/// Who analysed a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Analyst {
    /// The model.
    Model,
    /// Rules, because there was nothing to ask a model, or none answered.
    Rules,
}

/// How well the agent did (FL-034). Scores are from 0 to 100.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// How closely it kept to what it was told.
    pub compliance_score: Option<f64>,
    /// How well it met the caller's feelings.
    pub empathy_score: Option<f64>,
    /// All in all.
    pub overall_score: Option<f64>,
    /// In one to three sentences.
    pub remarks: String,
}

/// A judgement of the other side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Insights {
    /// What to do next.
    pub next_action: NextAction,
    /// How much they took part.
    pub user_engagement: Judgement,
    /// Whether they want what was offered.
    pub user_interest: UserInterest,
    /// How content they were.
    pub user_satisfaction: Judgement,
}

/// A word for something, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// From 0 to 100.
    pub confidence_score: f64,
    /// Why.
    pub reason: String,
    /// `High`, `Medium`, `Low` or `Unclear`.
    pub value: String,
}

/// What to do next.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct NextAction {
    /// Why.
    pub reason: String,
    /// `REDIAL`, `NONE`, `CUSTOM_DEFINED` or a word of the owner's own.
    pub value: String,
}

/// Whether the other side wants what was offered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserInterest {
    /// From 0 to 100.
    pub confidence_score: f64,
    /// Why.
    pub reasoning: String,
    /// Whether.
    pub status: Interest,
}

/// Yes, no, or not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Interest {
    /// They do not.
    No,
    /// It cannot be told.
    Unclear,
    /// They do.
    Yes,
}
