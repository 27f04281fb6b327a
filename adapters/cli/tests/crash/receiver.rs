//! The customer's side: takes webhooks and pushes over HTTP and keeps them as they came. Now and then it refuses one, lets
//! one hang, or breaks the connection before it answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use offhook::signing::standard::{self, Headers};
use offhook::time::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::worker::SECRET;

/// Every so manyth request is refused, hangs, or is broken off.
const REFUSES_EACH: usize = 16;
const HANGS_EACH: usize = 61;
const RESETS_EACH: usize = 37;

/// How long a request hangs before its connection is closed.
const HANG: Duration = Duration::from_millis(1_500);

/// A webhook or a push as it came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Arrival {
    pub(crate) body: Bytes,
    /// The delivery.
    pub(crate) id: String,
    pub(crate) taken: bool,
    /// The signature held at the moment of the arrival; a push has none.
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
        let url = format!("http://{}", listener.local_addr().unwrap());
        let arrivals = Arrivals::default();
        let taking = arrivals.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, taking.clone()));
            }
        });
        Self { url, arrivals }
    }

    /// In the order in which they came.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What becomes of a request.
enum Fate {
    Hangs,
    IsRefused,
    IsReset,
    IsTaken,
}

async fn serve(mut stream: TcpStream, arrivals: Arrivals) {
    let mut buffer = Vec::new();
    while let Some((headers, body)) = read_request(&mut stream, &mut buffer).await {
        let answer: &[u8] = match take(&headers, body, &arrivals) {
            Fate::Hangs => {
                tokio::time::sleep(HANG).await;
                return;
            }
            Fate::IsRefused => b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            Fate::IsReset => {
                let _ = stream.set_zero_linger();
                return;
            }
            Fate::IsTaken => b"HTTP/1.1 204 No Content\r\n\r\n",
        };
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

/// The headers, names in lower case, and the body; `None` when there is no more.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(BTreeMap<String, String>, Bytes)> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
            let headers: BTreeMap<_, _> =
                headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
            let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
            let whole = end + 4 + length;
            if buffer.len() >= whole {
                let body = Bytes::copy_from_slice(&buffer[end + 4..whole]);
                buffer.drain(..whole);
                return Some((headers, body));
            }
        }
        if stream.read_buf(buffer).await.is_ok_and(|read| read > 0) {
            continue;
        }
        return None;
    }
}

fn take(headers: &BTreeMap<String, String>, body: Bytes, arrivals: &Arrivals) -> Fate {
    let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    let is_turn = |each| arrivals.len() % each == each - 1;
    let fate = match () {
        () if is_turn(HANGS_EACH) => Fate::Hangs,
        () if is_turn(RESETS_EACH) => Fate::IsReset,
        () if is_turn(REFUSES_EACH) => Fate::IsRefused,
        () => Fate::IsTaken,
    };
    let taken = matches!(fate, Fate::IsTaken);
    let (id, verified) = match headers.get("x-offhook-delivery") {
        Some(id) => (id.clone(), true),
        None => (headers["webhook-id"].clone(), verifies(headers, &body)),
    };
    arrivals.push(Arrival { body, id, taken, verified });
    fate
}

fn verifies(headers: &BTreeMap<String, String>, body: &[u8]) -> bool {
    let headers = Headers {
        id: headers["webhook-id"].clone(),
        signature: headers["webhook-signature"].clone(),
        timestamp: headers["webhook-timestamp"].clone(),
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = Timestamp::from_unix_micros(i64::try_from(now.as_micros()).unwrap());
    let secret = standard::parse_secret(SECRET).unwrap();
    standard::verify(&[secret], &headers, body, now).is_ok()
}
