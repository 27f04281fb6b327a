//! The engine: calls on real providers.

mod consult;
mod driver;
mod handle;
mod job;
mod log;
mod media;
mod recording;

use std::sync::Arc;

pub use handle::{CallHandle, EVENTS_MAX};

use self::driver::Driver;
use crate::billing::Increment;
use crate::call::Offer;
use crate::error::Result;
use crate::ids::{CallId, TenantId};
use crate::provider::telephony::{E164, IncomingCall};
use crate::provider::{Blob, HttpTransport, Llm, SpeechToText, Store, Telephony, TextToSpeech};
use crate::runtime::Runtime;
use crate::service::agents::Agent;
use crate::service::calls::Calls;
use crate::service::credits::Credits;
use crate::service::webhooks::Webhooks;

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

/// Answers and places calls. Clones share one engine; webhooks are delivered until the last clone is dropped.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<EngineShared>,
}

struct EngineShared {
    calls: Calls,
    credits: Credits,
    increment: Increment,
    providers: Providers,
    webhooks: Webhooks,
    /// Closing it, by dropping the engine, stops the delivery of webhooks.
    _running: async_channel::Sender<()>,
}

impl Engine {
    /// An engine that bills each millisecond.
    pub fn new(providers: Providers) -> Self {
        Self::with_increment(providers, Increment::EXACT)
    }

    /// An engine that bills in steps of `increment`.
    pub fn with_increment(providers: Providers, increment: Increment) -> Self {
        let (runtime, store) = (providers.runtime.clone(), providers.store.clone());
        let webhooks = Webhooks::new(runtime.clone(), store.clone(), providers.http.clone());
        let calls = Calls::new(runtime.clone(), store.clone(), webhooks.clone());
        let credits = Credits::new(runtime.clone(), store);
        let (running, stop) = async_channel::bounded(1);
        runtime.spawn("webhooks", Box::pin(webhooks.clone().run(stop)));
        let shared = EngineShared { calls, credits, increment, providers, webhooks, _running: running };
        Self { shared: Arc::new(shared) }
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

    /// Calls as they are kept.
    pub fn calls(&self) -> &Calls {
        &self.shared.calls
    }

    /// Prepaid talk time.
    pub fn credits(&self) -> &Credits {
        &self.shared.credits
    }

    /// Webhooks.
    pub fn webhooks(&self) -> &Webhooks {
        &self.shared.webhooks
    }

    fn start(&self, tenant: TenantId, agent: Arc<Agent>, offer: Offer) -> Result<CallHandle> {
        let runtime = self.shared.providers.runtime.clone();
        let id = CallId::generate(&*runtime);
        let config = agent.configure(tenant, id, &offer, runtime.wall_clock())?;
        let (handle, ends) = CallHandle::new(id);
        let driver = Driver::new(self.clone(), agent, config, offer, ends);
        runtime.spawn("call", Box::pin(driver.run()));
        Ok(handle)
    }
}
