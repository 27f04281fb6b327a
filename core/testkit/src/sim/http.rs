//! The customer's systems: a function that answers and a receiver of webhooks that keeps what it was sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use offhook::error::{Error, ErrorKind, Result};
use offhook::provider::transport::{HttpRequest, HttpResponse};
use offhook::provider::{HttpTransport, ProviderInfo};
use offhook::runtime::Runtime;

use super::paced::pause;
use super::world::{UUID_BYTES, World};
use crate::fates::{Fault, Wait};

/// Where the function is.
pub(super) const FUNCTION_URL: &str = "https://customer.example/look_up";

/// Where webhooks go.
pub(super) const WEBHOOK_URL: &str = "https://customer.example/webhooks";

/// Signs them.
pub(super) const WEBHOOK_SECRET: &str = "whsec_c2ltdWxhdGVkIHNlY3JldCBvZiAyNCBi";

/// The time that a signature covers moves on in steps of this.
const SIGNATURE_STEP_SECS: i64 = 150;

pub(super) struct Http {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) world: Arc<World>,
}

/// What the receiver of webhooks was sent.
#[derive(Default)]
pub(super) struct Inbox(Mutex<Received>);

#[derive(Default)]
pub(super) struct Received {
    /// By their ids.
    pub(super) messages: BTreeMap<String, Message>,
    /// Ids of deliveries in the order in which they were first accepted.
    pub(super) accepted: Vec<String>,
}

/// A webhook.
pub(super) struct Message {
    pub(super) attempts: u32,
    pub(super) body: Bytes,
    pub(super) is_accepted: bool,
    /// All attempts had the same bytes, and the same signature as long as its time was the same.
    pub(super) is_steady: bool,
    pub(super) signature: String,
    /// Of the last attempt, as the signature is.
    pub(super) timestamp: String,
}

impl Inbox {
    pub(super) fn received(&self) -> MutexGuard<'_, Received> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, request: &HttpRequest, is_accepted: bool) {
        let (id, signature, timestamp) =
            (header(request, "webhook-id"), header(request, "webhook-signature"), header(request, "webhook-timestamp"));
        let mut received = self.received();
        let received = &mut *received;
        let message = received.messages.entry(id.clone()).or_insert_with(|| Message {
            attempts: 0,
            body: request.body.clone(),
            is_accepted: false,
            is_steady: true,
            signature: signature.clone(),
            timestamp: timestamp.clone(),
        });
        message.attempts += 1;
        let seconds = |text: &str| text.parse::<i64>().unwrap_or_default();
        let renewed_by = seconds(&timestamp) - seconds(&message.timestamp);
        message.is_steady &= message.body == request.body
            && renewed_by % SIGNATURE_STEP_SECS == 0
            && (renewed_by != 0 || message.signature == signature);
        (message.signature, message.timestamp) = (signature, timestamp);
        if is_accepted && !std::mem::replace(&mut message.is_accepted, true) {
            received.accepted.push(id);
        }
    }
}

#[async_trait]
impl HttpTransport for Http {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "simulated", detail: String::new() }
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse> {
        // The ids of functions' requests and of webhooks both begin with the call's.
        let call = self.world.whose(header(&request, "webhook-id").get(..UUID_BYTES).unwrap_or_default());
        let fates = &self.world.fates;
        let failed = |kind, message: &str| Err(Error::new(kind, "http.send", message));
        pause(&*self.runtime, fates.takes(Wait::Http, call)).await;
        if fates.strikes(Fault::HttpBroken, call) {
            return failed(ErrorKind::Unavailable, "the peer cannot be reached");
        }
        if fates.strikes(Fault::HttpStalls, call) {
            pause(&*self.runtime, request.timeout).await;
            return failed(ErrorKind::TimedOut, "the peer does not answer");
        }
        let is_failure = fates.strikes(Fault::HttpFails, call);
        let is_webhook = request.url == WEBHOOK_URL;
        if is_webhook {
            self.world.inbox.take(&request, !is_failure);
        }
        if fates.strikes(Fault::HttpAnswerLost, call) {
            pause(&*self.runtime, request.timeout).await;
            return failed(ErrorKind::TimedOut, "the peer's answer was lost");
        }
        let (status, body) = match (is_failure, is_webhook) {
            (true, _) => (503, "out of order"),
            (false, true) => (204, ""),
            (false, false) => (200, "{\"found\":true}"),
        };
        Ok(HttpResponse {
            body: stream::iter([Ok(Bytes::from_static(body.as_bytes()))]).boxed(),
            headers: Vec::new(),
            status,
        })
    }
}

fn header(request: &HttpRequest, name: &str) -> String {
    let found = request.headers.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}
