//! Audio in pieces of a least size, as Exotel wants it: what is sent in smaller ones may stutter
//! (<https://developer.exotel.com/docs/agentstream/stream-voicebot-applet>).

use std::collections::VecDeque;
use std::time::Duration;

use offhook::audio::codec;
use offhook::provider::telephony::MediaFormat;
use offhook::time::Instant;

/// The least piece, in bytes; and not less than [`FRAMES_MIN`].
const BYTES_MIN: usize = 3_200;

/// The least piece, in frames: 100 ms.
const FRAMES_MIN: usize = 5;

/// With no more audio for so long, what there is goes out.
const HOLD_LIMIT: Duration = Duration::from_millis(60);

/// What goes to the carrier.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Piece {
    Audio(Vec<u8>),
    Mark(u64),
}

/// Audio, and the marks in it, until there is enough.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    audio: Vec<u8>,
    format: Option<MediaFormat>,
    last: Instant,
    /// Where in the audio each stands.
    marks: VecDeque<(usize, u64)>,
    ready: VecDeque<Piece>,
}

impl Pieces {
    pub(super) fn new(format: MediaFormat) -> Self {
        Self { format: Some(format), ..Self::default() }
    }

    pub(super) fn push_audio(&mut self, now: Instant, audio: &[u8]) {
        self.last = now;
        self.audio.extend_from_slice(audio);
        let piece = BYTES_MIN.max(self.frame() * FRAMES_MIN);
        while self.audio.len() >= piece {
            self.cut(piece);
        }
    }

    pub(super) fn push_mark(&mut self, mark: u64) {
        self.marks.push_back((self.audio.len(), mark));
        self.release_marks(0);
    }

    /// Forgets what is held, and returns its marks.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = u64> + use<'_> {
        self.audio.clear();
        self.marks.drain(..).map(|(_, mark)| mark)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        (!self.audio.is_empty()).then(|| self.last + HOLD_LIMIT)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.cut(self.audio.len());
        }
    }

    pub(super) fn next_piece(&mut self) -> Option<Piece> {
        self.ready.pop_front()
    }

    fn cut(&mut self, length: usize) {
        let rest = self.audio.split_off(length);
        let mut audio = std::mem::replace(&mut self.audio, rest);
        // Whole frames: silence is zero in PCM.
        audio.resize(audio.len().next_multiple_of(self.frame()), 0);
        self.ready.push_back(Piece::Audio(audio));
        self.release_marks(length);
    }

    /// So much audio went out: the marks in it follow, and the others are nearer.
    fn release_marks(&mut self, length: usize) {
        while let Some((_, mark)) = self.marks.pop_front_if(|(at, _)| *at <= length) {
            self.ready.push_back(Piece::Mark(mark));
        }
        self.marks.iter_mut().for_each(|(at, _)| *at -= length);
    }

    fn frame(&self) -> usize {
        self.format.map_or(1, codec::bytes_per_frame).max(1)
    }
}

#[cfg(test)]
mod tests {
    use offhook::provider::telephony::Codec;

    use super::*;

    fn pieces(rate_hz: u32) -> Pieces {
        Pieces::new(MediaFormat { codec: Codec::Pcm16Le, rate_hz })
    }

    fn ready(pieces: &mut Pieces) -> Vec<Piece> {
        std::iter::from_fn(|| pieces.next_piece()).collect()
    }

    #[test]
    fn a_piece_is_100_ms_and_3200_bytes_at_least() {
        for (rate_hz, bytes) in [(8_000, 3_200), (16_000, 3_200), (24_000, 4_800)] {
            let mut pieces = pieces(rate_hz);
            pieces.push_audio(Instant::default(), &vec![7; bytes * 2 + 1]);
            assert_eq!(ready(&mut pieces), [Piece::Audio(vec![7; bytes]), Piece::Audio(vec![7; bytes])]);
        }
    }

    #[test]
    fn marks_keep_their_places_and_what_is_left_goes_out_in_time() {
        let mut pieces = pieces(8_000);
        let now = Instant::from_micros(1_000);
        pieces.push_mark(1);
        pieces.push_audio(now, &[7; 1_600]);
        pieces.push_mark(2);
        pieces.push_audio(now, &[8; 1_700]);
        pieces.push_mark(3);
        let audio = [vec![7; 1_600], vec![8; 1_600]].concat();
        assert_eq!(ready(&mut pieces), [Piece::Mark(1), Piece::Audio(audio), Piece::Mark(2)]);
        assert_eq!(pieces.poll_timeout(), Some(now + HOLD_LIMIT));
        pieces.handle_timeout(now);
        assert_eq!(ready(&mut pieces), []);
        pieces.handle_timeout(now + HOLD_LIMIT);
        let mut rest = vec![8; 100];
        rest.resize(320, 0);
        assert_eq!(ready(&mut pieces), [Piece::Audio(rest), Piece::Mark(3)]);
        assert_eq!(pieces.poll_timeout(), None);
    }

    #[test]
    fn what_is_cleared_is_not_sent_and_its_marks_come_back() {
        let mut pieces = pieces(8_000);
        pieces.push_audio(Instant::default(), &[7; 320]);
        pieces.push_mark(1);
        assert_eq!(pieces.clear().collect::<Vec<_>>(), [1]);
        assert_eq!((pieces.poll_timeout(), ready(&mut pieces)), (None, vec![]));
    }
}
