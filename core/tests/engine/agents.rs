//! The end of an agent, and what its policy may be.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use offhook::ErrorKind;
use offhook::engine::Engine;
use offhook::ids::{AgentId, TenantId};
use offhook::memory::MemoryStore;
use offhook::provider::store::{Batch, Committed, LogKey, Operation, Page, Query, Record, RecordKey};
use offhook::provider::{ProviderInfo, Store};
use offhook::service::agents::AGENT;
use offhook::service::tasks::{NewTask, Start, TASK};
use offhook::time::Timestamp;
use offhook_testkit::runtime::VirtualRuntime;

use crate::world::World;

fn wish(agent: AgentId) -> NewTask {
    let mut wish = NewTask::new(agent, "+622150001000".parse().unwrap(), "+628123456789".parse().unwrap());
    wish.start = Start::OnRequest;
    wish
}

#[test]
fn vs_014_of_an_agent_that_is_deleted_nothing_more_is_wished() {
    let runtime = VirtualRuntime::new(1);
    runtime.clone().block_on(async {
        let world = World::new(Arc::new(runtime.clone()), &[]).await;
        let (agents, tasks, tenant) = (world.engine.agents(), world.engine.tasks(), world.tenant);
        let agent = world.agent.id;
        assert!(!agents.delete_idle(tenant, agent).await.unwrap(), "there is none yet");
        agents.put(tenant, &world.agent).await.unwrap();
        let task = tasks.create(tenant, "one", wish(agent)).await.unwrap();
        assert_eq!(agents.delete_idle(tenant, agent).await.unwrap_err().kind(), ErrorKind::Conflict);
        tasks.cancel(tenant, task.id).await.unwrap();
        assert!(agents.delete_idle(tenant, agent).await.unwrap());
        assert_eq!(tasks.create(tenant, "two", wish(agent)).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(tasks.reset(tenant, task.id).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert!(!agents.delete_idle(tenant, agent).await.unwrap());
        agents.put(tenant, &world.agent).await.unwrap();
        tasks.reset(tenant, task.id).await.unwrap();
        assert_eq!(agents.delete_idle(tenant, agent).await.unwrap_err().kind(), ErrorKind::Conflict);
        assert!(agents.delete(tenant, agent).await.unwrap(), "with whatever it has to do");
        tasks.create(tenant, "three", wish(agent)).await.unwrap_err();
    });
}

/// VS-014: the check and the deletion are one commit, so that a task which is made between the two is not lost.
#[test]
fn vs_014_a_task_that_is_wished_while_its_agent_is_deleted_keeps_it() {
    let runtime = VirtualRuntime::new(2);
    runtime.clone().block_on(async {
        let mut world = World::new(Arc::new(runtime.clone()), &[]).await;
        world.engine.agents().put(world.tenant, &world.agent).await.unwrap();
        let store = Late { inner: world.store.clone(), wisher: Mutex::new(Some((world.engine.clone(), world.tenant))) };
        let mut providers = world.providers.clone();
        providers.store = Arc::new(store);
        world.engine = Engine::with_settings(providers, offhook_testkit::settings());
        let deleted = world.engine.agents().delete_idle(world.tenant, world.agent.id).await;
        assert_eq!(deleted.unwrap_err().kind(), ErrorKind::Conflict);
        assert!(world.engine.agents().get(world.tenant, world.agent.id).await.unwrap().is_some());
        assert_eq!(world.store.count(Query::new(Some(world.tenant), TASK)).await.unwrap(), 1);
    });
}

#[test]
fn an_agent_whose_policy_holds_no_call_is_not_kept() {
    let runtime = VirtualRuntime::new(3);
    runtime.clone().block_on(async {
        let world = World::new(Arc::new(runtime.clone()), &[]).await;
        let mut agent = (*world.agent).clone();
        agent.policy.set_up_timeout = Duration::ZERO;
        let error = world.engine.agents().put(world.tenant, &agent).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
        assert!(error.context().iter().any(|(name, value)| *name == "field" && value == "policy.set_up_timeout_ms"));
    });
}

/// A store in which a task is wished just before an agent is deleted.
struct Late {
    inner: Arc<MemoryStore>,
    wisher: Mutex<Option<(Engine, TenantId)>>,
}

#[async_trait]
impl Store for Late {
    fn info(&self) -> ProviderInfo {
        self.inner.info()
    }

    async fn get(&self, key: RecordKey) -> offhook::Result<Option<Record>> {
        self.inner.get(key).await
    }

    async fn list(&self, query: Query) -> offhook::Result<Page> {
        self.inner.list(query).await
    }

    async fn count(&self, query: Query) -> offhook::Result<u64> {
        self.inner.count(query).await
    }

    fn version(&self, _: Option<TenantId>, _: &str) -> Option<u64> {
        None
    }

    async fn commit(&self, batch: Batch) -> offhook::Result<Committed> {
        let deleted = batch.operations.iter().find_map(|operation| match operation {
            Operation::Delete(delete) if delete.key.kind == AGENT => delete.key.id.parse().ok(),
            _ => None,
        });
        if let Some(agent) = deleted {
            let wisher = self.wisher.lock().unwrap().take();
            if let Some((engine, tenant)) = wisher {
                engine.tasks().create(tenant, "late", wish(agent)).await?;
            }
        }
        self.inner.commit(batch).await
    }

    async fn claim(&self, kind: String, now: Timestamp, lease: Duration, limit: u32) -> offhook::Result<Vec<Record>> {
        self.inner.claim(kind, now, lease, limit).await
    }

    async fn append(&self, log: LogKey, seq: u64, entries: Vec<Bytes>) -> offhook::Result<()> {
        self.inner.append(log, seq, entries).await
    }

    async fn read_log(&self, log: LogKey, seq: u64, limit: u32) -> offhook::Result<Vec<Bytes>> {
        self.inner.read_log(log, seq, limit).await
    }
}
