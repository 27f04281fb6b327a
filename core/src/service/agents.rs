//! Agents: who holds the calls.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::call::{CallConfig, Offer, Policy};
use crate::error::Result;
use crate::ids::{AgentId, CallId, TenantId};
use crate::provider::llm::Tool;
use crate::signing::Secret;
use crate::template;
use crate::time::Timestamp;

/// An agent: its prompt, voice, functions and habits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Agent {
    /// The functions that it can call.
    pub functions: Vec<Function>,
    /// Said as soon as a call is connected; a [template].
    pub greeting: Option<String>,
    /// The agent.
    pub id: AgentId,
    /// BCP 47.
    pub language: String,
    /// For people, and for templates as `{{agent.name}}`.
    pub name: String,
    /// When it does what.
    pub policy: Policy,
    /// Instructions for the model; a [template].
    pub system_prompt: String,
    /// Namespaces for templates, beside `agent` and `call`.
    pub variables: Map<String, Value>,
    /// The synthesiser's name of a voice; `None` is its default.
    pub voice: Option<String>,
    /// Voices for the languages that a call may change to, by their BCP 47 tags; one without has its default.
    pub voices: BTreeMap<String, String>,
}

/// A function that an agent can call: a signed POST to the customer.
#[derive(Clone, Debug)]
pub struct Function {
    /// Signs each request.
    pub secret: Secret,
    /// Longest wait for the answer.
    pub timeout: Duration,
    /// What the model knows of it.
    pub tool: Tool,
    /// `http` or `https`.
    pub url: String,
}

impl Agent {
    /// An agent that speaks English, greets with nothing and calls nothing.
    pub fn new(id: AgentId, name: impl Into<String>, system_prompt: impl Into<String>) -> Self {
        Self {
            functions: Vec::new(),
            greeting: None,
            id,
            language: "en-US".to_owned(),
            name: name.into(),
            policy: Policy::default(),
            system_prompt: system_prompt.into(),
            variables: Map::new(),
            voice: None,
            voices: BTreeMap::new(),
        }
    }

    /// Greets with `greeting`.
    #[must_use]
    pub fn with_greeting(mut self, greeting: impl Into<String>) -> Self {
        self.greeting = Some(greeting.into());
        self
    }

    /// Can call `function` too.
    #[must_use]
    pub fn with_function(mut self, function: Function) -> Self {
        self.functions.push(function);
        self
    }

    /// The voice for a language.
    pub fn voice_of(&self, language: &str) -> Option<&str> {
        let own = self.voice.as_deref().filter(|_| language == self.language);
        own.or_else(|| self.voices.get(language).map(String::as_str))
    }

    /// The configuration of one call, its templates filled.
    ///
    /// `ConfigInvalid` when the greeting or the prompt is not a template.
    pub fn configure(&self, tenant: TenantId, call: CallId, offer: &Offer, now: Timestamp) -> Result<CallConfig> {
        let mut values = self.variables.clone();
        values.insert("agent".to_owned(), json!({ "id": self.id, "name": self.name }));
        values.insert("call".to_owned(), json!({ "id": call, "from": offer.from(), "to": offer.to() }));
        let values = Value::Object(values);
        let greeting = self.greeting.as_deref().map(|greeting| template::render(greeting, &values)).transpose()?;
        Ok(CallConfig {
            id: call,
            tenant,
            agent: self.id,
            greeting: greeting.filter(|greeting| !greeting.trim().is_empty()),
            language: self.language.clone(),
            policy: self.policy.in_millis(),
            system_prompt: template::render(&self.system_prompt, &values)?,
            tools: self.functions.iter().map(|function| function.tool.clone()).collect(),
            wall_clock: now,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::telephony::LegId;

    #[test]
    fn templates_see_agent_call_and_variables() {
        let moment = Timestamp::from_unix_micros(0);
        let mut agent = Agent::new(AgentId::new(moment, [1; 10]), "Sari", "You work for {{clinic.name}}.");
        agent.greeting = Some("This is {{agent.name}}. You call from {{call.from}}.".to_owned());
        agent.variables.insert("clinic".to_owned(), json!({ "name": "Bloom" }));
        let from = Some("+628123456789".parse().unwrap());
        let offer = Offer::Inbound { leg: LegId::new("leg").unwrap(), from, to: None };
        let ids = (TenantId::new(moment, [2; 10]), CallId::new(moment, [3; 10]));
        let config = agent.configure(ids.0, ids.1, &offer, moment).unwrap();
        assert_eq!(config.system_prompt, "You work for Bloom.");
        assert_eq!(config.greeting.unwrap(), "This is Sari. You call from +628123456789.");
        agent.greeting = Some("{{oops".to_owned());
        assert!(agent.configure(ids.0, ids.1, &offer, moment).is_err());
    }
}
