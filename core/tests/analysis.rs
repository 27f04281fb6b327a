//! What a call that is over came to, by a model's answer and by rules.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use offhook::ErrorKind;
use offhook::call::Policy;
use offhook::call::record::{AnsweredBy, EndReason};
use offhook::call::{CallRecord, Speaker, TranscriptEntry};
use offhook::provider::llm::Message;
use offhook::service::analysis::{
    ANSWER_BYTES_MAX, AnalysisPlan, Analyst, Disposition, DispositionRule, Interest, Outcome, TRANSCRIPT_BYTES_MAX,
    by_rules, outcome, parse, request,
};
use offhook_testkit::machine::{self, Stage};
use proptest::prelude::*;
use serde_json::{Value, json};

fn record(said: &[(Speaker, &str)]) -> CallRecord {
    let mut record = Stage::new(machine::config(Policy::default()), machine::outbound()).call.record();
    record.answered_at = Some(record.started_at);
    record.duration_ms = 23_000;
    record.end_reason = Some(EndReason::CallerHangUp);
    record.transcript = said
        .iter()
        .map(|(speaker, text)| TranscriptEntry { at_ms: 0, cut: false, speaker: *speaker, text: (*text).to_owned() })
        .collect();
    record
}

fn conversation() -> CallRecord {
    record(&[
        (Speaker::Agent, "Hello, are you still looking for a degree course?"),
        (Speaker::Caller, "Not now, call me on the twentieth of March at ten."),
    ])
}

fn plan() -> AnalysisPlan {
    let mut plan = AnalysisPlan::default();
    plan.instructions = "Find out the degree and when to call back.".to_owned();
    plan.insights = true;
    plan.schema = Some(json!({
        "type": "object",
        "properties": { "degree": { "type": "string" }, "call_time": { "type": "string" }, "age": { "type": "integer" } },
    }));
    plan
}

#[test]
fn a_model_is_asked_for_what_the_plan_wants() {
    let request = request(&plan(), &conversation()).unwrap();
    let [Message::System { text: system }, Message::User { text: user }] = &request.messages[..] else {
        unreachable!("a prompt and a transcript: {request:?}")
    };
    assert!(
        system.contains("Find out the degree") && system.contains("\"call_time\"") && system.contains("next_action")
    );
    assert!(user.contains("Caller: Not now, call me on the twentieth"));
}

/// DF-006
#[test]
fn a_models_answer_is_taken_from_whatever_stands_around_it() {
    let answer = json!({
        "summary": "The caller wants to be called back.",
        "data": { "degree": "No", "call_time": "20th March 10 AM", "more": true },
        "user_interest": { "status": "Yes", "confidence_score": "85", "reasoning": "They gave a time." },
        "next_action": { "value": "REDIAL", "reason": "They asked for it." },
        "user_engagement": { "value": "High", "confidence_score": 300, "reason": "They answered." },
    });
    for text in [answer.to_string(), format!("Here {{it}} is:\n```json\n{answer}\n```\nAnything else?")] {
        let analysis = parse(&plan(), &conversation(), &text).unwrap();
        assert_eq!(analysis.by, Analyst::Model);
        assert_eq!(analysis.summary, "The caller wants to be called back.");
        let data = json!({ "age": null, "degree": "No", "call_time": "20th March 10 AM", "more": true });
        assert_eq!(Value::Object(analysis.data), data);
        let insights = analysis.insights.unwrap();
        assert_eq!(insights.user_interest.status, Interest::Yes);
        assert_eq!(insights.user_interest.confidence_score, 85.0);
        assert_eq!((insights.next_action.value.as_str(), insights.user_engagement.confidence_score), ("REDIAL", 100.0));
        assert_eq!(insights.user_satisfaction.value, "Unclear");
        assert_eq!(analysis.disposition, None, "words decide");
    }
    for nonsense in ["", "I cannot say.", "[1, 2]", "{\"summary\": ", &format!("{{}}{}", " ".repeat(ANSWER_BYTES_MAX))]
    {
        let error = parse(&plan(), &conversation(), nonsense).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected);
    }
}

/// FL-045
#[test]
fn calls_without_a_conversation_are_labelled_by_rules_and_no_model_is_asked() {
    let with = |reason, change: fn(&mut CallRecord)| {
        let mut record = conversation();
        record.end_reason = Some(reason);
        change(&mut record);
        record
    };
    let silent = |record: &mut CallRecord| record.transcript.retain(|entry| entry.speaker == Speaker::Agent);
    let cases = [
        (with(EndReason::Silence, silent), Outcome::Silent, "RNR", "Customer picked up but did not respond."),
        (with(EndReason::MessageLeft, |_| {}), Outcome::Voicemail, "IVR", "Voicemail or automated system detected."),
        (
            with(EndReason::CallerHangUp, |record| record.answered_by = Some(AnsweredBy::Machine)),
            Outcome::Voicemail,
            "IVR",
            "Voicemail or automated system detected.",
        ),
        (with(EndReason::MaxDuration, |_| {}), Outcome::Timeout, "Not Connected", "Call exceeded maximum duration."),
        (with(EndReason::MediaLost, |_| {}), Outcome::Error, "Failed", "Call ended due to a system error."),
        (
            with(EndReason::Busy, |record| record.answered_at = None),
            Outcome::Unanswered,
            "Not Connected",
            "Customer did not answer the call.",
        ),
    ];
    for (record, expected, label, remarks) in cases {
        assert_eq!(outcome(&record), expected);
        assert!(request(&plan(), &record).is_none());
        let analysis = by_rules(&plan(), &record);
        let disposition = analysis.disposition.unwrap();
        assert_eq!((disposition.disposition.as_str(), disposition.remarks.as_str()), (label, remarks));
        assert_eq!(analysis.insights.unwrap().user_interest.status, Interest::Unclear);
    }
    let mut short = conversation();
    short.duration_ms = 4_999;
    assert!(request(&plan(), &short).is_none());
    let mut own = plan();
    let disposition = Disposition { disposition: "QUIET".to_owned(), ..Disposition::default() };
    own.dispositions = vec![DispositionRule { outcome: Outcome::Silent, disposition: disposition.clone() }];
    assert_eq!(by_rules(&own, &with(EndReason::Silence, silent)).disposition, Some(disposition));
}

#[test]
fn rules_quote_where_no_model_sums_up() {
    let analysis = by_rules(&plan(), &conversation());
    assert_eq!(analysis.by, Analyst::Rules);
    assert!(analysis.summary.starts_with("Caller: \u{201c}Not now,"), "{}", analysis.summary);
    assert_eq!(Value::Object(analysis.data), json!({ "age": null, "degree": "", "call_time": "" }));
    assert_eq!(by_rules(&AnalysisPlan::default(), &record(&[])).summary, "");
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(answer in ".{0,400}", text in "\\PC{0,80000}") {
        let record = record(&[(Speaker::Caller, &text)]);
        let _ = parse(&plan(), &record, &answer);
        let request = request(&plan(), &record).unwrap();
        let Some(Message::User { text }) = request.messages.last() else { unreachable!() };
        prop_assert!(text.len() <= TRANSCRIPT_BYTES_MAX + 16);
    }
}
