//! A journal without what people said and who they are, which replays all the same.
//!
//! Every word becomes another word of as many bytes, in the same case, and the same word becomes the same one everywhere,
//! so that what the call compares stays equal. White space, punctuation and the structure of JSON stay, and so do the
//! names of its fields, the words by which a call decides ("and", "leave a message"), the names in its policy, ids and
//! times. Of a number stay its length and whether it begins with a zero; of the keys that were pressed, those that a
//! rule names.

mod keys;
mod pseudonym;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use self::pseudonym::Pseudonyms;
use super::explain::{Line, Side, explain};
use super::{Entry, Journal};
use crate::call::policy::{TransferMode, TransferTarget};
use crate::call::{
    CallConfig, CommandId, ConsultEvent, Control, Input, Offer, Outcome, Policy, Progress, deciding_words,
};
use crate::error::{Error, ErrorKind, Result};
use crate::provider::llm::{LlmEvent, Tool, ToolCall};
use crate::provider::telephony::{DtmfDigit, E164, LegId};

/// Redacts a journal. The call that it gives does the same things at the same times, with other words.
///
/// `Rejected` for a journal with a second start; `Unexpected` for one whose call would go another way without its words
/// or its keys.
pub fn redact(journal: &Journal) -> Result<Journal> {
    let Some(Entry::Start { config, .. }) = journal.entries.first() else {
        return Err(super::rejected("the journal does not begin with a start"));
    };
    let mut redactor = Redactor::new(config, &journal.entries);
    let entries: Vec<_> = keys::hide(&journal.entries)?.iter().map(|entry| redactor.entry(entry)).collect();
    compare(&journal.entries, &entries)?;
    Journal::seal(entries)
}

/// Whether two journals have the same shape.
fn compare(was: &[Entry], now: &[Entry]) -> Result<()> {
    let (was, now) = (explain(was.iter().cloned())?, explain(now.iter().cloned())?);
    let different = was.iter().zip(&now).find(|(was, now)| shape(was) != shape(now));
    match different {
        None if was.len() == now.len() => Ok(()),
        different => {
            let entry = different.map_or(0, |(line, _)| line.entry);
            let message = "the call would go another way without its words";
            Err(Error::new(ErrorKind::Unexpected, "journal.redact", message).with_context("entry", entry))
        }
    }
}

/// All of a line but its words. The figures of a decision count; keys are words too.
fn shape(line: &Line) -> (u128, usize, Side, &str, Option<CommandId>, &str) {
    let figures = if line.side == Side::Decision && line.name != "keys" { line.detail.as_str() } else { "" };
    (line.at.as_micros(), line.entry, line.side, &line.name, line.command, figures)
}

struct Redactor {
    /// Keys by which a call is taken over.
    accepting: BTreeSet<char>,
    /// What the model has said so far, by command: its pieces may end within a word.
    answers: BTreeMap<CommandId, Answer>,
    /// Keys of objects in the schemas of the tools.
    fields: BTreeSet<String>,
    /// Texts that name something.
    names: BTreeSet<String>,
    pseudonyms: Pseudonyms,
}

struct Answer {
    redacted: String,
    told: usize,
}

impl Redactor {
    fn new(config: &CallConfig, entries: &[Entry]) -> Self {
        let names = config.tools.iter().map(|tool| tool.name.clone()).chain([config.language.clone()]);
        let mut redactor = Self {
            accepting: accepting(&config.policy),
            answers: BTreeMap::new(),
            fields: BTreeSet::new(),
            names: names.collect(),
            pseudonyms: Pseudonyms::new(deciding_words()),
        };
        config.tools.iter().for_each(|tool| redactor.learn_fields(&tool.parameters));
        redactor.learn(&serde_json::to_value(&config.policy).unwrap_or_default(), false);
        let mut answers: BTreeMap<CommandId, String> = BTreeMap::new();
        for entry in entries {
            if let Entry::Input { input: Input::Progress(id, Progress::Generated(LlmEvent::Text(text))), .. } = entry {
                answers.entry(*id).or_default().push_str(text);
            }
        }
        // Every word is known before the first is replaced, so that none is replaced by another that was said.
        entries
            .iter()
            .for_each(|entry| redactor.pseudonyms.avoid(&serde_json::to_string(&told(entry)).unwrap_or_default()));
        answers.values().for_each(|text| redactor.pseudonyms.avoid(text));
        for (id, text) in answers {
            let redacted = redactor.text(&text);
            redactor.answers.insert(id, Answer { redacted, told: 0 });
        }
        redactor
    }

    /// Notes the keys of a schema.
    fn learn_fields(&mut self, schema: &Value) {
        match schema {
            Value::Array(items) => items.iter().for_each(|item| self.learn_fields(item)),
            Value::Object(fields) => {
                self.fields.extend(fields.keys().filter(|key| !key.contains('@')).cloned());
                fields.values().for_each(|field| self.learn_fields(field));
            }
            _ => {}
        }
    }

    /// Notes the names and words of a policy.
    fn learn(&mut self, value: &Value, is_list: bool) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.learn(item, true)),
            Value::Object(fields) => fields.values().for_each(|field| self.learn(field, false)),
            Value::String(text) => {
                if is_list {
                    self.pseudonyms.keep(text);
                }
                if is_list || is_name(text) {
                    self.names.insert(text.clone());
                }
            }
            _ => {}
        }
    }

    fn entry(&mut self, entry: &Entry) -> Entry {
        match entry {
            Entry::Input { at, input } => Entry::Input { at: *at, input: self.input(input) },
            Entry::Start { at, config, offer } => {
                Entry::Start { at: *at, config: Box::new(self.config(config)), offer: self.offer(offer) }
            }
            entry => entry.clone(),
        }
    }

    fn config(&mut self, config: &CallConfig) -> CallConfig {
        let tools = config.tools.iter().map(|tool| Tool {
            description: self.text(&tool.description),
            name: tool.name.clone(),
            parameters: self.value(&tool.parameters),
        });
        CallConfig {
            tools: tools.collect(),
            greeting: config.greeting.as_deref().map(|greeting| self.text(greeting)),
            policy: self.policy(&config.policy),
            system_prompt: self.text(&config.system_prompt),
            ..config.clone()
        }
    }

    fn policy(&mut self, policy: &Policy) -> Policy {
        let mut value = serde_json::to_value(policy).unwrap_or_default();
        self.texts(&mut value);
        // Texts stay texts and numbers numbers, so this cannot fail; if it did, the shape would tell.
        serde_json::from_value(value).unwrap_or_default()
    }

    /// Redacts the texts of a policy; lists of words stay.
    fn texts(&mut self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().filter(|item| !item.is_string()).for_each(|item| self.texts(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.texts(field)),
            Value::String(text) if !is_name(text) => *text = self.text(text),
            _ => {}
        }
    }

    fn offer(&mut self, offer: &Offer) -> Offer {
        match offer {
            Offer::Inbound { leg, from, to } => Offer::Inbound {
                leg: LegId::new(self.text(leg.as_str())).unwrap_or_else(|_| leg.clone()),
                from: from.as_ref().map(number),
                to: to.as_ref().map(number),
            },
            Offer::Outbound { from, to } => Offer::Outbound { from: number(from), to: number(to) },
        }
    }

    /// Every input has its arm, so that a new one cannot be forgotten.
    fn input(&mut self, input: &Input) -> Input {
        match input {
            Input::Completed(id, outcome) => Input::Completed(*id, self.outcome(outcome)),
            Input::Control(control) => Input::Control(self.control(control)),
            // Its keys are hidden already.
            Input::Dtmf(_)
            | Input::EngineLost
            | Input::Failed(..)
            | Input::LeaseLost
            | Input::LegEnded { .. }
            | Input::MediaLost { .. } => input.clone(),
            Input::Progress(id, progress) => Input::Progress(*id, self.progress(*id, progress)),
        }
    }

    fn outcome(&mut self, outcome: &Outcome) -> Outcome {
        match outcome {
            Outcome::Function(value) => Outcome::Function(self.value(value)),
            Outcome::Recorded(location) => Outcome::Recorded(location.as_deref().map(|location| self.text(location))),
            Outcome::Done | Outcome::Reserved { .. } | Outcome::Settled(_) => outcome.clone(),
        }
    }

    fn control(&mut self, control: &Control) -> Control {
        match control {
            Control::Cancel | Control::HangUp | Control::Hold | Control::Reject { .. } | Control::Resume => {
                control.clone()
            }
            Control::Say { text, interruptible } => {
                Control::Say { text: self.text(text), interruptible: *interruptible }
            }
            Control::SendDigits { digits } => {
                Control::SendDigits { digits: digits.iter().map(|key| hidden(*key, '0')).collect() }
            }
            Control::Transfer { brief, target } => {
                Control::Transfer { brief: self.text(brief), target: self.name(target) }
            }
        }
    }

    fn progress(&mut self, id: CommandId, progress: &Progress) -> Progress {
        match progress {
            Progress::Consult(ConsultEvent::Dtmf(key)) => Progress::Consult(ConsultEvent::Dtmf(self.key(*key))),
            Progress::Final { language, text } => Progress::Final { language: language.clone(), text: self.text(text) },
            Progress::Generated(event) => Progress::Generated(self.generated(id, event)),
            Progress::Interim { text } => Progress::Interim { text: self.text(text) },
            Progress::Beep
            | Progress::Consult(_)
            | Progress::Dial(_)
            | Progress::EndOfTurn { .. }
            | Progress::Heard { .. }
            | Progress::MachineTone
            | Progress::Playing
            | Progress::Queued { .. }
            | Progress::SpeechEnded { .. }
            | Progress::SpeechStarted { .. } => progress.clone(),
        }
    }

    fn generated(&mut self, id: CommandId, event: &LlmEvent) -> LlmEvent {
        match event {
            LlmEvent::Finished { .. } | LlmEvent::Usage { .. } => event.clone(),
            LlmEvent::Text(text) => LlmEvent::Text(self.piece(id, text.len())),
            LlmEvent::ToolCall(call) => LlmEvent::ToolCall(ToolCall {
                arguments: self.json(&call.arguments),
                id: call.id.clone(),
                name: self.tool(&call.name),
            }),
        }
    }

    /// The next so many bytes of an answer: every character keeps its length.
    fn piece(&mut self, id: CommandId, length: usize) -> String {
        let Some(answer) = self.answers.get_mut(&id) else { return String::new() };
        let begin = answer.told;
        answer.told += length;
        answer.redacted.get(begin..answer.told).unwrap_or_default().to_owned()
    }

    /// Names of tools are the agent's, the machine's, or made up by the model.
    fn tool(&mut self, name: &str) -> String {
        let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if is_plain { name.to_owned() } else { self.name(name) }
    }

    fn name(&mut self, name: &str) -> String {
        if self.names.contains(name) { name.to_owned() } else { self.text(name) }
    }

    /// A key of the human who is asked to take the call.
    fn key(&self, key: DtmfDigit) -> DtmfDigit {
        let other = ('0'..='9').find(|digit| !self.accepting.contains(digit));
        other.filter(|_| !self.accepting.contains(&key.as_char())).map_or(key, |digit| hidden(key, digit))
    }

    fn text(&mut self, text: &str) -> String {
        match text.parse::<E164>() {
            Ok(number) => self::number(&number).to_string(),
            Err(_) => self.pseudonyms.text(text),
        }
    }

    fn value(&mut self, value: &Value) -> Value {
        // The structure stays, so this cannot fail.
        serde_json::from_str(&self.json(&value.to_string())).unwrap_or_default()
    }

    /// JSON or what a model took for it: names of fields, literals and structure stay.
    fn json(&mut self, text: &str) -> String {
        let mut redacted = String::new();
        let mut rest = text;
        while let Some(begin) = rest.find('"') {
            let (plain, quoted) = rest.split_at(begin);
            redacted.push_str(&self.bare(plain));
            let end = string_end(quoted);
            let (string, after) = quoted.split_at(end);
            let is_key = after.trim_start().starts_with(':');
            redacted.push_str(&if is_key { self.field(string) } else { self.string(string) });
            rest = after;
        }
        redacted + &self.bare(rest)
    }

    /// What stands between strings.
    fn bare(&mut self, text: &str) -> String {
        let is_number = |word: &str| word.starts_with(|first: char| first.is_ascii_digit());
        let words = pseudonym::words(text).map(|word| match word {
            "false" | "null" | "true" => word.to_owned(),
            word if is_number(word) => pseudonym::digits(word),
            word => self.pseudonyms.text(word),
        });
        words.collect()
    }

    /// The key of an object with its quotes: the name of a field, or what people said.
    fn field(&mut self, quoted: &str) -> String {
        let inner = quoted.trim_matches('"');
        if self.fields.contains(inner) || inner.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_') {
            quoted.to_owned()
        } else if inner.contains('\\') {
            self.string(quoted)
        } else {
            format!("\"{}\"", self.pseudonyms.key(inner))
        }
    }

    /// A string with its quotes; escapes stay, but for those that spell letters.
    fn string(&mut self, quoted: &str) -> String {
        let inner = quoted.trim_matches('"');
        if self.names.contains(inner) {
            return quoted.to_owned();
        }
        let mut redacted = String::new();
        let mut rest = quoted;
        while let Some(escape) = rest.find('\\') {
            let (plain, escaped) = rest.split_at(escape);
            redacted.push_str(&self.quoted_text(plain));
            let length = if escaped[1..].starts_with('u') { 6 } else { 2 };
            let (escape, after) = escaped.split_at(escaped.floor_char_boundary(length));
            redacted.push_str(if spells_letter(escape) { "\\u0078" } else { escape });
            rest = after;
        }
        redacted + &self.quoted_text(rest)
    }

    fn quoted_text(&mut self, text: &str) -> String {
        let (open, rest) = text.strip_prefix('"').map_or(("", text), |rest| ("\"", rest));
        let (inner, close) = rest.strip_suffix('"').map_or((rest, ""), |rest| (rest, "\""));
        format!("{open}{}{close}", self.text(inner))
    }
}

/// What an entry says, for the list of words that must not come back.
fn told(entry: &Entry) -> Value {
    match entry {
        Entry::Input { input, .. } => serde_json::to_value(input).unwrap_or_default(),
        Entry::Start { config, offer, .. } => serde_json::to_value((config, offer)).unwrap_or_default(),
        Entry::End { .. } | Entry::Timeout { .. } => Value::Null,
    }
}

/// Whether a text of a policy names something: one word that no sentence is made of, a language, keys.
fn is_name(text: &str) -> bool {
    text.parse::<E164>().is_err()
        && text.chars().all(|character| character.is_alphanumeric() || matches!(character, '_' | '-' | '*' | '#'))
}

fn accepting(policy: &Policy) -> BTreeSet<char> {
    let accept = |target: &TransferTarget| match target.mode {
        TransferMode::Warm { accept } => accept.map(DtmfDigit::as_char),
        TransferMode::Blind => None,
    };
    policy.transfer.targets.iter().filter_map(accept).collect()
}

/// Another digit for a digit.
fn hidden(key: DtmfDigit, digit: char) -> DtmfDigit {
    if key.as_char().is_ascii_digit() { DtmfDigit::try_from(digit).unwrap_or(key) } else { key }
}

fn number(number: &E164) -> E164 {
    pseudonym::digits(number.as_str()).parse().unwrap_or_else(|_| number.clone())
}

/// The length of the string that a text begins with, quotes and all; of one without an end, all of it.
fn string_end(text: &str) -> usize {
    let mut is_escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !is_escaped => return index + 1,
            b'\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    text.len()
}

fn spells_letter(escape: &str) -> bool {
    let code = escape.strip_prefix("\\u").and_then(|code| u32::from_str_radix(code, 16).ok());
    code.and_then(char::from_u32).is_some_and(char::is_alphanumeric)
}
