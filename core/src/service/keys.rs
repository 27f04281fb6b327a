//! API keys: shown once, kept as a hash.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::webhooks::{from_value, to_value};
use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{AgentId, ApiKeyId, TenantId};
use crate::provider::Store;
use crate::provider::store::{Add, Batch, CounterKey, Expect, Order, Put, Query, RecordKey};
use crate::runtime::Runtime;
use crate::time::Timestamp;
use crate::wrap::memory::Memory;

/// The record kind of API keys.
pub const API_KEY: &str = "api_key";

/// Keys that a tenant may have, those that were revoked not counted.
pub const KEYS_MAX: u32 = 1_000;

/// Bytes of a label at most.
pub const LABEL_BYTES_MAX: usize = 200;

/// Bytes of what is looked up at most.
pub const TEXT_BYTES_MAX: usize = 128;

/// Random characters in a key: 190 bits, which nobody guesses, so that a plain hash keeps it.
const RANDOM_CHARS: usize = 32;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Counts a tenant's keys.
const KEYS: &str = "api_keys";

/// How often a change is tried that others keep overtaking.
const CONFLICTS_MAX: u32 = 8;

/// A key as it is kept. What opens the door is not in it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The agents that it is for; `None` is all (FL-002).
    pub agents: Option<Vec<AgentId>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The API that it opens.
    pub dialect: Dialect,
    /// From then on it opens nothing.
    pub expires_at: Option<Timestamp>,
    /// Its last characters, for people to tell keys apart.
    pub hint: String,
    /// Its name.
    pub id: ApiKeyId,
    /// What it is for.
    pub label: String,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Whom it lets in.
    pub tenant: TenantId,
}

/// A key to be made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewApiKey {
    /// The agents that it is for; `None` is all.
    pub agents: Option<Vec<AgentId>>,
    /// The API that it opens.
    pub dialect: Dialect,
    /// What it is for.
    pub label: String,
    /// How long it lives; `None` until it is revoked.
    pub lifetime: Option<Duration>,
}

impl NewApiKey {
    /// A key for all agents that lives until it is revoked.
    pub fn new(dialect: Dialect, label: impl Into<String>) -> Self {
        Self { agents: None, dialect, label: label.into(), lifetime: None }
    }
}

/// The keys of all tenants.
#[derive(Clone)]
pub struct ApiKeys {
    /// By their hashes; `None` where there is no such key.
    known: Arc<Memory<String, Option<ApiKey>>>,
    runtime: Arc<dyn Runtime>,
    store: Arc<dyn Store>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    hash: String,
    #[serde(flatten)]
    key: ApiKey,
}

impl ApiKeys {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, store: Arc<dyn Store>) -> Self {
        Self { known: Arc::default(), runtime, store }
    }

    /// Makes a key and returns it with its text, which is not shown again.
    ///
    /// `ConfigInvalid` for a label that is too long, `RateLimited` when there are [`KEYS_MAX`].
    pub async fn create(&self, tenant: TenantId, new: NewApiKey) -> Result<(ApiKey, String)> {
        if new.label.len() > LABEL_BYTES_MAX {
            return Err(Error::new(ErrorKind::ConfigInvalid, "keys.create", "the label is too long"));
        }
        let mut batch = Batch::default();
        let made = self.make(&mut batch, tenant, new)?;
        self.store.commit(batch).await?;
        Ok(made)
    }

    /// Takes a key away and makes one like it, at once. `NotFound` when there is none, or it was taken away before;
    /// otherwise as [`ApiKeys::create`].
    pub async fn regenerate(&self, tenant: TenantId, key: ApiKeyId) -> Result<(ApiKey, String)> {
        let missing = || Error::new(ErrorKind::NotFound, "keys.regenerate", "there is no such key");
        for _ in 0..CONFLICTS_MAX {
            let record = self.store.get(RecordKey::new(tenant, API_KEY, key)).await?.ok_or_else(missing)?;
            let mut row: Row = from_value(&record.body)?;
            let now = self.runtime.wall_clock();
            if row.key.revoked_at.replace(now).is_some() {
                return Err(missing());
            }
            let ApiKey { agents, dialect, expires_at, label, .. } = row.key.clone();
            let lifetime = expires_at.map(|expires_at| expires_at.saturating_since(now));
            let mut batch = Batch::default();
            batch.put(put(&row, Expect::Revision(record.revision))?).add(Add::new(CounterKey::new(tenant, KEYS), -1));
            let made = self.make(&mut batch, tenant, NewApiKey { agents, dialect, label, lifetime })?;
            match self.store.commit(batch).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                result => return result.map(|_| made),
            }
        }
        Err(Error::new(ErrorKind::Conflict, "keys.regenerate", "the key was changed by others too often"))
    }

    fn make(&self, batch: &mut Batch, tenant: TenantId, new: NewApiKey) -> Result<(ApiKey, String)> {
        if new.agents.is_some() && new.dialect != Dialect::VoxCore {
            let message = "only VoxCore's keys are for some agents alone";
            return Err(Error::new(ErrorKind::ConfigInvalid, "keys.create", message));
        }
        let now = self.runtime.wall_clock();
        let text = format!("{}{}", prefix(new.dialect), random_text(&*self.runtime));
        let key = ApiKey {
            agents: new.agents,
            created_at: now,
            dialect: new.dialect,
            expires_at: new.lifetime.map(|lifetime| now + lifetime),
            hint: text[text.len() - 4..].to_owned(),
            id: ApiKeyId::generate(&*self.runtime),
            label: new.label,
            revoked_at: None,
            tenant,
        };
        batch.put(put(&Row { hash: hash(&text), key: key.clone() }, Expect::Absent)?).add(Add {
            counter: CounterKey::new(tenant, KEYS),
            delta: 1,
            floor: None,
            ceiling: Some(KEYS_MAX.into()),
            crossing: None,
        });
        Ok((key, text))
    }

    /// The key whose text this is, if it opens `dialect` now. `Unauthenticated` otherwise, whatever the reason.
    pub async fn authenticate(&self, dialect: Dialect, text: &str) -> Result<ApiKey> {
        let refused = || Error::new(ErrorKind::Unauthenticated, "keys.authenticate", "the key opens nothing here");
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            return Err(refused());
        }
        let (hash, version) = (hash(text), self.store.version(None, API_KEY));
        let key = self.known.recall(version, &hash, || self.find(&hash), |_| true).await?.ok_or_else(refused)?;
        let now = self.runtime.wall_clock();
        let is_alive = key.revoked_at.is_none() && key.expires_at.is_none_or(|expires_at| now < expires_at);
        if is_alive && key.dialect == dialect { Ok(key) } else { Err(refused()) }
    }

    async fn find(&self, hash: &str) -> Result<Option<ApiKey>> {
        let page = self.store.list(Query::new(None, API_KEY).equal("hash", hash).limit(1)).await?;
        page.records.first().map(|row| from_value::<Row>(&row.body).map(|row| row.key)).transpose()
    }

    /// The tenant's keys, the oldest first.
    pub async fn list(&self, tenant: TenantId) -> Result<Vec<ApiKey>> {
        let page = self.store.list(Query::new(Some(tenant), API_KEY).order(Order::IdAscending)).await?;
        page.records.iter().map(|row| from_value::<Row>(&row.body).map(|row| row.key)).collect()
    }

    /// Takes a key away; a second time changes nothing. `NotFound` when there is none.
    pub async fn revoke(&self, tenant: TenantId, key: ApiKeyId) -> Result<ApiKey> {
        for _ in 0..CONFLICTS_MAX {
            let Some(record) = self.store.get(RecordKey::new(tenant, API_KEY, key)).await? else {
                return Err(Error::new(ErrorKind::NotFound, "keys.revoke", "there is no such key"));
            };
            let mut row: Row = from_value(&record.body)?;
            if row.key.revoked_at.is_some() {
                return Ok(row.key);
            }
            row.key.revoked_at = Some(self.runtime.wall_clock());
            let mut batch = Batch::default();
            batch.put(put(&row, Expect::Revision(record.revision))?).add(Add::new(CounterKey::new(tenant, KEYS), -1));
            match self.store.commit(batch).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                result => return result.map(|_| row.key),
            }
        }
        Err(Error::new(ErrorKind::Conflict, "keys.revoke", "the key was changed by others too often"))
    }
}

/// What keys to a dialect begin with (X17).
pub fn prefix(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Dialai => "da_",
        Dialect::Dialflo => "df_",
        Dialect::Dialro => "dkl_",
        Dialect::VoxCore => "vx_",
        Dialect::VoxStack => "va_",
    }
}

/// Text that nobody guesses.
pub(super) fn random_text(runtime: &dyn Runtime) -> String {
    let mut text = String::with_capacity(RANDOM_CHARS);
    let mut bytes = [0; 2 * RANDOM_CHARS];
    // Bytes beyond the last whole round of the alphabet would favour its first letters.
    let limit = u8::MAX - u8::MAX % 62;
    while text.len() < RANDOM_CHARS {
        runtime.fill_random(&mut bytes);
        let chars = bytes.iter().filter(|byte| **byte < limit);
        let chars = chars.map(|byte| char::from(ALPHABET[usize::from(*byte % 62)]));
        text.extend(chars.take(RANDOM_CHARS - text.len()));
    }
    text
}

/// What is kept of such a text.
pub(super) fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

fn put(row: &Row, expect: Expect) -> Result<Put> {
    let put = Put::new(RecordKey::new(row.key.tenant, API_KEY, row.key.id), expect, to_value(row)?);
    Ok(put.index("hash", row.hash.as_str()))
}
