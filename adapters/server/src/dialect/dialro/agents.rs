//! Agents (DR-020 to DR-032).

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use offhook::call::policy::{TransferMode, TransferTarget};
use offhook::ids::AgentId;
use offhook::provider::store::LIMIT_MAX;
use offhook::service::agents::Agent;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AGENT;
use crate::app::App;
use crate::dialect::{named, new_agent, prompted, unchanged};
use crate::id;
use crate::problem::{Answer, Problem};
use crate::request::{Body, Caller, e164, given};

/// The vendor's voices (DR-022).
const VOICES: [&str; 5] = ["Puck", "Charon", "Kore", "Fenrir", "Aoede"];

const SYSTEM_PROMPT: &str = "systemPrompt";
const LANGUAGE_DEFAULT: &str = "id";
const MINUTES_DEFAULT: u32 = 10;
/// A day.
const MINUTES_MAX: u32 = 1_440;

/// The name of the human to whom a call is escalated.
const ESCALATION: &str = "human";

/// An agent as the vendor shows it (DR-021, DR-027).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = dialro::Agent)]
pub(super) struct Shown {
    #[schema(example = "agent_019a0000-0000-7000-8000-000000000000")]
    id: String,
    name: String,
    system_prompt: String,
    voice_id: Option<String>,
    greeting_text: Option<String>,
    language: String,
    max_call_duration_minutes: u64,
    tools_enabled: Vec<String>,
    is_active: bool,
    escalation_number: Option<String>,
}

/// What agents are listed in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = dialro::Agents)]
pub(super) struct List {
    agents: Vec<Shown>,
}

/// An agent to be made (DR-022).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = dialro::NewAgent)]
pub(super) struct New {
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    #[schema(min_length = 1)]
    system_prompt: String,
    #[serde(flatten)]
    rest: Change,
}

/// What may be said of an agent, made or changed.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = dialro::AgentFields)]
pub(super) struct Change {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    voice_id: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    greeting_text: Option<Option<String>>,
    language: Option<String>,
    #[schema(minimum = 1, maximum = 1440)]
    max_call_duration_minutes: Option<u32>,
    tools_enabled: Option<Vec<String>>,
    is_active: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "+628123456789")]
    escalation_number: Option<Option<String>>,
}

/// A change of an agent (DR-023): what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = dialro::AgentChange)]
pub(super) struct Patch {
    name: Option<String>,
    system_prompt: Option<String>,
    #[serde(flatten)]
    rest: Change,
}

/// All agents of the tenant.
#[utoipa::path(get, operation_id = "list_agents", path = "/agents", tag = "agents", responses((status = 200, body = List)))]
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Answer<Json<List>> {
    let (agents, _) = app.engine().agents().list(caller.tenant, None, 0, LIMIT_MAX).await?;
    Ok(Json(List { agents: agents.iter().map(Shown::of).collect() }))
}

/// Makes an agent.
#[utoipa::path(post, operation_id = "create_agent", path = "/agents", tag = "agents", request_body = New, responses((status = 201, body = Shown), (status = 400)))]
pub(super) async fn create(State(app): State<App>, caller: Caller, body: Body<New>) -> Answer<Response> {
    let new = body.read()?;
    let mut agent = new_agent(&app, named(new.name)?, prompted(SYSTEM_PROMPT, new.system_prompt)?);
    agent.language = LANGUAGE_DEFAULT.to_owned();
    agent.policy.duration_max = minutes(MINUTES_DEFAULT)?;
    new.rest.apply(&mut agent)?;
    app.engine().agents().put(caller.tenant, &agent).await?;
    Ok((StatusCode::CREATED, Json(Shown::of(&agent))).into_response())
}

/// One agent (DR-026).
#[utoipa::path(get, operation_id = "get_agent", path = "/agents/{id}", tag = "agents", params(("id" = String, Path)), responses((status = 200, body = Shown), (status = 404)))]
pub(super) async fn get(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<Json<Shown>> {
    let agent = app.engine().agents().get(caller.tenant, agent_id(&id)?).await?;
    agent.as_ref().map(|agent| Json(Shown::of(agent))).ok_or_else(|| Problem::not_found("agent"))
}

/// Changes an agent.
#[utoipa::path(patch, operation_id = "update_agent", path = "/agents/{id}", tag = "agents", params(("id" = String, Path)), request_body = Patch, responses((status = 200, body = Shown), (status = 400), (status = 404)))]
pub(super) async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    body: Body<Patch>,
) -> Answer<Json<Shown>> {
    let id = agent_id(&id)?;
    let mut changed = app.engine().agents().get(caller.tenant, id).await?.ok_or_else(|| Problem::not_found("agent"))?;
    let patch = body.read()?;
    // What is wrong is said before anything is written; then it is applied to whatever the agent is by then.
    patch.apply(&mut changed)?;
    let apply = |agent: &mut Agent| patch.apply(agent).map_err(|problem| unchanged(&problem));
    let agent = app.engine().agents().update(caller.tenant, id, apply).await?;
    Ok(Json(Shown::of(&agent)))
}

/// Forgets an agent; its numbers are answered by nobody then (DR-031).
#[utoipa::path(delete, operation_id = "delete_agent", path = "/agents/{id}", tag = "agents", params(("id" = String, Path)), responses((status = 204), (status = 404)))]
pub(super) async fn delete(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    match app.engine().agents().delete(caller.tenant, agent_id(&id)?).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found("agent")),
    }
}

/// The agent that a dialect's text names.
pub(super) fn agent_id(text: &str) -> Answer<AgentId> {
    id::parse(text, AGENT, "agent")
}

impl Shown {
    fn of(agent: &Agent) -> Self {
        let transfer = &agent.policy.transfer;
        let human = transfer.escalation.as_deref().and_then(|name| transfer.target(name));
        Self {
            id: id::show(AGENT, agent.id),
            name: agent.name.clone(),
            system_prompt: agent.system_prompt.clone(),
            voice_id: agent.voice.clone(),
            greeting_text: agent.greeting.clone(),
            language: agent.language.clone(),
            max_call_duration_minutes: agent.policy.duration_max.as_secs().div_ceil(60),
            tools_enabled: agent.tools_enabled.clone(),
            is_active: agent.active,
            escalation_number: human.map(|target| target.number.to_string()),
        }
    }
}

impl Patch {
    fn apply(&self, agent: &mut Agent) -> Answer<()> {
        if let Some(name) = &self.name {
            agent.name = named(name.clone())?;
        }
        if let Some(text) = &self.system_prompt {
            agent.system_prompt = prompted(SYSTEM_PROMPT, text.clone())?;
        }
        self.rest.apply(agent)
    }
}

impl Change {
    fn apply(&self, agent: &mut Agent) -> Answer<()> {
        if let Some(voice) = &self.voice_id {
            if voice.as_deref().is_some_and(|voice| !VOICES.contains(&voice)) {
                return Err(Problem::invalid("voiceId", format!("is not one of {}", VOICES.join(", "))));
            }
            agent.voice.clone_from(voice);
        }
        if let Some(greeting) = &self.greeting_text {
            agent.greeting.clone_from(greeting);
        }
        if let Some(language) = &self.language {
            agent.language = language_tag(language)?;
        }
        if let Some(length) = self.max_call_duration_minutes {
            agent.policy.duration_max = minutes(length)?;
        }
        if let Some(tools) = &self.tools_enabled {
            agent.tools_enabled.clone_from(tools);
        }
        if let Some(is_active) = self.is_active {
            agent.active = is_active;
        }
        if let Some(number) = &self.escalation_number {
            escalate_to(agent, number.as_deref())?;
        }
        Ok(())
    }
}

/// Whoever takes the call when the agent cannot go on, or the caller asks for a human.
fn escalate_to(agent: &mut Agent, number: Option<&str>) -> Answer<()> {
    let transfer = &mut agent.policy.transfer;
    transfer.targets.retain(|target| target.name != ESCALATION);
    transfer.escalation = None;
    let Some(number) = number.filter(|number| !number.is_empty()) else { return Ok(()) };
    transfer.targets.push(TransferTarget {
        name: ESCALATION.to_owned(),
        description: "A human colleague, when the caller asks for one or you cannot help.".to_owned(),
        number: e164("escalationNumber", number)?,
        mode: TransferMode::default(),
    });
    transfer.escalation = Some(ESCALATION.to_owned());
    Ok(())
}

/// ISO 639-1 or any other BCP 47 tag (DR-A8).
fn language_tag(tag: &str) -> Answer<String> {
    let is_subtag =
        |subtag: &str| (1..=8).contains(&subtag.len()) && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let starts_well = tag.split('-').next().is_some_and(|first| first.len() >= 2);
    match starts_well && tag.len() <= 35 && tag.split('-').all(is_subtag) {
        true => Ok(tag.to_owned()),
        false => Err(Problem::invalid("language", "is not a language tag such as id or en-GB")),
    }
}

fn minutes(length: u32) -> Answer<Duration> {
    match (1..=MINUTES_MAX).contains(&length) {
        true => Ok(Duration::from_secs(u64::from(length) * 60)),
        false => Err(Problem::invalid("maxCallDurationMinutes", "is 1 to 1440")),
    }
}
