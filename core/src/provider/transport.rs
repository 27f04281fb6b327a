//! HTTP and WebSocket transports, so that adapters hold no client of their own: tests script them, phones lend theirs.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;

use super::reach::Reach;
use super::{BoxStream, ProviderInfo};
use crate::error::{Error, ErrorKind, Result};

/// Sends HTTP requests.
#[async_trait]
pub trait HttpTransport: Send + Sync {
    /// Who this is.
    fn info(&self) -> ProviderInfo;

    /// Sends `request` and returns once the response's head is there; any status is a response, not an error.
    ///
    /// Redirects are not followed and no proxy is used. `TimedOut` when [`HttpRequest::timeout`] passes before the head.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse>;
}

/// An HTTP method.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum HttpMethod {
    /// DELETE
    Delete,
    /// GET
    Get,
    /// PATCH
    Patch,
    /// POST
    Post,
    /// PUT
    Put,
}

impl HttpMethod {
    /// The method's token.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// A request. Its `Debug` form shows neither body nor header values nor the URL's query.
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpRequest {
    /// The body; empty for none.
    pub body: Bytes,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The method.
    pub method: HttpMethod,
    /// Where it may go. [`HttpTransport::send`] answers `PermissionDenied` when the URL or an address it resolves to is
    /// beyond.
    pub reach: Reach,
    /// Longest wait for the response's head, and then for each piece of its body.
    pub timeout: Duration,
    /// Absolute, `http` or `https`.
    pub url: String,
}

impl HttpRequest {
    /// A request without headers or body.
    pub fn new(method: HttpMethod, url: impl Into<String>, timeout: Duration) -> Self {
        Self { body: Bytes::new(), headers: Vec::new(), method, reach: Reach::Any, timeout, url: url.into() }
    }

    /// Adds a header; `name` in lower case.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Lets it go no farther than this; anywhere without.
    #[must_use]
    pub fn reach(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("url", &without_query(&self.url))
            .field("headers", &names)
            .field("body_bytes", &self.body.len())
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// Longest value of a header that a customer gives, in bytes.
pub const HEADER_BYTES_MAX: usize = 8_192;

/// `ConfigInvalid` unless `value` can be a header's: 1 to [`HEADER_BYTES_MAX`] visible ASCII characters, with spaces and
/// tabs between them (RFC 9110, 5.5).
pub fn check_header_value(value: &[u8]) -> Result<()> {
    let is_visible = |byte: &u8| byte.is_ascii_graphic();
    let is_framed = value.first().is_some_and(is_visible) && value.last().is_some_and(is_visible);
    let is_legal = value.iter().all(|byte| is_visible(byte) || matches!(byte, b' ' | b'\t'));
    if is_framed && is_legal && value.len() <= HEADER_BYTES_MAX {
        return Ok(());
    }
    Err(Error::new(ErrorKind::ConfigInvalid, "http.header", "not the value of a header"))
}

/// A response whose body is still arriving.
pub struct HttpResponse {
    /// The body's pieces. Dropping it closes the connection.
    pub body: BoxStream<'static, Result<Bytes>>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The status code.
    pub status: u16,
}

impl HttpResponse {
    /// The first header of that name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The whole body; `Rejected` when it is longer than `bytes_max`.
    pub async fn bytes(mut self, bytes_max: usize) -> Result<Bytes> {
        let mut body = Vec::new();
        while let Some(piece) = self.body.next().await {
            let piece = piece?;
            if body.len() + piece.len() > bytes_max {
                return Err(Error::new(ErrorKind::Rejected, "http.body", "the response is too long")
                    .with_context("bytes_max", bytes_max));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.into())
    }
}

/// Opens WebSockets as a client.
#[async_trait]
pub trait SocketTransport: Send + Sync {
    /// Who this is.
    fn info(&self) -> ProviderInfo;

    /// Opens a socket; returns once the handshake is done.
    async fn connect(&self, request: SocketRequest) -> Result<Socket>;
}

/// Where to connect. Its `Debug` form shows neither header values nor the URL's query.
#[derive(Clone)]
#[non_exhaustive]
pub struct SocketRequest {
    /// Headers of the handshake, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Longest wait for the handshake, and then for each message to be taken by the network.
    pub timeout: Duration,
    /// `ws` or `wss`.
    pub url: String,
}

impl SocketRequest {
    /// A handshake without extra headers.
    pub fn new(url: impl Into<String>, timeout: Duration) -> Self {
        Self { headers: Vec::new(), timeout, url: url.into() }
    }
}

impl fmt::Debug for SocketRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("SocketRequest")
            .field("url", &without_query(&self.url))
            .field("headers", &names)
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// An open WebSocket, as a stream in and a bounded channel out.
pub struct Socket {
    /// Messages from the peer; ends when either side closes. Pings are answered below this level.
    pub incoming: BoxStream<'static, Result<SocketMessage>>,
    /// Messages to the peer. Closing the channel closes the socket; a full channel means that the peer does not read.
    pub outgoing: async_channel::Sender<SocketMessage>,
}

/// A whole message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SocketMessage {
    /// Binary.
    Binary(Bytes),
    /// To the peer only: closes the socket for this reason. Nothing goes out after it.
    Close(CloseCode),
    /// UTF-8 text.
    Text(String),
}

/// Why a socket is closed: a status code of RFC 6455, section 7.4, of those that an endpoint may send.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: what the socket was for is done. Also said when [`Socket::outgoing`] is closed without a code.
    pub const NORMAL: Self = Self(1000);
    /// 1008: the peer did what it may not do.
    pub const POLICY: Self = Self(1008);
    /// 1011: something unexpected happened on this side.
    pub const INTERNAL: Self = Self(1011);
    /// 1013: there is no room now; the peer may try again later.
    pub const TRY_AGAIN: Self = Self(1013);

    /// The status code.
    pub const fn value(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for CloseCode {
    type Error = Error;

    /// `ConfigInvalid` for a code that no endpoint may send.
    fn try_from(value: u16) -> Result<Self> {
        match value {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Ok(Self(value)),
            _ => Err(Error::new(ErrorKind::ConfigInvalid, "close_code.parse", "not a code that may be sent")),
        }
    }
}

fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_may_be_sent_are_close_codes() {
        for good in [CloseCode::NORMAL, CloseCode::POLICY, CloseCode::INTERNAL, CloseCode::TRY_AGAIN] {
            assert_eq!(CloseCode::try_from(good.value()).unwrap(), good);
        }
        for bad in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
            assert!(CloseCode::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_does_not_show_its_secrets() {
        let request = HttpRequest::new(HttpMethod::Get, "https://a.example/b?key=hush", Duration::from_secs(1))
            .header("authorization", "Bearer hush")
            .body("hush");
        assert!(!format!("{request:?}").contains("hush"), "{request:?}");
        let mut request = SocketRequest::new("wss://a.example/b?key=hush", Duration::from_secs(1));
        request.headers.push(("authorization".to_owned(), "hush".to_owned()));
        assert!(!format!("{request:?}").contains("hush"), "{request:?}");
    }
}
