//! Calls as they are kept: begun with a hold, ended with a settlement, each in one commit with its events.
//!
//! A call that is not settled is due: its `due_at` is the end of a lease that the engine which holds it renews. A call whose
//! lease has run out is an orphan, and whichever engine claims it settles it ([`super::recovery`]).

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::capacity::{Capacity, Limits, WhenFull};
use super::credits::balance_of;
use super::recordings::Recordings;
use super::tasks::Tasks;
use super::webhooks::{Told, Webhooks, from_value, to_value};
use crate::billing::{Account, EntryKind, Increment, Posting};
use crate::call::{CallRecord, LedgerSummary};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CallId, EngineId, TenantId};
use crate::provider::Store;
use crate::provider::store::{Add, Batch, Expect, Put, Record, RecordKey};
use crate::provider::telephony::LegId;
use crate::runtime::Runtime;
use crate::time::{Timestamp, millis};

/// The record kind of calls.
pub const CALL: &str = "call";

/// Talk time that a call must be able to hold to begin.
pub const HOLD_MIN: Duration = Duration::from_secs(1);

/// How often a commit is tried that others keep overtaking.
const CONFLICTS_MAX: u32 = 8;

/// All calls.
#[derive(Clone)]
pub struct Calls {
    capacity: Capacity,
    engine: EngineId,
    increment: Increment,
    lease: Duration,
    runtime: Arc<dyn Runtime>,
    store: Arc<dyn Store>,
    tasks: Tasks,
    webhooks: Webhooks,
}

/// A call as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredCall {
    /// Available before the hold; zero when there was none.
    pub before_ms: i64,
    /// Held for the call; zero when there was none.
    pub held_ms: i64,
    /// Who keeps the call; `None` once it is settled.
    pub lease: Option<Lease>,
    /// The settlement, once it is made.
    pub ledger: Option<LedgerSummary>,
    /// The carrier's names for the legs that the engine holds, as far as they are known; the call's own first.
    pub legs: Vec<LegId>,
    /// The call, as of the last renewal of its lease at the latest.
    pub record: CallRecord,
    /// Which of its events have been written.
    #[serde(default)]
    pub told: Told,
}

/// The claim of an engine on a live call.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// Which engine.
    pub holder: EngineId,
    /// When the call was last known to live.
    pub renewed_at: Timestamp,
}

/// What a live call is at this moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) legs: Vec<LegId>,
    pub(crate) record: CallRecord,
}

/// What a renewal found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Renewal {
    /// The call is this engine's.
    Held,
    /// The call is another engine's, or settled.
    Lost,
}

impl Calls {
    pub(crate) fn new(
        runtime: Arc<dyn Runtime>,
        store: Arc<dyn Store>,
        webhooks: Webhooks,
        capacity: Capacity,
        tasks: Tasks,
        increment: Increment,
        lease: Duration,
    ) -> Self {
        Self { capacity, engine: EngineId::generate(&*runtime), increment, lease, runtime, store, tasks, webhooks }
    }

    /// The call, if there is one.
    pub async fn get(&self, tenant: TenantId, call: CallId) -> Result<Option<StoredCall>> {
        let record = self.store.get(RecordKey::new(tenant, CALL, call)).await?;
        record.map(|record| from_value(&record.body)).transpose()
    }

    /// Commits that the call began, takes a slot and holds at most `wanted` for it. Returns what is held. `queued` hears
    /// how long the call will wait, if it must.
    ///
    /// `InsufficientFunds` when less than [`HOLD_MIN`] is available, `RateLimited` when there is no slot, `Conflict` when
    /// the call's task does not wait for it any more.
    pub(crate) async fn reserve(
        &self,
        live: Snapshot,
        wanted: Duration,
        queued: impl FnOnce(Duration) + Send,
    ) -> Result<Duration> {
        let tenant = live.record.tenant;
        let limits = self.capacity.limits(tenant).await?;
        let waits = !matches!(limits.when_full, WhenFull::Reject) && live.record.task.is_none();
        if !waits || !self.capacity.would_overtake(tenant) {
            match self.try_reserve(&live, wanted, &limits).await {
                Err(error) if error.kind() == ErrorKind::RateLimited && waits => {}
                result => return result.inspect(|_| self.capacity.came_in(tenant)),
            }
        }
        let mut ticket = self.capacity.join(tenant, &limits)?;
        if let WhenFull::Queue { wait, .. } = limits.when_full {
            queued(wait);
        }
        loop {
            ticket.turn().await?;
            // They may have changed meanwhile.
            let limits = self.capacity.limits(tenant).await?;
            match self.try_reserve(&live, wanted, &limits).await {
                Err(error) if error.kind() == ErrorKind::RateLimited => ticket.found_none().await?,
                result => return result,
            }
        }
    }

    async fn try_reserve(&self, live: &Snapshot, wanted: Duration, limits: &Limits) -> Result<Duration> {
        let Snapshot { legs, record } = live;
        let tenant = record.tenant;
        let wanted_ms = i64::try_from(millis(wanted)).unwrap_or(i64::MAX);
        for _ in 0..CONFLICTS_MAX {
            let before_ms = self.available(tenant).await?;
            let held_ms = before_ms.min(wanted_ms);
            if held_ms < i64::try_from(millis(HOLD_MIN)).unwrap_or(i64::MAX).min(wanted_ms.max(1)) {
                break;
            }
            let now = self.runtime.wall_clock();
            let lease = Some(Lease { holder: self.engine, renewed_at: now });
            let (legs, record, told) = (legs.clone(), record.clone(), Told::default());
            let mut stored = StoredCall { before_ms, held_ms, lease, ledger: None, legs, record, told };
            let record = &live.record;
            let mut batch = Batch::default();
            self.capacity.take(&mut batch, tenant, limits);
            self.webhooks.tell(&mut batch, &mut stored).await?;
            batch.put(self.put(Expect::Absent, &stored, now)?);
            self.posting(record, EntryKind::Hold, held_ms).post(&mut batch);
            self.tasks.begin(&mut batch, record, now).await?;
            match self.store.commit(batch).await {
                Ok(_) => {
                    self.webhooks.wake();
                    return Ok(Duration::from_millis(held_ms.unsigned_abs()));
                }
                // Another call took the time in between.
                Err(error) if error.kind() == ErrorKind::InsufficientFunds => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::InsufficientFunds, "calls.reserve", "no prepaid talk time is left"))
    }

    /// Commits that the call was answered.
    pub(crate) async fn report_answered(&self, live: Snapshot) -> Result<()> {
        self.refresh(live).await.map(|_| ())
    }

    /// Keeps the call for another lease, and what is known of it for the case that this engine stops; commits the events
    /// that have come since.
    pub(crate) async fn renew(&self, live: Snapshot) -> Result<Renewal> {
        self.refresh(live).await
    }

    /// Makes this engine the holder of an orphan that it has claimed; `None` when somebody was faster. From now on the
    /// engine that held the call before finds its lease lost.
    pub(crate) async fn take_over(&self, row: Record) -> Result<Option<StoredCall>> {
        let mut stored: StoredCall = from_value(&row.body)?;
        let Some(lease) = &mut stored.lease else { return Ok(None) };
        lease.holder = self.engine;
        let mut batch = Batch::default();
        batch.put(self.put(Expect::Revision(row.revision), &stored, self.runtime.wall_clock())?);
        match self.store.commit(batch).await {
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(None),
            result => result.map(|_| Some(stored)),
        }
    }

    /// Commits the end of the call: its record, the settlement and its events. A second time changes nothing and
    /// returns the first settlement.
    pub(crate) async fn settle(&self, record: CallRecord) -> Result<LedgerSummary> {
        for _ in 0..CONFLICTS_MAX {
            let loaded = self.load(&record).await?;
            if let Some(ledger) = loaded.as_ref().and_then(|(_, stored)| stored.ledger) {
                return Ok(ledger);
            }
            match self.commit_end(&record, loaded).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                result => return result,
            }
        }
        Err(overtaken())
    }

    async fn refresh(&self, live: Snapshot) -> Result<Renewal> {
        for _ in 0..CONFLICTS_MAX {
            let Some((row, mut stored)) = self.load(&live.record).await? else {
                return Err(Error::new(ErrorKind::NotFound, "calls.renew", "the call was not begun"));
            };
            let now = self.runtime.wall_clock();
            match &mut stored.lease {
                Some(lease) if lease.holder == self.engine => lease.renewed_at = now,
                _ => return Ok(Renewal::Lost),
            }
            stored.legs.clone_from(&live.legs);
            stored.record.clone_from(&live.record);
            let mut batch = Batch::default();
            self.webhooks.tell(&mut batch, &mut stored).await?;
            let has_events = !batch.operations.is_empty();
            batch.put(self.put(Expect::Revision(row.revision), &stored, now)?);
            match self.store.commit(batch).await {
                Ok(_) => {
                    if has_events {
                        self.webhooks.wake();
                    }
                    return Ok(Renewal::Held);
                }
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(overtaken())
    }

    async fn commit_end(&self, record: &CallRecord, loaded: Option<(Record, StoredCall)>) -> Result<LedgerSummary> {
        let (expect, mut stored) = match loaded {
            Some((row, stored)) => (Expect::Revision(row.revision), stored),
            None => {
                let before_ms = self.available(record.tenant).await?;
                let record = record.clone();
                let (legs, told) = (Vec::new(), Told::default());
                (Expect::Absent, StoredCall { before_ms, held_ms: 0, lease: None, ledger: None, legs, record, told })
            }
        };
        stored.record = record.clone();
        let mut batch = Batch::default();
        // A call that was never begun has no lease, and no slot.
        let was_begun = stored.lease.take().is_some();
        if was_begun {
            self.capacity.give_back(&mut batch, record.tenant);
        }
        let billable = self.increment.billable(Duration::from_millis(record.talk_time_ms));
        let settled_ms = i64::try_from(millis(billable)).unwrap_or(i64::MAX).min(stored.held_ms);
        let released_ms = stored.held_ms - settled_ms;
        if stored.held_ms > 0 {
            self.posting(record, EntryKind::Settle, settled_ms).post(&mut batch);
            self.posting(record, EntryKind::Release, released_ms).post(&mut batch);
        }
        let ledger = LedgerSummary {
            before_ms: stored.before_ms,
            held_ms: stored.held_ms,
            settled_ms,
            after_ms: self.available(record.tenant).await? + released_ms,
        };
        stored.ledger = Some(ledger);
        let now = self.runtime.wall_clock();
        if let Some(recording) = Recordings::row_of(record, now)? {
            batch.put(recording);
        }
        let task_ends = self.tasks.end(&mut batch, record, now).await?;
        // Nobody waits to hear of a call that never began because its task was called off.
        if was_begun || record.task.is_none() || task_ends {
            self.webhooks.tell(&mut batch, &mut stored).await?;
        }
        batch.put(self.put(expect, &stored, now)?);
        self.store.commit(batch).await?;
        self.capacity.slots_came_free();
        self.webhooks.wake();
        Ok(ledger)
    }

    async fn available(&self, tenant: TenantId) -> Result<i64> {
        let mut batch = Batch::default();
        batch.add(Add::read(Account::Available.counter(tenant)));
        let committed = self.store.commit(batch).await?;
        Ok(balance_of(&committed, Account::Available, tenant))
    }

    async fn load(&self, record: &CallRecord) -> Result<Option<(Record, StoredCall)>> {
        let Some(row) = self.store.get(RecordKey::new(record.tenant, CALL, record.id)).await? else {
            return Ok(None);
        };
        let stored = from_value(&row.body)?;
        Ok(Some((row, stored)))
    }

    /// The row of a call: due at the end of its lease while it has one.
    fn put(&self, expect: Expect, stored: &StoredCall, now: Timestamp) -> Result<Put> {
        let record = &stored.record;
        let direction = to_value(&record.direction)?;
        let mut put = Put::new(RecordKey::new(record.tenant, CALL, record.id), expect, to_value(stored)?)
            .index("status", record.status.to_string())
            .index("direction", direction.as_str().unwrap_or_default())
            .index("agent", record.agent.to_string())
            .index("started_at", record.started_at.as_unix_micros());
        put.due_at = stored.lease.map(|_| now + self.lease);
        Ok(put)
    }

    fn posting(&self, record: &CallRecord, kind: EntryKind, amount_ms: i64) -> Posting {
        Posting {
            amount_ms,
            at: self.runtime.wall_clock(),
            call: Some(record.id),
            key: record.id.to_string(),
            kind,
            tenant: record.tenant,
        }
    }
}

fn overtaken() -> Error {
    Error::new(ErrorKind::Conflict, "calls.commit", "the call was changed by others too often")
}
