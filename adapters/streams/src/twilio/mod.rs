//! Twilio Media Streams, bidirectional: JSON text messages, base64 mu-law at 8 kHz; and the server's side of Exotel's,
//! Plivo's and Telnyx's streams, which differ in names and codecs ([`Protocol`](crate::Protocol)).
//!
//! The wire format is the vendor's page <https://www.twilio.com/docs/voice/media-streams/websocket-messages>.
//!
//! | file | what |
//! |---|---|
//! | [`message`] | parsing messages of both directions |
//! | [`writer`] | building messages of both directions |
//! | [`session`] | the server's side of one stream, without I/O |
//! | [`Line`](crate::line::Line) | the caller's side of one stream, without I/O: what Twilio does with what it is sent |

pub mod message;
pub mod session;
pub mod writer;

mod pieces;
pub(crate) mod wire;

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
