//! Any inputs at any time: what property tests and the fuzzer do to the call machine.

use std::time::Duration;

use offhook::call::policy::{
    KeyAction, KeyRule, OnMachine, Screening, TransferMode, TransferTarget, Voicemail, Warning,
};
use offhook::call::{ConsultEvent, Control, Failure, Input, LedgerSummary, Outcome, Policy, Progress};
use offhook::error::{ErrorKind, Retry};
use offhook::journal::Journal;
use offhook::provider::llm::{FinishReason, LlmEvent, ToolCall};
use offhook::provider::telephony::{DialEvent, DtmfDigit, HangupCause};
use offhook::time::Instant;

use crate::machine::{self, Stage};

/// Bytes that make one step.
const STEP_BYTES: usize = 4;

const TEXTS: [&str; 10] = [
    "",
    "Hello.",
    "and then",
    "One. Two! Three?",
    "caf\u{e9} \u{1f4de} ok",
    "a b c d e f g h i j k",
    "Uh-huh.",
    "My number is five five five",
    "d e f g h",
    "Wait, what about tomorrow?",
];

/// Runs a call whose inputs are spelled by `bytes`, then lets it end, and checks every invariant.
///
/// # Errors
/// Names what did not hold.
pub fn run(bytes: &[u8]) -> Result<(), String> {
    stage(bytes).finish_and_check()
}

/// The journal of such a call, which may be in the middle.
pub fn journal(bytes: &[u8]) -> Journal {
    stage(bytes).journal()
}

fn stage(bytes: &[u8]) -> Stage {
    let (head, steps) = bytes.split_at(bytes.len().min(1));
    let choice = head.first().copied().unwrap_or_default();
    let offer = if choice & 1 == 0 { machine::inbound() } else { machine::outbound() };
    let mut policy = Policy::default();
    if choice & 2 != 0 {
        policy.screening = Some(screening(choice));
    }
    policy.keypad.rules = key_rules();
    policy.send_digits = true;
    policy.transfer.targets = targets();
    policy.transfer.escalation = (choice & 64 != 0).then(|| "desk".to_owned());
    if choice & 128 != 0 {
        policy.warning = Some(Warning { before: Duration::from_secs(10), text: "Soon over.".to_owned() });
    }
    policy.barge_in.enabled = choice & 4 == 0;
    choose_turn_taking(&mut policy, steps.first().copied().unwrap_or_default());
    let mut config = machine::config(policy);
    if choice & 8 != 0 {
        config.greeting = None;
    }
    let mut stage = Stage::new(config, offer);
    if choice & 16 != 0 && choice & 1 == 0 {
        stage.set_up();
    }
    for step in steps.chunks_exact(STEP_BYTES) {
        let pause = Duration::from_millis(u64::from(step[0]) * u64::from(step[0]) / 8);
        if step[1] < 0xe0 {
            stage.wait(pause);
        } else {
            stage.oversleep(pause);
        }
        if let Some(input) = input(&stage, step[1], usize::from(step[2]), step[3]) {
            stage.input(input);
        }
    }
    stage
}

fn screening(choice: u8) -> Screening {
    let mut screening = Screening::default();
    if choice & 32 != 0 {
        screening.on_machine = OnMachine::LeaveMessage(Voicemail::new("Please call back."));
        screening.introduction = Some("This is Sari.".to_owned());
    }
    screening
}

fn key_rules() -> Vec<KeyRule> {
    let actions = [
        ("1", KeyAction::Say { text: "One.".to_owned() }),
        ("12", KeyAction::Transfer { target: "doctor".to_owned() }),
        ("2", KeyAction::CallFunction { name: "check_appointment".to_owned() }),
        ("3xx", KeyAction::SetVariable { name: "code".to_owned() }),
        ("9", KeyAction::End { text: Some("Bye.".to_owned()) }),
        ("0", KeyAction::Transfer { target: "desk".to_owned() }),
    ];
    let rule = |(keys, action): (&str, KeyAction)| keys.parse().map(|keys| KeyRule { keys, action }).ok();
    actions.into_iter().filter_map(rule).collect()
}

/// `desk` is transferred to blindly; `doctor` is briefed and takes the call with `1`.
pub fn targets() -> Vec<TransferTarget> {
    let target = |name: &str, mode| {
        let number = "+622150002000".parse().ok()?;
        Some(TransferTarget { description: String::new(), mode, name: name.to_owned(), number })
    };
    let warm = TransferMode::Warm { accept: DtmfDigit::try_from('1').ok() };
    [target("desk", TransferMode::Blind), target("doctor", warm)].into_iter().flatten().collect()
}

/// A conversation whose steps are spelled by `bytes`: everybody does what they can do then, in any order and at any time.
/// It reaches deeper than [`run`], which is not so polite.
///
/// # Errors
/// Names what did not hold.
pub fn converse(bytes: &[u8]) -> Result<(), String> {
    let (head, steps) = bytes.split_at(bytes.len().min(2));
    let mut policy = Policy::default();
    choose_turn_taking(&mut policy, head.first().copied().unwrap_or_default());
    let choice = head.get(1).copied().unwrap_or_default();
    policy.barge_in.enabled = choice & 7 != 0;
    let mut config = machine::config(policy);
    if choice & 8 != 0 {
        config.greeting = None;
    }
    let mut stage = Stage::new(config, machine::inbound());
    stage.set_up();
    for step in steps.chunks_exact(STEP_BYTES - 1) {
        stage.wait(Duration::from_millis(u64::from(step[0]) * u64::from(step[0]) / 16));
        let Some((name, doing)) = line(&stage, step[1], step[2]) else { continue };
        if let Some(id) = stage.find(name) {
            stage.input(match doing {
                Doing::Completes => Input::Completed(id, outcome(name, step[2])),
                Doing::Fails => Input::Failed(id, failure(step[2])),
                Doing::GetsOn(progress) => Input::Progress(id, progress),
            });
        } else if name == "say" {
            let text = TEXTS[usize::from(step[2]) % TEXTS.len()].to_owned();
            stage.input(Input::Control(Control::Say { text, interruptible: step[2] & 0x80 == 0 }));
        }
    }
    stage.finish_and_check()
}

enum Doing {
    Completes,
    Fails,
    GetsOn(Progress),
}

/// Whose line is next, and what it is.
fn line(stage: &Stage, kind: u8, detail: u8) -> Option<(&'static str, Doing)> {
    let text = TEXTS[usize::from(detail) % TEXTS.len()].to_owned();
    let generated = |event| Some(("generate", Doing::GetsOn(Progress::Generated(event))));
    let heard = |progress| Some(("listen", Doing::GetsOn(progress)));
    match kind % 24 {
        0..=2 => heard(Progress::SpeechStarted { at: stage.now }),
        3..=5 => heard(Progress::SpeechEnded { at: stage.now }),
        6 => heard(Progress::Interim { text }),
        7..=9 => heard(Progress::Final { language: language(detail), text }),
        10 => heard(Progress::EndOfTurn { percent: detail % 101 }),
        11 => generated(LlmEvent::Text(text)),
        12 => {
            generated(LlmEvent::Text("We are open from nine to five. Except on Sundays, when we are not. ".to_owned()))
        }
        13 => generated(LlmEvent::Finished { reason: FinishReason::Stop }),
        14 => generated(llm_event(detail & 0xf8 | 2, text)),
        15..=16 => Some(("speak", Doing::GetsOn(Progress::Playing))),
        17..=18 => Some(("speak", Doing::GetsOn(Progress::Heard { text_end: usize::from(detail) / 4 }))),
        19..=20 => Some(("speak", Doing::Completes)),
        21 => Some(("run_function", Doing::Completes)),
        22 if detail < 64 => Some((["speak", "listen", "generate"][usize::from(detail) % 3], Doing::Fails)),
        22 => Some(("say", Doing::Completes)),
        _ => Some(("finalize", Doing::Completes)),
    }
}

/// Each of the turn's policies in one of its forms.
fn choose_turn_taking(policy: &mut Policy, choice: u8) {
    policy.barge_in.words_min = u32::from(choice & 3);
    policy.barge_in.greeting = choice & 4 == 0;
    policy.barge_in.resume = choice & 8 == 0;
    if choice & 16 != 0 {
        policy.barge_in.protected = vec!["One".to_owned(), "b c".to_owned()];
    }
    policy.early_generation.attempts_max = u32::from(choice >> 5 & 1) * 3;
    policy.filler.phrases_max = u32::from(choice >> 6 & 1) * 2;
    if choice & 128 != 0 {
        policy.languages.allowed = vec!["id-ID".to_owned(), "fr".to_owned()];
        policy.languages.words_min = 1;
    }
}

fn input(stage: &Stage, kind: u8, target: usize, detail: u8) -> Option<Input> {
    let text = TEXTS[usize::from(detail) % TEXTS.len()].to_owned();
    let cause = HangupCause::try_from(detail % 127 + 1).ok()?;
    match kind % 19 {
        0 => return Some(Input::Control(control(detail, text, cause))),
        1 => return Some(Input::Control(Control::Say { text, interruptible: detail & 0x80 == 0 })),
        2 => return DtmfDigit::try_from(char::from(detail)).ok().map(Input::Dtmf),
        3 if detail < 64 => return Some(Input::LegEnded { cause }),
        4 if detail < 64 => return Some(Input::MediaLost { cause }),
        4 if detail < 72 => return Some(Input::EngineLost),
        4 if detail < 80 => return Some(Input::LeaseLost),
        _ => {}
    }
    let (id, name) = stage.pick(target)?;
    Some(match kind % 19 {
        3 | 5 => Input::Failed(id, failure(detail)),
        4 | 6 | 7 => Input::Completed(id, outcome(name, detail)),
        8 => Input::Progress(id, Progress::Heard { text_end: usize::from(detail) }),
        9 => Input::Progress(id, Progress::Playing),
        10 => Input::Progress(id, Progress::SpeechStarted { at: around(stage.now, detail) }),
        11 => Input::Progress(id, Progress::SpeechEnded { at: around(stage.now, detail) }),
        12 => Input::Progress(id, Progress::Final { language: language(detail), text }),
        13 => Input::Progress(id, Progress::Interim { text }),
        14 => Input::Progress(id, Progress::Dial(dial_event(detail, cause))),
        15 => Input::Progress(id, Progress::Consult(consult_event(detail, cause))),
        16 => Input::Progress(id, Progress::Beep),
        17 => Input::Progress(id, Progress::EndOfTurn { percent: detail % 101 }),
        _ => Input::Progress(id, Progress::Generated(llm_event(detail, text))),
    })
}

fn control(detail: u8, text: String, cause: HangupCause) -> Control {
    match detail % 8 {
        0 if detail & 8 == 0 => Control::Cancel,
        0 => Control::HangUp,
        1 | 2 => Control::Hold,
        3 => Control::Reject { cause },
        4 => Control::Resume,
        5 => Control::SendDigits { digits: DtmfDigit::try_from('5').into_iter().collect() },
        6 => Control::Transfer { brief: text, target: "nobody".to_owned() },
        _ => {
            let target = if detail & 8 == 0 { "desk" } else { "doctor" };
            Control::Transfer { brief: text, target: target.to_owned() }
        }
    }
}

fn consult_event(detail: u8, cause: HangupCause) -> ConsultEvent {
    match detail % 8 {
        0..3 => ConsultEvent::Answered,
        3 => ConsultEvent::Ended { cause },
        4 => ConsultEvent::Failed { cause },
        5 => ConsultEvent::Ringing,
        _ => match DtmfDigit::try_from('1') {
            Ok(key) => ConsultEvent::Dtmf(key),
            Err(_) => ConsultEvent::Ringing,
        },
    }
}

fn language(detail: u8) -> Option<String> {
    let languages = [None, Some("id"), Some("en-GB"), Some(""), Some("de")];
    languages[usize::from(detail / 16) % languages.len()].map(str::to_owned)
}

/// Mostly the outcome that fits the command, at times another.
fn outcome(name: &str, detail: u8) -> Outcome {
    match (name, detail % 8) {
        ("extend" | "reserve", 1..) => Outcome::Reserved { granted: Duration::from_secs(u64::from(detail)) },
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
    let names =
        ["check_appointment", "end_call", "no_such_function", "transfer_call", "send_digits", "switch_language"];
    let arguments =
        ["{}", "[]", "{", "{\"target\":\"desk\",\"language\":\"id-ID\"}", "{\"target\":\"doctor\",\"digits\":\"12#\"}"];
    match detail % 8 {
        0 | 1 => LlmEvent::Finished { reason: FinishReason::Stop },
        2 | 3 => LlmEvent::ToolCall(ToolCall {
            arguments: arguments[usize::from(detail / 8) % arguments.len()].to_owned(),
            id: format!("tool-{detail}"),
            name: names[usize::from(detail / 32) % names.len()].to_owned(),
        }),
        4 => LlmEvent::Usage { cached_tokens: 0, input_tokens: 1, output_tokens: 1 },
        _ => LlmEvent::Text(text),
    }
}

/// A moment up to a second before or after `now`.
fn around(now: Instant, detail: u8) -> Instant {
    let offset = Duration::from_millis(u64::from(detail & 0x7f) * 8);
    if detail & 0x80 == 0 { now - offset } else { now + offset }
}
