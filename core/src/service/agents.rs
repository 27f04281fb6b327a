//! Agents: who holds the calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::after_call::AfterCall;
use super::hours::Hours;
use super::prefetch::Prefetch;
use super::vault::Vault;
use super::webhooks::{from_value, to_value};
use crate::call::{Admission, CallConfig, Offer, Policy};
use crate::error::Result;
use crate::ids::{AgentId, CallId, TenantId};
use crate::provider::Store;
use crate::provider::llm::Tool;
use crate::provider::reach::Reach;
use crate::provider::store::{Batch, Expect, Put, Query, Record, RecordKey};
use crate::provider::transport::check_header_value;
use crate::signing::Secret;
use crate::template;
use crate::time::Timestamp;

/// The record kind of agents.
pub const AGENT: &str = "agent";

/// An agent: its prompt, voice, functions and habits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Agent {
    /// Whether it takes and places calls.
    pub active: bool,
    /// What is done when a call is over.
    #[serde(default)]
    pub after_call: AfterCall,
    /// The functions that it can call.
    pub functions: Vec<Function>,
    /// Said as soon as a call is connected; a [template].
    pub greeting: Option<String>,
    /// When it takes and places calls; `None` is always.
    pub hours: Option<Hours>,
    /// The agent.
    pub id: AgentId,
    /// BCP 47.
    pub language: String,
    /// For people, and for templates as `{{agent.name}}`.
    pub name: String,
    /// When it does what.
    pub policy: Policy,
    /// Who is asked about the caller before each call; the answer fills the namespace `crm`.
    #[serde(default)]
    pub prefetch: Option<Prefetch>,
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Function {
    /// Signs each request.
    #[serde(with = "crate::signing::serial")]
    pub secret: Secret,
    /// Longest wait for the answer.
    #[serde(with = "crate::time::duration_ms", rename = "timeout_ms")]
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
            active: true,
            after_call: AfterCall::default(),
            functions: Vec::new(),
            greeting: None,
            hours: None,
            id,
            language: "en-US".to_owned(),
            name: name.into(),
            policy: Policy::default(),
            prefetch: None,
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

    /// Works in `hours` only.
    #[must_use]
    pub fn with_hours(mut self, hours: Hours) -> Self {
        self.hours = Some(hours);
        self
    }

    /// Whether it takes or places a call at that moment.
    pub fn admits(&self, at: Timestamp) -> Admission {
        match &self.hours {
            _ if !self.active => Admission::AgentInactive,
            Some(hours) if !hours.is_open(at) => Admission::OutsideHours,
            _ => Admission::Open,
        }
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
            admission: self.admits(now),
            id: call,
            tenant,
            agent: self.id,
            greeting: greeting.filter(|greeting| !greeting.trim().is_empty()),
            language: self.language.clone(),
            policy: self.policy.in_millis(),
            system_prompt: template::render(&self.system_prompt, &values)?,
            task: None,
            tools: self.functions.iter().map(|function| function.tool.clone()).collect(),
            wall_clock: now,
        })
    }
}

/// The agents of all tenants, as they are kept.
#[derive(Clone)]
pub struct Agents {
    reach: Reach,
    store: Arc<dyn Store>,
    vault: Vault,
}

impl Agents {
    pub(crate) fn new(store: Arc<dyn Store>, vault: Vault, reach: Reach) -> Self {
        Self { reach, store, vault }
    }

    /// The agent, if there is one.
    pub async fn get(&self, tenant: TenantId, agent: AgentId) -> Result<Option<Agent>> {
        let record = self.store.get(RecordKey::new(tenant, AGENT, agent)).await?;
        record.map(|record| self.load(record)).transpose()
    }

    /// The tenant's agents, newest first; at most [`LIMIT_MAX`](crate::provider::store::LIMIT_MAX).
    pub async fn list(&self, tenant: TenantId) -> Result<Vec<Agent>> {
        let page = self.store.list(Query::new(Some(tenant), AGENT)).await?;
        page.records.into_iter().map(|record| self.load(record)).collect()
    }

    /// Keeps an agent, in place of the one with its id. Calls that have begun go on as they are.
    ///
    /// `ConfigInvalid` when it has a secret and the engine no key to seal it, a URL that is out of reach, a token that no
    /// header can hold, or an [`AfterCall`] that cannot be done.
    pub async fn put(&self, tenant: TenantId, agent: &Agent) -> Result<()> {
        agent.after_call.check(&self.reach)?;
        let urls = agent.functions.iter().map(|function| &function.url);
        urls.chain(agent.prefetch.as_ref().map(|prefetch| &prefetch.url)).try_for_each(|url| self.reach.check(url))?;
        let token = agent.prefetch.as_ref().and_then(|prefetch| prefetch.token.as_ref());
        token.map_or(Ok(()), |token| check_header_value(token.expose()))?;
        let mut batch = Batch::default();
        let key = RecordKey::new(tenant, AGENT, agent.id);
        let mut body = to_value(agent)?;
        for secret in stored_secrets(&mut body) {
            let plain = hex::decode(secret.as_str().unwrap_or_default()).unwrap_or_default();
            *secret = self.vault.seal(&context(&key), &plain)?.into();
        }
        batch.put(Put::new(key, Expect::Any, body).index("name", agent.name.as_str()));
        self.store.commit(batch).await.map(|_| ())
    }

    /// Forgets an agent. Calls that have begun go on.
    pub async fn delete(&self, tenant: TenantId, agent: AgentId) -> Result<()> {
        let mut batch = Batch::default();
        batch.delete(RecordKey::new(tenant, AGENT, agent), Expect::Any);
        self.store.commit(batch).await.map(|_| ())
    }

    fn load(&self, mut record: Record) -> Result<Agent> {
        let context = context(&record.key);
        for secret in stored_secrets(&mut record.body) {
            let sealed = secret.as_str().unwrap_or_default();
            *secret = hex::encode(self.vault.open(&context, sealed)?.expose()).into();
        }
        from_value(&record.body)
    }
}

/// All secrets in an agent's stored form.
fn stored_secrets(body: &mut Value) -> impl Iterator<Item = &mut Value> {
    fn in_list<'a>(list: Option<&'a mut Value>, name: &'a str) -> impl Iterator<Item = &'a mut Value> {
        let items = list.and_then(Value::as_array_mut).into_iter().flatten();
        items.filter_map(move |item| item.get_mut(name))
    }
    let (mut functions, mut after_call, mut prefetch) = (None, None, None);
    for (name, value) in body.as_object_mut().into_iter().flatten() {
        match name.as_str() {
            "functions" => functions = Some(value),
            "after_call" => after_call = Some(value),
            "prefetch" => prefetch = Some(value),
            _ => {}
        }
    }
    let pushes = after_call.and_then(|after_call| after_call.get_mut("pushes"));
    let token = prefetch.and_then(|prefetch| prefetch.get_mut("token"));
    in_list(functions, "secret").chain(in_list(pushes, "token")).chain(token).filter(|secret| !secret.is_null())
}

/// Where the secrets of an agent open.
fn context(agent: &RecordKey) -> String {
    format!("{}/{}/{}", agent.tenant, agent.kind, agent.id)
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
