//! Webhooks: events that were written in the commit that caused them, delivered at least once and in order per call.

mod event;
mod native;

pub use event::{CreditsLow, Event, EventName, WebhookTest};

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::call::{CallRecord, LedgerSummary};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CallId, TenantId};
use crate::provider::store::{Batch, Expect, Put, Query, Record, RecordKey};
use crate::provider::transport::{HttpMethod, HttpRequest};
use crate::provider::{HttpTransport, Store};
use crate::runtime::{self, Runtime, random_id_bytes};
use crate::signing::standard;
use crate::time::{Timestamp, millis};

/// The record kind of deliveries.
pub const DELIVERY: &str = "webhook_delivery";

/// The record kind of endpoints.
pub const ENDPOINT: &str = "webhook_endpoint";

/// Attempts before a delivery is given up.
pub const ATTEMPTS_MAX: usize = 18;

/// Longest wait between two attempts.
pub const BACKOFF_MAX: Duration = Duration::from_secs(24 * 3600);

/// Wait after the first failed attempt; it doubles with each.
const BACKOFF_MIN: Duration = Duration::from_secs(2);

/// Bytes in an endpoint's id at most.
pub const ENDPOINT_ID_BYTES_MAX: usize = 64;

/// Deliveries that are on their way at once.
const CONCURRENT_MAX: u32 = 16;

/// Longest wait for a receiver.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// A claimed delivery is claimed anew after this if its worker dies.
const LEASE: Duration = Duration::from_secs(30);

/// How often due deliveries are looked for when nobody says that there are any, and how soon at the earliest a delivery
/// is looked at again that waits for the one before it.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Longest wait for the body of an answer whose status is known.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// An answer's body is read up to here and then dropped.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// Where a tenant wants its events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Unique in the tenant.
    pub id: String,
    /// `whsec_` and base64.
    pub secret: String,
    /// `http` or `https`.
    pub url: String,
}

/// One event on its way to one endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Each attempt so far.
    pub attempts: Vec<Attempt>,
    /// The body, the same at every attempt.
    pub body: String,
    /// What it is told in order with: a call's id, or its own.
    pub lane: String,
    /// Its place in that order.
    pub place: u64,
    /// When it happened; the signature's time.
    pub created_at: Timestamp,
    /// Where it goes.
    pub endpoint: String,
    /// What happened.
    pub event: EventName,
    /// The delivery that must be over before this one.
    pub previous: Option<String>,
    /// How it stands.
    pub state: DeliveryState,
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Given up.
    Dead,
    /// Acknowledged with a 2xx.
    Delivered,
    /// To be tried, perhaps again.
    Pending,
}

impl DeliveryState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Delivered => "delivered",
            Self::Pending => "pending",
        }
    }
}

/// One attempt of a delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// When.
    pub at: Timestamp,
    /// What kind of failure, if no answer came.
    pub error: Option<ErrorKind>,
    /// How long the answer took.
    pub latency_ms: u64,
    /// The answer's status.
    pub status: Option<u16>,
}

/// Webhooks of all tenants.
#[derive(Clone)]
pub struct Webhooks {
    http: Arc<dyn HttpTransport>,
    runtime: Arc<dyn Runtime>,
    store: Arc<dyn Store>,
    wake: async_channel::Sender<()>,
    woken: async_channel::Receiver<()>,
}

impl Webhooks {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, store: Arc<dyn Store>, http: Arc<dyn HttpTransport>) -> Self {
        let (wake, woken) = async_channel::bounded(1);
        Self { http, runtime, store, wake, woken }
    }

    /// Adds an endpoint, or replaces the one with its id. Returns it with its new secret.
    ///
    /// `ConfigInvalid` unless `id` is 1 to [`ENDPOINT_ID_BYTES_MAX`] lower-case letters, digits, `_` and `-`, and the URL is
    /// `http` or `https`.
    pub async fn register(&self, tenant: TenantId, id: &str, url: &str) -> Result<Endpoint> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
        if id.is_empty() || id.len() > ENDPOINT_ID_BYTES_MAX || !id.bytes().all(is_plain) {
            let message = "an endpoint's id is made of lower-case letters, digits, _ and -";
            return Err(Error::new(ErrorKind::ConfigInvalid, "webhooks.register", message));
        }
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err(Error::new(ErrorKind::ConfigInvalid, "webhooks.register", "the URL is not http or https"));
        }
        let mut key = [0; 24];
        self.runtime.fill_random(&mut key);
        let secret = standard::show_secret(&crate::signing::Secret::new(key));
        let endpoint = Endpoint { id: id.to_owned(), secret, url: url.to_owned() };
        let mut batch = Batch::default();
        batch.put(Put::new(RecordKey::new(tenant, ENDPOINT, id), Expect::Any, to_value(&endpoint)?));
        self.store.commit(batch).await?;
        Ok(endpoint)
    }

    /// The tenant's endpoints.
    pub async fn endpoints(&self, tenant: TenantId) -> Result<Vec<Endpoint>> {
        let page = self.store.list(Query::new(Some(tenant), ENDPOINT)).await?;
        page.records.iter().map(|record| from_value(&record.body)).collect()
    }

    /// The deliveries of a call, in the order of its events.
    pub async fn deliveries(&self, tenant: TenantId, call: CallId) -> Result<Vec<Delivery>> {
        let query = Query::new(Some(tenant), DELIVERY).equal("call", call.to_string());
        let page = self.store.list(query).await?;
        let mut deliveries: Vec<Delivery> =
            page.records.iter().map(|record| from_value(&record.body)).collect::<Result<_>>()?;
        deliveries.sort_by(|a, b| (a.place, &a.endpoint).cmp(&(b.place, &b.endpoint)));
        Ok(deliveries)
    }

    /// What must be written in the commit that causes `event`, so that every endpoint that asks for it is told.
    pub async fn puts(&self, event: &Event<'_>) -> Result<Vec<Put>> {
        let now = self.runtime.wall_clock();
        let body = native::body(event, event.at(now));
        let mut puts = Vec::new();
        for endpoint in self.endpoints(event.tenant()).await? {
            let delivery = Delivery {
                attempts: Vec::new(),
                body: body.clone(),
                created_at: now,
                endpoint: endpoint.id.clone(),
                event: event.name(),
                lane: event.lane(),
                place: event.place(),
                previous: None,
                state: DeliveryState::Pending,
            };
            let key = RecordKey::new(event.tenant(), DELIVERY, format!("{}:{}", event.id(), endpoint.id));
            puts.push(put(key, Expect::Absent, &delivery)?.due_at(now));
        }
        Ok(puts)
    }

    /// Adds the deliveries of `event` to `batch`, and those of earlier events that a failed commit left out.
    pub(super) async fn enqueue(
        &self,
        batch: &mut Batch,
        record: &CallRecord,
        event: EventName,
        ledger: Option<&LedgerSummary>,
        now: Timestamp,
    ) -> Result<()> {
        for endpoint in self.endpoints(record.tenant).await? {
            let order = [EventName::CallStarted, EventName::CallAnswered, EventName::CallEnded];
            let mut previous = None;
            for name in [EventName::CallStarted, EventName::CallAnswered, EventName::CallEnded] {
                if order.iter().position(|n| *n == name) > order.iter().position(|n| *n == event)
                    || (name == EventName::CallAnswered && record.answered_at.is_none())
                {
                    continue;
                }
                // No full stop: it parts the fields that a signature covers.
                let id = format!("{}:{}:{}", record.id, endpoint.id, name.as_str().replace('.', "_"));
                let key = RecordKey::new(record.tenant, DELIVERY, &id);
                if self.store.get(key.clone()).await?.is_none() {
                    let delivery = Delivery {
                        attempts: Vec::new(),
                        body: payload(name, record, ledger.filter(|_| name == EventName::CallEnded), now),
                        created_at: now,
                        endpoint: endpoint.id.clone(),
                        event: name,
                        lane: record.id.to_string(),
                        place: [EventName::CallStarted, EventName::CallAnswered, EventName::CallEnded]
                            .iter()
                            .position(|n| *n == name)
                            .unwrap_or(0) as u64,
                        previous: previous.take(),
                        state: DeliveryState::Pending,
                    };
                    batch.put(put(key, Expect::Absent, &delivery)?.due_at(now));
                }
                previous = Some(id);
            }
        }
        Ok(())
    }

    /// Says that deliveries may be due.
    pub(crate) fn wake(&self) {
        // A full channel is as good as a sent message: the worker will look.
        let _ = self.wake.try_send(());
    }

    /// Delivers until `stop` is closed.
    pub(crate) async fn run(self, stop: async_channel::Receiver<()>) {
        while !stop.is_closed() {
            match self.deliver_due().await {
                Ok(0) => {}
                Ok(_) => continue,
                Err(error) => tracing::warn!(%error, "deliveries could not be claimed"),
            }
            let nap = self.runtime.sleep_until(self.runtime.now() + POLL_INTERVAL);
            futures_util::select_biased! {
                _ = std::pin::pin!(futures_util::FutureExt::fuse(stop.recv())) => return,
                _ = std::pin::pin!(futures_util::FutureExt::fuse(self.woken.recv())) => {}
                () = futures_util::FutureExt::fuse(nap) => {}
            }
        }
    }

    /// Delivers what is due now, once. Returns how many deliveries were tried.
    pub async fn deliver_due(&self) -> Result<usize> {
        let now = self.runtime.wall_clock();
        let claimed = self.store.claim(DELIVERY.to_owned(), now, LEASE, CONCURRENT_MAX).await?;
        let mut deliveries: FuturesUnordered<_> = claimed.into_iter().map(|record| self.deliver(record)).collect();
        let mut tried = 0;
        while let Some(result) = deliveries.next().await {
            match result {
                Ok(true) => tried += 1,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "a delivery could not be recorded"),
            }
        }
        Ok(tried)
    }

    /// Tries one delivery, unless the one before it is still to come.
    async fn deliver(&self, record: Record) -> Result<bool> {
        let mut delivery: Delivery = from_value(&record.body)?;
        if let Some(due_at) = self.waits_until(record.key.tenant, &delivery).await? {
            self.reschedule(record, &delivery, Some(due_at)).await?;
            return Ok(false);
        }
        let attempt = self.attempt(record.key.tenant, &record.key.id, &delivery).await;
        let delivered = attempt.status.is_some_and(|status| (200..300).contains(&status));
        delivery.attempts.push(attempt);
        let due_at = if delivered {
            delivery.state = DeliveryState::Delivered;
            None
        } else if delivery.attempts.len() >= ATTEMPTS_MAX {
            delivery.state = DeliveryState::Dead;
            None
        } else {
            Some(self.runtime.wall_clock() + self.jittered_backoff(delivery.attempts.len()))
        };
        self.reschedule(record, &delivery, due_at).await?;
        Ok(true)
    }

    /// When to look again at a delivery whose predecessor is still to come; `None` when it need not wait.
    async fn waits_until(&self, tenant: TenantId, delivery: &Delivery) -> Result<Option<Timestamp>> {
        let Some(previous) = &delivery.previous else { return Ok(None) };
        let Some(record) = self.store.get(RecordKey::new(tenant, DELIVERY, previous)).await? else { return Ok(None) };
        let previous: Delivery = from_value(&record.body)?;
        if previous.state != DeliveryState::Pending {
            return Ok(None);
        }
        // The longer the predecessor is put off, the less often it is asked after.
        let wait = (backoff(previous.attempts.len()) / 8).clamp(POLL_INTERVAL, LEASE);
        Ok(Some(self.runtime.wall_clock() + wait))
    }

    async fn attempt(&self, tenant: TenantId, id: &str, delivery: &Delivery) -> Attempt {
        let started = self.runtime.now();
        let at = self.runtime.wall_clock();
        let result = self.post(tenant, id, delivery).await;
        let latency_ms = millis(self.runtime.now().saturating_since(started));
        let error = result.as_ref().err().map(Error::kind);
        Attempt { at, error, latency_ms, status: result.ok() }
    }

    async fn post(&self, tenant: TenantId, id: &str, delivery: &Delivery) -> Result<u16> {
        let key = RecordKey::new(tenant, ENDPOINT, &delivery.endpoint);
        let Some(record) = self.store.get(key).await? else {
            return Err(Error::new(ErrorKind::NotFound, "webhooks.deliver", "the endpoint was removed"));
        };
        let endpoint: Endpoint = from_value(&record.body)?;
        let secret = standard::parse_secret(&endpoint.secret)?;
        let body = Bytes::from(delivery.body.clone());
        let headers = standard::sign(&[secret], id, delivery.created_at, &body);
        let request = HttpRequest::new(HttpMethod::Post, endpoint.url, DELIVERY_TIMEOUT)
            .header("content-type", "application/json")
            .header("webhook-id", headers.id)
            .header("webhook-timestamp", headers.timestamp)
            .header("webhook-signature", headers.signature)
            .body(body);
        let response = self.http.send(request).await?;
        let status = response.status;
        // Read the answer so that the connection can be used again; what it says does not matter, and it is not waited for.
        let answer = response.bytes(ANSWER_BYTES_MAX);
        let _ = runtime::timeout(&*self.runtime, ANSWER_TIMEOUT, "webhooks.answer", answer).await;
        Ok(status)
    }

    async fn reschedule(&self, record: Record, delivery: &Delivery, due_at: Option<Timestamp>) -> Result<()> {
        let mut put = put(record.key, Expect::Revision(record.revision), delivery)?;
        put.due_at = due_at;
        let mut batch = Batch::default();
        batch.put(put);
        match self.store.commit(batch).await {
            // The lease ran out and another worker has the delivery: its record counts.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            result => result.map(|_| ()),
        }
    }

    /// [`backoff`], with up to a quarter of jitter on top.
    fn jittered_backoff(&self, attempts: usize) -> Duration {
        let wait = backoff(attempts);
        let [random, ..] = random_id_bytes(&*self.runtime);
        wait + wait * u32::from(random) / (4 * 256)
    }
}

/// The wait after so many failed attempts: doubles from [`BACKOFF_MIN`] to [`BACKOFF_MAX`].
fn backoff(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(20);
    (BACKOFF_MIN * 2_u32.pow(doublings)).min(BACKOFF_MAX)
}

/// The body of an event: `{"type", "timestamp", "data"}`, as Standard Webhooks recommends.
fn payload(event: EventName, record: &CallRecord, ledger: Option<&LedgerSummary>, now: Timestamp) -> String {
    let mut call = serde_json::to_value(record).unwrap_or_default();
    for (field, moment) in
        [("started_at", Some(record.started_at)), ("answered_at", record.answered_at), ("ended_at", record.ended_at)]
    {
        call[field] = moment.map_or(Value::Null, |moment| Value::String(moment.to_string()));
    }
    let mut data = json!({ "call": call });
    if let Some(ledger) = ledger {
        data["ledger"] = serde_json::to_value(ledger).unwrap_or_default();
    }
    json!({ "type": event.as_str(), "timestamp": now.to_string(), "data": data }).to_string()
}

fn put(key: RecordKey, expect: Expect, delivery: &Delivery) -> Result<Put> {
    Ok(Put::new(key, expect, to_value(delivery)?)
        .index("call", delivery.lane.as_str())
        .index("endpoint", delivery.endpoint.as_str())
        .index("state", delivery.state.as_str()))
}

pub(super) fn to_value(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value)
        .map_err(|error| Error::new(ErrorKind::Unexpected, "record.encode", "cannot be written").with_source(error))
}

pub(super) fn from_value<T: for<'de> Deserialize<'de>>(value: &Value) -> Result<T> {
    T::deserialize(value)
        .map_err(|error| Error::new(ErrorKind::Unexpected, "record.decode", "cannot be read").with_source(error))
}
