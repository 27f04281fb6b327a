//! [`ReqwestTransport`]: HTTP/1.1 by reqwest.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
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

/// Sends HTTP requests over pooled connections; follows no redirect and uses no proxy.
#[derive(Clone, Debug)]
pub struct ReqwestTransport {
    client: reqwest::Client,
}

impl ReqwestTransport {
    /// A transport that trusts `tls`.
    pub fn new(tls: &Tls) -> Result<Self> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured((*tls.config()).clone())
            .dns_resolver(Arc::new(Resolver))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_nodelay(true)
            .user_agent(concat!("offhook/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| map("http.new", error.without_url()))?;
        Ok(Self { client })
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
        let limit = request.timeout;
        let sending = self.client.execute(to_reqwest(OPERATION, url, request)?);
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
