//! One look at a lane: its head is tried, if its time has come.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;

use super::Shared;
use super::delivery::{DELIVERY, Delivery, DeliveryState, TURN, Target, bury_unread};
use super::queue::QueueName;
use super::schedule::backoff;
use super::send::{Destination, Tried};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::provider::store::{Batch, Query, Record};
use crate::runtime::random_id_bytes;
use crate::service::webhooks::{endpoint, from_value};
use crate::time::{Instant, Timestamp};

/// How long a session trusts what it knows of its endpoint.
const DESTINATION_AGE_MAX: Duration = Duration::from_secs(1);

/// What a session knows of its endpoint, and since when.
pub(super) type Known = Arc<Mutex<Option<(Instant, Option<Arc<Destination>>)>>>;

/// A delivery with the revision of its row.
pub(super) struct Queued {
    pub(super) delivery: Delivery,
    pub(super) revision: u64,
}

/// What one look at a lane came to.
pub(super) struct Step {
    pub(super) changed: Vec<Queued>,
    pub(super) lane: String,
    pub(super) outcome: Outcome,
    /// What comes next in the lane, as far as it may be tried at once.
    pub(super) rest: VecDeque<Queued>,
}

pub(super) enum Outcome {
    /// The target is no more, or switched off.
    Gone,
    /// The lane is empty, or waits for a later attempt.
    Nothing,
    Tried {
        is_outage: bool,
        is_success: bool,
        rest: Option<Duration>,
    },
}

/// What can be read of `records`. A pending delivery that cannot be is dead, or else it would stop its queue for ever.
pub(super) async fn readable(shared: &Shared, records: Vec<Record>) -> Result<Vec<Queued>> {
    let mut read = Vec::with_capacity(records.len());
    for record in records {
        let error = match from_value(&record.body) {
            Ok(delivery) => {
                read.push(Queued { delivery, revision: record.revision });
                continue;
            }
            Err(error) => error,
        };
        if !record.indexes.contains_key(TURN) {
            continue;
        }
        tracing::error!(%error, tenant = %record.key.tenant, id = record.key.id, "a delivery cannot be read and is dead");
        let mut batch = Batch::default();
        batch.put(bury_unread(record, shared.runtime.wall_clock()));
        match shared.store.commit(batch).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            result => drop(result?),
        }
    }
    Ok(read)
}

/// What a step needs.
pub(super) struct Work {
    pub(super) destination: Known,
    pub(super) name: QueueName,
    pub(super) shared: Arc<Shared>,
}

impl Work {
    /// Tries the head of a lane, if its time has come.
    pub(super) async fn step(self, lane: String, mut known: VecDeque<Queued>) -> Result<Step> {
        if known.is_empty() {
            known = self.lane(&lane).await?;
        }
        let nothing = |changed| Step { changed, lane: lane.clone(), outcome: Outcome::Nothing, rest: VecDeque::new() };
        let Some(mut head) = known.pop_front() else { return Ok(nothing(Vec::new())) };
        let now = self.shared.runtime.wall_clock();
        if head.delivery.next_at > now {
            return Ok(nothing(put_off(known, head.delivery.next_at)));
        }
        let tried = match self.destination(&head.delivery.target).await {
            Ok(Some(destination)) => self.send(&destination, &head.delivery).await,
            Ok(None) => return Ok(Step { outcome: Outcome::Gone, ..nothing(Vec::new()) }),
            Err(error) if error.retry() == Retry::Later => return Err(error),
            // The key that opens its secret is gone from the configuration, say, and may come back.
            Err(error) if error.kind() == ErrorKind::ConfigInvalid => {
                head.delivery.hinder(&error, now);
                let mut changed = put_off(known, head.delivery.next_at);
                changed.push(head);
                return Ok(nothing(changed));
            }
            // A secret that is damaged, say: it is this message's affair, and not its receiver's.
            Err(error) => Tried::unsendable(&error, now),
        };
        let (is_outage, rest) = (tried.is_outage(), tried.rest);
        let (is_success, is_gone) = (tried.attempt.is_success(), tried.is_gone());
        let is_tried_once = head.delivery.target.is_tried_once();
        self.judge(&mut head.delivery, tried, is_tried_once);
        let next_at = head.delivery.next_at;
        let waits = head.delivery.state == DeliveryState::Pending;
        let target = head.delivery.target.clone();
        let mut changed = vec![head];
        if waits {
            changed.extend(put_off(std::mem::take(&mut known), next_at));
        }
        if let (true, Target::Endpoint(id)) = (is_gone, &target) {
            endpoint::disable(&*self.shared.store, self.name.tenant, id, self.shared.runtime.wall_clock()).await?;
            return Ok(Step { changed, lane, outcome: Outcome::Gone, rest: VecDeque::new() });
        }
        Ok(Step { changed, lane, outcome: Outcome::Tried { is_outage, is_success, rest }, rest: known })
    }

    /// A panic on the way is a failed attempt like any other: it is noted, and comes to an end.
    async fn send(&self, destination: &Destination, delivery: &Delivery) -> Tried {
        let sent = AssertUnwindSafe(destination.send(&self.shared, delivery)).catch_unwind().await;
        sent.unwrap_or_else(|_| {
            let error = Error::new(ErrorKind::Unexpected, "outbox.send", "the attempt panicked");
            Tried::unsendable(&error, self.shared.runtime.wall_clock())
        })
    }

    /// Notes an attempt, and what follows from it.
    fn judge(&self, delivery: &mut Delivery, tried: Tried, is_tried_once: bool) {
        let (is_success, is_gone) = (tried.attempt.is_success(), tried.is_gone());
        let now = self.shared.runtime.wall_clock();
        delivery.note(tried.attempt);
        let [jitter, ..] = random_id_bytes(&*self.shared.runtime);
        let wait = backoff(delivery.attempts_made, jitter).max(tried.rest.unwrap_or_default());
        let next_at = now + wait;
        if is_success {
            delivery.state = DeliveryState::Delivered;
        } else if is_tried_once || is_gone || next_at >= delivery.expires_at {
            delivery.state = DeliveryState::Dead;
        } else {
            delivery.next_at = next_at;
        }
    }

    /// All that is pending in a lane of this queue, in its order.
    async fn lane(&self, lane: &str) -> Result<VecDeque<Queued>> {
        let mut found = Vec::new();
        let mut query = Query::new(Some(self.name.tenant), DELIVERY).equal("lane", lane);
        loop {
            let page = self.shared.store.list(query.clone()).await?;
            let next = page.next;
            found.extend(readable(&self.shared, page.records).await?.into_iter().filter(|queued| {
                let is_pending = queued.delivery.state == DeliveryState::Pending;
                is_pending && queued.delivery.target.queue() == self.name.queue
            }));
            let Some(next) = next else { break };
            query = query.after(next);
        }
        found.sort_by(|a, b| (a.delivery.place, &a.delivery.id).cmp(&(b.delivery.place, &b.delivery.id)));
        Ok(found.into())
    }

    async fn destination(&self, target: &Target) -> Result<Option<Arc<Destination>>> {
        let find = || Destination::find(&self.shared, self.name.tenant, target);
        let Target::Endpoint(_) = target else { return Ok(find().await?.map(Arc::new)) };
        let now = self.shared.runtime.now();
        if let Some((at, known)) = &*self.destination.lock().unwrap_or_else(PoisonError::into_inner)
            && now.saturating_since(*at) < DESTINATION_AGE_MAX
        {
            return Ok(known.clone());
        }
        let found = find().await?.map(Arc::new);
        *self.destination.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, found.clone()));
        Ok(found)
    }
}

/// Lets nobody come to his turn before the one ahead of him, so that nobody is found in vain.
fn put_off(followers: VecDeque<Queued>, until: Timestamp) -> Vec<Queued> {
    let mut early: Vec<_> = followers.into_iter().filter(|follower| follower.delivery.next_at < until).collect();
    early.iter_mut().for_each(|follower| follower.delivery.next_at = until);
    early
}
