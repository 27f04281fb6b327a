//! A queue as it is kept: its bell and the lease on it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Shared;
use super::breaker::{Breaker, Passage};
use super::delivery::{DELIVERY, TURN, turn, turns};
use crate::error::{ErrorKind, Result};
use crate::ids::{EngineId, TenantId};
use crate::provider::store::{Batch, Expect, Order, Put, Query, Record, RecordKey};
use crate::service::webhooks::{from_value, to_value};
use crate::time::Timestamp;

/// The record kind of bells.
pub const BELL: &str = "delivery_bell";

/// The record kind of leases on queues.
pub const QUEUE: &str = "delivery_queue";

/// After so long without a sign of life of its engine, a queue is another's. Also how long a claimed bell is quiet. Engines
/// that share a store must have clocks that agree much better than this.
pub(super) const LEASE: Duration = Duration::from_secs(15);

/// How soon a bell rings again whose queue somebody else holds: so that the holder hears it.
const RING_AGAIN: Duration = Duration::from_millis(500);

/// The name of a queue.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct QueueName {
    pub(super) queue: String,
    pub(super) tenant: TenantId,
}

/// A queue that this engine holds.
pub(super) struct Held {
    pub(super) breaker: Breaker,
    pub(super) name: QueueName,
    pub(super) until: Timestamp,
    revision: u64,
}

/// The stored form of the lease.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Lease {
    breaker: Breaker,
    /// Who holds the queue, and until when.
    holder: Option<(EngineId, Timestamp)>,
}

/// Says that there may be something to do.
pub(super) fn ring(tenant: TenantId, queue: &str, now: Timestamp) -> Put {
    bell(tenant, queue, Expect::Any, Some(now))
}

fn bell(tenant: TenantId, queue: &str, expect: Expect, due_at: Option<Timestamp>) -> Put {
    Put { due_at, ..Put::new(RecordKey::new(tenant, BELL, queue), expect, json!({})) }
}

impl Held {
    /// Takes the lease, if nobody else has it and the breaker lets anything through. If not, the bell rings again in time.
    pub(super) async fn take(shared: &Shared, name: QueueName) -> Result<Option<Self>> {
        let record = shared.store.get(RecordKey::new(name.tenant, QUEUE, &name.queue)).await?;
        let now = shared.runtime.wall_clock();
        let (revision, lease) = match &record {
            Some(record) => (record.revision, from_value(&record.body)?),
            None => (0, Lease::default()),
        };
        if lease.holder.is_some_and(|(holder, until)| holder != shared.engine && until > now) {
            ring_at(shared, &name, now + RING_AGAIN).await?;
            return Ok(None);
        }
        if let Passage::Open(until) = lease.breaker.passage(now) {
            ring_at(shared, &name, until).await?;
            return Ok(None);
        }
        let mut held = Self { breaker: lease.breaker, name, until: now, revision };
        let mut batch = Batch::default();
        batch.put(held.renewal(shared)?);
        match shared.store.commit(batch).await {
            Ok(_) => {
                held.renewed(now);
                Ok(Some(held))
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {
                ring_at(shared, &held.name, now + RING_AGAIN).await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What keeps the queue for another lease; once it is committed, [`Held::renewed`] must hear of it.
    pub(super) fn renewal(&self, shared: &Shared) -> Result<Put> {
        self.put(Some((shared.engine, shared.runtime.wall_clock() + LEASE)))
    }

    pub(super) fn renewed(&mut self, at: Timestamp) {
        self.revision += 1;
        self.until = at + LEASE;
    }

    /// Gives the queue back; the bell rings when the first of its deliveries is to be tried. Nothing happens, and the answer
    /// is false, when the bell was rung meanwhile or something can be done at once.
    pub(super) async fn give_back(&mut self, shared: &Shared, is_stopping: bool) -> Result<bool> {
        let key = RecordKey::new(self.name.tenant, BELL, &self.name.queue);
        let rung = shared.store.get(key).await?.map_or(Expect::Absent, |bell| Expect::Revision(bell.revision));
        let first = self.list(shared, None, 1).await?.pop();
        let first = first.map(|record| from_value::<NextAt>(&record.body)).transpose()?.map(|next| next.next_at);
        let now = shared.runtime.wall_clock();
        let passage = self.breaker.passage(now);
        let due = match passage {
            Passage::Open(until) => first.map(|first| first.max(until)),
            Passage::Closed | Passage::HalfOpen => first,
        };
        if !is_stopping && due.is_some_and(|due| due <= now) {
            return Ok(false);
        }
        let mut batch = Batch::default();
        batch.put(self.put(None)?).put(bell(self.name.tenant, &self.name.queue, rung, due));
        match shared.store.commit(batch).await {
            Err(error) if error.kind() == ErrorKind::Conflict => self.is_lost(shared).await,
            result => result.map(|_| true),
        }
    }

    /// Whether somebody else has taken the queue.
    async fn is_lost(&self, shared: &Shared) -> Result<bool> {
        let row = shared.store.get(RecordKey::new(self.name.tenant, QUEUE, &self.name.queue)).await?;
        Ok(row.is_none_or(|row| row.revision != self.revision))
    }

    /// Pending deliveries in the order in which they are tried: those that are due by `until`, or all.
    pub(super) async fn list(&self, shared: &Shared, until: Option<Timestamp>, limit: u32) -> Result<Vec<Record>> {
        list(shared, &self.name, until, limit).await
    }

    fn put(&self, holder: Option<(EngineId, Timestamp)>) -> Result<Put> {
        let expect = if self.revision == 0 { Expect::Absent } else { Expect::Revision(self.revision) };
        let key = RecordKey::new(self.name.tenant, QUEUE, &self.name.queue);
        Ok(Put::new(key, expect, to_value(&Lease { breaker: self.breaker, holder })?))
    }
}

pub(super) async fn list(
    shared: &Shared,
    name: &QueueName,
    until: Option<Timestamp>,
    limit: u32,
) -> Result<Vec<Record>> {
    let from = format!("{} ", turns(name.tenant, &name.queue));
    let to = match until {
        Some(until) => turn(name.tenant, &name.queue, until + Duration::from_micros(1)),
        // The first text behind all that begin like `from`.
        None => format!("{}!", turns(name.tenant, &name.queue)),
    };
    let query = Query::new(Some(name.tenant), DELIVERY).range(TURN, Some(from.into()), Some(to.into()));
    let page = shared.store.list(query.order(Order::IndexAscending(TURN.to_owned())).limit(limit)).await?;
    Ok(page.records)
}

/// Lets the bell ring at `moment`, unless it was rung again meanwhile.
async fn ring_at(shared: &Shared, name: &QueueName, moment: Timestamp) -> Result<()> {
    let key = RecordKey::new(name.tenant, BELL, &name.queue);
    let Some(record) = shared.store.get(key).await? else { return Ok(()) };
    if record.due_at.is_some_and(|due_at| due_at <= shared.runtime.wall_clock()) {
        return Ok(());
    }
    let mut batch = Batch::default();
    batch.put(bell(name.tenant, &name.queue, Expect::Revision(record.revision), Some(moment)));
    match shared.store.commit(batch).await {
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
        result => result.map(|_| ()),
    }
}

/// As much of a delivery as tells when it is tried.
#[derive(Deserialize)]
struct NextAt {
    next_at: Timestamp,
}
