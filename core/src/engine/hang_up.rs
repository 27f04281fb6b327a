//! The end of a leg, in a task of its own: a call that is over does not wait for a carrier that fails, and nobody is left on
//! a dead line because of it.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result, Retry};
use crate::provider::Telephony;
use crate::provider::telephony::{HangupCause, LegId};
use crate::runtime::{self, Runtime};

/// How often a carrier is asked.
const ATTEMPTS_MAX: u32 = 5;

/// Longest wait for each answer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Wait before the second attempt; it doubles with each.
const BACKOFF: Duration = Duration::from_secs(1);

/// Begins to end `leg`, and returns what tells how it went. It goes on when nobody waits.
pub(super) fn hang_up(
    runtime: Arc<dyn Runtime>,
    telephony: Arc<dyn Telephony>,
    leg: LegId,
    cause: HangupCause,
) -> impl Future<Output = Result<()>> + Send + use<> {
    let (told, result) = async_channel::bounded(1);
    let spawner = runtime.clone();
    let task = async move {
        let result = insist(&*runtime, &*telephony, &leg, cause).await;
        if let Err(error) = &result {
            tracing::warn!(%error, "a leg may still be up");
        }
        // Nobody waits any more when the call was wound up without it.
        let _ = told.try_send(result);
    };
    spawner.spawn("hang_up", Box::pin(task));
    async move { result.recv().await.unwrap_or_else(|_| Err(lost())) }
}

async fn insist(runtime: &dyn Runtime, telephony: &dyn Telephony, leg: &LegId, cause: HangupCause) -> Result<()> {
    let mut backoff = BACKOFF;
    for _ in 1..ATTEMPTS_MAX {
        let ended = telephony.hang_up(leg.clone(), cause);
        match runtime::timeout(runtime, ATTEMPT_TIMEOUT, "call.hang_up", ended).await {
            Err(error) if error.retry() == Retry::Later => {}
            result => return result,
        }
        runtime.sleep_until(runtime.now() + backoff).await;
        backoff *= 2;
    }
    runtime::timeout(runtime, ATTEMPT_TIMEOUT, "call.hang_up", telephony.hang_up(leg.clone(), cause)).await
}

fn lost() -> Error {
    Error::new(ErrorKind::Unexpected, "call.hang_up", "the task that ends the leg is gone")
}
