//! Dialro: agents, numbers, calls, prepaid minutes, webhooks and functions, in camel case (contract DR-001 to DR-097).

mod agents;
mod calls;
mod credits;
mod functions;
mod numbers;
mod webhooks;

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use offhook::dialect::Dialect;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Mounted;
use crate::app::App;
use crate::gate::{self, Gate, Rate};
use crate::problem::{Kind, Problem};
use crate::request::{Query, RequestId};

/// Before ids of agents, calls, functions' owners and numbers.
const AGENT: &str = "agent_";
const CALL: &str = "call_";
const NUMBER: &str = "pn_";

pub(super) fn mounted() -> Mounted {
    Mounted {
        name: "dialro",
        title: "Dialro",
        gate: Gate { dialect: Dialect::Dialro, key, rate: Rate::Plan },
        gated,
        open: OpenApiRouter::new,
        shape,
    }
}

fn gated() -> OpenApiRouter<App> {
    let api = OpenApiRouter::new()
        .routes(routes!(agents::list, agents::create))
        .routes(routes!(agents::get, agents::update, agents::delete))
        .routes(routes!(functions::list, functions::create))
        .routes(routes!(functions::delete))
        .routes(routes!(numbers::list))
        .routes(routes!(numbers::assign))
        .routes(routes!(calls::list))
        .routes(routes!(calls::get))
        .routes(routes!(calls::transcript))
        .routes(routes!(credits::balance))
        .routes(routes!(credits::transactions))
        .routes(routes!(webhooks::list, webhooks::create))
        .routes(routes!(webhooks::delete))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::redeliver));
    OpenApiRouter::new().nest("/api/v1", api)
}

fn key(headers: &HeaderMap, _: &Query) -> Option<String> {
    gate::plain(headers, "x-api-key")
}

/// `{"error", "code"}`, with the field that is wrong (DR-006, DR-029).
fn shape(problem: &Problem, id: RequestId) -> Response {
    let status = match problem.kind {
        // The vendor names none of them: what cannot be done as things stand is a conflict.
        Kind::Funds => StatusCode::PAYMENT_REQUIRED,
        kind => kind.status(),
    };
    let mut body = json!({ "error": problem.sentence(), "code": problem.kind.as_str(), "requestId": id.to_string() });
    if let Some(field) = &problem.field {
        body["field"] = json!(field);
    }
    (status, Json(body)).into_response()
}
