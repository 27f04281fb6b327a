//! How the commands of a real call were answered.

use std::collections::BTreeMap;
use std::time::Duration;

use super::command_of;
use crate::call::{Command, CommandId, Input, Outcome, Output, Progress};
use crate::error::Result;
use crate::journal::{Entry, Runner};
use crate::provider::llm::{FinishReason, LlmEvent};
use crate::time::Instant;

/// The pace of speech in a call in which none was heard to its end, a byte.
const PACE: Duration = Duration::from_millis(60);

/// How long the first sound takes in a call in which there was none.
const LEAD: Duration = Duration::from_millis(100);

/// The entry of an answer that was not in the journal.
const IMAGINED: usize = usize::MAX;

/// One answer to a command.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) at: Instant,
    pub(super) entry: usize,
    pub(super) input: Input,
}

/// One command and its answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    pub(super) answers: Vec<Answer>,
    /// The entry that led to the command.
    entry: usize,
    is_taken: bool,
    /// From its start, or from the moment when the line was free, to its first sound.
    lead: Option<Duration>,
    pub(super) name: &'static str,
    pub(super) started: Instant,
    /// What is said, if it is speech.
    pub(super) text: String,
}

/// All commands of a call, in order.
pub(super) struct Scripts {
    /// The usual time to the first sound of speech.
    lead: Duration,
    /// The usual time a byte of speech takes.
    pace: Duration,
    scripts: BTreeMap<CommandId, Script>,
}

impl Script {
    /// When its first sound was, if it is speech.
    pub(super) fn playing(&self) -> Option<Instant> {
        let playing = |answer: &&Answer| matches!(answer.input, Input::Progress(_, Progress::Playing));
        self.answers.iter().find(playing).map(|answer| answer.at)
    }

    /// When it ended by itself.
    fn ended(&self) -> Option<Instant> {
        let last = self.answers.last()?;
        matches!(last.input, Input::Completed(..) | Input::Failed(..)).then_some(last.at)
    }
}

impl Scripts {
    pub(super) fn of(entries: &[Entry]) -> Result<Self> {
        let mut runner = Runner::start(entries.first().cloned())?;
        let mut scripts = BTreeMap::new();
        let start = entries.first().map_or(Instant::default(), Entry::at);
        note(&mut scripts, 0, start, &runner.outputs());
        for (index, entry) in entries.iter().enumerate().skip(1) {
            if let Entry::Input { at, input } = entry
                && let Some(script) = command_of(input).and_then(|id| scripts.get_mut(&id))
            {
                script.answers.push(Answer { at: *at, entry: index, input: input.clone() });
            }
            runner.step(entry.clone())?;
            note(&mut scripts, index, entry.at(), &runner.outputs());
        }
        scripts.values_mut().for_each(close);
        let (lead, pace) = habits(&mut scripts);
        Ok(Self { lead, pace, scripts })
    }

    /// Takes the commands of the first `common` entries.
    pub(super) fn take_begun(&mut self, common: usize) -> Vec<(CommandId, Script)> {
        let begun = self.scripts.iter_mut().filter(|(_, script)| script.entry < common);
        begun
            .map(|(id, script)| {
                script.is_taken = true;
                (*id, script.clone())
            })
            .collect()
    }

    /// Takes the next command of that name, if there is one left; of speech the one with the same text, if there is one.
    pub(super) fn take(&mut self, name: &str, text: &str) -> Option<Script> {
        let is_free = |script: &Script| !script.is_taken && script.name == name;
        let is_same = self.scripts.values().any(|script| is_free(script) && script.text == text);
        let script = self.scripts.values_mut().find(|script| is_free(script) && (!is_same || script.text == text))?;
        script.is_taken = true;
        Some(script.clone())
    }

    /// When the next command of that name was started, and by which entry.
    pub(super) fn next_of(&self, name: &str) -> Option<(Instant, usize)> {
        let next = self.scripts.values().find(|script| !script.is_taken && script.name == name)?;
        Some((next.started, next.entry))
    }

    /// When the first sound of speech comes on a line that is free from `free` on.
    pub(super) fn first_sound(&self, script: &Script, free: Instant) -> Instant {
        free + script.lead.unwrap_or(self.lead)
    }

    /// How a piece of speech goes whose first sound comes at `begin`, and whether some of it had to be made up.
    pub(super) fn speech(&self, script: &Script, text: &str, begin: Instant) -> (Vec<Answer>, bool) {
        let imagined = |at, input| Answer { at, entry: IMAGINED, input };
        let to_nobody = CommandId::new(0);
        let mut heard = 0;
        let mut answers = Vec::new();
        match script.playing().filter(|_| script.text == text) {
            Some(playing) => {
                for answer in script.answers.iter().filter(|answer| answer.at >= playing) {
                    if let Input::Progress(_, Progress::Heard { text_end }) = answer.input {
                        heard = text_end;
                    }
                    answers.push(Answer { at: begin + answer.at.saturating_since(playing), ..answer.clone() });
                }
            }
            None => answers.push(imagined(begin, Input::Progress(to_nobody, Progress::Playing))),
        }
        if script.text == text && script.ended().is_some() {
            return (answers, false);
        }
        let from = answers.last().map_or(begin, |answer| answer.at);
        let bytes = |end: usize| u32::try_from(end.saturating_sub(heard)).unwrap_or(u32::MAX);
        let at = |end: usize| from + self.pace.saturating_mul(bytes(end));
        let ends = text.char_indices().filter(|(end, character)| *end > heard && character.is_whitespace());
        let words = ends.map(|(text_end, _)| (text_end, Input::Progress(to_nobody, Progress::Heard { text_end })));
        let rest = words.chain([(text.len(), Input::Completed(to_nobody, Outcome::Done))]);
        answers.extend(rest.map(|(end, input)| imagined(at(end), input)));
        (answers, true)
    }

    /// Answers to commands that were begun after the first `common` entries and that nobody took.
    pub(super) fn left_over(&self, common: usize) -> usize {
        let left = self.scripts.values().filter(|script| !script.is_taken && script.entry >= common);
        left.map(|script| script.answers.len()).sum()
    }
}

fn note(scripts: &mut BTreeMap<CommandId, Script>, entry: usize, at: Instant, outputs: &[Output]) {
    for output in outputs {
        if let Output::Start(id, command) = output {
            let text = match command {
                Command::Speak { text, .. } => text.clone(),
                _ => String::new(),
            };
            let script = Script { entry, name: command.name(), started: at, text, ..Script::default() };
            scripts.insert(*id, script);
        }
    }
}

/// An answer of the model that was broken off ends where it was.
fn close(script: &mut Script) {
    let is_finished = |answer: &Answer| {
        matches!(answer.input, Input::Progress(_, Progress::Generated(LlmEvent::Finished { .. })) | Input::Failed(..))
    };
    let Some(Answer { at, input: Input::Progress(id, _), .. }) = script.answers.last().cloned() else { return };
    if script.name == "generate" && !script.answers.iter().any(is_finished) {
        let finished = Progress::Generated(LlmEvent::Finished { reason: FinishReason::Stop });
        script.answers.push(Answer { at, entry: IMAGINED, input: Input::Progress(id, finished) });
    }
}

/// The usual time to the first sound, and the usual time a byte. Notes each piece's own time to its first sound.
fn habits(scripts: &mut BTreeMap<CommandId, Script>) -> (Duration, Duration) {
    let mut leads = Vec::new();
    let (mut time, mut bytes) = (Duration::ZERO, 0);
    let mut free = Instant::default();
    for script in scripts.values_mut().filter(|script| script.name == "speak") {
        let Some(playing) = script.playing() else { continue };
        let lead = playing.saturating_since(script.started.max(free));
        script.lead = Some(lead);
        leads.push(lead);
        free = script.answers.last().map_or(free, |answer| answer.at);
        if let Some(ended) = script.ended() {
            time = time.saturating_add(ended.saturating_since(playing));
            bytes = u32::try_from(script.text.len()).map_or(u32::MAX, |length| length.saturating_add(bytes));
        }
    }
    leads.sort_unstable();
    let lead = leads.get(leads.len() / 2).copied().unwrap_or(LEAD);
    (lead, time.checked_div(bytes).unwrap_or(PACE))
}
