//! A runtime in virtual time: one thread, one seed, and a clock that jumps to the next timer when nobody can go on.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_trait::async_trait;
use offhook::runtime::{Runtime, SleepTimer, Task, Timer};
use offhook::time::{Instant, Timestamp};

use crate::random;

/// The wall clock at the virtual clock's zero: 2025-11-20T07:00:00Z.
const EPOCH: Timestamp = Timestamp::from_unix_micros(1_763_622_000_000_000);

/// The number of the future that [`VirtualRuntime::block_on`] drives.
const MAIN: usize = usize::MAX;

/// A runtime whose time is virtual. Clones share it.
#[derive(Clone)]
pub struct VirtualRuntime {
    shared: Arc<Shared>,
}

/// How long a runtime may run.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Polls of any task; then the world stops between two of them, as in a crash.
    pub polls_max: u64,
    /// The virtual clock's last moment.
    pub until: Instant,
}

impl Limits {
    /// As long as anything can go on.
    pub const NONE: Self = Self { polls_max: u64::MAX, until: Instant::from_micros(u64::MAX) };
}

/// Why a runtime stopped before its future was done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stop {
    /// Every task waits and no timer is set.
    Idle,
    /// [`Limits::polls_max`] was reached.
    Polls,
    /// [`Limits::until`] was reached.
    Time,
}

struct Shared {
    /// Microseconds.
    now: AtomicU64,
    polls: AtomicU64,
    ready: Arc<Ready>,
    state: Mutex<State>,
    /// The wall clock less the virtual clock, in Unix microseconds.
    wall: AtomicI64,
}

/// The tasks to poll, in the order in which they were woken.
type Ready = Mutex<VecDeque<usize>>;

struct State {
    random: u64,
    tasks: Vec<Option<Running>>,
    timers: Timers,
}

struct Running {
    name: &'static str,
    task: Task,
    waker: Arc<TaskWaker>,
}

impl VirtualRuntime {
    /// A runtime at time zero; the same seed gives the same randomness.
    pub fn new(seed: u64) -> Self {
        Self::starting_at(seed, EPOCH)
    }

    /// A runtime at time zero, when the wall clock shows `wall_clock`.
    pub fn starting_at(seed: u64, wall_clock: Timestamp) -> Self {
        let shared = Shared {
            now: AtomicU64::new(0),
            polls: AtomicU64::new(0),
            ready: Arc::default(),
            state: Mutex::new(State { random: seed, tasks: Vec::new(), timers: Timers::default() }),
            wall: AtomicI64::new(wall_clock.as_unix_micros()),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Runs `future` and all spawned tasks until `future` is done; tasks that are left are dropped.
    ///
    /// # Panics
    /// When nothing can go on and no timer is set.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let output = self.run(future, Limits::NONE);
        self.stop();
        output.unwrap_or_else(|stop| panic!("every task waits for ever: {stop:?}"))
    }

    /// Runs `future` and all spawned tasks until `future` is done or a limit is reached. Tasks that are left wait for
    /// the next run or for [`VirtualRuntime::stop`].
    pub fn run<F: Future>(&self, future: F, limits: Limits) -> Result<F::Output, Stop> {
        let mut future = pin!(future);
        let main = Arc::new(TaskWaker::new(MAIN, &self.shared.ready));
        main.wake_by_ref();
        let waker = Waker::from(main.clone());
        loop {
            let Some(id) = self.next_ready() else {
                self.advance(limits.until)?;
                continue;
            };
            if self.shared.polls.fetch_add(1, Ordering::Relaxed) >= limits.polls_max {
                return Err(Stop::Polls);
            }
            if id != MAIN {
                self.poll_task(id);
                continue;
            }
            main.rests();
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Ok(output);
            }
        }
    }

    /// Drops all tasks where they stand.
    pub fn stop(&self) {
        let tasks = std::mem::take(&mut self.state().tasks);
        drop(tasks);
        self.ready().clear();
    }

    /// The names of the tasks that are not over.
    pub fn running(&self) -> Vec<&'static str> {
        self.state().tasks.iter().flatten().map(|running| running.name).collect()
    }

    /// Polls of tasks so far: the runtime's measure of work.
    pub fn polls(&self) -> u64 {
        self.shared.polls.load(Ordering::Relaxed)
    }

    /// Waits in virtual time.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now() + duration).await;
    }

    /// Moves the wall clock, and nothing else, by so many microseconds.
    pub fn set_wall_clock(&self, by_micros: i64) {
        self.shared.wall.fetch_add(by_micros, Ordering::Relaxed);
    }

    fn next_ready(&self) -> Option<usize> {
        self.ready().pop_front()
    }

    fn poll_task(&self, id: usize) {
        // The task is out of its place while it is polled: it may spawn others.
        let Some(mut running) = self.state().tasks.get_mut(id).and_then(Option::take) else { return };
        running.waker.rests();
        let waker = Waker::from(running.waker.clone());
        if running.task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
            && let Some(place) = self.state().tasks.get_mut(id)
        {
            *place = Some(running);
        }
    }

    /// Jumps to the next timer.
    fn advance(&self, until: Instant) -> Result<(), Stop> {
        let (deadline, waker) = {
            let mut state = self.state();
            let deadline = state.timers.next().ok_or(Stop::Idle)?;
            if deadline > until {
                return Err(Stop::Time);
            }
            (deadline, state.timers.fire())
        };
        self.shared.now.fetch_max(deadline.as_micros(), Ordering::Relaxed);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self) -> MutexGuard<'_, VecDeque<usize>> {
        self.shared.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Runtime for VirtualRuntime {
    fn now(&self) -> Instant {
        Instant::from_micros(self.shared.now.load(Ordering::Relaxed))
    }

    fn wall_clock(&self) -> Timestamp {
        let since = self.now().saturating_since(Instant::from_micros(0));
        Timestamp::from_unix_micros(self.shared.wall.load(Ordering::Relaxed)) + since
    }

    async fn sleep_until(&self, deadline: Instant) {
        let mut timer = Sleeper { key: None, runtime: self };
        poll_fn(|context| {
            if self.now() >= deadline {
                return Poll::Ready(());
            }
            let timers = &mut self.state().timers;
            match timer.key {
                Some(key) => timers.renew(key, context.waker()),
                None => timer.key = Some(timers.set(deadline, context.waker())),
            }
            Poll::Pending
        })
        .await;
    }

    fn timer(self: Arc<Self>) -> Box<dyn Timer> {
        Box::new(SleepTimer::new(self))
    }

    fn spawn(&self, name: &'static str, task: Task) {
        let mut state = self.state();
        let waker = Arc::new(TaskWaker::new(state.tasks.len(), &self.shared.ready));
        state.tasks.push(Some(Running { name, task, waker: waker.clone() }));
        drop(state);
        waker.wake();
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        let mut state = self.state();
        for chunk in bytes.chunks_mut(8) {
            state.random = state.random.wrapping_add(random::GOLDEN);
            chunk.copy_from_slice(&random::mix(state.random).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A timer of a dropped sleeper must not move the clock.
struct Sleeper<'a> {
    key: Option<TimerKey>,
    runtime: &'a VirtualRuntime,
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.runtime.state().timers.clear(key);
        }
    }
}

/// Deadlines in a heap; what they wake stands in slots, so that clearing one does not search.
#[derive(Default)]
struct Timers {
    free: Vec<usize>,
    heap: BinaryHeap<Reverse<(Instant, TimerKey)>>,
    made: u64,
    slots: Vec<Option<(u64, Waker)>>,
}

#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
struct TimerKey {
    /// Counts timers: those with one deadline fire in the order in which they were set.
    number: u64,
    slot: usize,
}

impl Timers {
    fn set(&mut self, deadline: Instant, waker: &Waker) -> TimerKey {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.made += 1;
        let key = TimerKey { number: self.made, slot };
        self.slots[slot] = Some((key.number, waker.clone()));
        self.heap.push(Reverse((deadline, key)));
        key
    }

    fn renew(&mut self, key: TimerKey, waker: &Waker) {
        if let Some((number, slot)) = &mut self.slots[key.slot]
            && *number == key.number
        {
            slot.clone_from(waker);
        }
    }

    fn clear(&mut self, key: TimerKey) -> Option<Waker> {
        let (_, waker) = self.slots[key.slot].take_if(|(number, _)| *number == key.number)?;
        self.free.push(key.slot);
        Some(waker)
    }

    /// The earliest deadline that somebody waits for.
    fn next(&mut self) -> Option<Instant> {
        while let Some(Reverse((deadline, key))) = self.heap.peek() {
            if self.slots[key.slot].as_ref().is_some_and(|(number, _)| *number == key.number) {
                return Some(*deadline);
            }
            self.heap.pop();
        }
        None
    }

    fn fire(&mut self) -> Option<Waker> {
        let Reverse((_, key)) = self.heap.pop()?;
        self.clear(key)
    }
}

struct TaskWaker {
    id: usize,
    is_queued: AtomicBool,
    ready: Arc<Ready>,
}

impl TaskWaker {
    fn new(id: usize, ready: &Arc<Ready>) -> Self {
        Self { id, is_queued: AtomicBool::new(false), ready: ready.clone() }
    }

    /// From now on, the next wake counts.
    fn rests(&self) {
        self.is_queued.store(false, Ordering::Relaxed);
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::Relaxed) {
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).push_back(self.id);
        }
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
        assert!(runtime.running().is_empty());
    }

    #[test]
    fn a_dropped_sleeper_does_not_move_the_clock() {
        let runtime = VirtualRuntime::new(1);
        runtime.block_on(async {
            let long = runtime.sleep(Duration::from_secs(60));
            let short = runtime.sleep(Duration::from_secs(1));
            futures_lite::future::or(long, short).await;
        });
        assert_eq!(runtime.run(std::future::pending::<()>(), Limits::NONE), Err(Stop::Idle));
        assert_eq!(runtime.now(), Instant::from_micros(1_000_000));
    }

    #[test]
    fn limits_stop_the_world_between_two_polls() {
        let runtime = VirtualRuntime::new(1);
        let ticking = async {
            loop {
                runtime.sleep(Duration::from_secs(1)).await;
            }
        };
        let polls = Limits { polls_max: 3, ..Limits::NONE };
        assert_eq!(runtime.run(ticking, polls), Err::<(), _>(Stop::Polls));
        assert_eq!(runtime.now(), Instant::from_micros(3_000_000));
        let time = Limits { until: Instant::from_micros(5_000_000), ..Limits::NONE };
        assert_eq!(runtime.run(runtime.sleep(Duration::from_secs(9)), time), Err(Stop::Time));
    }
}
