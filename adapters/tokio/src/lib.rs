//! offhook on tokio: clocks and tasks, HTTP by reqwest, WebSockets by tungstenite in both roles, and objects in a folder.
//!
//! Everything here expects to be polled inside a tokio runtime with its time and I/O drivers enabled.

mod directory;
mod http;
mod key;
mod listener;
mod map;
mod pump;
mod resolve;
mod runtime;
mod socket;
mod tls;

pub use directory::Directory;
pub use http::ReqwestTransport;
pub use listener::{AcceptedSocket, SocketListener};
pub use runtime::TokioRuntime;
pub use socket::TungsteniteTransport;
pub use tls::Tls;

/// The limits that hold in this crate.
pub mod limits {
    pub use crate::directory::{HEAD_BYTES_MAX, PARTIAL_AGE_MAX, PIECE_BYTES};
    pub use crate::http::{CONNECT_TIMEOUT, IDLE_CONNECTIONS_MAX, IDLE_TIMEOUT};
    pub use crate::key::{KEY_BYTES_MAX, SEGMENT_BYTES_MAX};
    pub use crate::listener::{HANDSHAKE_TIMEOUT, HANDSHAKES_MAX, SERVER_MESSAGE_BYTES_MAX, SERVER_WRITE_TIMEOUT};
    pub use crate::pump::{CLOSE_TIMEOUT, INCOMING_MAX, OUTGOING_MAX, PING_INTERVAL, SILENCE_MAX};
    pub use crate::socket::CLIENT_MESSAGE_BYTES_MAX;
}
