//! Numbers: which agent answers where, and what is shown to those who are called.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::agents::AGENT;
use super::rows;
use super::webhooks::{from_value, to_value};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{AgentId, NumberId, TenantId};
use crate::provider::Store;
use crate::provider::store::{Batch, Expect, LIMIT_MAX, Order, Put, Query, Record, RecordKey};
use crate::provider::telephony::E164;
use crate::runtime::Runtime;
use crate::time::Timestamp;

/// The record kind of numbers.
pub const NUMBER: &str = "number";

/// The record kind that says whose a number is: each is one tenant's.
pub const NUMBER_OWNER: &str = "number_owner";

/// Bytes of a label at most.
pub const LABEL_BYTES_MAX: usize = 200;

/// The tenant of what is true for all.
const EVERYBODY: TenantId = TenantId::from_uuid(Uuid::nil());

/// A tenant's number.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Number {
    /// Who answers; `None` answers nothing (DR-044: at most one).
    pub agent: Option<AgentId>,
    /// When it was added.
    pub created_at: Timestamp,
    /// Its name.
    pub id: NumberId,
    /// Whether it is used.
    pub is_active: bool,
    /// For people.
    pub label: String,
    /// The number.
    pub number: E164,
}

#[derive(Serialize, Deserialize)]
struct Owner {
    number: NumberId,
    tenant: TenantId,
}

/// The numbers of all tenants.
#[derive(Clone)]
pub struct Numbers {
    runtime: Arc<dyn Runtime>,
    store: Arc<dyn Store>,
}

impl Numbers {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, store: Arc<dyn Store>) -> Self {
        Self { runtime, store }
    }

    /// Gives a number to a tenant.
    ///
    /// `Conflict` when it is a tenant's already, `ConfigInvalid` for a label that is too long, `NotFound` for an agent that
    /// is not the tenant's.
    pub async fn add(&self, tenant: TenantId, number: E164, label: &str, agent: Option<AgentId>) -> Result<Number> {
        if label.len() > LABEL_BYTES_MAX {
            return Err(Error::new(ErrorKind::ConfigInvalid, "numbers.add", "the label is too long"));
        }
        self.require_agent(tenant, agent).await?;
        let row = Number {
            agent,
            created_at: self.runtime.wall_clock(),
            id: NumberId::generate(&*self.runtime),
            is_active: true,
            label: label.to_owned(),
            number,
        };
        let owner = to_value(&Owner { number: row.id, tenant })?;
        let mut batch = Batch::default();
        batch.put(Put::new(owner_key(&row.number), Expect::Absent, owner)).put(put(tenant, &row, Expect::Absent)?);
        match self.store.commit(batch).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                Err(Error::new(ErrorKind::Conflict, "numbers.add", "the number is a tenant's already"))
            }
            result => result.map(|_| row),
        }
    }

    /// The number of that id, if the tenant has it.
    pub async fn get(&self, tenant: TenantId, number: NumberId) -> Result<Option<Number>> {
        rows::get(&*self.store, key(tenant, number)).await
    }

    /// The tenant's numbers, the newest first; at most [`LIMIT_MAX`].
    pub async fn list(&self, tenant: TenantId) -> Result<Vec<Number>> {
        let page = self.store.list(Query::new(Some(tenant), NUMBER)).await?;
        page.records.iter().map(|record| from_value(&record.body)).collect()
    }

    /// Whose a number is, and how it is used.
    pub async fn find(&self, number: &E164) -> Result<Option<(TenantId, Number)>> {
        let Some(Owner { number, tenant }) = rows::get(&*self.store, owner_key(number)).await? else {
            return Ok(None);
        };
        Ok(self.get(tenant, number).await?.map(|number| (tenant, number)))
    }

    /// The number that an agent's calls show: the oldest of its own that is used, else the tenant's oldest.
    pub async fn caller_id(&self, tenant: TenantId, agent: AgentId) -> Result<Option<E164>> {
        let mine = Query::new(Some(tenant), NUMBER).order(Order::IdAscending);
        for query in [mine.clone().equal("agent", agent.to_string()), mine] {
            let page = self.store.list(query).await?;
            let mut numbers = page.records.iter().filter_map(|record| from_value::<Number>(&record.body).ok());
            if let Some(number) = numbers.find(|number| number.is_active) {
                return Ok(Some(number.number));
            }
        }
        Ok(None)
    }

    /// Lets an agent answer, or nobody. `NotFound` when the tenant has no such number or agent.
    pub async fn assign(&self, tenant: TenantId, number: NumberId, agent: Option<AgentId>) -> Result<Number> {
        self.require_agent(tenant, agent).await?;
        self.change(tenant, number, |number| number.agent = agent).await
    }

    /// Takes a number into or out of use. `NotFound` when the tenant has no such number.
    pub async fn set_active(&self, tenant: TenantId, number: NumberId, is_active: bool) -> Result<Number> {
        self.change(tenant, number, |number| number.is_active = is_active).await
    }

    /// Takes a number away from a tenant. `NotFound` when the tenant has no such number.
    pub async fn remove(&self, tenant: TenantId, number: NumberId) -> Result<()> {
        let row = self.get(tenant, number).await?.ok_or_else(missing)?;
        let mut batch = Batch::default();
        batch.delete(key(tenant, number), Expect::Any).delete(owner_key(&row.number), Expect::Any);
        self.store.commit(batch).await.map(|_| ())
    }

    /// What lets nobody answer where that agent did (DR-031).
    pub(super) async fn released(&self, tenant: TenantId, agent: AgentId) -> Result<Vec<Put>> {
        let query = Query::new(Some(tenant), NUMBER).equal("agent", agent.to_string()).limit(LIMIT_MAX);
        let released = |record: &Record| {
            let number = Number { agent: None, ..from_value(&record.body)? };
            put(tenant, &number, Expect::Revision(record.revision))
        };
        self.store.list(query).await?.records.iter().map(released).collect()
    }

    async fn change(
        &self,
        tenant: TenantId,
        number: NumberId,
        change: impl Fn(&mut Number) + Send + Sync,
    ) -> Result<Number> {
        let apply = |number: &mut Number| {
            change(number);
            Ok(())
        };
        let put = |number: &Number, expect| put(tenant, number, expect);
        rows::change(&*self.store, key(tenant, number), apply, put).await?.ok_or_else(missing)
    }

    async fn require_agent(&self, tenant: TenantId, agent: Option<AgentId>) -> Result<()> {
        let Some(agent) = agent else { return Ok(()) };
        match self.store.get(RecordKey::new(tenant, AGENT, agent)).await? {
            Some(_) => Ok(()),
            None => Err(Error::new(ErrorKind::NotFound, "numbers.assign", "there is no such agent")),
        }
    }
}

fn key(tenant: TenantId, number: NumberId) -> RecordKey {
    RecordKey::new(tenant, NUMBER, number)
}

fn owner_key(number: &E164) -> RecordKey {
    RecordKey::new(EVERYBODY, NUMBER_OWNER, number)
}

fn put(tenant: TenantId, number: &Number, expect: Expect) -> Result<Put> {
    let put = Put::new(key(tenant, number.id), expect, to_value(number)?);
    Ok(number.agent.iter().fold(put, |put, agent| put.index("agent", agent.to_string())))
}

fn missing() -> Error {
    Error::new(ErrorKind::NotFound, "numbers.get", "there is no such number")
}
