//! Who is logged in, by a cookie; what it changes needs a token that other pages do not know (VS-081).

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use offhook::dialect::Dialect;
use offhook::service::sessions::{self, Session};
use offhook::service::users::{Member, Role};

use super::super::envelope::Ask;
use crate::app::{App, Options};
use crate::gate;
use crate::problem::{Answer, Kind, Problem};
use crate::request::RequestId;

/// The cookie of a session, which no page can read.
pub(crate) const SESSION_COOKIE: &str = "voxstack_session";

/// The cookie of the token that pages send back.
const CSRF_COOKIE: &str = "csrf_token";

/// The header in which they do.
const CSRF_HEADER: &str = "x-csrf-token";

/// A request of somebody who is logged in.
pub(super) struct Managed {
    pub(super) ask: Ask,
    pub(super) member: Member,
}

impl FromRequestParts<App> for Managed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Answer<Self> {
        let Some(text) = cookie(&parts.headers, SESSION_COOKIE) else {
            return Err(not_by_key(app, &parts.headers).await);
        };
        let unknown = || Problem::new(Kind::Unauthorized, "nobody is logged in");
        let session = app.engine().sessions().get(text).await?.ok_or_else(unknown)?;
        let member = app.engine().users().member(session.tenant, session.user).await?.ok_or_else(unknown)?;
        let is_write = !matches!(parts.method, Method::GET | Method::HEAD);
        if is_write
            && !gate::plain(&parts.headers, CSRF_HEADER).is_some_and(|sent| sessions::is_csrf_token(&sent, text))
        {
            let message = "the header X-CSRF-Token does not repeat the cookie csrf_token";
            return Err(Problem::new(Kind::Forbidden, message));
        }
        let id = RequestId::from_request_parts(parts, app).await?;
        Ok(Self { ask: Ask::new(app.clone(), id, session.tenant), member })
    }
}

impl Managed {
    /// Refuses who may only look.
    pub(super) fn require_admin(&self) -> Answer<()> {
        match self.member.role {
            Role::Admin => Ok(()),
            Role::Member => Err(Problem::new(Kind::Forbidden, "only administrators may do that")),
        }
    }
}

/// Whoever comes with a key is told that keys do not do here; whoever comes with nothing, that somebody has to log in.
async fn not_by_key(app: &App, headers: &HeaderMap) -> Problem {
    let key = gate::bearer(headers, header::AUTHORIZATION);
    if key.is_none() {
        return Problem::new(Kind::Unauthorized, "nobody is logged in");
    }
    match gate::identify(app, Dialect::VoxStack, key).await {
        Ok(_) => Problem::new(Kind::Forbidden, "this takes a session, not an API key"),
        Err(problem) => problem,
    }
}

/// A cookie of a request (RFC 6265, section 4.2).
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|header| header.to_str().ok());
    let mut pairs = pairs.flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The two cookies of a session.
pub(super) fn cookies(options: &Options, headers: &HeaderMap, text: &str) -> [String; 2] {
    let age = sessions::LIFETIME.as_secs();
    both(options, headers, text, &sessions::csrf_token(text), age)
}

/// What makes a browser forget them.
pub(super) fn no_cookies(options: &Options, headers: &HeaderMap) -> [String; 2] {
    both(options, headers, "", "", 0)
}

fn both(options: &Options, headers: &HeaderMap, text: &str, csrf: &str, age: u64) -> [String; 2] {
    // A browser keeps no secure cookie that came over plain HTTP.
    let is_plain = match &options.public_url {
        Some(url) => url.starts_with("http://"),
        None => is_this_machine(headers),
    };
    let secure = if is_plain { "" } else { "; Secure" };
    [
        format!("{SESSION_COOKIE}={text}; Path=/; Max-Age={age}; HttpOnly{secure}; SameSite=Lax"),
        format!("{CSRF_COOKIE}={csrf}; Path=/; Max-Age={age}{secure}; SameSite=Lax"),
    ]
}

/// When a session ends, for people.
pub(super) fn end_of(session: &Session) -> String {
    session.expires_at.to_string()
}

/// Whether the request was sent to a loopback address: nothing stands in front then.
fn is_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "127.0.0.1" | "localhost" | "[::1]")
}
