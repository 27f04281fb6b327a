//! A model's answer about a call: taken or refused, and what is taken keeps its bounds and can be stored.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use offhook::call::{CallRecord, Policy};
use offhook::service::analysis::{Analysis, AnalysisPlan, parse};
use offhook_testkit::machine::{self, Stage};
use serde_json::json;

static CALL: LazyLock<CallRecord> =
    LazyLock::new(|| Stage::new(machine::config(Policy::default()), machine::outbound()).call.record());

fuzz_target!(|answer: &str| {
    let mut plan = AnalysisPlan::default();
    plan.insights = true;
    plan.quality = Some("Was it polite?".to_owned());
    plan.schema = Some(json!({ "type": "object", "properties": { "degree": { "type": "string" } } }));
    let Ok(analysis) = parse(&plan, &CALL, answer) else { return };
    assert!(analysis.data.contains_key("degree"));
    let insights = analysis.insights.as_ref().expect("they were asked for");
    let scores = [
        Some(insights.user_interest.confidence_score),
        Some(insights.user_engagement.confidence_score),
        Some(insights.user_satisfaction.confidence_score),
    ];
    let quality = analysis.quality.clone().unwrap_or_default();
    let scores = scores.into_iter().chain([quality.compliance_score, quality.empathy_score, quality.overall_score]);
    assert!(scores.flatten().all(|score| (0.0..=100.0).contains(&score)));
    let stored = serde_json::to_value(&analysis).expect("it can be written");
    let read: Analysis = serde_json::from_value(stored).expect("and read");
    assert_eq!(read, analysis);
});
