//! Calls as they are kept: begun with a hold, ended with a settlement, each in one commit with its events.
//!
//! A call that is not settled is due: its `due_at` is the end of a lease that the engine which holds it renews. A call whose
//! lease has run out is an orphan, and whichever engine claims it settles it ([`super::recovery`]).

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::after_call::{self, AfterCalls, Pending};
use super::analysis::Analysis;
use super::capacity::{Capacity, Limits, WhenFull};
use super::credits::Credits;
use super::numbers::Numbers;
use super::recordings::Recordings;
use super::tasks::Tasks;
use super::webhooks::{Told, Webhooks, from_value, to_value};
use crate::billing::{
    Account, Amount, Cost, EntryKind, Increment, Posting, PriceList, RateCard, Resource, Rules, Tariff, Terms, Unit,
    Usage,
};
use crate::call::record::{Direction, EndReason};
use crate::call::{CallRecord, LedgerSummary};
use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{AgentId, CallId, EngineId, NumberId, TaskId, TenantId};
use crate::provider::store::{Add, Batch, Expect, Order, Put, Query, Record, RecordKey};
use crate::provider::telephony::LegId;
use crate::provider::{ProviderInfo, Store};
use crate::runtime::Runtime;
use crate::time::Timestamp;

/// The record kind of calls.
pub const CALL: &str = "call";

/// Talk time that a call must be able to hold to begin.
pub const HOLD_MIN: Duration = Duration::from_secs(1);

/// How often a commit is tried that others keep overtaking.
const CONFLICTS_MAX: u32 = 8;

/// All calls.
#[derive(Clone)]
pub struct Calls {
    pub(crate) after_calls: AfterCalls,
    pub(crate) capacity: Capacity,
    pub(crate) credits: Credits,
    pub(crate) engine: EngineId,
    pub(crate) lease: Duration,
    pub(crate) numbers: Numbers,
    pub(crate) prices: Arc<Prices>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tasks: Tasks,
    pub(crate) telephony: ProviderInfo,
    pub(crate) webhooks: Webhooks,
}

/// What calls cost, for tenants whose terms say nothing else, and what their providers do.
#[derive(Clone, Debug)]
pub(crate) struct Prices {
    pub(crate) increment: Increment,
    pub(crate) providers: PriceList,
    pub(crate) rates: Option<RateCard>,
}

impl Prices {
    /// What the providers took. Prices that do not work out must not keep a call from its settlement.
    pub(crate) fn costs(&self, usage: &Usage) -> Vec<Cost> {
        self.providers.costs(usage).unwrap_or_else(|error| {
            tracing::warn!(%error, "the cost of a call could not be found out");
            Vec::new()
        })
    }
}

/// A call as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredCall {
    /// What is still to be done when it is over.
    #[serde(default)]
    pub after: Option<Pending>,
    /// What it came to, once that was found out.
    #[serde(default)]
    pub analysis: Option<Analysis>,
    /// What its providers took, once it is settled: in each of the currencies of the engine's price list.
    #[serde(default)]
    pub costs: Vec<Cost>,
    /// What was held for it; `None` for a call that was never begun.
    pub hold: Option<Hold>,
    /// Whether it is to be recorded.
    #[serde(default)]
    pub is_recorded: bool,
    /// Who keeps the call; `None` once it is settled.
    pub lease: Option<Lease>,
    /// The settlement, once it is made.
    pub ledger: Option<LedgerSummary>,
    /// The tenant's number that it came in on or that was shown.
    #[serde(default)]
    pub number: Option<NumberId>,
    /// The carrier's names for the legs that the engine holds, as far as they are known; the call's own first.
    pub legs: Vec<LegId>,
    /// The call, as of the last renewal of its lease at the latest.
    pub record: CallRecord,
    /// Which of its events have been written.
    #[serde(default)]
    pub told: Told,
    /// What it used of its providers, as of then.
    #[serde(default)]
    pub usage: Usage,
}

/// Which calls to list; what is `None` does not matter.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CallFilter {
    /// Held by that agent.
    pub agent: Option<AgentId>,
    /// Begun at or after that moment.
    pub from: Option<Timestamp>,
    /// Of that status, in the words of Dialro or VoxStack.
    pub status: Option<(Dialect, String)>,
    /// Attempts at that task.
    pub task: Option<TaskId>,
    /// Begun before that moment.
    pub to: Option<Timestamp>,
}

/// What is or was held for a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// Available before the first hold.
    pub before: i64,
    /// Held, all in all.
    pub held: i64,
    /// In so many entries.
    pub parts: u32,
    /// How the call is billed.
    pub tariff: Tariff,
}

impl Hold {
    /// How long the call may talk for it.
    pub fn talk_max(&self) -> Duration {
        self.tariff.covers(self.held)
    }
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
    pub(crate) is_recorded: bool,
    pub(crate) legs: Vec<LegId>,
    pub(crate) record: CallRecord,
    pub(crate) usage: Usage,
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
    /// The call, if there is one.
    pub async fn get(&self, tenant: TenantId, call: CallId) -> Result<Option<StoredCall>> {
        let record = self.store.get(RecordKey::new(tenant, CALL, call)).await?;
        record.map(|record| from_value(&record.body)).transpose()
    }

    /// Changes when a call of the tenant does, as [`Store::version`].
    pub fn version(&self, tenant: TenantId) -> Option<u64> {
        self.store.version(Some(tenant), CALL)
    }

    /// The tenant's calls that `filter` asks for, newest first: `limit` of them behind the first `offset`. Returns how many
    /// there are, too.
    ///
    /// Ids are as old as their calls, and the indexes have them in order: so a page is read and no more, whatever the filter.
    pub async fn list(
        &self,
        tenant: TenantId,
        filter: &CallFilter,
        offset: u64,
        limit: u32,
    ) -> Result<(Vec<StoredCall>, u64)> {
        let mut query = Query::new(Some(tenant), CALL);
        if let Some(agent) = filter.agent {
            query = query.equal("agent", agent.to_string());
        }
        if let Some(task) = filter.task {
            query = query.equal("task", task.to_string());
        }
        if let Some((dialect, word)) = &filter.status {
            let index = match dialect {
                Dialect::Dialro => "dialro",
                Dialect::VoxStack => "voxstack",
                _ => return Err(Error::unsupported("calls.list", "finding calls by that dialect's words")),
            };
            query = query.equal(index, word.as_str());
        }
        if filter.from.is_some() || filter.to.is_some() {
            let bound = |moment: Option<Timestamp>| moment.map(|moment| moment.as_unix_micros().into());
            query = query.range("started_at", bound(filter.from), bound(filter.to));
            query = query.order(Order::IndexDescending("started_at".to_owned()));
        }
        let total = self.store.count(query.clone()).await?;
        let page = self.store.list(query.offset(offset).limit(limit)).await?;
        let calls = page.records.iter().map(|record| from_value(&record.body));
        Ok((calls.collect::<Result<_>>()?, total))
    }

    /// Commits that the call began, takes a slot and holds what `wanted` costs, or what there is. Returns how long the call
    /// may talk for it. `queued` hears how long the call will wait, if it must.
    ///
    /// `InsufficientFunds` when less than [`HOLD_MIN`] can be talked, `RateLimited` when there is no slot, `Conflict` when
    /// the call's task does not wait for it any more, `Rejected` when nobody has said what the call costs.
    pub(crate) async fn reserve(
        &self,
        live: Snapshot,
        wanted: Duration,
        after: Option<Pending>,
        queued: impl FnOnce(Duration) + Send,
    ) -> Result<Duration> {
        let tenant = live.record.tenant;
        let limits = self.capacity.limits(tenant).await?;
        // Nobody is there yet whom we could ask to wait when we are the ones who call.
        let waits = !matches!(limits.when_full, WhenFull::Reject) && live.record.direction == Direction::Inbound;
        if !waits || !self.capacity.would_overtake(tenant) {
            match self.try_reserve(&live, wanted, &after, &limits).await {
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
            match self.try_reserve(&live, wanted, &after, &limits).await {
                Err(error) if error.kind() == ErrorKind::RateLimited => ticket.found_none().await?,
                result => return result,
            }
        }
    }

    async fn try_reserve(
        &self,
        live: &Snapshot,
        wanted: Duration,
        after: &Option<Pending>,
        limits: &Limits,
    ) -> Result<Duration> {
        let Snapshot { is_recorded, legs, record, usage } = live;
        let tenant = record.tenant;
        let terms = self.credits.terms(tenant).await?;
        let tariff = self.tariff(&terms, record)?;
        let number = self.number(record).await?;
        let (least, most) = (HOLD_MIN.min(wanted).max(Duration::from_millis(1)), tariff.hold(wanted)?);
        for _ in 0..CONFLICTS_MAX {
            let before = self.available(tenant, tariff.unit()).await?;
            let held = before.saturating_sub(terms.floor).min(most);
            let hold = Hold { before, held, parts: 1, tariff };
            if hold.talk_max() < least {
                break;
            }
            let now = self.runtime.wall_clock();
            let mut batch = Batch::default();
            let task = self.tasks.begin(&mut batch, record, now).await?;
            let mut stored = StoredCall {
                after: Pending::of(after.clone(), task),
                analysis: None,
                costs: Vec::new(),
                hold: Some(hold),
                is_recorded: *is_recorded,
                lease: Some(Lease { holder: self.engine, renewed_at: now }),
                ledger: None,
                legs: legs.clone(),
                number,
                record: record.clone(),
                told: Told::default(),
                usage: usage.clone(),
            };
            self.capacity.take(&mut batch, tenant, limits);
            self.webhooks.tell(&mut batch, &mut stored).await?;
            self.after_calls.tell_begun(&mut batch, &stored)?;
            batch.put(self.put(Expect::Absent, &stored, now)?);
            self.hold_more(&mut batch, &stored, held, &terms)?;
            match self.store.commit(batch).await {
                Ok(_) => {
                    self.webhooks.wake();
                    return Ok(hold.talk_max());
                }
                // Another call took it in between.
                Err(error) if error.kind() == ErrorKind::InsufficientFunds => {}
                Err(error) => return Err(error),
            }
        }
        Err(exhausted("calls.reserve"))
    }

    /// Holds more for a call that goes on, until it may talk for `wanted` or there is no more. Returns how long it may talk
    /// then. It is also a renewal of the lease.
    ///
    /// `InsufficientFunds` when nothing more can be held, `Conflict` when the call is no longer this engine's.
    pub(crate) async fn extend(&self, live: Snapshot, wanted: Duration) -> Result<Duration> {
        let terms = self.credits.terms(live.record.tenant).await?;
        for _ in 0..CONFLICTS_MAX {
            let Some((row, mut stored)) = self.load(&live.record).await? else {
                return Err(Error::new(ErrorKind::NotFound, "calls.extend", "the call was not begun"));
            };
            let now = self.runtime.wall_clock();
            let (Some(mut hold), true) = (stored.hold, stored.renew(self.engine, now)) else {
                return Err(Error::new(ErrorKind::Conflict, "calls.extend", "the call is another engine's"));
            };
            let talk_max = hold.talk_max();
            if talk_max >= wanted {
                return Ok(talk_max);
            }
            let available = self.available(live.record.tenant, hold.tariff.unit()).await?;
            let missing = hold.tariff.hold(wanted)?.saturating_sub(hold.held);
            let floor = terms.floor_of(hold.tariff.unit());
            let more = missing.min(available.saturating_sub(floor)).max(0);
            hold.held = hold.held.saturating_add(more);
            hold.parts += 1;
            if hold.talk_max() <= talk_max {
                return Err(exhausted("calls.extend"));
            }
            stored.hold = Some(hold);
            stored.take_on(&live);
            let mut batch = Batch::default();
            self.webhooks.tell(&mut batch, &mut stored).await?;
            batch.put(self.put(Expect::Revision(row.revision), &stored, now)?);
            self.hold_more(&mut batch, &stored, more, &terms)?;
            match self.store.commit(batch).await {
                Ok(_) => {
                    self.webhooks.wake();
                    return Ok(hold.talk_max());
                }
                Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::InsufficientFunds) => {}
                Err(error) => return Err(error),
            }
        }
        Err(overtaken())
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
    /// returns the first settlement. `after` is what is to be done then for a call that was never begun; the row of any
    /// other has it.
    pub(crate) async fn settle(
        &self,
        record: CallRecord,
        usage: Usage,
        after: Option<Pending>,
    ) -> Result<LedgerSummary> {
        for _ in 0..CONFLICTS_MAX {
            let loaded = self.load(&record).await?;
            if let Some(ledger) = loaded.as_ref().and_then(|(_, stored)| stored.ledger) {
                return Ok(ledger);
            }
            match self.commit_end(&record, &usage, &after, loaded).await {
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
            if !stored.renew(self.engine, now) {
                return Ok(Renewal::Lost);
            }
            stored.take_on(&live);
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

    async fn commit_end(
        &self,
        record: &CallRecord,
        usage: &Usage,
        after: &Option<Pending>,
        loaded: Option<(Record, StoredCall)>,
    ) -> Result<LedgerSummary> {
        let (expect, mut stored) = match loaded {
            Some((row, stored)) => (Expect::Revision(row.revision), stored),
            None => {
                let number = self.number(record).await?;
                (Expect::Absent, StoredCall { number, ..StoredCall::never_begun(record.clone()) })
            }
        };
        let (tenant, now) = (record.tenant, self.runtime.wall_clock());
        stored.record = record.clone();
        stored.usage = usage.clone();
        stored.usage.add(&self.telephony, Resource::Milliseconds, record.talk_time_ms);
        stored.costs = self.prices.costs(&stored.usage);
        let mut batch = Batch::default();
        // A call that was never begun has no lease, and no slot.
        let was_begun = stored.lease.take().is_some();
        if was_begun {
            self.capacity.give_back(&mut batch, tenant);
        }
        let terms = self.credits.terms(tenant).await?;
        let ledger = match stored.hold {
            Some(hold) => self.settle_hold(&mut batch, record, hold, &terms, now).await?,
            None => {
                let before = self.available(tenant, terms.unit).await?;
                LedgerSummary { unit: terms.unit, before, held: 0, settled: 0, after: before }
            }
        };
        stored.ledger = Some(ledger);
        if let Some(recording) = Recordings::row_of(record, stored.is_recorded, now)? {
            batch.put(recording);
        }
        let task = self.tasks.end(&mut batch, record, now).await?;
        // Nobody waits to hear of a call that never began because its task was called off.
        if was_begun || record.task.is_none() || task.is_some() {
            // A task for which there was no slot waits for its turn, and was not worked on yet.
            let is_put_back = record.task.is_some() && record.end_reason == Some(EndReason::OverCapacity);
            if !was_begun && !is_put_back {
                stored.after = Pending::of(after.clone(), task);
            }
            self.webhooks.tell(&mut batch, &mut stored).await?;
        }
        if stored.after.is_some() {
            batch.put(after_call::job_of(record, now)?);
        }
        batch.put(self.put(expect, &stored, now)?);
        self.store.commit(batch).await?;
        self.capacity.slots_came_free();
        self.webhooks.wake();
        if stored.after.is_some() {
            self.after_calls.wake();
        }
        Ok(ledger)
    }

    /// Takes what the talk costs of what is held, and gives back the rest.
    async fn settle_hold(
        &self,
        batch: &mut Batch,
        record: &CallRecord,
        hold: Hold,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<LedgerSummary> {
        let Hold { before, held, tariff, .. } = hold;
        let unit = tariff.unit();
        // A charge that does not fit is more than is held, and nothing may keep a call from its settlement.
        let charge = tariff.charge(Duration::from_millis(record.talk_time_ms)).unwrap_or(held);
        let settled = charge.min(held);
        let rules = self.credits.rules(record.tenant, Amount { unit, value: -settled }, terms).await?;
        for posting in Posting::settlement(record.tenant, record.id, Amount { unit, value: held }, settled, now) {
            posting.post(batch, &rules)?;
        }
        let after = self.available(record.tenant, unit).await?.saturating_add(held - settled);
        Ok(LedgerSummary { unit, before, held, settled, after })
    }

    /// How a call is billed that begins now.
    fn tariff(&self, terms: &Terms, record: &CallRecord) -> Result<Tariff> {
        let Prices { increment, rates, .. } = &*self.prices;
        terms.tariff(record.to.as_ref(), record.started_at, *increment, rates.as_ref())
    }

    /// The tenant's number on our side of the call.
    async fn number(&self, record: &CallRecord) -> Result<Option<NumberId>> {
        let ours = match record.direction {
            Direction::Inbound => &record.to,
            Direction::Outbound => &record.from,
        };
        let Some(ours) = ours else { return Ok(None) };
        let found = self.numbers.find(ours).await?;
        Ok(found.filter(|(tenant, _)| *tenant == record.tenant).map(|(_, number)| number.id))
    }

    /// Adds the newest part of a call's hold to `batch`.
    fn hold_more(&self, batch: &mut Batch, stored: &StoredCall, value: i64, terms: &Terms) -> Result<()> {
        let (Some(hold), record) = (stored.hold, &stored.record) else { return Ok(()) };
        let amount = Amount { unit: hold.tariff.unit(), value };
        let rules = Rules { floor: terms.floor_of(hold.tariff.unit()), low: None };
        let now = self.runtime.wall_clock();
        let key = hold_key(record.id, hold.parts);
        Posting::new(record.tenant, EntryKind::Hold, amount, key, now).for_call(record.id).post(batch, &rules)
    }

    async fn available(&self, tenant: TenantId, unit: Unit) -> Result<i64> {
        let counter = Account::Available.counter(tenant, unit);
        let mut batch = Batch::default();
        batch.add(Add::read(counter.clone()));
        let committed = self.store.commit(batch).await?;
        Ok(committed.counters.get(&counter).copied().unwrap_or(0))
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
            .index("dialro", Dialect::Dialro.words(record).status)
            .index("voxstack", Dialect::VoxStack.words(record).status)
            .index("started_at", record.started_at.as_unix_micros());
        if let Some(task) = record.task {
            put = put.index("task", task.to_string());
        }
        put.due_at = stored.lease.map(|_| now + self.lease);
        Ok(put)
    }
}

impl StoredCall {
    /// What its providers took, in the currency of that code; `None` when that was not worked out.
    pub fn cost(&self, currency: &str) -> Option<Cost> {
        self.costs.iter().find(|cost| cost.money.currency().as_str() == currency).copied()
    }

    /// Forgets what was said, by whom and to whom; what stays is when it was and what it cost.
    pub(super) fn forget(&mut self) {
        (self.after, self.analysis) = (None, None);
        self.legs.clear();
        let record = &mut self.record;
        (record.from, record.to, record.recording) = (None, None, None);
        record.transcript.clear();
        record.turns.clear();
        record.barge_ins.clear();
        record.functions.clear();
        record.transfers.clear();
        record.variables.clear();
    }

    /// A call that ended before anything was held for it.
    fn never_begun(record: CallRecord) -> Self {
        let (costs, legs, told, usage) = (Vec::new(), Vec::new(), Told::default(), Usage::default());
        let (after, analysis) = (None, None);
        Self {
            after,
            analysis,
            costs,
            hold: None,
            is_recorded: false,
            lease: None,
            ledger: None,
            legs,
            number: None,
            record,
            told,
            usage,
        }
    }

    /// Whether what it came to is still to be found out.
    pub(super) fn awaits_analysis(&self) -> bool {
        self.analysis.is_none() && self.after.as_ref().is_some_and(Pending::awaits_analysis)
    }

    /// Renews the lease, if it is that of `engine`.
    fn renew(&mut self, engine: EngineId, now: Timestamp) -> bool {
        match &mut self.lease {
            Some(lease) if lease.holder == engine => lease.renewed_at = now,
            _ => return false,
        }
        true
    }

    fn take_on(&mut self, live: &Snapshot) {
        // Commits overtake each other: what one has told must not be forgotten by an older one.
        if live.record.is_behind(&self.record) {
            return;
        }
        self.legs.clone_from(&live.legs);
        self.record.clone_from(&live.record);
        self.usage.clone_from(&live.usage);
    }
}

/// The key of a part of a call's hold, counted from one.
pub(super) fn hold_key(call: CallId, part: u32) -> String {
    if part == 1 { call.to_string() } else { format!("{call}:{part}") }
}

fn exhausted(operation: &'static str) -> Error {
    Error::new(ErrorKind::InsufficientFunds, operation, "no prepaid credit is left")
}

fn overtaken() -> Error {
    Error::new(ErrorKind::Conflict, "calls.commit", "the call was changed by others too often")
}
