//! Dials the tasks that are due: the most urgent of each tenant first, the tenants in turn, as far as there are slots.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt;

use super::{Engine, EngineShared};
use crate::call::{Admission, Offer};
use crate::error::Result;
use crate::ids::CallId;
use crate::provider::store::Record;
use crate::runtime::Runtime;
use crate::service::hours::Hours;
use crate::service::tasks::{Task, TaskFailure};

/// How often due tasks are looked for.
const INTERVAL: Duration = Duration::from_millis(250);

/// Tenants whose tasks are dialled at once.
const TENANTS_MAX: u32 = 64;

/// Calls that are begun for a tenant in one interval.
const STARTS_MAX: u32 = 16;

/// One tenant's tasks that may be dialled now.
struct Lane {
    queue: Record,
    has_dialled: bool,
    tasks: VecDeque<(Record, Task)>,
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
        if let Err(error) = (Engine { shared }).dispatch_due().await {
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
            let tenant = queue.key.tenant;
            let room = self.shared.capacity.room(tenant).await?;
            left = left.min(room.all);
            let limit = room.tenant.min(STARTS_MAX);
            let due = if limit == 0 { Vec::new() } else { tasks.due(tenant, limit).await? };
            lanes.push(Lane { queue, has_dialled: false, tasks: due.into() });
        }
        while left > 0 && lanes.iter().any(|lane| !lane.tasks.is_empty()) {
            for lane in &mut lanes {
                if left == 0 {
                    break;
                }
                let Some((row, task)) = lane.tasks.pop_front() else { continue };
                if self.dispatch(row, task).await? {
                    lane.has_dialled = true;
                    left -= 1;
                }
            }
        }
        for lane in lanes {
            tasks.release_queue(lane.queue, lane.has_dialled).await?;
        }
        Ok(())
    }

    /// Begins the call of a task that is due, if its agent works now; says whether it did.
    async fn dispatch(&self, row: Record, mut task: Task) -> Result<bool> {
        let shared = &self.shared;
        let (runtime, tenant) = (&*shared.providers.runtime, row.key.tenant);
        let now = runtime.wall_clock();
        let Some(mut agent) = shared.agents.get(tenant, task.wish.agent).await? else {
            shared.tasks.give_up(&row, &mut task, TaskFailure::AgentMissing).await?;
            return Ok(false);
        };
        match agent.admits(now) {
            Admission::AgentInactive => {
                shared.tasks.give_up(&row, &mut task, TaskFailure::AgentInactive).await?;
                return Ok(false);
            }
            Admission::Open => {}
            Admission::OutsideHours => {
                match agent.hours.as_ref().and_then(|hours: &Hours| hours.next_open(now)) {
                    Some(due_at) => shared.tasks.postpone(&row, &mut task, due_at).await?,
                    None => shared.tasks.give_up(&row, &mut task, TaskFailure::AgentNeverOpen).await?,
                };
                return Ok(false);
            }
        }
        agent.variables.append(&mut task.wish.variables.clone());
        let (id, offer) =
            (CallId::generate(runtime), Offer::Outbound { from: task.wish.from.clone(), to: task.wish.to.clone() });
        let Ok(mut config) = agent.configure(tenant, id, &offer, now) else {
            shared.tasks.give_up(&row, &mut task, TaskFailure::AgentUnusable).await?;
            return Ok(false);
        };
        config.task = Some(task.id);
        if !shared.tasks.assign(&row, &mut task, id).await? {
            return Ok(false);
        }
        // Who wants to follow the call finds it by the task.
        drop(self.run(Arc::new(agent), config, offer));
        Ok(true)
    }
}
