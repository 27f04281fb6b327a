//! Engines that share a store, and a customer whose servers behave as they are told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use offhook::engine::{Engine, Providers, Settings};
use offhook::ids::TenantId;
use offhook::memory::MemoryStore;
use offhook::provider::store::Batch;
use offhook::provider::transport::{HttpRequest, HttpResponse};
use offhook::provider::{HttpTransport, ProviderInfo, Store};
use offhook::runtime::Runtime;
use offhook::service;
use offhook::service::outbox::{Delivery, Message, Target};
use offhook::service::webhooks::{Form, NewEndpoint};
use offhook::time::Timestamp;
use offhook::{Error, ErrorKind, Result};
use offhook_testkit::carrier::Carrier;
use offhook_testkit::runtime::VirtualRuntime;
use offhook_testkit::script::{CueRecogniser, ScriptedModel, ToneSpeech};

pub(crate) const SECRET: &str = "whsec_c2VjcmV0IG9mIHRoZSBvdXRib3ggdGVzdHM=";
pub(crate) const URL: &str = "https://customer.example/hooks";

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// What a server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Never answers.
    Hangs,
    /// Cannot be reached.
    IsAway,
    /// Breaks the transport.
    Panics,
    /// Answers after a while.
    Says { after: Duration, body: String, headers: Vec<(String, String)>, status: u16 },
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self::Says { after: ms(20), body: String::new(), headers: Vec::new(), status }
    }

    pub(crate) fn after(mut self, wait: Duration) -> Self {
        if let Self::Says { after, .. } = &mut self {
            *after = wait;
        }
        self
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        if let Self::Says { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: Timestamp,
    pub(crate) request: HttpRequest,
}

impl Arrival {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.request.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn body(&self) -> String {
        String::from_utf8(self.request.body.to_vec()).unwrap()
    }
}

/// Decides by the request and by how many came before it.
type Behaviour = dyn Fn(&HttpRequest, usize) -> Reply + Send + Sync;

/// The customer's servers.
#[derive(Clone)]
pub(crate) struct Customer {
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    behaviour: Arc<Mutex<Arc<Behaviour>>>,
    runtime: VirtualRuntime,
}

impl Customer {
    pub(crate) fn behave(&self, behaviour: impl Fn(&HttpRequest, usize) -> Reply + Send + Sync + 'static) {
        *self.behaviour.lock().unwrap() = Arc::new(behaviour);
    }

    pub(crate) fn arrivals(&self) -> MutexGuard<'_, Vec<Arrival>> {
        self.arrivals.lock().unwrap()
    }

    /// The bodies in the order in which they came.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.arrivals().iter().map(Arrival::body).collect()
    }
}

#[async_trait]
impl HttpTransport for Customer {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "customer", detail: String::new() }
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse> {
        let before = {
            let mut arrivals = self.arrivals();
            arrivals.push(Arrival { at: self.runtime.wall_clock(), request: request.clone() });
            arrivals.len() - 1
        };
        let behaviour = self.behaviour.lock().unwrap().clone();
        match behaviour(&request, before) {
            Reply::Hangs => {
                self.runtime.sleep(request.timeout).await;
                Err(Error::new(ErrorKind::TimedOut, "http.send", "no answer in time"))
            }
            Reply::IsAway => Err(Error::new(ErrorKind::Unavailable, "http.send", "the peer refuses connections")),
            Reply::Panics => panic!("the transport is broken"),
            Reply::Says { after, body, headers, status } => {
                self.runtime.sleep(after).await;
                let body = stream::iter([Ok(Bytes::from(body))]).boxed();
                Ok(HttpResponse { body, headers, status })
            }
        }
    }
}

pub(crate) struct World {
    pub(crate) customer: Customer,
    pub(crate) engine: Engine,
    pub(crate) providers: Providers,
    pub(crate) runtime: VirtualRuntime,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) tenant: TenantId,
    sent: Mutex<BTreeMap<String, u64>>,
}

impl World {
    /// Inside of the runtime: what is left of an engine ends with it.
    pub(crate) fn new(runtime: &VirtualRuntime) -> Self {
        let store = Arc::new(MemoryStore::new(service::schema()).unwrap());
        Self::on(runtime, store.clone(), store)
    }

    /// An engine that sees `seen` of `store`.
    pub(crate) fn on(runtime: &VirtualRuntime, store: Arc<MemoryStore>, seen: Arc<dyn Store>) -> Self {
        let shared: Arc<dyn Runtime> = Arc::new(runtime.clone());
        let customer = Customer {
            arrivals: Arc::default(),
            behaviour: Arc::new(Mutex::new(Arc::new(|_, _| Reply::status(204)))),
            runtime: runtime.clone(),
        };
        let providers = Providers {
            blob: None,
            http: Arc::new(customer.clone()),
            llm: Arc::new(ScriptedModel::new(|_| Vec::new())),
            runtime: shared.clone(),
            store: seen,
            stt: Arc::new(CueRecogniser::default()),
            telephony: Arc::new(Carrier::new(shared)),
            tts: Arc::new(ToneSpeech::default()),
        };
        let engine = Engine::with_settings(providers.clone(), settings());
        let tenant = TenantId::new(runtime.wall_clock(), [7; 10]);
        Self { customer, engine, providers, runtime: runtime.clone(), store, tenant, sent: Mutex::default() }
    }

    pub(crate) async fn endpoint(&self, id: &str, form: Form) {
        let mut endpoint = NewEndpoint::new(format!("{URL}/{id}"));
        (endpoint.form, endpoint.secret) = (form, Some(SECRET.to_owned()));
        self.engine.webhooks().register(self.tenant, id, endpoint).await.unwrap();
    }

    /// Writes the next message of a lane; its body says which.
    pub(crate) async fn send(&self, target: Target, lane: &str) -> String {
        let place = {
            let mut sent = self.sent.lock().unwrap();
            let place = sent.entry(lane.to_owned()).or_default();
            *place += 1;
            *place - 1
        };
        let body = format!("{lane} {place}");
        let id = format!("{lane}:{place}:{}", target.queue().replace([':', '/'], "_"));
        let message = Message {
            body,
            event: "test".to_owned(),
            event_id: format!("{lane}:{place}"),
            id: id.clone(),
            lane: lane.to_owned(),
            place,
            target,
            tenant: self.tenant,
        };
        let mut batch = Batch::default();
        self.engine.outbox().enqueue(&mut batch, message).unwrap();
        self.store.commit(batch).await.unwrap();
        self.engine.outbox().wake();
        id
    }

    pub(crate) async fn send_to(&self, endpoint: &str, lane: &str) -> String {
        self.send(Target::endpoint(endpoint), lane).await
    }

    pub(crate) async fn delivery(&self, id: &str) -> Delivery {
        self.engine.outbox().get(self.tenant, id).await.unwrap().unwrap()
    }

    pub(crate) async fn wait(&self, duration: Duration) {
        self.runtime.sleep(duration).await;
    }

    /// Lets a long time pass by minutes: the wall clock is moved, so that nobody has to poll all the while.
    pub(crate) async fn wait_long(&self, duration: Duration) {
        for _ in 0..duration.as_secs() / 60 {
            self.runtime.set_wall_clock(59_000_000);
            self.wait(secs(1)).await;
        }
    }
}

pub(crate) fn settings() -> Settings {
    offhook_testkit::settings()
}

/// Tells `story` in virtual time.
pub(crate) fn tell<F: Future<Output = ()>>(story: impl FnOnce(World) -> F) {
    let runtime = VirtualRuntime::new(5);
    runtime.block_on(async { story(World::new(&runtime)).await });
}

/// A number that looks like chance.
pub(crate) fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (number ^ number >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 17
}
