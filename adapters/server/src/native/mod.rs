//! What is nobody's: health, recordings by link, the events of a call, and our own form of refusals.

mod agents;
mod calls;
pub(crate) mod health;
pub(crate) mod recordings;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use offhook::dialect::Dialect;
use offhook::service::keys;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::gate::{self, Rate};
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
    let refusal = Refusal { code: problem.kind.as_str(), error: problem.sentence(), request_id: id.to_string() };
    (problem.kind.status(), Json(refusal)).into_response()
}

/// A refusal.
#[derive(Serialize, ToSchema)]
pub(crate) struct Refusal {
    /// Why, in one word.
    code: &'static str,
    /// Why, in a sentence.
    error: String,
    request_id: String,
}

/// Whoever has a key of any dialect that is for all agents, in `Authorization: Bearer` or `X-API-Key`; counted as its
/// tenant's plan says.
pub(crate) struct AnyKey(pub(crate) Caller);

impl FromRequestParts<App> for AnyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Answer<Self> {
        let headers = &parts.headers;
        let key = gate::bearer(headers, "authorization").or_else(|| gate::plain(headers, "x-api-key"));
        let text = key.as_deref().unwrap_or_default();
        let dialect = Dialect::ALL.into_iter().find(|dialect| text.starts_with(keys::prefix(*dialect)));
        let caller = gate::identify(app, dialect.unwrap_or(Dialect::VoxStack), key).await?;
        if caller.key.agents.is_some() {
            return Err(Problem::new(Kind::Forbidden, "the key is for some agents alone"));
        }
        gate::count(app, Rate::Plan, &caller).await?;
        Ok(Self(caller))
    }
}
