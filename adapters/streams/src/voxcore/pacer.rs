//! Audio on its way to the dialler: cut into chunks and sent in real time, a little ahead.

use std::collections::VecDeque;

use offhook::time::Instant;

use super::{CHUNK, CHUNK_BYTES, LEAD_MAX};

/// Audio that waits at most: ten seconds. The last piece may pass it.
pub(crate) const WAITING_BYTES_MAX: usize = CHUNK_BYTES * 500;

/// With so little audio left a chunk that is not full goes out.
const LEAD_MIN: std::time::Duration = CHUNK;

#[derive(Debug, Default)]
pub(crate) struct Pacer {
    /// When all that was sent will have been heard.
    heard_at: Instant,
    waiting: VecDeque<u8>,
}

impl Pacer {
    pub(crate) fn push(&mut self, audio: &[u8]) {
        self.waiting.extend(audio);
    }

    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_BYTES_MAX
    }

    /// Forgets what waits, and what was sent and is not heard.
    pub(crate) fn clear(&mut self, now: Instant) {
        self.waiting.clear();
        self.heard_at = now;
    }

    /// When the next chunk is due; `None` when nothing waits.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.waiting.len() {
            0 => None,
            length if length >= CHUNK_BYTES => Some(self.heard_at - (LEAD_MAX - CHUNK)),
            _ => Some(self.heard_at - LEAD_MIN),
        }
    }

    /// The next chunk that is due, filled up with silence.
    pub(crate) fn next_chunk(&mut self, now: Instant) -> Option<[u8; CHUNK_BYTES]> {
        if self.poll_timeout()? > now {
            return None;
        }
        let mut chunk = [0; CHUNK_BYTES];
        let length = self.waiting.len().min(CHUNK_BYTES);
        for (byte, waiting) in chunk.iter_mut().zip(self.waiting.drain(..length)) {
            *byte = waiting;
        }
        self.heard_at = self.heard_at.max(now) + CHUNK;
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fl_085_audio_never_runs_ahead_of_the_ear_and_none_is_lost(
            pieces in prop::collection::vec((0_u64..100, prop::collection::vec(1_u8.., 0..2_000)), 1..20),
        ) {
            let mut pacer = Pacer::default();
            let (mut now, mut sent, mut idle_at) = (Instant::from_micros(1_000_000), Vec::new(), Instant::default());
            for (wait_ms, piece) in &pieces {
                pacer.push(piece);
                let until = now + Duration::from_millis(*wait_ms);
                while now <= until {
                    while let Some(chunk) = pacer.next_chunk(now) {
                        idle_at = idle_at.max(now) + CHUNK;
                        prop_assert!(idle_at.saturating_since(now) <= LEAD_MAX);
                        sent.extend(chunk.into_iter().filter(|byte| *byte != 0));
                    }
                    now = pacer.poll_timeout().filter(|due| *due <= until).unwrap_or(until + Duration::from_micros(1));
                }
            }
            while let Some(due) = pacer.poll_timeout() {
                now = now.max(due);
                sent.extend(pacer.next_chunk(now).unwrap().into_iter().filter(|byte| *byte != 0));
            }
            let all: Vec<u8> = pieces.into_iter().flat_map(|(_, piece)| piece).collect();
            prop_assert_eq!(sent, all);
        }
    }

    #[test]
    fn a_clear_lets_the_next_audio_go_at_once() {
        let mut pacer = Pacer::default();
        let now = Instant::from_micros(5_000_000);
        pacer.push(&[7; CHUNK_BYTES * 20]);
        assert_eq!(std::iter::from_fn(|| pacer.next_chunk(now)).count(), 10, "200 ms");
        pacer.clear(now);
        assert_eq!(pacer.poll_timeout(), None);
        pacer.push(&[7; CHUNK_BYTES]);
        assert!(pacer.next_chunk(now).is_some());
    }
}
