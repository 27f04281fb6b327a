//! The engine's core depends on no runtime: the same call under three of them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use offhook::runtime::{Runtime, SleepTimer, Task, Timer};
use offhook::time::{Instant, Timestamp};
use offhook_testkit::runtime::VirtualRuntime;

use crate::world::World;

/// A clock of the process for real runtimes.
#[derive(Clone, Copy)]
struct Clock {
    origin: std::time::Instant,
}

#[expect(clippy::disallowed_methods, reason = "a test's runtime is where the clocks come from")]
impl Clock {
    fn start() -> Self {
        Self { origin: std::time::Instant::now() }
    }

    fn now(self) -> Instant {
        Instant::from_micros(0) + std::time::Instant::now().duration_since(self.origin)
    }

    fn wall_clock() -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp::from_unix_micros(0) + since
    }

    fn std_deadline(self, deadline: Instant) -> std::time::Instant {
        self.origin + deadline.saturating_since(Instant::from_micros(0))
    }
}

fn scramble(bytes: &mut [u8]) {
    use std::hash::{BuildHasher, Hasher};
    for byte in bytes {
        *byte = std::hash::RandomState::new().build_hasher().finish().to_le_bytes()[0];
    }
}

struct Tokio(Clock);

#[async_trait]
impl Runtime for Tokio {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn wall_clock(&self) -> Timestamp {
        Clock::wall_clock()
    }

    async fn sleep_until(&self, deadline: Instant) {
        tokio::time::sleep_until(self.0.std_deadline(deadline).into()).await;
    }

    fn timer(self: Arc<Self>) -> Box<dyn Timer> {
        Box::new(SleepTimer::new(self))
    }

    fn spawn(&self, _name: &'static str, task: Task) {
        tokio::spawn(task);
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        scramble(bytes);
    }
}

struct Smol(Clock);

#[async_trait]
impl Runtime for Smol {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn wall_clock(&self) -> Timestamp {
        Clock::wall_clock()
    }

    async fn sleep_until(&self, deadline: Instant) {
        smol::Timer::at(self.0.std_deadline(deadline)).await;
    }

    fn timer(self: Arc<Self>) -> Box<dyn Timer> {
        Box::new(SleepTimer::new(self))
    }

    fn spawn(&self, _name: &'static str, task: Task) {
        smol::spawn(task).detach();
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        scramble(bytes);
    }
}

/// One question, one answer, and the caller hangs up.
async fn short_call(runtime: Arc<dyn Runtime>) {
    let world = World::new(runtime, &["What are your opening hours?"]).await;
    let (handle, caller) = world.ring();
    world.wait(Duration::from_millis(1_200)).await;
    caller.sound(0x80, Duration::from_millis(400)).await;
    caller.sound(0xff, Duration::from_millis(2_000)).await;
    caller.hang_up(offhook::provider::telephony::HangupCause::NORMAL_CLEARING);
    let (record, ledger) = handle.finished().await.unwrap();
    let said: Vec<_> = record.transcript.iter().map(|entry| entry.text.as_str()).collect();
    assert_eq!(said, ["Good morning.", "What are your opening hours?", "From nine to five."]);
    assert_eq!(ledger.unwrap().settled.unsigned_abs(), record.talk_time_ms);
}

fn within_limit(future: impl Future<Output = ()> + Send) -> impl Future<Output = ()> + Send {
    future
}

#[test]
fn a_call_in_virtual_time() {
    let runtime = VirtualRuntime::new(1);
    runtime.block_on(short_call(Arc::new(runtime.clone())));
}

#[test]
fn a_call_under_tokio() {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let runtime = Arc::new(Tokio(Clock::start()));
    let limit = Duration::from_secs(60);
    tokio.block_on(async { tokio::time::timeout(limit, within_limit(short_call(runtime))).await }).unwrap();
}

#[test]
fn a_call_under_smol() {
    smol::block_on(within_limit(short_call(Arc::new(Smol(Clock::start())))));
}
