//! The header of an RTP packet (RFC 3550, 5.1).

use crate::error::{Error, ErrorKind, Result};

/// A packet as it came over the network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RtpPacket<'a> {
    /// The first packet after a pause, for audio.
    pub marker: bool,
    /// What the payload is coded by, 0 to 127.
    pub payload_type: u8,
    /// One more than the packet's before, modulo 2^16.
    pub sequence: u16,
    /// When the first sample was taken, by the codec's clock, modulo 2^32.
    pub timestamp: u32,
    /// Who sends.
    pub source: u32,
    /// The coded sound.
    pub payload: &'a [u8],
}

impl<'a> RtpPacket<'a> {
    /// Reads a packet without copying it.
    ///
    /// `Unexpected` for another version and for lengths that do not add up.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        Self::read(bytes).ok_or_else(|| Error::new(ErrorKind::Unexpected, "audio.rtp", "not a packet of RTP"))
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let [flags, kind, sequence_high, sequence_low, ..] = *header;
        if flags >> 6 != VERSION {
            return None;
        }
        let rest = rest.get(usize::from(flags & SOURCES) * 4..)?;
        let rest = if flags & EXTENSION == 0 { rest } else { without_extension(rest)? };
        let payload = if flags & PADDING == 0 { rest } else { without_padding(rest)? };
        let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        Some(Self {
            marker: kind & MARKER != 0,
            payload_type: kind & !MARKER,
            sequence: u16::from_be_bytes([sequence_high, sequence_low]),
            timestamp: word(4),
            source: word(8),
            payload,
        })
    }
}

const HEADER_BYTES: usize = 12;
const VERSION: u8 = 2;
const PADDING: u8 = 0x20;
const EXTENSION: u8 = 0x10;
/// How many contributing sources follow the header.
const SOURCES: u8 = 0x0f;
const MARKER: u8 = 0x80;

fn without_extension(bytes: &[u8]) -> Option<&[u8]> {
    let ([_, _, words_high, words_low], rest) = bytes.split_first_chunk::<4>()?;
    rest.get(usize::from(u16::from_be_bytes([*words_high, *words_low])) * 4..)
}

/// The last byte says how many at the end are padding, itself included.
fn without_padding(bytes: &[u8]) -> Option<&[u8]> {
    let padding = usize::from(*bytes.last()?);
    let length = bytes.len().checked_sub(padding)?;
    (padding > 0).then(|| &bytes[..length])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_packet_is_read() {
        let bytes = [0x80, 0x88, 0x12, 0x34, 0, 0, 0, 160, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3];
        let expected = RtpPacket {
            marker: true,
            payload_type: 8,
            sequence: 0x1234,
            timestamp: 160,
            source: 0xdead_beef,
            payload: &[1, 2, 3],
        };
        assert_eq!(RtpPacket::parse(&bytes).unwrap(), expected);
    }

    #[test]
    fn sources_extension_and_padding_are_left_out() {
        let mut bytes = vec![0xb1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9];
        bytes.extend([7; 4]);
        bytes.extend([0xbe, 0xde, 0, 1, 9, 9, 9, 9]);
        bytes.extend([1, 2, 0, 0, 3]);
        assert_eq!(RtpPacket::parse(&bytes).unwrap().payload, [1, 2]);
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let packet = |flags: u8, rest: &[u8]| [&[flags][..], &[0; 11], rest].concat();
        for bytes in [
            vec![],
            vec![0x80; 11],
            packet(0x40, &[1]),
            packet(0x81, &[1, 2, 3]),
            packet(0x90, &[0, 0, 0]),
            packet(0x90, &[0, 0, 0, 2, 1, 1, 1, 1]),
            packet(0xa0, &[]),
            packet(0xa0, &[0]),
            packet(0xa0, &[1, 3]),
        ] {
            assert_eq!(RtpPacket::parse(&bytes).unwrap_err().kind(), ErrorKind::Unexpected, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(packet) = RtpPacket::parse(&bytes) {
                prop_assert!(packet.payload.len() + HEADER_BYTES <= bytes.len());
                prop_assert!(packet.payload_type < 128);
            }
        }
    }
}
