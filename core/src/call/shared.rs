//! What the parts of a call share.

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
}

impl Shared {
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
