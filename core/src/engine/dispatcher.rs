//! Dials the tasks that are due: the most urgent of each tenant first, the tenants in turn, as far as there are slots.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt;

use super::{Engine, EngineShared};
use crate::call::{Admission, CallConfig, Offer};
use crate::error::Result;
use crate::ids::{CallId, TenantId};
use crate::provider::store::Record;
use crate::runtime::Runtime;
use crate::service::agents::Agent;
use crate::service::hours::Hours;
use crate::service::tasks::{Task, TaskFailure};
use crate::time::Timestamp;

/// How often due tasks are looked for.
const INTERVAL: Duration = Duration::from_millis(250);

/// How long something is left alone that could not be read or written.
const FAILURE_DELAY: Duration = Duration::from_secs(30);

/// Tenants whose tasks are dialled at once.
const TENANTS_MAX: u32 = 64;

/// Calls that are begun for a tenant in one interval.
const STARTS_MAX: u32 = 16;

/// One tenant's tasks that may be dialled now.
struct Lane {
    has_dialled: bool,
    /// When to look at the tenant again, if it could not be looked at now.
    not_before: Option<Timestamp>,
    queue: Record,
    tasks: VecDeque<Record>,
}

/// Dials until `stop` is closed, which happens when the engine is dropped.
pub(super) async fn run(engine: Weak<EngineShared>, runtime: Arc<dyn Runtime>, stop: async_channel::Receiver<()>) {
    loop {
        let nap = runtime.sleep_until(runtime.now() + INTERVAL);
        futures_util::select_biased! {
            _ = std::pin::pin!(stop.recv().fuse()) => return,
            () = nap.fuse() => {}
        }
        let Some(shared) = engine.upgrade() else { return };
        let engine = Engine { parent: None, shared };
        if engine.is_closed() {
            return;
        }
        if let Err(error) = engine.dispatch_due().await {
            tracing::warn!(%error, "tasks could not be dispatched");
        }
    }
}

impl Engine {
    async fn dispatch_due(&self) -> Result<()> {
        let tasks = &self.shared.tasks;
        let mut lanes = Vec::new();
        let mut left = u32::MAX;
        for queue in tasks.claim_queues(TENANTS_MAX).await? {
            let mut lane = Lane { has_dialled: false, not_before: None, queue, tasks: VecDeque::new() };
            match self.fill(&mut lane).await {
                Ok(room) => left = left.min(room),
                Err(error) => {
                    tracing::warn!(tenant = %lane.queue.key.tenant, %error, "a tenant's tasks could not be looked at");
                    lane.not_before = Some(self.later());
                }
            }
            lanes.push(lane);
        }
        while left > 0 && lanes.iter().any(|lane| !lane.tasks.is_empty()) {
            for lane in &mut lanes {
                if left == 0 {
                    break;
                }
                let Some(row) = lane.tasks.pop_front() else { continue };
                if self.dispatch_or_put_off(row).await {
                    lane.has_dialled = true;
                    left -= 1;
                }
            }
        }
        for Lane { has_dialled, not_before, queue, .. } in lanes {
            let tenant = queue.key.tenant;
            if let Err(error) = tasks.release_queue(queue, has_dialled, not_before).await {
                // The claim's own end brings it back.
                tracing::warn!(%tenant, %error, "a queue of tasks could not be given back");
            }
        }
        Ok(())
    }

    /// Finds the tasks of a lane that may be dialled now; returns how many calls of all tenants may begin.
    async fn fill(&self, lane: &mut Lane) -> Result<u32> {
        let tenant = lane.queue.key.tenant;
        let room = self.shared.capacity.room(tenant).await?;
        let limit = room.tenant.min(STARTS_MAX);
        if limit > 0 {
            lane.tasks = self.shared.tasks.due(tenant, limit).await?.into();
        }
        Ok(room.all)
    }

    /// Begins the call of a task that is due; one that cannot be worked on is put off, and holds up no other.
    async fn dispatch_or_put_off(&self, row: Record) -> bool {
        let error = match self.dispatch(&row).await {
            Ok(has_dialled) => return has_dialled,
            Err(error) => error,
        };
        tracing::warn!(tenant = %row.key.tenant, task = %row.key.id, %error, "a task could not be dispatched");
        if let Err(error) = self.shared.tasks.put_off(row, self.later()).await {
            tracing::warn!(%error, "a task could not be put off");
        }
        false
    }

    /// When to look again at what could not be worked on.
    fn later(&self) -> Timestamp {
        self.shared.providers.runtime.wall_clock() + FAILURE_DELAY
    }

    /// Begins the call of a task that is due, if its agent works now; says whether it did.
    async fn dispatch(&self, row: &Record) -> Result<bool> {
        let (tasks, tenant) = (&self.shared.tasks, row.key.tenant);
        let mut task = Task::of(row)?;
        let call = match self.prepare(tenant, &task, self.shared.providers.runtime.wall_clock()).await? {
            Ready::Call(call) => call,
            Ready::Closed(due_at) => {
                tasks.postpone(row, &mut task, due_at).await?;
                return Ok(false);
            }
            Ready::Never(failure) => {
                tasks.give_up(row, &mut task, failure).await?;
                return Ok(false);
            }
        };
        let (agent, config, offer) = *call;
        if !tasks.assign(row, &mut task, config.id).await? {
            return Ok(false);
        }
        // Who wants to follow the call finds it by the task.
        drop(self.under(task.wish.trace).run(agent, config, offer)?);
        Ok(true)
    }

    /// What a task's call takes, if it can be placed now.
    pub(super) async fn prepare(&self, tenant: TenantId, task: &Task, now: Timestamp) -> Result<Ready> {
        let Some(mut agent) = self.shared.agents.get(tenant, task.wish.agent).await? else {
            return Ok(Ready::Never(TaskFailure::AgentMissing));
        };
        match agent.admits(now) {
            Admission::AgentInactive => return Ok(Ready::Never(TaskFailure::AgentInactive)),
            Admission::Open => {}
            Admission::OutsideHours => {
                let opens = agent.hours.as_ref().and_then(|hours: &Hours| hours.next_open(now));
                return Ok(opens.map_or(Ready::Never(TaskFailure::AgentNeverOpen), Ready::Closed));
            }
        }
        agent.variables.append(&mut task.wish.variables.clone());
        if task.wish.greeting.is_some() {
            agent.greeting.clone_from(&task.wish.greeting);
        }
        let id = CallId::generate(&*self.shared.providers.runtime);
        let offer = Offer::Outbound { from: task.wish.from.clone(), to: task.wish.to.clone() };
        let Ok(mut config) = agent.configure(tenant, id, &offer, now) else {
            return Ok(Ready::Never(TaskFailure::AgentUnusable));
        };
        config.task = Some(task.id);
        Ok(Ready::Call(Box::new((Arc::new(agent), config, offer))))
    }
}

/// Whether a task's call can be placed now.
pub(super) enum Ready {
    /// It can.
    Call(Box<(Arc<Agent>, CallConfig, Offer)>),
    /// Not before then, when the agent's hours begin.
    Closed(Timestamp),
    /// It cannot.
    Never(TaskFailure),
}
