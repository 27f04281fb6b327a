//! What is nobody's: health, recordings by link, the events of a call, and our own form of refusals.

mod agents;
mod calls;
pub(crate) mod health;
pub(crate) mod recordings;

use axum::Json;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use offhook::dialect::Dialect;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::gate;
use crate::metrics;
use crate::problem::{Answer, Kind, Problem};
use crate::request::{Caller, RequestId};

/// Its routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(health::health))
        .routes(routes!(health::fleet))
        .routes(routes!(metrics::metrics))
        .routes(routes!(recordings::open))
        .routes(routes!(agents::get, agents::update))
        .routes(routes!(calls::events))
}

/// `{"error", "code", "request_id"}`
pub fn shape(problem: &Problem, id: RequestId) -> Response {
    let body = json!({ "error": problem.sentence(), "code": problem.kind.as_str(), "request_id": id.to_string() });
    (problem.kind.status(), Json(body)).into_response()
}

/// Whoever has a key of any dialect that is for all agents, in `Authorization: Bearer` or `X-API-Key`.
pub(crate) async fn any_key(app: &App, headers: &HeaderMap) -> Answer<Caller> {
    let key = gate::bearer(headers, "authorization").or_else(|| gate::plain(headers, "x-api-key"));
    let dialect = Dialect::ALL
        .into_iter()
        .find(|dialect| key.as_deref().is_some_and(|key| key.starts_with(offhook::service::keys::prefix(*dialect))));
    let caller = gate::identify(app, dialect.unwrap_or(Dialect::VoxStack), key).await?;
    match caller.key.agents {
        None => Ok(caller),
        Some(_) => Err(Problem::new(Kind::Forbidden, "the key is for some agents alone")),
    }
}
