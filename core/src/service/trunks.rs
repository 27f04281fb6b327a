//! Trunks: a server's lines to the telephone network, as they are configured. Their passwords are sealed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::rows;
use super::users::EVERYBODY;
use super::vault::Vault;
use super::webhooks::{from_value, to_value};
use crate::error::{Error, ErrorKind, Result};
use crate::provider::Store;
use crate::provider::store::{Batch, Expect, LIMIT_MAX, Order, Put, Query, RecordKey};
use crate::provider::telephony::E164;
use crate::runtime::Runtime;
use crate::signing::Secret;
use crate::time::Timestamp;

/// The record kind of trunks.
pub const TRUNK: &str = "trunk";

/// Bytes of a name at most.
pub const NAME_BYTES_MAX: usize = 32;

/// Bytes of a host or of a user's name at most.
const TEXT_BYTES_MAX: usize = 255;

/// A line to the telephone network.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Trunk {
    /// Shown to those who are called over it by agents without a number of their own.
    pub caller_id: Option<E164>,
    /// When it was added.
    pub created_at: Timestamp,
    /// The carrier's host, with a port behind a colon if it is not the usual one.
    pub host: String,
    /// How it is spoken to.
    pub kind: TrunkKind,
    /// What carriers are called in routes and legs: lower-case letters, digits, `_` and `-`.
    pub name: String,
    /// Who logs in, where the carrier asks for it.
    pub user: Option<String>,
}

/// How a trunk is spoken to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TrunkKind {
    /// The Session Initiation Protocol (RFC 3261).
    Sip,
}

/// A trunk to be added.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "as in a trunk")]
pub struct NewTrunk {
    pub caller_id: Option<E164>,
    pub host: String,
    pub kind: TrunkKind,
    pub name: String,
    /// With the name of a user.
    pub password: Option<Secret>,
    pub user: Option<String>,
}

/// The trunks of a server.
#[derive(Clone)]
pub struct Trunks {
    runtime: Arc<dyn Runtime>,
    store: Arc<dyn Store>,
    vault: Vault,
}

#[derive(Serialize, Deserialize)]
struct Row {
    sealed_password: Option<String>,
    #[serde(flatten)]
    trunk: Trunk,
}

impl Trunks {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, store: Arc<dyn Store>, vault: Vault) -> Self {
        Self { runtime, store, vault }
    }

    /// Adds a trunk.
    ///
    /// `ConfigInvalid` for a name or a host that is none, for a password without a user, and when there is no key to seal it
    /// with; `Conflict` when there is a trunk of that name.
    pub async fn add(&self, new: NewTrunk) -> Result<Trunk> {
        check(&new)?;
        let NewTrunk { caller_id, host, kind, name, password, user } = new;
        let sealed_password =
            password.map(|password| self.vault.seal(&context(&name), password.expose())).transpose()?;
        let trunk = Trunk { caller_id, created_at: self.runtime.wall_clock(), host, kind, name, user };
        let row = Row { sealed_password, trunk };
        let mut batch = Batch::default();
        batch.put(Put::new(key(&row.trunk.name), Expect::Absent, to_value(&row)?));
        match self.store.commit(batch).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                Err(Error::new(ErrorKind::Conflict, "trunks.add", "there is a trunk of that name"))
            }
            result => result.map(|_| row.trunk),
        }
    }

    /// All of them, by name; at most [`LIMIT_MAX`].
    pub async fn list(&self) -> Result<Vec<Trunk>> {
        let query = Query::new(Some(EVERYBODY), TRUNK).order(Order::IdAscending).limit(LIMIT_MAX);
        let page = self.store.list(query).await?;
        page.records.iter().map(|record| from_value::<Row>(&record.body).map(|row| row.trunk)).collect()
    }

    /// The password of a trunk, if it has one. `NotFound` when there is no such trunk.
    pub async fn password(&self, name: &str) -> Result<Option<Secret>> {
        let row: Row = rows::get(&*self.store, key(name)).await?.ok_or_else(missing)?;
        row.sealed_password.map(|sealed| self.vault.open(&context(name), &sealed)).transpose()
    }

    /// Removes a trunk. `NotFound` when there is none of that name.
    pub async fn remove(&self, name: &str) -> Result<()> {
        let record = self.store.get(key(name)).await?.ok_or_else(missing)?;
        let mut batch = Batch::default();
        batch.delete(record.key, Expect::Any);
        self.store.commit(batch).await.map(|_| ())
    }
}

fn check(new: &NewTrunk) -> Result<()> {
    let invalid = |message| Err(Error::new(ErrorKind::ConfigInvalid, "trunks.add", message));
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    let is_text = |text: &str| {
        let is_plain = text.chars().all(|c| !c.is_whitespace() && !c.is_control());
        is_plain && !text.is_empty() && text.len() <= TEXT_BYTES_MAX
    };
    if new.name.is_empty() || new.name.len() > NAME_BYTES_MAX || !new.name.bytes().all(is_plain) {
        return invalid("a name is 1 to 32 lower-case letters, digits, _ and -");
    }
    if !is_text(&new.host) || new.host.contains(['/', '@', '\\']) {
        return invalid("a host is a name or an address, with a port behind a colon");
    }
    match &new.user {
        Some(user) if !is_text(user) => invalid("that is no user's name"),
        None if new.password.is_some() => invalid("a password is some user's"),
        _ => Ok(()),
    }
}

fn key(name: &str) -> RecordKey {
    RecordKey::new(EVERYBODY, TRUNK, name)
}

fn missing() -> Error {
    Error::new(ErrorKind::NotFound, "trunks.get", "there is no such trunk")
}

/// Where the password of a trunk opens.
fn context(name: &str) -> String {
    format!("{EVERYBODY}/{TRUNK}/{name}/password")
}
