//! Agents with everything that the engine knows of them, for what the vendors set by hand: hours, pushes, pre-fetch,
//! analysis, policies.

use std::fmt::Display;

use axum::Json;
use axum::extract::{Path, State};
use offhook::ids::AgentId;
use offhook::service::agents::Agent;
use offhook::{Error, ErrorKind};
use serde_json::{Map, Value, json};

use super::AnyKey;
use crate::app::App;
use crate::id;
use crate::problem::{Answer, Kind, Problem};
use crate::request::Body;

/// An agent, without its secrets.
#[utoipa::path(get, operation_id = "get_agent", path = "/agents/{id}", tag = "agents", params(("id" = String, Path, description = "The agent's UUID, or `agent_` and the UUID")), responses((status = 200, body = BTreeMap<String, Value>), (status = 401), (status = 404)))]
pub(crate) async fn get(State(app): State<App>, AnyKey(caller): AnyKey, Path(id): Path<String>) -> Answer<Json<Value>> {
    let agent = app.engine().agents().get(caller.tenant, agent_id(&id)?).await?;
    agent.ok_or_else(|| Problem::not_found("agent")).and_then(|agent| shown(&agent)).map(Json)
}

/// Changes an agent by a merge patch (RFC 7396): lists are replaced whole, and with them the secrets in them.
#[utoipa::path(patch, operation_id = "update_agent", path = "/agents/{id}", tag = "agents", params(("id" = String, Path)), request_body = BTreeMap<String, Value>, responses((status = 200, body = BTreeMap<String, Value>), (status = 400), (status = 401), (status = 404)))]
pub(crate) async fn update(
    State(app): State<App>,
    AnyKey(caller): AnyKey,
    Path(id): Path<String>,
    body: Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let id = agent_id(&id)?;
    app.engine().agents().get(caller.tenant, id).await?.ok_or_else(|| Problem::not_found("agent"))?;
    let mut patch = Value::Object(body.read()?);
    in_our_form(&mut patch);
    secrets(&mut patch, &mut |secret| {
        if let Value::String(text) = secret {
            // As core writes secrets.
            *text = hex::encode(text.as_bytes());
        }
    });
    // A secret goes nowhere but to the URL that it was given for.
    if let Some(prefetch) = patch.get_mut("prefetch").and_then(Value::as_object_mut)
        && prefetch.contains_key("url")
    {
        prefetch.entry("token").or_insert(Value::Null);
    }
    let wrong = |error: &dyn Display| Error::new(ErrorKind::ConfigInvalid, "native.agents", error.to_string());
    let apply = |agent: &mut Agent| {
        let mut value = serde_json::to_value(&*agent).map_err(|error| wrong(&error))?;
        merge(&mut value, &patch);
        let changed = serde_path_to_error::deserialize(value);
        *agent = changed.map_err(|error| wrong(error.inner()).with_context("field", error.path()))?;
        Ok(())
    };
    let agent = app.engine().agents().update(caller.tenant, id, apply).await?;
    shown(&agent).map(Json)
}

/// VoxCore's settings have a key mapper and no name where a push of ours has a form and an id (FL-040).
fn in_our_form(patch: &mut Value) {
    let pushes = patch.pointer_mut("/after_call/pushes").and_then(Value::as_array_mut);
    for (index, push) in pushes.into_iter().flatten().filter_map(Value::as_object_mut).enumerate() {
        if let Some(mapper) = push.remove("key_mapper") {
            push.insert("form".to_owned(), json!({ "key_mapper": mapper }));
            push.entry("id").or_insert_with(|| format!("push-{}", index + 1).into());
        }
    }
}

fn agent_id(text: &str) -> Answer<AgentId> {
    id::parse(text.strip_prefix("agent_").unwrap_or(text), "", "agent")
}

fn shown(agent: &Agent) -> Answer<Value> {
    let unexpected = |_| Problem::new(Kind::Internal, "the agent cannot be shown");
    let mut value = serde_json::to_value(agent).map_err(unexpected)?;
    secrets(&mut value, &mut |secret| *secret = Value::Null);
    Ok(value)
}

/// Every secret of an agent: of its functions, its pushes and its pre-fetch.
fn secrets(agent: &mut Value, visit: &mut impl FnMut(&mut Value)) {
    let mut in_list = |list: Option<&mut Value>, name: &str| {
        let items = list.and_then(Value::as_array_mut).into_iter().flatten();
        items.filter_map(|item| item.get_mut(name)).for_each(&mut *visit);
    };
    in_list(agent.get_mut("functions"), "secret");
    in_list(agent.get_mut("after_call").and_then(|after| after.get_mut("pushes")), "token");
    if let Some(token) = agent.get_mut("prefetch").and_then(|prefetch| prefetch.get_mut("token")) {
        visit(token);
    }
}

fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Some(fields) = value.as_object_mut() else { return };
    for (name, patch) in patch {
        match patch {
            Value::Null => drop(fields.remove(name)),
            _ => merge(fields.entry(name.clone()).or_insert(Value::Null), patch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_merge_as_the_rfc_says() {
        for (value, patch, merged) in [
            (json!({ "a": "b" }), json!({ "a": "c" }), json!({ "a": "c" })),
            (json!({ "a": "b", "b": "c" }), json!({ "a": null }), json!({ "b": "c" })),
            (json!({ "a": ["b"] }), json!({ "a": "c" }), json!({ "a": "c" })),
            (json!({ "a": { "b": "c" } }), json!({ "a": { "b": "d", "c": null } }), json!({ "a": { "b": "d" } })),
            (json!({ "a": [{ "b": "c" }] }), json!({ "a": [1] }), json!({ "a": [1] })),
            (json!({ "e": null }), json!({ "a": 1 }), json!({ "e": null, "a": 1 })),
            (json!({}), json!({ "a": { "bb": { "ccc": null } } }), json!({ "a": { "bb": {} } })),
        ] {
            let mut result = value.clone();
            merge(&mut result, &patch);
            assert_eq!(result, merged, "{value} with {patch}");
        }
    }
}
