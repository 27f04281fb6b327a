//! Agents: who holds the calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::after_call::AfterCall;
use super::clock;
use super::hours::Hours;
use super::numbers::Numbers;
use super::prefetch::Prefetch;
use super::tasks::Wishes;
use super::vault::Vault;
use super::webhooks::{Form, from_value, to_value};
use crate::call::{Admission, CallConfig, Offer, Policy};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{AgentId, CallId, TenantId};
use crate::provider::Store;
use crate::provider::llm::Tool;
use crate::provider::reach::Reach;
use crate::provider::store::catalog::{FOREIGN_DEPTH_MAX, nests_within};
use crate::provider::store::{Batch, Expect, Put, Query, Record, RecordKey};
use crate::provider::transport::check_header_value;
use crate::signing::Secret;
use crate::template;
use crate::time::Timestamp;

/// The record kind of agents.
pub const AGENT: &str = "agent";

/// Longest wait for a function's answer, unless it says otherwise.
pub const FUNCTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Agents of a tenant.
pub const AGENTS_MAX: u64 = 1_000;

/// Bytes of a name at most.
pub const NAME_BYTES_MAX: usize = 1_024;

/// Bytes of a greeting, a description and the like at most.
pub const NOTE_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a prompt at most.
pub const PROMPT_BYTES_MAX: usize = 64 * 1024;

/// Functions of an agent at most.
pub const FUNCTIONS_MAX: usize = 64;

/// Longest wait for a function's answer that can be asked for.
pub const FUNCTION_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// How often a change is tried that others keep overtaking.
const CONFLICTS_MAX: u32 = 8;

/// An agent: its prompt, voice, functions and habits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Agent {
    /// Whether it takes and places calls.
    pub active: bool,
    /// What is done when a call is over.
    #[serde(default)]
    pub after_call: AfterCall,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// The functions that it can call.
    pub functions: Vec<Function>,
    /// Said as soon as a call is connected; a text to [fill](template::fill).
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
    /// Instructions for the model; a text to [fill](template::fill).
    pub system_prompt: String,
    /// Names of what its owner has switched on beside its functions.
    #[serde(default)]
    pub tools_enabled: Vec<String>,
    /// Namespaces for templates, beside `agent`, `call` and `system`.
    pub variables: Map<String, Value>,
    /// The synthesiser's name of a voice; `None` is its default.
    pub voice: Option<String>,
    /// What its owner wants of the voice, in the words of the synthesiser's maker.
    #[serde(default)]
    pub voice_settings: Option<Value>,
    /// Voices for the languages that a call may change to, by their BCP 47 tags; one without has its default.
    pub voices: BTreeMap<String, String>,
}

/// A function that an agent can call: a signed request to the customer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Function {
    /// In which form it is asked.
    #[serde(default)]
    pub form: Form,
    /// How it is asked.
    #[serde(default)]
    pub method: FunctionMethod,
    /// Signs each request; `None` is the tenant's [signing secret](super::tenants::Tenants::signing_secret).
    #[serde(default, with = "crate::signing::serial::optional")]
    pub secret: Option<Secret>,
    /// Longest wait for the answer.
    #[serde(with = "crate::time::duration_ms", rename = "timeout_ms")]
    pub timeout: Duration,
    /// What the model knows of it.
    pub tool: Tool,
    /// `http` or `https`.
    pub url: String,
}

/// The method of a function's request.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FunctionMethod {
    /// What is asked stands in the query (DR-A1).
    Get,
    /// It stands in the body.
    #[default]
    Post,
}

impl Function {
    /// A function in our own form that is waited for as long as Dialro's contract says (DR-093).
    pub fn new(url: impl Into<String>, tool: Tool) -> Self {
        let (form, method) = (Form::default(), FunctionMethod::default());
        Self { form, method, secret: None, timeout: FUNCTION_TIMEOUT, tool, url: url.into() }
    }

    /// Signed with that secret.
    #[must_use]
    pub fn signed(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }
}

impl Agent {
    /// An agent that speaks English, greets with nothing and calls nothing.
    pub fn new(id: AgentId, name: impl Into<String>, system_prompt: impl Into<String>) -> Self {
        Self {
            active: true,
            after_call: AfterCall::default(),
            description: String::new(),
            functions: Vec::new(),
            greeting: None,
            hours: None,
            id,
            language: "en-US".to_owned(),
            name: name.into(),
            policy: Policy::default(),
            prefetch: None,
            system_prompt: system_prompt.into(),
            tools_enabled: Vec::new(),
            variables: Map::new(),
            voice: None,
            voice_settings: None,
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

    /// `ConfigInvalid`, with the context `field`, for what no call could be held with.
    fn check(&self) -> Result<()> {
        let wrong = |field: &'static str, message: &str| {
            Err(Error::new(ErrorKind::ConfigInvalid, "agents.check", message).with_context("field", field))
        };
        let settings = self.voice_settings.as_ref().map_or(0, |settings| settings.to_string().len());
        let tools: usize = self.tools_enabled.iter().map(String::len).sum();
        for (field, bytes, most) in [
            ("name", self.name.len(), NAME_BYTES_MAX),
            ("description", self.description.len(), NOTE_BYTES_MAX),
            ("greeting", self.greeting.as_ref().map_or(0, String::len), NOTE_BYTES_MAX),
            ("system_prompt", self.system_prompt.len(), PROMPT_BYTES_MAX),
            ("tools_enabled", tools, NOTE_BYTES_MAX),
            ("voice_settings", settings, NOTE_BYTES_MAX),
        ] {
            if bytes > most {
                return wrong(field, &format!("is longer than {most} bytes"));
            }
        }
        if self.functions.len() > FUNCTIONS_MAX {
            return wrong("functions", "are more than 64");
        }
        for (index, function) in self.functions.iter().enumerate() {
            let name = &function.tool.name;
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
            if name.is_empty() || name.len() > 64 || !name.bytes().all(is_plain) {
                return wrong("functions", "have names of 1 to 64 letters, digits, _ and -");
            }
            if self.functions[..index].iter().any(|other| other.tool.name == *name) {
                return wrong("functions", "have names of their own");
            }
            if function.timeout.is_zero() || function.timeout > FUNCTION_TIMEOUT_MAX {
                return wrong("functions", "are waited for up to a minute");
            }
            super::functions::check_schema(&function.tool.parameters)?;
        }
        self.policy.check()
    }

    /// The configuration of one call, its templates filled: from the agent's variables and `agent`, `call` and `system`,
    /// a field without a namespace from `system`, `crm` and `call` (FL-034).
    ///
    /// `Rejected` when greeting or prompt are too long, `ConfigInvalid` for a time zone that there is not.
    pub fn configure(&self, tenant: TenantId, call: CallId, offer: &Offer, now: Timestamp) -> Result<CallConfig> {
        if !self.variables.values().all(|value| nests_within(value, FOREIGN_DEPTH_MAX)) {
            return Err(Error::new(ErrorKind::ConfigInvalid, "agents.configure", "the variables nest too deeply"));
        }
        let mut values = self.variables.clone();
        values.insert("agent".to_owned(), json!({ "id": self.id, "name": self.name }));
        let own = json!({ "id": call, "from": offer.from(), "to": offer.to() });
        match values.entry("call").or_insert_with(|| json!({})) {
            Value::Object(values) => values.extend(own.as_object().cloned().unwrap_or_default()),
            other => *other = own,
        }
        values.insert(
            "system".to_owned(),
            Value::Object(clock::system(now, &clock::zone(self.after_call.zone.as_deref())?)),
        );
        let values = Value::Object(values);
        let fill = |text: &str| template::fill(text, &values, &["system", "crm", "call"]);
        let greeting = self.greeting.as_deref().map(fill).transpose()?;
        Ok(CallConfig {
            admission: self.admits(now),
            id: call,
            tenant,
            agent: self.id,
            greeting: greeting.filter(|greeting| !greeting.trim().is_empty()),
            language: self.language.clone(),
            policy: self.policy.in_millis(),
            system_prompt: fill(&self.system_prompt)?,
            task: None,
            tools: self.functions.iter().map(|function| function.tool.clone()).collect(),
            wall_clock: now,
        })
    }
}

/// The agents of all tenants, as they are kept.
#[derive(Clone)]
pub struct Agents {
    numbers: Numbers,
    reach: Reach,
    store: Arc<dyn Store>,
    vault: Vault,
}

impl Agents {
    pub(crate) fn new(store: Arc<dyn Store>, numbers: Numbers, vault: Vault, reach: Reach) -> Self {
        Self { numbers, reach, store, vault }
    }

    /// The agent, if there is one.
    pub async fn get(&self, tenant: TenantId, agent: AgentId) -> Result<Option<Agent>> {
        let record = self.store.get(RecordKey::new(tenant, AGENT, agent)).await?;
        record.map(|record| self.load(record)).transpose()
    }

    /// The tenant's agents, newest first: the active ones, those that are not, or all; `limit` of them behind the first
    /// `offset`. Returns how many there are, too.
    pub async fn list(
        &self,
        tenant: TenantId,
        active: Option<bool>,
        offset: u64,
        limit: u32,
    ) -> Result<(Vec<Agent>, u64)> {
        let query = Query::new(Some(tenant), AGENT);
        let query = active.into_iter().fold(query, |query, active| query.equal("active", active.to_string()));
        let total = self.store.count(query.clone()).await?;
        let page = self.store.list(query.offset(offset).limit(limit)).await?;
        let agents = page.records.into_iter().map(|record| self.load(record));
        Ok((agents.collect::<Result<_>>()?, total))
    }

    /// The tenant's newest agent of that name, if there is one.
    pub async fn find(&self, tenant: TenantId, name: &str) -> Result<Option<Agent>> {
        let page = self.store.list(Query::new(Some(tenant), AGENT).equal("name", name).limit(1)).await?;
        page.records.into_iter().next().map(|record| self.load(record)).transpose()
    }

    /// The agent and its tenant, whosever it is.
    pub async fn find_anywhere(&self, agent: AgentId) -> Result<Option<(TenantId, Agent)>> {
        let query = Query::new(None, AGENT).equal("agent", agent.to_string()).limit(1);
        let Some(record) = self.store.list(query).await?.records.into_iter().next() else { return Ok(None) };
        let tenant = record.key.tenant;
        Ok(Some((tenant, self.load(record)?)))
    }

    /// Keeps an agent, in place of the one with its id. Calls that have begun go on as they are.
    ///
    /// `ConfigInvalid` when it has a secret and the engine no key to seal it, a URL that is out of reach, a token that no
    /// header can hold, or an [`AfterCall`] that cannot be done.
    pub async fn put(&self, tenant: TenantId, agent: &Agent) -> Result<()> {
        let mut batch = Batch::default();
        if self.store.get(RecordKey::new(tenant, AGENT, agent.id)).await?.is_none() {
            if self.store.count(Query::new(Some(tenant), AGENT)).await? >= AGENTS_MAX {
                return Err(Error::new(ErrorKind::Conflict, "agents.put", "there are as many agents as may be"));
            }
            if let Some(add) = Wishes::of(&*self.store, tenant, agent.id).await?.reopen() {
                batch.add(add);
            }
        }
        batch.put(self.save(tenant, agent, Expect::Any)?);
        self.store.commit(batch).await.map(|_| ())
    }

    /// Changes an agent; its id stays. `NotFound` when there is none, otherwise as [`Agents::put`] and `change`.
    pub async fn update(
        &self,
        tenant: TenantId,
        agent: AgentId,
        change: impl Fn(&mut Agent) -> Result<()> + Send + Sync,
    ) -> Result<Agent> {
        let missing = || Error::new(ErrorKind::NotFound, "agents.update", "there is no such agent");
        for _ in 0..CONFLICTS_MAX {
            let record = self.store.get(RecordKey::new(tenant, AGENT, agent)).await?.ok_or_else(missing)?;
            let revision = record.revision;
            let mut changed = self.load(record)?;
            change(&mut changed)?;
            changed.id = agent;
            let mut batch = Batch::default();
            batch.put(self.save(tenant, &changed, Expect::Revision(revision))?);
            match self.store.commit(batch).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                result => return result.map(|_| changed),
            }
        }
        Err(Error::new(ErrorKind::Conflict, "agents.update", "the agent was changed by others too often"))
    }

    /// Forgets an agent; nobody answers its numbers any more, and no more tasks are taken for it. Calls that have begun go on.
    /// False when there was none.
    pub async fn delete(&self, tenant: TenantId, agent: AgentId) -> Result<bool> {
        self.remove(tenant, agent, false).await
    }

    /// Forgets an agent that has nothing to do, in one commit with the knowledge that it has not. `Conflict` while tasks of it
    /// are pending or in progress; otherwise as [`Agents::delete`].
    pub async fn delete_idle(&self, tenant: TenantId, agent: AgentId) -> Result<bool> {
        self.remove(tenant, agent, true).await
    }

    async fn remove(&self, tenant: TenantId, agent: AgentId, must_be_idle: bool) -> Result<bool> {
        for _ in 0..CONFLICTS_MAX {
            let wishes = Wishes::of(&*self.store, tenant, agent).await?;
            let Some(record) = self.store.get(RecordKey::new(tenant, AGENT, agent)).await? else { return Ok(false) };
            if must_be_idle && wishes.are_open(&*self.store).await? {
                let message = "the agent has tasks that are pending or in progress";
                return Err(Error::new(ErrorKind::Conflict, "agents.delete", message));
            }
            let mut batch = Batch::default();
            for put in self.numbers.released(tenant, agent).await? {
                batch.put(put);
            }
            batch.delete(record.key, Expect::Revision(record.revision)).add(wishes.close());
            match self.store.commit(batch).await {
                Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::RateLimited) => {}
                result => return result.map(|_| true),
            }
        }
        Err(Error::new(ErrorKind::Conflict, "agents.delete", "the agent was changed by others too often"))
    }

    fn save(&self, tenant: TenantId, agent: &Agent, expect: Expect) -> Result<Put> {
        agent.check()?;
        agent.after_call.check(&self.reach)?;
        let urls = agent.functions.iter().map(|function| &function.url);
        urls.chain(agent.prefetch.as_ref().map(|prefetch| &prefetch.url)).try_for_each(|url| self.reach.check(url))?;
        let token = agent.prefetch.as_ref().and_then(|prefetch| prefetch.token.as_ref());
        token.map_or(Ok(()), |token| check_header_value(token.expose()))?;
        let key = RecordKey::new(tenant, AGENT, agent.id);
        let mut body = to_value(agent)?;
        for secret in stored_secrets(&mut body) {
            let plain = hex::decode(secret.as_str().unwrap_or_default()).unwrap_or_default();
            *secret = self.vault.seal(&context(&key), &plain)?.into();
        }
        let put = Put::new(key, expect, body);
        Ok(put
            .index("active", agent.active.to_string())
            .index("agent", agent.id.to_string())
            .index("name", agent.name.as_str()))
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
        agent.greeting = Some("{{oops {{from}} on {{system.current_date}} at {{current_time}}".to_owned());
        agent.after_call.zone = Some("Asia/Jakarta".to_owned());
        let greeting = agent.configure(ids.0, ids.1, &offer, moment).unwrap().greeting.unwrap();
        assert_eq!(greeting, "{{oops +628123456789 on 01 January 1970 at 07:00 AM WIB");
    }
}
