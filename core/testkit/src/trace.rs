//! Traces: stories of one feature each, in text that is run. They are tests and documentation at once.
//!
//! ```text
//! # What a reader should know.
//! call connected
//! set endpointing.delay_min=400ms
//!
//! +0ms caller begins
//! +1s caller stops
//!         2.580 = timer                endpoint, due 2.580 (endpointing.delay_min 400 ms, …)
//!         2.580 > finalize
//! ```
//!
//! | line | meaning |
//! |---|---|
//! | `# …` and empty | kept as they are |
//! | `call inbound`, `call outbound` | a call that begins |
//! | `call connected` | an inbound call after its greeting; what led there is not shown |
//! | `greeting none` | nothing is said by itself |
//! | `set PATH=VALUE` | a policy, as [`Policy::set`] takes it |
//! | `+DELAY INPUT` | an input, so long after the one before; see [`INPUTS`] |
//! | indented | what the call does, as [`explain`] tells it, without the numbers of commands |
//!
//! Only the indented lines are checked, all of them; [`run`] gives them as they should be.

use std::fmt::Write as _;
use std::time::Duration;

use offhook::call::{ConsultEvent, Control, Failure, Input, LedgerSummary, Outcome, Policy, Progress};
use offhook::error::{ErrorKind, Retry};
use offhook::journal::explain::{Side, explain};
use offhook::provider::llm::{FinishReason, LlmEvent, ToolCall};
use offhook::provider::telephony::{DialEvent, DtmfDigit, HangupCause};
use serde_json::Value;

use crate::machine::{self, Stage};

/// The inputs of a trace. Texts stand in double quotes.
pub const INPUTS: &str = r#"
wait                        time passes
set up                      everything up to the greeting goes well
tear down                   everything after the end goes well
caller begins | stops       to speak
caller interim TEXT         the recogniser so far
caller said TEXT            the recogniser, settled
caller presses KEYS         50 ms apart
caller beeps                as an answering machine does
caller hangs up
model says TEXT             the next piece
model calls NAME JSON
model stops                 the answer is complete
agent sounds                the first sound of the oldest speech
agent heard TEXT            up to there
agent plays                 all speech is heard to its end, 60 ms a byte
operator cancels
operator hangs up
operator holds | resumes
operator refuses CAUSE
operator says TEXT
operator transfers TARGET TEXT
human rings | answers | leaves, human presses KEY, human refuses CAUSE
media lost
dial ringing | answered | early | CAUSE
reserve | extend grants DURATION
run_function answers JSON
COMMAND done                the oldest open one of that name
COMMAND fails KIND          such as timed_out
input JSON                  anything else
"#;

/// Runs a trace and returns its text with the indented lines as they should be.
///
/// # Errors
/// Names the line that cannot be understood, or what did not hold.
pub fn run(trace: &str) -> Result<String, String> {
    let mut lines = trace.lines().filter(|line| !line.starts_with(' ')).peekable();
    let header: Vec<_> = std::iter::from_fn(|| lines.next_if(|line| !line.starts_with('+'))).collect();
    let mut stage = stage(&header)?;
    let mut story = Story::default();
    header.iter().for_each(|line| story.line(line, if is_connected(&header) { stage.entries().len() } else { 0 }));
    let mut kept = Vec::new();
    for line in lines {
        let Some((delay, input)) = line.strip_prefix('+').map(|line| line.split_once(' ').unwrap_or((line, "wait")))
        else {
            kept.push(line);
            continue;
        };
        stage.wait(duration(delay).ok_or_else(|| format!("not a delay: {line}"))?);
        kept.drain(..).chain([line]).for_each(|line| story.line(line, stage.entries().len()));
        act(&mut stage, input.trim()).map_err(|problem| format!("{line}: {problem}"))?;
    }
    kept.drain(..).for_each(|line| story.line(line, stage.entries().len()));
    let text = story.told(&stage)?;
    stage.finish_and_check()?;
    Ok(text)
}

/// The lines that are kept, and from which entry of the journal each tells what the call does.
#[derive(Default)]
struct Story<'a> {
    lines: Vec<(&'a str, usize)>,
}

impl<'a> Story<'a> {
    fn line(&mut self, line: &'a str, entry: usize) {
        self.lines.push((line, entry));
    }

    fn told(&self, stage: &Stage) -> Result<String, String> {
        let told = explain(stage.entries().iter().cloned()).map_err(|error| error.to_string())?;
        let mut text = String::new();
        for (index, (line, from)) in self.lines.iter().enumerate() {
            let until = self.lines.get(index + 1).map_or(stage.entries().len(), |(_, entry)| *entry);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line}");
            for line in told.iter().filter(|line| line.side != Side::Input && (*from..until).contains(&line.entry)) {
                let _ = writeln!(text, "{}", offhook::journal::explain::Line { command: None, ..line.clone() });
            }
        }
        Ok(text)
    }
}

fn is_connected(header: &[&str]) -> bool {
    header.iter().any(|line| line.trim() == "call connected")
}

fn stage(header: &[&str]) -> Result<Stage, String> {
    let mut config = machine::config(Policy::default());
    let mut offer = None;
    for line in header.iter().map(|line| line.trim()).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once(' ') {
            Some(("call", "outbound")) => offer = Some(machine::outbound()),
            Some(("call", "connected" | "inbound")) => offer = Some(machine::inbound()),
            Some(("greeting", "none")) => config.greeting = None,
            Some(("set", setting)) => {
                let (path, value) = setting.split_once('=').ok_or_else(|| format!("no value: {line}"))?;
                config.policy.set(path.trim(), value.trim()).map_err(|error| error.to_string())?;
            }
            _ => return Err(format!("not a header: {line}")),
        }
    }
    let mut stage = Stage::new(config, offer.ok_or("no call")?);
    if is_connected(header) {
        stage.set_up();
        stage.play();
    }
    Ok(stage)
}

fn act(stage: &mut Stage, input: &str) -> Result<(), String> {
    let (who, what) = input.split_once(' ').unwrap_or((input, ""));
    let (verb, rest) = what.split_once(' ').unwrap_or((what, ""));
    let now = stage.now;
    match (who, verb) {
        ("wait", "") => {}
        ("set", "up") => stage.set_up(),
        ("tear", "down") => stage.tear_down(),
        ("agent", "plays") => stage.play(),
        ("caller", "presses") => {
            for (index, digit) in rest.chars().enumerate() {
                stage.wait(Duration::from_millis(if index == 0 { 0 } else { 50 }));
                stage.input(Input::Dtmf(key(digit)?));
            }
        }
        ("caller", "beeps") => progress(stage, "listen", Progress::Beep)?,
        ("caller", "hangs") => stage.input(Input::LegEnded { cause: HangupCause::NORMAL_CLEARING }),
        ("operator", "cancels") => stage.input(Input::Control(Control::Cancel)),
        ("operator", "hangs") => stage.input(Input::Control(Control::HangUp)),
        ("operator", "holds") => stage.input(Input::Control(Control::Hold)),
        ("operator", "resumes") => stage.input(Input::Control(Control::Resume)),
        ("operator", "refuses") => stage.input(Input::Control(Control::Reject { cause: cause(rest)? })),
        ("operator", "transfers") => {
            let (target, brief) = rest.split_once(' ').unwrap_or((rest, "\"\""));
            let (target, brief) = (target.to_owned(), text(brief)?);
            stage.input(Input::Control(Control::Transfer { brief, target }));
        }
        ("human", _) => progress(stage, "consult", Progress::Consult(human(verb, rest)?))?,
        ("operator", "says") => stage.input(Input::Control(Control::Say { interruptible: true, text: text(rest)? })),
        ("media", "lost") => stage.input(Input::MediaLost { cause: HangupCause::NETWORK_OUT_OF_ORDER }),
        ("input", _) => stage.input(serde_json::from_str(what).map_err(|error| error.to_string())?),
        ("caller", "begins") => progress(stage, "listen", Progress::SpeechStarted { at: now })?,
        ("caller", "stops") => progress(stage, "listen", Progress::SpeechEnded { at: now })?,
        ("caller", "interim") => progress(stage, "listen", Progress::Interim { text: text(rest)? })?,
        ("caller", "said") => progress(stage, "listen", Progress::Final { language: None, text: text(rest)? })?,
        ("agent", "sounds") => progress(stage, "speak", Progress::Playing)?,
        ("agent", "heard") => {
            let heard = text(rest)?;
            let is_spoken = stage.speaking().first().is_some_and(|speech| speech.starts_with(&heard));
            let text_end = is_spoken.then_some(heard.len()).ok_or("that is not what the agent says")?;
            progress(stage, "speak", Progress::Heard { text_end })?;
        }
        ("model", _) => progress(stage, "generate", Progress::Generated(model(verb, rest)?))?,
        ("dial", "ringing" | "answered" | "early") => {
            let event = match verb {
                "answered" => DialEvent::Answered,
                "early" => DialEvent::EarlyMedia,
                _ => DialEvent::Ringing,
            };
            progress(stage, "dial", Progress::Dial(event))?;
        }
        ("dial", number) if number.parse::<u8>().is_ok() => {
            progress(stage, "dial", Progress::Dial(DialEvent::Failed { cause: cause(number)? }))?;
        }
        (command, _) => end(stage, command, verb, rest)?,
    }
    Ok(())
}

fn progress(stage: &mut Stage, command: &str, progress: Progress) -> Result<(), String> {
    let id = stage.find(command).ok_or_else(|| format!("no {command} is open"))?;
    stage.input(Input::Progress(id, progress));
    Ok(())
}

/// The model's next event.
fn model(verb: &str, rest: &str) -> Result<LlmEvent, String> {
    match verb {
        "says" => text(rest).map(LlmEvent::Text),
        "calls" => {
            let (name, arguments) = rest.split_once(' ').unwrap_or((rest, "{}"));
            let (name, arguments) = (name.to_owned(), arguments.to_owned());
            Ok(LlmEvent::ToolCall(ToolCall { arguments, id: "t1".to_owned(), name }))
        }
        "stops" => Ok(LlmEvent::Finished { reason: FinishReason::Stop }),
        _ => Err("not something that a model does".to_owned()),
    }
}

/// What the human does who is to take the call over.
fn human(verb: &str, rest: &str) -> Result<ConsultEvent, String> {
    Ok(match verb {
        "answers" => ConsultEvent::Answered,
        "leaves" => ConsultEvent::Ended { cause: HangupCause::NORMAL_CLEARING },
        "presses" => ConsultEvent::Dtmf(key(rest.chars().next().unwrap_or_default())?),
        "refuses" => ConsultEvent::Failed { cause: cause(rest)? },
        "rings" => ConsultEvent::Ringing,
        _ => return Err("not something that a human does".to_owned()),
    })
}

/// The end of a command.
fn end(stage: &mut Stage, command: &str, verb: &str, rest: &str) -> Result<(), String> {
    let id = stage.find(command).ok_or_else(|| format!("no {command} is open"))?;
    let outcome = match (command, verb) {
        ("close_media", "done") => Outcome::Recorded(Some("memory:recording.wav".to_owned())),
        ("extend" | "reserve", "grants") => Outcome::Reserved { granted: duration(rest).ok_or("not a duration")? },
        ("run_function", "answers") => {
            Outcome::Function(serde_json::from_str(rest).map_err(|error| error.to_string())?)
        }
        ("settle", "done") => Outcome::Settled(LedgerSummary::default()),
        (_, "done") => Outcome::Done,
        (_, "fails") => {
            let kind: ErrorKind = serde_json::from_value(Value::from(rest)).map_err(|error| error.to_string())?;
            stage.input(Input::Failed(
                id,
                Failure { kind, message: "told by the trace".to_owned(), retry: Retry::Later },
            ));
            return Ok(());
        }
        _ => return Err("not an input".to_owned()),
    };
    stage.input(Input::Completed(id, outcome));
    Ok(())
}

fn key(key: char) -> Result<DtmfDigit, String> {
    DtmfDigit::try_from(key).map_err(|error| error.to_string())
}

/// A cause by its Q.850 value.
fn cause(value: &str) -> Result<HangupCause, String> {
    let cause = value.parse().ok().and_then(|value: u8| HangupCause::try_from(value).ok());
    cause.ok_or_else(|| format!("not a cause: {value}"))
}

fn text(quoted: &str) -> Result<String, String> {
    serde_json::from_str(quoted).map_err(|_| format!("not a text in double quotes: {quoted}"))
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit_ms) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s')?, 1_000),
    };
    number.parse::<u64>().ok().map(|number| Duration::from_millis(number * unit_ms))
}
