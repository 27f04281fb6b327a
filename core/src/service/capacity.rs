//! Capacity: how many calls go on at once, for a tenant and in all, and who is let in next.
//!
//! A slot is taken in the commit that begins a call and given back in the one that settles it, so no crash leaks one. The
//! counts are those of the store, shared by all engines on it. The callers who wait for a slot wait at their engine, each
//! tenant's in the order in which they came, and the tenants take turns.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::webhooks::{from_value, to_value};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::TenantId;
use crate::provider::Store;
use crate::provider::store::{Add, Batch, CounterKey, Expect, Put, RecordKey};
use crate::runtime::Runtime;
use crate::time::{Instant, duration_ms};

/// The record kind of a tenant's limits.
pub const LIMITS: &str = "limits";

/// The one record of its kind and tenant.
const LIMITS_ID: &str = "calls";

/// The counter of a tenant's calls, and of all calls.
const CALLS_LIVE: &str = "calls_live";

/// The owner of the counter of all calls.
const EVERYBODY: TenantId = TenantId::from_uuid(Uuid::nil());

/// How often those who wait look for slots that another engine has given back.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Callers who wait at one engine at most.
pub const WAITING_MAX: usize = 10_000;

/// How many calls a tenant may have at once.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Calls at once; `None` knows no limit.
    pub calls_max: Option<u32>,
    /// What becomes of one more.
    pub when_full: WhenFull,
}

/// What becomes of a call for which there is no slot.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// It waits.
    Queue {
        /// Calls of the tenant that may wait at an engine.
        depth: u32,
        /// How long each may wait.
        #[serde(with = "duration_ms", rename = "wait_ms")]
        wait: Duration,
    },
    /// It is refused.
    #[default]
    Reject,
}

/// A number of calls.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Occupancy {
    /// Of all tenants.
    pub all: u32,
    /// Of the tenant.
    pub tenant: u32,
}

/// The slots of all tenants.
#[derive(Clone)]
pub struct Capacity {
    /// Calls of all tenants at once.
    calls_max: Option<u32>,
    /// For tenants that have none of their own.
    default: Limits,
    line: Arc<Mutex<Line>>,
    runtime: Arc<dyn Runtime>,
    store: Arc<dyn Store>,
}

impl Capacity {
    pub(crate) fn new(
        runtime: Arc<dyn Runtime>,
        store: Arc<dyn Store>,
        calls_max: Option<u32>,
        default: Limits,
    ) -> Self {
        Self { calls_max, default, line: Arc::default(), runtime, store }
    }

    /// Gives the tenant limits of its own. Calls that go on keep their slots.
    pub async fn set_limits(&self, tenant: TenantId, limits: &Limits) -> Result<()> {
        let mut batch = Batch::default();
        batch.put(Put::new(RecordKey::new(tenant, LIMITS, LIMITS_ID), Expect::Any, to_value(limits)?));
        self.store.commit(batch).await?;
        self.slots_came_free();
        Ok(())
    }

    /// The tenant's limits.
    pub async fn limits(&self, tenant: TenantId) -> Result<Limits> {
        let record = self.store.get(RecordKey::new(tenant, LIMITS, LIMITS_ID)).await?;
        record.map_or_else(|| Ok(self.default.clone()), |record| from_value(&record.body))
    }

    /// How many calls go on now.
    pub async fn occupancy(&self, tenant: TenantId) -> Result<Occupancy> {
        let mut batch = Batch::default();
        let counters = [tenant, EVERYBODY].map(|owner| CounterKey::new(owner, CALLS_LIVE));
        for counter in counters.clone() {
            batch.add(Add::read(counter));
        }
        let committed = self.store.commit(batch).await?;
        let [tenant, all] = counters.map(|counter| committed.counters.get(&counter).copied().unwrap_or(0));
        let count = |value: i64| u32::try_from(value.max(0)).unwrap_or(u32::MAX);
        Ok(Occupancy { all: count(all), tenant: count(tenant) })
    }

    /// How many calls may begin now that nobody waits for, and that overtake nobody who does.
    pub(crate) async fn room(&self, tenant: TenantId) -> Result<Occupancy> {
        let (limits, occupancy) = (self.limits(tenant).await?, self.occupancy(tenant).await?);
        let room = |max: Option<u32>, taken: u32| max.map_or(u32::MAX, |max| max.saturating_sub(taken));
        let (all, own) = (room(self.calls_max, occupancy.all), room(limits.calls_max, occupancy.tenant));
        let line = self.line();
        let all = if line.is_full_for_all && !line.waiting.is_empty() { 0 } else { all.saturating_sub(line.hopeful()) };
        let own = if line.waiting.contains_key(&tenant) { 0 } else { own };
        Ok(Occupancy { all, tenant: own.min(all) })
    }

    /// Adds the taking of a slot to `batch`, which then fails with `RateLimited` when there is none.
    pub(super) fn take(&self, batch: &mut Batch, tenant: TenantId, limits: &Limits) {
        for (owner, max) in [(tenant, limits.calls_max), (EVERYBODY, self.calls_max)] {
            let counter = CounterKey::new(owner, CALLS_LIVE);
            batch.add(Add { ceiling: max.map(i64::from), ..Add::new(counter, 1) });
        }
    }

    /// Adds the giving back of a slot to `batch`; [`Capacity::slots_came_free`] tells who waits once it is committed.
    pub(super) fn give_back(&self, batch: &mut Batch, tenant: TenantId) {
        for owner in [tenant, EVERYBODY] {
            let counter = CounterKey::new(owner, CALLS_LIVE);
            batch.add(Add::new(counter, -1).floor(0));
        }
    }

    /// Lets those who wait look again.
    pub(super) fn slots_came_free(&self) {
        self.line().look_again(self.runtime.now());
    }

    /// A call of the tenant came in without a wait.
    pub(super) fn came_in(&self, tenant: TenantId) {
        self.line().last = Some(tenant);
    }

    /// Whether a new call of the tenant would overtake somebody if it were tried at once.
    pub(super) fn would_overtake(&self, tenant: TenantId) -> bool {
        let line = self.line();
        line.is_full_for_all && !line.waiting.is_empty() || line.waiting.contains_key(&tenant)
    }

    /// Joins the line; `RateLimited` for a tenant that lets nobody wait, and when too many wait.
    pub(super) fn join(&self, tenant: TenantId, limits: &Limits) -> Result<Ticket> {
        let WhenFull::Queue { depth, wait } = limits.when_full else {
            return Err(over_capacity("as many calls go on as may"));
        };
        let mut line = self.line();
        let waiting = line.waiting.get(&tenant).map_or(0, VecDeque::len);
        let all: usize = line.waiting.values().map(VecDeque::len).sum();
        if waiting >= usize::try_from(depth).unwrap_or(usize::MAX) || all >= WAITING_MAX {
            return Err(over_capacity("as many calls wait as may"));
        }
        let (called, calls) = async_channel::bounded(1);
        line.tickets_made += 1;
        let number = line.tickets_made;
        line.waiting.entry(tenant).or_default().push_back(Waiting { called, number });
        line.call_next();
        let deadline = self.runtime.now() + wait;
        Ok(Ticket { calls, capacity: self.clone(), deadline, looks: 0, number, tenant })
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line; dropping it leaves the line.
pub(super) struct Ticket {
    calls: async_channel::Receiver<()>,
    capacity: Capacity,
    deadline: Instant,
    /// The line's count of looks when this one's turn began.
    looks: u64,
    number: u64,
    tenant: TenantId,
}

impl Ticket {
    /// Returns when it is this one's turn to try; `RateLimited` when it did not come in time.
    pub(super) async fn turn(&mut self) -> Result<()> {
        let runtime = self.capacity.runtime.clone();
        loop {
            let now = runtime.now();
            if now >= self.deadline {
                return Err(over_capacity("no call ended in time"));
            }
            let nap = runtime.sleep_until(self.deadline.min(now + LOOK_INTERVAL));
            futures_util::select_biased! {
                _ = std::pin::pin!(self.calls.recv().fuse()) => {
                    self.looks = self.capacity.line().looks;
                    return Ok(());
                }
                () = nap.fuse() => {
                    let mut line = self.capacity.line();
                    if runtime.now().saturating_since(line.looked_at) >= LOOK_INTERVAL {
                        line.look_again(runtime.now());
                    }
                }
            }
        }
    }

    /// There was no slot: the next one's turn.
    pub(super) async fn found_none(&self) -> Result<()> {
        let is_full_for_all = match self.capacity.calls_max {
            Some(max) => self.capacity.occupancy(self.tenant).await?.all >= max,
            None => false,
        };
        let mut line = self.capacity.line();
        // A slot that came free meanwhile may be this one's.
        if line.looks == self.looks {
            line.is_full_for_all = is_full_for_all;
            line.without_slot.insert(self.tenant);
        }
        line.trying = None;
        line.call_next();
        Ok(())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut line = self.capacity.line();
        if let Some(waiting) = line.waiting.get_mut(&self.tenant) {
            waiting.retain(|other| other.number != self.number);
            if waiting.is_empty() {
                line.waiting.remove(&self.tenant);
            }
        }
        if line.trying == Some(self.number) {
            line.last = Some(self.tenant);
            line.trying = None;
            line.call_next();
        }
    }
}

/// Those who wait at this engine. One of them at a time tries to take a slot.
#[derive(Default)]
struct Line {
    is_full_for_all: bool,
    /// The tenant that was let in last.
    last: Option<TenantId>,
    looked_at: Instant,
    /// How often slots have come free.
    looks: u64,
    tickets_made: u64,
    trying: Option<u64>,
    waiting: BTreeMap<TenantId, VecDeque<Waiting>>,
    /// Tenants that found no slot since slots came free.
    without_slot: BTreeSet<TenantId>,
}

struct Waiting {
    called: async_channel::Sender<()>,
    number: u64,
}

impl Line {
    /// How many wait for whom a slot may be free: all but those whose tenant's own limit is known to be reached.
    fn hopeful(&self) -> u32 {
        let hopeful = self.waiting.iter().filter(|(tenant, _)| !self.without_slot.contains(tenant));
        hopeful.fold(0, |count, (_, waiting)| count.saturating_add(u32::try_from(waiting.len()).unwrap_or(u32::MAX)))
    }

    fn look_again(&mut self, now: Instant) {
        self.is_full_for_all = false;
        self.looked_at = now;
        self.looks += 1;
        self.without_slot.clear();
        self.call_next();
    }

    /// Calls the first of the next tenant after the one that was let in last.
    fn call_next(&mut self) {
        if self.trying.is_some() || self.is_full_for_all {
            return;
        }
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.waiting.range((after, Bound::Unbounded));
        let from_the_start = self.waiting.range(..);
        let next = behind.chain(from_the_start).find(|(tenant, _)| !self.without_slot.contains(tenant));
        let Some(first) = next.and_then(|(_, waiting)| waiting.front()) else { return };
        // It is called once a turn, so that there is room.
        let _ = first.called.try_send(());
        self.trying = Some(first.number);
    }
}

fn over_capacity(message: &str) -> Error {
    Error::new(ErrorKind::RateLimited, "capacity.take", message)
}
