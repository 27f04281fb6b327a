//! A call told line by line: what came in, why it decided what it did, and what it put out.

mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::{Entry, Runner};
use crate::call::{Command, CommandId, Decision, DecisionKind, EndpointReason, Input, Output, Policy, Progress};
use crate::error::Result;
use crate::provider::llm::LlmEvent;
use crate::time::Instant;

/// One line of a call's story.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// Since the call's start.
    #[serde(rename = "at_ms", with = "crate::time::duration_ms")]
    pub at: Duration,
    /// The entry of the journal that it belongs to.
    pub entry: usize,
    /// What kind of line it is.
    pub side: Side,
    /// What it is about: a command, an event, a decision, or who did it.
    pub name: String,
    /// Which command, if it is about one.
    pub command: Option<CommandId>,
    /// The rest, with its figures.
    pub detail: String,
}

/// What kind of line it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// A command was started or cancelled.
    Command,
    /// Why.
    Decision,
    /// Whoever follows the call was told.
    Event,
    /// The call was told.
    Input,
}

impl Side {
    /// One character: `>` goes out, `<` comes in, `=` is decided, `*` is told.
    pub const fn mark(self) -> char {
        match self {
            Self::Command => '>',
            Self::Decision => '=',
            Self::Event => '*',
            Self::Input => '<',
        }
    }
}

/// Aligned, for a terminal: seconds, mark, name and number of the command, detail.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.command {
            Some(id) => format!("{} #{id}", self.name),
            None => self.name.clone(),
        };
        let line = format!("{:>9.3} {} {name:<20} {}", self.at.as_secs_f64(), self.side.mark(), self.detail);
        f.write_str(line.trim_end())
    }
}

/// Runs a call again and tells it.
///
/// `Rejected` for entries without a start, or with a second one.
pub fn explain(entries: impl IntoIterator<Item = Entry>) -> Result<Vec<Line>> {
    let mut entries = entries.into_iter();
    let Some(Entry::Start { at: start, config, offer }) = entries.next() else {
        return Err(super::rejected("the journal does not begin with a start"));
    };
    let mut teller = Teller::new(&config.policy);
    teller.tell(Side::Input, "start", None, words::offer(&offer, config.id));
    let mut runner = Runner::start(Some(Entry::Start { at: start, config, offer }))?;
    runner.call.explain();
    teller.outputs(&runner.outputs());
    for entry in entries {
        teller.at = entry.at().saturating_since(start);
        teller.entry += 1;
        teller.entry(&entry);
        runner.step(entry)?;
        teller.decisions(&runner.call.take_decisions());
        teller.outputs(&runner.outputs());
    }
    Ok(teller.lines)
}

/// Puts lines together.
struct Teller {
    at: Duration,
    /// Why the end of the turn was last awaited so long.
    endpoint: Option<EndpointReason>,
    entry: usize,
    /// Up to where each piece of speech was heard.
    heard: BTreeMap<CommandId, usize>,
    lines: Vec<Line>,
    /// What is known of each command: its name, and what it says if it speaks.
    known: BTreeMap<CommandId, (&'static str, String)>,
    /// Its fields are the figures that timers go by.
    policy: Value,
    /// The line that grows.
    run: Option<Run>,
}

/// Pieces that make one line.
struct Run {
    command: CommandId,
    line: usize,
    pieces: usize,
    text: String,
    verb: &'static str,
}

impl Teller {
    fn new(policy: &Policy) -> Self {
        // Numbers, texts and maps with text keys: this cannot fail.
        let policy = serde_json::to_value(policy).unwrap_or_default();
        let (heard, known) = (BTreeMap::new(), BTreeMap::new());
        Self { at: Duration::ZERO, endpoint: None, entry: 0, heard, lines: Vec::new(), known, policy, run: None }
    }

    fn tell(&mut self, side: Side, name: impl Into<String>, command: Option<CommandId>, detail: String) {
        self.lines.push(Line { at: self.at, entry: self.entry, side, name: name.into(), command, detail });
    }

    fn entry(&mut self, entry: &Entry) {
        match entry {
            Entry::End { outputs, .. } => self.tell(Side::Input, "end", None, format!("{outputs} outputs in all")),
            Entry::Input { at, input } => self.input(*at, input),
            // The decision that follows says which timer it was.
            Entry::Start { .. } | Entry::Timeout { .. } => {}
        }
    }

    fn input(&mut self, now: Instant, input: &Input) {
        let (id, detail) = match input {
            Input::Completed(id, outcome) => (*id, words::outcome(outcome)),
            Input::Failed(id, failure) => (*id, words::failure(failure)),
            Input::Progress(id, Progress::Generated(LlmEvent::Text(text))) => return self.piece(*id, "says", text),
            Input::Progress(id, Progress::Heard { text_end }) => return self.heard(*id, *text_end),
            Input::Progress(id, progress) => (*id, words::progress(now, progress)),
            input => {
                let (name, detail) = words::incident(input);
                self.tell(Side::Input, name, None, detail);
                return;
            }
        };
        self.tell(Side::Input, self.name(id), Some(id), detail);
    }

    /// The caller has heard speech up to there.
    fn heard(&mut self, id: CommandId, text_end: usize) {
        let Some((_, text)) = self.known.get(&id) else { return };
        let end = text.floor_char_boundary(text_end);
        let begin = self.heard.insert(id, end).unwrap_or_default();
        let words = text.get(begin..end).unwrap_or_default().to_owned();
        self.piece(id, "heard", &words);
    }

    /// What comes in many small pieces goes into one line for as long as nothing comes between.
    fn piece(&mut self, id: CommandId, verb: &'static str, text: &str) {
        let goes_on = |run: &Run| run.command == id && run.verb == verb && run.line + 1 == self.lines.len();
        let mut run = match self.run.take().filter(goes_on) {
            Some(run) => run,
            None => {
                self.tell(Side::Input, self.name(id), Some(id), String::new());
                Run { command: id, line: self.lines.len() - 1, pieces: 0, text: String::new(), verb }
            }
        };
        run.pieces += 1;
        run.text.push_str(text);
        if let Some(line) = self.lines.get_mut(run.line) {
            line.detail = match run.pieces {
                1 => format!("{verb} {:?}", run.text),
                pieces => format!("{verb} {:?}, {pieces} pieces until {:.3}", run.text, self.at.as_secs_f64()),
            };
        }
        self.run = Some(run);
    }

    fn name(&self, id: CommandId) -> &'static str {
        self.known.get(&id).map_or("unknown", |(name, _)| name)
    }

    fn decisions(&mut self, decisions: &[Decision]) {
        for decision in decisions {
            if let DecisionKind::Endpoint { reason, .. } = &decision.kind {
                self.endpoint = Some(*reason);
            }
            let (name, detail) = words::decision(&decision.kind, decision.at, self.endpoint, &self.policy);
            self.tell(Side::Decision, name, None, detail);
        }
    }

    fn outputs(&mut self, outputs: &[Output]) {
        for output in outputs {
            match output {
                Output::Cancel(id) => {
                    self.tell(Side::Command, self.name(*id), Some(*id), "cancelled".to_owned());
                }
                Output::Event(event) => {
                    let (name, detail) = words::event(&event.kind);
                    self.tell(Side::Event, name, None, detail);
                }
                Output::Start(id, command) => {
                    let text = match command {
                        Command::Speak { text, .. } => text.clone(),
                        _ => String::new(),
                    };
                    self.known.insert(*id, (command.name(), text));
                    self.tell(Side::Command, command.name(), Some(*id), words::command(command));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned() {
        let line = |name: &str, command, detail: &str| {
            let (at, detail) = (Duration::from_millis(12_345), detail.to_owned());
            Line { at, entry: 1, side: Side::Input, name: name.to_owned(), command, detail }.to_string()
        };
        assert_eq!(line("speak", Some(CommandId::new(7)), "done"), "   12.345 < speak #7             done");
        assert_eq!(line("carrier", None, "gone"), "   12.345 < carrier              gone");
        assert_eq!(line("answer", None, ""), "   12.345 < answer");
    }
}
