//! VoxStack: agents, tasks, calls and their live transcripts, in one envelope (contract VS-001 to VS-081).

mod agents;
mod calls;
mod dtmf;
mod envelope;
mod live;
mod manage;
mod recording;
mod report;
mod socket;
mod tasks;
mod transcript;

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use offhook::dialect::Dialect;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::envelope::Failure;
pub(crate) use self::manage::SESSION_COOKIE;
use super::Mounted;
use crate::app::App;
use crate::describe::Described;
use crate::gate::{self, Gate, Rate};
use crate::problem::{Kind, Problem};
use crate::request::{Query, RequestId};

/// VS-002
const REQUESTS_PER_MINUTE: u32 = 1_000;

/// How many of a list are shown unless told, and at most (VS-010).
const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 100;

/// Where the API stands, below the dialect.
const API: &str = "/api/v1";

pub(super) fn mounted() -> Mounted {
    Mounted {
        name: "voxstack",
        title: "VoxStack",
        gate: Gate { dialect: Dialect::VoxStack, key, rate: Rate::Key(REQUESTS_PER_MINUTE) },
        gated,
        open,
        refusal: Described::of::<Failure>,
        shape,
    }
}

fn gated() -> OpenApiRouter<App> {
    let api = OpenApiRouter::new()
        .routes(routes!(agents::list, agents::create))
        .routes(routes!(agents::get, agents::update, agents::delete))
        .routes(routes!(tasks::list, tasks::create))
        .routes(routes!(tasks::get, tasks::update, tasks::delete))
        .routes(routes!(tasks::execute))
        .routes(routes!(tasks::reset))
        .routes(routes!(calls::list))
        .routes(routes!(calls::get))
        .routes(routes!(calls::end))
        .routes(routes!(calls::cancel))
        .routes(routes!(transcript::get, transcript::fetch))
        .routes(routes!(report::get))
        .routes(routes!(recording::get))
        .routes(routes!(recording::stream))
        .routes(routes!(live::get));
    OpenApiRouter::new().nest(API, api)
}

fn open() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(socket::open)).nest(API, manage::routes())
}

fn key(headers: &HeaderMap, _: &Query) -> Option<String> {
    gate::bearer(headers, "authorization")
}

/// The vendor's closed list of codes (VS-005): what is in conflict is a bad request.
fn shape(problem: &Problem, id: RequestId) -> Response {
    let status = match problem.kind {
        Kind::Conflict | Kind::Funds | Kind::TooLarge => StatusCode::BAD_REQUEST,
        Kind::Method => StatusCode::NOT_FOUND,
        kind => kind.status(),
    };
    (status, Json(Failure::of(problem, id))).into_response()
}
