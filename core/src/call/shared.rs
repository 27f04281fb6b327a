//! What the parts of a call share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::config::CallConfig;
use super::decision::{Decision, DecisionKind};
use super::outbox::Outbox;
use super::timer::Timers;
use crate::time::Instant;

#[derive(Debug)]
pub(super) struct Shared {
    /// It never changes during a call.
    pub(super) config: Arc<CallConfig>,
    /// Why the call did what it did; `None` when nobody asked.
    pub(super) decisions: Option<Vec<Decision>>,
    /// The talk time that is held.
    pub(super) granted: Option<Duration>,
    pub(super) outbox: Outbox,
    pub(super) started: Instant,
    pub(super) timers: Timers,
    /// What the caller's keys set.
    pub(super) variables: BTreeMap<String, String>,
}

impl Shared {
    /// The instructions for the model, with what the caller's keys have told.
    pub(super) fn system_prompt(&self) -> String {
        let mut prompt = self.config.system_prompt.clone();
        if !self.variables.is_empty() {
            prompt.push_str("\n\nThe caller has entered by keys:");
        }
        for (name, value) in &self.variables {
            prompt.push_str(&format!("\n{name}: {value}"));
        }
        prompt
    }

    /// Notes a decision, if somebody asked for them.
    pub(super) fn explain(&mut self, now: Instant, kind: impl FnOnce() -> DecisionKind) {
        let at = self.since_start(now);
        if let Some(decisions) = &mut self.decisions {
            decisions.push(Decision { at, kind: kind() });
        }
    }

    pub(super) fn since_start(&self, now: Instant) -> Duration {
        now.saturating_since(self.started)
    }
}
