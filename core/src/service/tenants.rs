//! Tenants: the customers of a server. Everything belongs to exactly one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::rows;
use super::vault::Vault;
use super::webhooks::{from_value, to_value};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::TenantId;
use crate::provider::Store;
use crate::provider::store::{Batch, Expect, LIMIT_MAX, Order, Put, Query, RecordKey};
use crate::runtime::Runtime;
use crate::signing::{Secret, standard};
use crate::time::Timestamp;

/// The record kind of tenants.
pub const TENANT: &str = "tenant";

/// Bytes of a name at most.
pub const NAME_BYTES_MAX: usize = 200;

/// Bytes of the signing secret.
const SECRET_BYTES: usize = 24;

/// A customer.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// When it was made.
    pub created_at: Timestamp,
    /// The tenant.
    pub id: TenantId,
    /// For people.
    pub name: String,
    /// What it has booked.
    pub plan: Plan,
    /// Requests a minute, in place of its plan's.
    pub requests_per_minute: Option<u32>,
}

impl Tenant {
    /// How many requests a minute it may make, over all its keys.
    pub fn requests_per_minute(&self) -> u32 {
        self.requests_per_minute.unwrap_or_else(|| self.plan.requests_per_minute())
    }
}

/// What a tenant has booked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names of plans")]
pub enum Plan {
    Business,
    Enterprise,
    #[default]
    Starter,
}

impl Plan {
    /// The vendor's figures (DR-010); its "custom" is 1,000 unless the tenant has its own.
    pub fn requests_per_minute(self) -> u32 {
        match self {
            Self::Business => 300,
            Self::Enterprise => 1_000,
            Self::Starter => 60,
        }
    }
}

/// All tenants.
#[derive(Clone)]
pub struct Tenants {
    runtime: Arc<dyn Runtime>,
    store: Arc<dyn Store>,
    vault: Vault,
}

#[derive(Clone, Serialize, Deserialize)]
struct Row {
    #[serde(flatten)]
    tenant: Tenant,
    /// Sealed.
    signing_secret: String,
}

impl Tenants {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, store: Arc<dyn Store>, vault: Vault) -> Self {
        Self { runtime, store, vault }
    }

    /// Makes a tenant with a signing secret of its own.
    ///
    /// `ConfigInvalid` for an empty name or one that is too long, and when there is no key to seal the secret with.
    pub async fn create(&self, name: &str, plan: Plan) -> Result<Tenant> {
        check_name(name)?;
        let id = TenantId::generate(&*self.runtime);
        let tenant = Tenant {
            created_at: self.runtime.wall_clock(),
            id,
            name: name.to_owned(),
            plan,
            requests_per_minute: None,
        };
        let mut key = [0; SECRET_BYTES];
        self.runtime.fill_random(&mut key);
        let text = standard::show_secret(&Secret::new(key));
        let signing_secret = self.vault.seal(&context(id), text.as_bytes())?;
        let mut batch = Batch::default();
        batch.put(put(&Row { tenant: tenant.clone(), signing_secret }, Expect::Absent)?);
        self.store.commit(batch).await?;
        Ok(tenant)
    }

    /// The tenant, if there is one.
    pub async fn get(&self, tenant: TenantId) -> Result<Option<Tenant>> {
        Ok(rows::get::<Row>(&*self.store, key(tenant)).await?.map(|row| row.tenant))
    }

    /// All of them, the oldest first; at most `limit` from the page that `cursor` names. Returns the next page's cursor.
    pub async fn list(&self, cursor: Option<String>) -> Result<(Vec<Tenant>, Option<String>)> {
        let query = Query::new(None, TENANT).order(Order::IdAscending).limit(LIMIT_MAX);
        let query = cursor.into_iter().fold(query, Query::after);
        let page = self.store.list(query).await?;
        let tenants = page.records.iter().map(|record| from_value::<Row>(&record.body).map(|row| row.tenant));
        Ok((tenants.collect::<Result<_>>()?, page.next))
    }

    /// Changes a tenant; its id stays. `NotFound` when there is none, otherwise as [`Tenants::create`].
    pub async fn update(&self, tenant: TenantId, change: impl Fn(&mut Tenant) + Send + Sync) -> Result<Tenant> {
        let change = |row: &mut Row| {
            change(&mut row.tenant);
            row.tenant.id = tenant;
            check_name(&row.tenant.name)
        };
        let row = rows::change(&*self.store, key(tenant), change, put).await?;
        row.map(|row| row.tenant).ok_or_else(missing)
    }

    /// What signs what the tenant is sent where it has given no secret of its own: functions (DR-A2) and pushes. The key
    /// is the text, as it is shown to the tenant.
    ///
    /// `NotFound` when there is no such tenant.
    pub async fn signing_secret(&self, tenant: TenantId) -> Result<Secret> {
        let row: Row = rows::get(&*self.store, key(tenant)).await?.ok_or_else(missing)?;
        self.vault.open(&context(tenant), &row.signing_secret)
    }
}

fn key(tenant: TenantId) -> RecordKey {
    RecordKey::new(tenant, TENANT, tenant)
}

fn put(row: &Row, expect: Expect) -> Result<Put> {
    Ok(Put::new(key(row.tenant.id), expect, to_value(row)?))
}

fn check_name(name: &str) -> Result<()> {
    if name.trim().is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(Error::new(ErrorKind::ConfigInvalid, "tenants.check", "a name has 1 to 200 bytes"));
    }
    Ok(())
}

fn missing() -> Error {
    Error::new(ErrorKind::NotFound, "tenants.get", "there is no such tenant")
}

/// Where the secret of a tenant opens.
fn context(tenant: TenantId) -> String {
    format!("{tenant}/{TENANT}/signing_secret")
}
