//! How long a tenant's calls are kept, and what was told of them.
//!
//! A tenant's rules are a record that is due once a day. Whoever claims it forgets the calls that are old enough: what was
//! said, by whom and to whom, the journal, the recording and the deliveries. What stays of a call is when it was and what it
//! cost, so that its ledger can be audited for ever.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};

use super::after_call::AFTER_CALL;
use super::calls::{CALL, StoredCall};
use super::outbox::DELIVERY;
use super::recordings::Recordings;
use super::webhooks::{from_value, to_value};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CallId, TenantId};
use crate::journal;
use crate::provider::Store;
use crate::provider::store::{Batch, Expect, IndexValue, Order, Put, Query, Record, RecordKey};
use crate::runtime::Runtime;
use crate::time::Timestamp;

/// The record kind of a tenant's rules for what it keeps.
pub const RETENTION: &str = "retention";

/// Longest retention, in days.
pub const RETENTION_DAYS_MAX: u32 = 3_650;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// How often rules that are due are looked for, and how many are claimed at once.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
const SWEEP_MAX: u32 = 16;

/// Rules whose sweeper died are due again after this.
const LEASE: Duration = Duration::from_secs(3_600);

/// Rows that are read at once.
const PAGE: u32 = 200;

/// A tenant's rules for what it keeps. Days are 1 to [`RETENTION_DAYS_MAX`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retention {
    /// Days after its start that a call is forgotten; `None` keeps it.
    pub call_days: Option<u32>,
    /// Days after which what is kept of a delivery is removed; `None` is the [usual](super::outbox::RETENTION) time, which is
    /// also the longest.
    pub delivery_days: Option<u32>,
    /// Days after which recordings are deleted; `None` keeps them as long as their calls.
    pub recording_days: Option<u32>,
}

impl Retention {
    fn check(self) -> Result<()> {
        let days = [self.call_days, self.delivery_days, self.recording_days];
        if days.into_iter().flatten().all(|days| (1..=RETENTION_DAYS_MAX).contains(&days)) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::ConfigInvalid,
            "retention.set",
            "things are kept for 1 to 3650 days, or without an end",
        ))
    }
}

/// What all tenants keep.
#[derive(Clone)]
pub struct Retentions {
    pub(super) recordings: Recordings,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) store: Arc<dyn Store>,
}

/// A tenant's rules as they are kept.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Rules {
    #[serde(flatten)]
    retention: Retention,
    /// All calls that began before this have been forgotten.
    #[serde(default)]
    forgotten_until: Timestamp,
}

/// The tenant's rules.
pub(super) async fn rules_of(store: &dyn Store, tenant: TenantId) -> Result<Retention> {
    let row = store.get(RecordKey::new(tenant, RETENTION, tenant)).await?;
    row.map_or(Ok(Retention::default()), |row| from_value::<Rules>(&row.body).map(|rules| rules.retention))
}

impl Retentions {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, store: Arc<dyn Store>, recordings: Recordings) -> Self {
        Self { recordings, runtime, store }
    }

    /// The tenant's rules.
    pub async fn get(&self, tenant: TenantId) -> Result<Retention> {
        rules_of(&*self.store, tenant).await
    }

    /// Changes the tenant's rules, also for what it keeps already; what is too old is gone within minutes.
    ///
    /// `ConfigInvalid` for zero days or more than [`RETENTION_DAYS_MAX`], `Conflict` when others change them too.
    pub async fn set(&self, tenant: TenantId, retention: Retention) -> Result<()> {
        retention.check()?;
        let key = RecordKey::new(tenant, RETENTION, tenant);
        let row = self.store.get(key.clone()).await?;
        let expect = row.as_ref().map_or(Expect::Absent, |row| Expect::Revision(row.revision));
        let before = row.map_or(Ok(Rules::default()), |row| from_value::<Rules>(&row.body))?;
        let mut batch = Batch::default();
        batch.put(Put::new(key, expect, to_value(&Rules { retention, ..before })?).due_at(self.runtime.wall_clock()));
        self.store.commit(batch).await?;
        self.recordings.reconsider(tenant).await
    }

    /// Forgets a call that is over: what was said, by whom and to whom. When it was and what it cost stays.
    ///
    /// `NotFound` when there is none, `Conflict` while it goes on.
    pub async fn forget_call(&self, tenant: TenantId, call: CallId) -> Result<()> {
        let row = self.store.get(RecordKey::new(tenant, CALL, call)).await?;
        let row = row.ok_or_else(|| Error::new(ErrorKind::NotFound, "retention.forget", "there is no such call"))?;
        match self.forget(row).await? {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Conflict, "retention.forget", "the call goes on")),
        }
    }

    /// Forgets what is too old until `stop` is closed.
    pub(crate) async fn run(self, stop: async_channel::Receiver<()>) {
        while !stop.is_closed() {
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "what is too old could not be looked for");
            }
            let nap = self.runtime.sleep_until(self.runtime.now() + SWEEP_INTERVAL);
            futures_util::select_biased! {
                _ = std::pin::pin!(stop.recv().fuse()) => return,
                () = nap.fuse() => {}
            }
        }
    }

    async fn sweep(&self) -> Result<()> {
        let due = self.store.claim(RETENTION.to_owned(), self.runtime.wall_clock(), LEASE, SWEEP_MAX).await?;
        for row in due {
            if let Err(error) = self.apply(row).await {
                // They are due again when the lease is over.
                tracing::warn!(%error, "a tenant's rules for what it keeps could not be applied");
            }
        }
        Ok(())
    }

    /// Applies a tenant's rules, and again in a day.
    async fn apply(&self, row: Record) -> Result<()> {
        let (tenant, now) = (row.key.tenant, self.runtime.wall_clock());
        let mut rules: Rules = from_value(&row.body)?;
        if let Some(days) = rules.retention.call_days {
            rules.forgotten_until = self.forget_calls(tenant, rules.forgotten_until, before(now, days)).await?;
        }
        if let Some(days) = rules.retention.delivery_days {
            self.remove_deliveries(tenant, before(now, days)).await?;
        }
        let mut batch = Batch::default();
        batch.put(Put::new(row.key, Expect::Revision(row.revision), to_value(&rules)?).due_at(now + DAY));
        match self.store.commit(batch).await {
            // New rules are due by themselves.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            result => result.map(|_| ()),
        }
    }

    /// Forgets the calls that began between two moments. Returns before when all are forgotten.
    async fn forget_calls(&self, tenant: TenantId, from: Timestamp, to: Timestamp) -> Result<Timestamp> {
        let bound = |moment: Timestamp| Some(IndexValue::Integer(moment.as_unix_micros()));
        let order = Order::IndexAscending("started_at".to_owned());
        let query = Query::new(Some(tenant), CALL).range("started_at", bound(from), bound(to)).order(order).limit(PAGE);
        let mut next = query.clone();
        loop {
            let page = self.store.list(next).await?;
            for row in page.records {
                let started_at = row.indexes.get("started_at").cloned();
                if let (false, Some(IndexValue::Integer(started_at))) = (self.forget(row).await?, started_at) {
                    return Ok(Timestamp::from_unix_micros(started_at).max(from));
                }
            }
            let Some(cursor) = page.next else { return Ok(to.max(from)) };
            next = query.clone().after(cursor);
        }
    }

    /// Forgets a call; false when it goes on.
    pub(super) async fn forget(&self, row: Record) -> Result<bool> {
        let tenant = row.key.tenant;
        let mut stored: StoredCall = from_value(&row.body)?;
        if stored.lease.is_some() {
            return Ok(false);
        }
        let call = stored.record.id;
        self.recordings.delete(tenant, call).await?;
        self.remove_lanes(tenant, call).await?;
        stored.forget();
        let mut batch = Batch::default();
        batch.delete(RecordKey::new(tenant, AFTER_CALL, call), Expect::Any).delete_log(journal::log_key(tenant, call));
        let Record { key, revision, indexes, due_at, .. } = row;
        batch.put(Put { key, expect: Expect::Revision(revision), indexes, due_at, body: to_value(&stored)? });
        self.store.commit(batch).await.map(|_| true)
    }

    /// Removes what was or is to be told of a call.
    async fn remove_lanes(&self, tenant: TenantId, call: CallId) -> Result<()> {
        // Its lanes are its id and all that begins with the id and a colon, behind which the semicolon comes next.
        let (from, to) = (call.to_string(), format!("{call};"));
        let query = Query::new(Some(tenant), DELIVERY).range("lane", Some(from.into()), Some(to.into())).limit(PAGE);
        self.remove(query, |_| true).await.map(|_| ())
    }

    /// Removes the deliveries that were written before `to` and are over.
    async fn remove_deliveries(&self, tenant: TenantId, to: Timestamp) -> Result<()> {
        #[derive(Deserialize)]
        struct Written {
            created_at: Timestamp,
        }
        let is_old = |record: &Record| {
            let is_over = !record.indexes.contains_key("turn");
            is_over && from_value::<Written>(&record.body).is_ok_and(|written| written.created_at < to)
        };
        let query = Query::new(Some(tenant), DELIVERY).order(Order::IdAscending).limit(PAGE);
        self.remove(query, is_old).await
    }

    /// Removes the records of a list that are meant. Somebody who changes one meanwhile keeps it.
    pub(super) async fn remove(&self, query: Query, is_meant: impl Fn(&Record) -> bool + Send + Sync) -> Result<()> {
        let mut next = query.clone();
        loop {
            let page = self.store.list(next).await?;
            let mut batch = Batch::default();
            for record in page.records.into_iter().filter(|record| is_meant(record)) {
                batch.delete(record.key, Expect::Any);
            }
            if !batch.operations.is_empty() {
                self.store.commit(batch).await?;
            }
            let Some(cursor) = page.next else { return Ok(()) };
            next = query.clone().after(cursor);
        }
    }
}

fn before(now: Timestamp, days: u32) -> Timestamp {
    let micros = i64::try_from((DAY * days).as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_unix_micros(now.as_unix_micros().saturating_sub(micros))
}
