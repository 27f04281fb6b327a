//! Packets of sound from a network that delays, reorders, repeats and loses them, put in order and in time.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// Packets that are kept at most: 1.28 s of 20 ms.
pub const PACKETS_MAX: usize = 64;

/// Bytes of a packet's payload at most: what fits an Ethernet frame.
pub const PAYLOAD_BYTES_MAX: usize = 1_500;

/// What a [`JitterBuffer`] goes by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct JitterSettings {
    /// The clock of the timestamps: 8,000 for G.711 and, by RFC 3551, for G.722.
    pub clock_hz: u32,
    /// What one packet plays.
    pub packet: Duration,
    /// Packets that are waited for at least before playing, 1 or more.
    pub depth_min: usize,
    /// Packets that are waited for at most, half of [`PACKETS_MAX`] or less.
    pub depth_max: usize,
}

impl Default for JitterSettings {
    fn default() -> Self {
        Self { clock_hz: 8_000, packet: Duration::from_millis(20), depth_min: 2, depth_max: 15 }
    }
}

/// What became of a packet that arrived.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arrival {
    /// It is kept for its turn.
    Accepted,
    /// It is there already, or was played.
    Duplicate,
    /// Its turn is over.
    Late,
    /// It is longer than [`PAYLOAD_BYTES_MAX`].
    TooLong,
}

/// What is to be heard next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next<'a> {
    /// A packet is missing: its sound must be made up.
    Lost,
    /// Nothing is there to be played: the buffer fills up, or the sender is silent.
    Nothing,
    /// A packet's payload.
    Packet(&'a [u8]),
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct JitterCounts {
    /// Turns that were made up to wait longer from then on.
    pub added: u64,
    /// Packets that were there already.
    pub duplicate: u64,
    /// Packets whose turn was over.
    pub late: u64,
    /// Packets made up for ones that never came in time.
    pub lost: u64,
    /// Packets played.
    pub played: u64,
    /// Packets left out to catch up, after the network got quicker.
    pub skipped: u64,
}

/// Puts packets in order, by as short a wait as their jitter allows.
///
/// The first wait, and that after a pause, follows the jitter of RFC 3550. It grows by a packet when one is late, and
/// shrinks, by leaving one out, when packets have waited longer than they need to for a whole second.
#[derive(Debug)]
pub struct JitterBuffer {
    settings: JitterSettings,
    slots: Vec<Slot>,
    /// Which packet is next, and the newest there was; unwrapped. `None` before the first.
    position: Option<Position>,
    is_playing: bool,
    /// Turns without any packet behind them.
    starved: usize,
    late_in_a_row: usize,
    transit: Option<i64>,
    /// In units of the clock.
    jitter: f64,
    /// What late packets added to the wait, forgotten over time.
    margin: f64,
    /// Whether a turn is to be added to the wait.
    is_owed: bool,
    /// The least that waited, and in how many turns.
    least: (usize, usize),
    counts: JitterCounts,
}

#[derive(Clone, Copy, Debug)]
struct Position {
    next: i64,
    newest: i64,
}

#[derive(Debug)]
struct Slot {
    sequence: i64,
    is_full: bool,
    payload: Vec<u8>,
}

impl JitterBuffer {
    /// With all the memory that it will ever need.
    ///
    /// `ConfigInvalid` for settings out of their bounds.
    pub fn new(settings: JitterSettings) -> Result<Self> {
        let JitterSettings { clock_hz, packet, depth_min, depth_max } = settings;
        if clock_hz == 0 || packet.is_zero() || depth_min == 0 || depth_max < depth_min || depth_max > PACKETS_MAX / 2 {
            return Err(Error::new(ErrorKind::ConfigInvalid, "audio.jitter", "a jitter buffer waits 1 to 32 packets"));
        }
        let slot = || Slot { sequence: 0, is_full: false, payload: Vec::with_capacity(PAYLOAD_BYTES_MAX) };
        Ok(Self {
            settings,
            slots: std::iter::repeat_with(slot).take(PACKETS_MAX).collect(),
            position: None,
            is_playing: false,
            starved: 0,
            late_in_a_row: 0,
            transit: None,
            jitter: 0.0,
            margin: 0.0,
            is_owed: false,
            least: (usize::MAX, 0),
            counts: JitterCounts::default(),
        })
    }

    /// Takes a packet that arrived at `at`, by any clock that does not go back.
    pub fn push(&mut self, at: Duration, sequence: u16, timestamp: u32, payload: &[u8]) -> Arrival {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Arrival::TooLong;
        }
        let mut position = self.position.unwrap_or(Position { next: sequence.into(), newest: sequence.into() });
        let mut unwrapped = unwrap(position.newest, sequence);
        if unwrapped >= position.next + PACKETS_MAX as i64 {
            // A sender that starts anew, or a network that was gone for a second.
            self.restart();
            position = Position { next: unwrapped, newest: unwrapped };
        } else if unwrapped < position.next {
            if self.is_playing || position.newest - unwrapped >= PACKETS_MAX as i64 {
                if self.slot(unwrapped).sequence == unwrapped && self.counts.played > 0 {
                    self.counts.duplicate += 1;
                    return Arrival::Duplicate;
                }
                self.counts.late += 1;
                self.late_in_a_row += 1;
                if self.late_in_a_row < LATE_MAX {
                    self.margin = (self.margin + 1.0).min(self.settings.depth_max as f64);
                    self.is_owed = true;
                    return Arrival::Late;
                }
                self.restart();
                unwrapped = i64::from(sequence);
                position = Position { next: unwrapped, newest: unwrapped };
            } else {
                // Nothing was played yet: the first packet was not the first one sent.
                position.next = unwrapped;
            }
        }
        self.late_in_a_row = 0;
        position.newest = position.newest.max(unwrapped);
        self.position = Some(position);
        let slot = &mut self.slots[index(unwrapped)];
        if slot.is_full && slot.sequence == unwrapped {
            self.counts.duplicate += 1;
            return Arrival::Duplicate;
        }
        slot.sequence = unwrapped;
        slot.is_full = true;
        slot.payload.clear();
        slot.payload.extend_from_slice(payload);
        self.measure(at, timestamp);
        Arrival::Accepted
    }

    /// What is to be heard now. Call it once for every [`JitterSettings::packet`] of time.
    pub fn pop(&mut self) -> Next<'_> {
        let Some(Position { mut next, newest }) = self.position else { return Next::Nothing };
        let waiting = usize::try_from(newest + 1 - next).unwrap_or(0);
        if !self.is_playing {
            if waiting < self.depth() {
                return Next::Nothing;
            }
            self.is_playing = true;
            self.least = (usize::MAX, 0);
        }
        if waiting == 0 {
            return self.starve();
        }
        self.starved = 0;
        self.margin *= MARGIN_KEPT;
        if std::mem::take(&mut self.is_owed) && waiting < self.settings.depth_max {
            self.counts.added += 1;
            return Next::Lost;
        }
        if self.has_too_much(waiting) && self.slot(next).is_full {
            self.slots[index(next)].is_full = false;
            self.counts.skipped += 1;
            next += 1;
        }
        self.position = Some(Position { next: next + 1, newest });
        let slot = &mut self.slots[index(next)];
        if !(slot.is_full && slot.sequence == next) {
            self.counts.lost += 1;
            return Next::Lost;
        }
        slot.is_full = false;
        self.counts.played += 1;
        Next::Packet(&slot.payload)
    }

    /// Packets that are waited for now before playing.
    pub fn depth(&self) -> usize {
        let packet = self.settings.packet.as_secs_f64() * f64::from(self.settings.clock_hz);
        let wanted = (JITTERS * self.jitter / packet + self.margin).ceil();
        (1 + wanted as usize).clamp(self.settings.depth_min, self.settings.depth_max)
    }

    /// The jitter of RFC 3550, 6.4.1: a mean deviation of arrival from the timestamps.
    pub fn jitter(&self) -> Duration {
        Duration::try_from_secs_f64(self.jitter / f64::from(self.settings.clock_hz)).unwrap_or(Duration::MAX)
    }

    /// What happened so far.
    pub fn counts(&self) -> JitterCounts {
        self.counts
    }

    /// A sender that pauses is waited for; one that is merely late is covered up.
    fn starve(&mut self) -> Next<'_> {
        self.starved += 1;
        if self.starved > STARVED_MAX {
            self.is_playing = false;
            return Next::Nothing;
        }
        self.counts.lost += 1;
        Next::Lost
    }

    /// Whether more waited through all of the last second than is needed.
    fn has_too_much(&mut self, waiting: usize) -> bool {
        let (least, turns) = self.least;
        self.least = (least.min(waiting), turns + 1);
        if turns + 1 < CALM_TURNS {
            return false;
        }
        let has_too_much = self.least.0 > self.settings.depth_min + self.margin.round() as usize;
        self.least = (usize::MAX, 0);
        has_too_much
    }

    fn measure(&mut self, at: Duration, timestamp: u32) {
        let clock_hz = u128::from(self.settings.clock_hz);
        let arrived = (at.as_micros() * clock_hz / 1_000_000) as u32;
        // Both clocks wrap, and so does their difference.
        let transit = i64::from(arrived.wrapping_sub(timestamp) as i32);
        if let Some(before) = self.transit.replace(transit) {
            let moved = ((transit - before) as i32).unsigned_abs().min(self.settings.clock_hz);
            self.jitter += (f64::from(moved) - self.jitter) / 16.0;
        }
    }

    fn restart(&mut self) {
        for slot in &mut self.slots {
            slot.is_full = false;
            slot.sequence = i64::MIN;
        }
        (self.position, self.transit) = (None, None);
        self.is_playing = false;
        (self.starved, self.late_in_a_row, self.is_owed) = (0, 0, false);
        (self.jitter, self.margin) = (0.0, 0.0);
    }

    fn slot(&self, sequence: i64) -> &Slot {
        &self.slots[index(sequence)]
    }
}

/// How many mean deviations the wait covers.
const JITTERS: f64 = 3.0;
/// What a turn leaves of the margin that a late packet added: half of it after seven seconds.
const MARGIN_KEPT: f64 = 0.998;
/// Turns that are covered up before the buffer waits again.
const STARVED_MAX: usize = 3;
/// Turns in which too much must have waited: a second of 20 ms.
const CALM_TURNS: usize = 50;
/// Late packets in a row that mean that the sender counts anew.
const LATE_MAX: usize = 8;

fn index(sequence: i64) -> usize {
    sequence.rem_euclid(PACKETS_MAX as i64) as usize
}

/// The number nearest to `near` that is `sequence` modulo 2^16.
fn unwrap(near: i64, sequence: u16) -> i64 {
    near + i64::from(sequence.wrapping_sub(near as u16) as i16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAME: Duration = Duration::from_millis(20);

    #[test]
    fn packets_in_time_are_played_in_order_after_the_least_wait() {
        let heard = play(&Network::default(), 200);
        assert_eq!(heard.first_turn, 1);
        assert_eq!(heard.packets, (0..199).collect::<Vec<_>>());
        assert_eq!(heard.counts.lost, 0);
    }

    #[test]
    fn sequences_and_timestamps_wrap() {
        let network =
            Network { first_sequence: u16::MAX - 20, first_timestamp: u32::MAX - 1_000, ..Network::default() };
        let heard = play(&network, 100);
        assert_eq!(heard.packets, (0..99).collect::<Vec<_>>());
        assert_eq!(heard.counts, JitterCounts { played: 99, ..JitterCounts::default() });
    }

    #[test]
    fn a_lost_packet_is_one_gap() {
        let network = Network { is_lost: |n| n % 10 == 3, ..Network::default() };
        let heard = play(&network, 100);
        assert_eq!((heard.counts.lost, heard.counts.late), (10, 0));
        assert!(heard.packets.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn jitter_makes_the_wait_longer_and_calm_makes_it_shorter() {
        let network = Network { delay_ms: |n| if n < 500 { n * 37 % 90 } else { 0 }, ..Network::default() };
        let mut heard = play(&network, 1_500);
        let late_after_learning = heard.late_at.iter().filter(|n| (100..500).contains(*n)).count();
        assert!(late_after_learning <= 4, "{:?}", heard.late_at);
        assert!(heard.depth_max >= 4 && heard.counts.added >= 2, "{} {:?}", heard.depth_max, heard.counts);
        assert!(heard.counts.skipped > 0 && heard.buffer.depth() == 2, "{:?}", heard.counts);
        assert!(matches!(heard.buffer.pop(), Next::Packet(_) | Next::Lost));
    }

    #[test]
    fn a_pause_is_waited_for_and_the_voice_after_it_heard_whole() {
        let network = Network { delay_ms: |n| if n >= 50 { 2_000 } else { 0 }, ..Network::default() };
        let heard = play(&network, 200);
        assert!(heard.counts.lost <= 3, "{:?}", heard.counts);
        assert_eq!(heard.packets[..60], (0..60).collect::<Vec<_>>());
    }

    #[test]
    fn a_sender_that_counts_anew_is_followed() {
        let mut buffer = JitterBuffer::new(JitterSettings::default()).unwrap();
        let mut heard = Vec::new();
        for n in 0..200_u16 {
            let sequence = if n < 100 { 30_000 + n } else { n - 100 };
            buffer.push(FRAME * n.into(), sequence, u32::from(n) * 160, &[n as u8]);
            if let Next::Packet(payload) = buffer.pop() {
                heard.push(payload[0]);
            }
        }
        assert!(heard.contains(&98) && heard.ends_with(&[196, 197, 198]), "{heard:?}");
    }

    #[test]
    fn repeated_late_and_long_packets_are_told() {
        let mut buffer = JitterBuffer::new(JitterSettings::default()).unwrap();
        let mut push = |sequence| buffer.push(Duration::ZERO, sequence, 0, &[sequence as u8]);
        assert_eq!(
            [push(5), push(5), push(6), push(8)],
            [Arrival::Accepted, Arrival::Duplicate, Arrival::Accepted, Arrival::Accepted]
        );
        for expected in [Next::Packet(&[5]), Next::Packet(&[6]), Next::Lost, Next::Packet(&[8])] {
            assert_eq!(buffer.pop(), expected);
        }
        assert_eq!(buffer.push(FRAME, 7, 0, &[7]), Arrival::Late);
        assert_eq!(buffer.push(FRAME, 8, 0, &[8]), Arrival::Duplicate);
        assert_eq!(buffer.push(FRAME, 9, 0, &[0; PAYLOAD_BYTES_MAX + 1]), Arrival::TooLong);
    }

    #[test]
    fn settings_out_of_bounds_are_refused() {
        let settings = JitterSettings::default();
        for settings in [
            JitterSettings { clock_hz: 0, ..settings },
            JitterSettings { packet: Duration::ZERO, ..settings },
            JitterSettings { depth_min: 0, ..settings },
            JitterSettings { depth_min: 9, depth_max: 8, ..settings },
            JitterSettings { depth_max: PACKETS_MAX, ..settings },
        ] {
            assert_eq!(JitterBuffer::new(settings).unwrap_err().kind(), ErrorKind::ConfigInvalid);
        }
    }

    proptest! {
        /// Whatever arrives in whatever order: nothing is invented, and nothing is played twice or out of order.
        #[test]
        fn what_is_played_was_sent_and_comes_in_order(
            first: u16,
            arrivals in prop::collection::vec((0_u16..300, 0_u64..100), 0..400),
        ) {
            let mut buffer = JitterBuffer::new(JitterSettings::default()).unwrap();
            let (mut at, mut accepted, mut heard) = (Duration::ZERO, Vec::new(), Vec::new());
            for (n, wait_ms) in arrivals {
                at += Duration::from_millis(wait_ms);
                let sequence = first.wrapping_add(n);
                if buffer.push(at, sequence, u32::from(n) * 160, &n.to_le_bytes()) == Arrival::Accepted {
                    accepted.push(n);
                }
                for _ in 0..wait_ms / 20 {
                    if let Next::Packet(payload) = buffer.pop() {
                        heard.push(u16::from_le_bytes([payload[0], payload[1]]));
                    }
                }
            }
            for n in &heard {
                let at = accepted.iter().position(|accepted| accepted == n);
                prop_assert!(at.is_some());
                accepted.swap_remove(at.unwrap());
            }
            // Only a sender that seems to count anew may go back.
            let backwards = heard.windows(2).filter(|pair| pair[0] >= pair[1]).count();
            prop_assert!(backwards <= 400 / LATE_MAX, "{:?}", heard);
        }
    }

    /// Packet `n` is sent at `n * 20` ms.
    struct Network {
        first_sequence: u16,
        first_timestamp: u32,
        is_lost: fn(u64) -> bool,
        delay_ms: fn(u64) -> u64,
    }

    impl Default for Network {
        fn default() -> Self {
            Self { first_sequence: 100, first_timestamp: 0, is_lost: |_| false, delay_ms: |_| 0 }
        }
    }

    struct Heard {
        buffer: JitterBuffer,
        counts: JitterCounts,
        depth_max: usize,
        first_turn: usize,
        late_at: Vec<u64>,
        packets: Vec<u64>,
    }

    /// Plays for as many turns as packets are sent; a turn comes just after the packet that is sent at its time.
    fn play(network: &Network, turns: u64) -> Heard {
        let mut buffer = JitterBuffer::new(JitterSettings::default()).unwrap();
        let mut arrivals: Vec<_> =
            (0..turns).filter(|n| !(network.is_lost)(*n)).map(|n| (n * 20 + (network.delay_ms)(n), n)).collect();
        arrivals.sort_unstable();
        let (mut first_turn, mut late_at, mut packets, mut depth_max) = (None, Vec::new(), Vec::new(), 0);
        let mut arrivals = arrivals.into_iter().peekable();
        for turn in 0..turns {
            while let Some((at_ms, n)) = arrivals.next_if(|(at_ms, _)| *at_ms <= turn * 20) {
                let sequence = network.first_sequence.wrapping_add(n as u16);
                let timestamp = network.first_timestamp.wrapping_add(n as u32 * 160);
                if buffer.push(Duration::from_millis(at_ms), sequence, timestamp, &n.to_le_bytes()) == Arrival::Late {
                    late_at.push(n);
                }
            }
            depth_max = depth_max.max(buffer.depth());
            if let Next::Packet(payload) = buffer.pop() {
                first_turn.get_or_insert(turn as usize);
                packets.push(u64::from_le_bytes(payload.try_into().unwrap()));
            }
        }
        Heard { counts: buffer.counts(), depth_max, first_turn: first_turn.unwrap(), late_at, packets, buffer }
    }
}
