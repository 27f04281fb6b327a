//! Functions of an agent (DR-090 to DR-097).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use offhook::provider::llm::Tool;
use offhook::service::agents::{Agent, FUNCTIONS_MAX, Function, FunctionMethod};
use offhook::service::functions::check_schema;
use offhook::service::webhooks::Form;
use offhook::signing::Secret;
use offhook::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::agents::agent_id;
use crate::app::App;
use crate::problem::{Answer, Problem};
use crate::request::{Body, Caller};

/// Longest name of a function: that of the models' own rules.
const NAME_BYTES_MAX: usize = 64;

/// A function as the vendor shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = dialro::Function)]
pub(super) struct Shown {
    name: String,
    description: String,
    endpoint: String,
    #[schema(pattern = "^(GET|POST)$")]
    method: &'static str,
    #[schema(value_type = BTreeMap<String, Value>)]
    parameters: Value,
}

/// What functions are listed in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = dialro::Functions)]
pub(super) struct List {
    functions: Vec<Shown>,
}

/// A function to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = dialro::NewFunction)]
pub(super) struct New {
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    name: String,
    #[serde(default)]
    description: String,
    #[schema(format = "uri")]
    endpoint: String,
    #[schema(pattern = "^(GET|POST)$")]
    method: Option<String>,
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    parameters: Option<Value>,
    /// Signs the requests in place of the tenant's signing secret (DR-A2).
    secret: Option<String>,
}

/// The functions of an agent.
#[utoipa::path(get, operation_id = "list_functions", path = "/agents/{id}/functions", tag = "functions", params(("id" = String, Path)), responses((status = 200, body = List), (status = 404)))]
pub(super) async fn list(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<Json<List>> {
    let agent = app.engine().agents().get(caller.tenant, agent_id(&id)?).await?;
    let agent = agent.ok_or_else(|| Problem::not_found("agent"))?;
    Ok(Json(List { functions: agent.functions.iter().map(Shown::of).collect() }))
}

/// Gives an agent a function.
#[utoipa::path(post, operation_id = "create_function", path = "/agents/{id}/functions", tag = "functions", params(("id" = String, Path)), request_body = New, responses((status = 201, body = Shown), (status = 400), (status = 404), (status = 409)))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    body: Body<New>,
) -> Answer<Response> {
    let agent = agent_id(&id)?;
    app.engine().agents().get(caller.tenant, agent).await?.ok_or_else(|| Problem::not_found("agent"))?;
    let function = body.read()?.function()?;
    let add = |agent: &mut Agent| {
        let conflict = |message| Error::new(ErrorKind::Conflict, "dialro.functions", message);
        if agent.functions.iter().any(|other| other.tool.name == function.tool.name) {
            return Err(conflict("the agent has a function of that name"));
        }
        if agent.functions.len() >= FUNCTIONS_MAX {
            return Err(conflict("the agent has as many functions as may be"));
        }
        agent.functions.push(function.clone());
        Ok(())
    };
    app.engine().agents().update(caller.tenant, agent, add).await?;
    Ok((StatusCode::CREATED, Json(Shown::of(&function))).into_response())
}

/// Takes a function away from an agent.
#[utoipa::path(delete, operation_id = "delete_function", path = "/agents/{id}/functions/{name}", tag = "functions", params(("id" = String, Path), ("name" = String, Path)), responses((status = 204), (status = 404)))]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path((id, name)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let remove = |agent: &mut Agent| {
        let before = agent.functions.len();
        agent.functions.retain(|function| function.tool.name != name);
        match agent.functions.len() == before {
            true => Err(Error::new(ErrorKind::NotFound, "dialro.functions", "there is no such function")),
            false => Ok(()),
        }
    };
    app.engine().agents().update(caller.tenant, agent_id(&id)?, remove).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Shown {
    fn of(function: &Function) -> Self {
        Self {
            name: function.tool.name.clone(),
            description: function.tool.description.clone(),
            endpoint: function.url.clone(),
            method: match function.method {
                FunctionMethod::Get => "GET",
                FunctionMethod::Post => "POST",
            },
            parameters: function.tool.parameters.clone(),
        }
    }
}

impl New {
    fn function(self) -> Answer<Function> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.bytes().all(is_plain) {
            return Err(Problem::invalid("name", "is made of 1 to 64 letters, digits, _ and -"));
        }
        let method = match self.method.as_deref() {
            None | Some("POST") => FunctionMethod::Post,
            Some("GET") => FunctionMethod::Get,
            Some(_) => return Err(Problem::invalid("method", "is not one of GET, POST")),
        };
        let parameters = self.parameters.unwrap_or_else(|| json!({ "type": "object", "properties": {} }));
        check_schema(&parameters).map_err(|error| Problem::invalid("parameters", error.message()))?;
        let tool = Tool { description: self.description, name: self.name, parameters };
        let secret = self.secret.filter(|secret| !secret.is_empty()).map(Secret::new);
        Ok(Function { form: Form::Dialro, method, secret, ..Function::new(self.endpoint, tool) })
    }
}
