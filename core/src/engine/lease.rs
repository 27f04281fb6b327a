//! The lease on a live call, renewed beside the call and never in its way.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::Result;
use crate::runtime::{self, Runtime};
use crate::service::calls::{Calls, Renewal, Snapshot};
use crate::time::Instant;

/// Renewals in one lease, so that one that fails or is late does not lose it.
const RENEWALS_PER_LEASE: u32 = 3;

/// Keeps one call for this engine.
pub(super) struct Lease {
    calls: Calls,
    due: Instant,
    interval: Duration,
    renewing: Option<Pin<Box<dyn Future<Output = Result<Renewal>> + Send>>>,
    runtime: Arc<dyn Runtime>,
}

impl Lease {
    /// The lease of a call that begins now.
    pub(super) fn new(runtime: Arc<dyn Runtime>, calls: Calls, length: Duration) -> Self {
        let interval = length / RENEWALS_PER_LEASE;
        Self { calls, due: runtime.now() + interval, interval, renewing: None, runtime }
    }

    /// When to call [`Lease::renew`].
    pub(super) fn next_renewal(&self) -> Instant {
        self.due
    }

    /// There is something that must not be lost with this engine.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.due = now;
    }

    /// Begins a renewal; one that is still under way is given up.
    pub(super) fn renew(&mut self, now: Instant, live: Snapshot) {
        let (calls, runtime, interval) = (self.calls.clone(), self.runtime.clone(), self.interval);
        self.due = now + interval;
        self.renewing =
            Some(Box::pin(
                async move { runtime::timeout(&*runtime, interval, "lease.renew", calls.renew(live)).await },
            ));
    }

    /// Ready once the call is no longer this engine's.
    pub(super) fn poll_lost(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(renewing) = &mut self.renewing else { return Poll::Pending };
        let result = std::task::ready!(renewing.as_mut().poll(context));
        self.renewing = None;
        match result {
            Ok(Renewal::Held) => Poll::Pending,
            Ok(Renewal::Lost) => Poll::Ready(()),
            Err(error) => {
                tracing::debug!(%error, "a call's lease was not renewed");
                Poll::Pending
            }
        }
    }
}
