//! What a collector of OpenTelemetry is told of a call that a server places, as a real collector would read it.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::support::{Server, admin};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn a_collector_hears_of_a_call_and_its_turns() {
    let (endpoint, requests) = collector();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let call = place_call(&data, |command| {
        let command = command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint).env("OTEL_SERVICE_NAME", "clinic");
        command.env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b")
    });
    let mut spans: Vec<Span> = Vec::new();
    while !spans.iter().any(|span| span.name == "call") {
        let request = requests.recv_timeout(PATIENCE).expect("the call's own span comes");
        assert_eq!((request.path.as_str(), request.kind.as_str()), ("/v1/traces", "application/x-protobuf"));
        assert_eq!(request.key, "a b");
        spans.extend(read(&request.body));
    }
    assert!(spans.iter().all(|span| span.trace == TRACE && span.service == "clinic"));
    let whole = spans.iter().find(|span| span.name == "call").unwrap();
    assert_eq!(
        (whole.parent.as_str(), whole.attributes["gen_ai.conversation.id"].as_str()),
        (PARENT, call.id.as_str())
    );
    // What the API says is in whole milliseconds, rounded down.
    let told = Duration::from_millis(call.duration_ms);
    let took = Duration::from_nanos(whole.end - whole.begin);
    assert!(took >= told && took < told + Duration::from_secs(30), "{took:?}, {told:?}");

    let turns: Vec<_> = spans.iter().filter(|span| span.name == "turn").collect();
    assert!(turns.len() >= 2 && turns.iter().all(|turn| turn.parent == whole.id), "{spans:?}");
    let parts = |turn: &Span| -> Vec<&str> {
        spans.iter().filter(|span| span.parent == turn.id).map(|span| span.name.as_str()).collect()
    };
    let whole_turn =
        turns.iter().find(|turn| ["stt", "llm", "tts", "first_audio"].iter().all(|part| parts(turn).contains(part)));
    let turn = whole_turn.unwrap_or_else(|| panic!("no turn has all its parts: {spans:?}"));
    for part in spans.iter().filter(|span| span.parent == turn.id) {
        assert!(turn.begin <= part.begin && part.begin <= part.end && part.end <= turn.end, "{part:?} leaves {turn:?}");
    }
    let llm = spans.iter().find(|span| span.parent == turn.id && span.name == "llm").unwrap();
    assert_eq!(llm.attributes["gen_ai.operation.name"], "chat");
    assert!(llm.attributes.contains_key("gen_ai.provider.name"));
}

#[test]
fn a_collector_that_is_not_there_costs_a_call_nothing() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("offhook.toml");
    std::fs::write(&config, format!("[telemetry]\notlp_endpoint = \"http://{nobody}\"\n")).unwrap();
    let data = folder.path().join("data");
    let call = place_call(&data, |command| command.arg("--config").arg(&config));
    assert!(call.duration_ms > 0);
}

struct Call {
    duration_ms: u64,
    id: String,
}

/// Calls somebody who hangs up in mid-sentence, as a part of somebody's trace, and waits for the end.
fn place_call(data: &Path, set: impl FnOnce(&mut Command) -> &mut Command) -> Call {
    let tenant = admin(data, &["tenant", "create", "Klinik", "--plan", "enterprise", "--minutes", "100"]);
    let key = |dialect: &str| tenant["keys"][dialect].as_str().unwrap().to_owned();
    let server = Server::start_with(data, |command| set(command.args(["--time-scale", "3"])));
    let dialro = [("x-api-key", &key("dialro")[..])];
    let agent = json!({ "name": "Maya", "systemPrompt": "You call.", "greetingText": "Hello, how are you?", "language": "en", "maxCallDurationMinutes": 1 });
    let (status, agent) = server.ask("POST", "/dialro/api/v1/agents", &dialro, &agent);
    assert_eq!(status, 201, "{agent}");
    let order = json!({ "bot_id": agent["id"].as_str().unwrap(), "to_number": "+15550100001" });
    let trace = format!("00-{TRACE}-{PARENT}-01");
    let headers = [("x-api-key", &key("voxcore")[..]), ("traceparent", &trace)];
    let (status, placed) = server.ask("POST", "/voxcore/api/v1/dialout", &headers, &order);
    assert_eq!(status, 200, "{placed}");
    let id = placed["call_id"].as_str().unwrap().to_owned();
    let deadline = Instant::now() + PATIENCE;
    let ended = loop {
        let (_, call) = server.ask("GET", &format!("/dialro/api/v1/calls/call_{id}"), &dialro, &Value::Null);
        if !call["endedAt"].is_null() {
            break call;
        }
        assert!(Instant::now() < deadline, "the call does not end: {call}");
        std::thread::sleep(Duration::from_millis(200));
    };
    // The last spans travel together, a second after the first of them.
    std::thread::sleep(Duration::from_secs(2));
    Call { duration_ms: ended["durationSeconds"].as_u64().unwrap() * 1_000, id }
}

struct Request {
    body: Vec<u8>,
    key: String,
    kind: String,
    path: String,
}

/// Takes requests and passes them on.
fn collector() -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(socket.unwrap());
                while let Some(request) = take(&mut reader) {
                    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
                    reader.get_mut().write_all(answer.as_bytes()).unwrap();
                    if sender.send(request).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (endpoint, requests)
}

fn take(reader: &mut BufReader<impl Read>) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let headers: BTreeMap<_, _> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value))
        .collect();
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let header = |name: &str| headers.get(name).map_or(String::new(), |value| (*value).to_owned());
    let path = lines[0].split(' ').nth(1).unwrap().to_owned();
    Some(Request { body, key: header("api-key"), kind: header("content-type"), path })
}

#[derive(Debug)]
struct Span {
    attributes: BTreeMap<String, String>,
    begin: u64,
    end: u64,
    id: String,
    name: String,
    parent: String,
    service: String,
    trace: String,
}

/// `ExportTraceServiceRequest`, by the numbers of its fields.
fn read(body: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource_spans in Field::all(body, 1) {
        let resource = Field::all(resource_spans.bytes(), 1);
        let service = attributes(resource[0].bytes(), 1).remove("service.name").unwrap();
        for scope_spans in Field::all(resource_spans.bytes(), 2) {
            for span in Field::all(scope_spans.bytes(), 2) {
                let one = |number| Field::all(span.bytes(), number).into_iter().next();
                let id = |number| one(number).map_or(String::new(), |field| hex(field.bytes()));
                spans.push(Span {
                    attributes: attributes(span.bytes(), 9),
                    begin: one(7).unwrap().number,
                    end: one(8).unwrap().number,
                    id: id(2),
                    name: one(5).unwrap().text(),
                    parent: id(4),
                    service: service.clone(),
                    trace: id(1),
                });
            }
        }
    }
    spans
}

fn attributes(message: &[u8], number: u64) -> BTreeMap<String, String> {
    let pairs = Field::all(message, number).into_iter().map(|pair| {
        let name = Field::all(pair.bytes(), 1)[0].text();
        let value = Field::all(pair.bytes(), 2);
        (name, Field::all(value[0].bytes(), 1).first().map(Field::text).unwrap_or_default())
    });
    pairs.collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A field of a message of Protocol Buffers.
struct Field {
    bytes: Vec<u8>,
    number: u64,
}

impl Field {
    /// Those of that number.
    fn all(mut message: &[u8], wanted: u64) -> Vec<Self> {
        let mut fields = Vec::new();
        while !message.is_empty() {
            let tag = varint(&mut message);
            let field = match tag & 7 {
                0 => Self { bytes: Vec::new(), number: varint(&mut message) },
                1 => {
                    let (number, rest) = message.split_at(8);
                    message = rest;
                    Self { bytes: Vec::new(), number: u64::from_le_bytes(number.try_into().unwrap()) }
                }
                2 => {
                    let length = varint(&mut message);
                    let (bytes, rest) = message.split_at(usize::try_from(length).unwrap());
                    message = rest;
                    Self { bytes: bytes.to_vec(), number: 0 }
                }
                kind => panic!("a field of kind {kind}"),
            };
            if tag >> 3 == wanted {
                fields.push(field);
            }
        }
        fields
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes.clone()).unwrap()
    }
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first().unwrap();
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            break;
        }
    }
    number
}
