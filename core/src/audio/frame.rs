//! The unit of time of a call: 20 ms.

use std::time::Duration;

use super::resample::check_rate;
use crate::error::Result;

/// Length of a frame.
pub const FRAME_DURATION: Duration = Duration::from_millis(20);

/// Frames in a second.
pub const FRAMES_PER_SECOND: u32 = 50;

/// Samples of one channel in a frame: 160 at 8 kHz, 960 at 48 kHz. Rounded down where a rate has no whole number of them.
pub const fn samples_per_frame(rate_hz: u32) -> usize {
    (rate_hz / FRAMES_PER_SECOND) as usize
}

/// Cuts audio of any length into whole frames and keeps what is left: always less than a frame.
///
/// ```
/// # use offhook::audio::Framer;
/// let mut framer = Framer::new(8_000)?;
/// let mut input: &[i16] = &[0; 500];
/// let mut frames = 0;
/// while let Some(frame) = framer.next_frame(&mut input) {
///     assert_eq!(frame.len(), 160);
///     frames += 1;
/// }
/// assert_eq!((frames, framer.rest().len()), (3, 20));
/// # Ok::<(), offhook::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Framer {
    frame: Vec<i16>,
    filled: usize,
}

impl Framer {
    /// For frames at `rate_hz`.
    ///
    /// `ConfigInvalid` outside [`RATE_HZ_MIN`](super::resample::RATE_HZ_MIN) to
    /// [`RATE_HZ_MAX`](super::resample::RATE_HZ_MAX).
    pub fn new(rate_hz: u32) -> Result<Self> {
        check_rate("audio.frame", rate_hz)?;
        Ok(Self { frame: vec![0; samples_per_frame(rate_hz)], filled: 0 })
    }

    /// Takes from the front of `input` what completes a frame and returns it, or takes all of `input` and returns `None`.
    ///
    /// Call it until it returns `None`: then `input` is empty and its tail is kept for the next call.
    pub fn next_frame(&mut self, input: &mut &[i16]) -> Option<&[i16]> {
        let taken = input.len().min(self.frame.len() - self.filled);
        let (head, tail) = input.split_at(taken);
        self.frame[self.filled..self.filled + taken].copy_from_slice(head);
        self.filled += taken;
        *input = tail;
        self.complete()
    }

    /// The samples that wait for the rest of their frame.
    pub fn rest(&self) -> &[i16] {
        &self.frame[..self.filled]
    }

    /// The last frame of a stream, filled up with silence; `None` when nothing waits.
    pub fn flush(&mut self) -> Option<&[i16]> {
        if self.filled == 0 {
            return None;
        }
        self.frame[self.filled..].fill(0);
        self.filled = self.frame.len();
        self.complete()
    }

    /// Forgets the samples that wait.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    fn complete(&mut self) -> Option<&[i16]> {
        if self.filled < self.frame.len() {
            return None;
        }
        self.filled = 0;
        Some(&self.frame)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_frame_is_a_fiftieth_of_a_second() {
        assert_eq!(FRAME_DURATION * FRAMES_PER_SECOND, Duration::from_secs(1));
        for (rate_hz, samples) in [(8_000, 160), (16_000, 320), (24_000, 480), (48_000, 960), (11_025, 220)] {
            assert_eq!(samples_per_frame(rate_hz), samples);
        }
    }

    #[test]
    fn flush_pads_with_silence_once() {
        let mut framer = Framer::new(8_000).unwrap();
        assert!(framer.flush().is_none());
        assert!(framer.next_frame(&mut [7; 3].as_slice()).is_none());
        let last = framer.flush().unwrap();
        assert_eq!((last.len(), &last[..4]), (160, &[7, 7, 7, 0][..]));
        assert!(framer.flush().is_none());
    }

    #[test]
    fn clear_forgets() {
        let mut framer = Framer::new(8_000).unwrap();
        framer.next_frame(&mut [7; 159].as_slice());
        framer.clear();
        let mut input = [1; 160].as_slice();
        assert_eq!(framer.next_frame(&mut input).unwrap(), [1; 160]);
    }

    #[test]
    fn rates_without_frames_are_refused() {
        for rate_hz in [0, 49, u32::MAX] {
            assert_eq!(Framer::new(rate_hz).unwrap_err().kind(), ErrorKind::ConfigInvalid);
        }
    }

    proptest! {
        #[test]
        fn no_sample_is_lost_or_moved(pushes in prop::collection::vec(0_usize..1_000, 0..20)) {
            let mut framer = Framer::new(8_000).unwrap();
            let total: usize = pushes.iter().sum();
            let source: Vec<i16> = (0..total).map(|index| index as i16).collect();
            let (mut at, mut got) = (0, Vec::new());
            for push in pushes {
                let mut input = &source[at..at + push];
                while let Some(frame) = framer.next_frame(&mut input) {
                    prop_assert_eq!(frame.len(), 160);
                    got.extend_from_slice(frame);
                }
                prop_assert!(input.is_empty() && framer.rest().len() < 160);
                at += push;
            }
            got.extend_from_slice(framer.rest());
            prop_assert_eq!(got, source);
        }
    }
}
