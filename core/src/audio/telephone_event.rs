//! Keys as events within RTP: the `telephone-event` payload (RFC 4733), and redundant payloads around it (RFC 2198).

use crate::error::{Error, ErrorKind, Result};
use crate::provider::telephony::DtmfDigit;

/// Bytes of a payload.
pub const PAYLOAD_BYTES: usize = 4;

/// The quietest [`TelephoneEvent::volume_dbm0`] that can be written.
pub const VOLUME_MIN_DBM0: i8 = -63;

/// One report of an event, as a packet carries it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TelephoneEvent {
    /// Which: 0 to 15 are keys, see [`TelephoneEvent::digit`].
    pub code: u8,
    /// Whether it is over.
    pub is_end: bool,
    /// How loud each tone is at 0 dBm0 and below, down to [`VOLUME_MIN_DBM0`].
    pub volume_dbm0: i8,
    /// How long it lasts so far, in units of the RTP clock; 0 for an event that is a state.
    pub duration: u16,
}

impl TelephoneEvent {
    /// Reads a payload. `Rejected` for one that is too short; what follows its four bytes is left alone.
    pub fn decode(payload: &[u8]) -> Result<Self> {
        let Some([code, flags, high, low]) = payload.first_chunk::<PAYLOAD_BYTES>() else {
            return Err(Error::new(ErrorKind::Rejected, OPERATION, "a telephone event has four bytes"));
        };
        Ok(Self {
            code: *code,
            is_end: flags & END != 0,
            volume_dbm0: -((flags & VOLUME) as i8),
            duration: u16::from_be_bytes([*high, *low]),
        })
    }

    /// The payload; volumes that cannot be written become the next that can.
    pub fn encode(self) -> [u8; PAYLOAD_BYTES] {
        let volume = self.volume_dbm0.clamp(VOLUME_MIN_DBM0, 0).unsigned_abs();
        let [high, low] = self.duration.to_be_bytes();
        [self.code, volume | if self.is_end { END } else { 0 }, high, low]
    }

    /// The key, if the event is one (RFC 4733, table 3).
    pub fn digit(self) -> Option<DtmfDigit> {
        KEYS.get(usize::from(self.code)).and_then(|key| DtmfDigit::try_from(*key).ok())
    }

    /// The code of a key.
    pub fn code_of(digit: DtmfDigit) -> u8 {
        KEYS.iter().zip(0..).find(|(key, _)| **key == digit.as_char()).map_or(0, |(_, code)| code)
    }
}

/// Finds the keys in a stream of reports, of which some are lost, late or sent again.
#[derive(Clone, Debug, Default)]
pub struct TelephoneEvents {
    /// Code, begin and duration of the latest.
    latest: Option<(u8, u32, u16)>,
}

impl TelephoneEvents {
    /// Takes a report and its packet's RTP timestamp, which is when the event began; the key at the first report of each.
    ///
    /// A key held for longer than 65,535 units is one: its next segment begins where the last one ended (RFC 4733, 2.5.1.3).
    pub fn push(&mut self, timestamp: u32, event: TelephoneEvent) -> Option<DtmfDigit> {
        if let Some((code, began, duration)) = self.latest {
            let since = timestamp.wrapping_sub(began);
            // Half of all timestamps lie ahead, and half behind: those are late.
            if since == 0 || since > u32::MAX / 2 {
                if since == 0 {
                    self.latest = Some((code, began, duration.max(event.duration)));
                }
                return None;
            }
            if code == event.code && duration >= SEGMENT_MIN && since <= u32::from(u16::MAX) {
                self.latest = Some((code, timestamp, event.duration));
                return None;
            }
        }
        self.latest = Some((event.code, timestamp, event.duration));
        event.digit()
    }
}

/// The reports of one key that is pressed, in the order of sending.
#[derive(Clone, Debug)]
pub struct TelephoneEventSender {
    code: u8,
    volume_dbm0: i8,
    /// When this segment began.
    timestamp: u32,
    /// What the segment has lasted.
    lasted: u32,
    /// What is left after it.
    left: u32,
    step: u16,
    /// Reports of the end that were made.
    ends: u8,
    is_first: bool,
}

/// What an RTP packet is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EventPacket {
    /// The same for all reports of an event, or of a segment of a long one.
    pub timestamp: u32,
    /// Set on the first report.
    pub marker: bool,
    /// What to send, with [`TelephoneEvent::encode`].
    pub event: TelephoneEvent,
}

impl TelephoneEventSender {
    /// `digit` pressed from `timestamp` for `duration`, told every `step`, all in units of the RTP clock.
    pub fn new(digit: DtmfDigit, volume_dbm0: i8, timestamp: u32, duration: u32, step: u16) -> Self {
        let code = TelephoneEvent::code_of(digit);
        Self { code, volume_dbm0, timestamp, lasted: 0, left: duration, step: step.max(1), ends: 0, is_first: true }
    }

    /// The next report, due a step after the one before; the end is told three times. `None` when all is said.
    pub fn next_packet(&mut self) -> Option<EventPacket> {
        if self.ends == ENDS {
            return None;
        }
        if self.lasted == SEGMENT && self.left > 0 {
            self.timestamp = self.timestamp.wrapping_add(SEGMENT);
            self.lasted = 0;
        }
        let grown = self.left.min(u32::from(self.step)).min(SEGMENT - self.lasted);
        self.lasted += grown;
        self.left -= grown;
        let is_end = self.left == 0;
        self.ends += u8::from(is_end);
        let duration = u16::try_from(self.lasted).unwrap_or(u16::MAX);
        let event = TelephoneEvent { code: self.code, is_end, volume_dbm0: self.volume_dbm0, duration };
        let marker = std::mem::take(&mut self.is_first);
        Some(EventPacket { timestamp: self.timestamp, marker, event })
    }
}

/// A block of a redundant payload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RedundantBlock<'a> {
    /// Its RTP payload type.
    pub payload_type: u8,
    /// How much earlier it was than the packet, in units of the RTP clock; below 2^14.
    pub offset: u16,
    /// Below 1024 bytes unless it is the last.
    pub payload: &'a [u8],
}

/// The blocks of a redundant payload (RFC 2198), the oldest first. `Rejected` if they do not fit into it.
pub fn redundant_blocks(payload: &[u8]) -> Result<impl Iterator<Item = RedundantBlock<'_>>> {
    let mut headers = payload;
    let mut blocks = [None; BLOCKS_MAX];
    let mut length = 0;
    let mut count = 0;
    let last = loop {
        match *headers {
            [first, ..] if first & FOLLOWS == 0 => break first,
            [first, high, middle, low, ref rest @ ..] if count < BLOCKS_MAX => {
                let block = usize::from(middle & 3) << 8 | usize::from(low);
                blocks[count] = Some((first & !FOLLOWS, u16::from(high) << 6 | u16::from(middle) >> 2, block));
                length += block;
                count += 1;
                headers = rest;
            }
            _ => return Err(Error::new(ErrorKind::Rejected, OPERATION, "a redundant payload is cut off or too long")),
        }
    };
    let mut data = &headers[1..];
    if length > data.len() {
        return Err(Error::new(ErrorKind::Rejected, OPERATION, "a redundant payload is shorter than its blocks"));
    }
    let primary = RedundantBlock { payload_type: last, offset: 0, payload: &data[length..] };
    let earlier = blocks.into_iter().flatten().map(move |(payload_type, offset, length)| {
        let (payload, rest) = data.split_at(length);
        data = rest;
        RedundantBlock { payload_type, offset, payload }
    });
    Ok(earlier.chain([primary]))
}

/// Appends a redundant payload of `blocks`, the oldest first. `ConfigInvalid` for none, more than 16, a payload type or an
/// offset out of range or a block that is too long; then nothing is appended.
pub fn encode_redundant(blocks: &[RedundantBlock<'_>], payload: &mut Vec<u8>) -> Result<()> {
    let fits = |block: &RedundantBlock<'_>| {
        block.payload_type < FOLLOWS && block.offset < 1 << 14 && block.payload.len() < 1 << 10
    };
    let Some((last, earlier)) = blocks.split_last().filter(|(last, earlier)| {
        earlier.len() <= BLOCKS_MAX && earlier.iter().all(fits) && last.payload_type < FOLLOWS && last.offset == 0
    }) else {
        return Err(Error::new(ErrorKind::ConfigInvalid, OPERATION, "these blocks cannot be one redundant payload"));
    };
    for RedundantBlock { payload_type, offset, payload: bytes } in earlier {
        let length = bytes.len() as u16;
        let [high, low] = length.to_be_bytes();
        payload.extend([payload_type | FOLLOWS, (offset >> 6) as u8, (offset << 2) as u8 | high, low]);
    }
    payload.push(last.payload_type);
    for block in blocks {
        payload.extend_from_slice(block.payload);
    }
    Ok(())
}

const OPERATION: &str = "audio.telephone_event";
const KEYS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];
const END: u8 = 0x80;
const VOLUME: u8 = 0x3f;
/// The end is told three times, for packets get lost (RFC 4733, 2.5.1.4).
const ENDS: u8 = 3;
/// The longest segment.
const SEGMENT: u32 = 0xffff;
/// An event of such a length may go on in a further segment: the report of its full length may be lost, and senders differ
/// in how many reports they make a second.
const SEGMENT_MIN: u16 = 0xf000;
/// More than a packet's worth of reports.
const BLOCKS_MAX: usize = 15;
/// Another header follows this one.
const FOLLOWS: u8 = 0x80;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_payload_is_as_rfc_4733_draws_it() {
        let event = TelephoneEvent { code: 11, is_end: true, volume_dbm0: -10, duration: 0x0320 };
        assert_eq!(event.encode(), [11, 0x8a, 0x03, 0x20]);
        assert_eq!(event.digit().map(DtmfDigit::as_char), Some('#'));
        assert_eq!(TelephoneEvent { volume_dbm0: 5, ..event }.encode()[1], 0x80);
        assert_eq!(TelephoneEvent { volume_dbm0: i8::MIN, ..event }.encode()[1], 0xbf);
        // A receiver ignores the reserved bit.
        assert_eq!(TelephoneEvent::decode(&[16, 0x40, 0, 1, 9]).unwrap().volume_dbm0, 0);
        assert_eq!(TelephoneEvent::decode(&[16, 0, 0, 1]).unwrap().digit(), None);
        assert_eq!(TelephoneEvent::decode(&[1, 2, 3]).unwrap_err().kind(), ErrorKind::Rejected);
    }

    #[test]
    fn a_press_is_told_as_it_grows_and_its_end_three_times() {
        let packets = packets(TelephoneEventSender::new(digit('5'), -8, 1_000, 400, 160));
        let told: Vec<_> = packets.iter().map(|packet| (packet.event.duration, packet.event.is_end)).collect();
        assert_eq!(told, [(160, false), (320, false), (400, true), (400, true), (400, true)]);
        let marked: Vec<_> = packets.iter().map(|packet| packet.marker).collect();
        assert_eq!(marked, [true, false, false, false, false]);
        assert!(packets.iter().all(|packet| packet.timestamp == 1_000 && packet.event.code == 5));
        assert_eq!(self::packets(TelephoneEventSender::new(digit('5'), -8, 0, 0, 0)).len(), 3);
    }

    #[test]
    fn a_press_of_more_than_16_bits_goes_on_in_another_segment() {
        let start = u32::MAX - 10;
        let packets = packets(TelephoneEventSender::new(digit('D'), -8, start, 100_000, 160));
        let last = packets.last().unwrap();
        assert_eq!((last.timestamp, last.event.duration), (start.wrapping_add(0xffff), (100_000 - 0xffff) as u16));
        assert_eq!(heard(&packets), "D");
        // Ends are told of the last segment only.
        assert_eq!(packets.iter().filter(|packet| packet.event.is_end).count(), 3);
    }

    #[test]
    fn keys_that_follow_each_other_are_two() {
        let one = packets(TelephoneEventSender::new(digit('7'), -8, 0, 800, 160));
        let two = packets(TelephoneEventSender::new(digit('7'), -8, 1_600, 800, 160));
        assert_eq!(heard(&[one, two].concat()), "77");
    }

    #[test]
    fn redundant_blocks_that_do_not_fit_are_refused() {
        for payload in [&[][..], &[0x80], &[0x80, 0, 0], &[0x80, 0, 0, 4, 0, 1, 2, 3], &[0x80; 200]] {
            assert_eq!(
                redundant_blocks(payload).err().map(|error| error.kind()),
                Some(ErrorKind::Rejected),
                "{payload:?}"
            );
        }
        let block = RedundantBlock { payload_type: 101, offset: 0, payload: &[0; 1_024] };
        let bad: [&[RedundantBlock<'_>]; 4] = [
            &[],
            &[RedundantBlock { payload_type: 128, ..block }],
            &[RedundantBlock { offset: 1, ..block }],
            &[block, block],
        ];
        for blocks in bad {
            let mut payload = Vec::new();
            assert_eq!(encode_redundant(blocks, &mut payload).unwrap_err().kind(), ErrorKind::ConfigInvalid);
            assert!(payload.is_empty());
        }
    }

    proptest! {
        #[test]
        fn payloads_are_read_as_they_were_written(code: u8, is_end: bool, volume in 0_i8..64, duration: u16) {
            let event = TelephoneEvent { code, is_end, volume_dbm0: -volume, duration };
            prop_assert_eq!(TelephoneEvent::decode(&event.encode()).unwrap(), event);
        }

        /// As long as one report of each press arrives, and whatever else is lost, doubled or late.
        #[test]
        fn each_press_is_one_key_over_a_bad_line(
            presses in prop::collection::vec((0_u8..16, 100_u32..3_000), 1..10),
            start: u32,
            kept in prop::collection::vec(0_usize..5, 10..80),
        ) {
            let (mut timestamp, mut sent, mut keys) = (start, Vec::new(), String::new());
            for (index, (code, duration)) in presses.iter().enumerate() {
                let key = KEYS[usize::from(*code)];
                keys.push(key);
                let all = packets(TelephoneEventSender::new(digit(key), -8, timestamp, *duration, 160));
                let before = sent.last().copied();
                let mut some: Vec<_> = all.iter().zip(kept.iter().cycle().skip(index)).flat_map(|(packet, count)| vec![*packet; count % 3]).collect();
                some.push(*all.last().unwrap());
                sent.extend(some);
                // One of the last press comes late.
                sent.extend(before);
                timestamp = timestamp.wrapping_add(duration + 800);
            }
            prop_assert_eq!(heard(&sent), keys);
        }

        #[test]
        fn redundant_payloads_are_read_as_they_were_written(
            earlier in prop::collection::vec((0_u8..128, 0_u16..1 << 14, prop::collection::vec(any::<u8>(), 0..50)), 0..15),
            primary in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let mut blocks: Vec<_> = earlier
                .iter()
                .map(|(payload_type, offset, payload)| RedundantBlock { payload_type: *payload_type, offset: *offset, payload })
                .collect();
            blocks.push(RedundantBlock { payload_type: 0, offset: 0, payload: &primary });
            let mut payload = Vec::new();
            encode_redundant(&blocks, &mut payload).unwrap();
            prop_assert_eq!(redundant_blocks(&payload).unwrap().collect::<Vec<_>>(), blocks);
        }

        #[test]
        fn any_payload_is_read_or_refused(payload in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(blocks) = redundant_blocks(&payload) {
                prop_assert!(blocks.map(|block| block.payload.len()).sum::<usize>() < payload.len());
            }
        }
    }

    fn digit(key: char) -> DtmfDigit {
        DtmfDigit::try_from(key).unwrap()
    }

    fn packets(mut sender: TelephoneEventSender) -> Vec<EventPacket> {
        std::iter::from_fn(|| sender.next_packet()).collect()
    }

    fn heard(packets: &[EventPacket]) -> String {
        let mut events = TelephoneEvents::default();
        let keys = packets.iter().filter_map(|packet| events.push(packet.timestamp, packet.event));
        keys.map(DtmfDigit::as_char).collect()
    }
}
