//! From the wire's bytes to samples and back, for every [`Codec`] a carrier may speak.

use std::time::Duration;

use super::frame::samples_per_frame;
use super::{g711, g722};
use crate::error::Result;
use crate::provider::telephony::{Codec, MediaFormat};

/// Bytes of so many samples on the wire; those of half a byte are not counted.
pub const fn bytes_of(codec: Codec, samples: usize) -> usize {
    match codec {
        Codec::Alaw | Codec::Ulaw => samples,
        Codec::G722 => samples / g722::SAMPLES_PER_BYTE,
        Codec::Pcm16Be | Codec::Pcm16Le => samples * 2,
    }
}

/// Samples of so many bytes on the wire; half a sample counts as none.
pub const fn samples_of(codec: Codec, bytes: usize) -> usize {
    match codec {
        Codec::Alaw | Codec::Ulaw => bytes,
        Codec::G722 => bytes * g722::SAMPLES_PER_BYTE,
        Codec::Pcm16Be | Codec::Pcm16Le => bytes / 2,
    }
}

/// Bytes of a frame on the wire.
pub const fn bytes_per_frame(format: MediaFormat) -> usize {
    bytes_of(format.codec, samples_per_frame(format.rate_hz))
}

/// How long `bytes` of `format` play; half a sample counts as none. Zero at a rate of zero.
pub fn duration_of(format: MediaFormat, bytes: usize) -> Duration {
    let samples = samples_of(format.codec, bytes) as u128;
    let Some(nanos) = (samples * 1_000_000_000).checked_div(u128::from(format.rate_hz)) else {
        return Duration::ZERO;
    };
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Writes sound as a codec's bytes; also what an adapter implements for a codec that is not built in.
pub trait Encode: Send {
    /// Appends the wire form of what `samples` complete to `bytes`.
    ///
    /// `ConfigInvalid` for a length that the codec has no packet for.
    fn encode(&mut self, samples: &[i16], bytes: &mut Vec<u8>) -> Result<()>;
}

/// Reads a codec's bytes; also what an adapter implements for a codec that is not built in.
pub trait Decode: Send {
    /// Appends the samples that `bytes` complete to `samples`.
    ///
    /// `Unexpected` for bytes that are none of the codec's; what follows them can be decoded.
    fn decode(&mut self, bytes: &[u8], samples: &mut Vec<i16>) -> Result<()>;

    /// Appends `length` samples in place of a packet that was lost.
    fn conceal(&mut self, length: usize, samples: &mut Vec<i16>) -> Result<()>;
}

/// Appends the wire form of `samples`, a sound of its own, to `bytes`. A stream takes an [`Encoder`].
pub fn encode(codec: Codec, samples: &[i16], bytes: &mut Vec<u8>) {
    Encoder::new(codec).encode(samples, bytes);
}

/// Appends the samples of `bytes`, a sound of its own, to `samples`. Of two-byte samples cut in half, the odd byte at the
/// end is lost: a stream that may be cut anywhere takes a [`Decoder`].
pub fn decode(codec: Codec, bytes: &[u8], samples: &mut Vec<i16>) {
    Decoder::new(codec).decode(bytes, samples);
}

/// Encodes a stream of samples that is cut at any place.
#[derive(Clone, Debug)]
pub struct Encoder {
    codec: Codec,
    g722: g722::Encoder,
}

impl Encoder {
    /// At the start of a stream of `codec`.
    pub const fn new(codec: Codec) -> Self {
        Self { codec, g722: g722::Encoder::new() }
    }

    /// Appends the bytes that `samples` complete to `bytes`.
    pub fn encode(&mut self, samples: &[i16], bytes: &mut Vec<u8>) {
        if self.codec == Codec::G722 {
            self.g722.encode(samples, bytes);
            return;
        }
        let start = bytes.len();
        bytes.resize(start + bytes_of(self.codec, samples.len()), 0);
        let encoded = &mut bytes[start..];
        match self.codec {
            Codec::Alaw => g711::encode_alaw(samples, encoded),
            Codec::G722 => (),
            Codec::Pcm16Be => {
                for (pair, sample) in encoded.as_chunks_mut().0.iter_mut().zip(samples) {
                    *pair = sample.to_be_bytes();
                }
            }
            Codec::Pcm16Le => {
                for (pair, sample) in encoded.as_chunks_mut().0.iter_mut().zip(samples) {
                    *pair = sample.to_le_bytes();
                }
            }
            Codec::Ulaw => g711::encode_ulaw(samples, encoded),
        }
    }
}

impl Encode for Encoder {
    fn encode(&mut self, samples: &[i16], bytes: &mut Vec<u8>) -> Result<()> {
        self.encode(samples, bytes);
        Ok(())
    }
}

/// Decodes a stream of bytes that is cut at any place: half a sample waits for its other half.
#[derive(Clone, Debug)]
pub struct Decoder {
    codec: Codec,
    half: Option<u8>,
    g722: g722::Decoder,
}

impl Decoder {
    /// At the start of a stream of `codec`.
    pub const fn new(codec: Codec) -> Self {
        Self { codec, half: None, g722: g722::Decoder::new() }
    }

    /// Appends the samples that `bytes` complete to `samples`.
    pub fn decode(&mut self, bytes: &[u8], samples: &mut Vec<i16>) {
        if self.codec == Codec::G722 {
            self.g722.decode(bytes, samples);
            return;
        }
        let mut bytes = bytes;
        if let (Some(first), Some((second, rest))) = (self.half, bytes.split_first()) {
            let pair = [first, *second];
            let is_big = self.codec == Codec::Pcm16Be;
            samples.push(if is_big { i16::from_be_bytes(pair) } else { i16::from_le_bytes(pair) });
            self.half = None;
            bytes = rest;
        }
        let start = samples.len();
        samples.resize(start + samples_of(self.codec, bytes.len()), 0);
        let decoded = &mut samples[start..];
        let (pairs, rest) = bytes.as_chunks();
        match self.codec {
            Codec::Alaw => g711::decode_alaw(bytes, decoded),
            Codec::G722 => (),
            Codec::Pcm16Be => {
                for (sample, pair) in decoded.iter_mut().zip(pairs) {
                    *sample = i16::from_be_bytes(*pair);
                }
            }
            Codec::Pcm16Le => {
                for (sample, pair) in decoded.iter_mut().zip(pairs) {
                    *sample = i16::from_le_bytes(*pair);
                }
            }
            Codec::Ulaw => g711::decode_ulaw(bytes, decoded),
        }
        if let (Codec::Pcm16Be | Codec::Pcm16Le, [last]) = (self.codec, rest) {
            self.half = Some(*last);
        }
    }

    /// Whether half a sample waits; at the end of a stream it means that the stream was cut.
    pub const fn has_half(&self) -> bool {
        self.half.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CODECS: [Codec; 5] = [Codec::Alaw, Codec::G722, Codec::Pcm16Be, Codec::Pcm16Le, Codec::Ulaw];
    const PCM: [Codec; 2] = [Codec::Pcm16Be, Codec::Pcm16Le];

    #[test]
    fn frames_have_the_sizes_of_the_wire() {
        let sizes = |codec| {
            [8_000, 16_000].map(|rate_hz| {
                let format = MediaFormat { codec, rate_hz };
                assert_eq!(duration_of(format, bytes_per_frame(format)), Duration::from_millis(20));
                bytes_per_frame(format)
            })
        };
        assert_eq!(CODECS.map(sizes), [[160, 320], [80, 160], [320, 640], [320, 640], [160, 320]]);
    }

    #[test]
    fn durations_never_overflow_or_divide_by_zero() {
        let format = |rate_hz| MediaFormat { codec: Codec::Pcm16Le, rate_hz };
        assert_eq!(duration_of(format(0), 320), Duration::ZERO);
        assert_eq!(duration_of(format(8_000), 321), Duration::from_millis(20));
        assert!(duration_of(format(1), usize::MAX) > Duration::from_secs(1 << 33));
    }

    #[test]
    fn each_codec_writes_its_own_bytes_behind_what_is_there() {
        let wire = CODECS.map(|codec| {
            let mut bytes = vec![1];
            encode(codec, &[0, -2], &mut bytes);
            bytes
        });
        assert_eq!(
            wire,
            [
                vec![1, 0xd5, 0x55],
                vec![1, 0x5e],
                vec![1, 0, 0, 0xff, 0xfe],
                vec![1, 0, 0, 0xfe, 0xff],
                vec![1, 0xff, 0x7f],
            ]
        );
    }

    #[test]
    fn an_odd_byte_is_lost_at_once_and_kept_in_a_stream() {
        for (codec, expected) in [(Codec::Pcm16Be, [0x0102, 0x0304]), (Codec::Pcm16Le, [0x0201, 0x0403])] {
            let mut samples = Vec::new();
            decode(codec, &[1, 2, 3], &mut samples);
            assert_eq!(samples, expected[..1]);

            let mut decoder = Decoder::new(codec);
            samples.clear();
            decoder.decode(&[1, 2, 3], &mut samples);
            assert!(decoder.has_half());
            decoder.decode(&[], &mut samples);
            decoder.decode(&[4], &mut samples);
            assert_eq!(samples, expected);
            assert!(!decoder.has_half());
        }
    }

    proptest! {
        #[test]
        fn cuts_do_not_change_what_is_heard(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            cuts in prop::collection::vec(0_usize..=200, 0..10),
        ) {
            for codec in CODECS {
                let mut whole = Vec::new();
                decode(codec, &bytes, &mut whole);

                let mut cuts: Vec<_> = cuts.iter().map(|cut| (*cut).min(bytes.len())).collect();
                cuts.extend([0, bytes.len()]);
                cuts.sort_unstable();
                let (mut decoder, mut pieces) = (Decoder::new(codec), Vec::new());
                for ends in cuts.windows(2) {
                    decoder.decode(&bytes[ends[0]..ends[1]], &mut pieces);
                }
                prop_assert_eq!(&pieces, &whole);
                prop_assert_eq!(decoder.has_half(), PCM.contains(&codec) && bytes.len() % 2 == 1);
            }
        }

        #[test]
        fn pcm_is_lossless_and_companding_stays_within_half_a_step(samples in prop::collection::vec(any::<i16>(), 0..200)) {
            for codec in CODECS.into_iter().filter(|codec| *codec != Codec::G722) {
                let (mut bytes, mut back) = (Vec::new(), Vec::new());
                encode(codec, &samples, &mut bytes);
                decode(codec, &bytes, &mut back);
                prop_assert_eq!(back.len(), samples.len());
                for (sample, back) in samples.iter().zip(back) {
                    let error = (i32::from(*sample) - i32::from(back)).abs();
                    // A step is at most a sixteenth of its sample; near zero it is 16 wide.
                    let error_max = if PCM.contains(&codec) { 0 } else { i32::from(*sample).abs() / 32 + 16 };
                    prop_assert!(error <= error_max, "{:?} {} {}", codec, sample, back);
                }
            }
        }
    }
}
