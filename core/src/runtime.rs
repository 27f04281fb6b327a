//! What the engine needs from the world that is not a provider: time, tasks and randomness.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{self, Either};

use crate::error::{Error, ErrorKind, Result};
use crate::time::{Instant, Timestamp};

/// A task for [`Runtime::spawn`].
pub type Task = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// Clocks, timers, tasks and randomness. One implementation per executor; a simulation has its own.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// The monotonic clock.
    fn now(&self) -> Instant;

    /// The wall clock.
    fn wall_clock(&self) -> Timestamp;

    /// Returns once [`Runtime::now`] has reached `deadline`. Dropping the future cancels it.
    async fn sleep_until(&self, deadline: Instant);

    /// Runs `task` to its end in the background. `name` is for diagnostics.
    fn spawn(&self, name: &'static str, task: Task);

    /// Fills `bytes` with randomness fit for ids and secrets.
    fn fill_random(&self, bytes: &mut [u8]);
}

/// Ten random bytes for an id.
pub fn random_id_bytes(runtime: &dyn Runtime) -> [u8; 10] {
    let mut bytes = [0; 10];
    runtime.fill_random(&mut bytes);
    bytes
}

/// `future`, or [`ErrorKind::TimedOut`] once `limit` has passed.
pub async fn timeout<T>(
    runtime: &dyn Runtime,
    limit: Duration,
    operation: &'static str,
    future: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    let deadline = runtime.sleep_until(runtime.now() + limit);
    match future::select(std::pin::pin!(future), deadline).await {
        Either::Left((result, _)) => result,
        Either::Right(((), _)) => {
            Err(Error::new(ErrorKind::TimedOut, operation, format!("no answer within {} ms", limit.as_millis())))
        }
    }
}
