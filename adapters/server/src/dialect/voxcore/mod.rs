//! VoxCore: calls placed at once or not at all, and diallers that connect by WebSocket (contract FL-001 to FL-092).

mod dialout;
mod socket;

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use offhook::dialect::Dialect;
use offhook::service::agents::Agent;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Mounted, context};
use crate::app::App;
use crate::describe::Described;
use crate::gate::{self, Gate, Rate};
use crate::native::health;
use crate::problem::{Kind, Problem};
use crate::request::{Query, RequestId};

pub(super) fn mounted() -> Mounted {
    Mounted {
        name: "voxcore",
        title: "VoxCore",
        gate: Gate { dialect: Dialect::VoxCore, key, rate: Rate::Unlimited },
        gated,
        open,
        refusal: Described::of::<Refusal>,
        shape,
    }
}

fn gated() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(dialout::dialout)).routes(routes!(dialout::sip_dialout))
}

fn open() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(health::health)).routes(routes!(health::fleet)).routes(routes!(socket::connect))
}

fn key(headers: &HeaderMap, _: &Query) -> Option<String> {
    gate::plain(headers, "x-api-key")
}

/// `{"detail"}`; what is wrong with a request as FastAPI says it (FL-016).
fn shape(problem: &Problem, _: RequestId) -> Response {
    let (status, detail) = match problem.kind {
        Kind::Invalid | Kind::TooLarge => (StatusCode::UNPROCESSABLE_ENTITY, mistakes(problem)),
        // The vendor knows no other word for what cannot be done now (FL-013).
        Kind::Conflict | Kind::External | Kind::Full | Kind::Funds => {
            (StatusCode::SERVICE_UNAVAILABLE, Detail::Text(problem.message.clone()))
        }
        kind => (kind.status(), Detail::Text(problem.sentence())),
    };
    (status, Json(Refusal { detail })).into_response()
}

fn mistakes(problem: &Problem) -> Detail {
    let place = problem.field.iter().flat_map(|field| field.split('.'));
    let loc = std::iter::once("body").chain(place).map(str::to_owned).collect();
    let kind = if problem.message == "is required" { "missing" } else { "value_error" };
    Detail::Mistakes(vec![Mistake { loc, msg: problem.message.clone(), r#type: kind }])
}

/// A refusal.
#[derive(Serialize, ToSchema)]
#[schema(as = voxcore::Refusal)]
struct Refusal {
    detail: Detail,
}

/// Why.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = voxcore::Detail)]
enum Detail {
    Mistakes(Vec<Mistake>),
    Text(String),
}

/// What is wrong with a request, and where.
#[derive(Serialize, ToSchema)]
#[schema(as = voxcore::Mistake)]
struct Mistake {
    loc: Vec<String>,
    msg: String,
    r#type: &'static str,
}

/// What diallers and callers of the API say to the platform and not to the agent (FL-079).
#[derive(Debug, Default)]
struct Flags {
    mock_crm: Map<String, Value>,
    skips_post_push: bool,
    skips_prefetch: bool,
}

impl Flags {
    /// Takes them out of what else is said.
    fn take(fields: &mut Map<String, Value>) -> Self {
        let mut flags = Self::default();
        for name in offhook_streams::voxcore::message::RESERVED {
            let Some(value) = fields.remove(name) else { continue };
            flags.read(name, &value);
        }
        flags
    }

    fn read(&mut self, name: &str, value: &Value) {
        let is_set =
            matches!(value, Value::Bool(true)) || value.as_str().is_some_and(|text| text == "true" || text == "1");
        match name {
            "_mock_crm" => self.mock_crm = value.as_object().cloned().unwrap_or_default(),
            "_skip_post_push" => self.skips_post_push = is_set,
            "_skip_prefetch" => self.skips_prefetch = is_set,
            _ => {}
        }
    }

    fn apply(&self, agent: &mut Agent) {
        context::add(agent, "crm", &self.mock_crm);
        if self.skips_prefetch {
            agent.prefetch = None;
        }
        if self.skips_post_push {
            agent.after_call.pushes.clear();
        }
    }
}
