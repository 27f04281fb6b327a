//! Sound files for calls: prompts to play, recordings to send as a caller.
//!
//! [`decode_file`] reads a whole file into a [`Clip`]; [`Prompt`] reads it frame by frame at the rate of the call, in
//! constant memory. Both mix all channels down to one and hold to the [`Limits`] of their [`Options`].
//!
//! The formats are those of the crate `symphonia`: WAV (linear, float, A-law, mu-law, ADPCM), AIFF, FLAC, MP3, Ogg Vorbis,
//! AAC and MP4. Opus is none of them and answers `Unsupported`.
//!
//! Decoding computes and reads without a pause: keep it off the threads that keep the time of calls.

mod clip;
mod prompt;
mod reader;
mod source;

pub use clip::{Clip, decode_file};
pub use prompt::Prompt;
pub use source::Source;

use std::time::Duration;

/// How a file is read.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// The extension of the file's name, such as `mp3`, when it is known: a help where the content leaves a doubt.
    pub extension: Option<String>,
    /// What is too much.
    pub limits: Limits,
}

/// The greatest file that is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of the file. 256 MiB unless said otherwise.
    pub bytes_max: u64,
    /// Its length in time. An hour unless said otherwise.
    pub duration_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes_max: 256 << 20, duration_max: Duration::from_secs(3_600) }
    }
}
