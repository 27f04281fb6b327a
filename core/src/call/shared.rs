//! What the parts of a call share.

use std::sync::Arc;
use std::time::Duration;

use super::config::CallConfig;
use super::outbox::Outbox;
use super::timer::Timers;
use crate::time::Instant;

#[derive(Debug)]
pub(super) struct Shared {
    /// It never changes during a call.
    pub(super) config: Arc<CallConfig>,
    /// The talk time that is held.
    pub(super) granted: Option<Duration>,
    pub(super) outbox: Outbox,
    pub(super) started: Instant,
    pub(super) timers: Timers,
}

impl Shared {
    pub(super) fn since_start(&self, now: Instant) -> Duration {
        now.saturating_since(self.started)
    }
}
