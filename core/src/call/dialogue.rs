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
    pub(super) fn push_caller(&mut self, text: String, at: Duration) {
        self.items.push(Item::Caller { text, at });
    }

    pub(super) fn push_tool(&mut self, call_id: String, content: String) {
        self.items.push(Item::Tool { call_id, content });
    }

    /// Begins an utterance and returns its index.
    pub(super) fn open_agent(&mut self) -> usize {
        self.items.push(Item::Agent(Utterance { open: true, ..Utterance::default() }));
        self.items.len() - 1
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

    /// Closes all utterances, and forgets those of which nothing was heard and that called no tool.
    /// Returns whether any was cut.
    pub(super) fn cut(&mut self) -> bool {
        let mut cut = false;
        for item in &mut self.items {
            if let Item::Agent(utterance) = item
                && utterance.open
            {
                utterance.open = false;
                cut |= utterance.is_cut() && utterance.heard > 0;
            }
        }
        while let Some(Item::Agent(utterance)) = self.items.last()
            && utterance.heard().is_empty()
            && utterance.tool_calls.is_empty()
        {
            self.items.pop();
        }
        cut
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
        let system = Message::System { text: system_prompt.to_owned() };
        let items = self.items.iter().filter_map(|item| match item {
            Item::Agent(utterance) => {
                let text = utterance.for_model().to_owned();
                let tool_calls = utterance.tool_calls.clone();
                (!text.is_empty() || !tool_calls.is_empty()).then_some(Message::Assistant { text, tool_calls })
            }
            Item::Caller { text, .. } => Some(Message::User { text: text.clone() }),
            Item::Tool { call_id, content } => {
                Some(Message::Tool { call_id: call_id.clone(), content: content.clone() })
            }
        });
        std::iter::once(system).chain(items).collect()
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

    pub(super) fn last(&self) -> Option<usize> {
        self.items.len().checked_sub(1)
    }

    /// The last item that the agent said.
    pub(super) fn last_agent(&self) -> Option<usize> {
        self.items.iter().rposition(|item| matches!(item, Item::Agent(_)))
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
        assert!(dialogue.cut());
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
        assert!(!dialogue.cut());
        assert_eq!(dialogue.take_back_caller(), Some(("Hello.".to_owned(), Duration::ZERO)));
        assert_eq!(dialogue.messages("p").len(), 1);
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
