//! `offhook serve` is killed again and again while clients ask it for all they are worth: whatever it has acknowledged is
//! there afterwards, no call stays open, and the books balance.
//!
//! `tally KILLS` runs it with as many kills and prints one JSON object.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test may say what it did")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use offhook::provider::Store;
use offhook::provider::store::{LIMIT_MAX, Query};
use offhook::service;
use offhook::service::calls::{CALL, StoredCall};
use offhook::service::credits::Credits;
use offhook::service::tasks::{TASK, Task, TaskStatus};
use offhook_sqlite::SqliteStore;
use offhook_testkit::behaviour;
use offhook_tokio::TokioRuntime;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::support::{Server, admin, ask};

const KILLS_OF_THE_TEST: usize = 4;

/// Clients at once.
const CLIENTS: usize = 8;

/// Latest kill after the server has begun to answer.
const LIFE_MAX: Duration = Duration::from_millis(1_200);

/// How long the last process has to end the calls that the others have left: their leases run out first.
const PATIENCE: Duration = Duration::from_secs(180);

/// Numbers of the sandbox: one who talks, one who is busy, one who stays silent.
const CALLED: [&str; 3] = ["+15550100001", "+15550100002", "+15550100006"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "tally", kills] => {
            let tally = kill_again_and_again(kills.parse().unwrap());
            println!("{}", serde_json::to_string(&tally).unwrap());
            if tally.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        _ => behaviour::run(vec![Trial::test("no_kill_takes_back_what_the_server_has_acknowledged", || {
            let tally = kill_again_and_again(KILLS_OF_THE_TEST);
            if tally.is_clean() { Ok(()) } else { Err(Failed::from(format!("{tally:?}"))) }
        })]),
    }
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Tally {
    kills: usize,
    /// Acknowledged, and of them not there any more.
    tasks: usize,
    tasks_lost: usize,
    calls: usize,
    calls_lost: usize,
    /// All that are stored, whoever has heard of them.
    calls_stored: usize,
    calls_open: usize,
    tasks_open: usize,
    /// What the ledger's own audit finds.
    findings: usize,
}

impl Tally {
    fn is_clean(&self) -> bool {
        let wrong = self.tasks_lost + self.calls_lost + self.calls_open + self.tasks_open + self.findings;
        wrong == 0 && self.tasks > 0 && self.calls > 0
    }
}

/// What clients were told is done.
#[derive(Default)]
struct Acknowledged {
    calls: Vec<String>,
    /// With their names.
    tasks: BTreeMap<String, String>,
}

/// Who asks, by which keys, and for which agent.
#[derive(Clone)]
struct Customer {
    agent: String,
    voxcore: String,
    voxstack: String,
}

fn kill_again_and_again(kills: usize) -> Tally {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let customer = customer(&data);
    let mut all = Acknowledged::default();
    for kill in 0..kills {
        let server = Server::start_with(&data, |command| command);
        let part = ask_until_killed(server, kill, &customer);
        all.calls.extend(part.calls);
        all.tasks.extend(part.tasks);
    }
    let mut tally = Tally { kills, tasks: all.tasks.len(), calls: all.calls.len(), ..Tally::default() };
    let server = Server::start_with(&data, |command| command);
    let key = format!("Bearer {}", customer.voxstack);
    let get = |path: &str| server.ask("GET", path, &[("authorization", &key)], &Value::Null);
    for (id, name) in &all.tasks {
        let (status, task) = get(&format!("/voxstack/api/v1/tasks/{id}"));
        tally.tasks_lost += usize::from(status != 200 || task["data"]["name"] != json!(name));
    }
    for id in &all.calls {
        tally.calls_lost += usize::from(get(&format!("/voxstack/api/v1/calls/{id}")).0 != 200);
    }
    let deadline = Instant::now() + PATIENCE;
    let open = |status: &str| get(&format!("/voxstack/api/v1/calls?status={status}"));
    let is_over = |status: &str| open(status).1["meta"]["pagination"]["total"] == json!(0);
    while !(is_over("initiated") && is_over("in_progress")) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(500));
    }
    drop(server);
    look_into(&data.join("offhook.db"), &mut tally);
    tally
}

fn customer(data: &Path) -> Customer {
    let create = ["tenant", "create", "Klinik", "--minutes", "1000000", "--requests-per-minute", "1000000"];
    let tenant = admin(data, &create);
    let key = |dialect: &str| tenant["keys"][dialect].as_str().unwrap().to_owned();
    let server = Server::start_with(data, |command| command);
    let agent = json!({ "name": "Maya", "systemPrompt": "You call.", "greetingText": "Hello.", "language": "en" });
    let (status, agent) = server.ask("POST", "/dialro/api/v1/agents", &[("x-api-key", &key("dialro"))], &agent);
    assert_eq!(status, 201, "{agent}");
    let agent = agent["id"].as_str().unwrap().strip_prefix("agent_").unwrap().to_owned();
    Customer { agent, voxcore: key("voxcore"), voxstack: key("voxstack") }
}

/// Lets clients make tasks, execute some and place calls, until the server is killed at some moment.
fn ask_until_killed(mut server: Server, kill: usize, customer: &Customer) -> Acknowledged {
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (addr, customer, is_over) = (server.addr.clone(), customer.clone(), is_over.clone());
            thread::spawn(move || {
                let mut told = Acknowledged::default();
                for number in 0.. {
                    let name = format!("{kill}-{client}-{number}");
                    let asked = customer.ask(&addr, client + number, &name, &mut told);
                    if asked.is_err() || is_over.load(Ordering::Relaxed) {
                        break;
                    }
                }
                told
            })
        })
        .collect();
    thread::sleep(LIFE_MAX.mul_f64(random()));
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    is_over.store(true, Ordering::Relaxed);
    let mut all = Acknowledged::default();
    for client in clients {
        let told = client.join().unwrap();
        all.calls.extend(told.calls);
        all.tasks.extend(told.tasks);
    }
    all
}

impl Customer {
    /// Notes only what an answer has come for.
    fn ask(&self, addr: &str, number: usize, name: &str, told: &mut Acknowledged) -> std::io::Result<()> {
        let to = CALLED[number % CALLED.len()];
        let bearer = format!("Bearer {}", self.voxstack);
        let task = json!({ "agent_id": self.agent, "name": name, "to_number": to });
        let (status, made) = ask(addr, "POST", "/voxstack/api/v1/tasks", &[("authorization", &bearer)], &task)?;
        assert_eq!(status, 201, "{made}");
        let id = made["data"]["id"].as_str().unwrap().to_owned();
        told.tasks.insert(id.clone(), name.to_owned());
        let (status, answer) = match number % 4 {
            0 => {
                let path = format!("/voxstack/api/v1/tasks/{id}/execute");
                ask(addr, "POST", &path, &[("authorization", &bearer)], &Value::Null)?
            }
            1 => {
                let order = json!({ "bot_id": self.agent, "to_number": to });
                ask(addr, "POST", "/voxcore/api/v1/dialout", &[("x-api-key", &self.voxcore)], &order)?
            }
            _ => return Ok(()),
        };
        let call = answer["call_id"].as_str().or_else(|| answer["data"]["call_id"].as_str());
        if let (200, Some(call)) = (status, call) {
            told.calls.push(call.to_owned());
        }
        Ok(())
    }
}

/// What stands in the store once all is over.
fn look_into(path: &Path, tally: &mut Tally) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(path, service::schema()).unwrap());
        let calls: Vec<StoredCall> = all(&*store, CALL).await;
        tally.calls_stored = calls.len();
        tally.calls_open = calls.iter().filter(|call| call.ledger.is_none() || call.lease.is_some()).count();
        let tasks: Vec<Task> = all(&*store, TASK).await;
        tally.tasks_open = tasks.iter().filter(|task| task.status == TaskStatus::InProgress).count();
        let credits = Credits::new(Arc::new(TokioRuntime::current().unwrap()), store);
        tally.findings = credits.audit_all().await.unwrap().iter().map(|audit| audit.findings.len()).sum();
    });
}

async fn all<T: DeserializeOwned>(store: &dyn Store, kind: &str) -> Vec<T> {
    let mut records = Vec::new();
    let mut query = Query::new(None, kind).limit(LIMIT_MAX);
    loop {
        let page = store.list(query.clone()).await.unwrap();
        records.extend(page.records.into_iter().map(|record| serde_json::from_value(record.body).unwrap()));
        let Some(next) = page.next else { return records };
        query = query.after(next);
    }
}

/// From zero to one.
fn random() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    f64::from(std::hash::RandomState::new().build_hasher().finish() as u32) / f64::from(u32::MAX)
}
