//! Carriers' media-stream WebSockets, over core's [`Socket`](offhook::provider::transport::Socket): no runtime and no
//! network code of its own.
//!
//! | module | what |
//! |---|---|
//! | [`MediaStreams`] | the server that carriers connect to, as a [`Telephony`](offhook::provider::Telephony): any [`Protocol`], told by its first messages |
//! | [`StreamCaller`] | a caller that dials such a server, by Twilio's or VoxCore's protocol, and behaves towards it as a carrier does |
//! | [`twilio`] | both ends of Twilio Media Streams, and the server's of those who speak alike |
//! | [`voxcore`] | both ends of VoxCore's protocol |
//!
//! Who may connect is decided before a socket reaches this crate.

pub mod line;
pub mod protocol;
pub mod twilio;
pub mod voxcore;
pub mod wire;

mod caller;
mod end;
mod legs;
mod play_buffer;
mod server;
mod stream;
mod tongue;

use std::time::Duration;

pub use caller::StreamCaller;
pub use end::EndReason;
pub use protocol::Protocol;
pub use server::{Accepted, MediaStreams};

/// A caller's longest wait for its socket, when the ring time-out is not shorter.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Longest wait for a new socket's `connected` and `start`.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Sockets waiting for their `start` at once, at most.
pub const HANDSHAKES_MAX: usize = 1_024;

/// Longest wait of an announced leg for its media to be opened; then it is hung up.
pub const OPEN_LIMIT: Duration = Duration::from_secs(60);

/// Longest time for which the peer may leave what it is sent unread.
pub const STALL_LIMIT: Duration = Duration::from_secs(5);

/// Longest wait for the peer's last words once it no longer reads.
pub const CLOSE_LIMIT: Duration = Duration::from_secs(1);
