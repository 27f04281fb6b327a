//! Where a tenant wants its events.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::EventName;
use super::{from_value, to_value};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::TenantId;
use crate::provider::Store;
use crate::provider::store::{Batch, Expect, Put, RecordKey};
use crate::service::outbox::Scheme;
use crate::service::vault::Vault;
use crate::signing::{Secret, standard};
use crate::time::Timestamp;

/// The record kind of endpoints.
pub const ENDPOINT: &str = "webhook_endpoint";

/// Bytes in an endpoint's id at most.
pub const ENDPOINT_ID_BYTES_MAX: usize = 64;

/// Bytes in a secret of the customer's own at most, as it is written.
pub const SECRET_BYTES_MAX: usize = 256;

/// How long the secret before the last is kept alive at most.
pub const OVERLAP_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Secrets of an endpoint that are alive at once.
const SECRETS_MAX: usize = 2;

/// How often a change is tried that others keep overtaking.
const CONFLICTS_MAX: u32 = 8;

/// Where a tenant wants its events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// When it was registered.
    pub created_at: Timestamp,
    /// What it is told of; never empty, each once.
    pub events: Vec<EventName>,
    /// In which form.
    pub form: Form,
    /// When it answered 410 (Gone), which switched it off.
    pub gone_at: Option<Timestamp>,
    /// Unique in the tenant.
    pub id: String,
    /// Whether it is told of anything. What is pending when it is switched off is given up, and can be sent again by hand.
    pub is_active: bool,
    /// Where it is.
    pub url: String,
}

/// The form of bodies and signatures.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// `{"event", "timestamp", "data"}`, signed as `X-Dialro-Signature: sha256=…`.
    Dialro,
    /// [Standard Webhooks](crate::signing::standard).
    #[default]
    Native,
}

/// An endpoint to be registered. Its `Debug` form does not show the secret.
#[derive(Clone)]
#[non_exhaustive]
pub struct NewEndpoint {
    /// What it is told of.
    pub events: Vec<EventName>,
    /// In which form.
    pub form: Form,
    /// The customer's own secret; `None` makes one.
    pub secret: Option<String>,
    /// Where it is.
    pub url: String,
}

impl fmt::Debug for NewEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, form, secret: _, url } = self;
        f.debug_struct("NewEndpoint")
            .field("events", events)
            .field("form", form)
            .field("url", url)
            .finish_non_exhaustive()
    }
}

impl NewEndpoint {
    /// An endpoint in our own form that is told of everything, with a secret that is made for it.
    pub fn new(url: impl Into<String>) -> Self {
        Self { events: EventName::ALL.to_vec(), form: Form::Native, secret: None, url: url.into() }
    }
}

/// What to change of an endpoint; `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct EndpointChange {
    /// What it is told of.
    pub events: Option<Vec<EventName>>,
    /// Whether it is told of anything. Switching it on forgets that it was gone.
    pub is_active: Option<bool>,
    /// Where it is.
    pub url: Option<String>,
}

/// An endpoint as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    #[serde(flatten)]
    pub(super) endpoint: Endpoint,
    /// The newest first.
    secrets: Vec<Sealed>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sealed {
    /// When it dies; the newest does not.
    until: Option<Timestamp>,
    /// The secret as the customer writes it, sealed.
    text: String,
}

impl Form {
    fn scheme(self) -> Scheme {
        match self {
            Self::Dialro => Scheme::Body("x-dialro-signature".to_owned()),
            Self::Native => Scheme::Standard,
        }
    }

    /// The key that a secret is written for. `ConfigInvalid` when it is none, or too long.
    fn key(self, text: &str) -> Result<Secret> {
        if text.is_empty() || text.len() > SECRET_BYTES_MAX {
            return Err(invalid("the secret is empty or too long"));
        }
        match self {
            Self::Dialro => Ok(Secret::new(text)),
            Self::Native => standard::parse_secret(text),
        }
    }
}

impl Row {
    pub(super) fn new(vault: &Vault, tenant: TenantId, endpoint: Endpoint, secret: &str) -> Result<Self> {
        endpoint.form.key(secret)?;
        let text = vault.seal(&context(tenant, &endpoint.id), secret.as_bytes())?;
        Ok(Self { endpoint, secrets: vec![Sealed { until: None, text }] })
    }

    pub(super) fn put(&self, tenant: TenantId, expect: Expect) -> Result<Put> {
        Ok(Put::new(RecordKey::new(tenant, ENDPOINT, &self.endpoint.id), expect, to_value(self)?))
    }

    /// Puts a new secret in front; the one before it lives on for `overlap`, and any other dies.
    pub(super) fn rotate(
        &mut self,
        vault: &Vault,
        tenant: TenantId,
        secret: &str,
        overlap: Duration,
        now: Timestamp,
    ) -> Result<()> {
        self.endpoint.form.key(secret)?;
        let text = vault.seal(&context(tenant, &self.endpoint.id), secret.as_bytes())?;
        if let Some(last) = self.secrets.first_mut() {
            last.until = Some(now + overlap.min(OVERLAP_MAX));
        }
        self.secrets.insert(0, Sealed { until: None, text });
        self.secrets.truncate(SECRETS_MAX);
        Ok(())
    }

    /// The keys that are alive, the newest first.
    fn keys(&self, vault: &Vault, tenant: TenantId, now: Timestamp) -> Result<Vec<Secret>> {
        let context = context(tenant, &self.endpoint.id);
        let alive = self.secrets.iter().filter(|secret| secret.until.is_none_or(|until| until > now));
        let key = |secret: &Sealed| {
            let text = vault.open(&context, &secret.text)?;
            self.endpoint.form.key(&String::from_utf8_lossy(text.expose()))
        };
        alive.map(key).collect()
    }
}

/// `ConfigInvalid` unless it is made of 1 to [`ENDPOINT_ID_BYTES_MAX`] lower-case letters, digits, `_` and `-`.
pub(super) fn check_id(id: &str) -> Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    if id.is_empty() || id.len() > ENDPOINT_ID_BYTES_MAX || !id.bytes().all(is_plain) {
        return Err(invalid("an endpoint's id is made of lower-case letters, digits, _ and -"));
    }
    Ok(())
}

/// Each event once, in order. `ConfigInvalid` for none, and for one that cannot be asked for.
pub(super) fn check_events(mut events: Vec<EventName>) -> Result<Vec<EventName>> {
    if events.is_empty() || events.contains(&EventName::WebhookTest) {
        return Err(invalid("an endpoint asks for at least one event, and for none but those that there are"));
    }
    events.sort_unstable();
    events.dedup();
    Ok(events)
}

pub(super) async fn load(store: &dyn Store, tenant: TenantId, id: &str) -> Result<Option<(Row, u64)>> {
    let record = store.get(RecordKey::new(tenant, ENDPOINT, id)).await?;
    record.map(|record| Ok((from_value(&record.body)?, record.revision))).transpose()
}

/// Changes an endpoint. `NotFound` when there is none.
pub(super) async fn change(
    store: &dyn Store,
    tenant: TenantId,
    id: &str,
    mut change: impl FnMut(&mut Row) -> Result<()> + Send,
) -> Result<Endpoint> {
    for _ in 0..CONFLICTS_MAX {
        let (mut row, revision) = load(store, tenant, id).await?.ok_or_else(missing)?;
        change(&mut row)?;
        let mut batch = Batch::default();
        batch.put(row.put(tenant, Expect::Revision(revision))?);
        match store.commit(batch).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            result => return result.map(|_| row.endpoint),
        }
    }
    Err(Error::new(ErrorKind::Conflict, "webhooks.change", "the endpoint was changed by others too often"))
}

/// Switches an endpoint off that said that it is gone.
pub(crate) async fn disable(store: &dyn Store, tenant: TenantId, id: &str, now: Timestamp) -> Result<()> {
    let gone = |row: &mut Row| {
        row.endpoint.is_active = false;
        row.endpoint.gone_at = Some(now);
        Ok(())
    };
    match change(store, tenant, id, gone).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.map(|_| ()),
    }
}

/// Where an endpoint is, and how what it is sent is signed; `None` when it is no more, or switched off.
pub(crate) async fn destination(
    store: &dyn Store,
    vault: &Vault,
    tenant: TenantId,
    id: &str,
    now: Timestamp,
) -> Result<Option<(String, Scheme, Vec<Secret>)>> {
    let Some((row, _)) = load(store, tenant, id).await?.filter(|(row, _)| row.endpoint.is_active) else {
        return Ok(None);
    };
    let keys = row.keys(vault, tenant, now)?;
    Ok(Some((row.endpoint.url, row.endpoint.form.scheme(), keys)))
}

pub(super) fn missing() -> Error {
    Error::new(ErrorKind::NotFound, "webhooks.get", "there is no such endpoint")
}

/// Where the secrets of an endpoint open.
fn context(tenant: TenantId, id: &str) -> String {
    format!("{tenant}/{ENDPOINT}/{id}/secret")
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::ConfigInvalid, "webhooks.register", message)
}
