//! What every request sees.

use std::sync::Arc;
use std::time::Duration;

use offhook::dialect::Dialect;
use offhook::engine::Engine;
use offhook::provider::reach::Networks;
use offhook::provider::telephony::E164;
use offhook::runtime::Runtime;
use offhook::signing::Secret;
use offhook::wrap::{CarrierName, Carriers};
use offhook_streams::MediaStreams;

use crate::gate::RateLimits;
use crate::metrics::Metrics;
use crate::pages::Pages;

/// Bytes of a request's body at most.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Longest wait for an answer to a request, apart from those that stream.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// VS-064
const LIVE_IDLE_MAX: Duration = Duration::from_secs(60);

/// How a server works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Shown to those who are called by agents without a number of their own.
    pub caller_id: Option<E164>,
    /// Origins whose pages may ask; `*` for all.
    pub cors: Vec<String>,
    /// Calls at once of all tenants, which the fleet's health tells; as the engine's own limit.
    pub calls_max: Option<u32>,
    /// A client of a live transcript that has not pinged for so long is let go (VS-064).
    pub live_idle_max: Duration,
    /// Where the outside reaches this server, without a slash at the end.
    pub public_url: Option<String>,
    /// The dialect that also stands at `/`.
    pub root: Option<Dialect>,
    /// From where VoxCore's diallers may connect (FL-082); from anywhere if it is empty. Behind a proxy it is the proxy that
    /// connects.
    pub voxcore_allow: Networks,
    /// Whether VoxCore's diallers need a key (FL-082); otherwise a bot's id is enough.
    pub voxcore_requires_key: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            caller_id: None,
            cors: Vec::new(),
            calls_max: None,
            live_idle_max: LIVE_IDLE_MAX,
            public_url: None,
            root: None,
            voxcore_allow: Networks::default(),
            voxcore_requires_key: false,
        }
    }
}

/// The engine and what belongs to the server alone. Clones share it.
#[derive(Clone)]
pub struct App {
    shared: Arc<Shared>,
}

/// The carrier of media streams, for the sockets that diallers open.
#[derive(Clone)]
pub struct Streams {
    /// All carriers of the engine.
    pub carriers: Arc<Carriers>,
    /// The streams themselves.
    pub media: Arc<MediaStreams>,
    /// Their name among the carriers.
    pub name: CarrierName,
}

struct Shared {
    engine: Engine,
    limits: RateLimits,
    metrics: Metrics,
    options: Options,
    pages: Pages,
    runtime: Arc<dyn Runtime>,
    streams: Option<Streams>,
    /// Signs what this process alone has to know again: tokens of live streams.
    token_secret: Secret,
}

impl App {
    /// A server around `engine`.
    pub fn new(engine: Engine, runtime: Arc<dyn Runtime>, options: Options, streams: Option<Streams>) -> Self {
        let mut key = [0; 32];
        runtime.fill_random(&mut key);
        let (limits, token_secret) = (RateLimits::default(), Secret::new(key));
        Self {
            shared: Arc::new(Shared {
                engine,
                limits,
                metrics: Metrics::default(),
                options,
                pages: Pages::default(),
                runtime,
                streams,
                token_secret,
            }),
        }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// How the server works.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// Clocks and randomness.
    pub fn runtime(&self) -> &dyn Runtime {
        &*self.shared.runtime
    }

    pub(crate) fn streams(&self) -> Option<&Streams> {
        self.shared.streams.as_ref()
    }

    pub(crate) fn pages(&self) -> &Pages {
        &self.shared.pages
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    pub(crate) fn limits(&self) -> &RateLimits {
        &self.shared.limits
    }

    pub(crate) fn token_secret(&self) -> &Secret {
        &self.shared.token_secret
    }
}
