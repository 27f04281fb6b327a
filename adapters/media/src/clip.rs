//! A whole file in memory.

use std::time::Duration;

use offhook::Result;
use offhook::audio::{Framer, Resampler};

use crate::reader::Reader;
use crate::{Options, Source};

/// Sound in memory, mono.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Clip {
    /// Samples per second.
    pub rate_hz: u32,
    /// The samples.
    pub samples: Vec<i16>,
}

/// Reads a whole file at its own rate.
///
/// `Rejected` when it is no sound file, is empty, broken, cut off or beyond the limits; `Unsupported` for a coding or a
/// rate that is not read here; `Unavailable` when the source fails. A cut is noticed in WAV, AIFF and FLAC; MP3, AAC and
/// Ogg do not say how long they should be, and play as far as they go.
pub fn decode_file(source: Source, options: &Options) -> Result<Clip> {
    let mut reader = Reader::open(source, options)?;
    let mut samples = Vec::new();
    while reader.read(&mut samples)? {}
    Ok(Clip { rate_hz: reader.rate_hz(), samples })
}

impl Clip {
    /// How long it plays.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.samples.len() as f64 / f64::from(self.rate_hz.max(1)))
    }

    /// The same sound at another rate.
    ///
    /// `ConfigInvalid` for a rate outside 4 to 192 kHz.
    pub fn to_rate(&self, rate_hz: u32) -> Result<Self> {
        let mut resampler = Resampler::new(self.rate_hz, rate_hz)?.aligned();
        let mut samples = Vec::new();
        resampler.process(&self.samples, &mut samples);
        resampler.flush(&mut samples);
        Ok(Self { rate_hz, samples })
    }

    /// The same sound as frames of 20 ms at `rate_hz`, the last one filled up with silence.
    ///
    /// `ConfigInvalid` for a rate outside 4 to 192 kHz.
    pub fn to_frames(&self, rate_hz: u32) -> Result<Vec<Vec<i16>>> {
        let clip = self.to_rate(rate_hz)?;
        let mut framer = Framer::new(rate_hz)?;
        let (mut input, mut frames) = (&clip.samples[..], Vec::new());
        while let Some(frame) = framer.next_frame(&mut input) {
            frames.push(frame.to_vec());
        }
        frames.extend(framer.flush().map(<[i16]>::to_vec));
        Ok(frames)
    }
}
