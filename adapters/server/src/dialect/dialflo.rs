//! Dialflo: outbound tasks and what came of them (contract DF-001 to DF-A12).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use offhook::dialect::Dialect;
use offhook::ids::TaskId;
use offhook::provider::telephony::E164;
use offhook::service::analysis::{Insights, insights_by_rules};
use offhook::service::calls::StoredCall;
use offhook::service::recordings::LINK_LIFETIME_MAX;
use offhook::service::tasks::{NewTask, TaskStatus};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{Mounted, context};
use crate::app::App;
use crate::describe::Described;
use crate::gate::{self, Gate, Rate};
use crate::id;
use crate::problem::{Answer, Problem};
use crate::request::{Body, Caller, Query, RequestId, Traced};

pub(super) fn mounted() -> Mounted {
    Mounted {
        name: "dialflo",
        title: "Dialflo",
        gate: Gate { dialect: Dialect::Dialflo, key, rate: Rate::Plan },
        gated,
        open: OpenApiRouter::new,
        refusal: Described::of::<Refusal>,
        shape,
    }
}

fn gated() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(details)).routes(routes!(call))
}

/// Proxies drop headers with an underscore unless they are told not to (X19).
fn key(headers: &HeaderMap, _: &Query) -> Option<String> {
    ["auth_token", "auth-token", "authorization"].into_iter().find_map(|name| gate::bearer(headers, name))
}

/// `{"error"}` (DF-A9)
fn shape(problem: &Problem, id: RequestId) -> Response {
    let refusal = Refusal { error: problem.sentence(), request_id: id.to_string() };
    (problem.kind.status(), Json(refusal)).into_response()
}

/// A refusal.
#[derive(Serialize, ToSchema)]
#[schema(as = dialflo::Refusal)]
struct Refusal {
    error: String,
    request_id: String,
}

/// One attempt at a task (DF-005).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = dialflo::CallDetails)]
struct Details {
    call_id: String,
    agent_name: String,
    #[schema(value_type = BTreeMap<String, Value>)]
    call_context: Map<String, Value>,
    call_insights: CallInsights,
    call_recording_url: String,
    from_number: String,
    to_number: String,
    #[schema(pattern = "^(ANSWERED|NO_ANSWER|BUSY|FAILED|REJECTED|VOICEMAIL|CANCELLED)$")]
    call_status: &'static str,
    call_duration: f64,
}

/// DF-006
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = dialflo::CallInsights)]
struct CallInsights {
    #[schema(value_type = BTreeMap<String, Value>)]
    metadata: Map<String, Value>,
    user_interest: Interest,
    next_action: NextAction,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = dialflo::UserInterest)]
struct Interest {
    #[schema(value_type = String, pattern = "^(Yes|No|Unclear)$")]
    status: Value,
    confidence_score: f64,
    reasoning: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = dialflo::NextAction)]
struct NextAction {
    value: String,
    reason: String,
}

/// A call to be placed. Our extension: the vendor documents no path for it (DF-A1).
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = dialflo::NewCall)]
struct NewCall {
    agent_id: Option<String>,
    agent_name: Option<String>,
    /// Digits, with or without a plus.
    to_number: String,
    from_number: Option<String>,
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    call_context: Option<Map<String, Value>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = dialflo::Queued)]
struct Queued {
    task_id: String,
    status: &'static str,
}

/// What came of a task: an element for each attempt, the oldest first; none while it is not over (DF-A2).
#[utoipa::path(get, operation_id = "get_call_details", path = "/call_details/{task_id}", tag = "calls", params(("task_id" = String, Path)), responses((status = 200, body = Vec<Details>), (status = 404)))]
async fn details(State(app): State<App>, caller: Caller, Path(task): Path<String>) -> Answer<Json<Vec<Details>>> {
    let id: TaskId = id::parse(&task, "", "task")?;
    let task = app.engine().tasks().get(caller.tenant, id).await?.ok_or_else(|| Problem::not_found("task"))?;
    if matches!(task.status, TaskStatus::InProgress | TaskStatus::Pending) {
        return Ok(Json(Vec::new()));
    }
    let agent = app.engine().agents().get(caller.tenant, task.wish.agent).await?;
    let name = agent.map(|agent| agent.name).unwrap_or_default();
    let mut all = Vec::new();
    for attempt in &task.attempts {
        let Some(call) = app.engine().calls().get(caller.tenant, attempt.call).await? else { continue };
        let link = app.engine().recordings().link(caller.tenant, attempt.call, LINK_LIFETIME_MAX).await;
        all.push(Details {
            call_id: attempt.call.to_string(),
            agent_name: name.clone(),
            call_context: context::context(&task.wish.variables),
            call_insights: CallInsights::of(&call),
            // Without a recording there is no link.
            call_recording_url: link.map(|link| link.url).unwrap_or_default(),
            from_number: digits(call.record.from.as_ref()),
            to_number: digits(call.record.to.as_ref()),
            call_status: Dialect::Dialflo.words(&call.record).status,
            call_duration: tenths(call.record.duration_ms),
        });
    }
    Ok(Json(all))
}

/// Wishes a call.
#[utoipa::path(post, operation_id = "create_call", path = "/call", tag = "calls", request_body = NewCall, responses((status = 200, body = Queued), (status = 400), (status = 404)))]
async fn call(
    State(app): State<App>,
    caller: Caller,
    Traced(parent): Traced,
    body: Body<NewCall>,
) -> Answer<Json<Queued>> {
    let new = body.read()?;
    let agents = app.engine().agents();
    let agent = match (&new.agent_id, &new.agent_name) {
        (Some(id), _) => {
            let bare = id.strip_prefix("agent_").unwrap_or(id);
            agents.get(caller.tenant, id::parse(bare, "", "agent")?).await?
        }
        (None, Some(name)) => agents.find(caller.tenant, name).await?,
        (None, None) => return Err(Problem::invalid("agent_name", "is required, or agent_id")),
    };
    let agent = agent.ok_or_else(|| Problem::not_found("agent"))?;
    let to = number("to_number", &new.to_number)?;
    let from = match &new.from_number {
        Some(from) => number("from_number", from)?,
        None => super::caller_id(&app, caller.tenant, agent.id).await?,
    };
    super::check_caller_id(&app, caller.tenant, "from_number", &from).await?;
    let mut wish = NewTask::new(agent.id, from, to);
    wish.name.clone_from(&agent.name);
    wish.trace = parent;
    wish.variables = context::variables(&new.call_context.unwrap_or_default());
    let moment = app.runtime().wall_clock();
    let key: Uuid = offhook::ids::uuid_v7(moment, offhook::runtime::random_id_bytes(app.runtime()));
    let task = app.engine().tasks().create(caller.tenant, &key.to_string(), wish).await?;
    Ok(Json(Queued { task_id: task.id.to_string(), status: "queued" }))
}

impl CallInsights {
    /// As they were found out; by rules where nobody asked for them.
    fn of(call: &StoredCall) -> Self {
        let analysis = call.analysis.as_ref();
        let insights: Insights =
            analysis.and_then(|analysis| analysis.insights.clone()).unwrap_or_else(|| insights_by_rules(&call.record));
        let data = analysis.map(|analysis| analysis.data.clone()).unwrap_or_default();
        Self {
            metadata: data.into_iter().map(|(name, value)| (name, text(value))).collect(),
            user_interest: Interest {
                status: json!(insights.user_interest.status),
                confidence_score: insights.user_interest.confidence_score,
                reasoning: insights.user_interest.reasoning,
            },
            next_action: NextAction { value: insights.next_action.value, reason: insights.next_action.reason },
        }
    }
}

/// Strings, empty where nothing was found (DF-A11).
fn text(value: Value) -> Value {
    match value {
        Value::Null => json!(""),
        text @ Value::String(_) => text,
        other => Value::String(other.to_string()),
    }
}

/// Seconds with one decimal (DF-A5).
fn tenths(millis: u64) -> f64 {
    // Tenths of seconds in a call are few enough to be exact.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let tenths = (millis / 100) as f64;
    tenths / 10.0
}

/// Without the plus (DF-007).
fn digits(number: Option<&E164>) -> String {
    number.map(|number| number.as_str().trim_start_matches('+').to_owned()).unwrap_or_default()
}

fn number(field: &str, text: &str) -> Answer<E164> {
    let text = text.trim();
    let text = if text.starts_with('+') { text.to_owned() } else { format!("+{text}") };
    text.parse().map_err(|_| Problem::invalid(field, "is not a number such as 918035736461"))
}
