//! An engine on this machine: SQLite and recordings in a folder, carriers over WebSockets, the given speech and brain.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use offhook::engine::{Engine, Providers, Settings};
use offhook::error::{Error, ErrorKind, Result};
use offhook::ids::{CallId, TenantId};
use offhook::journal::{self, Journal};
use offhook::provider::reach::Reach;
use offhook::provider::telephony::{HangupCause, IncomingCall};
use offhook::provider::{HttpTransport, Llm, SpeechToText, Store, Telephony, TextToSpeech};
use offhook::runtime::{Runtime, random_id_bytes};
use offhook::service;
use offhook::service::vault::VaultKey;
use offhook_blob::ObjectBlob;
use offhook_sqlite::SqliteStore;
use offhook_streams::{MediaStreams, StreamCaller};
use offhook_tokio::{ReqwestTransport, SocketListener, Tls, TokioRuntime, TungsteniteTransport};
use tokio::task::AbortHandle;

use crate::blocking;
use crate::failure::{Failure, Outcome};

/// The database's name in the folder.
pub const DATABASE: &str = "offhook.db";

/// Calls that ring and wait to be accepted.
const ARRIVALS_MAX: usize = 64;

/// Entries of a journal that are read at once.
const JOURNAL_PAGE: u32 = 500;

/// Entries of a journal that are exported at most: hours of talk.
const JOURNAL_ENTRIES_MAX: usize = 10_000_000;

/// The providers that a stage cannot choose by itself.
pub struct Minds {
    /// The model.
    pub llm: Arc<dyn Llm>,
    /// The recogniser.
    pub stt: Arc<dyn SpeechToText>,
    /// The synthesiser.
    pub tts: Arc<dyn TextToSpeech>,
}

/// An engine and what it stands on. Dropping it closes the port and stops the engine.
pub struct Stage {
    /// The engine.
    pub engine: Engine,
    /// Where everything is kept.
    pub folder: PathBuf,
    /// Clocks and tasks.
    pub runtime: Arc<TokioRuntime>,
    accepting: AbortHandle,
    addr: SocketAddr,
    arrivals: async_channel::Receiver<Result<IncomingCall>>,
    sockets: Arc<TungsteniteTransport>,
    store: Arc<dyn Store>,
    streams: Arc<MediaStreams>,
}

/// The transports, which are needed before there is a stage.
pub struct Wires {
    /// For HTTP.
    pub http: Arc<dyn HttpTransport>,
    sockets: Arc<TungsteniteTransport>,
}

impl Wires {
    /// Transports that trust the public web.
    pub fn new() -> Outcome<Self> {
        let tls = Tls::public()?;
        let http = Arc::new(ReqwestTransport::new(&tls)?);
        Ok(Self { http, sockets: Arc::new(TungsteniteTransport::new(&tls)) })
    }
}

impl Stage {
    /// Opens `folder`, listens on `listen`, and starts the engine.
    pub async fn open(folder: &Path, listen: SocketAddr, wires: Wires, minds: Minds) -> Outcome<Self> {
        let runtime = Arc::new(TokioRuntime::current()?);
        let listener = SocketListener::bind(listen).await;
        let listener = listener.map_err(|error| Failure::during(format_args!("cannot listen on {listen}"), &error))?;
        let addr = listener.local_addr();
        let unusable = format!("cannot use {}", folder.display());
        let blob = ObjectBlob::folder(folder).map_err(|error| Failure::during(&unusable, &error))?;
        let folder = PathBuf::from(blob.place());
        let path = folder.join(DATABASE);
        let store = blocking::run(unusable, move || SqliteStore::open(path, service::schema())).await?;
        let store: Arc<dyn Store> = Arc::new(store);
        let streams = Arc::new(MediaStreams::new(runtime.clone()));
        let (arrived, arrivals) = async_channel::bounded(ARRIVALS_MAX);
        let accepting = tokio::spawn(accept_all(listener, Arc::clone(&streams), arrived)).abort_handle();
        let mut settings = Settings::default();
        // The customer's systems are a part of the scene.
        settings.reach = Reach::public_and(["127.0.0.0/8", "::1"])?;
        // The folder may outlive the program; nobody needs its secrets then.
        settings.vault_keys = vec![VaultKey::generate(&*runtime)];
        let providers = Providers {
            blob: Some(Arc::new(blob)),
            http: wires.http,
            llm: minds.llm,
            runtime: runtime.clone(),
            store: store.clone(),
            stt: minds.stt,
            telephony: streams.clone(),
            tts: minds.tts,
        };
        let engine = Engine::with_settings(providers, settings);
        Ok(Self { engine, folder, runtime, accepting, addr, arrivals, sockets: wires.sockets, store, streams })
    }

    /// Where carriers connect; of all addresses, the loopback one.
    pub fn url(&self) -> String {
        let ip = match self.addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        format!("ws://{}/twilio", SocketAddr::new(ip, self.addr.port()))
    }

    /// A telephone on the other end of [`Stage::url`].
    pub fn telephone(&self) -> StreamCaller {
        StreamCaller::twilio(self.runtime.clone(), self.sockets.clone(), self.url())
    }

    /// The next call that rings, or why a carrier was turned away. To be passed to [`Engine::accept`]; a call that is left
    /// ringing is hung up after a minute.
    pub async fn next_arrival(&self) -> Result<IncomingCall> {
        match self.arrivals.recv().await {
            Ok(arrival) => arrival,
            Err(_) => Err(Error::new(ErrorKind::Unavailable, "stage.next_arrival", "the port was closed")),
        }
    }

    /// Turns a call away that has rung.
    pub async fn refuse(&self, incoming: IncomingCall) {
        // A leg that is gone by itself is as good.
        let _ = self.streams.hang_up(incoming.leg, HangupCause::CALL_REJECTED).await;
    }

    /// A new tenant with so much prepaid talk time.
    pub async fn new_tenant(&self, talk_time: Duration) -> Outcome<TenantId> {
        let tenant = TenantId::new(self.runtime.wall_clock(), random_id_bytes(&*self.runtime));
        self.engine.credits().grant(tenant, talk_time, "welcome").await?;
        Ok(tenant)
    }

    /// Writes the call's journal to `path`, as `offhook replay` reads it.
    pub async fn export_journal(&self, tenant: TenantId, call: CallId, path: &Path) -> Outcome<()> {
        let log = journal::log_key(tenant, call);
        let mut entries = Vec::new();
        while entries.len() < JOURNAL_ENTRIES_MAX {
            let page = self.store.read_log(log.clone(), entries.len() as u64, JOURNAL_PAGE).await?;
            if page.is_empty() {
                break;
            }
            entries.extend(page);
        }
        let (path, file) = (path.to_owned(), Journal::file_of(entries));
        blocking::run("the journal cannot be written", move || {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(path, file)
        })
        .await
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Greets each socket in a task of its own, so that one that says nothing holds up nobody.
async fn accept_all(
    listener: SocketListener,
    streams: Arc<MediaStreams>,
    arrived: async_channel::Sender<Result<IncomingCall>>,
) {
    while let Ok(accepted) = listener.accept().await {
        let (streams, arrived) = (Arc::clone(&streams), arrived.clone());
        tokio::spawn(async move {
            let arrival = streams.accept(accepted.socket).await.map(|accepted| accepted.call);
            // Nobody waits for calls any more when the stage is gone.
            let _ = arrived.send(arrival).await;
        });
    }
}
