//! A recording of a call: stereo WAV, the caller left and the agent right, made frame by frame in constant memory.
//!
//! The recorder yields bytes and holds none. Where they go (a file, an object store) takes three steps: write
//! [`Recorder::header`], append what each frame yields, and in the end put [`Recorder::finish`] over the header.

use crate::error::{Error, ErrorKind, Result};

use super::resample::check_rate;
use super::simd::{Simd, dispatch, level};

/// Bytes of a WAV header for linear PCM: `RIFF`, `fmt ` and the head of `data`.
pub const HEADER_BYTES: usize = 44;

/// Most bytes of samples that a WAV file can hold, because its lengths have 32 bits: 37 hours at 8 kHz.
pub const DATA_BYTES_MAX: u32 = (u32::MAX - RIFF_OVERHEAD_BYTES) / BLOCK_BYTES * BLOCK_BYTES;

/// Turns two voices into the bytes of a stereo WAV of 16-bit PCM.
#[derive(Clone, Debug)]
pub struct Recorder {
    rate_hz: u32,
    data_bytes: u32,
}

impl Recorder {
    /// A recording at `rate_hz`.
    ///
    /// `ConfigInvalid` outside [`RATE_HZ_MIN`](super::resample::RATE_HZ_MIN) to
    /// [`RATE_HZ_MAX`](super::resample::RATE_HZ_MAX).
    pub fn new(rate_hz: u32) -> Result<Self> {
        check_rate("audio.record", rate_hz)?;
        Ok(Self { rate_hz, data_bytes: 0 })
    }

    /// The header of a recording that is still written: all bits of its lengths are set, which players of streams take
    /// for *to the end of the file*. So a recording cut off by a crash can be played.
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        header(self.rate_hz, LENGTH_UNKNOWN, LENGTH_UNKNOWN)
    }

    /// Appends a frame of both voices to `out`, left and right by turns; the shorter side is silent to its end.
    ///
    /// `Unsupported` when the recording would outgrow [`DATA_BYTES_MAX`]; then nothing is written, and what was can be
    /// finished.
    pub fn write_frame(&mut self, left: &[i16], right: &[i16], out: &mut Vec<u8>) -> Result<()> {
        let samples = left.len().max(right.len());
        self.data_bytes = self.grown_by(samples)?;
        let start = out.len();
        out.resize(start + samples * BLOCK_BYTES as usize, 0);
        let blocks = out[start..].as_chunks_mut::<{ BLOCK_BYTES as usize }>().0;
        let both = left.len().min(right.len());
        dispatch!(level(), simd => interleave(simd, &left[..both], &right[..both], &mut blocks[..both]));
        for (block, left) in blocks.iter_mut().zip(left).skip(both) {
            *block = block_of(*left, 0);
        }
        for (block, right) in blocks.iter_mut().zip(right).skip(both) {
            *block = block_of(0, *right);
        }
        Ok(())
    }

    /// Bytes of samples written so far, without the header.
    pub fn data_bytes(&self) -> u32 {
        self.data_bytes
    }

    /// The header with the lengths as they are, to be put over the first one.
    pub fn finish(self) -> [u8; HEADER_BYTES] {
        header(self.rate_hz, RIFF_OVERHEAD_BYTES + self.data_bytes, self.data_bytes)
    }

    fn grown_by(&self, samples: usize) -> Result<u32> {
        u32::try_from(samples)
            .ok()
            .and_then(|samples| samples.checked_mul(BLOCK_BYTES))
            .and_then(|bytes| bytes.checked_add(self.data_bytes))
            .filter(|bytes| *bytes <= DATA_BYTES_MAX)
            .ok_or_else(|| {
                Error::new(ErrorKind::Unsupported, "audio.record", "a WAV file holds no more than 4 GiB")
                    .with_context("data_bytes", self.data_bytes)
            })
    }
}

const CHANNELS: u16 = 2;
const BITS_PER_SAMPLE: u16 = 16;
/// Bytes of one sample of both voices.
const BLOCK_BYTES: u32 = (CHANNELS * BITS_PER_SAMPLE / 8) as u32;
/// What the length of `RIFF` counts beside the samples.
const RIFF_OVERHEAD_BYTES: u32 = HEADER_BYTES as u32 - 8;
const LENGTH_UNKNOWN: u32 = u32::MAX;
const FORMAT_BYTES: u32 = 16;
const FORMAT_PCM: u16 = 1;

#[inline(always)]
fn interleave<S: Simd>(_simd: S, left: &[i16], right: &[i16], blocks: &mut [[u8; BLOCK_BYTES as usize]]) {
    for ((block, left), right) in blocks.iter_mut().zip(left).zip(right) {
        *block = block_of(*left, *right);
    }
}

#[inline(always)]
fn block_of(left: i16, right: i16) -> [u8; BLOCK_BYTES as usize] {
    (u32::from(left as u16) | u32::from(right as u16) << 16).to_le_bytes()
}

fn header(rate_hz: u32, riff_bytes: u32, data_bytes: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let fields: [&[u8]; 13] = [
        b"RIFF",
        &riff_bytes.to_le_bytes(),
        b"WAVE",
        b"fmt ",
        &FORMAT_BYTES.to_le_bytes(),
        &FORMAT_PCM.to_le_bytes(),
        &CHANNELS.to_le_bytes(),
        &rate_hz.to_le_bytes(),
        &(rate_hz * BLOCK_BYTES).to_le_bytes(),
        &(BLOCK_BYTES as u16).to_le_bytes(),
        &BITS_PER_SAMPLE.to_le_bytes(),
        b"data",
        &data_bytes.to_le_bytes(),
    ];
    let mut at = 0;
    for field in fields {
        header[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    }
    header
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_header_is_that_of_stereo_pcm() {
        let mut recorder = Recorder::new(8_000).unwrap();
        let mut data = Vec::new();
        recorder.write_frame(&[1; 160], &[-1; 160], &mut data).unwrap();
        let header = recorder.finish();
        assert_eq!(&header[..4], b"RIFF");
        assert_eq!(u32_at(&header, 4), 36 + 640);
        assert_eq!(&header[8..16], b"WAVEfmt ");
        // 16 bytes of format: PCM (1), 2 channels, 8000 Hz, 32000 bytes a second, 4 bytes a block, 16 bits.
        assert_eq!(header[16..36], [16, 0, 0, 0, 1, 0, 2, 0, 0x40, 0x1f, 0, 0, 0, 0x7d, 0, 0, 4, 0, 16, 0]);
        assert_eq!(&header[36..40], b"data");
        assert_eq!(u32_at(&header, 40), 640);
    }

    #[test]
    fn an_unfinished_header_differs_only_in_its_lengths() {
        let mut header = Recorder::new(48_000).unwrap().header();
        assert_eq!([u32_at(&header, 4), u32_at(&header, 40)], [u32::MAX; 2]);
        header[4..8].copy_from_slice(&36_u32.to_le_bytes());
        header[40..44].fill(0);
        assert_eq!(header, Recorder::new(48_000).unwrap().finish());
    }

    #[test]
    fn voices_alternate_and_the_shorter_falls_silent() {
        let mut recorder = Recorder::new(8_000).unwrap();
        let mut data = vec![9];
        recorder.write_frame(&[1, 2, 3], &[-1], &mut data).unwrap();
        recorder.write_frame(&[], &[0x0102], &mut data).unwrap();
        recorder.write_frame(&[], &[], &mut data).unwrap();
        assert_eq!(data, [9, 1, 0, 0xff, 0xff, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 2, 1]);
        assert_eq!(recorder.data_bytes(), 16);
    }

    #[test]
    fn a_full_recording_refuses_and_can_be_finished() {
        let mut recorder = Recorder { rate_hz: 8_000, data_bytes: DATA_BYTES_MAX - 4 };
        let mut data = Vec::new();
        let error = recorder.write_frame(&[1, 2], &[], &mut data).unwrap_err();
        assert_eq!((error.kind(), data.len()), (ErrorKind::Unsupported, 0));
        recorder.write_frame(&[1], &[], &mut data).unwrap();
        assert!(recorder.write_frame(&[1], &[], &mut data).is_err());
        let header = recorder.finish();
        assert_eq!(u32_at(&header, 40), DATA_BYTES_MAX);
        assert_eq!(u32_at(&header, 4), DATA_BYTES_MAX + 36);
    }

    #[test]
    fn odd_rates_are_refused() {
        assert_eq!(Recorder::new(0).unwrap_err().kind(), ErrorKind::ConfigInvalid);
        assert_eq!(Recorder::new(u32::MAX).unwrap_err().kind(), ErrorKind::ConfigInvalid);
    }

    proptest! {
        #[test]
        fn every_sample_stands_in_its_channel(
            left in prop::collection::vec(any::<i16>(), 0..400),
            right in prop::collection::vec(any::<i16>(), 0..400),
        ) {
            let mut recorder = Recorder::new(16_000).unwrap();
            let mut data = Vec::new();
            recorder.write_frame(&left, &right, &mut data).unwrap();
            let samples = left.len().max(right.len());
            prop_assert_eq!(data.len(), samples * 4);
            for (n, block) in data.as_chunks::<4>().0.iter().enumerate() {
                let [a, b, c, d] = *block;
                prop_assert_eq!(i16::from_le_bytes([a, b]), left.get(n).copied().unwrap_or(0));
                prop_assert_eq!(i16::from_le_bytes([c, d]), right.get(n).copied().unwrap_or(0));
            }
        }
    }

    fn u32_at(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
        u32::from_le_bytes(header[at..at + 4].try_into().unwrap())
    }
}
