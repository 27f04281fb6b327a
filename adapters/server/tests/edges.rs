//! The port and what surrounds every request: TLS, limits, slow peers, pages of other origins, names in answers and logs.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use offhook::dialect::Dialect;
use offhook_server::{Limits, Options, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tracing_subscriber::fmt::MakeWriter;

use self::support::{Answer, Server};

const HEALTH: &str = "GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// Far more than any of these takes, and yet an end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server on a port.
struct Port {
    addr: SocketAddr,
    serving: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Port {
    async fn open(server: &Server, tls: Option<Arc<ServerConfig>>, set: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits::default();
        set(&mut limits);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, server.router.clone(), tls, limits, async {
            let _ = stopped.await;
        }));
        Self { addr, serving, stop }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// The status of what a request of these bytes is answered with; 0 when the connection is closed without a word.
    async fn status(&self, request: &str) -> u16 {
        status(&say(self.connect().await, request).await)
    }
}

/// What comes back until the other side hangs up.
async fn say(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    // A peer that has heard enough need not read the rest.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server hangs up");
    String::from_utf8(answer).unwrap()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).map_or(0, |status| status.parse().unwrap())
}

struct Certified {
    server: Arc<ServerConfig>,
    client: TlsConnector,
}

impl Certified {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate: CertificateDer<'static> = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let server = server.unwrap().with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
        Self { server: Arc::new(server), client: TlsConnector::from(Arc::new(client)) }
    }
}

#[tokio::test]
async fn tls_is_spoken_by_those_who_trust_the_certificate_and_by_nobody_else() {
    let (server, certified) = (Server::new().await, Certified::new());
    let port = Port::open(&server, Some(certified.server.clone()), |_| {}).await;
    let name = |name: &'static str| ServerName::try_from(name).unwrap();
    let stream = certified.client.connect(name("localhost"), port.connect().await).await.unwrap();
    assert_eq!(status(&say(stream, HEALTH).await), 200);

    assert!(certified.client.connect(name("example.com"), port.connect().await).await.is_err());
    let stranger = Certified::new();
    assert!(stranger.client.connect(name("localhost"), port.connect().await).await.is_err());
    assert_eq!(port.status(HEALTH).await, 0, "plain HTTP is not understood");
    let stream = certified.client.connect(name("localhost"), port.connect().await).await.unwrap();
    assert_eq!(status(&say(stream, HEALTH).await), 200, "the others are in nobody's way");
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_not_waited_for() {
    let (server, certified) = (Server::new().await, Certified::new());
    let hurry = |limits: &mut Limits| limits.handshake_timeout = Duration::from_millis(50);
    let port = Port::open(&server, Some(certified.server), hurry).await;
    assert_eq!(say(port.connect().await, "").await, "");
}

#[tokio::test]
async fn headers_that_come_slowly_are_not_waited_for() {
    let server = Server::new().await;
    let port = Port::open(&server, None, |limits| limits.head_timeout = Duration::from_millis(100)).await;
    // One that says nothing, one that stops half way, and one that never stops.
    assert_eq!(port.status("").await, 0);
    assert_ne!(port.status("GET /health HTTP/1.1\r\nhost: a\r\nx-a: ").await, 200);
    let (mut reader, mut writer) = port.connect().await.into_split();
    writer.write_all(b"GET /health HTTP/1.1\r\n").await.unwrap();
    let drip = tokio::spawn(async move {
        while writer.write_all(b"x-a: b\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut answer)).await.expect("the server hangs up");
    assert_ne!(status(&String::from_utf8(answer).unwrap()), 200);
    drip.abort();
    assert_eq!(port.status(HEALTH).await, 200);
}

#[tokio::test]
async fn slow_peers_take_no_more_than_the_connections_that_there_are() {
    let server = Server::new().await;
    let port = Port::open(&server, None, |limits| {
        (limits.connections_max, limits.head_timeout) = (2, Duration::from_millis(300));
    })
    .await;
    let idle = [port.connect().await, port.connect().await];
    // It waits in the system's queue until one of them is let go.
    assert_eq!(port.status(HEALTH).await, 200);
    drop(idle);
}

#[tokio::test]
async fn heads_queries_and_bodies_have_a_limit() {
    let server = Server::new().await;
    let port = Port::open(&server, None, |_| {}).await;
    let head =
        |path: &str, headers: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n");
    let many = |count: usize| (0..count).map(|number| format!("x-{number}: a\r\n")).collect::<String>();
    let long = |bytes: usize| format!("x-long: {}\r\n", "a".repeat(bytes));
    let query = |bytes: usize| format!("/health?a={}", "b".repeat(bytes));
    assert_eq!(port.status(&head("/health", &many(90))).await, 200);
    assert_eq!(port.status(&head("/health", &many(101))).await, 431);
    assert_eq!(port.status(&head("/health", &long(16 * 1024))).await, 200);
    assert_eq!(port.status(&head("/health", &long(64 * 1024))).await, 431);
    assert_eq!(port.status(&head(&query(8 * 1024), "")).await, 200);
    assert!([414, 431].contains(&port.status(&head(&query(64 * 1024), "")).await));

    let key = server.key(Dialect::Dialro).to_owned();
    let post = |length: &str, body: &str| {
        let head =
            format!("POST /dialro/api/v1/agents HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-api-key: {key}\r\n");
        format!("{head}content-type: application/json\r\n{length}\r\n\r\n{body}")
    };
    let body = json!({ "name": "Maya", "systemPrompt": "x".repeat(1024 * 1024) }).to_string();
    let told = post(&format!("content-length: {}", body.len()), &body);
    let in_pieces = post("transfer-encoding: chunked", &format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()));
    for request in [told, in_pieces] {
        let answer = say(port.connect().await, &request).await;
        assert_eq!(status(&answer), 413);
        assert!(answer.contains(r#""code":"payload_too_large""#), "in the dialect's own form: {answer}");
    }
    assert_eq!(port.status("nonsense\r\n\r\n").await, 400);
    assert_eq!(port.status(HEALTH).await, 200);
}

#[tokio::test]
async fn a_server_that_stops_answers_what_it_was_asked() {
    let server = Server::new().await;
    let port = Port::open(&server, None, |_| {}).await;
    // Kept open and idle: it is told to go.
    let mut idle = port.connect().await;
    idle.write_all(HEALTH.replace("connection: close\r\n", "").as_bytes()).await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    port.stop.send(()).unwrap();
    tokio::time::timeout(PATIENCE, port.serving).await.expect("it ends").unwrap();
    assert!(TcpStream::connect(port.addr).await.is_err());
}

#[tokio::test]
async fn pages_of_allowed_origins_may_ask_and_others_may_not() {
    let asked = async |cors: &[&str], origin: &str| {
        let mut options = Options::default();
        options.cors = cors.iter().map(|origin| (*origin).to_owned()).collect();
        let server = Server::with(options, |_| {}).await;
        let wish = [
            ("origin", origin),
            ("access-control-request-method", "PATCH"),
            ("access-control-request-headers", "x-api-key,content-type"),
        ];
        let preflight = server.raw("OPTIONS", "/dialro/api/v1/agents/agent_1", &wish, "").await;
        let key = server.key(Dialect::Dialro);
        let real = server.raw("GET", "/dialro/api/v1/calls", &[("origin", origin), ("x-api-key", key)], "").await;
        assert_eq!(real.status, 200, "who asks without a page is not kept out");
        (preflight, real)
    };
    let allowed = |answer: &Answer| answer.header("access-control-allow-origin").to_owned();
    let page = "https://app.example";

    // No key is asked of a preflight: a browser has none to give.
    let (preflight, real) = asked(&["https://other.example", page], page).await;
    assert_eq!((preflight.status.as_u16(), allowed(&preflight), allowed(&real)), (200, page.into(), page.into()));
    assert!(preflight.header("access-control-allow-methods").contains("PATCH"));
    assert_eq!(preflight.header("access-control-allow-headers"), "x-api-key,content-type");
    assert_eq!(real.header("access-control-expose-headers"), "*");
    assert_eq!(real.header("access-control-allow-credentials"), "");

    let (preflight, real) = asked(&[page], "https://evil.example").await;
    assert_eq!((allowed(&preflight), allowed(&real)), (String::new(), String::new()));
    for near in ["http://app.example", "https://app.example.evil.example", "https://app.example:8443", "null"] {
        assert_eq!(allowed(&asked(&[page], near).await.1), "", "{near}");
    }
    let (preflight, real) = asked(&["*"], "https://anyone.example").await;
    assert_eq!((allowed(&preflight), allowed(&real)), ("*".into(), "*".into()));
    let (preflight, real) = asked(&[], page).await;
    assert_eq!((allowed(&preflight), allowed(&real)), (String::new(), String::new()));
}

#[tokio::test]
async fn every_error_and_every_line_of_the_log_has_the_name_of_its_request() {
    let lines = Lines::default();
    let log =
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_ansi(false).with_writer(lines.clone());
    let _log = tracing::subscriber::set_default(log.finish());
    let server = Server::new().await;
    lines.take();
    let mut names = Vec::new();
    for (path, place) in [
        ("/dialro/api/v1/calls/call_1", &["requestId"][..]),
        ("/voxstack/api/v1/calls/1", &["meta", "request_id"]),
        ("/voxcore/api/v1/dialout", &[]),
        ("/dialflo/call_details/1", &[]),
        ("/nowhere", &["request_id"]),
        ("/agents/1", &["request_id"]),
    ] {
        let answer = server.raw("GET", path, &[], "").await;
        assert!(answer.status.is_client_error(), "{path}");
        let name = answer.header("x-request-id").to_owned();
        assert_eq!(name.len(), 36, "{path}");
        if !place.is_empty() {
            let told = place.iter().fold(&answer.body, |body, field| &body[*field]);
            assert_eq!(told, &Value::from(name.as_str()), "{path}: {}", answer.body);
        }
        let said = lines.take();
        assert!(!said.is_empty() && said.lines().all(|line| line.contains(&name)), "{path}: {said}");
        names.push(name);
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 6);
}

/// What was logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
