//! One message on its way to one target, as it is kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::ids::TenantId;
use crate::provider::store::{Expect, IndexValue, Put, Record, RecordKey};
use crate::provider::transport::HttpMethod;
use crate::service::webhooks::to_value;
use crate::time::Timestamp;

/// The record kind of deliveries.
pub const DELIVERY: &str = "delivery";

/// How long after its event a delivery is given up.
pub const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// How soon a delivery is looked at again that could not be tried because of a fault on our side.
pub const HINDRANCE_DELAY: Duration = Duration::from_secs(300);

/// How long a delivery is kept that is over.
pub const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

/// Attempts that a delivery lists: the last ones.
pub const ATTEMPTS_KEPT: usize = 32;

/// What is to be sent, fixed in the commit that causes it.
#[derive(Clone, Debug)]
pub struct Message {
    /// The body, the same at every attempt.
    pub body: String,
    /// What happened, such as `call.ended`.
    pub event: String,
    /// Which event; several targets may be told of one.
    pub event_id: String,
    /// Unique in the tenant: a message of the same id is the same message.
    pub id: String,
    /// What it is sent in order with, for one target: a call's id, or its own.
    pub lane: String,
    /// Its place in that order.
    pub place: u64,
    /// Where it goes.
    pub target: Target,
    /// Whose it is.
    pub tenant: TenantId,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// An endpoint of the tenant, as it is when the message is sent.
    Endpoint(String),
    /// What is written here.
    Inline(Box<Inline>),
}

impl Target {
    /// The endpoint `id`.
    pub fn endpoint(id: &str) -> Self {
        Self::Endpoint(id.to_owned())
    }

    /// Whether a failed attempt is the last.
    pub(super) fn is_tried_once(&self) -> bool {
        matches!(self, Self::Inline(inline) if inline.attempts == Attempts::Once)
    }

    /// What is tried together: an endpoint, or everything at one host and port.
    pub fn queue(&self) -> String {
        match self {
            Self::Endpoint(id) => format!("endpoint:{id}"),
            Self::Inline(inline) => format!("origin:{}", inline.origin()),
        }
    }
}

/// A target that is no endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inline {
    /// How often it is tried.
    pub attempts: Attempts,
    /// Headers that anybody may see, names in lower case. The body is JSON unless they say otherwise.
    pub headers: Vec<(String, String)>,
    /// The method.
    #[serde(with = "method")]
    pub method: HttpMethod,
    /// Headers whose values are secret, sealed by [`Outbox::seal`](super::Outbox::seal).
    pub sealed_headers: Vec<(String, String)>,
    /// The secrets that sign it, sealed likewise, the newest first.
    pub sealed_secrets: Vec<String>,
    /// How it is signed.
    pub scheme: Scheme,
    /// Longest wait for an answer.
    #[serde(rename = "timeout_ms", with = "crate::time::duration_ms")]
    pub timeout: Duration,
    /// Absolute, `http` or `https`.
    pub url: String,
}

impl Inline {
    /// A POST to `url` that is tried again and not signed.
    pub fn new(url: impl Into<String>, timeout: Duration) -> Self {
        Self {
            attempts: Attempts::Retried,
            headers: Vec::new(),
            method: HttpMethod::Post,
            scheme: Scheme::None,
            sealed_headers: Vec::new(),
            sealed_secrets: Vec::new(),
            timeout,
            url: url.into(),
        }
    }

    /// Scheme, host and port as they are written: one host in two spellings has two queues, which harms nobody.
    fn origin(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap_or_default();
        let host = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default();
        let end = host.char_indices().nth(HOST_CHARS_MAX).map_or(host.len(), |(at, _)| at);
        format!("{scheme}://{}", &host[..end])
    }
}

/// Longest host that tells one queue from another.
const HOST_CHARS_MAX: usize = 200;

/// How often a message is tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attempts {
    /// Once, come what may.
    Once,
    /// Again and again until [`PATIENCE`] is at its end.
    Retried,
}

/// How a message is signed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// [`signing::body`](crate::signing::body) in the header of this name.
    Body(String),
    /// Not at all.
    None,
    /// [`signing::standard`](crate::signing::standard).
    Standard,
    /// [`signing::body`](crate::signing::body) by the tenant's own [secret](crate::service::tenants::Tenants::signing_secret),
    /// in the header of this name: over the body, or over the query where there is none. A tenant that has no secret is
    /// sent no signature.
    Tenant(String),
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The last [`ATTEMPTS_KEPT`] attempts.
    pub attempts: Vec<Attempt>,
    /// All attempts so far.
    pub attempts_made: u32,
    /// The body, the same at every attempt.
    pub body: String,
    /// When it was written.
    pub created_at: Timestamp,
    /// What happened.
    pub event: String,
    /// Which event.
    pub event_id: String,
    /// When it is given up.
    pub expires_at: Timestamp,
    /// Why it could not even be tried when its time came last, if it could not: a fault on our side, such as a key that is
    /// not configured. It counts as no attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hindrance: Option<String>,
    /// Unique in the tenant.
    pub id: String,
    /// What it is sent in order with.
    pub lane: String,
    /// When it is tried, unless one before it in its lane is still to come.
    pub next_at: Timestamp,
    /// Its place in its lane.
    pub place: u64,
    /// How it stands.
    pub state: DeliveryState,
    /// Where it goes.
    pub target: Target,
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
    /// The first bytes of the answer.
    pub answer: String,
    /// When.
    pub at: Timestamp,
    /// What kind of failure, if no answer came.
    pub error: Option<ErrorKind>,
    /// How long the answer took.
    pub latency_ms: u64,
    /// The answer's status.
    pub status: Option<u16>,
}

impl Attempt {
    /// An attempt that came to its end before anything left.
    pub(super) fn unsendable(error: &Error, at: Timestamp) -> Self {
        Self { answer: error.message().to_owned(), at, error: Some(error.kind()), latency_ms: 0, status: None }
    }

    /// Whether it was acknowledged.
    pub fn is_success(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

impl Delivery {
    pub(super) fn new(message: Message, now: Timestamp) -> Self {
        Self {
            attempts: Vec::new(),
            attempts_made: 0,
            body: message.body,
            created_at: now,
            event: message.event,
            event_id: message.event_id,
            expires_at: now + PATIENCE,
            hindrance: None,
            id: message.id,
            lane: message.lane,
            next_at: now,
            place: message.place,
            state: DeliveryState::Pending,
            target: message.target,
        }
    }

    /// To be tried anew, at once.
    pub(super) fn revive(&mut self, now: Timestamp) {
        self.expires_at = now + PATIENCE;
        self.next_at = now;
        self.state = DeliveryState::Pending;
    }

    /// It cannot be tried, and that is not its receiver's fault: it waits, or is given up when its time is over.
    pub(super) fn hinder(&mut self, error: &Error, now: Timestamp) {
        self.hindrance = Some(error.message().to_owned());
        self.next_at = now + HINDRANCE_DELAY;
        if self.next_at >= self.expires_at {
            self.state = DeliveryState::Dead;
        }
    }

    pub(super) fn note(&mut self, attempt: Attempt) {
        if self.attempts.len() >= ATTEMPTS_KEPT {
            self.attempts.remove(0);
        }
        self.hindrance = None;
        self.attempts.push(attempt);
        self.attempts_made = self.attempts_made.saturating_add(1);
    }

    /// The row: due for its removal once it is over.
    pub(super) fn put(&self, tenant: TenantId, expect: Expect, now: Timestamp) -> Result<Put> {
        let queue = self.target.queue();
        let put = Put::new(RecordKey::new(tenant, DELIVERY, &self.id), expect, to_value(self)?)
            .index("lane", self.lane.as_str())
            .index(STANDING, standing(&queue, self.state));
        Ok(match self.state {
            DeliveryState::Pending => put.index(TURN, turn(tenant, &queue, self.next_at)),
            DeliveryState::Dead | DeliveryState::Delivered => put.due_at(now + RETENTION),
        })
    }
}

/// The row of a pending delivery that cannot be read, as it is but for its state: dead, so that its queue goes on.
pub(super) fn bury_unread(record: Record, now: Timestamp) -> Put {
    let Record { key, revision, mut indexes, mut body, .. } = record;
    indexes.remove(TURN);
    if let Some(IndexValue::Text(standing)) = indexes.get_mut(STANDING)
        && let Some(queue) = standing.strip_suffix(DeliveryState::Pending.as_str())
    {
        *standing = format!("{queue}{}", DeliveryState::Dead.as_str());
    }
    if let Some(state) = body.get_mut("state") {
        *state = DeliveryState::Dead.as_str().into();
    }
    Put { key, expect: Expect::Revision(revision), indexes, due_at: Some(now + RETENTION), body }
}

/// The name of the index of deliveries of a queue in one state.
pub(super) const STANDING: &str = "standing";

/// The name of the index of pending deliveries.
pub(super) const TURN: &str = "turn";

/// The index of deliveries of a queue in one state.
pub(super) fn standing(queue: &str, state: DeliveryState) -> String {
    format!("{queue} {}", state.as_str())
}

/// The index of pending deliveries: those of a queue stand together, in the order in which they are tried.
pub(super) fn turn(tenant: TenantId, queue: &str, next_at: Timestamp) -> String {
    format!("{} {:020}", turns(tenant, queue), next_at.as_unix_micros().max(0))
}

/// What the turns of a queue begin with.
pub(super) fn turns(tenant: TenantId, queue: &str) -> String {
    format!("{tenant} {queue}")
}

mod method {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::provider::transport::HttpMethod;

    const ALL: [HttpMethod; 5] =
        [HttpMethod::Delete, HttpMethod::Get, HttpMethod::Patch, HttpMethod::Post, HttpMethod::Put];

    pub(super) fn serialize<S: Serializer>(method: &HttpMethod, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(method.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HttpMethod, D::Error> {
        let text = String::deserialize(deserializer)?;
        let found = ALL.into_iter().find(|method| method.as_str() == text);
        found.ok_or_else(|| de::Error::custom("an unknown HTTP method"))
    }
}
