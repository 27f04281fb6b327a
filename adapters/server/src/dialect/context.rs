//! What a customer says about one call, as prompts name it.

use offhook::service::agents::Agent;
use serde_json::{Map, Value, json};

/// The namespaces that are the engine's own.
const OWN: [&str; 4] = ["agent", "analysis", "result", "system"];

/// The variables of a task: `context` as `{{crm.*}}` and `{{call.*}}` (FL-037), and each field by itself (VS-A8).
pub(crate) fn variables(context: &Map<String, Value>) -> Map<String, Value> {
    let fields = context.iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
    let mut all: Map<String, Value> = fields.map(|(name, value)| (name.clone(), value.clone())).collect();
    all.insert("call".to_owned(), context.clone().into());
    all.insert("crm".to_owned(), context.clone().into());
    all
}

/// What was said about the call that these are the variables of.
pub(crate) fn context(variables: &Map<String, Value>) -> Map<String, Value> {
    variables.get("crm").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// Adds fields to a namespace of an agent's variables.
pub(crate) fn add(agent: &mut Agent, namespace: &str, fields: &Map<String, Value>) {
    match agent.variables.entry(namespace).or_insert_with(|| json!({})) {
        Value::Object(known) => known.extend(fields.clone()),
        other => *other = fields.clone().into(),
    }
}
