//! One attempt: the request and what came of it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;

use super::Shared;
use super::delivery::{Attempt, Delivery, Inline, Scheme, Target};
use super::schedule::retry_after;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::TenantId;
use crate::provider::transport::{HttpMethod, HttpRequest, HttpResponse};
use crate::runtime;
use crate::service::webhooks::endpoint;
use crate::signing::{Secret, body, standard};
use crate::time::{Instant, Timestamp, micros, millis};

/// Longest wait for the answer of an endpoint.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an answer that are kept.
pub const ANSWER_BYTES_KEPT: usize = 256;

/// An answer's body is read up to here, so that its connection can be used again, and then dropped.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// Longest wait for the body of an answer whose status is known.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// A target as it is at this moment.
pub(super) struct Destination {
    headers: Vec<(String, String)>,
    method: HttpMethod,
    scheme: Scheme,
    secrets: Vec<Secret>,
    timeout: Duration,
    url: String,
}

/// What came of an attempt.
pub(super) struct Tried {
    pub(super) attempt: Attempt,
    /// What the receiver asks for before it is tried again.
    pub(super) rest: Option<Duration>,
}

impl Tried {
    /// An attempt that came to its end before it left.
    pub(super) fn unsendable(error: &Error, now: Timestamp) -> Self {
        Self { attempt: Attempt::unsendable(error, now), rest: None }
    }

    /// Whether the receiver is not there, or not able: not whether it refuses this one message, or it cannot be sent.
    pub(super) fn is_outage(&self) -> bool {
        match self.attempt.status {
            Some(status) => matches!(status, 408 | 429 | 500..=599),
            None => !matches!(self.attempt.error, Some(ErrorKind::ConfigInvalid | ErrorKind::Unexpected)),
        }
    }

    /// Whether the receiver wants nothing more.
    pub(super) fn is_gone(&self) -> bool {
        self.attempt.status == Some(410)
    }
}

impl Destination {
    /// Where `target` is now; `None` when it is no more, or switched off.
    pub(super) async fn find(shared: &Shared, tenant: TenantId, target: &Target) -> Result<Option<Self>> {
        match target {
            Target::Endpoint(id) => {
                let now = shared.runtime.wall_clock();
                let found = endpoint::destination(&*shared.store, &shared.vault, tenant, id, now).await?;
                Ok(found.map(|(url, scheme, secrets)| Self {
                    headers: Vec::new(),
                    method: HttpMethod::Post,
                    scheme,
                    secrets,
                    timeout: SEND_TIMEOUT,
                    url,
                }))
            }
            Target::Inline(inline) => Self::inline(shared, tenant, inline).await.map(Some),
        }
    }

    async fn inline(shared: &Shared, tenant: TenantId, inline: &Inline) -> Result<Self> {
        let context = context(tenant);
        let open = |sealed: &String| shared.vault.open(&context, sealed);
        let mut headers = inline.headers.clone();
        for (name, sealed) in &inline.sealed_headers {
            let value = String::from_utf8(open(sealed)?.expose().to_vec())
                .map_err(|_| Error::new(ErrorKind::Unexpected, "outbox.open", "a sealed header is not text"))?;
            headers.push((name.clone(), value));
        }
        let secrets = match inline.scheme {
            Scheme::Tenant(_) => match shared.tenants.signing_secret(tenant).await {
                Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
                secret => vec![secret?],
            },
            Scheme::Body(_) | Scheme::None | Scheme::Standard => {
                inline.sealed_secrets.iter().map(open).collect::<Result<_>>()?
            }
        };
        Ok(Self {
            headers,
            method: inline.method,
            scheme: inline.scheme.clone(),
            secrets,
            timeout: inline.timeout,
            url: inline.url.clone(),
        })
    }

    /// Tries `delivery` once.
    pub(super) async fn send(&self, shared: &Shared, delivery: &Delivery) -> Tried {
        let _permit = shared.permits.take().await;
        let (started, at) = (shared.runtime.now(), shared.runtime.wall_clock());
        let sent = self.exchange(shared, delivery, at).await;
        let latency_ms = |until: Instant| millis(until.saturating_since(started));
        let (attempt, rest) = match sent {
            Ok((response, answered_at)) => {
                let (status, latency_ms) = (response.status, latency_ms(answered_at));
                let rest = response.header("retry-after").and_then(|header| retry_after(header, at));
                let answer = first_bytes(shared, response).await;
                (Attempt { answer, at, error: None, latency_ms, status: Some(status) }, rest)
            }
            Err(error) => {
                let latency_ms = latency_ms(shared.runtime.now());
                let answer = String::new();
                (Attempt { answer, at, error: Some(error.kind()), latency_ms, status: None }, None)
            }
        };
        Tried { attempt, rest }
    }

    async fn exchange(&self, shared: &Shared, delivery: &Delivery, at: Timestamp) -> Result<(HttpResponse, Instant)> {
        shared.reach.check(&self.url)?;
        let request = self.request(delivery, at).reach(shared.reach.clone());
        let response = shared.http.send(request).await?;
        Ok((response, shared.runtime.now()))
    }

    fn request(&self, delivery: &Delivery, at: Timestamp) -> HttpRequest {
        let payload = Bytes::from(delivery.body.clone());
        let mut request = HttpRequest::new(self.method, self.url.as_str(), self.timeout);
        if !payload.is_empty() && !self.headers.iter().any(|(name, _)| name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if self.scheme == Scheme::Standard {
            let headers = standard::sign(&self.secrets, &delivery.id, signing_time(delivery, at), &payload);
            return request
                .header("webhook-id", headers.id)
                .header("webhook-timestamp", headers.timestamp)
                .header("webhook-signature", headers.signature)
                .body(payload);
        }
        if let (Scheme::Body(header) | Scheme::Tenant(header), Some(newest)) = (&self.scheme, self.secrets.first()) {
            let query = self.url.split_once('?').map_or("", |(_, query)| query);
            let signed = if payload.is_empty() { query.as_bytes() } else { &payload };
            request = request.header(header, body::sign(newest, signed));
            // One signature is all that the header holds; who still has the old secret finds its own beside it.
            if let Some(old) = self.secrets.get(1) {
                request = request.header(format!("{header}-previous"), body::sign(old, &payload));
            }
        }
        request
            .header("x-offhook-attempt", (delivery.attempts_made + 1).to_string())
            .header("x-offhook-delivery", &delivery.id)
            .header("x-offhook-event-id", &delivery.event_id)
            .header("x-offhook-timestamp", at.as_unix_seconds().to_string())
            .body(payload)
    }
}

/// Where the secrets of inline targets open.
pub(super) fn context(tenant: TenantId) -> String {
    format!("{tenant}/outbox")
}

/// The time that a signature covers: that of the delivery, moved on by whole steps of half of what receivers tolerate, so
/// that it is never older than one step. Within a step every attempt has the same signature, whoever makes it. Were it the
/// same for ever, whoever was away for five minutes could never take again what was sent meanwhile; the other half is for
/// clocks that differ and networks that are slow.
fn signing_time(delivery: &Delivery, now: Timestamp) -> Timestamp {
    let step = i64::try_from(micros(standard::TOLERANCE / 2)).unwrap_or(i64::MAX);
    let created = delivery.created_at.as_unix_micros();
    let age = now.as_unix_micros().saturating_sub(created);
    Timestamp::from_unix_micros(created.saturating_add(age - age.rem_euclid(step)))
}

async fn first_bytes(shared: &Shared, response: HttpResponse) -> String {
    let mut kept = Vec::new();
    let mut body = response.body;
    let read = async {
        let mut read = 0;
        while let Some(Ok(piece)) = body.next().await {
            let missing = ANSWER_BYTES_KEPT - kept.len();
            kept.extend_from_slice(&piece[..piece.len().min(missing)]);
            read += piece.len();
            if read > ANSWER_BYTES_MAX {
                break;
            }
        }
        Ok(())
    };
    let _ = runtime::timeout(&*shared.runtime, ANSWER_TIMEOUT, "outbox.answer", read).await;
    String::from_utf8_lossy(&kept).into_owned()
}

/// So many attempts at once, of all queues.
pub(super) struct Permits {
    give: async_channel::Receiver<()>,
    take: async_channel::Sender<()>,
}

pub(super) struct Permit<'a>(&'a Permits);

impl Permits {
    pub(super) fn new(count: usize) -> Self {
        let (take, give) = async_channel::bounded(count);
        Self { give, take }
    }

    async fn take(&self) -> Permit<'_> {
        // A place in the channel is the permit; it is never closed, because both ends are here.
        let _ = self.take.send(()).await;
        Permit(self)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let _ = self.0.give.try_recv();
    }
}
