//! The customer's side: takes webhooks over HTTP and keeps them as they came.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use offhook::signing::standard::{self, Headers};
use offhook::time::Timestamp;
use tokio::net::TcpListener;

use crate::worker::SECRET;

/// Every so manyth webhook is refused.
const REFUSES_EACH: usize = 16;

/// A webhook as it came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Arrival {
    pub(crate) body: Bytes,
    pub(crate) headers: Headers,
    pub(crate) taken: bool,
    /// The signature holds at the moment of the arrival.
    pub(crate) verified: bool,
}

type Arrivals = Arc<Mutex<Vec<Arrival>>>;

/// A server; it stops with the runtime that it was started on.
pub(crate) struct Receiver {
    pub(crate) url: String,
    arrivals: Arrivals,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/webhooks", listener.local_addr().unwrap());
        let arrivals = Arrivals::default();
        let app = Router::new().route("/webhooks", post(take)).with_state(arrivals.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, arrivals }
    }

    /// In the order in which they came.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn take(State(arrivals): State<Arrivals>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    let taken = arrivals.len() % REFUSES_EACH != REFUSES_EACH - 1;
    let headers = Headers {
        id: header("webhook-id"),
        signature: header("webhook-signature"),
        timestamp: header("webhook-timestamp"),
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = Timestamp::from_unix_micros(i64::try_from(now.as_micros()).unwrap());
    let secret = standard::parse_secret(SECRET).unwrap();
    let verified = standard::verify(&[secret], &headers, &body, now).is_ok();
    arrivals.push(Arrival { body, headers, taken, verified });
    if taken { StatusCode::NO_CONTENT } else { StatusCode::SERVICE_UNAVAILABLE }
}
