//! The servers, each on a core of its own, and what one of them has stored.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use offhook::call::record::{AnsweredBy, CallStatus, Direction, EndReason, HangupParty};
use offhook::call::{CallRecord, LedgerSummary, Speaker, TranscriptEntry};
use offhook::dialect::Dialect;
use offhook::ids::{AgentId, CallId, TenantId};
use offhook::provider::Store;
use offhook::provider::store::{Batch, Expect, Put, RecordKey};
use offhook::provider::telephony::HangupCause;
use offhook::service;
use offhook::service::calls::{CALL, StoredCall};
use offhook::time::Timestamp;
use offhook_sqlite::SqliteStore;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::load::Client;

/// The core of the servers; the clients have the other.
const CORE: &str = "1";

/// Calls that are written in one commit.
const BATCH: u32 = 1_000;

/// Pages that are asked for in turns.
const PAGES: usize = 200;

const MOMENT: Timestamp = Timestamp::from_unix_micros(1_780_000_000_000_000);

/// Leaves the other core to the servers.
pub(crate) fn pin_to_core_0() {
    let pid = std::process::id().to_string();
    let status = Command::new("taskset").args(["-acp", "0", &pid]).stdout(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "taskset, of the package util-linux, is needed");
}

/// A folder with a tenant.
pub(crate) struct Place {
    folder: TempDir,
    offhook: String,
    tenant: Value,
}

/// What is asked of a server.
pub(crate) struct Subject {
    pub(crate) create: Vec<u8>,
    pub(crate) list: Vec<u8>,
    pub(crate) pages: Vec<Vec<u8>>,
}

impl Place {
    pub(crate) fn new(offhook: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().to_str().expect("a path");
        let rate = u32::MAX.to_string();
        let create = ["admin", "tenant", "create", "Bench", "--plan", "enterprise", "--minutes", "100"];
        let output = Command::new(offhook)
            .args(create)
            .args(["--requests-per-minute", &rate, "--data", data, "--json"])
            .output()
            .expect("offhook runs");
        let tenant = serde_json::from_slice(&output.stdout).expect("a tenant");
        Self { folder, offhook: offhook.to_owned(), tenant }
    }

    fn key(&self, dialect: &str) -> &str {
        self.tenant["keys"][dialect].as_str().expect("a key")
    }

    pub(crate) async fn store_calls(&self, count: u32) {
        let store = SqliteStore::open(self.folder.path().join("offhook.db"), service::schema()).expect("a store");
        let tenant: TenantId = self.tenant["tenant_id"].as_str().expect("an id").parse().expect("an id");
        for first in (0..count).step_by(BATCH as usize) {
            let mut batch = Batch::default();
            for number in first..count.min(first + BATCH) {
                batch.put(row(&call(tenant, number)));
            }
            store.commit(batch).await.expect("a commit");
        }
    }

    pub(crate) fn serve(&self) -> Process {
        let data = self.folder.path().to_str().expect("a path").to_owned();
        Process::start(|addr| {
            let mut command = pinned(&self.offhook);
            command.args(["serve", "--listen", &addr.to_string(), "--data", &data]);
            command
        })
    }
}

/// FastAPI's greeting on uvicorn.
pub(crate) fn fast_api(python: &str, arguments: &[&str]) -> Process {
    let app = concat!(env!("CARGO_MANIFEST_DIR"), "/server");
    Process::start(|addr| {
        let (host, port) = (addr.ip().to_string(), addr.port().to_string());
        let mut command = pinned(python);
        command.args(["-m", "uvicorn", "--host", &host, "--port", &port, "--app-dir", app]).args(arguments);
        command.args(["--log-level", "error", "--no-access-log", "hello:app"]);
        command
    })
}

fn pinned(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", CORE, program]);
    command
}

/// A server that runs until it is dropped.
pub(crate) struct Process {
    pub(crate) addr: SocketAddr,
    child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn start(command: impl FnOnce(SocketAddr) -> Command) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let addr = free.expect("a free port");
        let child = command(addr).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the server starts");
        Self { addr, child }
    }

    /// Waits until it listens.
    pub(crate) async fn answers(&self) {
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(self.addr).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the server does not listen");
    }

    /// Memory that it holds.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default()
    }

    /// What to ask of `offhook serve`, once it is there.
    pub(crate) async fn subject(&self, place: &Place) -> Subject {
        self.answers().await;
        let dialro = format!("x-api-key: {}\r\n", place.key("dialro"));
        let voxstack = format!("authorization: Bearer {}\r\n", place.key("voxstack"));
        let agent = json!({
            "name": "Maya", "systemPrompt": "You are a receptionist.", "greetingText": "Hello.", "language": "en",
        });
        let mut client = Client::connect(self.addr).await;
        let (status, body) = client.exchange(&post("/dialro/api/v1/agents", &dialro, &agent)).await;
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(body));
        let agent: Value = serde_json::from_slice(body).expect("an agent");
        let agent = agent["id"].as_str().and_then(|id| id.strip_prefix("agent_")).expect("an id");
        let task = json!({
            "agent_id": agent, "name": "Reminder", "to_number": "+15550100001", "context_data": { "name": "Ada" },
        });
        let page = |number: usize| get(&format!("/dialro/api/v1/calls?limit=5&offset={number}"), &dialro);
        Subject {
            create: post("/voxstack/api/v1/tasks", &voxstack, &task),
            list: get("/dialro/api/v1/calls", &dialro),
            pages: (0..PAGES).map(page).collect(),
        }
    }
}

pub(crate) fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\r\n").into_bytes()
}

fn post(path: &str, headers: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}content-type: application/json\r\n");
    format!("{head}content-length: {length}\r\n\r\n{body}").into_bytes()
}

/// A short conversation, a second after the one before.
fn call(tenant: TenantId, number: u32) -> StoredCall {
    let started_at = MOMENT + Duration::from_secs(number.into());
    let after = |millis| started_at + Duration::from_millis(millis);
    let line = |at_ms, speaker, text: &str| TranscriptEntry { at_ms, cut: false, speaker, text: text.to_owned() };
    let record = CallRecord {
        id: CallId::new(started_at, [1; 10]),
        tenant,
        agent: AgentId::new(MOMENT, [2; 10]),
        task: None,
        direction: Direction::Inbound,
        from: "+15550100001".parse().ok(),
        to: "+15550100000".parse().ok(),
        status: CallStatus::Completed,
        started_at,
        answered_at: Some(after(1_200)),
        ended_at: Some(after(32_700)),
        duration_ms: 32_700,
        talk_time_ms: 31_500,
        hangup_cause: Some(HangupCause::NORMAL_CLEARING),
        hangup_party: Some(HangupParty::Caller),
        end_reason: Some(EndReason::CallerHangUp),
        answered_by: Some(AnsweredBy::Human),
        transcript: vec![
            line(1_300, Speaker::Agent, "Bloom Clinic, this is Maya. How can I help you?"),
            line(6_000, Speaker::Caller, "I would like to book an appointment for Tuesday."),
            line(9_100, Speaker::Agent, "Tuesday at nine is free. Shall I put you down for it?"),
            line(14_800, Speaker::Caller, "Yes please."),
            line(16_000, Speaker::Agent, "It is done. We look forward to seeing you."),
        ],
        turns: Vec::new(),
        barge_ins: Vec::new(),
        functions: Vec::new(),
        recording: None,
        transfers: Vec::new(),
        variables: [("customer_name".to_owned(), "Ada".to_owned())].into(),
    };
    StoredCall {
        after: None,
        analysis: None,
        costs: Vec::new(),
        hold: None,
        is_recorded: false,
        lease: None,
        ledger: Some(LedgerSummary::default()),
        legs: Vec::new(),
        number: None,
        record,
        told: Default::default(),
        usage: Default::default(),
    }
}

fn row(call: &StoredCall) -> Put {
    let record = &call.record;
    let body = serde_json::to_value(call).expect("a body");
    Put::new(RecordKey::new(record.tenant, CALL, record.id), Expect::Absent, body)
        .index("agent", record.agent.to_string())
        .index("dialro", Dialect::Dialro.words(record).status)
        .index("direction", "inbound")
        .index("started_at", record.started_at.as_unix_micros())
        .index("status", record.status.to_string())
        .index("voxstack", Dialect::VoxStack.words(record).status)
}
