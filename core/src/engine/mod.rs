//! The engine: calls on real providers.

mod consult;
mod dispatcher;
mod driver;
mod feed;
mod handle;
mod hang_up;
mod job;
mod lease;
mod log;
mod media;
mod recording;
mod tracer;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde_json::{Value, json};

pub use handle::{CallHandle, EVENTS_MAX, Glance};

use self::dispatcher::Ready;
use self::driver::Driver;
use self::handle::Line;
use crate::audio::silero::Silero;
use crate::billing::{Increment, PriceList, RateCard};
use crate::call::{Admission, CallConfig, Offer};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CallId, EngineId, TaskId, TenantId};
use crate::provider::reach::Reach;
use crate::provider::telephony::{E164, IncomingCall};
use crate::provider::{Blob, HttpTransport, Llm, SpeechToText, Store, Telephony, TextToSpeech};
use crate::runtime::Runtime;
use crate::service::after_call::AfterCalls;
use crate::service::agents::{Agent, Agents};
use crate::service::calls::{Calls, Prices};
use crate::service::capacity::{Capacity, Limits};
use crate::service::credits::Credits;
use crate::service::keys::ApiKeys;
use crate::service::numbers::Numbers;
use crate::service::outbox::Outbox;
use crate::service::prefetch;
use crate::service::recordings::Recordings;
use crate::service::recovery::{LiveCalls, Recovery};
use crate::service::retention::Retentions;
use crate::service::sessions::Sessions;
use crate::service::tasks::{TaskFailure, Tasks};
use crate::service::tenants::Tenants;
use crate::service::users::Users;
use crate::service::vault::{Vault, VaultKey};
use crate::service::webhooks::Webhooks;
use crate::time::Instant;
use crate::trace::{Span, TraceParent};

/// How long a live call is left alone after its engine was last heard of. Engines that share a store must have clocks
/// that agree much better than this.
pub const LEASE: Duration = Duration::from_secs(30);

/// The shortest lease; a shorter one in the settings is taken for this.
pub const LEASE_MIN: Duration = Duration::from_millis(100);

/// How long a drained engine waits for calls that it has hung up.
pub const DRAIN_MARGIN: Duration = Duration::from_secs(15);

/// How often it looks.
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// What an engine runs on.
#[derive(Clone)]
pub struct Providers {
    /// Where recordings go; `None` records nothing.
    pub blob: Option<Arc<dyn Blob>>,
    /// Functions and webhooks.
    pub http: Arc<dyn HttpTransport>,
    /// The model.
    pub llm: Arc<dyn Llm>,
    /// Clocks, tasks and randomness.
    pub runtime: Arc<dyn Runtime>,
    /// Opened with [`service::schema`](crate::service::schema).
    pub store: Arc<dyn Store>,
    /// The recogniser.
    pub stt: Arc<dyn SpeechToText>,
    /// The carrier.
    pub telephony: Arc<dyn Telephony>,
    /// The synthesiser.
    pub tts: Arc<dyn TextToSpeech>,
}

/// How an engine works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Calls of all tenants at once, over all engines on the store; `None` knows no limit.
    pub calls_max: Option<u32>,
    /// The steps in which talk time is billed to tenants whose terms do not say.
    pub increment: Increment,
    /// After so long without a sign of life of its engine, a call counts as lost, and another engine settles it. Renewed
    /// three times as often. The same for all engines on one store.
    pub lease: Duration,
    /// For tenants that have none of their own.
    pub limits: Limits,
    /// What the providers of a call take for it.
    pub prices: PriceList,
    /// What a minute costs tenants that are billed in money and have no rate card of their own.
    pub rates: Option<RateCard>,
    /// Where the outside world reaches the server that is built around this engine, such as `https://calls.example.com`;
    /// links to recordings begin with it.
    pub public_url: Option<String>,
    /// How far requests may reach whose URLs come from customers: webhooks, functions and what else they are sent.
    pub reach: Reach,
    /// Where the [spans](crate::trace) of calls go. One for which there is no room is lost.
    pub spans: Option<async_channel::Sender<Span>>,
    /// Tells speech from silence where the recogniser does not, at 8 and 16 kHz; without one, the energy of the sound does.
    pub speech_detector: Option<Silero>,
    /// What seals the secrets of customers in the store, the newest first. The same for all engines on one store; without
    /// any, nothing that has a secret can be kept.
    pub vault_keys: Vec<VaultKey>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            calls_max: None,
            increment: Increment::EXACT,
            lease: LEASE,
            limits: Limits::default(),
            prices: PriceList::default(),
            rates: None,
            public_url: None,
            reach: Reach::public(),
            spans: None,
            speech_detector: None,
            vault_keys: Vec::new(),
        }
    }
}

/// Answers and places calls. Clones share one engine; webhooks are delivered until the last clone is dropped.
#[derive(Clone)]
pub struct Engine {
    /// Of calls that are begun by this clone.
    parent: Option<TraceParent>,
    shared: Arc<EngineShared>,
}

struct EngineShared {
    agents: Agents,
    calls: Calls,
    capacity: Capacity,
    credits: Credits,
    is_closed: AtomicBool,
    keys: ApiKeys,
    lease: Duration,
    /// Of the calls that go on in this engine.
    lines: Mutex<BTreeMap<CallId, (TenantId, Weak<Line>)>>,
    live: LiveCalls,
    numbers: Numbers,
    outbox: Outbox,
    providers: Providers,
    recordings: Recordings,
    reach: Reach,
    retention: Retentions,
    sessions: Sessions,
    spans: Option<async_channel::Sender<Span>>,
    speech_detector: Option<Silero>,
    tasks: Tasks,
    tenants: Tenants,
    users: Users,
    webhooks: Webhooks,
    /// Closing it, by dropping the engine, stops the delivery of webhooks.
    _running: async_channel::Sender<()>,
}

impl Engine {
    /// An engine with the default settings.
    pub fn new(providers: Providers) -> Self {
        Self::with_settings(providers, Settings::default())
    }

    /// An engine that works by `settings`. At once, and from then on, it ends the calls that an engine on the same store
    /// has lost.
    pub fn with_settings(providers: Providers, settings: Settings) -> Self {
        let Settings {
            calls_max,
            increment,
            lease,
            limits,
            prices,
            public_url,
            rates,
            reach,
            spans,
            speech_detector,
            vault_keys,
        } = settings;
        let lease = lease.max(LEASE_MIN);
        let (runtime, store) = (providers.runtime.clone(), providers.store.clone());
        let vault = Vault::new(runtime.clone(), vault_keys);
        let blob = providers.blob.clone();
        let recordings = Recordings::new(runtime.clone(), store.clone(), blob, &vault, public_url);
        let outbox = Outbox::new(runtime.clone(), store.clone(), providers.http.clone(), vault.clone(), reach.clone());
        let webhooks = Webhooks::new(runtime.clone(), store.clone(), outbox.clone(), vault.clone(), reach.clone());
        let tenants = Tenants::new(runtime.clone(), store.clone(), vault.clone());
        let numbers = Numbers::new(runtime.clone(), store.clone());
        let agents = Agents::new(store.clone(), numbers.clone(), vault, reach.clone());
        let capacity = Capacity::new(runtime.clone(), store.clone(), calls_max, limits);
        let tasks = Tasks::new(runtime.clone(), store.clone(), reach.clone());
        let keys = ApiKeys::new(runtime.clone(), store.clone());
        let prices = Arc::new(Prices { increment, providers: prices, rates });
        let after_calls = AfterCalls::new(
            runtime.clone(),
            store.clone(),
            providers.llm.clone(),
            outbox.clone(),
            webhooks.clone(),
            recordings.clone(),
            prices.clone(),
        );
        let credits = Credits::new(runtime.clone(), store.clone()).told_by(webhooks.clone());
        let calls = Calls {
            after_calls: after_calls.clone(),
            capacity: capacity.clone(),
            credits: credits.clone(),
            engine: EngineId::generate(&*runtime),
            lease,
            numbers: numbers.clone(),
            prices,
            runtime: runtime.clone(),
            store: store.clone(),
            tasks: tasks.clone(),
            telephony: providers.telephony.info(),
            webhooks: webhooks.clone(),
        };
        let live = LiveCalls::default();
        let recovery = Recovery {
            calls: calls.clone(),
            lease,
            live: live.clone(),
            runtime: runtime.clone(),
            store: store.clone(),
            telephony: providers.telephony.clone(),
        };
        let (running, stop) = async_channel::bounded(1);
        runtime.spawn("after calls", Box::pin(after_calls.run(stop.clone())));
        runtime.spawn("outbox", Box::pin(outbox.clone().run(stop.clone())));
        if providers.blob.is_some() {
            runtime.spawn("recordings", Box::pin(recordings.clone().run(stop.clone())));
        }
        runtime.spawn("recovery", Box::pin(recovery.run(stop.clone())));
        let retention = Retentions::new(runtime.clone(), store.clone(), recordings.clone());
        runtime.spawn("retention", Box::pin(retention.clone().run(stop.clone())));
        let shared = EngineShared {
            agents,
            calls,
            capacity,
            credits,
            is_closed: AtomicBool::new(false),
            keys,
            lease,
            lines: Mutex::default(),
            live,
            numbers,
            outbox,
            providers,
            recordings,
            reach,
            retention,
            sessions: Sessions::new(runtime.clone(), store.clone()),
            spans,
            speech_detector,
            tasks,
            tenants,
            users: Users::new(runtime.clone(), store.clone()),
            webhooks,
            _running: running,
        };
        let shared = Arc::new(shared);
        if shared.providers.telephony.capabilities().dial {
            let dispatcher = dispatcher::run(Arc::downgrade(&shared), runtime.clone(), stop);
            runtime.spawn("dispatcher", Box::pin(dispatcher));
        }
        Self { parent: None, shared }
    }

    /// The same engine; the calls that are begun by what is returned are traced as parts of `parent`.
    #[must_use]
    pub fn under(&self, parent: Option<TraceParent>) -> Self {
        Self { parent, shared: self.shared.clone() }
    }

    /// Lets `agent` hold an incoming call. Returns at once; the call runs on the engine's runtime, also when the handle
    /// is dropped.
    ///
    /// `ConfigInvalid` when the agent's templates are not templates.
    pub fn accept(&self, tenant: TenantId, agent: Arc<Agent>, incoming: IncomingCall) -> Result<CallHandle> {
        let IncomingCall { leg, from, to, .. } = incoming;
        self.start(tenant, agent, Offer::Inbound { leg, from, to })
    }

    /// Lets `agent` call `to`, showing `from`. Requires a carrier that dials.
    pub fn dial(&self, tenant: TenantId, agent: Arc<Agent>, from: E164, to: E164) -> Result<CallHandle> {
        self.start(tenant, agent, Offer::Outbound { from, to })
    }

    /// One more handle of a call that goes on in this engine, and what there is to see of it now. `None` when there is no
    /// such call.
    pub fn follow(&self, tenant: TenantId, call: CallId) -> Option<(CallHandle, Glance)> {
        let lines = self.lines();
        let (owner, line) = lines.get(&call)?;
        if *owner == tenant { line.upgrade()?.follow() } else { None }
    }

    /// Begins no more calls: those that come in or are asked for are refused with `Unavailable`, and tasks wait.
    pub fn close(&self) {
        // Under the lock, so that a call that is being listed is seen by whoever closes.
        let _lines = self.lines();
        self.shared.is_closed.store(true, Ordering::Release);
    }

    /// Closes the engine and lets its calls come to their end, for `limit` at most; then it hangs up, and waits for what is
    /// settled within the policies' own limits, for [`DRAIN_MARGIN`] at most. Returns how many calls are left.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.close();
        let runtime = &*self.shared.providers.runtime;
        self.empties(runtime.now() + limit).await;
        let lines: Vec<_> = self.lines().values().filter_map(|(_, line)| line.upgrade()).collect();
        for (handle, _) in lines.iter().filter_map(Line::follow) {
            // A call that takes no more requests is ending already.
            let _ = handle.hang_up();
        }
        self.empties(runtime.now() + DRAIN_MARGIN).await;
        self.live_calls()
    }

    async fn empties(&self, deadline: Instant) {
        let runtime = &*self.shared.providers.runtime;
        while self.live_calls() > 0 && runtime.now() < deadline {
            runtime.sleep_until((runtime.now() + DRAIN_POLL).min(deadline)).await;
        }
    }

    /// How many calls go on in this engine.
    pub fn live_calls(&self) -> usize {
        self.lines().len()
    }

    /// Places the call of a pending task now, and waits until it has begun.
    ///
    /// `NotFound` when there is no such task, `Conflict` when it is not pending or its call is being placed already,
    /// `Rejected` when its agent is gone, switched off or out of its hours, otherwise as [`CallHandle::begun`].
    pub async fn execute(&self, tenant: TenantId, task: TaskId) -> Result<CallHandle> {
        let (row, mut task) = self.shared.tasks.claim(tenant, task).await?;
        let now = self.shared.providers.runtime.wall_clock();
        let refused = |message| Error::new(ErrorKind::Rejected, "tasks.execute", message);
        let call = match self.prepare(tenant, &task, now).await? {
            Ready::Call(call) => call,
            Ready::Closed(_) => return Err(refused("it is outside of the agent's active hours")),
            Ready::Never(TaskFailure::AgentInactive) => return Err(refused("the agent is switched off")),
            Ready::Never(TaskFailure::AgentMissing) => return Err(refused("the agent is gone")),
            Ready::Never(_) => return Err(refused("the agent cannot call")),
        };
        let (agent, config, offer) = *call;
        if !self.shared.tasks.assign(&row, &mut task, config.id).await? {
            return Err(Error::new(ErrorKind::Conflict, "tasks.execute", "the task was changed meanwhile"));
        }
        let mut handle = self.under(self.parent.or(task.wish.trace)).run(agent, config, offer)?;
        handle.begun().await?;
        Ok(handle)
    }

    /// Agents as they are kept.
    pub fn agents(&self) -> &Agents {
        &self.shared.agents
    }

    /// How many calls may go on at once.
    pub fn capacity(&self) -> &Capacity {
        &self.shared.capacity
    }

    /// Calls as they are kept.
    pub fn calls(&self) -> &Calls {
        &self.shared.calls
    }

    /// Prepaid time and money.
    pub fn credits(&self) -> &Credits {
        &self.shared.credits
    }

    /// Keys to the APIs of a server.
    pub fn keys(&self) -> &ApiKeys {
        &self.shared.keys
    }

    /// Which agent answers where.
    pub fn numbers(&self) -> &Numbers {
        &self.shared.numbers
    }

    /// Messages on their way to customers.
    pub fn outbox(&self) -> &Outbox {
        &self.shared.outbox
    }

    /// How long what belongs to calls is kept.
    pub fn retention(&self) -> &Retentions {
        &self.shared.retention
    }

    /// Who is logged in.
    pub fn sessions(&self) -> &Sessions {
        &self.shared.sessions
    }

    /// Recordings of calls that are over.
    pub fn recordings(&self) -> &Recordings {
        &self.shared.recordings
    }

    /// Wishes to call somebody. They are dialled by any engine on the store whose carrier dials.
    pub fn tasks(&self) -> &Tasks {
        &self.shared.tasks
    }

    /// The customers of a server.
    pub fn tenants(&self) -> &Tenants {
        &self.shared.tenants
    }

    /// The people who manage tenants.
    pub fn users(&self) -> &Users {
        &self.shared.users
    }

    /// Webhooks.
    pub fn webhooks(&self) -> &Webhooks {
        &self.shared.webhooks
    }

    fn is_closed(&self) -> bool {
        self.shared.is_closed.load(Ordering::Acquire)
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<CallId, (TenantId, Weak<Line>)>> {
        self.shared.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, tenant: TenantId, agent: Arc<Agent>, offer: Offer) -> Result<CallHandle> {
        let runtime = &*self.shared.providers.runtime;
        let config = agent.configure(tenant, CallId::generate(runtime), &offer, runtime.wall_clock())?;
        self.run(agent, config, offer)
    }

    fn run(&self, agent: Arc<Agent>, config: CallConfig, offer: Offer) -> Result<CallHandle> {
        let outbox = &self.shared.outbox;
        let after = agent.after_call.pending(outbox, config.tenant, &agent.name, &agent.variables)?;
        let (line, end) = Line::new(config.id);
        let id = config.id;
        let Some((handle, _)) = line.follow() else {
            return Err(Error::new(ErrorKind::Unexpected, "engine.run", "a new call is over"));
        };
        {
            let mut lines = self.lines();
            if self.is_closed() {
                return Err(Error::new(ErrorKind::Unavailable, "engine.run", "the engine begins no more calls"));
            }
            lines.insert(id, (config.tenant, Arc::downgrade(&line)));
        }
        let listed = Listed { engine: Arc::downgrade(&self.shared), id };
        let engine = self.clone();
        let call = async move {
            let _listed = listed;
            let (agent, config) = engine.prefetch(agent, config, &offer).await;
            let after = after.map(|after| after.with_values(&agent.variables));
            Driver::new(engine, agent, config, after, offer, end).run().await;
        };
        self.shared.providers.runtime.spawn("call", Box::pin(call));
        Ok(handle)
    }

    /// The agent and its configuration with what the customer's system knows of the caller, if it is asked and answers.
    async fn prefetch(&self, agent: Arc<Agent>, config: CallConfig, offer: &Offer) -> (Arc<Agent>, CallConfig) {
        // Nobody is asked about a call that is refused.
        let Some(prefetch) = agent.prefetch.as_ref().filter(|_| config.admission == Admission::Open) else {
            return (agent, config);
        };
        let Providers { http, runtime, .. } = &self.shared.providers;
        let reach = self.shared.reach.clone();
        let known = match prefetch::ask(&**runtime, http.clone(), reach, prefetch, agent.id, config.id, offer).await {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(%error, call = %config.id, "the call goes on without what the customer knows");
                return (agent, config);
            }
        };
        let mut knowing = (*agent).clone();
        let values = knowing.variables.entry(prefetch::NAMESPACE).or_insert_with(|| json!({}));
        match values {
            Value::Object(values) => values.extend(known),
            other => *other = Value::Object(known),
        }
        match knowing.configure(config.tenant, config.id, offer, runtime.wall_clock()) {
            Ok(known) => (Arc::new(knowing), CallConfig { task: config.task, ..known }),
            Err(error) => {
                tracing::warn!(%error, call = %config.id, "what the customer knows cannot be said");
                (agent, config)
            }
        }
    }
}

/// A call is in its engine's list until this is dropped, by its end or by a panic.
struct Listed {
    engine: Weak<EngineShared>,
    id: CallId,
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(shared) = self.engine.upgrade() {
            Engine { parent: None, shared }.lines().remove(&self.id);
        }
    }
}
