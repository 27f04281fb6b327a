//! [`ReqwestTransport`]: HTTP/1.1 by reqwest.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use offhook::provider::reach::Reach;
use offhook::provider::transport::{HttpRequest, HttpResponse};
use offhook::provider::{HttpTransport, ProviderInfo};
use offhook::{Error, ErrorKind, Result};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::map::map;
use crate::resolve::Resolver;
use crate::tls::Tls;

/// Longest wait for name, connection and TLS handshake, inside of the request's own time-out.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most idle connections kept to one host.
pub const IDLE_CONNECTIONS_MAX: usize = 32;
/// How long an idle connection is kept.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Most reaches that have connections of their own at once. An engine has two: its own and its customers'.
const REACHES_MAX: usize = 8;

/// Sends HTTP requests over pooled connections; follows no redirect and uses no proxy.
///
/// Requests of different [`Reach`] share no connection. A name is resolved when a connection is made, and only to addresses
/// within reach, so that it cannot mean one thing when it is looked at and another when it is used.
#[derive(Clone, Debug)]
pub struct ReqwestTransport {
    /// The last used first.
    clients: Arc<Mutex<Vec<(Reach, reqwest::Client)>>>,
    tls: Tls,
}

impl ReqwestTransport {
    /// A transport that trusts `tls`.
    pub fn new(tls: &Tls) -> Result<Self> {
        let transport = Self { clients: Arc::default(), tls: tls.clone() };
        transport.client(&Reach::Any)?;
        Ok(transport)
    }

    fn client(&self, reach: &Reach) -> Result<reqwest::Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = clients.iter().position(|(known, _)| known == reach) {
            clients[..=found].rotate_right(1);
            return Ok(clients[0].1.clone());
        }
        let client = self.build(reach)?;
        clients.truncate(REACHES_MAX - 1);
        clients.insert(0, (reach.clone(), client.clone()));
        Ok(client)
    }

    fn build(&self, reach: &Reach) -> Result<reqwest::Client> {
        reqwest::Client::builder()
            .tls_backend_preconfigured((*self.tls.config()).clone())
            .dns_resolver(Arc::new(Resolver(reach.clone())))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_nodelay(true)
            .user_agent(concat!("offhook/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| map("http.new", error.without_url()))
    }
}

#[async_trait]
impl HttpTransport for ReqwestTransport {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "reqwest", detail: String::new() }
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse> {
        const OPERATION: &str = "http.send";
        let url = parse_url(OPERATION, &request.url)?;
        let host = url.host_str().unwrap_or_default().to_owned();
        check_literal(OPERATION, &url, &request.reach)?;
        let limit = request.timeout;
        let client = self.client(&request.reach)?;
        let sending = client.execute(to_reqwest(OPERATION, url, request)?);
        let response = match tokio::time::timeout(limit, sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(map(OPERATION, error.without_url()).with_context("host", host)),
            Err(elapsed) => return Err(map(OPERATION, elapsed).with_context("host", host)),
        };
        Ok(HttpResponse {
            status: response.status().as_u16(),
            headers: from_headers(response.headers()),
            body: pieces(response, limit, host),
        })
    }
}

fn parse_url(operation: &'static str, url: &str) -> Result<Url> {
    let invalid = || Error::new(ErrorKind::ConfigInvalid, operation, "the URL is not an absolute http or https one");
    let url = Url::parse(url).map_err(|error| invalid().with_source(error))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(invalid());
    }
    Ok(url)
}

/// A host that is an address is never resolved.
fn check_literal(operation: &'static str, url: &Url, reach: &Reach) -> Result<()> {
    let host = url.host_str().unwrap_or_default();
    let literal: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    if literal.is_none_or(|address| reach.permits(host, address)) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::PermissionDenied, operation, "the host is an address that may not be reached"))
}

fn to_reqwest(operation: &'static str, url: Url, request: HttpRequest) -> Result<reqwest::Request> {
    let method = reqwest::Method::from_bytes(request.method.as_str().as_bytes()).map_err(|error| {
        Error::new(ErrorKind::ConfigInvalid, operation, "the method is malformed").with_source(error)
    })?;
    let mut built = reqwest::Request::new(method, url);
    for (name, value) in &request.headers {
        let (name, value) = header(operation, name, value)?;
        built.headers_mut().append(name, value);
    }
    if !request.body.is_empty() {
        *built.body_mut() = Some(request.body.into());
    }
    Ok(built)
}

/// A header, marked so that no layer prints its value.
pub(crate) fn header(operation: &'static str, name: &str, value: &str) -> Result<(HeaderName, HeaderValue)> {
    let invalid = || Error::new(ErrorKind::ConfigInvalid, operation, "a header is malformed");
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| invalid().with_source(error))?;
    let mut value = HeaderValue::from_str(value)
        .map_err(|error| invalid().with_context("header", name.as_str()).with_source(error))?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// Headers as the engine has them; bytes beyond UTF-8 are replaced.
pub(crate) fn from_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

fn pieces(response: reqwest::Response, limit: Duration, host: String) -> BoxStream<'static, Result<Bytes>> {
    const OPERATION: &str = "http.body";
    let body = Some((response, host));
    stream::unfold(body, move |body| async move {
        let (mut response, host) = body?;
        match tokio::time::timeout(limit, response.chunk()).await {
            Ok(Ok(Some(piece))) => Some((Ok(piece), Some((response, host)))),
            Ok(Ok(None)) => None,
            Ok(Err(error)) => Some((Err(map(OPERATION, error.without_url()).with_context("host", host)), None)),
            Err(elapsed) => Some((Err(map(OPERATION, elapsed).with_context("host", host)), None)),
        }
    })
    .boxed()
}
