//! The language of the call, and how it changes.

use serde_json::{Value, json};

use super::{State, Turn};
use crate::call::decision::DecisionKind;
use crate::call::lexicon::{Lexicon, primary, words};
use crate::call::output::{CallEventKind, Command};
use crate::call::shared::Shared;
use crate::provider::llm::ToolCall;
use crate::time::Instant;

impl Turn {
    /// What the call is held in; BCP 47.
    pub(super) fn language<'a>(&'a self, shared: &'a Shared) -> &'a str {
        self.language.as_deref().unwrap_or(&shared.config.language)
    }

    pub(super) fn lexicon(&self, shared: &Shared) -> &'static Lexicon {
        Lexicon::of(self.language(shared))
    }

    /// The caller has said `text` in a language: follow, if the policy does and it is more than a word or two.
    pub(super) fn caller_speaks_in(&mut self, now: Instant, language: &str, text: &str, shared: &mut Shared) {
        let policy = &shared.config.policy.languages;
        if !policy.follow || policy.allowed.is_empty() || primary(language) == primary(self.language(shared)) {
            return;
        }
        let count = u32::try_from(words(text).len()).unwrap_or(u32::MAX);
        let wanted = self.allowed(language, shared).filter(|_| count >= policy.words_min);
        self.explain_language(now, language, wanted.is_some(), Some(count), shared);
        if let Some(wanted) = wanted {
            // A recogniser that tells languages apart needs no other for it.
            self.set_language(now, wanted, shared);
        }
    }

    /// The model wants another language; returns what it is told.
    pub(super) fn switch_language(&mut self, now: Instant, call: &ToolCall, shared: &mut Shared) -> String {
        let arguments = serde_json::from_str::<Value>(&call.arguments).unwrap_or_default();
        let wanted = arguments.get("language").and_then(Value::as_str);
        let wanted =
            wanted.filter(|_| shared.config.policy.languages.tool).and_then(|wanted| self.allowed(wanted, shared));
        let Some(wanted) = wanted else {
            return json!({ "error": "the language is not offered" }).to_string();
        };
        let changed = wanted != self.language(shared);
        self.explain_language(now, &wanted, changed, None, shared);
        if changed {
            self.set_language(now, wanted, shared);
            self.listen_again(now, shared);
        }
        json!({ "ok": true }).to_string()
    }

    /// A recogniser or synthesiser does not know the language that was changed to: back to the first one.
    pub(super) fn leave_language(&mut self, now: Instant, shared: &mut Shared) -> bool {
        let Some(left) = self.language.take() else { return false };
        let language = shared.config.language.clone();
        let changed = left != language;
        if changed {
            self.explain_language(now, &language, true, None, shared);
            shared.outbox.event(now, CallEventKind::LanguageSwitched { language });
        }
        changed
    }

    /// The offered language that `language` names: the tag itself, or the first of the same language.
    fn allowed(&self, language: &str, shared: &Shared) -> Option<String> {
        let config = &shared.config;
        let offered = || [&config.language].into_iter().chain(&config.policy.languages.allowed);
        let exact = offered().find(|offered| offered.eq_ignore_ascii_case(language));
        exact.or_else(|| offered().find(|offered| primary(offered) == primary(language))).cloned()
    }

    fn set_language(&mut self, now: Instant, language: String, shared: &mut Shared) {
        self.language = Some(language.clone());
        shared.outbox.event(now, CallEventKind::LanguageSwitched { language });
    }

    /// Recognises in the call's language from now on. Words that the old recogniser has not told are lost.
    fn listen_again(&mut self, now: Instant, shared: &mut Shared) {
        let Some(old) = self.listen.take() else { return };
        shared.outbox.cancel(old);
        self.listen(shared);
        self.caller_stops(now, now, shared);
        self.awaits_final = false;
        self.pending.interim.clear();
        if self.state == State::Endpointing {
            self.await_endpoint(now, shared);
        }
    }

    fn explain_language(&self, now: Instant, language: &str, changed: bool, words: Option<u32>, shared: &mut Shared) {
        let language = language.to_owned();
        shared.explain(now, || DecisionKind::Language { changed, language, words });
    }

    /// Listens in the call's language.
    pub(super) fn start_listening(&mut self, shared: &mut Shared) {
        let language = self.language(shared).to_owned();
        self.listen = Some(shared.outbox.start(Command::Listen { language }));
    }
}
