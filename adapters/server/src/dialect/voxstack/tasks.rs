//! Tasks (VS-020 to VS-029, VS-070, VS-073).

use axum::extract::Path;
use offhook::ErrorKind;
use offhook::ids::{AgentId, TaskId};
use offhook::provider::telephony::E164;
use offhook::service::after_call::{TaskEvent, TaskWebhook};
use offhook::service::tasks::{NewTask, Start, Task};
use offhook::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::agents;
use super::envelope::{Ask, Deleted, Envelope, Failure, Listed, Made, Told, page};
use crate::dialect::{NAME_BYTES_MAX, caller_id, context};
use crate::id;
use crate::problem::{Answer, Kind, Problem};
use crate::request::{Body, Query, e164, given, text};

/// VS-027
const STATUSES: [&str; 4] = ["pending", "in_progress", "completed", "failed"];

/// A task as the vendor shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::Task)]
pub(super) struct Shown {
    #[schema(format = "uuid")]
    id: String,
    #[schema(format = "uuid")]
    agent_id: String,
    /// The call of its latest attempt.
    #[schema(format = "uuid")]
    call_id: Option<String>,
    name: String,
    description: String,
    from_number: String,
    to_number: String,
    starting_message: Option<String>,
    #[schema(value_type = BTreeMap<String, Value>)]
    context_data: Map<String, Value>,
    priority: i16,
    #[schema(format = "date-time")]
    scheduled_at: Option<String>,
    #[schema(pattern = "^(pending|in_progress|completed|failed)$")]
    status: &'static str,
    webhook_url: Option<String>,
    webhook_events: Vec<Event>,
    #[schema(format = "date-time")]
    created_at: String,
}

/// A task and who calls (VS-022).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::TaskDetails)]
pub(super) struct Details {
    #[serde(flatten)]
    task: Shown,
    /// `null` once it was deleted.
    agent: Option<agents::Shown>,
}

/// A task to be made (VS-029).
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = voxstack::NewTask)]
pub(super) struct New {
    #[schema(format = "uuid")]
    agent_id: String,
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    #[schema(example = "+14155550123")]
    to_number: String,
    #[serde(flatten)]
    rest: Fields,
}

/// A change of a task that is pending (VS-023): what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = voxstack::TaskChange)]
pub(super) struct Patch {
    name: Option<String>,
    #[schema(example = "+14155550123")]
    to_number: Option<String>,
    #[serde(flatten)]
    rest: Fields,
}

/// What may be said of a task, made or changed.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = voxstack::TaskFields)]
pub(super) struct Fields {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    starting_message: Option<Option<String>>,
    /// What the agent's texts find as `{{key}}`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    context_data: Option<Option<Map<String, Value>>>,
    /// The larger, the sooner.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i32>, minimum = -32768, maximum = 32767)]
    priority: Option<Option<i16>>,
    /// `null` waits until it is executed.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, format = "date-time")]
    scheduled_at: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, format = "uri")]
    webhook_url: Option<Option<String>>,
    /// All unless told.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<Event>>)]
    webhook_events: Option<Option<Vec<Event>>>,
}

/// The name of an event (VS-070).
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(as = voxstack::Event, pattern = "^(call_started|call_completed|call_failed)$")]
struct Event(String);

/// The call that a task has led to (VS-025).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::Executed)]
pub(super) struct Executed {
    #[schema(format = "uuid")]
    call_id: String,
    message: &'static str,
}

/// The tenant's tasks, newest first.
#[utoipa::path(
    get,
    operation_id = "list_tasks",
    path = "/tasks",
    tag = "tasks",
    params(
        ("agent_id" = Option<String>, Query),
        ("status" = Option<String>, Query, description = "`pending`, `in_progress`, `completed` or `failed`"),
        ("limit" = Option<u32>, Query, description = "1 to 100; 50 unless told"),
        ("offset" = Option<u64>, Query),
    ),
    responses((status = 200, body = Envelope<Vec<Shown>>), (status = 400, body = Failure)),
)]
pub(super) async fn list(ask: Ask, query: Query) -> Listed {
    let agent = query.value("agent_id", "a UUID")?;
    let status = query.word("status", &STATUSES)?;
    let (offset, limit) = page(&query)?;
    let tasks = ask.engine().tasks();
    let version = tasks.version(ask.tenant);
    let make = async {
        let (tasks, total) = tasks.list(ask.tenant, status, agent, offset, limit).await?;
        Ok((tasks.iter().map(Shown::of).collect(), total))
    };
    ask.page("voxstack/tasks", query.clone(), version, make, (offset, limit)).await
}

/// Makes a task. One that is scheduled is called at that time or as soon as may be after it; any other when it is executed.
#[utoipa::path(post, operation_id = "create_task", path = "/tasks", tag = "tasks", request_body = New, responses((status = 201, body = Envelope<Shown>), (status = 400, body = Failure), (status = 404, body = Failure)))]
pub(super) async fn create(ask: Ask, body: Body<New>) -> Made<Shown> {
    let new = body.read()?;
    let agent: AgentId = new.agent_id.parse().map_err(|_| Problem::invalid("agent_id", "is not a UUID"))?;
    let fields = Checked::new(Some(new.name), Some(new.to_number.clone()), new.rest)?;
    agents::find(&ask, agent).await?.ok_or_else(|| Problem::not_found("agent"))?;
    let from = from_number(&ask, agent).await?;
    let mut wish = NewTask::new(agent, from, e164("to_number", &new.to_number)?);
    wish.start = Start::OnRequest;
    wish.trace = ask.parent;
    fields.apply(&mut wish);
    // Each request is a task of its own.
    let key = TaskId::generate(ask.app.runtime()).to_string();
    let task = ask.engine().tasks().create(ask.tenant, &key, wish).await.map_err(blame_webhook)?;
    ask.made(Shown::of(&task))
}

/// One task, and who calls.
#[utoipa::path(get, operation_id = "get_task", path = "/tasks/{id}", tag = "tasks", params(("id" = String, Path)), responses((status = 200, body = Envelope<Details>), (status = 404, body = Failure)))]
pub(super) async fn get(ask: Ask, Path(id): Path<String>) -> Told<Details> {
    let task = ask.engine().tasks().get(ask.tenant, task_id(&id)?).await?;
    let task = task.ok_or_else(|| Problem::not_found("task"))?;
    let agent = agents::find(&ask, task.wish.agent).await?;
    ask.tell(Details { task: Shown::of(&task), agent: agent.as_ref().map(agents::Shown::of) })
}

/// Changes a task that is pending.
#[utoipa::path(patch, operation_id = "update_task", path = "/tasks/{id}", tag = "tasks", params(("id" = String, Path)), request_body = Patch, responses((status = 200, body = Envelope<Shown>), (status = 400, body = Failure), (status = 404, body = Failure)))]
pub(super) async fn update(ask: Ask, Path(id): Path<String>, body: Body<Patch>) -> Told<Shown> {
    let id = task_id(&id)?;
    let tasks = ask.engine().tasks();
    tasks.get(ask.tenant, id).await?.ok_or_else(|| Problem::not_found("task"))?;
    let patch = body.read()?;
    let fields = Checked::new(patch.name, patch.to_number, patch.rest)?;
    let task = tasks.update(ask.tenant, id, |wish| fields.apply(wish)).await.map_err(blame_webhook)?;
    ask.tell(Shown::of(&task))
}

/// Forgets a task that is pending or has failed.
#[utoipa::path(delete, operation_id = "delete_task", path = "/tasks/{id}", tag = "tasks", params(("id" = String, Path)), responses((status = 200, body = Envelope<Deleted>), (status = 400, body = Failure), (status = 404, body = Failure)))]
pub(super) async fn delete(ask: Ask, Path(id): Path<String>) -> Told<Deleted> {
    ask.engine().tasks().delete(ask.tenant, task_id(&id)?).await?;
    ask.deleted()
}

/// Places the call of a pending task now.
#[utoipa::path(post, operation_id = "execute_task", path = "/tasks/{id}/execute", tag = "tasks", params(("id" = String, Path)), responses((status = 200, body = Envelope<Executed>), (status = 400, body = Failure), (status = 404, body = Failure), (status = 503, body = Failure)))]
pub(super) async fn execute(ask: Ask, Path(id): Path<String>) -> Told<Executed> {
    let call = ask.engine().under(ask.parent).execute(ask.tenant, task_id(&id)?).await?;
    ask.tell(Executed { call_id: call.id().to_string(), message: "Call initiated" })
}

/// Makes a task that is over pending again.
#[utoipa::path(post, operation_id = "reset_task", path = "/tasks/{id}/reset", tag = "tasks", params(("id" = String, Path)), responses((status = 200, body = Envelope<Shown>), (status = 400, body = Failure), (status = 404, body = Failure)))]
pub(super) async fn reset(ask: Ask, Path(id): Path<String>) -> Told<Shown> {
    let task = ask.engine().tasks().reset(ask.tenant, task_id(&id)?).await?;
    ask.tell(Shown::of(&task))
}

fn task_id(text: &str) -> Answer<TaskId> {
    id::parse(text, "", "task")
}

/// What the called party sees.
async fn from_number(ask: &Ask, agent: AgentId) -> Answer<E164> {
    caller_id(&ask.app, ask.tenant, agent).await.map_err(|problem| match problem.kind {
        Kind::Invalid => Problem::invalid("agent_id", "has no number to call from: give it, or the server, one"),
        _ => problem,
    })
}

/// Of what a task is made, only its webhook can be refused by the engine.
fn blame_webhook(error: offhook::Error) -> Problem {
    match error.kind() {
        ErrorKind::ConfigInvalid if error.operation().starts_with("reach") => {
            Problem::invalid("webhook_url", error.message())
        }
        _ => error.into(),
    }
}

impl Shown {
    pub(super) fn of(task: &Task) -> Self {
        let wish = &task.wish;
        let webhook = wish.webhook.as_ref();
        Self {
            id: task.id.to_string(),
            agent_id: wish.agent.to_string(),
            call_id: task.attempts.last().map(|attempt| attempt.call.to_string()),
            name: wish.name.clone(),
            description: wish.description.clone(),
            from_number: wish.from.to_string(),
            to_number: wish.to.to_string(),
            starting_message: wish.greeting.clone(),
            context_data: context::context(&wish.variables),
            priority: wish.priority,
            scheduled_at: match wish.start {
                Start::At(moment) => Some(moment.to_string()),
                Start::AtOnce => Some(task.created_at.to_string()),
                Start::OnRequest => None,
            },
            status: task.status.voxstack(),
            webhook_url: webhook.map(|webhook| webhook.url.clone()),
            webhook_events: webhook
                .map(|webhook| webhook.events.iter().map(|event| Event(event.as_str().to_owned())).collect())
                .unwrap_or_default(),
            created_at: task.created_at.to_string(),
        }
    }
}

/// What of a request is sound; applying it cannot fail.
struct Checked {
    events: Option<Vec<TaskEvent>>,
    fields: Fields,
    name: Option<String>,
    start: Option<Start>,
    to: Option<E164>,
}

impl Checked {
    fn new(name: Option<String>, to: Option<String>, fields: Fields) -> Answer<Self> {
        let name = name.map(|name| text("name", name, NAME_BYTES_MAX)).transpose()?;
        let to = to.map(|to| e164("to_number", &to)).transpose()?;
        let start = match &fields.scheduled_at {
            Some(Some(text)) => Some(Start::At(moment(text)?)),
            Some(None) => Some(Start::OnRequest),
            None => None,
        };
        let events = match &fields.webhook_events {
            Some(Some(names)) => Some(events(names)?),
            Some(None) => Some(TaskEvent::ALL.to_vec()),
            None => None,
        };
        Ok(Self { events, fields, name, start, to })
    }

    fn apply(&self, wish: &mut NewTask) {
        let Self { events, fields, name, start, to } = self;
        name.iter().for_each(|name| wish.name.clone_from(name));
        to.iter().for_each(|to| wish.to = to.clone());
        start.iter().for_each(|start| wish.start = *start);
        if let Some(description) = &fields.description {
            wish.description = description.clone().unwrap_or_default();
        }
        if let Some(greeting) = &fields.starting_message {
            wish.greeting.clone_from(greeting);
        }
        if let Some(given) = &fields.context_data {
            wish.variables = given.as_ref().map(context::variables).unwrap_or_default();
        }
        if let Some(priority) = fields.priority {
            wish.priority = priority.unwrap_or_default();
        }
        match &fields.webhook_url {
            Some(None) => wish.webhook = None,
            Some(Some(url)) => {
                let before = wish.webhook.take().map(|webhook| webhook.events);
                let events = before.unwrap_or_else(|| TaskEvent::ALL.to_vec());
                wish.webhook = Some(TaskWebhook { events, is_retried: false, url: url.clone() });
            }
            None => {}
        }
        if let (Some(webhook), Some(events)) = (&mut wish.webhook, events) {
            webhook.events.clone_from(events);
        }
    }
}

fn moment(text: &str) -> Answer<Timestamp> {
    text.parse().map_err(|_| Problem::invalid("scheduled_at", "is not a time such as 2026-06-28T10:00:00Z"))
}

fn events(names: &[Event]) -> Answer<Vec<TaskEvent>> {
    let event = |Event(name): &Event| TaskEvent::ALL.into_iter().find(|event| event.as_str() == name);
    let unknown = || {
        let known = TaskEvent::ALL.map(TaskEvent::as_str).join(", ");
        Problem::invalid("webhook_events", format!("names some of {known}"))
    };
    let found = names.iter().map(event).collect::<Option<Vec<_>>>().filter(|found| !found.is_empty());
    let found = found.ok_or_else(unknown)?;
    Ok(TaskEvent::ALL.into_iter().filter(|event| found.contains(event)).collect())
}
