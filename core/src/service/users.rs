//! Users: the people who manage tenants. One is known by an email address, and may be a member of several tenants.
//!
//! Passwords are hashed by whoever asks for them, and kept as text in the form of the Password Hashing Competition.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::keys::{hash, random_text};
use super::rows;
use super::webhooks::{from_value, to_value};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{TenantId, UserId};
use crate::provider::Store;
use crate::provider::store::{Batch, Expect, LIMIT_MAX, Order, Put, Query, RecordKey};
use crate::runtime::Runtime;
use crate::time::Timestamp;

/// The record kind of users.
pub const USER: &str = "user";

/// The record kind of a user's place in a tenant.
pub const MEMBER: &str = "member";

/// Bytes of an email address at most (RFC 5321, 4.5.3.1.3).
pub const EMAIL_BYTES_MAX: usize = 254;

/// Bytes of a name at most.
pub const NAME_BYTES_MAX: usize = 200;

/// How long an invitation can be accepted.
pub const INVITATION_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Whose the records are that are no tenant's.
pub(super) const EVERYBODY: TenantId = TenantId::from_uuid(Uuid::nil());

/// A person.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// When it was made.
    pub created_at: Timestamp,
    /// In lower case; no other user has it.
    pub email: String,
    /// The user.
    pub id: UserId,
    /// For people.
    pub name: String,
}

/// A user's place in a tenant.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Since when.
    pub joined_at: Timestamp,
    /// What it may do.
    pub role: Role,
    /// Where.
    pub tenant: TenantId,
    /// Who.
    pub user: User,
}

/// What a member may do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Look.
    #[default]
    Member,
}

/// A user to be made.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// No other user may have it.
    pub email: String,
    /// For people.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// The users of all tenants.
#[derive(Clone)]
pub struct Users {
    runtime: Arc<dyn Runtime>,
    store: Arc<dyn Store>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Row {
    invitation: Option<Invitation>,
    password_hash: Option<String>,
    #[serde(flatten)]
    user: User,
}

#[derive(Clone, Serialize, Deserialize)]
struct Invitation {
    expires_at: Timestamp,
    hash: String,
}

impl Users {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, store: Arc<dyn Store>) -> Self {
        Self { runtime, store }
    }

    /// Makes a user with that hash of a password, and a member of the tenant.
    ///
    /// `ConfigInvalid` for what is no email address and for a name that is too long, `Conflict` when the address is taken.
    pub async fn create(&self, tenant: TenantId, new: NewUser, password_hash: String) -> Result<Member> {
        self.add(tenant, new, Some(password_hash), None).await
    }

    /// Makes a user without a password, and a member of the tenant. The text that is returned lets it choose a password,
    /// once, and for [`INVITATION_LIFETIME`].
    ///
    /// Errors as [`Users::create`].
    pub async fn invite(&self, tenant: TenantId, new: NewUser) -> Result<(Member, String, Timestamp)> {
        let text = random_text(&*self.runtime);
        let expires_at = self.runtime.wall_clock() + INVITATION_LIFETIME;
        let invitation = Invitation { expires_at, hash: hash(&text) };
        let member = self.add(tenant, new, None, Some(invitation)).await?;
        Ok((member, text, expires_at))
    }

    /// Gives an invited user its password. `Unauthenticated` when the text is no invitation of it, or not any more.
    pub async fn accept(&self, email: &str, text: &str, password_hash: &str) -> Result<User> {
        let refused = || Error::new(ErrorKind::Unauthenticated, "users.accept", "the invitation opens nothing here");
        let now = self.runtime.wall_clock();
        let accept = |row: &mut Row| {
            let invitation = row.invitation.take().filter(|invitation| now < invitation.expires_at);
            let is_right = |kept: &Invitation| bool::from(kept.hash.as_bytes().ct_eq(hash(text).as_bytes()));
            invitation.filter(is_right).ok_or_else(refused)?;
            row.password_hash = Some(password_hash.to_owned());
            Ok(())
        };
        let row = rows::change(&*self.store, key(&normal(email)), accept, put).await?;
        row.map(|row| row.user).ok_or_else(refused)
    }

    /// The user of that address, and the hash of its password if it has one.
    pub async fn find(&self, email: &str) -> Result<Option<(User, Option<String>)>> {
        let email = normal(email);
        if email.is_empty() || email.len() > EMAIL_BYTES_MAX {
            return Ok(None);
        }
        let row: Option<Row> = rows::get(&*self.store, key(&email)).await?;
        Ok(row.map(|row| (row.user, row.password_hash)))
    }

    /// Makes a user a member of one more tenant. A member already takes the role.
    pub async fn join(&self, tenant: TenantId, user: User, role: Role) -> Result<Member> {
        let member = Member { joined_at: self.runtime.wall_clock(), role, tenant, user };
        let mut batch = Batch::default();
        batch.put(put_member(&member, Expect::Any)?);
        self.store.commit(batch).await.map(|_| member)
    }

    /// The user's place in the tenant, if it has one.
    pub async fn member(&self, tenant: TenantId, user: UserId) -> Result<Option<Member>> {
        rows::get(&*self.store, RecordKey::new(tenant, MEMBER, user)).await
    }

    /// The tenant's members, the oldest first; at most [`LIMIT_MAX`].
    pub async fn list(&self, tenant: TenantId) -> Result<Vec<Member>> {
        self.members(Query::new(Some(tenant), MEMBER)).await
    }

    /// The user's places in tenants, those of the oldest tenants first; at most [`LIMIT_MAX`].
    pub async fn memberships(&self, user: UserId) -> Result<Vec<Member>> {
        let mut members = self.members(Query::new(None, MEMBER).equal("user", user.to_string())).await?;
        members.sort_by_key(|member| member.tenant);
        Ok(members)
    }

    async fn members(&self, query: Query) -> Result<Vec<Member>> {
        let page = self.store.list(query.order(Order::IdAscending).limit(LIMIT_MAX)).await?;
        page.records.iter().map(|record| from_value(&record.body)).collect()
    }

    async fn add(
        &self,
        tenant: TenantId,
        new: NewUser,
        password_hash: Option<String>,
        invitation: Option<Invitation>,
    ) -> Result<Member> {
        let email = normal(&new.email);
        check(&email, &new.name)?;
        let now = self.runtime.wall_clock();
        let user = User { created_at: now, email, id: UserId::generate(&*self.runtime), name: new.name };
        let member = Member { joined_at: now, role: new.role, tenant, user: user.clone() };
        let mut batch = Batch::default();
        batch.put(put(&Row { invitation, password_hash, user }, Expect::Absent)?);
        batch.put(put_member(&member, Expect::Absent)?);
        match self.store.commit(batch).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                Err(Error::new(ErrorKind::Conflict, "users.add", "the email address is taken"))
            }
            result => result.map(|_| member),
        }
    }
}

/// By its address, so that no two users have one.
fn key(email: &str) -> RecordKey {
    RecordKey::new(EVERYBODY, USER, email)
}

fn put(row: &Row, expect: Expect) -> Result<Put> {
    Ok(Put::new(key(&row.user.email), expect, to_value(row)?))
}

fn put_member(member: &Member, expect: Expect) -> Result<Put> {
    let key = RecordKey::new(member.tenant, MEMBER, member.user.id);
    Ok(Put::new(key, expect, to_value(member)?).index("user", member.user.id.to_string()))
}

/// Nobody has two mailboxes that differ in case alone.
fn normal(email: &str) -> String {
    email.trim().to_lowercase()
}

/// Whether mail arrives is found out by sending some; this only keeps out what is no address.
fn check(email: &str, name: &str) -> Result<()> {
    let invalid = |message| Error::new(ErrorKind::ConfigInvalid, "users.add", message);
    let has_parts = email.rsplit_once('@').is_some_and(|(local, host)| !local.is_empty() && host.contains('.'));
    let is_plain = email.chars().all(|c| !c.is_whitespace() && !c.is_control());
    if !has_parts || !is_plain || email.len() > EMAIL_BYTES_MAX {
        return Err(invalid("that is no email address"));
    }
    if name.len() > NAME_BYTES_MAX { Err(invalid("a name has at most 200 bytes")) } else { Ok(()) }
}
