//! offhook on tokio: clocks and tasks, HTTP by reqwest, and WebSockets by tungstenite in both roles.
//!
//! Everything here expects to be polled inside a tokio runtime with its time and I/O drivers enabled.

mod http;
mod listener;
mod map;
mod pump;
mod resolve;
mod runtime;
mod socket;
mod tls;

pub use http::ReqwestTransport;
pub use listener::{AcceptedSocket, SocketListener};
pub use runtime::TokioRuntime;
pub use socket::TungsteniteTransport;
pub use tls::Tls;

/// The limits that hold in this crate.
pub mod limits {
    pub use crate::http::{CONNECT_TIMEOUT, IDLE_CONNECTIONS_MAX, IDLE_TIMEOUT};
    pub use crate::listener::{HANDSHAKE_TIMEOUT, HANDSHAKES_MAX, SERVER_MESSAGE_BYTES_MAX, SERVER_WRITE_TIMEOUT};
    pub use crate::pump::{CLOSE_TIMEOUT, INCOMING_MAX, OUTGOING_MAX, PING_INTERVAL, SILENCE_MAX};
    pub use crate::socket::CLIENT_MESSAGE_BYTES_MAX;
}
