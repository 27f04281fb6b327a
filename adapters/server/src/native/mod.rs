//! What is nobody's: health, recordings by link, the events of a call, and our own form of refusals.

mod calls;
pub(crate) mod health;
pub(crate) mod recordings;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::metrics;
use crate::problem::Problem;
use crate::request::RequestId;

/// Its routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(health::health))
        .routes(routes!(health::fleet))
        .routes(routes!(metrics::metrics))
        .routes(routes!(recordings::open))
        .routes(routes!(calls::events))
}

/// `{"error", "code", "request_id"}`
pub fn shape(problem: &Problem, id: RequestId) -> Response {
    let body = json!({ "error": problem.sentence(), "code": problem.kind.as_str(), "request_id": id.to_string() });
    (problem.kind.status(), Json(body)).into_response()
}
