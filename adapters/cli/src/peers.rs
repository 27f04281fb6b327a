//! The customer's systems, as real HTTP servers on loopback: the endpoint of the agent's function and the receiver of
//! webhooks. Both verify the signature of every request and refuse what does not hold.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use offhook::runtime::Runtime;
use offhook::signing::Secret;
use offhook::signing::standard::{self, Headers};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::blocking;
use crate::clinic;
use crate::failure::{Failure, Outcome};

/// Bytes of a request at most; the record of an hour's call is far below.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Requests that are remembered at most; later ones are answered and forgotten.
const REQUESTS_MAX: usize = 4_096;

/// The name of the file that holds the webhooks' secret.
pub const SECRET_FILE: &str = "secret.txt";

/// Both servers, on one port. Dropping it closes them.
pub struct Peers {
    addr: SocketAddr,
    serving: AbortHandle,
    shared: Arc<Shared>,
}

/// One event as it arrived, all attempts of it together.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ReceivedWebhook {
    /// The event's dotted name; empty when the body did not say one.
    pub event: String,
    /// Whether the signatures of all attempts were good.
    pub verified: bool,
    /// How often it arrived.
    pub attempts: usize,
}

/// One request to the receiver of webhooks.
#[derive(Clone, Debug)]
pub struct Request {
    /// The raw body.
    pub body: Bytes,
    /// `webhook-id`.
    pub id: String,
    /// The event's dotted name.
    pub event: String,
    /// Whether its signature was good.
    pub verified: bool,
}

struct Shared {
    folder: Option<PathBuf>,
    function_secret: Secret,
    requests: Mutex<Vec<Request>>,
    runtime: Arc<dyn Runtime>,
    webhook_secret: OnceLock<Secret>,
}

impl Peers {
    /// Listens on a free port of this machine alone. The function's requests must be signed with `function_secret`; what the
    /// receiver of webhooks gets is kept below `folder`.
    pub async fn start(runtime: Arc<dyn Runtime>, function_secret: Secret, folder: Option<PathBuf>) -> Outcome<Self> {
        let unable = |error| Failure::new(format_args!("the customer's servers cannot be started: {error}"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(unable)?;
        let addr = listener.local_addr().map_err(unable)?;
        let shared = Arc::new(Shared {
            folder,
            function_secret,
            requests: Mutex::default(),
            runtime,
            webhook_secret: OnceLock::new(),
        });
        let router = Router::new()
            .route("/functions/check_appointment", post(check_appointment))
            .route("/webhooks", post(receive_webhook))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(Arc::clone(&shared));
        let server = axum::serve(listener, router);
        let serving = tokio::spawn(async move {
            // Serving ends with the task.
            let _ = server.await;
        });
        Ok(Self { addr, serving: serving.abort_handle(), shared })
    }

    /// Where the function is.
    pub fn function_url(&self) -> String {
        format!("http://{}/functions/check_appointment", self.addr)
    }

    /// Where webhooks go.
    pub fn webhook_url(&self) -> String {
        format!("http://{}/webhooks", self.addr)
    }

    /// Verifies webhooks with `secret` (`whsec_…`) from now on; before, all are refused.
    pub fn expect_webhooks(&self, secret: &str) -> Outcome<()> {
        let secret = standard::parse_secret(secret)?;
        let known = self.shared.webhook_secret.set(secret);
        known.map_err(|_| Failure::new("the secret of the webhooks is known already"))
    }

    /// All requests to the receiver of webhooks so far, in the order of their arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests().clone()
    }

    /// What arrived about `call` so far, in the order of the first attempts.
    pub fn webhooks(&self, call: impl ToString) -> Vec<ReceivedWebhook> {
        let prefix = format!("{}:", call.to_string());
        let mut order: Vec<String> = Vec::new();
        let mut received: BTreeMap<String, ReceivedWebhook> = BTreeMap::new();
        for request in self.shared.requests().iter().filter(|request| request.id.starts_with(&prefix)) {
            let Request { event, id, verified, .. } = request;
            let webhook = received.entry(id.clone()).or_insert_with(|| {
                order.push(id.clone());
                ReceivedWebhook { event: event.clone(), verified: true, attempts: 0 }
            });
            webhook.attempts += 1;
            webhook.verified &= *verified;
        }
        order.iter().filter_map(|id| received.remove(id)).collect()
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Shared {
    fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        // Nothing that runs under the lock can panic half way.
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_signed(&self, secret: &Secret, headers: &Headers, body: &[u8]) -> bool {
        standard::verify(std::slice::from_ref(secret), headers, body, self.runtime.wall_clock()).is_ok()
    }
}

/// `{"call_id", "function", "parameters": {"phone_number"}}` in, the appointment out.
async fn check_appointment(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    if !shared.is_signed(&shared.function_secret, &signature(&headers), &body) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let Ok(request) = serde_json::from_slice::<Value>(&body) else { return StatusCode::BAD_REQUEST.into_response() };
    let Some(number) = request["parameters"][clinic::PHONE_NUMBER].as_str() else {
        return (StatusCode::OK, Json(json!({ "error": "phone_number is missing" }))).into_response();
    };
    Json(clinic::appointment_of(number)).into_response()
}

async fn receive_webhook(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let signature = signature(&headers);
    let secret = shared.webhook_secret.get();
    let verified = secret.is_some_and(|secret| shared.is_signed(secret, &signature, &body));
    let event = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    let event = event["type"].as_str().unwrap_or_default().to_owned();
    let request = Request { body, id: signature.id.clone(), event, verified };
    let number = {
        let mut requests = shared.requests();
        if requests.len() < REQUESTS_MAX {
            requests.push(request.clone());
        }
        requests.len()
    };
    if let Some(folder) = shared.folder.clone() {
        let kept = blocking::run("a webhook cannot be kept", move || keep(&folder, number, &request, &signature));
        if kept.await.is_err() {
            // Not acknowledged, it comes again.
            return StatusCode::INSUFFICIENT_STORAGE;
        }
    }
    if verified { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED }
}

fn signature(headers: &HeaderMap) -> Headers {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    Headers { id: header("webhook-id"), timestamp: header("webhook-timestamp"), signature: header("webhook-signature") }
}

/// Writes the raw body and the headers that sign it, so that anybody can verify them later.
fn keep(folder: &Path, number: usize, request: &Request, signature: &Headers) -> std::io::Result<()> {
    let name = if request.event.chars().all(|c| c.is_ascii_alphanumeric() || c == '.') { &request.event } else { "" };
    let stem = format!("{number:02}-{name}");
    let headers = json!({
        "webhook-id": signature.id,
        "webhook-timestamp": signature.timestamp,
        "webhook-signature": signature.signature,
    });
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join(format!("{stem}.body.json")), &request.body)?;
    std::fs::write(folder.join(format!("{stem}.headers.json")), format!("{headers:#}\n"))
}

#[cfg(test)]
mod tests {
    use offhook::provider::HttpTransport;
    use offhook::provider::transport::{HttpMethod, HttpRequest};
    use offhook::time::Timestamp;
    use offhook_tokio::{ReqwestTransport, Tls, TokioRuntime};

    use super::*;

    const WEBHOOK: &[u8] = br#"{"type":"call.ended","data":{}}"#;

    #[tokio::test]
    async fn good_webhooks_are_taken_and_kept() {
        let world = World::start().await;
        assert_eq!(world.post("/webhooks", &world.webhook, "c1:demo:call.ended", WEBHOOK, WEBHOOK).await, 204);
        assert_eq!(world.post("/webhooks", &world.webhook, "c1:demo:call.ended", WEBHOOK, WEBHOOK).await, 204);
        assert_eq!(world.post("/webhooks", &world.webhook, "c2:demo:call.ended", WEBHOOK, WEBHOOK).await, 204);
        let expected = ReceivedWebhook { event: "call.ended".to_owned(), verified: true, attempts: 2 };
        assert_eq!(world.peers.webhooks("c1"), [expected]);
        let kept = std::fs::read(world.folder.path().join("hooks/02-call.ended.body.json")).unwrap();
        assert_eq!(kept, WEBHOOK);
        let headers = std::fs::read(world.folder.path().join("hooks/02-call.ended.headers.json")).unwrap();
        let headers: Value = serde_json::from_slice(&headers).unwrap();
        assert_eq!(headers["webhook-id"], "c1:demo:call.ended");
        assert!(headers["webhook-signature"].as_str().unwrap().starts_with("v1,"));
    }

    #[tokio::test]
    async fn a_tampered_webhook_is_refused_and_counts_as_not_verified() {
        let world = World::start().await;
        let tampered = br#"{"type":"call.ended","data":{"talk_time_ms":1}}"#;
        assert_eq!(world.post("/webhooks", &world.webhook, "c1:demo:call.ended", WEBHOOK, tampered).await, 401);
        assert_eq!(world.post("/webhooks", &world.function, "c2:demo:call.ended", WEBHOOK, WEBHOOK).await, 401);
        assert!(!world.peers.webhooks("c1")[0].verified && !world.peers.webhooks("c2")[0].verified);
    }

    #[tokio::test]
    async fn the_function_answers_signed_requests_alone() {
        let world = World::start().await;
        let good = json!({ "call_id": "c", "function": "f", "parameters": { "phone_number": clinic::PATIENT } });
        let good = good.to_string().into_bytes();
        let path = "/functions/check_appointment";
        assert_eq!(world.post(path, &world.function, "c-1", &good, &good).await, 200);
        let tampered = String::from_utf8(good.clone()).unwrap().replace("+62", "+63").into_bytes();
        assert_eq!(world.post(path, &world.function, "c-1", &good, &tampered).await, 401);
        assert_eq!(world.post(path, &world.webhook, "c-1", &good, &good).await, 401);
    }

    struct World {
        folder: tempfile::TempDir,
        function: Secret,
        http: ReqwestTransport,
        peers: Peers,
        runtime: Arc<TokioRuntime>,
        webhook: Secret,
    }

    impl World {
        async fn start() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let runtime = Arc::new(TokioRuntime::current().unwrap());
            let (function, webhook) = (Secret::new("function"), Secret::new("webhook"));
            let kept = Some(folder.path().join("hooks"));
            let peers = Peers::start(runtime.clone(), function.clone(), kept).await.unwrap();
            peers.expect_webhooks(&standard::show_secret(&webhook)).unwrap();
            let http = ReqwestTransport::new(&Tls::public().unwrap()).unwrap();
            Self { folder, function, http, peers, runtime, webhook }
        }

        /// Signs one body and sends another.
        async fn post(&self, path: &str, secret: &Secret, id: &str, signed: &[u8], sent: &[u8]) -> u16 {
            let now: Timestamp = self.runtime.wall_clock();
            let headers = standard::sign(std::slice::from_ref(secret), id, now, signed);
            let url = format!("http://{}{path}", self.peers.addr);
            let request = HttpRequest::new(HttpMethod::Post, url, std::time::Duration::from_secs(5))
                .header("webhook-id", headers.id)
                .header("webhook-timestamp", headers.timestamp)
                .header("webhook-signature", headers.signature)
                .body(sent.to_vec());
            self.http.send(request).await.unwrap().status
        }
    }
}
