//! Calls as they are kept: begun with a hold, ended with a settlement, each in one commit with its events.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::credits::balance_of;
use super::webhooks::{EventName, Webhooks, from_value, to_value};
use crate::billing::{Account, EntryKind, Increment, Posting};
use crate::call::{CallRecord, LedgerSummary};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CallId, TenantId};
use crate::provider::Store;
use crate::provider::store::{Add, Batch, Expect, Put, Record, RecordKey};
use crate::runtime::Runtime;
use crate::time::millis;

/// The record kind of calls.
pub const CALL: &str = "call";

/// Talk time that a call must be able to hold to begin.
pub const HOLD_MIN: Duration = Duration::from_secs(1);

/// How often a commit is tried that others keep overtaking.
const CONFLICTS_MAX: u32 = 8;

/// All calls.
#[derive(Clone)]
pub struct Calls {
    runtime: Arc<dyn Runtime>,
    store: Arc<dyn Store>,
    webhooks: Webhooks,
}

/// A call as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredCall {
    /// Available before the hold; zero when there was none.
    pub before_ms: i64,
    /// Held for the call; zero when there was none.
    pub held_ms: i64,
    /// The settlement, once it is made.
    pub ledger: Option<LedgerSummary>,
    /// The call.
    pub record: CallRecord,
}

impl Calls {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, store: Arc<dyn Store>, webhooks: Webhooks) -> Self {
        Self { runtime, store, webhooks }
    }

    /// The call, if there is one.
    pub async fn get(&self, tenant: TenantId, call: CallId) -> Result<Option<StoredCall>> {
        let record = self.store.get(RecordKey::new(tenant, CALL, call)).await?;
        record.map(|record| from_value(&record.body)).transpose()
    }

    /// Commits that the call began and holds at most `wanted` for it. Returns what is held.
    ///
    /// `InsufficientFunds` when less than [`HOLD_MIN`] is available.
    pub(crate) async fn reserve(&self, record: CallRecord, wanted: Duration) -> Result<Duration> {
        let tenant = record.tenant;
        let wanted_ms = i64::try_from(millis(wanted)).unwrap_or(i64::MAX);
        for _ in 0..CONFLICTS_MAX {
            let before_ms = self.available(tenant).await?;
            let held_ms = before_ms.min(wanted_ms);
            if held_ms < i64::try_from(millis(HOLD_MIN)).unwrap_or(i64::MAX).min(wanted_ms.max(1)) {
                break;
            }
            let mut batch = Batch::default();
            let stored = StoredCall { before_ms, held_ms, ledger: None, record: record.clone() };
            batch.put(put(Expect::Absent, &stored)?);
            self.posting(&record, EntryKind::Hold, held_ms).post(&mut batch);
            let now = self.runtime.wall_clock();
            self.webhooks.enqueue(&mut batch, &record, EventName::CallStarted, None, now).await?;
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
    pub(crate) async fn report_answered(&self, record: CallRecord) -> Result<()> {
        for _ in 0..CONFLICTS_MAX {
            let Some((row, mut stored)) = self.load(&record).await? else {
                return Err(Error::new(ErrorKind::NotFound, "calls.report_answered", "the call was not begun"));
            };
            if stored.ledger.is_some() {
                return Ok(());
            }
            stored.record = record.clone();
            let mut batch = Batch::default();
            batch.put(put(Expect::Revision(row.revision), &stored)?);
            let now = self.runtime.wall_clock();
            self.webhooks.enqueue(&mut batch, &record, EventName::CallAnswered, None, now).await?;
            match self.store.commit(batch).await {
                Ok(_) => {
                    self.webhooks.wake();
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(overtaken())
    }

    /// Commits the end of the call: its record, the settlement and its events. A second time changes nothing and
    /// returns the first settlement.
    pub(crate) async fn settle(&self, record: CallRecord, increment: Increment) -> Result<LedgerSummary> {
        for _ in 0..CONFLICTS_MAX {
            let loaded = self.load(&record).await?;
            if let Some(ledger) = loaded.as_ref().and_then(|(_, stored)| stored.ledger) {
                return Ok(ledger);
            }
            match self.commit_end(&record, loaded, increment).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                result => return result,
            }
        }
        Err(overtaken())
    }

    async fn commit_end(
        &self,
        record: &CallRecord,
        loaded: Option<(Record, StoredCall)>,
        increment: Increment,
    ) -> Result<LedgerSummary> {
        let (expect, mut stored) = match loaded {
            Some((row, stored)) => (Expect::Revision(row.revision), stored),
            None => {
                let before_ms = self.available(record.tenant).await?;
                (Expect::Absent, StoredCall { before_ms, held_ms: 0, ledger: None, record: record.clone() })
            }
        };
        stored.record = record.clone();
        let billable = increment.billable(Duration::from_millis(record.talk_time_ms));
        let settled_ms = i64::try_from(millis(billable)).unwrap_or(i64::MAX).min(stored.held_ms);
        let released_ms = stored.held_ms - settled_ms;
        let mut batch = Batch::default();
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
        batch.put(put(expect, &stored)?);
        let now = self.runtime.wall_clock();
        self.webhooks.enqueue(&mut batch, record, EventName::CallEnded, Some(&ledger), now).await?;
        self.store.commit(batch).await?;
        self.webhooks.wake();
        Ok(ledger)
    }

    async fn available(&self, tenant: TenantId) -> Result<i64> {
        let mut batch = Batch::default();
        batch.add(Add { counter: Account::Available.counter(tenant), delta: 0, floor: None, ceiling: None });
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

fn put(expect: Expect, stored: &StoredCall) -> Result<Put> {
    let record = &stored.record;
    let direction = to_value(&record.direction)?;
    Ok(Put::new(RecordKey::new(record.tenant, CALL, record.id), expect, to_value(stored)?)
        .index("status", record.status.to_string())
        .index("direction", direction.as_str().unwrap_or_default())
        .index("agent", record.agent.to_string())
        .index("started_at", record.started_at.as_unix_micros()))
}

fn overtaken() -> Error {
    Error::new(ErrorKind::Conflict, "calls.commit", "the call was changed by others too often")
}
