//! The outbox: messages to customers, written in the commit that causes them and delivered at least once.
//!
//! A [`Message`] has its bytes fixed when it is written. It goes to a [`Target`], in order within its *lane*: of two messages
//! of one lane and one target, the later waits until the earlier is delivered or dead. A *queue* is all that goes to one
//! target. A worker never claims a delivery, it claims a queue, by its bell: so a backlog of any length at a target that
//! hangs stands in nobody's way, a target has one breaker however many engines there are, and nothing is looked for in vain.
//!
//! - The *bell* of a queue is due when there may be something to do. Whoever writes a message rings it, blindly.
//! - The *lease* on a queue says which engine works on it. It is given back in a commit that holds only if the bell has not
//!   been rung since the queue was found empty, so that no ring is lost.

mod breaker;
mod delivery;
mod queue;
mod schedule;
mod send;
mod session;
mod step;
mod worker;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use breaker::{FAILURES_MAX, OPEN_MAX, OPEN_MIN};
pub use delivery::{
    ATTEMPTS_KEPT, Attempt, Attempts, DELIVERY, Delivery, DeliveryState, HINDRANCE_DELAY, Inline, Message, PATIENCE,
    RETENTION, Scheme, Target,
};
pub use queue::{BELL, QUEUE};
pub use schedule::{BACKOFF_MAX, BACKOFF_MIN, RETRY_AFTER_MAX, retry_after};
pub use send::{ANSWER_BYTES_KEPT, SEND_TIMEOUT};
pub use session::CONCURRENT_PER_QUEUE_MAX;
pub use worker::{CONCURRENT_MAX, QUEUES_HELD_MAX};

use self::delivery::standing;
use self::send::Permits;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{EngineId, TenantId};
use crate::provider::reach::Reach;
use crate::provider::store::{Batch, Expect, Put, Query, Record, RecordKey};
use crate::provider::{HttpTransport, Store};
use crate::runtime::Runtime;
use crate::service::tenants::Tenants;
use crate::service::vault::Vault;
use crate::service::webhooks::from_value;

/// Deliveries that are revived in one commit.
const REVIVED_MAX: u32 = 500;

/// The outbox of all tenants. Clones share it.
#[derive(Clone)]
pub struct Outbox {
    shared: Arc<Shared>,
}

struct Shared {
    engine: EngineId,
    http: Arc<dyn HttpTransport>,
    permits: Permits,
    reach: Reach,
    runtime: Arc<dyn Runtime>,
    store: Arc<dyn Store>,
    tenants: Tenants,
    vault: Vault,
    wake: async_channel::Sender<()>,
    woken: async_channel::Receiver<()>,
}

impl Outbox {
    pub(crate) fn new(
        runtime: Arc<dyn Runtime>,
        store: Arc<dyn Store>,
        http: Arc<dyn HttpTransport>,
        vault: Vault,
        reach: Reach,
    ) -> Self {
        let (wake, woken) = async_channel::bounded(1);
        let engine = EngineId::generate(&*runtime);
        let permits = Permits::new(CONCURRENT_MAX);
        let tenants = Tenants::new(runtime.clone(), store.clone(), vault.clone());
        Self { shared: Arc::new(Shared { engine, http, permits, reach, runtime, store, tenants, vault, wake, woken }) }
    }

    /// What must be in the commit that causes `message`. Once it has happened, [`Outbox::wake`] spares a short wait.
    ///
    /// A message whose inline URL is out of reach is dead at once: whoever looks for it finds why.
    pub fn puts(&self, message: Message) -> Result<Vec<Put>> {
        if let Target::Inline(inline) = &message.target
            && let Err(error) = self.shared.reach.check(&inline.url)
        {
            return Ok(vec![self.dead(message, &error)?]);
        }
        let now = self.shared.runtime.wall_clock();
        let (tenant, queue) = (message.tenant, message.target.queue());
        let delivery = Delivery::new(message, now).put(tenant, Expect::Absent, now)?;
        Ok(vec![delivery, queue::ring(tenant, &queue, now)])
    }

    /// Adds `message` to the commit that causes it; see [`Outbox::puts`].
    pub fn enqueue(&self, batch: &mut Batch, message: Message) -> Result<()> {
        for put in self.puts(message)? {
            batch.put(put);
        }
        Ok(())
    }

    /// Adds `message` to the commit that causes it, dead because of `error`: nobody can send it, and it must not be lost.
    pub fn bury(&self, batch: &mut Batch, message: Message, error: &Error) -> Result<()> {
        batch.put(self.dead(message, error)?);
        Ok(())
    }

    /// Says that something was written.
    pub fn wake(&self) {
        // A full channel is as good as a sent message: the worker will look.
        let _ = self.shared.wake.try_send(());
    }

    /// Seals a header's value or a signing secret of an [`Inline`] target.
    pub fn seal(&self, tenant: TenantId, secret: &[u8]) -> Result<String> {
        self.shared.vault.seal(&send::context(tenant), secret)
    }

    /// The delivery, if there is one.
    pub async fn get(&self, tenant: TenantId, id: &str) -> Result<Option<Delivery>> {
        let record = self.shared.store.get(RecordKey::new(tenant, DELIVERY, id)).await?;
        record.map(|record| from_value(&record.body)).transpose()
    }

    /// The deliveries of a lane, in its order and then by their ids; at most
    /// [`LIMIT_MAX`](crate::provider::store::LIMIT_MAX).
    pub async fn lane(&self, tenant: TenantId, lane: &str) -> Result<Vec<Delivery>> {
        let mut deliveries = self.list(Query::new(Some(tenant), DELIVERY).equal("lane", lane)).await?;
        deliveries.sort_by(|a, b| (a.place, &a.id).cmp(&(b.place, &b.id)));
        Ok(deliveries)
    }

    /// The newest deliveries of a queue in one state; at most [`LIMIT_MAX`](crate::provider::store::LIMIT_MAX).
    pub async fn queue(&self, tenant: TenantId, queue: &str, state: DeliveryState) -> Result<Vec<Delivery>> {
        self.list(Query::new(Some(tenant), DELIVERY).equal("standing", standing(queue, state))).await
    }

    /// Sends a delivery that is over once more, with the same bytes; one that waits for another attempt, at once, and with
    /// it whatever goes before it in its lane.
    ///
    /// `NotFound` when there is none, `Conflict` when it is on its way already.
    pub async fn redeliver(&self, tenant: TenantId, id: &str) -> Result<()> {
        let record = self.shared.store.get(RecordKey::new(tenant, DELIVERY, id)).await?;
        let missing = || Error::new(ErrorKind::NotFound, "outbox.redeliver", "there is no such delivery");
        let record = record.ok_or_else(missing)?;
        let delivery: Delivery = from_value(&record.body)?;
        if delivery.state != DeliveryState::Pending {
            return self.revive(tenant, vec![record]).await;
        }
        if delivery.next_at <= self.shared.runtime.wall_clock() {
            return Err(Error::new(ErrorKind::Conflict, "outbox.redeliver", "the delivery is on its way"));
        }
        let page = self.shared.store.list(Query::new(Some(tenant), DELIVERY).equal("lane", &*delivery.lane)).await?;
        let goes_with = |record: &Record| {
            let other = from_value::<Delivery>(&record.body).ok();
            other.is_some_and(|other| {
                other.state == DeliveryState::Pending
                    && other.target.queue() == delivery.target.queue()
                    && (other.place, &other.id) <= (delivery.place, &delivery.id)
            })
        };
        self.revive(tenant, page.records.into_iter().filter(goes_with).collect()).await
    }

    /// Sends all dead deliveries of a queue once more. Returns how many there are.
    pub async fn redeliver_dead(&self, tenant: TenantId, queue: &str) -> Result<usize> {
        let dead = standing(queue, DeliveryState::Dead);
        let mut query = Query::new(Some(tenant), DELIVERY).equal("standing", dead).limit(REVIVED_MAX);
        let mut revived = 0;
        // Once through the list: what dies again meanwhile stands behind, and is left for another wish.
        loop {
            let page = self.shared.store.list(query.clone()).await?;
            let found = page.records.len();
            match self.revive(tenant, page.records).await {
                // Somebody else revives them as well.
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                result => result.map(|()| revived += found)?,
            }
            let Some(next) = page.next else { return Ok(revived) };
            query = query.after(next);
        }
    }

    async fn revive(&self, tenant: TenantId, records: Vec<Record>) -> Result<()> {
        let now = self.shared.runtime.wall_clock();
        let mut batch = Batch::default();
        let mut queues = BTreeSet::new();
        for record in records {
            // One that cannot be read cannot be sent either.
            let Ok(mut delivery) = from_value::<Delivery>(&record.body) else { continue };
            delivery.revive(now);
            batch.put(delivery.put(tenant, Expect::Revision(record.revision), now)?);
            queues.insert(delivery.target.queue());
        }
        for queue in queues {
            batch.put(queue::ring(tenant, &queue, now));
        }
        self.shared.store.commit(batch).await?;
        self.wake();
        Ok(())
    }

    fn dead(&self, message: Message, error: &Error) -> Result<Put> {
        let (now, tenant) = (self.shared.runtime.wall_clock(), message.tenant);
        let mut delivery = Delivery::new(message, now);
        delivery.note(Attempt::unsendable(error, now));
        delivery.state = DeliveryState::Dead;
        delivery.put(tenant, Expect::Absent, now)
    }

    /// Those that can be read.
    async fn list(&self, query: Query) -> Result<Vec<Delivery>> {
        let page = self.shared.store.list(query).await?;
        Ok(page.records.iter().filter_map(|record| from_value(&record.body).ok()).collect())
    }
}
