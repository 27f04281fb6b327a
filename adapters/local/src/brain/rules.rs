//! The file of rules.
//!
//! ```toml
//! name = "clinic"
//! fallback = ["Sorry, what was that?"]         # when nothing matches; each in turn
//!
//! [slots.phone_number]                         # what an intent may need to know
//! kind = "phone"                               # phone, name, day or time
//! country_code = "62"                          # phone only: how numbers without a plus are completed
//! ask = "Which number is it under?"
//! again = "Sorry, which number?"               # when the answer holds none
//!
//! [[intents]]
//! name = "check_appointment"
//! examples = ["do I have an appointment"]      # the closest example of all intents wins
//! keywords = ["appointment for"]               # enough alone, when said in a row
//! slots = ["phone_number"]                     # asked for, in order, when not said yet
//! call = "check_appointment"                   # function, called with the slots as its arguments
//! say = "One moment."                          # with a call: said while it runs
//! unavailable = "I cannot look that up here."  # when the function is not offered
//! failed = "I cannot look that up right now."  # when it answers with an error
//!
//! [[intents.results]]                          # the first whose fields all have the values given
//! when = { found = true }
//! say = "Yes, on {{result.day}}, for {{spoken.phone_number}}."
//! ```
//!
//! Templates see `slots.NAME`, `spoken.NAME` (digits spread to be read one by one) and, after a call, `result`. An intent
//! with `repeat = true` says the last answer again.

use std::collections::{BTreeMap, BTreeSet};

use offhook::error::{Error, ErrorKind, Result};
use offhook::template::Template;
use serde::Deserialize;

/// Most intents in a file, and most examples and keywords of one.
const INTENTS_MAX: usize = 500;
const EXAMPLES_MAX: usize = 500;
const OPERATION: &str = "local.brain";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    pub(super) name: String,
    pub(super) fallback: Vec<Text>,
    #[serde(default)]
    pub(super) slots: BTreeMap<String, Slot>,
    pub(super) intents: Vec<Intent>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Slot {
    pub(super) kind: SlotKind,
    pub(super) ask: Text,
    pub(super) again: Option<Text>,
    #[serde(default)]
    pub(super) country_code: String,
    /// Shortest telephone number, without the plus.
    #[serde(default = "digits_min")]
    pub(super) digits_min: usize,
}

fn digits_min() -> usize {
    7
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum SlotKind {
    Day,
    Name,
    Phone,
    Time,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Intent {
    pub(super) name: String,
    #[serde(default)]
    pub(super) examples: Vec<String>,
    #[serde(default)]
    pub(super) keywords: Vec<String>,
    #[serde(default)]
    pub(super) slots: Vec<String>,
    pub(super) call: Option<String>,
    pub(super) say: Option<Text>,
    pub(super) unavailable: Option<Text>,
    pub(super) failed: Option<Text>,
    #[serde(default)]
    pub(super) repeat: bool,
    #[serde(default)]
    pub(super) results: Vec<Outcome>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outcome {
    #[serde(default)]
    pub(super) when: BTreeMap<String, serde_json::Value>,
    pub(super) say: Text,
}

/// A template, parsed when the file is.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Text(pub(super) Template);

impl TryFrom<String> for Text {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Template::parse(&text).map(Self)
    }
}

impl Rules {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let rules: Self = toml::from_str(text).map_err(|error| invalid(error.message()).with_source(error))?;
        rules.check()?;
        Ok(rules)
    }

    fn check(&self) -> Result<()> {
        if self.fallback.is_empty() {
            return Err(invalid("there is no fallback"));
        }
        if self.intents.len() > INTENTS_MAX {
            return Err(invalid("there are too many intents"));
        }
        let mut names = BTreeSet::new();
        for intent in &self.intents {
            if !names.insert(&intent.name) {
                return Err(invalid("an intent stands twice").with_context("intent", &intent.name));
            }
            self.check_intent(intent).map_err(|message| invalid(message).with_context("intent", &intent.name))?;
        }
        let texts = self
            .fallback
            .iter()
            .chain(self.slots.values().flat_map(|slot| [Some(&slot.ask), slot.again.as_ref()]).flatten());
        match texts.into_iter().all(|text| self.is_fillable(text, false)) {
            true => Ok(()),
            false => Err(invalid("a text names something that is never known")),
        }
    }

    fn check_intent(&self, intent: &Intent) -> Result<(), &'static str> {
        if intent.examples.is_empty() && intent.keywords.is_empty() {
            return Err("it has neither examples nor keywords");
        }
        if intent.examples.len() + intent.keywords.len() > EXAMPLES_MAX {
            return Err("it has too many examples");
        }
        if intent.slots.iter().any(|slot| !self.slots.contains_key(slot)) {
            return Err("it names a slot that is not described");
        }
        if intent.say.is_none() && !intent.repeat && intent.call.is_none() {
            return Err("it neither says nor calls anything");
        }
        let before = [&intent.say, &intent.unavailable, &intent.failed].into_iter().flatten();
        let after = intent.results.iter().map(|outcome| &outcome.say);
        if !before
            .map(|text| (text, false))
            .chain(after.map(|text| (text, true)))
            .all(|(text, has_result)| self.is_fillable(text, has_result))
        {
            return Err("a text names something that is never known");
        }
        Ok(())
    }

    /// Whether all that a text names is a slot or, after a call, of the result.
    fn is_fillable(&self, text: &Text, has_result: bool) -> bool {
        text.0.places().all(|place| match place.split_once('.') {
            Some(("slots" | "spoken", slot)) => self.slots.contains_key(slot),
            _ => has_result && (place == "result" || place.starts_with("result.")),
        })
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::ConfigInvalid, OPERATION, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "name = 'x'\nfallback = ['What?']\n";

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            ("", "missing"),
            ("name = 'x'\nfallback = []\nintents = []", "fallback"),
            ("[[intents]]\nname = 'a'\nsay = 'b'", "neither examples"),
            ("[[intents]]\nname = 'a'\nexamples = ['b']", "neither says"),
            ("[[intents]]\nname = 'a'\nexamples = ['b']\nsay = '{{slots.c}}'", "never known"),
            ("[[intents]]\nname = 'a'\nexamples = ['b']\nsay = '{{result.c}}'", "never known"),
            ("[[intents]]\nname = 'a'\nexamples = ['b']\nsay = '{{open'", "place"),
            ("[[intents]]\nname = 'a'\nexamples = ['b']\nsay = 'c'\nslots = ['d']", "not described"),
            ("[[intents]]\nname = 'a'\nexamples = ['b']\nsay = 'c'\nsya = 'd'", "unknown field"),
        ] {
            let whole = if text.starts_with("[[") { format!("{HEAD}{text}") } else { text.to_owned() };
            let error = Rules::parse(&whole).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
            let all = format!("{error} {error:?}");
            assert!(all.contains(word), "{text}: {all}");
        }
    }
}
