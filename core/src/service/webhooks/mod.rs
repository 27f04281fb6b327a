//! Webhooks: events that are written in the commit that causes them, for each endpoint that asks for them.
//!
//! The [`outbox`](super::outbox) delivers them, in order for each endpoint and call.

mod dialro;
pub(crate) mod endpoint;
mod event;
mod native;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use dialro::minutes;
pub use endpoint::{
    ENDPOINT, ENDPOINT_ID_BYTES_MAX, Endpoint, EndpointChange, Form, NewEndpoint, OVERLAP_MAX, SECRET_BYTES_MAX,
};
pub(crate) use event::AFTER_ALL_EVENTS;
pub use event::{CreditsLow, Event, EventName, Told, WebhookTest};

use self::endpoint::{Row, check_events, check_id};
use super::calls::StoredCall;
use super::outbox::{Delivery, Message, Outbox, Target};
use super::vault::Vault;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CallId, DeliveryId, TenantId};
use crate::provider::Store;
use crate::provider::reach::Reach;
use crate::provider::store::{Add, Batch, CounterKey, Expect, Put, Query, RecordKey};
use crate::runtime::Runtime;
use crate::signing::{Secret, standard};

/// Endpoints that a tenant may have.
pub const ENDPOINTS_MAX: u32 = 32;

/// Counts a tenant's endpoints.
const ENDPOINTS: &str = "webhook_endpoints";

/// Bytes of a secret that is made here.
const SECRET_BYTES: usize = 24;

/// Webhooks of all tenants.
#[derive(Clone)]
pub struct Webhooks {
    outbox: Outbox,
    reach: Reach,
    runtime: Arc<dyn Runtime>,
    store: Arc<dyn Store>,
    vault: Vault,
}

impl Webhooks {
    pub(crate) fn new(
        runtime: Arc<dyn Runtime>,
        store: Arc<dyn Store>,
        outbox: Outbox,
        vault: Vault,
        reach: Reach,
    ) -> Self {
        Self { outbox, reach, runtime, store, vault }
    }

    /// Adds an endpoint. Returns it with its secret, which is not shown again.
    ///
    /// `ConfigInvalid` unless `id` is 1 to [`ENDPOINT_ID_BYTES_MAX`] lower-case letters, digits, `_` and `-`, the URL can be
    /// [reached](Reach::check), there is an event, and the secret is one of its form's; `Conflict` when there is an endpoint
    /// of that id, `RateLimited` when there are [`ENDPOINTS_MAX`].
    pub async fn register(&self, tenant: TenantId, id: &str, new: NewEndpoint) -> Result<(Endpoint, String)> {
        check_id(id)?;
        self.reach.check(&new.url)?;
        let endpoint = Endpoint {
            created_at: self.runtime.wall_clock(),
            events: check_events(new.events)?,
            form: new.form,
            gone_at: None,
            id: id.to_owned(),
            is_active: true,
            url: new.url,
        };
        let secret = new.secret.unwrap_or_else(|| self.make_secret());
        let row = Row::new(&self.vault, tenant, endpoint, &secret)?;
        let mut batch = Batch::default();
        batch.put(row.put(tenant, Expect::Absent)?).add(count(tenant, 1));
        self.store.commit(batch).await?;
        Ok((row.endpoint, secret))
    }

    /// The tenant's endpoints, by their ids.
    pub async fn endpoints(&self, tenant: TenantId) -> Result<Vec<Endpoint>> {
        let query = Query::new(Some(tenant), ENDPOINT).order(crate::provider::store::Order::IdAscending);
        let page = self.store.list(query).await?;
        page.records.iter().map(|record| from_value(&record.body)).collect()
    }

    /// The endpoint, if there is one.
    pub async fn endpoint(&self, tenant: TenantId, id: &str) -> Result<Option<Endpoint>> {
        Ok(endpoint::load(&*self.store, tenant, id).await?.map(|(row, _)| row.endpoint))
    }

    /// Changes an endpoint; `NotFound` when there is none, else as [`Webhooks::register`].
    pub async fn update(&self, tenant: TenantId, id: &str, change: EndpointChange) -> Result<Endpoint> {
        let events = change.events.map(check_events).transpose()?;
        change.url.as_deref().map(|url| self.reach.check(url)).transpose()?;
        let apply = |row: &mut Row| {
            let endpoint = &mut row.endpoint;
            endpoint.events = events.clone().unwrap_or_else(|| std::mem::take(&mut endpoint.events));
            endpoint.url = change.url.clone().unwrap_or_else(|| std::mem::take(&mut endpoint.url));
            endpoint.is_active = change.is_active.unwrap_or(endpoint.is_active);
            endpoint.gone_at = endpoint.gone_at.filter(|_| !endpoint.is_active);
            Ok(())
        };
        endpoint::change(&*self.store, tenant, id, apply).await
    }

    /// Gives an endpoint a new secret, the customer's own or one that is made here, and returns it. The one before it signs
    /// as well for `overlap`, at most [`OVERLAP_MAX`].
    ///
    /// Standard Webhooks have room for both signatures; in Dialro's form the old one stands in
    /// `X-Dialro-Signature-Previous`.
    pub async fn rotate(
        &self,
        tenant: TenantId,
        id: &str,
        secret: Option<String>,
        overlap: Duration,
    ) -> Result<String> {
        let secret = secret.unwrap_or_else(|| self.make_secret());
        let now = self.runtime.wall_clock();
        let apply = |row: &mut Row| row.rotate(&self.vault, tenant, &secret, overlap, now);
        endpoint::change(&*self.store, tenant, id, apply).await?;
        Ok(secret)
    }

    /// Removes an endpoint; `NotFound` when there is none. What is pending is given up.
    pub async fn delete(&self, tenant: TenantId, id: &str) -> Result<()> {
        let (_, revision) = endpoint::load(&*self.store, tenant, id).await?.ok_or_else(endpoint::missing)?;
        let mut batch = Batch::default();
        batch.delete(RecordKey::new(tenant, ENDPOINT, id), Expect::Revision(revision)).add(count(tenant, -1));
        self.store.commit(batch).await.map(|_| ())
    }

    /// Sends an event without content to an endpoint, whatever it asks for. Returns the delivery's id; see
    /// [`Outbox::get`].
    ///
    /// `NotFound` when there is no such endpoint, `Conflict` when it is switched off.
    pub async fn test(&self, tenant: TenantId, id: &str) -> Result<String> {
        let endpoint = self.endpoint(tenant, id).await?.ok_or_else(endpoint::missing)?;
        if !endpoint.is_active {
            return Err(Error::new(ErrorKind::Conflict, "webhooks.test", "the endpoint is switched off"));
        }
        let test = WebhookTest { key: DeliveryId::generate(&*self.runtime).to_string(), tenant };
        let message = self.message(&Event::WebhookTest(&test), &endpoint, &mut BTreeMap::new());
        let delivery = message.id.clone();
        let mut batch = Batch::default();
        self.outbox.enqueue(&mut batch, message)?;
        self.store.commit(batch).await?;
        self.outbox.wake();
        Ok(delivery)
    }

    /// The deliveries of a call's events, in their order.
    pub async fn deliveries(&self, tenant: TenantId, call: CallId) -> Result<Vec<Delivery>> {
        self.outbox.lane(tenant, &call.to_string()).await
    }

    /// Sends all of an endpoint's dead deliveries once more. Returns how many there are.
    pub async fn redeliver_dead(&self, tenant: TenantId, id: &str) -> Result<usize> {
        endpoint::load(&*self.store, tenant, id).await?.ok_or_else(endpoint::missing)?;
        self.outbox.redeliver_dead(tenant, &Target::endpoint(id).queue()).await
    }

    /// What must be in the commit that causes `event`, so that every endpoint that asks for it is told. Once it has
    /// happened, [`Outbox::wake`] spares a short wait.
    pub async fn puts(&self, event: &Event<'_>) -> Result<Vec<Put>> {
        let mut puts = Vec::new();
        for message in self.messages(event.tenant(), std::slice::from_ref(event)).await? {
            puts.extend(self.outbox.puts(message)?);
        }
        Ok(puts)
    }

    /// Adds the events of a call to the commit that causes them: all that it tells and that were not told. Afterwards the
    /// call's [`StoredCall::told`] says that they were.
    pub(super) async fn tell(&self, batch: &mut Batch, call: &mut StoredCall) -> Result<()> {
        let events = call.told.missing(call);
        let told = events.iter().fold(call.told.clone(), Told::with);
        for message in self.messages(call.record.tenant, &events).await? {
            self.outbox.enqueue(batch, message)?;
        }
        call.told = told;
        Ok(())
    }

    /// Says that something was written.
    pub(crate) fn wake(&self) {
        self.outbox.wake();
    }

    /// Each event for each endpoint that asks for it.
    async fn messages(&self, tenant: TenantId, events: &[Event<'_>]) -> Result<Vec<Message>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let endpoints = self.endpoints(tenant).await?;
        let mut messages = Vec::new();
        for event in events {
            let mut bodies = BTreeMap::new();
            let asks = |endpoint: &&Endpoint| endpoint.is_active && endpoint.events.contains(&event.name());
            messages.extend(endpoints.iter().filter(asks).map(|endpoint| self.message(event, endpoint, &mut bodies)));
        }
        Ok(messages)
    }

    fn message(&self, event: &Event<'_>, endpoint: &Endpoint, bodies: &mut BTreeMap<Form, String>) -> Message {
        let at = event.at(self.runtime.wall_clock());
        let body = bodies.entry(endpoint.form).or_insert_with(|| match endpoint.form {
            Form::Dialro => dialro::body(event, at),
            Form::Native => native::body(event, at),
        });
        let event_id = event.id();
        Message {
            body: body.clone(),
            event: event.name().as_str().to_owned(),
            id: format!("{event_id}:{}", endpoint.id),
            event_id,
            lane: event.lane(),
            place: event.place(),
            target: Target::endpoint(&endpoint.id),
            tenant: event.tenant(),
        }
    }

    fn make_secret(&self) -> String {
        let mut key = [0; SECRET_BYTES];
        self.runtime.fill_random(&mut key);
        standard::show_secret(&Secret::new(key))
    }
}

fn count(tenant: TenantId, delta: i64) -> Add {
    let counter = CounterKey::new(tenant, ENDPOINTS);
    Add { counter, delta, floor: None, ceiling: Some(ENDPOINTS_MAX.into()), crossing: None }
}

pub(super) fn to_value(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value)
        .map_err(|error| Error::new(ErrorKind::Unexpected, "record.encode", "cannot be written").with_source(error))
}

pub(super) fn from_value<T: for<'de> Deserialize<'de>>(value: &Value) -> Result<T> {
    T::deserialize(value)
        .map_err(|error| Error::new(ErrorKind::Unexpected, "record.decode", "cannot be read").with_source(error))
}
