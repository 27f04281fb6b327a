//! How to follow a call (VS-060, VS-066).

use std::time::Duration;

use axum::extract::{OriginalUri, Path};
use axum::http::{HeaderMap, Uri, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use offhook::ids::{CallId, TenantId};
use offhook::signing::{Secret, link};
use offhook::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::envelope::{Ask, Envelope, Failure, Told};
use super::{API, calls};
use crate::app::Options;
use crate::problem::{Answer, Kind, Problem};

/// VS-061
const TOKEN_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 512;

/// How to follow a call.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::Live)]
pub(super) struct Live {
    websocket_url: String,
    #[schema(format = "uuid")]
    call_id: String,
    temp_token: String,
    connection_info: ConnectionInfo,
}

/// The same in detail.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::ConnectionInfo)]
struct ConnectionInfo {
    url: String,
    auth_method: &'static str,
    auth_param: &'static str,
    temp_auth_param: &'static str,
    example: String,
    example_session: String,
    message_format: &'static str,
    message_types: [&'static str; 4],
}

/// Where to connect to for a call's transcript while it goes on, with a token for pages that must not know the key.
#[utoipa::path(get, operation_id = "get_live", path = "/calls/{id}/live", tag = "calls", params(("id" = String, Path)), responses((status = 200, body = Envelope<Live>), (status = 404, body = Failure)))]
pub(super) async fn get(
    ask: Ask,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Told<Live> {
    let call = calls::find(&ask, &id).await?.record.id;
    let url = format!("{}/ws/calls/{call}", Place::of(ask.app.options(), &uri, &headers).websocket());
    let expires_at = ask.app.runtime().wall_clock() + TOKEN_LIFETIME;
    let token = Token { call, tenant: ask.tenant }.seal(ask.app.token_secret(), expires_at);
    ask.tell(Live {
        websocket_url: url.clone(),
        call_id: call.to_string(),
        temp_token: token,
        connection_info: ConnectionInfo {
            example: format!("{url}?api_key=YOUR_API_KEY"),
            example_session: format!("{url}?session_token=TEMP_TOKEN"),
            url,
            auth_method: "query_param",
            auth_param: "api_key",
            temp_auth_param: "session_token",
            message_format: "json",
            message_types: ["connected", "transcript_update", "call_status_update", "error"],
        },
    })
}

/// Where the dialect stands for whoever asks: by the public URL (VS-A3), else by the host that was asked.
pub(super) struct Place {
    pub(super) http: String,
}

impl Place {
    pub(super) fn of(options: &Options, uri: &Uri, headers: &HeaderMap) -> Self {
        let prefix = uri.path().find(API).map_or("", |end| &uri.path()[..end]);
        let host = || headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        let server = options.public_url.clone().unwrap_or_else(|| format!("http://{}", host()));
        Self { http: format!("{}{prefix}", server.trim_end_matches('/')) }
    }

    fn websocket(&self) -> String {
        match self.http.strip_prefix("https") {
            Some(rest) => format!("wss{rest}"),
            None => format!("ws{}", self.http.trim_start_matches("http")),
        }
    }
}

/// Lets its bearer follow one call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Token {
    pub(super) call: CallId,
    pub(super) tenant: TenantId,
}

impl Token {
    fn seal(self, secret: &Secret, expires_at: Timestamp) -> String {
        URL_SAFE_NO_PAD.encode(link::sign(secret, &self.path(), expires_at))
    }

    /// The token behind a text, if it was made here for that call and has not expired.
    pub(super) fn open(secret: &Secret, text: &str, call: CallId, now: Timestamp) -> Answer<Self> {
        let refused = || Problem::new(Kind::Unauthorized, "the session token opens nothing here");
        if text.len() > TOKEN_BYTES_MAX {
            return Err(refused());
        }
        let link =
            URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let link = link.ok_or_else(refused)?;
        let (path, query) = link.split_once('?').ok_or_else(refused)?;
        link::verify(std::slice::from_ref(secret), path, query, now).map_err(|_| refused())?;
        let tenant = path.split('/').nth(1).and_then(|tenant| tenant.parse().ok()).ok_or_else(refused)?;
        let token = Self { call, tenant };
        if token.path() == path { Ok(token) } else { Err(refused()) }
    }

    fn path(self) -> String {
        format!("voxstack-live/{}/{}", self.tenant, self.call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vs_061_066_a_token_is_for_one_call_and_five_minutes() {
        let at = |seconds: i64| Timestamp::from_unix_micros(seconds * 1_000_000);
        let (call, other) = (CallId::new(at(1), [1; 10]), CallId::new(at(1), [2; 10]));
        let (secret, token) = (Secret::new("a"), Token { call, tenant: TenantId::new(at(1), [3; 10]) });
        let text = token.seal(&secret, at(100) + TOKEN_LIFETIME);
        assert_eq!(Token::open(&secret, &text, call, at(399)).unwrap(), token);
        assert_eq!(Token::open(&secret, &format!("{text}=="), call, at(100)).unwrap(), token);
        for (secret, text, call, now) in [
            (&secret, text.as_str(), call, at(400)),
            (&secret, text.as_str(), other, at(100)),
            (&Secret::new("b"), text.as_str(), call, at(100)),
            (&secret, &text[1..], call, at(100)),
            (&secret, "", call, at(100)),
            (&secret, "no token at all", call, at(100)),
            (&secret, &"a".repeat(TOKEN_BYTES_MAX + 1), call, at(100)),
        ] {
            assert_eq!(Token::open(secret, text, call, now).unwrap_err().kind, Kind::Unauthorized);
        }
    }

    #[test]
    fn vs_a3_the_socket_is_where_the_server_is() {
        let place = |public: Option<&str>, path: &str| {
            let options = Options { public_url: public.map(str::to_owned), ..Options::default() };
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "localhost:3008".parse().unwrap());
            Place::of(&options, &path.parse().unwrap(), &headers).websocket()
        };
        assert_eq!(place(None, "/api/v1/calls/1/live"), "ws://localhost:3008");
        assert_eq!(place(None, "/voxstack/api/v1/calls/1/live"), "ws://localhost:3008/voxstack");
        assert_eq!(place(Some("https://calls.example/"), "/voxstack/api/v1/calls"), "wss://calls.example/voxstack");
    }
}
