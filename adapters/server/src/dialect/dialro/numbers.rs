//! Phone numbers (DR-040 to DR-044).

use axum::Json;
use axum::extract::{Path, State};
use offhook::service::numbers::Number;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::agents::agent_id;
use super::{AGENT, NUMBER};
use crate::app::App;
use crate::id;
use crate::problem::{Answer, Problem};
use crate::request::{Body, Caller, given};

/// A number as the vendor shows it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = dialro::PhoneNumber)]
pub(super) struct Shown {
    id: String,
    display_number: String,
    label: String,
    is_active: bool,
    agent_id: Option<String>,
}

/// What numbers are listed in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = dialro::PhoneNumbers)]
pub(super) struct List {
    phone_numbers: Vec<Shown>,
}

/// Who is to answer; `null` is nobody.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = dialro::Assignment)]
pub(super) struct Assignment {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, required)]
    agent_id: Option<Option<String>>,
}

/// The tenant's numbers.
#[utoipa::path(get, operation_id = "list_phone_numbers", path = "/phone-numbers", tag = "phone numbers", responses((status = 200, body = List)))]
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Answer<Json<List>> {
    let numbers = app.engine().numbers().list(caller.tenant).await?;
    Ok(Json(List { phone_numbers: numbers.iter().map(Shown::of).collect() }))
}

/// Lets an agent answer a number.
#[utoipa::path(post, operation_id = "assign_agent", path = "/phone-numbers/{id}/assign-agent", tag = "phone numbers", params(("id" = String, Path)), request_body = Assignment, responses((status = 200, body = Shown), (status = 400), (status = 404)))]
pub(super) async fn assign(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    body: Body<Assignment>,
) -> Answer<Json<Shown>> {
    let number = id::parse(&id, NUMBER, "phone number")?;
    let numbers = app.engine().numbers();
    numbers.get(caller.tenant, number).await?.ok_or_else(|| Problem::not_found("phone number"))?;
    let agent = body.read()?.agent_id.ok_or_else(|| Problem::invalid("agentId", "is required"))?;
    let agent = agent.as_deref().map(agent_id).transpose()?;
    let number = numbers.assign(caller.tenant, number, agent).await?;
    Ok(Json(Shown::of(&number)))
}

impl Shown {
    fn of(number: &Number) -> Self {
        Self {
            id: id::show(NUMBER, number.id),
            display_number: number.number.to_string(),
            label: number.label.clone(),
            is_active: number.is_active,
            agent_id: number.agent.map(|agent| id::show(AGENT, agent)),
        }
    }
}
