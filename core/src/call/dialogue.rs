//! What was said and heard: the transcript and the model's history, which are two views of one list.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::provider::llm::{Message, ToolCall};

/// One entry of a transcript.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TranscriptEntry {
    /// When it began, since the call's start.
    pub at_ms: u64,
    /// Whether the agent was interrupted: `text` holds only what was heard.
    pub cut: bool,
    /// Who said it.
    pub speaker: Speaker,
    /// The words.
    pub text: String,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// Our agent.
    Agent,
    /// The other side, in either direction.
    Caller,
}

#[derive(Debug)]
enum Item {
    Agent(Utterance),
    Caller { text: String, at: Duration },
    Tool { call_id: String, content: String },
}

#[derive(Debug, Default)]
struct Utterance {
    /// Since the call's start; `None` until its first sound.
    at: Option<Duration>,
    /// More may be planned or heard.
    open: bool,
    /// Everything that is to be said, or was to be said when it was cut.
    planned: String,
    /// How much of `planned` the caller has heard.
    heard: usize,
    tool_calls: Vec<ToolCall>,
}

impl Utterance {
    fn heard(&self) -> &str {
        self.planned[..self.heard].trim()
    }

    fn is_cut(&self) -> bool {
        !self.open && self.heard < self.planned.trim_end().len()
    }

    /// What the model is told: what will be heard, or what was.
    fn for_model(&self) -> &str {
        if self.open { self.planned.trim() } else { self.heard() }
    }
}

#[derive(Debug, Default)]
pub(super) struct Dialogue {
    items: Vec<Item>,
}

impl Dialogue {
    /// Adds what the caller said and returns its index.
    pub(super) fn push_caller(&mut self, text: String, at: Duration) -> usize {
        self.items.push(Item::Caller { text, at });
        self.items.len() - 1
    }

    /// The entries that stand behind an item, for the case that the item has just come to be one.
    pub(super) fn entries_from(&self, item: usize) -> Vec<(usize, TranscriptEntry)> {
        (item..self.items.len()).filter_map(|item| self.entry(item)).collect()
    }

    pub(super) fn push_tool(&mut self, call_id: String, content: String) {
        self.items.push(Item::Tool { call_id, content });
    }

    /// How many entries there are, heard or not.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Begins an utterance and returns its index.
    pub(super) fn open_agent(&mut self) -> usize {
        self.items.push(Item::Agent(Utterance { open: true, ..Utterance::default() }));
        self.items.len() - 1
    }

    /// The utterance whose tools run, if nobody has said anything since: what is said meanwhile belongs to it, because a
    /// model must find the results behind all of it.
    pub(super) fn calling(&self) -> Option<usize> {
        let item = self.items.iter().rposition(|item| !matches!(item, Item::Tool { .. }))?;
        match &self.items[item] {
            Item::Agent(utterance) if utterance.open && !utterance.tool_calls.is_empty() => Some(item),
            _ => None,
        }
    }

    /// Adds text to say and returns where it begins in the utterance.
    pub(super) fn plan(&mut self, item: usize, text: &str) -> usize {
        let Some(utterance) = self.utterance(item) else {
            return 0;
        };
        if !utterance.planned.is_empty() {
            utterance.planned.push(' ');
        }
        let start = utterance.planned.len();
        utterance.planned.push_str(text);
        start
    }

    pub(super) fn set_tool_calls(&mut self, item: usize, tool_calls: Vec<ToolCall>) {
        if let Some(utterance) = self.utterance(item) {
            utterance.tool_calls = tool_calls;
        }
    }

    /// The utterance's first sound was played.
    pub(super) fn sounded(&mut self, item: usize, at: Duration) {
        if let Some(utterance) = self.utterance(item) {
            utterance.at.get_or_insert(at);
        }
    }

    /// The utterance has been heard up to `end`; back to the end of the last whole word.
    pub(super) fn heard(&mut self, item: usize, end: usize) {
        let Some(utterance) = self.utterance(item) else { return };
        let end = word_end(&utterance.planned, end);
        utterance.heard = utterance.heard.max(end);
    }

    /// Closes all utterances for good. Returns those of which something was heard.
    pub(super) fn cut(&mut self) -> Vec<usize> {
        let cut = self.close();
        self.forget_unheard();
        cut
    }

    /// Closes all utterances; [`Dialogue::reopen`] may take that back. Returns those of which something was heard.
    pub(super) fn close(&mut self) -> Vec<usize> {
        let mut heard = Vec::new();
        for (index, item) in self.items.iter_mut().enumerate() {
            if let Item::Agent(utterance) = item
                && utterance.open
            {
                utterance.open = false;
                if utterance.heard > 0 {
                    heard.push(index);
                }
            }
        }
        heard
    }

    /// Forgets the last utterances if nothing of them was heard and they called no tool.
    pub(super) fn forget_unheard(&mut self) {
        while let Some(Item::Agent(utterance)) = self.items.last()
            && !utterance.open
            && utterance.heard().is_empty()
            && utterance.tool_calls.is_empty()
        {
            self.items.pop();
        }
    }

    /// The utterance goes on.
    pub(super) fn reopen(&mut self, item: usize) {
        if let Some(utterance) = self.utterance(item) {
            utterance.open = true;
        }
    }

    /// The part of an utterance's stretch that has not been heard, and where it begins.
    pub(super) fn unheard(&self, item: usize, start: usize, end: usize) -> (usize, &str) {
        let Some(Item::Agent(utterance)) = self.items.get(item) else {
            return (end, "");
        };
        let rest = utterance.planned.get(start.max(utterance.heard)..end).unwrap_or_default().trim_start();
        (end - rest.len(), rest)
    }

    /// What the caller last heard of the agent.
    pub(super) fn last_heard(&self) -> &str {
        let heard = self.items.iter().rev().filter_map(|item| match item {
            Item::Agent(utterance) => Some(utterance.heard()),
            _ => None,
        });
        heard.into_iter().find(|heard| !heard.is_empty()).unwrap_or_default()
    }

    /// Takes back the caller's last turn if it is still the last that happened.
    pub(super) fn take_back_caller(&mut self) -> Option<(String, Duration)> {
        match self.items.pop() {
            Some(Item::Caller { text, at }) => Some((text, at)),
            Some(other) => {
                self.items.push(other);
                None
            }
            None => None,
        }
    }

    /// The model's view.
    pub(super) fn messages(&self, system_prompt: &str) -> Vec<Message> {
        let mut messages = vec![Message::System { text: system_prompt.to_owned() }];
        for (index, item) in self.items.iter().enumerate() {
            match item {
                Item::Agent(utterance) => {
                    let text = utterance.for_model().to_owned();
                    let tool_calls = utterance.tool_calls.clone();
                    if !text.is_empty() || !tool_calls.is_empty() {
                        messages.push(Message::Assistant { text, tool_calls });
                    }
                    messages.extend(self.results(index, utterance));
                }
                Item::Caller { text, .. } => messages.push(Message::User { text: text.clone() }),
                // Told behind the message that called it.
                Item::Tool { .. } => {}
            }
        }
        messages
    }

    /// The results of an utterance's tool calls, which models want directly behind it, whatever was said meanwhile.
    fn results<'a>(&'a self, index: usize, utterance: &'a Utterance) -> impl Iterator<Item = Message> + 'a {
        utterance.tool_calls.iter().map(move |call| {
            let content = self.items[index..].iter().find_map(|item| match item {
                Item::Tool { call_id, content } if *call_id == call.id => Some(content.clone()),
                _ => None,
            });
            let content = content.unwrap_or_else(|| "{\"error\":\"no_answer\"}".to_owned());
            Message::Tool { call_id: call.id.clone(), content }
        })
    }

    /// Whether the last thing that happened is a tool's answer, of which the caller was told nothing.
    pub(super) fn ends_in_tool(&self) -> bool {
        matches!(self.items.last(), Some(Item::Tool { .. }))
    }

    /// The people's view.
    pub(super) fn transcript(&self) -> Vec<TranscriptEntry> {
        self.items.iter().filter_map(entry).collect()
    }

    /// The entry of an item and its place in the transcript.
    pub(super) fn entry(&self, item: usize) -> Option<(usize, TranscriptEntry)> {
        let entry = entry(self.items.get(item)?)?;
        Some((self.items[..item].iter().filter_map(self::entry).count(), entry))
    }

    fn utterance(&mut self, item: usize) -> Option<&mut Utterance> {
        match self.items.get_mut(item) {
            Some(Item::Agent(utterance)) => Some(utterance),
            _ => None,
        }
    }
}

fn entry(item: &Item) -> Option<TranscriptEntry> {
    let (speaker, text, at, cut) = match item {
        Item::Agent(utterance) if !utterance.heard().is_empty() => {
            (Speaker::Agent, utterance.heard(), utterance.at.unwrap_or_default(), utterance.is_cut())
        }
        Item::Caller { text, at } => (Speaker::Caller, text.as_str(), *at, false),
        Item::Agent(_) | Item::Tool { .. } => return None,
    };
    Some(TranscriptEntry { at_ms: crate::time::millis(at), cut, speaker, text: text.to_owned() })
}

/// `end`, or where the last whole word before it ends.
fn word_end(text: &str, end: usize) -> usize {
    if end >= text.len() {
        return text.len();
    }
    let end = text.floor_char_boundary(end);
    let inside_word = !text[end..].starts_with(char::is_whitespace);
    if inside_word { text[..end].rfind(char::is_whitespace).unwrap_or(0) } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utterance(dialogue: &mut Dialogue, text: &str, heard: usize) -> usize {
        let item = dialogue.open_agent();
        dialogue.plan(item, text);
        dialogue.sounded(item, Duration::from_millis(5));
        dialogue.heard(item, heard);
        item
    }

    #[test]
    fn what_was_not_heard_was_not_said() {
        let mut dialogue = Dialogue::default();
        utterance(&mut dialogue, "We are open from nine to five.", 13);
        assert_eq!(dialogue.cut(), [0]);
        let entries = dialogue.transcript();
        assert_eq!(entries[0].text, "We are open");
        assert!(entries[0].cut);
        let messages = dialogue.messages("prompt");
        assert_eq!(messages[1], Message::Assistant { text: "We are open".to_owned(), tool_calls: vec![] });
    }

    #[test]
    fn an_unheard_utterance_vanishes_and_gives_the_turn_back() {
        let mut dialogue = Dialogue::default();
        dialogue.push_caller("Hello.".to_owned(), Duration::ZERO);
        utterance(&mut dialogue, "Good morning.", 0);
        assert!(dialogue.cut().is_empty());
        assert_eq!(dialogue.take_back_caller(), Some(("Hello.".to_owned(), Duration::ZERO)));
        assert_eq!(dialogue.messages("p").len(), 1);
    }

    #[test]
    fn results_stand_directly_behind_their_calls() {
        let mut dialogue = Dialogue::default();
        let item = utterance(&mut dialogue, "Let me check.", 13);
        let call = |id: &str| ToolCall { arguments: "{}".to_owned(), id: id.to_owned(), name: "check".to_owned() };
        dialogue.set_tool_calls(item, vec![call("a"), call("b")]);
        dialogue.push_caller("Hurry.".to_owned(), Duration::ZERO);
        dialogue.push_tool("a".to_owned(), "1".to_owned());
        let roles: Vec<_> =
            dialogue.messages("p").iter().map(|message| serde_json::json!(message)["role"].clone()).collect();
        assert_eq!(roles, ["system", "assistant", "tool", "tool", "user"]);
    }

    #[test]
    fn hearing_is_cut_to_whole_words() {
        assert_eq!(word_end("one two", 2), 0);
        assert_eq!(word_end("one two", 3), 3);
        assert_eq!(word_end("one two", 5), 3);
        assert_eq!(word_end("one two", 99), 7);
        assert_eq!(word_end("caf\u{e9} au lait", 4), 0);
    }
}
