//! A runtime whose time runs faster.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::runtime::{Runtime, SleepTimer, Task, Timer};
use crate::time::{Instant, Timestamp};

/// A runtime on which time runs so many times faster than on the one below: trials of what takes minutes end in seconds.
///
/// Both clocks agree with those below when it is made, and run ahead of them from then on. All waits are shorter by that
/// factor, also those for peers in the outside world, whose time is nobody's to hurry.
pub struct Scaled {
    below: Arc<dyn Runtime>,
    factor: NonZeroU32,
    origin: Instant,
    wall_origin: Timestamp,
}

impl Scaled {
    /// A runtime that is `factor` times as fast as `below`.
    pub fn new(below: Arc<dyn Runtime>, factor: NonZeroU32) -> Self {
        let (origin, wall_origin) = (below.now(), below.wall_clock());
        Self { below, factor, origin, wall_origin }
    }

    fn since_origin(&self) -> Duration {
        let micros = self.below.now().saturating_since(self.origin).as_micros();
        let scaled = micros.saturating_mul(u128::from(self.factor.get()));
        Duration::from_micros(u64::try_from(scaled).unwrap_or(u64::MAX))
    }
}

#[async_trait]
impl Runtime for Scaled {
    fn now(&self) -> Instant {
        self.origin + self.since_origin()
    }

    fn wall_clock(&self) -> Timestamp {
        self.wall_origin + self.since_origin()
    }

    async fn sleep_until(&self, deadline: Instant) {
        let micros = deadline.saturating_since(self.origin).as_micros();
        // Rounded up: nobody wakes before it is time.
        let below = micros.div_ceil(u128::from(self.factor.get()));
        let below = Duration::from_micros(u64::try_from(below).unwrap_or(u64::MAX));
        self.below.sleep_until(self.origin + below).await;
    }

    fn timer(self: Arc<Self>) -> Box<dyn Timer> {
        Box::new(SleepTimer::new(self))
    }

    fn spawn(&self, name: &'static str, task: Task) {
        self.below.spawn(name, task);
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.below.fill_random(bytes);
    }
}
