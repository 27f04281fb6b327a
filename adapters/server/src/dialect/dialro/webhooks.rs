//! Webhooks (DR-070 to DR-079).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use offhook::service::outbox::{Delivery, DeliveryState};
use offhook::service::webhooks::{Endpoint, EventName, Form, NewEndpoint};
use offhook::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::CALL;
use crate::app::App;
use crate::id;
use crate::problem::{Answer, Kind, Problem};
use crate::request::{Body, Caller, Query};

/// Before ids of webhooks.
const WEBHOOK: &str = "wh_";

/// A webhook as it is shown: never with its secret (DR-075).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = dialro::Webhook)]
pub(super) struct Shown {
    id: String,
    url: String,
    events: Vec<&'static str>,
    is_active: bool,
    #[schema(format = "date-time")]
    created_at: String,
    /// Only in the answer to its registration, and only if it was made here.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// What webhooks are listed in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = dialro::Webhooks)]
pub(super) struct List {
    webhooks: Vec<Shown>,
}

/// A webhook to be registered.
#[derive(Deserialize, ToSchema)]
#[schema(as = dialro::NewWebhook)]
pub(super) struct New {
    #[schema(format = "uri")]
    url: String,
    #[schema(min_items = 1)]
    events: Vec<String>,
    secret: Option<String>,
}

/// One delivery of one event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = dialro::Delivery)]
pub(super) struct Delivered {
    id: String,
    event: String,
    #[schema(pattern = "^(pending|delivered|dead)$")]
    state: &'static str,
    attempts: u64,
    last_status: Option<u16>,
    last_error: Option<&'static str>,
}

/// What deliveries are listed in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = dialro::Deliveries)]
pub(super) struct Deliveries {
    deliveries: Vec<Delivered>,
}

/// The tenant's webhooks.
#[utoipa::path(get, operation_id = "list_webhooks", path = "/webhooks", tag = "webhooks", responses((status = 200, body = List)))]
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Answer<Json<List>> {
    let endpoints = app.engine().webhooks().endpoints(caller.tenant).await?;
    let own = endpoints.iter().filter(|endpoint| endpoint.form == Form::Dialro);
    Ok(Json(List { webhooks: own.map(|endpoint| Shown::of(endpoint, None)).collect() }))
}

/// Registers a webhook.
#[utoipa::path(post, operation_id = "create_webhook", path = "/webhooks", tag = "webhooks", request_body = New, responses((status = 201, body = Shown), (status = 400)))]
pub(super) async fn create(State(app): State<App>, caller: Caller, body: Body<New>) -> Answer<Response> {
    let new = body.read()?;
    let events: Vec<EventName> = new.events.iter().map(|name| event(name)).collect::<Answer<_>>()?;
    if events.is_empty() {
        return Err(Problem::invalid("events", "names at least one event"));
    }
    if new.secret.as_deref() == Some("") {
        return Err(Problem::invalid("secret", "is empty"));
    }
    let is_made_here = new.secret.is_none();
    let mut endpoint = NewEndpoint::new(new.url);
    endpoint.events = events;
    endpoint.form = Form::Dialro;
    endpoint.secret = new.secret;
    let moment = app.runtime().wall_clock();
    let uuid: Uuid = offhook::ids::uuid_v7(moment, offhook::runtime::random_id_bytes(app.runtime()));
    let registered = app.engine().webhooks().register(caller.tenant, &id::show(WEBHOOK, uuid), endpoint).await;
    let (endpoint, secret) = registered.map_err(|error| match error.kind() {
        ErrorKind::ConfigInvalid if error.operation().starts_with("reach") => Problem::invalid("url", error.message()),
        ErrorKind::RateLimited => Problem::new(Kind::Conflict, "there are as many webhooks as may be"),
        _ => error.into(),
    })?;
    let shown = Shown::of(&endpoint, is_made_here.then_some(secret));
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// Removes a webhook.
#[utoipa::path(delete, operation_id = "delete_webhook", path = "/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)), responses((status = 204), (status = 404)))]
pub(super) async fn delete(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    require(&app, &caller, &id).await?;
    app.engine().webhooks().delete(caller.tenant, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The deliveries of a call's events, in their order.
#[utoipa::path(get, operation_id = "list_deliveries", path = "/webhooks/{id}/deliveries", tag = "webhooks", params(("id" = String, Path), ("callId" = String, Query)), responses((status = 200, body = Deliveries), (status = 400), (status = 404)))]
pub(super) async fn deliveries(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
) -> Answer<Json<Deliveries>> {
    require(&app, &caller, &id).await?;
    let call = query.text("callId").ok_or_else(|| Problem::invalid("callId", "is required"))?;
    let call = id::parse(call, CALL, "call")?;
    let deliveries = app.engine().webhooks().deliveries(caller.tenant, call).await?;
    let own = deliveries.iter().filter(|delivery| delivery.id.ends_with(&format!(":{id}")));
    Ok(Json(Deliveries { deliveries: own.map(Delivered::of).collect() }))
}

/// Sends a delivery once more (DR-078).
#[utoipa::path(post, operation_id = "redeliver", path = "/webhooks/{id}/deliveries/{delivery}/redeliver", tag = "webhooks", params(("id" = String, Path), ("delivery" = String, Path)), responses((status = 202, body = Delivered), (status = 404), (status = 409)))]
pub(super) async fn redeliver(
    State(app): State<App>,
    caller: Caller,
    Path((id, delivery)): Path<(String, String)>,
) -> Answer<Response> {
    require(&app, &caller, &id).await?;
    if !delivery.ends_with(&format!(":{id}")) {
        return Err(Problem::not_found("delivery"));
    }
    let outbox = app.engine().outbox();
    outbox.redeliver(caller.tenant, &delivery).await?;
    let delivery = outbox.get(caller.tenant, &delivery).await?.ok_or_else(|| Problem::not_found("delivery"))?;
    Ok((StatusCode::ACCEPTED, Json(Delivered::of(&delivery))).into_response())
}

async fn require(app: &App, caller: &Caller, id: &str) -> Answer<()> {
    let missing = || Error::new(ErrorKind::NotFound, "dialro.webhooks", "there is no such webhook");
    let endpoint = app.engine().webhooks().endpoint(caller.tenant, id).await?;
    endpoint.filter(|endpoint| endpoint.form == Form::Dialro).map(drop).ok_or_else(|| missing().into())
}

fn event(name: &str) -> Answer<EventName> {
    let found = name.parse().ok().filter(|name| EventName::ALL.contains(name));
    found.ok_or_else(|| {
        let names: Vec<_> = EventName::ALL.iter().map(|name| name.as_str()).collect();
        Problem::invalid("events", format!("is not one of {}", names.join(", ")))
    })
}

impl Shown {
    fn of(endpoint: &Endpoint, secret: Option<String>) -> Self {
        Self {
            id: endpoint.id.clone(),
            url: endpoint.url.clone(),
            events: endpoint.events.iter().map(|name| name.as_str()).collect(),
            is_active: endpoint.is_active,
            created_at: endpoint.created_at.to_string(),
            secret,
        }
    }
}

impl Delivered {
    fn of(delivery: &Delivery) -> Self {
        let last = delivery.attempts.last();
        Self {
            id: delivery.id.clone(),
            event: delivery.event.clone(),
            state: match delivery.state {
                DeliveryState::Dead => "dead",
                DeliveryState::Delivered => "delivered",
                DeliveryState::Pending => "pending",
            },
            attempts: delivery.attempts_made.into(),
            last_status: last.and_then(|attempt| attempt.status),
            last_error: last.and_then(|attempt| attempt.error).map(|kind| kind.as_str()),
        }
    }
}
