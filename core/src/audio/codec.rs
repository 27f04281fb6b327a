//! From the wire's bytes to samples and back, for every [`Codec`] a carrier may speak.

use std::time::Duration;

use super::frame::samples_per_frame;
use super::g711;
use crate::provider::telephony::{Codec, MediaFormat};

/// Bytes of one sample on the wire.
pub const fn bytes_per_sample(codec: Codec) -> usize {
    match codec {
        Codec::Alaw | Codec::Ulaw => 1,
        Codec::Pcm16Le => 2,
    }
}

/// Bytes of a frame on the wire.
pub const fn bytes_per_frame(format: MediaFormat) -> usize {
    samples_per_frame(format.rate_hz) * bytes_per_sample(format.codec)
}

/// How long `bytes` of `format` play; half a sample counts as none. Zero at a rate of zero.
pub fn duration_of(format: MediaFormat, bytes: usize) -> Duration {
    let samples = (bytes / bytes_per_sample(format.codec)) as u128;
    let Some(nanos) = (samples * 1_000_000_000).checked_div(u128::from(format.rate_hz)) else {
        return Duration::ZERO;
    };
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Appends the wire form of `samples` to `bytes`.
pub fn encode(codec: Codec, samples: &[i16], bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.resize(start + samples.len() * bytes_per_sample(codec), 0);
    encode_into(codec, samples, &mut bytes[start..]);
}

/// Writes the wire form of `samples` over `encoded`, which has room for just them.
pub(crate) fn encode_into(codec: Codec, samples: &[i16], encoded: &mut [u8]) {
    match codec {
        Codec::Alaw => g711::encode_alaw(samples, encoded),
        Codec::Pcm16Le => {
            for (pair, sample) in encoded.as_chunks_mut().0.iter_mut().zip(samples) {
                *pair = sample.to_le_bytes();
            }
        }
        Codec::Ulaw => g711::encode_ulaw(samples, encoded),
    }
}

/// Appends the samples of `bytes` to `samples`. Of two-byte samples cut in half, the odd byte at the end is lost: a
/// stream that may be cut anywhere takes a [`Decoder`].
pub fn decode(codec: Codec, bytes: &[u8], samples: &mut Vec<i16>) {
    let start = samples.len();
    samples.resize(start + bytes.len() / bytes_per_sample(codec), 0);
    let decoded = &mut samples[start..];
    match codec {
        Codec::Alaw => g711::decode_alaw(bytes, decoded),
        Codec::Pcm16Le => {
            for (sample, pair) in decoded.iter_mut().zip(bytes.as_chunks().0) {
                *sample = i16::from_le_bytes(*pair);
            }
        }
        Codec::Ulaw => g711::decode_ulaw(bytes, decoded),
    }
}

/// Decodes a stream of bytes that is cut at any place: half a sample waits for its other half.
#[derive(Clone, Debug)]
pub struct Decoder {
    codec: Codec,
    half: Option<u8>,
}

impl Decoder {
    /// At the start of a stream of `codec`.
    pub const fn new(codec: Codec) -> Self {
        Self { codec, half: None }
    }

    /// Appends the samples that `bytes` complete to `samples`.
    pub fn decode(&mut self, bytes: &[u8], samples: &mut Vec<i16>) {
        let mut bytes = bytes;
        if let (Some(low), Some((high, rest))) = (self.half, bytes.split_first()) {
            samples.push(i16::from_le_bytes([low, *high]));
            self.half = None;
            bytes = rest;
        }
        decode(self.codec, bytes, samples);
        if let (2, [last]) = (bytes_per_sample(self.codec), bytes.as_chunks::<2>().1) {
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

    const CODECS: [Codec; 3] = [Codec::Alaw, Codec::Pcm16Le, Codec::Ulaw];

    #[test]
    fn frames_have_the_sizes_of_the_wire() {
        let sizes = |codec| {
            [8_000, 16_000].map(|rate_hz| {
                let format = MediaFormat { codec, rate_hz };
                assert_eq!(duration_of(format, bytes_per_frame(format)), Duration::from_millis(20));
                bytes_per_frame(format)
            })
        };
        assert_eq!(CODECS.map(sizes), [[160, 320], [320, 640], [160, 320]]);
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
        assert_eq!(wire, [vec![1, 0xd5, 0x55], vec![1, 0, 0, 0xfe, 0xff], vec![1, 0xff, 0x7f]]);
    }

    #[test]
    fn an_odd_byte_is_lost_at_once_and_kept_in_a_stream() {
        let mut samples = Vec::new();
        decode(Codec::Pcm16Le, &[1, 2, 3], &mut samples);
        assert_eq!(samples, [0x0201]);

        let mut decoder = Decoder::new(Codec::Pcm16Le);
        samples.clear();
        decoder.decode(&[1, 2, 3], &mut samples);
        assert!(decoder.has_half());
        decoder.decode(&[], &mut samples);
        decoder.decode(&[4], &mut samples);
        assert_eq!(samples, [0x0201, 0x0403]);
        assert!(!decoder.has_half());
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
                prop_assert_eq!(decoder.has_half(), codec == Codec::Pcm16Le && bytes.len() % 2 == 1);
            }
        }

        #[test]
        fn pcm_is_lossless_and_companding_stays_within_half_a_step(samples in prop::collection::vec(any::<i16>(), 0..200)) {
            for codec in CODECS {
                let (mut bytes, mut back) = (Vec::new(), Vec::new());
                encode(codec, &samples, &mut bytes);
                decode(codec, &bytes, &mut back);
                prop_assert_eq!(back.len(), samples.len());
                for (sample, back) in samples.iter().zip(back) {
                    let error = (i32::from(*sample) - i32::from(back)).abs();
                    // A step is at most a sixteenth of its sample; near zero it is 16 wide.
                    let error_max = if codec == Codec::Pcm16Le { 0 } else { i32::from(*sample).abs() / 32 + 16 };
                    prop_assert!(error <= error_max, "{:?} {} {}", codec, sample, back);
                }
            }
        }
    }
}
