//! Logging in and out.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::AppendHeaders;
use offhook::ids::TenantId;
use offhook::service::sessions;
use offhook::service::users::Member;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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

/// Who wants to choose a password.
#[derive(Deserialize, ToSchema)]
#[schema(as = voxstack::Acceptance)]
pub(super) struct Acceptance {
    #[schema(format = "email")]
    email: String,
    /// The invitation.
    token: String,
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
#[utoipa::path(post, path = "/auth/login", tag = "management", security(()), request_body = Login, responses((status = 200, body = Envelope<LoggedIn>), (status = 400, body = Failure), (status = 401, body = Failure), (status = 429, body = Failure)))]
pub(super) async fn login(
    State(app): State<App>,
    id: RequestId,
    headers: HeaderMap,
    _: JsonOnly,
    Body(login): Body<Login>,
) -> WithCookies<LoggedIn> {
    let refused = || Problem::new(Kind::Unauthorized, "email address or password are wrong");
    count_try(&app, &login.email)?;
    let found = app.engine().users().find(&login.email).await?;
    let (user, hash) = found.map_or((None, None), |(user, hash)| (Some(user), hash));
    let is_right = password::verify(login.password, hash).await?;
    let user = user.filter(|_| is_right).ok_or_else(refused)?;
    let places = app.engine().users().memberships(user.id).await?;
    let member = choose(places, login.organization_id.as_deref())?;
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
#[utoipa::path(post, path = "/auth/logout", tag = "management", security(("session" = [])), responses((status = 200, body = Envelope<Deleted>), (status = 401, body = Failure), (status = 403, body = Failure)))]
pub(super) async fn logout(managed: Managed, headers: HeaderMap) -> WithCookies<Deleted> {
    let app = &managed.ask.app;
    if let Some(text) = cookie(&headers, SESSION_COOKIE) {
        app.engine().sessions().close(text).await?;
    }
    Ok((set(session::no_cookies(app.options(), &headers)), managed.ask.deleted()?))
}

/// Chooses the password of somebody who was invited.
#[utoipa::path(post, path = "/auth/accept", tag = "management", security(()), request_body = Acceptance, responses((status = 200, body = Envelope<Accepted>), (status = 400, body = Failure), (status = 401, body = Failure), (status = 429, body = Failure)))]
pub(super) async fn accept(
    State(app): State<App>,
    id: RequestId,
    _: JsonOnly,
    Body(acceptance): Body<Acceptance>,
) -> Told<Accepted> {
    let Acceptance { email, password, token } = acceptance;
    count_try(&app, &email)?;
    let hash = password::hash(app.runtime(), password).await;
    let hash = hash.map_err(|error| match error.kind() {
        offhook::ErrorKind::ConfigInvalid => Problem::invalid("password", "has 8 to 256 bytes"),
        _ => error.into(),
    })?;
    let user = app.engine().users().accept(&email, &token, &hash).await?;
    Ok(Json(envelope(Accepted { id: user.id.to_string(), email: user.email }, id, None)))
}

/// Somebody who can log in now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::Accepted)]
pub(super) struct Accepted {
    #[schema(format = "uuid")]
    id: String,
    email: String,
}

/// The place in that tenant, or the oldest.
fn choose(mut places: Vec<Member>, wanted: Option<&str>) -> Answer<Member> {
    let none = || Problem::new(Kind::Forbidden, "there is no such organization of yours");
    if let Some(wanted) = wanted {
        let wanted: TenantId = wanted.parse().map_err(|_| none())?;
        places.retain(|member| member.tenant == wanted);
    }
    places.into_iter().next().ok_or_else(none)
}

/// Nobody guesses passwords at speed, right or wrong, known or unknown.
fn count_try(app: &App, email: &str) -> Answer<()> {
    app.limits().attempt(&format!("login {}", email.trim().to_lowercase()), TRIES_PER_MINUTE)
}

fn set(cookies: [String; 2]) -> AppendHeaders<[(header::HeaderName, String); 2]> {
    AppendHeaders(cookies.map(|cookie| (header::SET_COOKIE, cookie)))
}
