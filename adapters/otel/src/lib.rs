//! Spans of calls on their way to an OpenTelemetry collector: OTLP over HTTP, in batches.
//!
//! Calls put spans into a bounded channel and never wait for it; a collector that is slow or gone costs its own spans and
//! nothing else.

mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use futures_util::future::{self, Either};
use offhook::provider::HttpTransport;
use offhook::provider::transport::{HttpMethod, HttpRequest, check_header_value};
use offhook::runtime::Runtime;
use offhook::trace::Span;
use offhook::{Error, ErrorKind, Result};

/// Spans that wait; more are lost.
const WAITING_MAX: usize = 4_096;

/// Spans of one request.
const BATCH_MAX: usize = 512;

/// How long a span waits for others to travel with.
const BATCH_DELAY: Duration = Duration::from_secs(1);

/// Longest wait for a collector.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Tries of a batch, and the first wait between them, which doubles.
const TRIES_MAX: u32 = 3;
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Where traces are taken, below a collector's own address.
const TRACES: &str = "/v1/traces";

/// Where spans go.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Collector {
    /// What is sent with each request, such as a key. Names in lower case.
    pub headers: Vec<(String, String)>,
    /// What the spans are of.
    pub service: String,
    /// Where traces are posted to.
    pub url: String,
}

impl Collector {
    /// The collector at `endpoint`, such as `http://localhost:4318`; traces go to `/v1/traces` below it.
    ///
    /// `ConfigInvalid` when that is no address of HTTP.
    pub fn at(endpoint: &str) -> Result<Self> {
        Self::at_url(format!("{}{TRACES}", endpoint.trim_end_matches('/')))
    }

    /// The collector that takes traces at exactly this URL.
    ///
    /// `ConfigInvalid` when that is no address of HTTP.
    pub fn at_url(url: impl Into<String>) -> Result<Self> {
        let url = url.into();
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(invalid("a collector's address begins with http:// or https://"));
        }
        Ok(Self { headers: Vec::new(), service: "offhook".to_owned(), url })
    }

    /// Adds headers as `OTEL_EXPORTER_OTLP_HEADERS` has them: `name=value,name=value`, values percent-encoded.
    ///
    /// `ConfigInvalid` for anything else.
    pub fn with_headers(mut self, text: &str) -> Result<Self> {
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| invalid("a header is a name, = and a value"))?;
            let value = decoded(value.trim()).ok_or_else(|| invalid("a header's value is not percent-encoded"))?;
            check_header_value(value.as_bytes())?;
            self.headers.push((name.trim().to_ascii_lowercase(), value));
        }
        Ok(self)
    }
}

/// A channel for the spans of an engine, and what sends them.
pub fn exporter(
    collector: Collector,
    runtime: Arc<dyn Runtime>,
    http: Arc<dyn HttpTransport>,
) -> (Sender<Span>, Exporter) {
    let (sender, spans) = async_channel::bounded(WAITING_MAX);
    (sender, Exporter { collector, http, runtime, spans })
}

/// Sends spans to a collector.
pub struct Exporter {
    collector: Collector,
    http: Arc<dyn HttpTransport>,
    runtime: Arc<dyn Runtime>,
    spans: Receiver<Span>,
}

impl Exporter {
    /// Sends what comes, until nothing more can come; what waits then is still sent. To stop it, close the channel.
    pub async fn run(self) {
        let mut is_away = false;
        while let Ok(first) = self.spans.recv().await {
            let batch = self.gather(first).await;
            let result = self.send(&batch).await;
            match &result {
                Err(error) if !is_away => {
                    tracing::warn!(%error, spans = batch.len(), "a collector does not take spans, which are lost");
                }
                Ok(()) if is_away => tracing::info!("the collector takes spans again"),
                _ => {}
            }
            is_away = result.is_err();
        }
    }

    /// What comes soon.
    async fn gather(&self, first: Span) -> Vec<Span> {
        let mut batch = vec![first];
        let mut delay = self.runtime.sleep_until(self.runtime.now() + BATCH_DELAY);
        while batch.len() < BATCH_MAX {
            match future::select(std::pin::pin!(self.spans.recv()), delay).await {
                Either::Left((Ok(span), rest)) => {
                    batch.push(span);
                    delay = rest;
                }
                _ => break,
            }
        }
        batch
    }

    async fn send(&self, batch: &[Span]) -> Result<()> {
        let body = wire::request(&self.collector.service, batch);
        let mut request = HttpRequest::new(HttpMethod::Post, &self.collector.url, TIMEOUT)
            .header("content-type", "application/x-protobuf")
            .body(body);
        request.headers.extend(self.collector.headers.iter().cloned());
        let mut delay = RETRY_DELAY;
        for attempt in 1.. {
            let error = match self.http.send(request.clone()).await {
                Ok(response) => match response.status {
                    200..300 => return Ok(()),
                    // What may be tried again, as OTLP says.
                    status @ (429 | 502 | 503 | 504) => refused(status),
                    status => return Err(refused(status)),
                },
                Err(error) => error,
            };
            if attempt >= TRIES_MAX || self.spans.is_closed() {
                return Err(error);
            }
            self.runtime.sleep_until(self.runtime.now() + delay).await;
            delay *= 2;
        }
        Ok(())
    }
}

fn refused(status: u16) -> Error {
    Error::new(ErrorKind::Unavailable, "spans.export", "the collector refused").with_context("status", status)
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::ConfigInvalid, "spans.collector", message)
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high << 4 | low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_the_environment_writes_them() {
        let collector = Collector::at("http://localhost:4318/").unwrap();
        assert_eq!(collector.url, "http://localhost:4318/v1/traces");
        let collector = collector.with_headers("Api-Key=a%20b, x-team = voice ,").unwrap();
        let expected = [("api-key", "a b"), ("x-team", "voice")].map(|(name, value)| (name.into(), value.into()));
        assert_eq!(collector.headers, expected);
        for wrong in ["name", "a=%2", "a=%zz", "a=\u{7f}", "a="] {
            assert!(Collector::at("http://x").unwrap().with_headers(wrong).is_err(), "{wrong}");
        }
        assert!(Collector::at("localhost:4318").is_err());
    }
}
