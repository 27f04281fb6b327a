//! What the engine needs from the world that is not a provider: time, tasks and randomness.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
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

    /// A timer that is not set.
    fn timer(self: Arc<Self>) -> Box<dyn Timer>;

    /// Runs `task` to its end in the background. `name` is for diagnostics.
    fn spawn(&self, name: &'static str, task: Task);

    /// Fills `bytes` with randomness fit for ids and secrets.
    fn fill_random(&self, bytes: &mut [u8]);
}

/// A timer that is set anew for each wait, for loops that wait often.
pub trait Timer: Send {
    /// Ready once [`Runtime::now`] has reached `deadline`; else the task is woken then, and at no earlier `deadline` that it
    /// was asked for.
    fn poll_at(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()>;
}

/// A [`Timer`] made of [`Runtime::sleep_until`], for runtimes that have nothing better.
pub struct SleepTimer<R> {
    runtime: Arc<R>,
    sleep: Option<(Instant, Task)>,
}

impl<R: Runtime + 'static> SleepTimer<R> {
    /// A timer of `runtime`.
    pub fn new(runtime: Arc<R>) -> Self {
        Self { runtime, sleep: None }
    }
}

impl<R: Runtime + 'static> Timer for SleepTimer<R> {
    fn poll_at(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let (_, sleep) = match &mut self.sleep {
            Some(sleep) if sleep.0 == deadline => sleep,
            sleep => {
                let runtime = self.runtime.clone();
                sleep.insert((deadline, Box::pin(async move { runtime.sleep_until(deadline).await })))
            }
        };
        sleep.as_mut().poll(context).map(|()| self.sleep = None)
    }
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
