//! What to answer: the conversation is gone through from its beginning each time, so that nothing need be remembered.

use std::collections::BTreeMap;

use offhook::error::Result;
use offhook::provider::llm::{LlmRequest, Message, ToolCall};
use serde_json::{Value, json};

use super::intent::Matcher;
use super::rules::{Intent, Rules, Text};
use super::slots::{self, Found};

/// A slot is asked for this often; then something else must be said.
const ASKED_MAX: u32 = 3;
const CANNOT: &str = "I am sorry, I cannot do that.";

/// The rules, ready to answer.
#[derive(Debug)]
pub(super) struct Dialogue {
    rules: Rules,
    matcher: Matcher,
}

/// What to say and to call.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) calls: Vec<ToolCall>,
}

impl Dialogue {
    pub(super) fn new(rules: Rules) -> Self {
        Self { matcher: Matcher::new(&rules.intents), rules }
    }

    pub(super) fn name(&self) -> &str {
        &self.rules.name
    }

    pub(super) fn answer(&self, request: &LlmRequest) -> Result<Answer> {
        let mut state =
            State { dialogue: self, request, slots: BTreeMap::new(), asking: None, last: None, fallbacks: 0 };
        let mut reply = None;
        let mut said: Vec<&str> = Vec::new();
        for message in &request.messages {
            match message {
                Message::User { text } => {
                    said.push(text);
                    // What was said before an answer could begin belongs to what is said now.
                    reply = Some(state.clone().hear(&said));
                }
                Message::Assistant { .. } if !said.is_empty() => {
                    state.hear(&said);
                    said.clear();
                }
                _ => {}
            }
        }
        match request.messages.last() {
            Some(Message::User { .. }) => {
                state.hear(&said);
                reply.map_or_else(|| Ok(Answer::default()), |reply| state.word(reply))
            }
            Some(Message::Tool { .. }) => state.word_results(),
            _ => Ok(Answer::default()),
        }
    }
}

/// Where the conversation stands.
#[derive(Clone)]
struct State<'a> {
    dialogue: &'a Dialogue,
    request: &'a LlmRequest,
    slots: BTreeMap<&'a str, String>,
    asking: Option<Asking<'a>>,
    /// The intent answered last.
    last: Option<usize>,
    fallbacks: usize,
}

/// The question that is open.
#[derive(Clone)]
struct Asking<'a> {
    intent: usize,
    slot: &'a str,
    times: u32,
    /// Digits heard so far.
    part: String,
}

/// What the caller's words lead to.
#[derive(Clone, Copy)]
enum Reply<'a> {
    Ask { slot: &'a str, is_again: bool },
    Fallback(usize),
    Perform(usize),
    Unavailable(usize),
}

impl<'a> State<'a> {
    /// Takes in the caller's words since the last answer.
    fn hear(&mut self, said: &[&str]) -> Reply<'a> {
        let news = self.fill(said);
        if let Some(asking) = self.asking.take() {
            return self.hear_answer(asking, said);
        }
        if let Some(intent) = self.closest(said) {
            return self.begin(intent);
        }
        // A bare number after a question about a number is that question again.
        let last = self.last.filter(|last| self.intent(*last).slots.iter().any(|slot| news.contains(&slot.as_str())));
        match last {
            Some(last) => self.begin(last),
            None => self.fall_back(),
        }
    }

    fn hear_answer(&mut self, mut asking: Asking<'a>, said: &[&str]) -> Reply<'a> {
        if self.slots.contains_key(asking.slot) {
            return self.begin(asking.intent);
        }
        let slot = &self.dialogue.rules.slots[asking.slot];
        if let Found::Part(part) = slots::find(slot, &said.join(" "), true) {
            match slots::join(slot, &asking.part, &part) {
                Found::Value(value) => {
                    self.slots.insert(asking.slot, value);
                    return self.begin(asking.intent);
                }
                Found::Part(joined) => asking.part = joined,
                Found::Nothing => asking.part = part,
            }
        } else if let Some(other) = self.closest(said).filter(|other| *other != asking.intent) {
            return self.begin(other);
        }
        asking.times += 1;
        if asking.times > ASKED_MAX {
            return self.fall_back();
        }
        let slot = asking.slot;
        self.asking = Some(asking);
        Reply::Ask { slot, is_again: true }
    }

    /// Notes what the words say of any slot; returns the slots that are new or have changed.
    fn fill(&mut self, said: &[&str]) -> Vec<&'a str> {
        let mut news = Vec::new();
        let last = said.last().copied().unwrap_or_default();
        for (name, slot) in &self.dialogue.rules.slots {
            let is_asked = self.asking.as_ref().is_some_and(|asking| asking.slot == name);
            let mut found = slots::find(slot, last, is_asked);
            if said.len() > 1 && !matches!(found, Found::Value(_)) {
                found = slots::find(slot, &said.join(" "), is_asked);
            }
            if let Found::Value(value) = found {
                self.slots.insert(name, value);
                news.push(name.as_str());
            }
        }
        news
    }

    /// The last words count first, then all of them together.
    fn closest(&self, said: &[&str]) -> Option<usize> {
        let matcher = &self.dialogue.matcher;
        let last = said.last().and_then(|last| matcher.closest(last));
        last.or_else(|| matcher.closest(&said.join(" ")))
    }

    fn begin(&mut self, index: usize) -> Reply<'a> {
        let index = if self.intent(index).repeat { self.last.unwrap_or(index) } else { index };
        let intent = self.intent(index);
        self.last = Some(index);
        if intent.call.as_ref().is_some_and(|call| !self.request.tools.iter().any(|tool| tool.name == *call)) {
            return Reply::Unavailable(index);
        }
        let missing = intent.slots.iter().find(|slot| !self.slots.contains_key(slot.as_str()));
        match missing {
            Some(slot) => {
                self.asking = Some(Asking { intent: index, slot, times: 1, part: String::new() });
                Reply::Ask { slot, is_again: false }
            }
            None => Reply::Perform(index),
        }
    }

    fn fall_back(&mut self) -> Reply<'a> {
        self.fallbacks += 1;
        Reply::Fallback(self.fallbacks - 1)
    }

    fn word(&self, reply: Reply<'a>) -> Result<Answer> {
        let rules = &self.dialogue.rules;
        match reply {
            Reply::Ask { slot, is_again } => {
                let slot = &rules.slots[slot];
                self.text(slot.again.as_ref().filter(|_| is_again).unwrap_or(&slot.ask), &Value::Null)
            }
            Reply::Fallback(count) => self.text(&rules.fallback[count % rules.fallback.len()], &Value::Null),
            Reply::Perform(index) => self.perform(self.intent(index)),
            Reply::Unavailable(index) => self.text_or(self.intent(index).unavailable.as_ref(), CANNOT),
        }
    }

    fn perform(&self, intent: &Intent) -> Result<Answer> {
        let mut answer = match &intent.say {
            Some(say) => self.text(say, &Value::Null)?,
            None => Answer::default(),
        };
        if let Some(name) = &intent.call {
            let value = |slot: &String| (slot.clone(), json!(self.slots.get(slot.as_str())));
            let arguments: serde_json::Map<_, _> = intent.slots.iter().map(value).collect();
            let earlier = self.request.messages.iter().map(|message| match message {
                Message::Assistant { tool_calls, .. } => tool_calls.len(),
                _ => 0,
            });
            answer.calls.push(ToolCall {
                arguments: Value::Object(arguments).to_string(),
                id: format!("call-{}", earlier.sum::<usize>() + 1),
                name: name.clone(),
            });
        }
        Ok(answer)
    }

    /// Words the results that stand at the end of the conversation.
    fn word_results(&self) -> Result<Answer> {
        let tail =
            self.request.messages.iter().rev().take_while(|message| matches!(message, Message::Tool { .. })).count();
        let (head, results) = self.request.messages.split_at(self.request.messages.len() - tail);
        let Some(Message::Assistant { tool_calls, .. }) = head.last() else { return Ok(Answer::default()) };
        let mut texts = Vec::new();
        for result in results {
            let Message::Tool { call_id, content } = result else { continue };
            let Some(call) = tool_calls.iter().find(|call| call.id == *call_id) else { continue };
            let calls = |intent: &&Intent| intent.call.as_deref() == Some(&*call.name);
            let last = self.last.map(|last| self.intent(last)).filter(calls);
            let Some(intent) = last.or_else(|| self.dialogue.rules.intents.iter().find(calls)) else { continue };
            texts.push(self.word_result(intent, content)?.text);
        }
        Ok(Answer { text: texts.join(" "), calls: Vec::new() })
    }

    fn word_result(&self, intent: &Intent, content: &str) -> Result<Answer> {
        let result = serde_json::from_str(content).unwrap_or_else(|_| Value::String(content.to_owned()));
        if result.get("error").is_some_and(|error| !error.is_null()) {
            return self.text_or(intent.failed.as_ref(), CANNOT);
        }
        let holds = |(path, wanted): (&String, &Value)| at(&result, path) == Some(wanted);
        match intent.results.iter().find(|outcome| outcome.when.iter().all(holds)) {
            Some(outcome) => self.text(&outcome.say, &result),
            None => Ok(Answer::default()),
        }
    }

    fn text_or(&self, text: Option<&Text>, default: &str) -> Result<Answer> {
        match text {
            Some(text) => self.text(text, &Value::Null),
            None => Ok(Answer { text: default.to_owned(), calls: Vec::new() }),
        }
    }

    fn text(&self, text: &Text, result: &Value) -> Result<Answer> {
        let spoken: BTreeMap<_, _> = self.slots.iter().map(|(name, value)| (name, spoken(value))).collect();
        let values = json!({ "slots": self.slots, "spoken": spoken, "result": result });
        Ok(Answer { text: text.0.render(&values)?, calls: Vec::new() })
    }

    fn intent(&self, index: usize) -> &'a Intent {
        &self.dialogue.rules.intents[index]
    }
}

fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, part| value.get(part))
}

/// A telephone number spread, so that a voice reads its digits one by one: `plus 6 2 8, 1 2 3, 4 5 6, 7 8 9`.
fn spoken(value: &str) -> String {
    let digits = value.strip_prefix('+').unwrap_or(value);
    let is_number = digits.len() > SPREAD_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return value.to_owned();
    }
    let digits: Vec<String> = digits.chars().map(String::from).collect();
    let groups: Vec<String> = digits.chunks(SPREAD_DIGITS).map(|group| group.join(" ")).collect();
    let plus = if value.starts_with('+') { "plus " } else { "" };
    format!("{plus}{}", groups.join(", "))
}

/// Digits read in one breath.
const SPREAD_DIGITS: usize = 3;
