//! VoxCore's protocol: JSON text messages, base64 linear PCM at 8 kHz, between a dialler and a fleet's bots.
//!
//! | file | what |
//! |---|---|
//! | [`message`] | parsing messages of both directions |
//! | [`writer`] | building messages of both directions |
//! | [`wire`](fn@crate::wire::wire) | the server's side of one stream, without I/O: a [`MediaStreams`](crate::MediaStreams) runs it |
//! | [`Line`](crate::line::Line) | the dialler's side of one stream, without I/O: a [`StreamCaller`](crate::StreamCaller) runs it |

pub mod message;
pub mod writer;

mod pacer;
pub(crate) mod session;

use std::time::Duration;

use offhook::provider::telephony::{Codec, MediaFormat};

/// The one format: LINEAR16 at 8 kHz, one channel.
pub const MEDIA_FORMAT: MediaFormat = MediaFormat { codec: Codec::Pcm16Le, rate_hz: 8_000 };

/// The length of a chunk of audio to the dialler.
pub const CHUNK: Duration = Duration::from_millis(20);

/// Bytes in a [`CHUNK`].
pub const CHUNK_BYTES: usize = 320;

/// How far audio may run ahead of what the far party hears, so that clearing it has an effect.
pub const LEAD_MAX: Duration = Duration::from_millis(200);

/// Longest wait for the dialler's `hangup-call` after ours.
pub const HANG_UP_LIMIT: Duration = Duration::from_secs(2);

/// Bytes of a message in either direction at most.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
