//! Tasks: wishes to call somebody, now or later.
//!
//! An attempt is begun in the commit that begins its call and over in the one that settles it, and nothing is dialled before
//! the former. So each attempt dials at most once whatever crashes, and a task whose call was lost with its engine comes to
//! its end with that call: it has failed, and is not tried again, because nobody knows what the called party has heard.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::after_call::TaskWebhook;
use super::webhooks::{from_value, to_value};
use crate::call::CallRecord;
use crate::call::record::{CallStatus, EndReason};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{AgentId, CallId, TaskId, TenantId};
use crate::provider::Store;
use crate::provider::reach::Reach;
use crate::provider::store::catalog::{FOREIGN_DEPTH_MAX, nests_within};
use crate::provider::store::{Add, Batch, CounterKey, Expect, IndexValue, Order, Put, Query, Record, RecordKey};
use crate::provider::telephony::E164;
use crate::runtime::Runtime;
use crate::time::{Timestamp, duration_ms};
use crate::trace::TraceParent;

/// The record kind of tasks.
pub const TASK: &str = "task";

/// The record kind of the keys that tasks were created by.
pub const TASK_KEY: &str = "task_key";

/// The record kind of a tenant's queue: one record, due when the next of its tasks is.
pub const TASK_QUEUE: &str = "task_queue";

/// The one record of its kind and tenant.
const QUEUE_ID: &str = "queue";

/// Attempts at a task at most.
pub const ATTEMPTS_MAX: u32 = 100;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 256;

/// How soon a task is tried again for which there was no slot.
const NO_SLOT_DELAY: Duration = Duration::from_secs(2);

/// A dispatched task whose call has not begun is dispatched anew after this; should the call begin yet, it is refused.
const CLAIM: Duration = Duration::from_secs(10);

/// How often a commit is tried that others keep overtaking.
const CONFLICTS_MAX: u32 = 8;

/// Where the count of what was wished of an agent stands once it is deleted: nothing more may be wished of it.
const CLOSED: i64 = 1 << 48;

/// Milliseconds that one step of priority outweighs: more than any timestamp.
const PRIORITY_STEP: i64 = 1 << 44;

/// A wish to call somebody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NewTask {
    /// Who calls.
    pub agent: AgentId,
    /// How often it is tried at most, 1 to [`ATTEMPTS_MAX`]. Only a call that nobody answered is tried again, and one that
    /// a machine answered which was left no message.
    pub attempts_max: u32,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// The number shown.
    pub from: E164,
    /// Said in place of the agent's greeting.
    #[serde(default)]
    pub greeting: Option<String>,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// The higher, the sooner: among the tenant's tasks that are due.
    pub priority: i16,
    /// From an attempt's end to the next attempt.
    #[serde(with = "duration_ms", rename = "retry_delay_ms")]
    pub retry_delay: Duration,
    /// When it is dialled first.
    pub start: Start,
    /// The number called.
    pub to: E164,
    /// What its calls are traced as parts of.
    #[serde(default)]
    pub trace: Option<TraceParent>,
    /// Namespaces for the agent's templates, in place of the agent's own of the same name.
    pub variables: Map<String, Value>,
    /// Where its owner hears of its calls.
    #[serde(default)]
    pub webhook: Option<TaskWebhook>,
}

impl NewTask {
    /// One attempt, at once.
    pub fn new(agent: AgentId, from: E164, to: E164) -> Self {
        Self {
            agent,
            attempts_max: 1,
            description: String::new(),
            from,
            greeting: None,
            name: String::new(),
            priority: 0,
            retry_delay: Duration::from_secs(300),
            start: Start::AtOnce,
            to,
            trace: None,
            variables: Map::new(),
            webhook: None,
        }
    }
}

/// When a task is dialled first.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Not before that moment.
    At(Timestamp),
    /// As soon as may be.
    #[default]
    AtOnce,
    /// When somebody [executes](crate::engine::Engine::execute) it.
    OnRequest,
}

impl Start {
    fn due_at(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::At(moment) => Some(moment),
            Self::AtOnce => Some(now),
            Self::OnRequest => None,
        }
    }
}

/// A task as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// What was tried so far.
    pub attempts: Vec<Attempt>,
    /// How often it may still be tried.
    pub attempts_left: u32,
    /// Until then, `next_call` may still begin.
    #[serde(default)]
    pub claimed_until: Option<Timestamp>,
    /// Unix microseconds.
    pub created_at: Timestamp,
    /// When it may be dialled, if it is pending.
    pub due_at: Option<Timestamp>,
    /// Why it was given up without a call; see the attempts for calls.
    pub failure: Option<TaskFailure>,
    /// The task.
    pub id: TaskId,
    /// What it was created by.
    pub key: String,
    /// The call that is about to be the next attempt.
    pub next_call: Option<CallId>,
    /// How it stands.
    pub status: TaskStatus,
    /// What is wished.
    #[serde(flatten)]
    pub wish: NewTask,
}

impl Task {
    pub(crate) fn of(row: &Record) -> Result<Self> {
        from_value(&row.body)
    }
}

/// One attempt at a task.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// When the call began.
    pub at: Timestamp,
    /// The call.
    pub call: CallId,
    /// How the call ended, once it has.
    pub reason: Option<EndReason>,
}

/// How a task stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// Called off.
    Cancelled,
    /// The called party was talked to, or was left a message.
    Completed,
    /// Given up.
    Failed,
    /// The call goes on.
    InProgress,
    /// To be called.
    Pending,
}

impl TaskStatus {
    /// VoxStack's word (VS-027).
    pub fn voxstack(self) -> &'static str {
        match self {
            Self::Cancelled | Self::Failed => "failed",
            Self::Completed | Self::InProgress | Self::Pending => self.as_str(),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::InProgress => "in_progress",
            Self::Pending => "pending",
        }
    }
}

/// Why a task was given up without a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskFailure {
    /// The agent is switched off.
    AgentInactive,
    /// There is no such agent.
    AgentMissing,
    /// The agent's active hours never come.
    AgentNeverOpen,
    /// The agent's templates cannot be filled.
    AgentUnusable,
}

/// A tenant's queue.
#[derive(Default, Serialize, Deserialize)]
struct Queue {
    /// When a task of it was dialled last.
    dialled_at: Timestamp,
}

/// The tasks of all tenants.
#[derive(Clone)]
pub struct Tasks {
    reach: Reach,
    runtime: Arc<dyn Runtime>,
    store: Arc<dyn Store>,
}

impl Tasks {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, store: Arc<dyn Store>, reach: Reach) -> Self {
        Self { reach, runtime, store }
    }

    /// Wishes a call. The same `key` wishes it once, however often it is called: the first task is returned.
    ///
    /// `ConfigInvalid` for an empty key or one longer than [`KEY_BYTES_MAX`], and for a number of attempts out of range;
    /// `NotFound` when the agent was deleted.
    pub async fn create(&self, tenant: TenantId, key: &str, wish: NewTask) -> Result<Task> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(invalid("a task's key has 1 to 256 bytes"));
        }
        self.check(&wish)?;
        let now = self.runtime.wall_clock();
        let due_at = wish.start.due_at(now);
        let task = Task {
            attempts: Vec::new(),
            attempts_left: wish.attempts_max,
            claimed_until: None,
            created_at: now,
            due_at,
            failure: None,
            id: TaskId::generate(&*self.runtime),
            key: key.to_owned(),
            next_call: None,
            status: TaskStatus::Pending,
            wish,
        };
        for _ in 0..CONFLICTS_MAX {
            let of_key = RecordKey::new(tenant, TASK_KEY, key);
            let mut batch = Batch::default();
            batch.put(Put::new(of_key.clone(), Expect::Absent, to_value(&task.id)?));
            batch.put(put(tenant, Expect::Absent, &task)?).add(wish_of(tenant, task.wish.agent));
            if let Some(due_at) = due_at {
                self.queue(&mut batch, tenant, due_at).await?;
            }
            match self.store.commit(batch).await {
                Ok(_) => return Ok(task),
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(agent_deleted(error)),
            }
            // Either the key is taken, or somebody else has changed the queue.
            if let Some(record) = self.store.get(of_key).await? {
                let id: TaskId = from_value(&record.body)?;
                return self.get(tenant, id).await?.ok_or_else(no_such_task);
            }
        }
        Err(overtaken())
    }

    /// The task, if there is one.
    pub async fn get(&self, tenant: TenantId, task: TaskId) -> Result<Option<Task>> {
        Ok(self.load(tenant, task).await?.map(|(_, task)| task))
    }

    /// Changes when a task of the tenant does, as [`Store::version`].
    pub fn version(&self, tenant: TenantId) -> Option<u64> {
        self.store.version(Some(tenant), TASK)
    }

    /// The tenant's tasks, newest first: of one agent and one status in the words of the dialects that have tasks
    /// (VS-027: what was called off has failed), or all; `limit` of them behind the first `offset`. Returns how many there
    /// are, too.
    pub async fn list(
        &self,
        tenant: TenantId,
        status: Option<&str>,
        agent: Option<AgentId>,
        offset: u64,
        limit: u32,
    ) -> Result<(Vec<Task>, u64)> {
        let mut query = Query::new(Some(tenant), TASK);
        if let Some(status) = status {
            query = query.equal("voxstack", status);
        }
        if let Some(agent) = agent {
            query = query.equal("agent", agent.to_string());
        }
        let total = self.store.count(query.clone()).await?;
        let page = self.store.list(query.offset(offset).limit(limit)).await?;
        Ok((page.records.iter().map(Task::of).collect::<Result<_>>()?, total))
    }

    /// Forgets a task that is pending, or that was given up or called off. Its calls stay.
    ///
    /// `NotFound` when there is none, `Conflict` when it is in progress or completed.
    pub async fn delete(&self, tenant: TenantId, task: TaskId) -> Result<()> {
        let (row, task) = self.load(tenant, task).await?.ok_or_else(no_such_task)?;
        if matches!(task.status, TaskStatus::Completed | TaskStatus::InProgress) {
            return Err(Error::new(ErrorKind::Conflict, "tasks.delete", "the task is neither pending nor failed"));
        }
        let mut batch = Batch::default();
        batch.delete(row.key, Expect::Revision(row.revision));
        batch.delete(RecordKey::new(tenant, TASK_KEY, &task.key), Expect::Any);
        match self.store.commit(batch).await {
            Err(error) if error.kind() == ErrorKind::Conflict => Err(overtaken()),
            result => result.map(|_| ()),
        }
    }

    /// Changes a task that is pending. Attempts that were made still count, and when it is due changes with its
    /// `start` alone.
    ///
    /// `NotFound` when there is none, `Conflict` when it is not pending any more, `ConfigInvalid` as for
    /// [`Tasks::create`] and when no attempt would be left.
    pub async fn update(
        &self,
        tenant: TenantId,
        task: TaskId,
        change: impl Fn(&mut NewTask) + Send + Sync,
    ) -> Result<Task> {
        let now = self.runtime.wall_clock();
        self.change(tenant, task, Opens::Nothing, |task| {
            require_pending(task)?;
            let before = task.wish.clone();
            change(&mut task.wish);
            self.check(&task.wish)?;
            let used = before.attempts_max.saturating_sub(task.attempts_left);
            task.attempts_left = task.wish.attempts_max.saturating_sub(used);
            if task.attempts_left == 0 {
                return Err(invalid("the task was tried that often already"));
            }
            let was_dispatched = task.next_call.take().is_some();
            if task.wish.start != before.start {
                task.due_at = task.wish.start.due_at(now);
            } else if was_dispatched {
                task.due_at = task.wish.start.due_at(now).map(|_| now);
            }
            Ok(())
        })
        .await
    }

    /// Calls a pending task off.
    ///
    /// `NotFound` when there is none, `Conflict` when it is not pending any more.
    pub async fn cancel(&self, tenant: TenantId, task: TaskId) -> Result<Task> {
        self.change(tenant, task, Opens::Nothing, |task| {
            require_pending(task)?;
            task.status = TaskStatus::Cancelled;
            task.due_at = None;
            task.next_call = None;
            Ok(())
        })
        .await
    }

    /// Makes a task that is over pending again, with all its attempts to come.
    ///
    /// `NotFound` when there is none, or its agent was deleted, `Conflict` while it is pending or in progress.
    pub async fn reset(&self, tenant: TenantId, task: TaskId) -> Result<Task> {
        let now = self.runtime.wall_clock();
        self.change(tenant, task, Opens::Task, |task| {
            if matches!(task.status, TaskStatus::InProgress | TaskStatus::Pending) {
                return Err(Error::new(ErrorKind::Conflict, "tasks.reset", "the task is not over"));
            }
            task.attempts_left = task.wish.attempts_max;
            task.due_at = task.wish.start.due_at(now);
            task.failure = None;
            task.status = TaskStatus::Pending;
            Ok(())
        })
        .await
    }

    async fn change(
        &self,
        tenant: TenantId,
        task: TaskId,
        opens: Opens,
        change: impl Fn(&mut Task) -> Result<()> + Send + Sync,
    ) -> Result<Task> {
        for _ in 0..CONFLICTS_MAX {
            let (row, mut task) = self.load(tenant, task).await?.ok_or_else(no_such_task)?;
            change(&mut task)?;
            let mut batch = Batch::default();
            if opens == Opens::Task {
                batch.add(wish_of(tenant, task.wish.agent));
            }
            if let Some(due_at) = task.due_at {
                self.queue(&mut batch, tenant, due_at).await?;
            }
            if self.write(batch, &row, &task).await.map_err(agent_deleted)? {
                return Ok(task);
            }
        }
        Err(overtaken())
    }

    /// Commits a task with `batch`; false when somebody else has written it meanwhile.
    async fn write(&self, batch: Batch, row: &Record, task: &Task) -> Result<bool> {
        self.commit(batch, put(row.key.tenant, Expect::Revision(row.revision), task)?).await
    }

    async fn commit(&self, mut batch: Batch, task: Put) -> Result<bool> {
        batch.put(task);
        match self.store.commit(batch).await {
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
            result => result.map(|_| true),
        }
    }

    fn check(&self, wish: &NewTask) -> Result<()> {
        if !(1..=ATTEMPTS_MAX).contains(&wish.attempts_max) {
            return Err(invalid("a task has 1 to 100 attempts"));
        }
        if !wish.variables.values().all(|value| nests_within(value, FOREIGN_DEPTH_MAX)) {
            return Err(invalid("the variables nest too deeply"));
        }
        match &wish.webhook {
            Some(webhook) if webhook.events.is_empty() => Err(invalid("a webhook is told of something")),
            Some(webhook) => self.reach.check(&webhook.url),
            None => Ok(()),
        }
    }

    async fn load(&self, tenant: TenantId, task: TaskId) -> Result<Option<(Record, Task)>> {
        let Some(row) = self.store.get(RecordKey::new(tenant, TASK, task)).await? else { return Ok(None) };
        let task = Task::of(&row)?;
        Ok(Some((row, task)))
    }

    /// Sees to it that the tenant's queue is looked at when a task of it is due. Always a write, so that whoever works on
    /// the queue notices.
    async fn queue(&self, batch: &mut Batch, tenant: TenantId, due_at: Timestamp) -> Result<()> {
        let key = RecordKey::new(tenant, TASK_QUEUE, QUEUE_ID);
        let row = self.store.get(key.clone()).await?;
        let (expect, body) = match &row {
            Some(row) => (Expect::Revision(row.revision), row.body.clone()),
            None => (Expect::Absent, to_value(&Queue::default())?),
        };
        let due_at = row.and_then(|row| row.due_at).map_or(due_at, |before| before.min(due_at));
        batch.put(Put::new(key, expect, body).due_at(due_at));
        Ok(())
    }
}

/// Whether a change makes a task that is over one that is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Opens {
    Nothing,
    Task,
}

/// What the end of an agent needs to know: a count of all that was ever wished of it, which moves with each wish and no
/// further than to [`CLOSED`]. Whoever deletes the agent while it stands still knows that nothing was wished meanwhile.
pub(super) struct Wishes {
    agent: AgentId,
    count: i64,
    tenant: TenantId,
}

impl Wishes {
    pub(super) async fn of(store: &dyn Store, tenant: TenantId, agent: AgentId) -> Result<Self> {
        let counter = counter(tenant, agent);
        let mut batch = Batch::default();
        batch.add(Add::read(counter.clone()));
        let count = store.commit(batch).await?.counters.get(&counter).copied().unwrap_or_default();
        Ok(Self { agent, count, tenant })
    }

    /// Whether tasks of the agent are pending or in progress.
    pub(super) async fn are_open(&self, store: &dyn Store) -> Result<bool> {
        for status in [TaskStatus::Pending, TaskStatus::InProgress] {
            let query = Query::new(Some(self.tenant), TASK).equal("agent", self.agent.to_string());
            if store.count(query.equal("status", status.as_str())).await? > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Nothing more may be wished; `RateLimited` when something was since.
    pub(super) fn close(&self) -> Add {
        let closed = Add::new(counter(self.tenant, self.agent), CLOSED);
        closed.ceiling(self.count.saturating_add(CLOSED))
    }

    /// An agent that was deleted is there again.
    pub(super) fn reopen(&self) -> Option<Add> {
        (self.count >= CLOSED).then(|| Add::new(counter(self.tenant, self.agent), -self.count))
    }
}

fn counter(tenant: TenantId, agent: AgentId) -> CounterKey {
    CounterKey::new(tenant, format!("wishes:{agent}"))
}

/// One more wish, if the agent was not deleted.
fn wish_of(tenant: TenantId, agent: AgentId) -> Add {
    Add::new(counter(tenant, agent), 1).ceiling(CLOSED - 1)
}

fn agent_deleted(error: Error) -> Error {
    match error.kind() {
        ErrorKind::RateLimited => Error::new(ErrorKind::NotFound, "tasks.create", "there is no such agent"),
        _ => error,
    }
}

/// What the dispatcher does. It gives the queue back in the end, and so leaves it alone until then.
impl Tasks {
    /// The queues of tenants that have something to do, each for this dispatcher alone for a while; first those of which
    /// nothing was dialled for longest.
    pub(crate) async fn claim_queues(&self, limit: u32) -> Result<Vec<Record>> {
        let mut queues = self.store.claim(TASK_QUEUE.to_owned(), self.runtime.wall_clock(), CLAIM, limit).await?;
        queues.sort_by_cached_key(|row| {
            from_value(&row.body).map_or(Timestamp::default(), |queue: Queue| queue.dialled_at)
        });
        Ok(queues)
    }

    /// The tenant's tasks that are due, the most urgent first.
    pub(crate) async fn due(&self, tenant: TenantId, limit: u32) -> Result<Vec<Record>> {
        let now = self.runtime.wall_clock().as_unix_micros().saturating_add(1);
        let query = Query::new(Some(tenant), TASK)
            .equal("status", TaskStatus::Pending.as_str())
            .range("due", None, Some(now.into()))
            .order(Order::IndexAscending("rank".to_owned()))
            .limit(limit);
        Ok(self.store.list(query).await?.records)
    }

    /// Gives a claimed queue back, to be looked at when the next of its tasks is due, but not before `not_before`.
    pub(crate) async fn release_queue(
        &self,
        queue: Record,
        has_dialled: bool,
        not_before: Option<Timestamp>,
    ) -> Result<()> {
        let query = Query::new(Some(queue.key.tenant), TASK)
            .equal("status", TaskStatus::Pending.as_str())
            .order(Order::IndexAscending("due".to_owned()))
            .limit(1);
        let next = self.store.list(query).await?.records.into_iter().next();
        // By its index: whether the task can be read is not asked here.
        let next = match next.as_ref().and_then(|row| row.indexes.get("due")) {
            Some(IndexValue::Integer(micros)) => Some(Timestamp::from_unix_micros(*micros)),
            _ => None,
        };
        let body = if has_dialled { to_value(&Queue { dialled_at: self.runtime.wall_clock() })? } else { queue.body };
        let mut put = Put::new(queue.key, Expect::Revision(queue.revision), body);
        put.due_at = next.map(|due_at| not_before.map_or(due_at, |not_before| due_at.max(not_before)));
        let mut batch = Batch::default();
        batch.put(put);
        match self.store.commit(batch).await {
            // Somebody has queued a task: the queue is due for it.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            result => result.map(|_| ()),
        }
    }

    /// A pending task that nobody is about to dial.
    ///
    /// `NotFound` when there is none, `Conflict` when it is not pending or somebody is about to dial it.
    pub(crate) async fn claim(&self, tenant: TenantId, task: TaskId) -> Result<(Record, Task)> {
        let (row, task) = self.load(tenant, task).await?.ok_or_else(no_such_task)?;
        require_pending(&task)?;
        let is_claimed = task.claimed_until.is_some_and(|until| self.runtime.wall_clock() < until);
        if task.next_call.is_some() && is_claimed {
            return Err(Error::new(ErrorKind::Conflict, "tasks.claim", "the task is being dialled already"));
        }
        Ok((row, task))
    }

    /// Says that `call` will be the next attempt; false when the task has changed. A task that is only dialled on request
    /// is not dialled anew when that call does not begin.
    pub(crate) async fn assign(&self, row: &Record, task: &mut Task, call: CallId) -> Result<bool> {
        let until = self.runtime.wall_clock() + CLAIM;
        task.next_call = Some(call);
        task.claimed_until = Some(until);
        task.due_at = task.wish.start.due_at(until).map(|_| until);
        self.write(Batch::default(), row, task).await
    }

    /// Puts a pending task off.
    pub(crate) async fn postpone(&self, row: &Record, task: &mut Task, due_at: Timestamp) -> Result<bool> {
        task.next_call = None;
        task.due_at = Some(due_at);
        self.write(Batch::default(), row, task).await
    }

    /// Puts a task off that cannot be worked on now, or not even read.
    pub(crate) async fn put_off(&self, row: Record, due_at: Timestamp) -> Result<bool> {
        if let Ok(mut task) = Task::of(&row) {
            return self.postpone(&row, &mut task, due_at).await;
        }
        let mut put = Put::new(row.key, Expect::Revision(row.revision), row.body);
        put.indexes = row.indexes;
        self.commit(Batch::default(), put.index("due", due_at.as_unix_micros())).await
    }

    /// Gives a pending task up.
    pub(crate) async fn give_up(&self, row: &Record, task: &mut Task, failure: TaskFailure) -> Result<bool> {
        task.status = TaskStatus::Failed;
        task.failure = Some(failure);
        task.due_at = None;
        task.next_call = None;
        self.write(Batch::default(), row, task).await
    }
}

/// What calls do.
impl Tasks {
    /// Adds the beginning of an attempt to the batch that begins its call.
    ///
    /// `Conflict` when the task does not wait for this call any more: it must not be dialled.
    pub(super) async fn begin(&self, batch: &mut Batch, record: &CallRecord, now: Timestamp) -> Result<Option<Task>> {
        let Some(id) = record.task else { return Ok(None) };
        let (row, mut task) = self.load(record.tenant, id).await?.ok_or_else(no_such_task)?;
        if task.status != TaskStatus::Pending || task.next_call != Some(record.id) {
            return Err(Error::new(ErrorKind::Conflict, "tasks.begin", "the task does not wait for this call"));
        }
        task.next_call = None;
        task.due_at = None;
        task.status = TaskStatus::InProgress;
        task.attempts_left = task.attempts_left.saturating_sub(1);
        task.attempts.push(Attempt { at: now, call: record.id, reason: None });
        batch.put(put(record.tenant, Expect::Revision(row.revision), &task)?);
        Ok(Some(task))
    }

    /// Adds the end of an attempt to the batch that settles its call; returns the task that waited for it.
    pub(super) async fn end(&self, batch: &mut Batch, record: &CallRecord, now: Timestamp) -> Result<Option<Task>> {
        let Some(id) = record.task else { return Ok(None) };
        let Some((row, mut task)) = self.load(record.tenant, id).await? else { return Ok(None) };
        let is_over_capacity = record.end_reason == Some(EndReason::OverCapacity);
        match task.status {
            TaskStatus::InProgress if task.attempts.last().is_some_and(|attempt| attempt.call == record.id) => {
                if let Some(attempt) = task.attempts.last_mut() {
                    attempt.reason = record.end_reason;
                }
            }
            TaskStatus::Pending if task.next_call == Some(record.id) && !is_over_capacity => {
                // It could not begin; that counts, or a task without credits would be tried for ever.
                task.attempts_left = task.attempts_left.saturating_sub(1);
                task.attempts.push(Attempt { at: now, call: record.id, reason: record.end_reason });
            }
            TaskStatus::Pending if task.next_call == Some(record.id) => {}
            _ => return Ok(None),
        }
        task.next_call = None;
        let reached_machine = record.end_reason == Some(EndReason::MachineAnswered);
        (task.status, task.due_at) = match record.end_reason {
            _ if record.status == CallStatus::Completed && !reached_machine => (TaskStatus::Completed, None),
            _ if is_over_capacity => (TaskStatus::Pending, task.wish.start.due_at(now).map(|_| now + NO_SLOT_DELAY)),
            Some(EndReason::Cancelled | EndReason::EngineLost | EndReason::OperatorHangUp) => {
                (TaskStatus::Failed, None)
            }
            _ if (record.answered_at.is_none() || reached_machine) && task.attempts_left > 0 => {
                (TaskStatus::Pending, Some(now + task.wish.retry_delay))
            }
            _ => (TaskStatus::Failed, None),
        };
        batch.put(put(record.tenant, Expect::Revision(row.revision), &task)?);
        if let Some(due_at) = task.due_at {
            self.queue(batch, record.tenant, due_at).await?;
        }
        Ok(Some(task))
    }
}

fn put(tenant: TenantId, expect: Expect, task: &Task) -> Result<Put> {
    let mut put = Put::new(RecordKey::new(tenant, TASK, task.id), expect, to_value(task)?)
        .index("agent", task.wish.agent.to_string())
        .index("status", task.status.as_str())
        .index("voxstack", task.status.voxstack());
    if let Some(due_at) = task.due_at {
        let rank = due_at.as_unix_millis().clamp(0, PRIORITY_STEP - 1) - i64::from(task.wish.priority) * PRIORITY_STEP;
        put = put.index("due", due_at.as_unix_micros()).index("rank", rank);
    }
    Ok(put)
}

fn require_pending(task: &Task) -> Result<()> {
    if task.status != TaskStatus::Pending {
        return Err(Error::new(ErrorKind::Conflict, "tasks.change", "the task is not pending any more"));
    }
    Ok(())
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::ConfigInvalid, "tasks.create", message)
}

fn no_such_task() -> Error {
    Error::new(ErrorKind::NotFound, "tasks.get", "there is no such task")
}

fn overtaken() -> Error {
    Error::new(ErrorKind::Conflict, "tasks.commit", "the task was changed by others too often")
}
