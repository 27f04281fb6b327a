//! The people of a tenant.

use offhook::ErrorKind;
use offhook::service::users::{Member, NewUser, Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::envelope::{Envelope, Failure, Made, Pagination, Told};
use super::session::Managed;
use crate::problem::Problem;
use crate::request::Body;

/// A member as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::User)]
pub(super) struct Shown {
    #[schema(format = "uuid")]
    id: String,
    email: String,
    name: String,
    #[schema(pattern = "^(admin|member)$")]
    role: &'static str,
    #[schema(format = "date-time")]
    joined_at: String,
}

/// Somebody to be invited.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = voxstack::Invitation)]
pub(super) struct Invite {
    #[schema(format = "email")]
    email: String,
    #[serde(default)]
    #[schema(max_length = 200)]
    name: String,
    /// `admin` or `member`; the latter unless told.
    role: Option<String>,
}

/// Somebody who was invited, and what lets it become a member.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::Invited)]
pub(super) struct Invited {
    email: String,
    name: String,
    #[schema(pattern = "^(admin|member)$")]
    role: &'static str,
    /// For `/auth/accept`; to be handed to whom it is for.
    invitation_token: String,
    #[schema(format = "date-time")]
    expires_at: String,
}

/// The tenant's members, the oldest first.
#[utoipa::path(get, operation_id = "list_users", path = "/users", tag = "management", security(("session" = [])), responses((status = 200, body = Envelope<Vec<Shown>>), (status = 401, body = Failure), (status = 403, body = Failure)))]
pub(super) async fn list(managed: Managed) -> Told<Vec<Shown>> {
    let members = managed.ask.engine().users().list(managed.ask.tenant).await?;
    managed.ask.list(members.iter().map(Shown::of).collect(), Pagination::whole(members.len()))
}

/// Invites somebody, who is a member once the invitation is accepted; an earlier one of that address opens nothing then.
#[utoipa::path(post, operation_id = "invite_user", path = "/users/invite", tag = "management", security(("session" = [])), request_body = Invite, responses((status = 201, body = Envelope<Invited>), (status = 400, body = Failure), (status = 401, body = Failure), (status = 403, body = Failure)))]
pub(super) async fn invite(managed: Managed, body: Body<Invite>) -> Made<Invited> {
    managed.require_admin()?;
    let invite = body.read()?;
    let role = match invite.role.as_deref() {
        Some("admin") => Role::Admin,
        None | Some("member") => Role::Member,
        Some(_) => return Err(Problem::invalid("role", "is not one of admin, member")),
    };
    let new = NewUser { email: invite.email, name: invite.name, role };
    let invited = managed.ask.engine().users().invite(managed.ask.tenant, new).await;
    let (invitation, token) = invited.map_err(|error| match error.kind() {
        ErrorKind::ConfigInvalid | ErrorKind::Conflict => Problem::invalid("email", error.message()),
        _ => error.into(),
    })?;
    managed.ask.made(Invited {
        email: invitation.email,
        name: invitation.name,
        role: word(invitation.role),
        invitation_token: token,
        expires_at: invitation.expires_at.to_string(),
    })
}

/// The vendor has no word for it; this is ours.
pub(super) fn word(role: Role) -> &'static str {
    match role {
        Role::Admin => "admin",
        Role::Member => "member",
    }
}

impl Shown {
    pub(super) fn of(member: &Member) -> Self {
        Self {
            id: member.user.id.to_string(),
            email: member.user.email.clone(),
            name: member.user.name.clone(),
            role: word(member.role),
            joined_at: member.joined_at.to_string(),
        }
    }
}
