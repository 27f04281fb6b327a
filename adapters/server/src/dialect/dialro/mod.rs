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
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Mounted;
use crate::app::App;
use crate::describe::Described;
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
        refusal: Described::of::<Refusal>,
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
    let refusal = Refusal {
        code: problem.kind.as_str(),
        error: problem.sentence(),
        field: problem.field.clone(),
        request_id: id.to_string(),
    };
    (status, Json(refusal)).into_response()
}

/// A refusal.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = dialro::Refusal)]
struct Refusal {
    /// Why, in one word.
    code: &'static str,
    /// Why, in a sentence.
    error: String,
    /// The field that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    request_id: String,
}
