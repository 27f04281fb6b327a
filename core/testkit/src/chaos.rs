//! Any inputs at any time: what property tests and the fuzzer do to the call machine.

use std::time::Duration;

use offhook::call::{Control, Failure, Input, LedgerSummary, Outcome, Policy, Progress};
use offhook::error::{ErrorKind, Retry};
use offhook::provider::llm::{FinishReason, LlmEvent, ToolCall};
use offhook::provider::telephony::{DialEvent, DtmfDigit, HangupCause};
use offhook::time::Instant;

use crate::machine::{self, Stage};

/// Bytes that make one step.
const STEP_BYTES: usize = 4;

const TEXTS: [&str; 6] =
    ["", "Hello.", "and then", "One. Two! Three?", "caf\u{e9} \u{1f4de} ok", "a b c d e f g h i j k"];

/// Runs a call whose inputs are spelled by `bytes`, then lets it end, and checks every invariant.
///
/// # Errors
/// Names what did not hold.
pub fn run(bytes: &[u8]) -> Result<(), String> {
    let (head, steps) = bytes.split_at(bytes.len().min(1));
    let choice = head.first().copied().unwrap_or_default();
    let offer = if choice & 1 == 0 { machine::inbound() } else { machine::outbound() };
    let mut policy = Policy::default();
    if choice & 2 != 0 {
        policy.screening = Some(offhook::call::policy::Screening::default());
    }
    policy.barge_in.enabled = choice & 4 == 0;
    let mut config = machine::config(policy);
    if choice & 8 != 0 {
        config.greeting = None;
    }
    let mut stage = Stage::new(config, offer);
    if choice & 16 != 0 && choice & 1 == 0 {
        stage.set_up();
    }
    for step in steps.chunks_exact(STEP_BYTES) {
        stage.wait(Duration::from_millis(u64::from(step[0]) * u64::from(step[0]) / 8));
        if let Some(input) = input(&stage, step[1], usize::from(step[2]), step[3]) {
            stage.input(input);
        }
    }
    stage.finish_and_check()
}

fn input(stage: &Stage, kind: u8, target: usize, detail: u8) -> Option<Input> {
    let text = TEXTS[usize::from(detail) % TEXTS.len()].to_owned();
    let cause = HangupCause::try_from(detail % 127 + 1).ok()?;
    match kind % 16 {
        0 => return Some(Input::Control(Control::HangUp)),
        1 => return Some(Input::Control(Control::Say { text })),
        2 => return DtmfDigit::try_from(char::from(detail)).ok().map(Input::Dtmf),
        3 if detail < 64 => return Some(Input::LegEnded { cause }),
        4 if detail < 64 => return Some(Input::MediaLost { cause }),
        4 if detail < 72 => return Some(Input::EngineLost),
        4 if detail < 80 => return Some(Input::LeaseLost),
        _ => {}
    }
    let (id, name) = stage.pick(target)?;
    Some(match kind % 16 {
        3 | 5 => Input::Failed(id, failure(detail)),
        4 | 6 | 7 => Input::Completed(id, outcome(name, detail)),
        8 => Input::Progress(id, Progress::Heard { text_end: usize::from(detail) }),
        9 => Input::Progress(id, Progress::Playing),
        10 => Input::Progress(id, Progress::SpeechStarted { at: around(stage.now, detail) }),
        11 => Input::Progress(id, Progress::SpeechEnded { at: around(stage.now, detail) }),
        12 => Input::Progress(id, Progress::Final { text }),
        13 => Input::Progress(id, Progress::Interim { text }),
        14 => Input::Progress(id, Progress::Dial(dial_event(detail, cause))),
        _ => Input::Progress(id, Progress::Generated(llm_event(detail, text))),
    })
}

/// Mostly the outcome that fits the command, at times another.
fn outcome(name: &str, detail: u8) -> Outcome {
    match (name, detail % 8) {
        ("reserve", 1..) => Outcome::Reserved { granted: Duration::from_secs(u64::from(detail)) },
        ("settle", 1..) => Outcome::Settled(LedgerSummary::default()),
        ("run_function", 1..) => Outcome::Function(serde_json::json!({ "n": detail })),
        ("close_media", 1..) => Outcome::Recorded(None),
        _ => Outcome::Done,
    }
}

fn failure(detail: u8) -> Failure {
    let kinds = [
        ErrorKind::InsufficientFunds,
        ErrorKind::NotFound,
        ErrorKind::Rejected,
        ErrorKind::TimedOut,
        ErrorKind::Unavailable,
        ErrorKind::Unsupported,
    ];
    let kind = kinds[usize::from(detail) % kinds.len()];
    Failure { kind, message: "chaos".to_owned(), retry: Retry::Later }
}

fn dial_event(detail: u8, cause: HangupCause) -> DialEvent {
    match detail % 4 {
        0 => DialEvent::Answered,
        1 => DialEvent::EarlyMedia,
        2 => DialEvent::Failed { cause },
        _ => DialEvent::Ringing,
    }
}

fn llm_event(detail: u8, text: String) -> LlmEvent {
    let names = ["check_appointment", "end_call", "no_such_function"];
    let arguments = ["{}", "[]", "{"];
    match detail % 8 {
        0 | 1 => LlmEvent::Finished { reason: FinishReason::Stop },
        2 | 3 => LlmEvent::ToolCall(ToolCall {
            arguments: arguments[usize::from(detail / 8) % arguments.len()].to_owned(),
            id: format!("tool-{detail}"),
            name: names[usize::from(detail / 32) % names.len()].to_owned(),
        }),
        4 => LlmEvent::Usage { input_tokens: 1, output_tokens: 1 },
        _ => LlmEvent::Text(text),
    }
}

/// A moment up to a second before or after `now`.
fn around(now: Instant, detail: u8) -> Instant {
    let offset = Duration::from_millis(u64::from(detail & 0x7f) * 8);
    if detail & 0x80 == 0 { now - offset } else { now + offset }
}
