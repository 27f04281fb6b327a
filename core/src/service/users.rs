//! Users: the people who manage tenants. One has an address and a password, and may be a member of several tenants.
//!
//! Nobody proves an email address here, so no address belongs to anybody: whoever accepts an invitation with the password of
//! a user of that address joins as that user, and with another password as a user of its own. In a tenant an address is one
//! member's. Passwords are hashed by whoever asks for them, and kept as text in the form of the Password Hashing Competition.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::keys::{TEXT_BYTES_MAX, hash, random_text};
use super::rows;
use super::webhooks::{from_value, to_value};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{TenantId, UserId};
use crate::provider::Store;
use crate::provider::store::{Batch, Expect, LIMIT_MAX, Order, Put, Query, Record, RecordKey};
use crate::runtime::Runtime;
use crate::time::Timestamp;

/// The record kind of users.
pub const USER: &str = "user";

/// The record kind of a user's place in a tenant, by its address.
pub const MEMBER: &str = "member";

/// The record kind of invitations to a tenant, by the address that they are for.
pub const INVITATION: &str = "invitation";

/// Bytes of an email address at most (RFC 5321, 4.5.3.1.3).
pub const EMAIL_BYTES_MAX: usize = 254;

/// Bytes of a name at most.
pub const NAME_BYTES_MAX: usize = 200;

/// How long an invitation can be accepted.
pub const INVITATION_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Users of one address that are looked for where no tenant is named, the oldest first.
pub const SAME_ADDRESS_MAX: u32 = 8;

/// Invitations that have expired are removed when one is made, so many of them at most.
const SWEEP_MAX: u32 = 100;

/// What a sweep that broke off leaves is removed after this.
const SWEEP_LEASE: Duration = Duration::from_secs(60);

/// Whose the records are that are no tenant's.
pub(super) const EVERYBODY: TenantId = TenantId::from_uuid(Uuid::nil());

/// A person.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// When it was made.
    pub created_at: Timestamp,
    /// In lower case.
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
    /// No other member of the tenant may have it.
    pub email: String,
    /// For people.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// Somebody who may become a member of a tenant.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Invitation {
    /// For whom, in lower case.
    pub email: String,
    /// From then on it opens nothing.
    pub expires_at: Timestamp,
    /// For people.
    pub name: String,
    /// What it may do there.
    pub role: Role,
    /// Where.
    pub tenant: TenantId,
}

/// As whom somebody accepts an invitation.
#[derive(Clone, Debug)]
pub enum Guest {
    /// As this user, which has shown its password; that stays as it is.
    Known(User),
    /// As a new user, with that hash of a password.
    New {
        /// In the form of the Password Hashing Competition.
        password_hash: String,
    },
}

/// The users of all tenants.
#[derive(Clone)]
pub struct Users {
    runtime: Arc<dyn Runtime>,
    store: Arc<dyn Store>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Row {
    password_hash: String,
    #[serde(flatten)]
    user: User,
}

#[derive(Serialize, Deserialize)]
struct InvitationRow {
    hash: String,
    #[serde(flatten)]
    invitation: Invitation,
}

impl Users {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, store: Arc<dyn Store>) -> Self {
        Self { runtime, store }
    }

    /// Makes a user with that hash of a password, and a member of the tenant.
    ///
    /// `ConfigInvalid` for what is no email address and for a name that is too long, `Conflict` when a member of the tenant
    /// has the address.
    pub async fn create(&self, tenant: TenantId, new: NewUser, password_hash: String) -> Result<Member> {
        let email = normal(&new.email);
        check(&email, &new.name)?;
        let mut batch = Batch::default();
        let user = self.make(&mut batch, email, new.name, password_hash)?;
        let member = self.place(&mut batch, tenant, user, new.role)?;
        self.store.commit(batch).await.map_err(taken).map(|_| member)
    }

    /// Invites somebody to the tenant. The text that is returned lets its bearer [accept](Self::accept), once, and for
    /// [`INVITATION_LIFETIME`]; what an earlier invitation of the address gave opens nothing any more. Until then nothing is
    /// written but the invitation.
    ///
    /// Errors as [`Users::create`].
    pub async fn invite(&self, tenant: TenantId, new: NewUser) -> Result<(Invitation, String)> {
        let email = normal(&new.email);
        check(&email, &new.name)?;
        if self.store.get(RecordKey::new(tenant, MEMBER, &email)).await?.is_some() {
            return Err(Error::new(ErrorKind::Conflict, "users.invite", "a member has that email address already"));
        }
        let (now, text) = (self.runtime.wall_clock(), random_text(&*self.runtime));
        let expires_at = now + INVITATION_LIFETIME;
        let invitation = Invitation { email, expires_at, name: new.name, role: new.role, tenant };
        let row = InvitationRow { hash: hash(&text), invitation };
        let mut batch = Batch::default();
        for record in self.store.claim(INVITATION.to_owned(), now, SWEEP_LEASE, SWEEP_MAX).await? {
            batch.delete(record.key, Expect::Any);
        }
        let key = RecordKey::new(tenant, INVITATION, &row.invitation.email);
        batch.put(Put::new(key, Expect::Any, to_value(&row)?).index("hash", row.hash.as_str()).due_at(expires_at));
        self.store.commit(batch).await?;
        Ok((row.invitation, text))
    }

    /// The invitation of that address that `text` opens. `Unauthenticated` when it opens none, or none any more.
    pub async fn invitation(&self, email: &str, text: &str) -> Result<Invitation> {
        self.invited(email, text).await.map(|(_, invitation)| invitation)
    }

    /// Makes whoever has the text of an invitation a member of the tenant.
    ///
    /// `Unauthenticated` when the text is no invitation of that address, or not any more, and for a user of another address;
    /// `Conflict` when a member of the tenant has the address by now.
    pub async fn accept(&self, email: &str, text: &str, guest: Guest) -> Result<Member> {
        let (record, Invitation { email, name, role, tenant, .. }) = self.invited(email, text).await?;
        let mut batch = Batch::default();
        batch.delete(record.key, Expect::Revision(record.revision));
        let user = match guest {
            Guest::Known(user) if user.email == email => user,
            Guest::Known(_) => return Err(refused()),
            Guest::New { password_hash } => self.make(&mut batch, email, name, password_hash)?,
        };
        let member = self.place(&mut batch, tenant, user, role)?;
        self.store.commit(batch).await.map_err(taken).map(|_| member)
    }

    /// The users of that address, with the hashes of their passwords: in a tenant at most one, in all of them
    /// [`SAME_ADDRESS_MAX`], the oldest.
    pub async fn find(&self, email: &str, tenant: Option<TenantId>) -> Result<Vec<(User, String)>> {
        let email = normal(email);
        if email.is_empty() || email.len() > EMAIL_BYTES_MAX {
            return Ok(Vec::new());
        }
        let rows: Vec<Row> = match tenant {
            Some(tenant) => {
                let member: Option<Member> = rows::get(&*self.store, RecordKey::new(tenant, MEMBER, &email)).await?;
                let row = match member {
                    Some(member) => rows::get(&*self.store, user_key(member.user.id)).await?,
                    None => None,
                };
                row.into_iter().collect()
            }
            None => {
                let query = Query::new(Some(EVERYBODY), USER).equal("email", email.as_str());
                let page = self.store.list(query.order(Order::IdAscending).limit(SAME_ADDRESS_MAX)).await?;
                page.records.iter().map(|record| from_value(&record.body)).collect::<Result<_>>()?
            }
        };
        Ok(rows.into_iter().map(|row| (row.user, row.password_hash)).collect())
    }

    /// Makes a user a member of one more tenant. `Conflict` when a member of it has the address.
    pub async fn join(&self, tenant: TenantId, user: User, role: Role) -> Result<Member> {
        let mut batch = Batch::default();
        let member = self.place(&mut batch, tenant, user, role)?;
        self.store.commit(batch).await.map_err(taken).map(|_| member)
    }

    /// The user's place in the tenant, if it has one.
    pub async fn member(&self, tenant: TenantId, user: UserId) -> Result<Option<Member>> {
        let query = Query::new(Some(tenant), MEMBER).equal("user", user.to_string()).limit(1);
        Ok(self.members(query).await?.into_iter().next())
    }

    /// The tenant's members, the oldest first; at most [`LIMIT_MAX`].
    pub async fn list(&self, tenant: TenantId) -> Result<Vec<Member>> {
        let mut members = self.members(Query::new(Some(tenant), MEMBER).limit(LIMIT_MAX)).await?;
        members.sort_by_key(|member| (member.joined_at, member.user.id));
        Ok(members)
    }

    /// The user's places in tenants, those of the oldest tenants first; at most [`LIMIT_MAX`].
    pub async fn memberships(&self, user: UserId) -> Result<Vec<Member>> {
        let query = Query::new(None, MEMBER).equal("user", user.to_string()).limit(LIMIT_MAX);
        let mut members = self.members(query).await?;
        members.sort_by_key(|member| member.tenant);
        Ok(members)
    }

    /// Removes a member, and the user with its last membership.
    pub(super) async fn leave(&self, member: &Member) -> Result<()> {
        let mut batch = Batch::default();
        batch.delete(RecordKey::new(member.tenant, MEMBER, &member.user.email), Expect::Any);
        let is_elsewhere = |place: &Member| place.tenant != member.tenant;
        if !self.memberships(member.user.id).await?.iter().any(is_elsewhere) {
            batch.delete(user_key(member.user.id), Expect::Any);
        }
        self.store.commit(batch).await.map(|_| ())
    }

    async fn members(&self, query: Query) -> Result<Vec<Member>> {
        let page = self.store.list(query).await?;
        page.records.iter().map(|record| from_value(&record.body)).collect()
    }

    async fn invited(&self, email: &str, text: &str) -> Result<(Record, Invitation)> {
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            return Err(refused());
        }
        let query = Query::new(None, INVITATION).equal("hash", hash(text)).limit(1);
        let record = self.store.list(query).await?.records.into_iter().next().ok_or_else(refused)?;
        let InvitationRow { invitation, .. } = from_value(&record.body)?;
        let is_alive = self.runtime.wall_clock() < invitation.expires_at;
        if is_alive && invitation.email == normal(email) { Ok((record, invitation)) } else { Err(refused()) }
    }

    fn make(&self, batch: &mut Batch, email: String, name: String, password_hash: String) -> Result<User> {
        let user = User { created_at: self.runtime.wall_clock(), email, id: UserId::generate(&*self.runtime), name };
        let row = Row { password_hash, user };
        let put = Put::new(user_key(row.user.id), Expect::Absent, to_value(&row)?);
        batch.put(put.index("email", row.user.email.as_str()));
        Ok(row.user)
    }

    fn place(&self, batch: &mut Batch, tenant: TenantId, user: User, role: Role) -> Result<Member> {
        let member = Member { joined_at: self.runtime.wall_clock(), role, tenant, user };
        // By its address, so that no two members have one.
        let key = RecordKey::new(tenant, MEMBER, &member.user.email);
        batch.put(Put::new(key, Expect::Absent, to_value(&member)?).index("user", member.user.id.to_string()));
        Ok(member)
    }
}

fn user_key(user: UserId) -> RecordKey {
    RecordKey::new(EVERYBODY, USER, user)
}

fn refused() -> Error {
    Error::new(ErrorKind::Unauthenticated, "users.accept", "the invitation opens nothing here")
}

fn taken(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Conflict => Error::new(ErrorKind::Conflict, "users.add", "a member has that email address already"),
        _ => error,
    }
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
