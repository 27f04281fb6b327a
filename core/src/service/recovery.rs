//! Orphans: calls whose engine stopped without a word. Each is brought to its one end by an engine that still runs.
//!
//! An orphan's journal says how the call stood, and the lease when it was last known to live. The journal is run again and
//! told of the loss, in an entry of its own, so that it goes on giving the very record that is settled. Where the journal is
//! missing, unreadable or behind the stored record, the stored record counts.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::calls::{CALL, Calls, StoredCall};
use super::webhooks::from_value;
use crate::call::policy::TransferMode;
use crate::call::record::{TransferOutcome, TransferRecord};
use crate::call::{CallRecord, Input, Offer};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::CallId;
use crate::journal::{self, Entry, Journal, Tail};
use crate::provider::store::{LIMIT_MAX, LogKey, Record};
use crate::provider::telephony::{HangupCause, LegId};
use crate::provider::{Store, Telephony};
use crate::runtime::{self, Runtime};

/// Orphans that are worked on at once.
const CONCURRENT_MAX: u32 = 16;

/// Orphans are looked for so many times in a lease.
const SWEEPS_PER_LEASE: u32 = 6;

/// Longest wait for the carrier to take an orphan's leg down.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// Entries of a journal that are read at most: hours of talk.
const JOURNAL_ENTRIES_MAX: usize = 1_000_000;

/// How often a journal is read that somebody still writes to.
const READS_MAX: u32 = 4;

/// The calls that this engine's tasks are holding now.
#[derive(Clone, Default)]
pub(crate) struct LiveCalls(Arc<Mutex<BTreeSet<CallId>>>);

/// A call is live until this is dropped, by its end or by a panic.
pub(crate) struct LiveCall {
    calls: LiveCalls,
    id: CallId,
}

/// Finds orphans and ends them.
pub(crate) struct Recovery {
    pub(crate) calls: Calls,
    pub(crate) lease: Duration,
    pub(crate) live: LiveCalls,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) telephony: Arc<dyn Telephony>,
}

impl LiveCalls {
    pub(crate) fn enter(&self, id: CallId) -> LiveCall {
        self.ids().insert(id);
        LiveCall { calls: self.clone(), id }
    }

    fn ids(&self) -> MutexGuard<'_, BTreeSet<CallId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LiveCall {
    fn drop(&mut self) {
        self.calls.ids().remove(&self.id);
    }
}

impl Recovery {
    /// Looks for orphans at once and then several times a lease, until `stop` is closed.
    pub(crate) async fn run(self, stop: async_channel::Receiver<()>) {
        while !stop.is_closed() {
            match self.recover_due().await {
                Ok(0) => {}
                Ok(_) => continue,
                Err(error) => tracing::warn!(%error, "orphaned calls could not be claimed"),
            }
            let nap = self.runtime.sleep_until(self.runtime.now() + self.lease / SWEEPS_PER_LEASE);
            futures_util::select_biased! {
                _ = std::pin::pin!(futures_util::FutureExt::fuse(stop.recv())) => return,
                () = futures_util::FutureExt::fuse(nap) => {}
            }
        }
    }

    /// Ends the calls whose lease has run out. Returns how many were claimed.
    async fn recover_due(&self) -> Result<usize> {
        let now = self.runtime.wall_clock();
        let claimed = self.store.claim(CALL.to_owned(), now, self.lease, CONCURRENT_MAX).await?;
        let count = claimed.len();
        let mut orphans: FuturesUnordered<_> = claimed.into_iter().map(|row| self.recover(row)).collect();
        while let Some(result) = orphans.next().await {
            if let Err(error) = result {
                // The claim's own lease brings it back.
                tracing::warn!(%error, "an orphaned call could not be ended");
            }
        }
        Ok(count)
    }

    async fn recover(&self, row: Record) -> Result<()> {
        let stored: StoredCall = from_value(&row.body)?;
        let id = stored.record.id;
        if self.live.ids().contains(&id) {
            // It is well and only its renewals failed; the claim has renewed the lease.
            return Ok(());
        }
        let Some(stored) = self.calls.take_over(row).await? else { return Ok(()) };
        let journal = self.read_journal(&stored).await?;
        let (mut legs, usage) = (legs_of(&stored, &journal), stored.usage.clone());
        let record = match self.run_again(&stored, journal).await {
            Ok(record) => record,
            Err(error) if error.kind() == ErrorKind::Rejected => {
                tracing::warn!(call = %id, %error, "the stored record counts instead of the journal");
                stored_record(stored)
            }
            Err(error) => return Err(error),
        };
        if is_taken_over(&record) {
            // The carrier's now, and the human talks on it; the legs behind it are of humans who did not take the call.
            legs.pop_front();
        }
        self.hang_up(legs).await;
        let reason = record.end_reason;
        self.calls.settle(record, usage, None).await?;
        tracing::info!(call = %id, ?reason, "an orphaned call was ended");
        Ok(())
    }

    /// The record that the journal gives once the call has ended there; `Rejected` when it cannot be used.
    async fn run_again(&self, stored: &StoredCall, mut journal: Vec<Entry>) -> Result<CallRecord> {
        for _ in 0..READS_MAX {
            let Some(Entry::Start { at: start, config, .. }) = journal.first() else {
                return Err(unusable("the journal does not begin with a start"));
            };
            let renewed_at = stored.lease.map_or(config.wall_clock, |lease| lease.renewed_at);
            let lived_until = *start + renewed_at.saturating_since(config.wall_clock);
            let entries = journal.len() as u64;
            let last = journal.last().map_or(*start, Entry::at);
            let is_told = matches!(journal.last(), Some(Entry::Input { input: Input::EngineLost, .. }));
            let mut call = journal::replay(journal)?.call;
            if call.is_ended() || is_told {
                return Ok(call.record());
            }
            let record = call.record();
            if record.is_behind(&stored.record) {
                return Err(unusable("the journal is behind the stored record"));
            }
            let (at, input) = (lived_until.max(last), Input::EngineLost);
            let entry = Entry::Input { at, input: input.clone() }.encode();
            match self.store.append(log_of(stored), entries, vec![entry]).await {
                Ok(()) => {
                    call.handle_input(at, input);
                    return Ok(call.record());
                }
                // The engine that held the call wrote once more, or the entry is there although its answer was lost.
                Err(error) if error.kind() == ErrorKind::Conflict => journal = self.read_journal(stored).await?,
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "recovery.run_again", "somebody still writes the journal"))
    }

    /// The journal; empty when an entry of it cannot be read.
    async fn read_journal(&self, stored: &StoredCall) -> Result<Vec<Entry>> {
        let mut log = Vec::new();
        while log.len() < JOURNAL_ENTRIES_MAX {
            let mut page = self.store.read_log(log_of(stored), log.len() as u64, LIMIT_MAX).await?;
            if page.is_empty() {
                break;
            }
            log.append(&mut page);
        }
        Ok(match Journal::from_log(&log) {
            Ok(journal) if journal.tail == Tail::Clean => journal.entries,
            _ => Vec::new(),
        })
    }

    /// The carrier may have noticed by itself, and may not know the legs any more: what it says does not matter.
    async fn hang_up(&self, legs: VecDeque<LegId>) {
        let hang_ups = legs.into_iter().map(async |leg| {
            let hang_up = self.telephony.hang_up(leg, HangupCause::TEMPORARY_FAILURE);
            if let Err(error) = runtime::timeout(&*self.runtime, HANG_UP_TIMEOUT, "recovery.hang_up", hang_up).await {
                tracing::debug!(%error, "a leg of an orphaned call could not be taken down");
            }
        });
        futures_util::future::join_all(hang_ups).await;
    }
}

fn log_of(stored: &StoredCall) -> LogKey {
    journal::log_key(stored.record.tenant, stored.record.id)
}

/// The legs of the call, its own first.
fn legs_of(stored: &StoredCall, journal: &[Entry]) -> VecDeque<LegId> {
    let offered = match journal.first() {
        Some(Entry::Start { offer: Offer::Inbound { leg, .. }, .. }) => Some(leg),
        _ => None,
    };
    let others = stored.legs.iter().filter(|leg| Some(*leg) != offered);
    offered.into_iter().chain(others).cloned().collect()
}

/// Whether the carrier has taken the call's own leg over to somebody else.
fn is_taken_over(record: &CallRecord) -> bool {
    let is_complete = |transfer: &TransferRecord| {
        transfer.mode == TransferMode::Blind && transfer.outcome == TransferOutcome::Completed
    };
    record.transfers.iter().any(is_complete)
}

/// The stored record, ended when its call was last known to live, or when what was held for it was used up.
fn stored_record(stored: StoredCall) -> CallRecord {
    let mut record = stored.record;
    let lived_until = stored.lease.map_or(record.started_at, |lease| lease.renewed_at);
    let talk_max = stored.hold.map_or(Duration::ZERO, |hold| hold.talk_max());
    let paid_until = record.answered_at.map(|at| at + talk_max);
    record.end_lost(paid_until.map_or(lived_until, |paid_until| paid_until.min(lived_until)));
    record
}

fn unusable(message: &str) -> Error {
    Error::new(ErrorKind::Rejected, "recovery.run_again", message)
}
