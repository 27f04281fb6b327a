//! Who hears the bells: a session for each queue that this engine holds.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::delivery::DELIVERY;
use super::queue::{BELL, LEASE, QueueName};
use super::{Outbox, Shared, session};
use crate::error::Result;
use crate::provider::store::{Batch, Expect};

/// Attempts of one engine that are on their way at once.
pub const CONCURRENT_MAX: usize = 512;

/// Queues that one engine holds at once.
pub const QUEUES_HELD_MAX: usize = 256;

/// Bells that are claimed at once.
const CLAIMED_MAX: usize = 64;

/// How often bells are listened for when nobody says that one was rung.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// How often deliveries are looked for that have been kept for long enough, and how many are removed at once.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);
const PURGED_MAX: u32 = 256;

/// Who removes them dies: somebody else does after this.
const PURGE_LEASE: Duration = Duration::from_secs(60);

/// What waits for a session.
type Rung = (async_channel::Sender<()>, async_channel::Receiver<()>);

impl Outbox {
    /// Delivers until `stop` is closed, and until what is on its way then is over. Beside that, removes what is old.
    pub(crate) async fn run(self, stop: async_channel::Receiver<()>) {
        let purge = purge(self.shared.clone(), stop.clone());
        futures_util::join!(self.deliver(stop), purge);
    }

    async fn deliver(self, stop: async_channel::Receiver<()>) {
        let (end, ended) = async_channel::bounded(QUEUES_HELD_MAX);
        let mut worker = Worker { end, held: BTreeMap::new(), shared: self.shared, stop };
        while !worker.stop.is_closed() {
            if let Err(error) = worker.listen().await {
                tracing::warn!(%error, "deliveries could not be claimed");
            }
            worker.rest(&ended).await;
        }
        while !worker.held.is_empty() {
            let Ok(name) = ended.recv().await else { return };
            worker.held.remove(&name);
        }
    }
}

struct Worker {
    end: async_channel::Sender<QueueName>,
    held: BTreeMap<QueueName, Rung>,
    shared: Arc<Shared>,
    stop: async_channel::Receiver<()>,
}

impl Worker {
    /// Begins a session for each bell that was rung, as long as there is room.
    async fn listen(&mut self) -> Result<()> {
        loop {
            let room = (QUEUES_HELD_MAX - self.held.len()).min(CLAIMED_MAX);
            if room == 0 {
                return Ok(());
            }
            let now = self.shared.runtime.wall_clock();
            let limit = u32::try_from(room).unwrap_or(u32::MAX);
            let bells = self.shared.store.claim(BELL.to_owned(), now, LEASE, limit).await?;
            let is_all = bells.len() < room;
            for bell in bells {
                let name = QueueName { queue: bell.key.id, tenant: bell.key.tenant };
                match self.held.get(&name) {
                    // A full channel is as good as a sent message: the session will look.
                    Some((rung, _)) => drop(rung.try_send(())),
                    None => self.begin(name),
                }
            }
            if is_all {
                return Ok(());
            }
        }
    }

    fn begin(&mut self, name: QueueName) {
        let (ring, rung) = async_channel::bounded(1);
        self.held.insert(name.clone(), (ring, rung.clone()));
        let (shared, stop, end) = (self.shared.clone(), self.stop.clone(), self.end.clone());
        let session = async move {
            let served = AssertUnwindSafe(session::serve(shared, name.clone(), rung, stop)).catch_unwind().await;
            match served {
                Ok(Ok(())) => {}
                // Its bell rings again when the claim on it is over.
                Ok(Err(error)) => tracing::warn!(%error, "the work on a queue of deliveries broke off"),
                Err(_) => tracing::error!(tenant = %name.tenant, "the work on a queue of deliveries panicked"),
            }
            // There is room for every queue that is held.
            let _ = end.try_send(name);
        };
        self.shared.runtime.spawn("outbox", Box::pin(session));
    }

    /// Waits until there may be something to do.
    async fn rest(&mut self, ended: &async_channel::Receiver<QueueName>) {
        let shared = self.shared.clone();
        let mut nap = shared.runtime.sleep_until(shared.runtime.now() + POLL_INTERVAL).fuse();
        loop {
            futures_util::select_biased! {
                _ = std::pin::pin!(self.stop.recv().fuse()) => return,
                name = std::pin::pin!(ended.recv().fuse()) => {
                    let Ok(name) = name else { return };
                    // A bell that the session did not hear any more was rung for the next one.
                    let unheard = self.held.remove(&name).is_some_and(|(_, rung)| rung.try_recv().is_ok());
                    if unheard {
                        self.begin(name);
                    }
                }
                _ = std::pin::pin!(shared.woken.recv().fuse()) => return,
                () = nap => return,
            }
        }
    }
}

/// Removes deliveries that have been kept for long enough, until `stop` is closed.
async fn purge(shared: Arc<Shared>, stop: async_channel::Receiver<()>) {
    while !stop.is_closed() {
        let nap = shared.runtime.sleep_until(shared.runtime.now() + PURGE_INTERVAL);
        futures_util::select_biased! {
            _ = std::pin::pin!(stop.recv().fuse()) => return,
            () = nap.fuse() => {}
        }
        while !stop.is_closed() {
            match purge_some(&shared).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "old deliveries could not be removed");
                    break;
                }
            }
        }
    }
}

/// Whether there were any.
async fn purge_some(shared: &Shared) -> Result<bool> {
    let now = shared.runtime.wall_clock();
    let old = shared.store.claim(DELIVERY.to_owned(), now, PURGE_LEASE, PURGED_MAX).await?;
    let mut batch = Batch::default();
    for record in &old {
        batch.delete(record.key.clone(), Expect::Revision(record.revision));
    }
    if !old.is_empty() {
        shared.store.commit(batch).await?;
    }
    Ok(!old.is_empty())
}
