//! Sessions: who is logged in, for a while. What opens one is kept as a hash.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::keys::{TEXT_BYTES_MAX, hash, random_text};
use super::rows;
use super::users::{EVERYBODY, Member};
use super::webhooks::to_value;
use crate::error::Result;
use crate::ids::{TenantId, UserId};
use crate::provider::Store;
use crate::provider::store::{Batch, Expect, Put, RecordKey};
use crate::runtime::Runtime;
use crate::time::Timestamp;

/// The record kind of sessions.
pub const SESSION: &str = "session";

/// How long a session lives.
pub const LIFETIME: Duration = Duration::from_secs(12 * 3_600);

/// Sessions that are over are removed when one begins, so many of them at most.
const SWEEP_MAX: u32 = 100;

/// What a sweep that broke off leaves is removed after this.
const SWEEP_LEASE: Duration = Duration::from_secs(60);

/// Somebody who is logged in.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// From then on it opens nothing.
    pub expires_at: Timestamp,
    /// For which tenant.
    pub tenant: TenantId,
    /// Who.
    pub user: UserId,
}

/// All sessions.
#[derive(Clone)]
pub struct Sessions {
    runtime: Arc<dyn Runtime>,
    store: Arc<dyn Store>,
}

impl Sessions {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, store: Arc<dyn Store>) -> Self {
        Self { runtime, store }
    }

    /// Begins a session; the text that is returned opens it for [`LIFETIME`].
    pub async fn open(&self, member: &Member) -> Result<(Session, String)> {
        let (now, text) = (self.runtime.wall_clock(), random_text(&*self.runtime));
        let session = Session { expires_at: now + LIFETIME, tenant: member.tenant, user: member.user.id };
        let mut batch = Batch::default();
        let put = Put::new(key(&text), Expect::Absent, to_value(&session)?);
        batch.put(put.index("of_tenant", session.tenant.to_string()).due_at(session.expires_at));
        for record in self.store.claim(SESSION.to_owned(), now, SWEEP_LEASE, SWEEP_MAX).await? {
            batch.delete(record.key, Expect::Any);
        }
        self.store.commit(batch).await?;
        Ok((session, text))
    }

    /// The session that `text` opens, if it has not expired.
    pub async fn get(&self, text: &str) -> Result<Option<Session>> {
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            return Ok(None);
        }
        let session: Option<Session> = rows::get(&*self.store, key(text)).await?;
        Ok(session.filter(|session| self.runtime.wall_clock() < session.expires_at))
    }

    /// Ends the session that `text` opens. Ending none is not an error.
    pub async fn close(&self, text: &str) -> Result<()> {
        let mut batch = Batch::default();
        batch.delete(key(text), Expect::Any);
        self.store.commit(batch).await.map(|_| ())
    }
}

/// What a page must send along with what it changes, so that no other page can do it in its place: known to whoever can
/// read the session's own pages.
pub fn csrf_token(text: &str) -> String {
    hash(&format!("csrf\n{text}"))
}

/// Whether `token` is the one of the session that `text` opens.
pub fn is_csrf_token(token: &str, text: &str) -> bool {
    token.as_bytes().ct_eq(csrf_token(text).as_bytes()).into()
}

fn key(text: &str) -> RecordKey {
    RecordKey::new(EVERYBODY, SESSION, hash(text))
}
