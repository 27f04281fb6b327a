//! Agents (VS-010 to VS-015).

use axum::extract::Path;
use offhook::ids::AgentId;
use offhook::service::agents::Agent;
use offhook::service::analysis::AnalysisPlan;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::dtmf::{self, Rule};
use super::envelope::{Ask, Deleted, Envelope, Failure, Made, Pagination, Told, page};
use crate::dialect::{named, new_agent, prompted, unchanged};
use crate::id;
use crate::problem::{Answer, Problem};
use crate::request::{Body, Query, given};

/// VS-015
const SYSTEM_PROMPT: &str = "system_prompt";

/// An agent as the vendor shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::Agent)]
pub(super) struct Shown {
    #[schema(format = "uuid")]
    id: String,
    name: String,
    description: String,
    system_prompt: String,
    starting_message: Option<String>,
    enabled: bool,
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    voice_settings: Option<Value>,
    dtmf_rules: Vec<Rule>,
}

/// An agent to be made (VS-012).
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = voxstack::NewAgent)]
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
#[schema(as = voxstack::AgentFields)]
pub(super) struct Change {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    starting_message: Option<Option<String>>,
    enabled: Option<bool>,
    /// In ElevenLabs' form; kept as it is.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    voice_settings: Option<Option<Map<String, Value>>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<Rule>>)]
    dtmf_rules: Option<Option<Vec<Rule>>>,
}

/// A change of an agent (VS-013): what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = voxstack::AgentChange)]
pub(super) struct Patch {
    name: Option<String>,
    system_prompt: Option<String>,
    #[serde(flatten)]
    rest: Change,
}

/// The tenant's agents, newest first.
#[utoipa::path(
    get,
    operation_id = "list_agents",
    path = "/agents",
    tag = "agents",
    params(
        ("enabled" = Option<bool>, Query),
        ("limit" = Option<u32>, Query, description = "1 to 100; 50 unless told"),
        ("offset" = Option<u64>, Query),
    ),
    responses((status = 200, body = Envelope<Vec<Shown>>), (status = 400, body = Failure)),
)]
pub(super) async fn list(ask: Ask, query: Query) -> Told<Vec<Shown>> {
    let enabled = query.value("enabled", "true or false")?;
    let (offset, limit) = page(&query)?;
    let (agents, total) = ask.engine().agents().list(ask.tenant, enabled, offset, limit).await?;
    ask.list(agents.iter().map(Shown::of).collect(), Pagination { limit, offset, total })
}

/// Makes an agent.
#[utoipa::path(post, operation_id = "create_agent", path = "/agents", tag = "agents", request_body = New, responses((status = 201, body = Envelope<Shown>), (status = 400, body = Failure)))]
pub(super) async fn create(ask: Ask, body: Body<New>) -> Made<Shown> {
    let new = body.read()?;
    let mut agent = new_agent(&ask.app, named(new.name)?, prompted(SYSTEM_PROMPT, new.system_prompt)?);
    // Reports and webhooks tell what a call came to.
    let mut plan = AnalysisPlan::default();
    plan.insights = true;
    agent.after_call.analysis = Some(plan);
    new.rest.apply(&mut agent)?;
    ask.engine().agents().put(ask.tenant, &agent).await?;
    ask.made(Shown::of(&agent))
}

/// One agent.
#[utoipa::path(get, operation_id = "get_agent", path = "/agents/{id}", tag = "agents", params(("id" = String, Path)), responses((status = 200, body = Envelope<Shown>), (status = 404, body = Failure)))]
pub(super) async fn get(ask: Ask, Path(id): Path<String>) -> Told<Shown> {
    let agent = find(&ask, agent_id(&id)?).await?.ok_or_else(|| Problem::not_found("agent"))?;
    ask.tell(Shown::of(&agent))
}

/// Changes an agent.
#[utoipa::path(patch, operation_id = "update_agent", path = "/agents/{id}", tag = "agents", params(("id" = String, Path)), request_body = Patch, responses((status = 200, body = Envelope<Shown>), (status = 400, body = Failure), (status = 404, body = Failure)))]
pub(super) async fn update(ask: Ask, Path(id): Path<String>, body: Body<Patch>) -> Told<Shown> {
    let id = agent_id(&id)?;
    let mut changed = find(&ask, id).await?.ok_or_else(|| Problem::not_found("agent"))?;
    let patch = body.read()?;
    // What is wrong is said before anything is written; then it is applied to whatever the agent is by then.
    patch.apply(&mut changed)?;
    let apply = |agent: &mut Agent| patch.apply(agent).map_err(|problem| unchanged(&problem));
    let agent = ask.engine().agents().update(ask.tenant, id, apply).await?;
    ask.tell(Shown::of(&agent))
}

/// Forgets an agent that has no tasks to do (VS-014).
#[utoipa::path(delete, operation_id = "delete_agent", path = "/agents/{id}", tag = "agents", params(("id" = String, Path)), responses((status = 200, body = Envelope<Deleted>), (status = 400, body = Failure), (status = 404, body = Failure)))]
pub(super) async fn delete(ask: Ask, Path(id): Path<String>) -> Told<Deleted> {
    let id = agent_id(&id)?;
    match ask.engine().agents().delete_idle(ask.tenant, id).await? {
        true => ask.deleted(),
        false => Err(Problem::not_found("agent")),
    }
}

/// The agent, if the tenant has it.
pub(super) async fn find(ask: &Ask, id: AgentId) -> Answer<Option<Agent>> {
    Ok(ask.engine().agents().get(ask.tenant, id).await?)
}

fn agent_id(text: &str) -> Answer<AgentId> {
    id::parse(text, "", "agent")
}

impl Shown {
    pub(super) fn of(agent: &Agent) -> Self {
        Self {
            id: agent.id.to_string(),
            name: agent.name.clone(),
            description: agent.description.clone(),
            system_prompt: agent.system_prompt.clone(),
            starting_message: agent.greeting.clone(),
            enabled: agent.active,
            voice_settings: agent.voice_settings.clone(),
            dtmf_rules: Rule::all(&agent.policy),
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
        if let Some(description) = &self.description {
            agent.description = description.clone().unwrap_or_default();
        }
        if let Some(greeting) = &self.starting_message {
            agent.greeting.clone_from(greeting);
        }
        if let Some(enabled) = self.enabled {
            agent.active = enabled;
        }
        if let Some(settings) = &self.voice_settings {
            agent.voice_settings = settings.clone().map(Value::Object);
        }
        if let Some(rules) = &self.dtmf_rules {
            dtmf::set(&mut agent.policy, rules.as_deref().unwrap_or_default())?;
        }
        Ok(())
    }
}
