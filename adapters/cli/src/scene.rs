//! One call from its ring to its last webhook: an engine on a stage, the customer's systems around it, a caller.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures_util::{FutureExt, select_biased};
use offhook::call::{CallEventKind, CallRecord, LedgerSummary};
use offhook::engine::CallHandle;
use offhook::ids::{CallId, TenantId};
use offhook::provider::Llm;
use offhook::provider::telephony::{E164, IncomingCall};
use offhook::runtime::Runtime;
use offhook::service::agents::Agent;
use offhook::service::outbox::DeliveryState;
use offhook::service::webhooks::NewEndpoint;
use offhook::signing::Secret;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::args::Options;
use crate::blocking;
use crate::caller::script::Habits;
use crate::caller::{Caller, CallersView, Item};
use crate::clinic;
use crate::command::replay::EXTENSION;
use crate::failure::{Failure, Outcome};
use crate::live::Live;
use crate::peers::{Peers, ReceivedWebhook, SECRET_FILE};
use crate::report::{Files, Report};
use crate::speech::Speech;
use crate::stage::{DATABASE, Minds, Stage, Wires};
use crate::terminal::Output;

/// The parameter by which the scene knows its own caller among all who may ring.
const TICKET: &str = "ticket";

/// Longest wait for the caller's ring to arrive.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest wait for a call that was told to end.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest wait for the caller to put the receiver down once the call is over.
const CALLER_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for all webhooks of the call to be delivered.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);

/// How often that is looked for.
const DELIVERY_INTERVAL: Duration = Duration::from_millis(50);

/// The webhooks' endpoint.
const ENDPOINT: &str = "scene";

/// Everything in its place, and nobody has rung yet.
pub struct Scene {
    /// Who takes the call.
    pub agent: Agent,
    /// Voices, also for the caller.
    pub speech: Speech,
    interrupts: watch::Receiver<u32>,
    live: Live,
    peers: Peers,
    stage: Stage,
    temporary: Option<TempDir>,
    tenant: TenantId,
    webhooks: PathBuf,
}

/// A call that is over and wrapped up.
pub struct Played {
    /// Whether the user broke it off.
    pub interrupted: bool,
    /// The engine's record.
    pub record: CallRecord,
    /// For people and machines.
    pub report: Report,
    /// What the caller noticed.
    pub view: CallersView,
}

/// What to play.
pub struct Play {
    /// How many items were begun so far; the caller keeps it up to date.
    pub begun: Arc<AtomicUsize>,
    /// How the caller behaves.
    pub habits: Habits,
    /// What the caller says.
    pub items: Vec<Item>,
    /// Longest call; then it is hung up and counts as failed.
    pub limit: Duration,
}

impl Scene {
    /// Sets the scene for the command `name`: a tenant with so much `talk_time`, whose agent thinks with `llm`.
    pub async fn set(
        options: &Options,
        name: &str,
        wires: Wires,
        llm: Arc<dyn Llm>,
        speech: Speech,
        talk_time: Duration,
    ) -> Outcome<Self> {
        let output = live_output(options);
        let (folder, temporary) = folder(options, name)?;
        let minds = Minds { llm, stt: speech.stt.clone(), tts: speech.tts.clone() };
        let stage = Stage::open(&folder, options.listen, wires, minds).await?;
        let tenant = stage.new_tenant(talk_time).await?;
        let mut key = [0; 24];
        stage.runtime.fill_random(&mut key);
        let function_secret = Secret::new(key);
        let webhooks = stage.folder.join("webhooks").join(tenant.to_string());
        let peers = Peers::start(stage.runtime.clone(), function_secret.clone(), Some(webhooks.clone())).await?;
        let endpoint = NewEndpoint::new(peers.webhook_url());
        let (_, secret) = stage.engine.webhooks().register(tenant, ENDPOINT, endpoint).await?;
        peers.expect_webhooks(&secret)?;
        keep_secret(&webhooks, &secret).await?;
        let agent = clinic::receptionist(&*stage.runtime, peers.function_url(), function_secret);
        Ok(Self {
            agent,
            speech,
            interrupts: watch_interrupts(),
            live: Live::new(output),
            peers,
            stage,
            temporary,
            tenant,
            webhooks,
        })
    }

    /// Holds the call and wraps it up. Bounded: by the play's limit and the time-outs of this file.
    pub async fn play(mut self, play: Play) -> Outcome<Played> {
        if let Some(temporary) = self.temporary.take() {
            // What was recorded outlives the program.
            let _ = temporary.keep();
        }
        let (stop, stopping) = watch::channel(false);
        let deadline = Instant::now() + play.limit;
        let mut caller = self.ring(play, stopping)?;
        let incoming = self.arrival(&mut caller).await?;
        let mut handle = self.stage.engine.accept(self.tenant, Arc::new(self.agent.clone()), incoming)?;
        let call = handle.id();
        let ended = self.follow(&mut handle, deadline).await;
        // Whoever is still on the line hangs up.
        let _ = stop.send(true);
        let view = timeout(CALLER_TIMEOUT, &mut caller).await;
        caller.abort();
        let Ended { interrupted, ledger, record } = ended?;
        let webhooks = self.delivered(call).await?;
        let files = self.export(call).await?;
        let view = match view {
            Ok(Ok(Ok(view))) => view,
            Ok(Ok(Err(error))) => return Err(Failure::during("the caller's line broke", &error)),
            Ok(Err(_)) | Err(_) => return Err(Failure::new("the caller did not hang up")),
        };
        let report = Report::new(&record, ledger, &view, webhooks, files);
        Ok(Played { interrupted, record: *record, report, view })
    }

    fn ring(&self, play: Play, stopping: watch::Receiver<bool>) -> Outcome<JoinHandle<offhook::Result<CallersView>>> {
        let telephone = self.stage.telephone().with_parameter(TICKET, self.tenant.to_string());
        let caller = Caller::new(self.stage.runtime.clone(), Arc::new(telephone)).with_progress(play.begun);
        let numbers: (E164, E164) = (clinic::PATIENT.parse()?, clinic::CLINIC.parse()?);
        self.live.note(&format!("{} rings {} at {}", numbers.0, numbers.1, self.stage.url()));
        Ok(tokio::spawn(async move { caller.call(numbers, play.items, play.habits, stopping).await }))
    }

    /// The call of our own caller; strangers who happen to find the port are turned away.
    async fn arrival(&self, caller: &mut JoinHandle<offhook::Result<CallersView>>) -> Outcome<IncomingCall> {
        let ticket = self.tenant.to_string();
        let ours = async {
            loop {
                match self.stage.next_arrival().await {
                    Ok(incoming) if incoming.parameters.get(TICKET) == Some(&ticket) => return Ok(incoming),
                    Ok(stranger) => self.stage.refuse(stranger).await,
                    Err(error) if error.operation() == "stage.next_arrival" => return Err(Failure::from(error)),
                    Err(_) => {}
                }
            }
        };
        select_biased! {
            incoming = pin!(ours.fuse()) => incoming,
            gone = caller.fuse() => match gone {
                Ok(Err(error)) => Err(Failure::during("the caller did not get through", &error)),
                _ => Err(Failure::new("the caller did not get through")),
            },
            () = pin!(sleep(ARRIVAL_TIMEOUT).fuse()) => Err(Failure::new("the call did not arrive")),
        }
    }

    /// Tells the call until it has ended.
    async fn follow(&mut self, handle: &mut CallHandle, deadline: Instant) -> Outcome<Ended> {
        let (mut deadline, mut interrupted, mut late) = (deadline, false, false);
        self.interrupts.mark_unchanged();
        loop {
            select_biased! {
                event = pin!(handle.next_event().fuse()) => {
                    let Some(event) = event else { return Err(Failure::new("the call was lost")) };
                    self.live.tell(&event);
                    if let CallEventKind::Ended { record, ledger } = event.kind {
                        let too_long = Failure::new("the call did not come to its end in time and was broken off");
                        return if late { Err(too_long) } else { Ok(Ended { interrupted, ledger, record }) };
                    }
                }
                _ = pin!(self.interrupts.changed().fuse()) => {
                    if interrupted {
                        return Err(Failure::Interrupted);
                    }
                    interrupted = true;
                    deadline = Instant::now() + END_TIMEOUT;
                    handle.hang_up()?;
                }
                () = pin!(sleep_until(deadline).fuse()) => {
                    if late || interrupted {
                        return Err(Failure::new("the call does not end"));
                    }
                    late = true;
                    deadline = Instant::now() + END_TIMEOUT;
                    handle.hang_up()?;
                }
            }
        }
    }

    /// What the receiver got, once nothing more is to come.
    async fn delivered(&mut self, call: CallId) -> Outcome<Vec<ReceivedWebhook>> {
        let deadline = Instant::now() + DELIVERY_TIMEOUT;
        while Instant::now() < deadline {
            let deliveries = self.stage.engine.webhooks().deliveries(self.tenant, call).await?;
            if deliveries.iter().all(|delivery| delivery.state != DeliveryState::Pending) {
                break;
            }
            let interrupted = timeout(DELIVERY_INTERVAL, self.interrupts.changed()).await.is_ok();
            if interrupted {
                return Err(Failure::Interrupted);
            }
        }
        Ok(self.peers.webhooks(call))
    }

    async fn export(&self, call: CallId) -> Outcome<Files> {
        let folder = self.stage.folder.clone();
        let journal = folder.join("journals").join(self.tenant.to_string()).join(format!("{call}.{EXTENSION}"));
        self.stage.export_journal(self.tenant, call, &journal).await?;
        Ok(Files { database: folder.join(DATABASE), journal, webhooks: self.webhooks.clone(), folder })
    }
}

struct Ended {
    interrupted: bool,
    ledger: Option<LedgerSummary>,
    record: Box<CallRecord>,
}

/// Prints a report as the options want it.
pub fn show(options: &Options, report: &Report) {
    if options.json {
        Output::Stdout.line(report.to_json());
    } else {
        Output::Stdout.line(format_args!("\n{}", report.to_text(Output::Stdout.palette())));
    }
}

fn live_output(options: &Options) -> Output {
    match (options.quiet, options.json) {
        (true, _) => Output::Nowhere,
        (false, true) => Output::Stderr,
        (false, false) => Output::Stdout,
    }
}

/// The folder to keep, or a new temporary one, which goes away if nothing comes of the scene.
fn folder(options: &Options, name: &str) -> Outcome<(PathBuf, Option<TempDir>)> {
    if let Some(folder) = &options.keep {
        return Ok((folder.clone(), None));
    }
    let temporary = tempfile::Builder::new().prefix(&format!("offhook-{name}-")).tempdir();
    let temporary =
        temporary.map_err(|error| Failure::new(format_args!("no temporary folder can be made: {error}")))?;
    Ok((temporary.path().to_owned(), Some(temporary)))
}

async fn keep_secret(folder: &Path, secret: &str) -> Outcome<()> {
    let (folder, secret) = (folder.to_owned(), format!("{secret}\n"));
    blocking::run("the webhooks cannot be kept", move || {
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(SECRET_FILE), secret)
    })
    .await
}

/// Counts how often the user wants to break off.
fn watch_interrupts() -> watch::Receiver<u32> {
    let (count, counted) = watch::channel(0);
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            count.send_modify(|count| *count += 1);
        }
        // Without signals nobody interrupts; the channel stays open all the same.
        count.closed().await;
    });
    counted
}
