//! Twilio Media Streams, bidirectional: JSON text messages, base64 mu-law at 8 kHz.
//!
//! The wire format is the vendor's page <https://www.twilio.com/docs/voice/media-streams/websocket-messages>.
//!
//! | file | what |
//! |---|---|
//! | [`message`] | parsing messages of both directions |
//! | [`writer`] | building messages of both directions |
//! | [`session`] | the server's side of one stream, without I/O |
//! | [`line`](mod@line) | the caller's side of one stream, without I/O: what Twilio does with what it is sent |
//! | [`TwilioStreams`] | the server's side as a [`Telephony`](offhook::provider::Telephony) |
//! | [`TwilioCaller`] | the caller's side as a [`Telephony`](offhook::provider::Telephony) |
//!
//! Who may connect is decided before a [`Socket`](offhook::provider::transport::Socket) reaches this module.

pub mod line;
pub mod message;
pub mod session;
pub mod writer;

mod caller;
mod end;
mod play_buffer;
mod server;

pub use caller::TwilioCaller;
pub use end::EndReason;
pub use server::TwilioStreams;

use std::time::Duration;

use offhook::provider::telephony::{Codec, MediaFormat};

/// The one format of Twilio Media Streams: mu-law at 8 kHz, one channel.
pub const MEDIA_FORMAT: MediaFormat = MediaFormat { codec: Codec::Ulaw, rate_hz: 8_000 };

/// The length of a frame of media.
pub const FRAME: Duration = Duration::from_millis(20);

/// Bytes in a [`FRAME`].
pub const FRAME_BYTES: usize = 160;

/// The mu-law code of a silent sample (ITU-T G.711: positive zero).
pub const SILENCE: u8 = 0xff;

/// Bytes of a message from the carrier at most; Twilio's own are below 1 KiB, a `start` with parameters below 16 KiB.
pub const CARRIER_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a message to the carrier at most: about 98 s of audio.
pub const APP_MESSAGE_BYTES_MAX: usize = 1024 * 1024;

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
