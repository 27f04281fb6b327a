//! The one place where foreign errors become the engine's.

use std::error::Error as StdError;
use std::io;

use offhook::{Error, ErrorKind, Retry};
use tokio_tungstenite::tungstenite;

use crate::resolve::{BeyondReach, ResolveError};

/// `error` as the engine's. The innermost cause that is recognised decides; nothing of a URL, header or body is shown.
pub(crate) fn map(operation: &'static str, error: impl StdError + Send + Sync + 'static) -> Error {
    if let Some(tungstenite::Error::Http(response)) = (&error as &dyn StdError).downcast_ref() {
        return map_status(operation, response.status().as_u16());
    }
    let verdict = classify_chain(&error).unwrap_or(Verdict::new(ErrorKind::Unexpected, "an operation failed"));
    let mapped = Error::new(verdict.kind, operation, verdict.message).with_source(error);
    match verdict.retry {
        Some(retry) => mapped.with_retry(retry),
        None => mapped,
    }
}

/// A status that refuses what only success can go on from.
pub(crate) fn map_status(operation: &'static str, status: u16) -> Error {
    let (kind, message) = match status {
        401 => (ErrorKind::Unauthenticated, "the peer wants other credentials"),
        403 => (ErrorKind::PermissionDenied, "the peer does not permit it"),
        404 => (ErrorKind::NotFound, "the peer has no such resource"),
        429 => (ErrorKind::RateLimited, "the peer limits the rate"),
        500..=599 => (ErrorKind::Unavailable, "the peer is failing"),
        _ => (ErrorKind::Rejected, "the peer refused"),
    };
    Error::new(kind, operation, message).with_context("status", status)
}

struct Verdict {
    kind: ErrorKind,
    message: &'static str,
    retry: Option<Retry>,
}

impl Verdict {
    fn new(kind: ErrorKind, message: &'static str) -> Self {
        Self { kind, message, retry: None }
    }

    fn never(kind: ErrorKind, message: &'static str) -> Self {
        Self { retry: Some(Retry::Never), ..Self::new(kind, message) }
    }
}

/// Longest chain of causes that is followed.
const CAUSES_MAX: usize = 16;

fn classify_chain(error: &(dyn StdError + 'static)) -> Option<Verdict> {
    let mut verdict = None;
    let mut next = Some(error);
    for _ in 0..CAUSES_MAX {
        let Some(error) = next else { break };
        verdict = classify(error).or(verdict);
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            // `source` of an I/O error skips the error that it wraps.
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    verdict
}

fn classify(error: &(dyn StdError + 'static)) -> Option<Verdict> {
    if let Some(error) = error.downcast_ref::<reqwest::Error>() {
        return Some(classify_http(error));
    }
    if let Some(error) = error.downcast_ref::<tungstenite::Error>() {
        return classify_socket(error);
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return classify_io(error);
    }
    if error.is::<rustls::Error>() {
        return Some(Verdict::never(ErrorKind::Unavailable, "no trusted connection could be made"));
    }
    if error.is::<BeyondReach>() {
        return Some(Verdict::new(ErrorKind::PermissionDenied, "the host has no address that may be reached"));
    }
    if error.is::<ResolveError>() {
        return Some(Verdict::new(ErrorKind::Unavailable, "the host name cannot be resolved"));
    }
    if error.is::<tokio::time::error::Elapsed>() {
        return Some(Verdict::new(ErrorKind::TimedOut, "no answer in time"));
    }
    if error.is::<tokio::task::JoinError>() {
        return Some(Verdict::new(ErrorKind::Unavailable, "the runtime is shutting down"));
    }
    None
}

fn classify_http(error: &reqwest::Error) -> Verdict {
    if error.is_timeout() {
        return Verdict::new(ErrorKind::TimedOut, "no answer in time");
    }
    if error.is_builder() {
        return Verdict::new(ErrorKind::ConfigInvalid, "the request cannot be made");
    }
    if error.is_connect() {
        return Verdict::new(ErrorKind::Unavailable, "the peer cannot be reached");
    }
    Verdict::new(ErrorKind::Unavailable, "the connection broke")
}

fn classify_socket(error: &tungstenite::Error) -> Option<Verdict> {
    use tungstenite::Error as E;
    use tungstenite::error::{CapacityError, ProtocolError};

    let verdict = match error {
        E::AlreadyClosed | E::ConnectionClosed => Verdict::new(ErrorKind::Unavailable, "the socket is closed"),
        E::Capacity(CapacityError::MessageTooLong { .. }) => {
            Verdict::never(ErrorKind::Rejected, "the peer's message is too long")
        }
        E::AttackAttempt | E::Capacity(_) => Verdict::never(ErrorKind::Rejected, "the peer's handshake is too long"),
        E::HttpFormat(_) | E::Url(_) => Verdict::new(ErrorKind::ConfigInvalid, "the URL or a header is malformed"),
        E::Protocol(ProtocolError::HandshakeIncomplete | ProtocolError::ResetWithoutClosingHandshake) => {
            Verdict::new(ErrorKind::Unavailable, "the connection broke")
        }
        E::Protocol(_) | E::Utf8(_) => Verdict::never(ErrorKind::Rejected, "the peer does not speak WebSocket well"),
        _ => return None,
    };
    Some(verdict)
}

fn classify_io(error: &io::Error) -> Option<Verdict> {
    use io::ErrorKind as K;

    let verdict = match error.kind() {
        K::AddrInUse | K::AddrNotAvailable => Verdict::new(ErrorKind::Conflict, "the address is taken or not ours"),
        K::AlreadyExists | K::DirectoryNotEmpty | K::IsADirectory | K::NotADirectory => {
            Verdict::new(ErrorKind::Conflict, "a folder stands where a file would, or the other way round")
        }
        K::BrokenPipe | K::ConnectionAborted | K::ConnectionReset | K::NotConnected | K::UnexpectedEof => {
            Verdict::new(ErrorKind::Unavailable, "the connection broke")
        }
        K::ConnectionRefused => Verdict::new(ErrorKind::Unavailable, "the peer refuses connections"),
        K::HostUnreachable | K::NetworkDown | K::NetworkUnreachable => {
            Verdict::new(ErrorKind::Unavailable, "there is no route to the peer")
        }
        K::NotFound => Verdict::new(ErrorKind::NotFound, "there is no such file"),
        K::PermissionDenied | K::ReadOnlyFilesystem => {
            Verdict::new(ErrorKind::PermissionDenied, "the system does not permit it")
        }
        K::FileTooLarge | K::QuotaExceeded | K::StorageFull => {
            Verdict::new(ErrorKind::Unavailable, "there is no space left")
        }
        K::TimedOut => Verdict::new(ErrorKind::TimedOut, "no answer in time"),
        _ => return None,
    };
    Some(verdict)
}
