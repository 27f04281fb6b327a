//! Inputs, decisions and outputs in some words each.
//!
//! What has no words of its own here is told by its fields, so that nothing new is ever left out.

use std::fmt::Display;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::call::{
    CallEventKind, CallRecord, Command, Control, DecisionKind, EndpointReason, Failure, Input, Offer, Outcome,
    Progress, Speaker, Timer, TranscriptEntry,
};
use crate::error::Retry;
use crate::ids::CallId;
use crate::provider::llm::{LlmEvent, LlmRequest, Message, ToolCall};
use crate::provider::telephony::HangupCause;
use crate::time::Instant;

pub(super) fn offer(offer: &Offer, call: CallId) -> String {
    let direction = match offer {
        Offer::Inbound { .. } => "inbound",
        Offer::Outbound { .. } => "outbound",
    };
    let number = |number: Option<&_>| number.map_or("withheld".to_owned(), ToString::to_string);
    format!("{direction} call {call} from {} to {}", number(offer.from()), number(offer.to()))
}

pub(super) fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done => "done".to_owned(),
        Outcome::Function(value) => format!("answers {value}"),
        Outcome::Recorded(Some(location)) => format!("recorded in {location}"),
        Outcome::Recorded(None) => "not recorded".to_owned(),
        Outcome::Reserved { granted } => format!("granted {}", seconds(*granted)),
        other => fields(other).1,
    }
}

pub(super) fn failure(failure: &Failure) -> String {
    let retry = match failure.retry {
        Retry::Exhausted => "tried often enough",
        Retry::Later => "may be tried again",
        Retry::Never => "not to be tried again",
    };
    format!("failed, {}, {retry}: {}", name_of(&failure.kind), failure.message)
}

pub(super) fn progress(now: Instant, progress: &Progress) -> String {
    let ago = |at: &Instant| format!("{} ms ago", now.saturating_since(*at).as_millis());
    match progress {
        Progress::Final { text, .. } => format!("final {text:?}"),
        Progress::Generated(LlmEvent::ToolCall(call)) => format!("calls {}", tool_call(call)),
        Progress::Generated(LlmEvent::Finished { reason }) => format!("finished, {}", name_of(reason)),
        Progress::Generated(LlmEvent::Usage { cached_tokens, input_tokens, output_tokens }) => {
            let again = if *cached_tokens > 0 { format!(" ({cached_tokens} again)") } else { String::new() };
            format!("{input_tokens} tokens read{again}, {output_tokens} written")
        }
        Progress::Interim { text } => format!("interim {text:?}"),
        Progress::Playing => "first sound".to_owned(),
        Progress::SpeechEnded { at } => format!("the caller stopped {}", ago(at)),
        Progress::SpeechStarted { at } => format!("the caller began {}", ago(at)),
        other => phrase(other),
    }
}

/// What happens without a command.
pub(super) fn incident(input: &Input) -> (String, String) {
    let (name, detail) = match input {
        Input::Control(Control::Cancel) => ("operator", "calls the call off".to_owned()),
        Input::Control(Control::HangUp) => ("operator", "hangs up".to_owned()),
        Input::Control(Control::Hold) => ("operator", "puts the caller on hold".to_owned()),
        Input::Control(Control::Reject { cause }) => ("operator", format!("refuses, {}", self::cause(*cause))),
        Input::Control(Control::Resume) => ("operator", "ends the hold".to_owned()),
        Input::Control(Control::Say { text, .. }) => ("operator", format!("lets the agent say {text:?}")),
        Input::Control(Control::Transfer { brief, target }) => {
            ("operator", format!("transfers to {target}, {brief:?}"))
        }
        Input::Control(control) => ("operator", phrase(control)),
        Input::Dtmf(digit) => ("caller", format!("presses {}", digit.as_char())),
        Input::LegEnded { cause } => ("carrier", format!("the leg has ended, {}", self::cause(*cause))),
        Input::MediaLost { cause } => ("carrier", format!("the media is lost, {}", self::cause(*cause))),
        other => return fields(other),
    };
    (name.to_owned(), detail)
}

/// A decision; `endpoint` is why the end of the turn was last awaited so long.
pub(super) fn decision(
    kind: &DecisionKind,
    at: Duration,
    endpoint: Option<EndpointReason>,
    policy: &Value,
) -> (String, String) {
    match kind {
        DecisionKind::Expired { deadline, timer } => {
            let late = at.saturating_sub(*deadline);
            let late =
                if late.is_zero() { String::new() } else { format!(", {:.1} ms late", late.as_secs_f64() * 1e3) };
            let due = format!("due {:.3}{late}", deadline.as_secs_f64());
            ("timer".to_owned(), format!("{}, {due}{}", name_of(timer), figures(*timer, endpoint, policy)))
        }
        other => fields(other),
    }
}

/// What of the policy a timer goes by, with its figures.
fn figures(timer: Timer, endpoint: Option<EndpointReason>, policy: &Value) -> String {
    let paths: &[&str] = match timer {
        Timer::BargeIn => &["barge_in.speech_min_ms"],
        Timer::Duration => &["duration_max_ms"],
        Timer::Endpoint if endpoint == Some(EndpointReason::Dictating) => &["endpointing.digits_delay_ms"],
        Timer::Endpoint => &["endpointing.delay_min_ms", "endpointing.delay_max_ms"],
        Timer::Filler => &["filler.delay_ms"],
        Timer::Function => &["function_timeout_ms"],
        Timer::Goodbye => &["goodbye.before_ms"],
        Timer::Hold => &["hold.timeout_ms"],
        Timer::HoldPrompt => &["hold.prompt_interval_ms"],
        Timer::InterDigit => &["keypad.inter_digit_timeout_ms"],
        Timer::Reply => &["reply_timeout_ms"],
        Timer::Resume => &["barge_in.resume_timeout_ms"],
        Timer::Ring => &["ring_timeout_ms"],
        Timer::Screening => &["screening.wait_max_ms", "screening.greeting_max_ms"],
        Timer::SetUp => &["set_up_timeout_ms"],
        Timer::Silence => &["silence.timeout_ms"],
        Timer::Speech => &["speech_timeout_ms"],
        Timer::Stall => &["stall_timeout_ms"],
        Timer::Transcript => &["endpointing.transcript_timeout_ms"],
        Timer::Transfer => &["transfer.ring_timeout_ms", "transfer.accept_timeout_ms"],
        Timer::Warning => &["warning.before_ms"],
        Timer::WrapUp => &["wrap_up_timeout_ms"],
        _ => &[],
    };
    let figure = |path: &&str| {
        let value = path.split('.').try_fold(policy, |value, key| value.get(key))?;
        Some(format!("{} {value} ms", path.trim_end_matches("_ms")))
    };
    let figures: Vec<_> = paths.iter().filter_map(figure).collect();
    if figures.is_empty() { String::new() } else { format!(" ({})", figures.join(", ")) }
}

pub(super) fn command(command: &Command) -> String {
    match command {
        Command::Generate(request) => self::request(request),
        Command::HangUp { cause } => self::cause(*cause),
        Command::Extend { wanted } | Command::Reserve { wanted } => format!("up to {}", seconds(*wanted)),
        Command::RunFunction(call) => tool_call(call),
        Command::Settle(record) => self::record(record),
        Command::Speak { text, .. } => format!("{text:?}"),
        other => fields(other).1,
    }
}

pub(super) fn event(kind: &CallEventKind) -> (String, String) {
    let (name, detail) = match kind {
        CallEventKind::BargeIn { reaction } => ("barge in", format!("silent after {} ms", reaction.as_millis())),
        CallEventKind::Dtmf { digit } => ("dtmf", digit.as_char().to_string()),
        CallEventKind::Ended { record, ledger } => {
            let settled = if ledger.is_some() { "settled" } else { "NOT SETTLED" };
            ("ended", format!("{}; {settled}", self::record(record)))
        }
        CallEventKind::FunctionFinished { name, result } => ("function finished", format!("{name} {result}")),
        CallEventKind::FunctionStarted { name, parameters } => ("function started", format!("{name} {parameters}")),
        CallEventKind::Interim { text } => ("interim", format!("{text:?}")),
        CallEventKind::Phase { phase } => ("phase", phase.to_string()),
        CallEventKind::Problem { command, kind, message } => {
            ("problem", format!("{command}, {}: {message}", name_of(kind)))
        }
        CallEventKind::Transcript { index, entry } => ("transcript", transcript(*index, entry)),
        CallEventKind::TurnAnswered { latency } => ("turn answered", format!("after {} ms", latency.as_millis())),
        other => return fields(other),
    };
    (name.to_owned(), detail)
}

fn transcript(index: usize, entry: &TranscriptEntry) -> String {
    let speaker = match entry.speaker {
        Speaker::Agent => "agent",
        Speaker::Caller => "caller",
    };
    let cut = if entry.cut { ", cut" } else { "" };
    format!("{index} {speaker} {:?}{cut}", entry.text)
}

fn request(request: &LlmRequest) -> String {
    let said = |message: &Message| match message {
        Message::User { text } => Some(format!("{text:?}")),
        Message::Tool { content, .. } => Some(content.clone()),
        _ => None,
    };
    let last = request.messages.iter().rev().find_map(said).unwrap_or_else(|| "nothing yet".to_owned());
    format!("on {last}, {} messages", request.messages.len())
}

fn record(record: &CallRecord) -> String {
    let reason = record.end_reason.as_ref().map_or("no reason".to_owned(), |reason| name_of(reason).to_owned());
    let party = record.hangup_party.map_or("nobody".to_owned(), |party| party.to_string());
    let (duration, talk) = (record.duration_ms as f64 / 1e3, record.talk_time_ms as f64 / 1e3);
    format!("{}, {reason}, by the {party}, {duration:.3} s, {talk:.3} s of talk", record.status)
}

fn cause(cause: HangupCause) -> String {
    format!("{cause} ({})", cause.value())
}

fn tool_call(call: &ToolCall) -> String {
    format!("{} {}", call.name, call.arguments)
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// The serialised name of a variant without fields.
fn name_of(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => spaced(&name),
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

/// Name and fields of any variant, however it is tagged.
fn fields(value: &impl Serialize) -> (String, String) {
    let value = serde_json::to_value(value).unwrap_or_default();
    let Value::Object(mut fields) = value else {
        return (name_of(&value), String::new());
    };
    if let Some(Value::String(name)) = ["event", "decision"].iter().find_map(|tag| fields.remove(*tag)) {
        return (spaced(&name), listed(&Value::Object(fields)));
    }
    match fields.into_iter().next() {
        Some((name, content)) => (spaced(&name), listed(&content)),
        None => Default::default(),
    }
}

/// The same in one.
fn phrase(value: &impl Serialize) -> String {
    let (name, detail) = fields(value);
    format!("{name} {detail}").trim_end().to_owned()
}

/// `delay 300 ms, reason complete`.
fn listed(value: &Value) -> String {
    let Value::Object(fields) = value else {
        return plain(value).to_string();
    };
    let field = |(name, value): (&String, &Value)| match (name.strip_suffix("_ms"), value) {
        (_, Value::Null) => None,
        (Some(name), Value::Number(_)) => Some(format!("{} {value} ms", spaced(name))),
        _ => Some(format!("{} {}", spaced(name), plain(value))),
    };
    fields.iter().filter_map(field).collect::<Vec<_>>().join(", ")
}

fn plain(value: &Value) -> Box<dyn Display + '_> {
    match value {
        Value::Object(_) => Box::new(listed(value)),
        Value::String(text) if text.chars().all(|c| c.is_ascii_lowercase() || c == '_') => Box::new(spaced(text)),
        Value::String(text) => Box::new(format!("{text:?}")),
        other => Box::new(other),
    }
}

fn spaced(name: &str) -> String {
    name.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::CommandId;
    use crate::call::record::EndReason;
    use crate::error::ErrorKind;

    #[test]
    fn what_has_no_words_is_told_by_its_fields() {
        let told = |kind| decision(&kind, Duration::ZERO, None, &Value::Null);
        let pair = |name: &str, detail: &str| (name.to_owned(), detail.to_owned());
        assert_eq!(told(DecisionKind::End { reason: EndReason::AgentHangUp }), pair("end", "reason agent hang up"));
        assert_eq!(told(DecisionKind::Stale { command: CommandId::new(4) }), pair("stale", "command 4"));
        let event = event(&CallEventKind::TranscriptTruncated { length: 3 });
        assert_eq!(event, pair("transcript truncated", "length 3"));
    }

    #[test]
    fn a_timer_names_the_policy_that_it_goes_by() {
        let policy = serde_json::to_value(crate::call::Policy::default()).unwrap();
        let expired = DecisionKind::Expired { deadline: Duration::from_millis(1_300), timer: Timer::Silence };
        let (name, detail) = decision(&expired, Duration::from_micros(1_301_250), None, &policy);
        assert_eq!(name, "timer");
        assert_eq!(detail, "silence, due 1.300, 1.2 ms late (silence.timeout 10000 ms)");
        let expired = DecisionKind::Expired { deadline: Duration::ZERO, timer: Timer::Endpoint };
        let told = |reason| decision(&expired, Duration::ZERO, Some(reason), &policy).1;
        let both = "(endpointing.delay_min 300 ms, endpointing.delay_max 1200 ms)";
        assert_eq!(told(EndpointReason::Complete), format!("endpoint, due 0.000 {both}"));
        assert_eq!(told(EndpointReason::Dictating), "endpoint, due 0.000 (endpointing.digits_delay 2000 ms)");
    }

    #[test]
    fn a_failure_says_whether_to_try_again() {
        let failure = Failure { kind: ErrorKind::TimedOut, message: "no answer".to_owned(), retry: Retry::Later };
        assert_eq!(self::failure(&failure), "failed, timed out, may be tried again: no answer");
    }
}
