//! The work on one queue while this engine holds it: several lanes at once, each in its order.

use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::breaker::Passage;
use super::delivery::{Attempt, DeliveryState};
use super::queue::{Held, LEASE, QueueName};
use super::step::{Known, Outcome, Queued, Step, Work, readable};
use super::{Shared, queue};
use crate::error::{ErrorKind, Result};
use crate::provider::store::{Batch, Expect, LIMIT_MAX, Put};
use crate::runtime::random_id_bytes;
use crate::time::Timestamp;

/// Lanes of one queue that are worked on at once.
pub const CONCURRENT_PER_QUEUE_MAX: usize = 16;

/// Lanes that are begun with; with each success it is one more, with each failure one alone.
const CONCURRENT_FIRST: usize = 4;

/// Deliveries that are looked for at once.
const FOUND_MAX: u32 = 256;

/// Attempts whose results share a commit.
const RESULTS_MAX: usize = 64;

/// Commits of one result before the session is given up, and the first wait between them; it doubles.
const COMMITS_MAX: u32 = 5;
const COMMIT_RETRY: Duration = Duration::from_millis(200);

/// Renewals in one lease, so that one that is late does not lose it.
const RENEWALS_PER_LEASE: u32 = 3;

/// Works on the queue `name` until nothing is to be done, somebody else has it, or `stop` is closed. Who stops lets the
/// attempts that are on their way come to their end.
pub(super) async fn serve(
    shared: Arc<Shared>,
    name: QueueName,
    rung: async_channel::Receiver<()>,
    stop: async_channel::Receiver<()>,
) -> Result<()> {
    let Some(held) = Held::take(&shared, name).await? else { return Ok(()) };
    let window = if held.breaker.is_sound() { CONCURRENT_FIRST } else { 1 };
    let renewal = renewal(&shared);
    let session = Session {
        busy: BTreeSet::new(),
        commit: None,
        destination: Arc::default(),
        found: VecDeque::new(),
        held,
        is_gone: false,
        is_stopping: false,
        listing: None,
        may_find: true,
        outdated: BTreeSet::new(),
        renewal,
        renews: false,
        results: Vec::new(),
        rung: Box::pin(rung),
        shared,
        stop: Box::pin(stop),
        steps: FuturesUnordered::new(),
        window,
    };
    session.run().await
}

struct Session {
    /// Lanes that are worked on.
    busy: BTreeSet<String>,
    commit: Option<BoxFuture<'static, Result<Committed>>>,
    destination: Known,
    /// The heads of lanes, perhaps, in the order in which they are tried.
    found: VecDeque<Queued>,
    held: Held,
    /// The target is no more, or wants nothing more.
    is_gone: bool,
    is_stopping: bool,
    listing: Option<BoxFuture<'static, Result<Found>>>,
    /// Something may have been written since the queue was last looked through.
    may_find: bool,
    /// Lanes that were done while the queue was looked through.
    outdated: BTreeSet<String>,
    /// When the lease is to be renewed.
    renewal: BoxFuture<'static, ()>,
    renews: bool,
    results: Vec<Step>,
    rung: Pin<Box<async_channel::Receiver<()>>>,
    shared: Arc<Shared>,
    stop: Pin<Box<async_channel::Receiver<()>>>,
    steps: FuturesUnordered<BoxFuture<'static, Result<Step>>>,
    window: usize,
}

/// Which of the steps that were committed are kept, and whether the queue still is.
struct Committed {
    is_lost: bool,
    kept: Vec<(String, VecDeque<Queued>)>,
    renewed_at: Option<Timestamp>,
}

/// What was found in the queue.
struct Found {
    is_all: bool,
    queued: Vec<Queued>,
}

enum Wake {
    Committed(Result<Committed>),
    Listed(Result<Found>),
    Renew,
    Rung,
    Stepped(Result<Step>),
    Stop,
}

impl Session {
    async fn run(mut self) -> Result<()> {
        loop {
            self.fill();
            self.commit_results()?;
            let rests = self.steps.is_empty() && self.commit.is_none() && self.listing.is_none();
            if rests && self.results.is_empty() {
                if self.leave().await? {
                    return Ok(());
                }
                self.may_find = true;
                continue;
            }
            match poll_fn(|context| self.poll_wake(context)).await {
                Wake::Committed(committed) => {
                    self.commit = None;
                    let committed = committed?;
                    if committed.is_lost {
                        return Ok(());
                    }
                    self.committed(committed);
                }
                Wake::Listed(found) => {
                    self.listing = None;
                    self.listed(found?);
                }
                Wake::Renew => {
                    if self.shared.runtime.wall_clock() > self.held.until {
                        return Ok(());
                    }
                    self.renewal = renewal(&self.shared);
                    self.renews = true;
                }
                Wake::Rung => self.may_find = true,
                Wake::Stepped(step) => self.stepped(step?),
                Wake::Stop => self.is_stopping = true,
            }
        }
    }

    /// Begins work on as many lanes as may be worked on.
    fn fill(&mut self) {
        if self.is_stopping || self.is_gone {
            return;
        }
        let room = match self.held.breaker.passage(self.shared.runtime.wall_clock()) {
            Passage::Closed => self.window,
            Passage::HalfOpen => 1,
            Passage::Open(_) => 0,
        };
        while self.busy.len() < room {
            let Some(queued) = self.found.pop_front() else {
                self.look();
                return;
            };
            let lane = queued.delivery.lane.clone();
            if self.busy.insert(lane.clone()) {
                // Nothing precedes the first of a lane; before any other there may be one that waits for its next attempt.
                let known = if queued.delivery.place == 0 { VecDeque::from([queued]) } else { VecDeque::new() };
                self.begin(lane, known);
            }
        }
    }

    fn look(&mut self) {
        if self.listing.is_some() || !std::mem::take(&mut self.may_find) {
            return;
        }
        let (shared, name) = (self.shared.clone(), self.held.name.clone());
        self.listing = Some(Box::pin(async move {
            let now = shared.runtime.wall_clock();
            let records = queue::list(&shared, &name, Some(now), FOUND_MAX).await?;
            let is_all = records.len() < FOUND_MAX as usize;
            Ok(Found { is_all, queued: readable(&shared, records).await? })
        }));
    }

    fn listed(&mut self, found: Found) {
        // There is more, or there are only lanes that are worked on: those say so when they are done.
        self.may_find |= !found.is_all && self.busy.len() < self.window;
        let outdated = std::mem::take(&mut self.outdated);
        let is_free = |lane: &String| !self.busy.contains(lane) && !outdated.contains(lane);
        self.found.extend(found.queued.into_iter().filter(|queued| is_free(&queued.delivery.lane)));
    }

    fn begin(&mut self, lane: String, known: VecDeque<Queued>) {
        let work =
            Work { destination: self.destination.clone(), name: self.held.name.clone(), shared: self.shared.clone() };
        self.steps.push(Box::pin(work.step(lane, known)));
    }

    fn stepped(&mut self, step: Step) {
        let now = self.shared.runtime.wall_clock();
        match step.outcome {
            Outcome::Gone => self.is_gone = true,
            Outcome::Nothing => {}
            Outcome::Tried { is_success: true, .. } => {
                self.held.breaker.succeeded();
                self.window = (self.window + 1).min(CONCURRENT_PER_QUEUE_MAX);
            }
            Outcome::Tried { is_outage, rest, .. } => {
                if is_outage {
                    let [jitter, ..] = random_id_bytes(&*self.shared.runtime);
                    self.held.breaker.failed(now, jitter);
                    self.window = 1;
                }
                if let (true, Some(rest)) = (is_outage, rest) {
                    self.held.breaker.rest_until(now + rest);
                }
            }
        }
        self.results.push(step);
    }

    /// Commits what has come to its end, unless a commit is under way: then it waits for that one.
    fn commit_results(&mut self) -> Result<()> {
        if self.commit.is_some() || (self.results.is_empty() && !self.renews) {
            return Ok(());
        }
        let now = self.shared.runtime.wall_clock();
        let results = self.results.drain(..self.results.len().min(RESULTS_MAX)).collect();
        let renews = std::mem::take(&mut self.renews);
        let renewal = if renews { Some(self.held.renewal(&self.shared)?) } else { None };
        self.commit = Some(Box::pin(commit(self.shared.clone(), self.held.name.clone(), renewal, results, now)));
        Ok(())
    }

    fn committed(&mut self, committed: Committed) {
        if let Some(at) = committed.renewed_at {
            self.held.renewed(at);
        }
        for (lane, rest) in committed.kept {
            let goes_on = !rest.is_empty()
                && !self.is_stopping
                && !self.is_gone
                && !matches!(self.held.breaker.passage(self.shared.runtime.wall_clock()), Passage::Open(_));
            if goes_on {
                self.begin(lane, rest);
            } else {
                self.done(lane);
            }
        }
    }

    /// What was read of a lane before its last result was written is out of date.
    fn done(&mut self, lane: String) {
        self.busy.remove(&lane);
        self.found.retain(|queued| queued.delivery.lane != lane);
        self.may_find = true;
        if self.listing.is_some() {
            self.outdated.insert(lane);
        }
    }

    /// Gives the queue back, when there is nothing to do.
    async fn leave(&mut self) -> Result<bool> {
        self.found.clear();
        let now = self.shared.runtime.wall_clock();
        if self.is_gone {
            self.bury(ErrorKind::NotFound, None).await?;
        } else if let Passage::Open(_) = self.held.breaker.passage(now) {
            self.bury(ErrorKind::Unavailable, Some(now)).await?;
        }
        self.held.give_back(&self.shared, self.is_stopping).await
    }

    /// Gives up what is pending: all of it, or what has expired.
    async fn bury(&mut self, kind: ErrorKind, expired_at: Option<Timestamp>) -> Result<()> {
        loop {
            let records = self.held.list(&self.shared, expired_at, LIMIT_MAX / 2).await?;
            let now = self.shared.runtime.wall_clock();
            let mut batch = Batch::default();
            for Queued { mut delivery, revision } in readable(&self.shared, records).await? {
                if expired_at.is_none_or(|at| delivery.expires_at <= at) {
                    delivery.state = DeliveryState::Dead;
                    let (answer, status) = (String::new(), None);
                    delivery.note(Attempt { answer, at: now, error: Some(kind), latency_ms: 0, status });
                    batch.put(delivery.put(self.held.name.tenant, Expect::Revision(revision), now)?);
                }
            }
            if batch.operations.is_empty() {
                return Ok(());
            }
            match self.shared.store.commit(batch).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                result => drop(result?),
            }
        }
    }

    fn poll_wake(&mut self, context: &mut Context<'_>) -> Poll<Wake> {
        if let Some(commit) = &mut self.commit
            && let Poll::Ready(result) = commit.as_mut().poll(context)
        {
            return Poll::Ready(Wake::Committed(result));
        }
        if let Poll::Ready(Some(step)) = self.steps.poll_next_unpin(context) {
            return Poll::Ready(Wake::Stepped(step));
        }
        if let Some(listing) = &mut self.listing
            && let Poll::Ready(records) = listing.as_mut().poll(context)
        {
            return Poll::Ready(Wake::Listed(records));
        }
        if let Poll::Ready(Some(())) = self.rung.poll_next_unpin(context) {
            return Poll::Ready(Wake::Rung);
        }
        if !self.is_stopping && self.stop.poll_next_unpin(context).is_ready() {
            return Poll::Ready(Wake::Stop);
        }
        self.renewal.as_mut().poll(context).map(|()| Wake::Renew)
    }
}

/// Commits steps together, and the lease with them. If somebody else changed one of them, each by itself: what somebody else
/// has changed counts as he left it.
async fn commit(
    shared: Arc<Shared>,
    name: QueueName,
    renewal: Option<Put>,
    steps: Vec<Step>,
    now: Timestamp,
) -> Result<Committed> {
    let renewed_at = renewal.is_some().then_some(now);
    let mut parts = Vec::new();
    for step in &steps {
        let put = |queued: &Queued| queued.delivery.put(name.tenant, Expect::Revision(queued.revision), now);
        parts.push(step.changed.iter().map(put).collect::<Result<Vec<_>>>()?);
    }
    let all = renewal.iter().chain(parts.iter().flatten());
    if !write(&shared, all).await? {
        if let Some(renewal) = &renewal
            && !write(&shared, [renewal]).await?
        {
            return Ok(Committed { is_lost: true, kept: Vec::new(), renewed_at: None });
        }
        let mut kept = Vec::new();
        for (step, part) in steps.into_iter().zip(&parts) {
            let rest = if write(&shared, part).await? { step.rest } else { VecDeque::new() };
            kept.push((step.lane, rest));
        }
        return Ok(Committed { is_lost: false, kept, renewed_at });
    }
    let kept = steps.into_iter().map(|step| (step.lane, step.rest)).collect();
    Ok(Committed { is_lost: false, kept, renewed_at })
}

/// False when one of the rows is not as it was. A store that is away for a moment is asked again.
async fn write<'a>(shared: &Shared, puts: impl IntoIterator<Item = &'a Put>) -> Result<bool> {
    let mut batch = Batch::default();
    for put in puts {
        batch.put(put.clone());
    }
    if batch.operations.is_empty() {
        return Ok(true);
    }
    let mut wait = COMMIT_RETRY;
    for _ in 1..COMMITS_MAX {
        match shared.store.commit(batch.clone()).await {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Conflict => return Ok(false),
            Err(error) => tracing::debug!(%error, "results of deliveries could not be written yet"),
        }
        shared.runtime.sleep_until(shared.runtime.now() + wait).await;
        wait *= 2;
    }
    match shared.store.commit(batch).await {
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
        result => result.map(|_| true),
    }
}

fn renewal(shared: &Arc<Shared>) -> BoxFuture<'static, ()> {
    let runtime = shared.runtime.clone();
    Box::pin(async move { runtime.sleep_until(runtime.now() + LEASE / RENEWALS_PER_LEASE).await })
}
