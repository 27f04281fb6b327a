//! The process that is killed: an engine with several calls at once, in both directions.

use std::future::Future;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use offhook::billing::{Increment, Rate, RateCard, Terms, Unit};
use offhook::call::CallRecord;
use offhook::engine::{Engine, Providers};
use offhook::ids::{AgentId, TenantId};
use offhook::money::{Currency, Money};
use offhook::provider::Store;
use offhook::provider::llm::LlmEvent;
use offhook::provider::store::{LIMIT_MAX, Query, Record};
use offhook::provider::telephony::{E164, HangupCause};
use offhook::service;
use offhook::service::after_call::{AFTER_CALL, Push, PushForm, PushMethod};
use offhook::service::agents::Agent;
use offhook::service::calls::{CALL, StoredCall};
use offhook::service::outbox::{DELIVERY, Delivery, DeliveryState};
use offhook::service::tasks::{NewTask, TASK, Task, TaskStatus};
use offhook::service::webhooks::NewEndpoint;
use offhook::time::Timestamp;
use offhook_blob::ObjectBlob;
use offhook_postgres::PostgresStore;
use offhook_sqlite::SqliteStore;
use offhook_testkit::carrier::{Answering, Caller, Carrier};
use offhook_testkit::script::{CueRecogniser, ScriptedModel, ToneSpeech};
use offhook_tokio::{ReqwestTransport, Tls, TokioRuntime};

/// Between two wishes to call somebody.
const WISH_INTERVAL: Duration = Duration::from_millis(300);

/// How long the process that is left to live has to finish everything: a webhook that was on its way waits half a minute,
/// and one that was refused and killed again and again waits for minutes.
const PATIENCE: Duration = Duration::from_secs(900);

const LEASE: Duration = Duration::from_millis(400);
const CREDIT: Duration = Duration::from_secs(1_000 * 3_600);
const CREDIT_MICROS: i64 = 100_000_000_000_000;
const SPEECH: u8 = 0x80;
const SILENCE: u8 = 0xff;

pub(crate) const TENANTS: u8 = 2;

/// The push that tells of each call.
pub(crate) const PUSH: &str = "result";

/// Signs the webhooks.
pub(crate) const SECRET: &str = "whsec_dGhlIHNlY3JldCBvZiB0aGUgY3Jhc2hlcw==";

pub(crate) fn tenant(number: u8) -> TenantId {
    TenantId::new(Timestamp::from_unix_micros(1_800_000_000_000_000), [number; 10])
}

/// The store at `place`: a URL of PostgreSQL, or a file of SQLite.
pub(crate) async fn open(place: &str) -> Arc<dyn Store> {
    if place.starts_with("postgres:") {
        return Arc::new(PostgresStore::connect(place, service::schema()).await.unwrap());
    }
    Arc::new(SqliteStore::open(place, service::schema()).unwrap())
}

/// All records of `kind`.
pub(crate) async fn all(store: &dyn Store, kind: &str) -> Vec<Record> {
    let mut records = Vec::new();
    let mut query = Query::new(None, kind).limit(LIMIT_MAX);
    loop {
        let page = store.list(query.clone()).await.unwrap();
        records.extend(page.records);
        let Some(next) = page.next else { return records };
        query = query.after(next);
    }
}

pub(crate) fn run(work: impl Future<Output = ()>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(work);
    ExitCode::SUCCESS
}

/// From zero to one.
pub(crate) fn random() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    f64::from(std::hash::RandomState::new().build_hasher().finish() as u32) / f64::from(u32::MAX)
}

/// Gives each tenant credit, an agent, an endpoint, and webhooks that are queued for it; of these `queued` in all. The last
/// tenant is billed in money.
pub(crate) async fn set_up(place: &str, folder: &str, url: &str, queued: usize) {
    let world = World::new(place, folder, url).await;
    let rupiah: Currency = "IDR".parse().unwrap();
    for number in 0..TENANTS {
        world.engine.agents().put(tenant(number), &world.agent).await.unwrap();
        if number + 1 == TENANTS {
            let terms = Terms { unit: Unit::Money(rupiah), ..Terms::default() };
            world.engine.credits().set_terms(tenant(number), &terms).await.unwrap();
            let credit = Money::from_micros(CREDIT_MICROS, rupiah);
            world.engine.credits().purchase(tenant(number), credit, "start").await.unwrap();
        } else {
            world.engine.credits().grant(tenant(number), CREDIT, "start").await.unwrap();
        }
        let mut endpoint = NewEndpoint::new(format!("{url}/webhooks"));
        endpoint.secret = Some(SECRET.to_owned());
        world.engine.webhooks().register(tenant(number), "crm", endpoint).await.unwrap();
    }
    world.queue(queued).await;
}

/// Says that it begins, then each call as it begins and as it ends, for ever.
pub(crate) async fn call_until_killed(place: &str, folder: &str, url: &str, lines: usize, queued: usize) {
    let world = Arc::new(World::new(place, folder, url).await);
    world.answer_all();
    let queueing = world.clone();
    tokio::spawn(async move { queueing.queue_for_ever(queued).await });
    let wishing = world.clone();
    tokio::spawn(async move { wishing.wish_for_ever().await });
    say("begun");
    let lines = (0..lines).map(|line| {
        let world = world.clone();
        tokio::spawn(async move {
            loop {
                world.call(line).await;
            }
        })
    });
    futures_util::future::join_all(lines).await;
}

/// Lets the engine finish what others have left; `PATIENCE` is its limit.
pub(crate) async fn recover(place: &str, folder: &str, url: &str) {
    let world = World::new(place, folder, url).await;
    world.answer_all();
    tokio::time::timeout(PATIENCE, async {
        while world.work_is_left().await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await
    .expect("work is left");
}

struct World {
    agent: Arc<Agent>,
    carrier: Carrier,
    engine: Engine,
    store: Arc<dyn Store>,
}

impl World {
    async fn new(place: &str, folder: &str, url: &str) -> Self {
        let runtime = Arc::new(TokioRuntime::current().unwrap());
        let carrier = Carrier::new(runtime.clone());
        let store = open(place).await;
        let lines: Vec<_> = (0..1_000).map(|_| "What are your opening hours?").collect();
        let providers = Providers {
            blob: Some(Arc::new(ObjectBlob::folder(folder).unwrap())),
            http: Arc::new(ReqwestTransport::new(&Tls::public().unwrap()).unwrap()),
            llm: Arc::new(ScriptedModel::new(|_| vec![LlmEvent::Text("At nine.".to_owned())])),
            runtime,
            store: store.clone(),
            stt: Arc::new(CueRecogniser::new(&lines)),
            telephony: Arc::new(carrier.clone()),
            tts: Arc::new(ToneSpeech::default()),
        };
        let mut settings = offhook_testkit::settings();
        settings.lease = LEASE;
        settings.rates = Some(RateCard::new("IDR".parse().unwrap(), vec![rate()]).unwrap());
        settings.public_url = Some("https://calls.example".to_owned());
        let id = AgentId::new(Timestamp::default(), [8; 10]);
        let mut agent = Agent::new(id, "Sari", "You answer the telephone.").with_greeting("Hello.");
        agent.policy.record = true;
        let (form, id, url) = (PushForm::CallResult, PUSH.to_owned(), format!("{url}/push"));
        agent.after_call.pushes = vec![Push { form, id, method: PushMethod::Post, token: None, url }];
        Self { agent: Arc::new(agent), carrier, engine: Engine::with_settings(providers, settings), store }
    }

    /// Queues so many webhooks.
    async fn queue(&self, count: usize) {
        for number in 0..count {
            let number = u8::try_from(number % usize::from(TENANTS)).unwrap();
            self.engine.webhooks().test(tenant(number), "crm").await.unwrap();
        }
    }

    /// Sees to it that so many webhooks wait, for ever.
    async fn queue_for_ever(&self, queued: usize) {
        loop {
            let mut waiting = 0;
            for number in 0..TENANTS {
                let pending = Query::new(Some(tenant(number)), DELIVERY).equal("standing", "endpoint:crm pending");
                waiting += usize::try_from(self.store.count(pending).await.unwrap()).unwrap();
            }
            self.queue(queued.saturating_sub(waiting)).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// One call, by its line in or out.
    async fn call(&self, line: usize) {
        let tenant = tenant(u8::try_from(line).unwrap() % TENANTS);
        let handle = if line.is_multiple_of(3) {
            let refused = number(0);
            let to = if random() < 0.2 { refused } else { number(1) };
            self.engine.dial(tenant, self.agent.clone(), number(2), to).unwrap()
        } else {
            let (incoming, caller) = self.carrier.ring("+628123456789", "+622150001000");
            tokio::spawn(talk(caller));
            self.engine.accept(tenant, self.agent.clone(), incoming).unwrap()
        };
        let id = handle.id();
        let (record, ledger) = handle.finished().await.unwrap();
        assert!(ledger.is_some());
        say(&format!("{id} {}", serde_json::to_string::<CallRecord>(&record).unwrap()));
    }

    /// Wishes calls, for ever.
    async fn wish_for_ever(&self) {
        loop {
            let wish = NewTask::new(self.agent.id, number(2), number(1));
            let key = format!("{}", random());
            let tenant = tenant(u8::from(random() < 0.5));
            let task = self.engine.tasks().create(tenant, &key, wish).await.unwrap();
            say(&format!("task {}", task.id));
            tokio::time::sleep(WISH_INTERVAL).await;
        }
    }

    /// Lets everybody who is called pick up, or not.
    fn answer_all(&self) {
        let carrier = self.carrier.clone();
        carrier.when_dialled(&number(0), Answering::Refuses(Duration::ZERO, HangupCause::USER_BUSY));
        carrier.when_dialled(&number(1), Answering::After(Duration::from_millis(100)));
        tokio::spawn(async move {
            loop {
                if let Some(callee) = carrier.take_dialled() {
                    tokio::spawn(talk(callee));
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }

    async fn work_is_left(&self) -> bool {
        let calls = all(&*self.store, CALL).await;
        let is_live = |row: &Record| serde_json::from_value::<StoredCall>(row.body.clone()).unwrap().ledger.is_none();
        let deliveries = all(&*self.store, DELIVERY).await;
        let is_pending = |row: &Record| {
            serde_json::from_value::<Delivery>(row.body.clone()).unwrap().state == DeliveryState::Pending
        };
        let tasks = all(&*self.store, TASK).await;
        let are_told = all(&*self.store, AFTER_CALL).await.is_empty();
        let is_to_do = |row: &Record| {
            let task: Task = serde_json::from_value(row.body.clone()).unwrap();
            matches!(task.status, TaskStatus::InProgress | TaskStatus::Pending)
        };
        !are_told || calls.iter().any(is_live) || deliveries.iter().any(is_pending) || tasks.iter().any(is_to_do)
    }
}

/// What a call costs who is billed in money.
fn rate() -> Rate {
    Rate {
        prefix: String::new(),
        per_minute_micros: 450_000_000,
        connection_fee_micros: 0,
        increment: Increment::EXACT,
        valid_from: None,
        valid_until: None,
    }
}

/// A short conversation.
async fn talk(caller: Caller) {
    caller.sound(SILENCE, Duration::from_millis(350).mul_f64(random())).await;
    caller.sound(SPEECH, Duration::from_millis(300).mul_f64(random())).await;
    caller.sound(SILENCE, Duration::from_millis(600).mul_f64(random())).await;
    caller.hang_up(HangupCause::NORMAL_CLEARING);
}

fn number(last: u32) -> E164 {
    format!("+6221500010{last:02}").parse().unwrap()
}

/// A whole line at once; whoever reads has gone when it fails.
fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    let _ = output.write_all(format!("{line}\n").as_bytes()).and_then(|()| output.flush());
}
