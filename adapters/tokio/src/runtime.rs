//! [`TokioRuntime`]: tokio's clock and tasks.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use offhook::runtime::{Runtime, Task, Timer};
use offhook::time::{self, Instant, Timestamp};
use offhook::{Error, ErrorKind, Result};
use tokio::runtime::Handle;
use tracing::Instrument;

/// The engine's runtime on tokio. Its monotonic clock starts at zero when it is made and follows tokio's paused clock.
#[derive(Clone, Debug)]
pub struct TokioRuntime {
    handle: Handle,
    origin: tokio::time::Instant,
}

impl TokioRuntime {
    /// The runtime that the caller runs in; `ConfigInvalid` outside of one.
    pub fn current() -> Result<Self> {
        const OPERATION: &str = "tokio_runtime.current";
        let Ok(handle) = Handle::try_current() else {
            return Err(Error::new(ErrorKind::ConfigInvalid, OPERATION, "no tokio runtime is running here"));
        };
        Self::new(handle)
    }

    /// The runtime behind `handle`, which must have its time driver enabled.
    ///
    /// `Unavailable` when the system has no source of randomness.
    pub fn new(handle: Handle) -> Result<Self> {
        let mut probe = [0; 1];
        getrandom::fill(&mut probe).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "tokio_runtime.new", "the system gives no randomness").with_source(error)
        })?;
        let origin = {
            // A paused clock belongs to its runtime and is seen only from inside of it.
            let _inside = handle.enter();
            tokio::time::Instant::now()
        };
        Ok(Self { handle, origin })
    }

    /// `None` is never.
    fn at(&self, deadline: Instant) -> Option<tokio::time::Instant> {
        self.origin.checked_add(Duration::from_micros(deadline.as_micros()))
    }
}

#[async_trait]
impl Runtime for TokioRuntime {
    fn now(&self) -> Instant {
        Instant::from_micros(time::micros(self.origin.elapsed()))
    }

    fn wall_clock(&self) -> Timestamp {
        let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
        };
        Timestamp::from_unix_micros(micros)
    }

    async fn sleep_until(&self, deadline: Instant) {
        let Some(deadline) = self.at(deadline) else { return std::future::pending().await };
        let sleep = {
            let _inside = self.handle.enter();
            tokio::time::sleep_until(deadline)
        };
        sleep.await;
    }

    fn timer(self: Arc<Self>) -> Box<dyn Timer> {
        Box::new(TokioTimer { runtime: (*self).clone(), sleep: None })
    }

    fn spawn(&self, name: &'static str, task: Task) {
        self.handle.spawn(task.instrument(tracing::debug_span!("task", name)));
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            // The source worked at construction. Guessable ids and secrets would be worse than no process.
            tracing::error!(%error, "the system stopped giving randomness");
            std::process::abort();
        }
    }
}

/// Later deadlines only move the entry in tokio's wheel when it comes up.
struct TokioTimer {
    runtime: TokioRuntime,
    sleep: Option<(Instant, Pin<Box<tokio::time::Sleep>>)>,
}

impl Timer for TokioTimer {
    fn poll_at(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let Some(at) = self.runtime.at(deadline) else { return Poll::Pending };
        let (until, sleep) = self.sleep.get_or_insert_with(|| {
            let _inside = self.runtime.handle.enter();
            (deadline, Box::pin(tokio::time::sleep_until(at)))
        });
        if *until != deadline {
            *until = deadline;
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use offhook::runtime;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn clock_starts_at_zero_and_sleeping_moves_it() {
        let runtime = TokioRuntime::current().unwrap();
        assert_eq!(runtime.now(), Instant::from_micros(0));
        let deadline = Instant::from_micros(90_000_000_001);
        runtime.sleep_until(deadline).await;
        assert!(runtime.now() >= deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn timeout_names_the_operation() {
        let runtime = TokioRuntime::current().unwrap();
        let never = std::future::pending::<Result<()>>();
        let error = runtime::timeout(&runtime, Duration::from_secs(5), "test.wait", never).await.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::TimedOut, "test.wait"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_can_be_set_later_and_earlier() {
        let runtime = Arc::new(TokioRuntime::current().unwrap());
        let mut timer = runtime.clone().timer();
        let mut wait = async |millis: u64| {
            std::future::poll_fn(|context| timer.poll_at(context, Instant::from_micros(millis * 1_000))).await;
            runtime.now().as_micros() / 1_000
        };
        let mut early = std::pin::pin!(wait(500));
        assert!(futures_util::poll!(early.as_mut()).is_pending());
        assert_eq!(wait(700).await, 700);
        assert_eq!(wait(600).await, 700);
        assert_eq!(wait(900).await, 900);
    }

    #[test]
    fn works_from_threads_outside_of_the_runtime() {
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        assert_eq!(TokioRuntime::current().unwrap_err().kind(), ErrorKind::ConfigInvalid);
        let runtime = TokioRuntime::new(tokio.handle().clone()).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let inner = runtime.clone();
        runtime.spawn(
            "test",
            Box::pin(async move {
                inner.sleep_until(inner.now() + Duration::from_millis(1)).await;
                sender.send(7).unwrap();
            }),
        );
        assert_eq!(receiver.recv().unwrap(), 7);
        assert_eq!(futures_util::FutureExt::now_or_never(runtime.sleep_until(Instant::from_micros(u64::MAX))), None);
    }

    #[tokio::test]
    async fn randomness_and_wall_clock_are_the_systems() {
        let runtime = TokioRuntime::current().unwrap();
        assert_ne!(runtime::random_id_bytes(&runtime), runtime::random_id_bytes(&runtime));
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(runtime.wall_clock().as_unix_seconds().abs_diff(i64::try_from(seconds).unwrap()) <= 1);
    }
}
