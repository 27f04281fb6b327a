//! A file as a stream of frames.

use offhook::Result;
use offhook::audio::{Resampler, samples_per_frame};

use crate::reader::Reader;
use crate::{Options, Source};

/// Yields a file as frames of 20 ms at the rate of a call, the last one filled up with silence, in constant memory.
///
/// It holds a packet of the file and a frame at a time. After an error it ends.
pub struct Prompt {
    reader: Reader,
    resampler: Resampler,
    frame_samples: usize,
    /// A packet as it was decoded.
    decoded: Vec<i16>,
    /// Samples at the wanted rate, from `taken` on not yet yielded.
    ready: Vec<i16>,
    taken: usize,
    ended: bool,
}

impl Prompt {
    /// Opens a file to be played at `rate_hz`.
    ///
    /// Fails as [`decode_file`](crate::decode_file) does; `ConfigInvalid` for a rate outside 4 to 192 kHz.
    pub fn open(source: Source, options: &Options, rate_hz: u32) -> Result<Self> {
        let reader = Reader::open(source, options)?;
        let resampler = Resampler::new(reader.rate_hz(), rate_hz)?.aligned();
        Ok(Self {
            reader,
            resampler,
            frame_samples: samples_per_frame(rate_hz),
            decoded: Vec::new(),
            ready: Vec::new(),
            taken: 0,
            ended: false,
        })
    }

    /// Puts the next frame into `frame` in place of what it held; false at the end.
    pub fn next_frame(&mut self, frame: &mut Vec<i16>) -> Result<bool> {
        frame.clear();
        while self.ready.len() - self.taken < self.frame_samples && !self.ended {
            self.refill()?;
        }
        let rest = &self.ready[self.taken..];
        if rest.is_empty() {
            return Ok(false);
        }
        let taken = rest.len().min(self.frame_samples);
        frame.extend_from_slice(&rest[..taken]);
        frame.resize(self.frame_samples, 0);
        self.taken += taken;
        Ok(true)
    }

    fn refill(&mut self) -> Result<()> {
        self.ready.drain(..self.taken);
        self.taken = 0;
        self.decoded.clear();
        let more = self.reader.read(&mut self.decoded).inspect_err(|_| {
            self.ended = true;
            self.ready.clear();
        })?;
        self.resampler.process(&self.decoded, &mut self.ready);
        if !more {
            self.resampler.flush(&mut self.ready);
            self.ended = true;
        }
        Ok(())
    }
}

impl Iterator for Prompt {
    type Item = Result<Vec<i16>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut frame = Vec::with_capacity(self.frame_samples);
        match self.next_frame(&mut frame) {
            Ok(true) => Some(Ok(frame)),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl std::fmt::Debug for Prompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prompt").field("resampler", &self.resampler).finish_non_exhaustive()
    }
}
