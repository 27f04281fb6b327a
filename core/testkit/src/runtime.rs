//! A runtime in virtual time: one thread, one seed, and a clock that jumps to the next timer when nobody can go on.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_trait::async_trait;
use offhook::runtime::{Runtime, Task};
use offhook::time::{Instant, Timestamp};

/// The wall clock at the virtual clock's zero: 2025-11-20T07:00:00Z.
const EPOCH: Timestamp = Timestamp::from_unix_micros(1_763_622_000_000_000);

/// The number of the future that [`VirtualRuntime::block_on`] drives.
const MAIN: u64 = 0;

/// A runtime whose time is virtual. Clones share it.
#[derive(Clone)]
pub struct VirtualRuntime {
    shared: Arc<Shared>,
}

struct Shared {
    ready: Mutex<VecDeque<u64>>,
    state: Mutex<State>,
}

struct State {
    now: Instant,
    random: u64,
    tasks: BTreeMap<u64, Task>,
    tasks_made: u64,
    timers: BTreeMap<(Instant, u64), Waker>,
    timers_made: u64,
}

impl VirtualRuntime {
    /// A runtime at time zero; the same seed gives the same randomness.
    pub fn new(seed: u64) -> Self {
        let state = State {
            now: Instant::from_micros(0),
            random: seed,
            tasks: BTreeMap::new(),
            tasks_made: 0,
            timers: BTreeMap::new(),
            timers_made: 0,
        };
        Self { shared: Arc::new(Shared { ready: Mutex::new(VecDeque::new()), state: Mutex::new(state) }) }
    }

    /// Runs `future` and all spawned tasks until `future` is done; tasks that are left are dropped.
    ///
    /// # Panics
    /// When nothing can go on and no timer is set.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        self.shared.wake(MAIN);
        loop {
            let Some(id) = self.shared.next_ready() else {
                assert!(self.advance(), "every task waits for ever");
                continue;
            };
            let waker = Waker::from(Arc::new(TaskWaker { id, shared: self.shared.clone() }));
            let mut context = Context::from_waker(&waker);
            if id == MAIN {
                if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                    let tasks = std::mem::take(&mut self.state().tasks);
                    drop(tasks);
                    return output;
                }
                continue;
            }
            let Some(mut task) = self.state().tasks.remove(&id) else {
                continue;
            };
            if task.as_mut().poll(&mut context).is_pending() {
                self.state().tasks.insert(id, task);
            }
        }
    }

    /// Waits in virtual time.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now() + duration).await;
    }

    /// Jumps to the next timer; false when there is none.
    fn advance(&self) -> bool {
        let mut state = self.state();
        let Some(((deadline, _), waker)) = state.timers.pop_first() else {
            return false;
        };
        state.now = state.now.max(deadline);
        drop(state);
        waker.wake();
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Runtime for VirtualRuntime {
    fn now(&self) -> Instant {
        self.state().now
    }

    fn wall_clock(&self) -> Timestamp {
        EPOCH + self.now().saturating_since(Instant::from_micros(0))
    }

    async fn sleep_until(&self, deadline: Instant) {
        let mut timer = TimerGuard { key: None, runtime: self };
        poll_fn(|context| {
            let mut state = self.state();
            if state.now >= deadline {
                return Poll::Ready(());
            }
            let key = *timer.key.get_or_insert_with(|| {
                state.timers_made += 1;
                (deadline, state.timers_made)
            });
            state.timers.insert(key, context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn spawn(&self, _name: &'static str, task: Task) {
        let mut state = self.state();
        state.tasks_made += 1;
        let id = state.tasks_made;
        state.tasks.insert(id, task);
        drop(state);
        self.shared.wake(id);
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        let mut state = self.state();
        for byte in bytes {
            // SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
            state.random = state.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state.random;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = (mixed ^ (mixed >> 31)).to_le_bytes()[0];
        }
    }
}

/// A timer of a dropped sleeper must not move the clock.
struct TimerGuard<'a> {
    key: Option<(Instant, u64)>,
    runtime: &'a VirtualRuntime,
}

impl Drop for TimerGuard<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.runtime.state().timers.remove(&key);
        }
    }
}

impl Shared {
    fn wake(&self, id: u64) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if !ready.contains(&id) {
            ready.push_back(id);
        }
    }

    fn next_ready(&self) -> Option<u64> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

struct TaskWaker {
    id: u64,
    shared: Arc<Shared>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.shared.wake(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_pass_in_no_time_and_in_order() {
        let runtime = VirtualRuntime::new(1);
        let seen = Arc::new(Mutex::new(Vec::new()));
        for hours in [3_u64, 1, 2] {
            let (runtime_in, seen) = (runtime.clone(), seen.clone());
            let task = async move {
                runtime_in.sleep(Duration::from_secs(hours * 3_600)).await;
                seen.lock().unwrap().push(hours);
            };
            runtime.spawn("sleeper", Box::pin(task));
        }
        runtime.block_on(runtime.sleep(Duration::from_secs(9_000)));
        assert_eq!(*seen.lock().unwrap(), [1, 2]);
        assert_eq!(runtime.now(), Instant::from_micros(9_000_000_000));
    }
}
