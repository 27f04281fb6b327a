//! Logging in and out.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::AppendHeaders;
use offhook::ErrorKind;
use offhook::ids::TenantId;
use offhook::service::sessions;
use offhook::service::users::{Guest, Member, User};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::envelope::{Deleted, Envelope, Failure, Told, envelope};
use super::organizations::Organization;
use super::session::{self, Managed, SESSION_COOKIE, cookie};
use super::users::Shown;
use crate::app::App;
use crate::password;
use crate::problem::{Answer, Kind, Problem};
use crate::request::{Body, JsonOnly, RequestId};

/// Tries of one email address in a minute.
const TRIES_PER_MINUTE: u32 = 10;

/// Who wants in.
#[derive(Deserialize, ToSchema)]
#[schema(as = voxstack::Login)]
pub(super) struct Login {
    #[schema(format = "email")]
    email: String,
    #[schema(format = "password")]
    password: String,
    /// For members of several; the oldest unless told.
    #[schema(format = "uuid")]
    organization_id: Option<String>,
}

/// Who accepts an invitation.
#[derive(Deserialize, ToSchema)]
#[schema(as = voxstack::Acceptance)]
pub(super) struct Acceptance {
    #[schema(format = "email")]
    email: String,
    /// The invitation.
    token: String,
    /// Of the user of that address who accepts; one that is nobody's yet makes a new user.
    #[schema(format = "password", min_length = 8, max_length = 256)]
    password: String,
}

/// Somebody who is logged in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::Session)]
pub(super) struct LoggedIn {
    user: Shown,
    organization: Organization,
    /// To be sent as `X-CSRF-Token` with whatever changes something; also in the cookie `csrf_token`.
    csrf_token: String,
    #[schema(format = "date-time")]
    expires_at: String,
}

/// An answer that sets cookies.
type WithCookies<T> = Answer<(AppendHeaders<[(header::HeaderName, String); 2]>, Json<Envelope<T>>)>;

/// Begins a session, whose cookie opens what API keys do not.
#[utoipa::path(post, operation_id = "log_in", path = "/auth/login", tag = "management", security(()), request_body = Login, responses((status = 200, body = Envelope<LoggedIn>), (status = 400, body = Failure), (status = 401, body = Failure), (status = 429, body = Failure)))]
pub(super) async fn login(
    State(app): State<App>,
    id: RequestId,
    headers: HeaderMap,
    _: JsonOnly,
    body: Body<Login>,
) -> WithCookies<LoggedIn> {
    let Login { email, password, organization_id } = body.read()?;
    let refused = || Problem::new(Kind::Unauthorized, "email address or password are wrong");
    count_try(&app, &email)?;
    // Of an organization that is none, nobody is a member.
    let tenant: Option<TenantId> = organization_id.map(|id| id.parse().unwrap_or(NO_TENANT));
    let users = app.engine().users().find(&email, tenant).await?;
    let user = whose(password, users).await?.ok_or_else(refused)?;
    let mut places = app.engine().users().memberships(user.id).await?;
    places.retain(|member| tenant.is_none_or(|tenant| member.tenant == tenant));
    let member = places.into_iter().next().ok_or_else(refused)?;
    let (session, text) = app.engine().sessions().open(&member).await?;
    let organization = app.engine().tenants().get(member.tenant).await?.ok_or_else(refused)?;
    let told = LoggedIn {
        user: Shown::of(&member),
        organization: Organization::of(&organization, member.role),
        csrf_token: sessions::csrf_token(&text),
        expires_at: session::end_of(&session),
    };
    let cookies = session::cookies(app.options(), &headers, &text);
    Ok((set(cookies), Json(envelope(told, id, None))))
}

/// Ends a session.
#[utoipa::path(post, operation_id = "log_out", path = "/auth/logout", tag = "management", security(("session" = [])), responses((status = 200, body = Envelope<Deleted>), (status = 401, body = Failure), (status = 403, body = Failure)))]
pub(super) async fn logout(managed: Managed, headers: HeaderMap) -> WithCookies<Deleted> {
    let app = &managed.ask.app;
    if let Some(text) = cookie(&headers, SESSION_COOKIE) {
        app.engine().sessions().close(text).await?;
    }
    Ok((set(session::no_cookies(app.options(), &headers)), managed.ask.deleted()?))
}

/// Makes somebody who was invited a member: a user of that address whose password it is, and otherwise somebody new, whose
/// password it will be.
#[utoipa::path(post, operation_id = "accept_invitation", path = "/auth/accept", tag = "management", security(()), request_body = Acceptance, responses((status = 200, body = Envelope<Accepted>), (status = 400, body = Failure), (status = 401, body = Failure), (status = 429, body = Failure)))]
pub(super) async fn accept(
    State(app): State<App>,
    id: RequestId,
    _: JsonOnly,
    body: Body<Acceptance>,
) -> Told<Accepted> {
    let Acceptance { email, password, token } = body.read()?;
    count_try(&app, &email)?;
    let users = app.engine().users();
    users.invitation(&email, &token).await?;
    let guest = match whose(password.clone(), users.find(&email, None).await?).await? {
        Some(user) => Guest::Known(user),
        None => {
            let hash = password::hash(app.runtime(), password).await;
            let password_hash = hash.map_err(|error| match error.kind() {
                ErrorKind::ConfigInvalid => Problem::invalid("password", "has 8 to 256 bytes"),
                _ => error.into(),
            })?;
            Guest::New { password_hash }
        }
    };
    let member = users.accept(&email, &token, guest).await?;
    Ok(Json(envelope(Accepted::of(&member), id, None)))
}

impl Accepted {
    fn of(member: &Member) -> Self {
        Self {
            id: member.user.id.to_string(),
            email: member.user.email.clone(),
            organization_id: member.tenant.to_string(),
        }
    }
}

/// Somebody who can log in now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::Accepted)]
pub(super) struct Accepted {
    #[schema(format = "uuid")]
    id: String,
    email: String,
    #[schema(format = "uuid")]
    organization_id: String,
}

/// No tenant has this id.
const NO_TENANT: TenantId = TenantId::from_uuid(Uuid::nil());

/// The user of that password. It takes no less time when there is no user.
async fn whose(password: String, users: Vec<(User, String)>) -> Answer<Option<User>> {
    if users.is_empty() {
        password::verify(password, None).await?;
        return Ok(None);
    }
    for (user, hash) in users {
        if password::verify(password.clone(), Some(hash)).await? {
            return Ok(Some(user));
        }
    }
    Ok(None)
}

/// Nobody guesses passwords at speed, right or wrong, known or unknown.
fn count_try(app: &App, email: &str) -> Answer<()> {
    app.limits().attempt(&format!("login {}", email.trim().to_lowercase()), TRIES_PER_MINUTE)
}

fn set(cookies: [String; 2]) -> AppendHeaders<[(header::HeaderName, String); 2]> {
    AppendHeaders(cookies.map(|cookie| (header::SET_COOKIE, cookie)))
}
