//! What the agent says, on its way to the caller: paced frames out, and an account of what was heard.

use std::collections::VecDeque;
use std::time::Duration;

use super::frame::samples_per_frame;

/// Frames that are sent ahead of their time, so that a late tick is not heard as a gap.
pub const LEAD_FRAMES: usize = 3;

/// Audio that may wait to be sent; [`Playout::is_full`] says when to stop the synthesiser.
pub const WAITING_MAX: Duration = Duration::from_secs(20);

/// How far the carrier's acknowledgements may fall behind the clock before the clock is trusted alone.
const MARK_GRACE: Duration = Duration::from_secs(1);

/// Speech is no slower than this, in weights a second; used until the length of a piece is known.
const WEIGHTS_PER_SECOND: u64 = 11;

/// How long after its estimated end a word counts as heard.
const ESTIMATE_MARGIN: Duration = Duration::from_millis(60);

/// Samples at or below this are silence when the bounds of a piece's speech are sought.
const SILENCE_LEVEL: u16 = 200;

/// The pieces of speech of one call, in the order in which they are spoken.
///
/// Positions count samples since the call's first. With a carrier that acknowledges marks, audio is heard when its mark
/// comes back; without, when the pacing clock has passed it.
#[derive(Debug)]
pub struct Playout {
    acknowledges: bool,
    /// The pacing clock's position: what the carrier has played if it plays in real time.
    clock: u64,
    frame: usize,
    heard: u64,
    /// Since the clock stands still for want of frames.
    idle: u64,
    in_flight: VecDeque<Vec<i16>>,
    pieces: VecDeque<Piece>,
    rate_hz: u32,
    sent: u64,
    spare: Vec<Vec<i16>>,
}

/// What a piece of speech got to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PlayoutEvent {
    /// All of the piece was heard; nothing more is told of it.
    Finished {
        /// The piece.
        piece: u32,
    },
    /// The piece's text was heard up to there.
    Heard {
        /// The piece.
        piece: u32,
        /// Offset into the piece's text, in bytes, at the end of a word.
        text_end: usize,
    },
    /// The piece's first sound was heard.
    Playing {
        /// The piece.
        piece: u32,
    },
}

#[derive(Debug)]
struct Piece {
    aligned: Vec<(usize, u64)>,
    finished: bool,
    id: u32,
    /// First and last sample that is not silence.
    loud: Option<(u64, u64)>,
    received: u64,
    reported: usize,
    sounded: bool,
    start: Option<u64>,
    waiting: VecDeque<i16>,
    words: Vec<Word>,
}

/// A word's end in the text, and how much is spoken until then, in weights.
#[derive(Clone, Copy, Debug)]
struct Word {
    text_end: usize,
    weight_end: u64,
}

impl Playout {
    /// For media at `rate_hz` whose carrier acknowledges marks or does not.
    pub fn new(rate_hz: u32, acknowledges: bool) -> Self {
        Self {
            acknowledges,
            clock: 0,
            frame: samples_per_frame(rate_hz),
            heard: 0,
            idle: 0,
            in_flight: VecDeque::with_capacity(LEAD_FRAMES + 1),
            pieces: VecDeque::new(),
            rate_hz,
            sent: 0,
            spare: Vec::new(),
        }
    }

    /// Queues a piece that says `text`.
    pub fn begin(&mut self, piece: u32, text: &str) {
        self.pieces.push_back(Piece {
            aligned: Vec::new(),
            finished: false,
            id: piece,
            loud: None,
            received: 0,
            reported: 0,
            sounded: false,
            start: None,
            waiting: VecDeque::new(),
            words: words(text),
        });
    }

    /// Adds samples to a piece; those of an unknown piece are dropped.
    pub fn push(&mut self, piece: u32, samples: &[i16]) {
        let Some(piece) = self.piece(piece) else { return };
        for (index, sample) in (piece.received..).zip(samples) {
            if sample.unsigned_abs() > SILENCE_LEVEL {
                piece.loud = Some((piece.loud.map_or(index, |(first, _)| first), index));
            }
        }
        piece.received += samples.len() as u64;
        piece.waiting.extend(samples);
    }

    /// The synthesiser says that the piece's text up to `text_end` is spoken at `at`.
    pub fn align(&mut self, piece: u32, text_end: usize, at: Duration) {
        let position = samples_in(at, self.rate_hz);
        if let Some(piece) = self.piece(piece) {
            piece.aligned.push((text_end, position));
        }
    }

    /// No more samples will come for the piece.
    pub fn finish(&mut self, piece: u32) {
        if let Some(piece) = self.piece(piece) {
            piece.finished = true;
        }
    }

    /// Drops a piece. Returns whether the carrier may hold some of it unheard, and must be told to clear it.
    pub fn cancel(&mut self, piece: u32) -> bool {
        let Some(index) = self.pieces.iter().position(|candidate| candidate.id == piece) else {
            return false;
        };
        let Some(piece) = self.pieces.remove(index) else {
            return false;
        };
        if piece.start.is_none() || self.sent <= self.heard {
            return false;
        }
        self.spare.extend(self.in_flight.drain(..));
        (self.clock, self.heard) = (self.sent, self.sent);
        true
    }

    /// Whether the synthesiser of that piece should wait: enough of it and of the pieces before it is there.
    pub fn is_full(&self, piece: u32) -> bool {
        let Some(index) = self.pieces.iter().position(|candidate| candidate.id == piece) else { return false };
        let waiting: usize = self.pieces.iter().take(index + 1).map(|piece| piece.waiting.len()).sum();
        waiting as u64 >= samples_in(WAITING_MAX, self.rate_hz)
    }

    /// Whether nothing is queued, waiting or unheard.
    pub fn is_idle(&self) -> bool {
        self.pieces.is_empty() && self.in_flight.is_empty()
    }

    /// Whether there is no frame to send, now or soon: a good moment for a mark.
    pub fn has_nothing_to_send(&self) -> bool {
        !self.has_frame()
    }

    /// Moves the clock one frame on and copies what is heard in it to `heard_now`, or silence.
    /// Call it every 20 ms, then send frames while [`Playout::next_frame`] gives any.
    pub fn tick(&mut self, heard_now: &mut [i16]) {
        heard_now.fill(0);
        match self.in_flight.pop_front() {
            Some(frame) => {
                let length = heard_now.len().min(frame.len());
                heard_now[..length].copy_from_slice(&frame[..length]);
                self.spare.push(frame);
                self.clock += self.frame as u64;
                self.idle = 0;
            }
            None => self.idle += self.frame as u64,
        }
        let grace = if self.acknowledges { samples_in(MARK_GRACE, self.rate_hz) } else { 0 };
        self.heard = self.heard.max(self.clock.saturating_sub(grace.saturating_sub(self.idle)));
    }

    /// The next frame to send now, if it is time for one. Returns its end position, to be used as a mark.
    pub fn next_frame(&mut self, out: &mut [i16]) -> Option<u64> {
        if self.in_flight.len() >= LEAD_FRAMES || !self.has_frame() {
            return None;
        }
        let mut filled = 0;
        for piece in &mut self.pieces {
            let taken = piece.waiting.len().min(out.len() - filled);
            if taken > 0 {
                piece.start.get_or_insert(self.sent + filled as u64);
            }
            for (slot, sample) in out[filled..].iter_mut().zip(piece.waiting.drain(..taken)) {
                *slot = sample;
            }
            filled += taken;
            if filled == out.len() || !piece.finished {
                break;
            }
        }
        out[filled..].fill(0);
        let mut frame = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(self.frame));
        frame.clear();
        frame.extend_from_slice(out);
        self.in_flight.push_back(frame);
        self.sent += self.frame as u64;
        Some(self.sent)
    }

    /// The carrier has played everything up to `position`.
    pub fn marked(&mut self, position: u64) {
        self.heard = self.heard.max(position.min(self.sent));
    }

    /// What became of the pieces, in order.
    pub fn poll_event(&mut self) -> Option<PlayoutEvent> {
        let (heard, rate_hz) = (self.heard, self.rate_hz);
        let piece = self.pieces.front_mut()?;
        let id = piece.id;
        let Some(start) = piece.start else {
            if piece.finished && piece.received == 0 {
                self.pieces.pop_front();
                return Some(PlayoutEvent::Finished { piece: id });
            }
            return None;
        };
        if heard <= start {
            return None;
        }
        let offset = heard - start;
        if !piece.sounded && offset > piece.loud.map_or(0, |(first, _)| first) {
            piece.sounded = true;
            return Some(PlayoutEvent::Playing { piece: id });
        }
        if piece.finished && offset >= piece.received {
            self.pieces.pop_front();
            return Some(PlayoutEvent::Finished { piece: id });
        }
        let text_end = piece.text_heard(offset, rate_hz);
        if text_end > piece.reported {
            piece.reported = text_end;
            return Some(PlayoutEvent::Heard { piece: id, text_end });
        }
        None
    }

    /// A whole frame can be made: enough samples wait, or the pieces in front are complete.
    fn has_frame(&self) -> bool {
        let mut waiting = 0;
        for piece in &self.pieces {
            waiting += piece.waiting.len();
            if waiting >= self.frame {
                return true;
            }
            if !piece.finished {
                return false;
            }
        }
        waiting > 0
    }

    fn piece(&mut self, id: u32) -> Option<&mut Piece> {
        self.pieces.iter_mut().find(|piece| piece.id == id)
    }
}

impl Piece {
    /// How much of the text is heard `offset` samples into the piece.
    fn text_heard(&self, offset: u64, rate_hz: u32) -> usize {
        if !self.aligned.is_empty() {
            let aligned = self.aligned.iter().filter(|(_, position)| *position <= offset);
            return aligned.map(|(text_end, _)| *text_end).max().unwrap_or(0);
        }
        let Some((first, last)) = self.loud else { return 0 };
        let total = self.words.last().map_or(1, |word| word.weight_end.max(1));
        let slowest = total * u64::from(rate_hz) / WEIGHTS_PER_SECOND;
        let length = if self.finished { last - first } else { (last - first).max(slowest) };
        let spoken = offset.saturating_sub(first + samples_in(ESTIMATE_MARGIN, rate_hz));
        let heard = self.words.iter().take_while(|word| word.weight_end * length <= spoken * total);
        heard.last().map_or(0, |word| word.text_end)
    }
}

/// The words of a text and how long each takes to say, relative to one another.
fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let (mut weight, mut pause) = (0, 0);
    let mut rest = 0;
    for word in text.split_inclusive(char::is_whitespace) {
        rest += word.len();
        let spoken = word.trim_end();
        if spoken.is_empty() {
            continue;
        }
        weight += pause + spoken.chars().map(weight_of).sum::<u64>();
        pause = 1 + spoken.chars().last().map_or(0, pause_after);
        words.push(Word { text_end: rest - (word.len() - spoken.len()), weight_end: weight });
    }
    words
}

/// A digit is said as a word, a letter as about one sound.
fn weight_of(character: char) -> u64 {
    match character {
        '0'..='9' | '+' | '%' | '$' | '@' => 5,
        character if character.is_alphabetic() => 1,
        _ => 0,
    }
}

fn pause_after(character: char) -> u64 {
    match character {
        ',' | ';' | ':' => 4,
        '.' | '!' | '?' => 6,
        _ => 0,
    }
}

fn samples_in(duration: Duration, rate_hz: u32) -> u64 {
    let samples = duration.as_micros() * u128::from(rate_hz) / 1_000_000;
    u64::try_from(samples).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: u32 = 8_000;

    /// Plays until nothing is left, acknowledging each frame at once if `acknowledge`.
    fn play(playout: &mut Playout, ticks: usize, acknowledge: bool) -> (Vec<PlayoutEvent>, Vec<i16>) {
        let (mut events, mut sound, mut frame) = (Vec::new(), Vec::new(), [0; 160]);
        for _ in 0..ticks {
            playout.tick(&mut frame);
            sound.extend(frame);
            while let Some(position) = playout.next_frame(&mut frame) {
                if acknowledge {
                    playout.marked(position);
                }
            }
            events.extend(std::iter::from_fn(|| playout.poll_event()));
        }
        (events, sound)
    }

    fn begin(playout: &mut Playout, piece: u32, text: &str, frames: usize) {
        playout.begin(piece, text);
        playout.push(piece, &vec![1_000; frames * 160]);
        playout.finish(piece);
    }

    #[test]
    fn pieces_are_heard_in_order_and_to_the_end() {
        let mut playout = Playout::new(RATE_HZ, false);
        begin(&mut playout, 1, "one two", 10);
        begin(&mut playout, 2, "three", 10);
        let (events, sound) = play(&mut playout, 40, false);
        let finished: Vec<_> =
            events.iter().filter(|event| matches!(event, PlayoutEvent::Finished { .. })).copied().collect();
        assert_eq!(finished, [PlayoutEvent::Finished { piece: 1 }, PlayoutEvent::Finished { piece: 2 }]);
        assert_eq!(events[0], PlayoutEvent::Playing { piece: 1 });
        assert_eq!(sound.iter().filter(|sample| **sample == 1_000).count(), 20 * 160);
        assert!(playout.is_idle());
    }

    #[test]
    fn no_more_than_the_lead_is_sent_ahead() {
        let mut playout = Playout::new(RATE_HZ, false);
        begin(&mut playout, 1, "text", 100);
        let mut frame = [0; 160];
        let ahead = std::iter::from_fn(|| playout.next_frame(&mut frame)).count();
        assert_eq!(ahead, LEAD_FRAMES);
        playout.tick(&mut frame);
        assert_eq!(std::iter::from_fn(|| playout.next_frame(&mut frame)).count(), 1);
    }

    #[test]
    fn cancelled_speech_is_neither_sent_nor_recorded() {
        let mut playout = Playout::new(RATE_HZ, false);
        begin(&mut playout, 1, "one two three four five", 100);
        let (_, sound) = play(&mut playout, 50, false);
        assert!(playout.cancel(1), "the carrier holds the lead");
        let (events, after) = play(&mut playout, 50, false);
        assert!(events.is_empty());
        assert!(sound.contains(&1_000) && !after.contains(&1_000));
        assert!(!playout.cancel(1));
    }

    #[test]
    fn marks_decide_what_was_heard_until_they_fail_to_come() {
        let mut playout = Playout::new(RATE_HZ, true);
        begin(&mut playout, 1, "one two", 100);
        let (events, _) = play(&mut playout, 40, false);
        assert!(events.is_empty(), "no mark came back: {events:?}");
        let (events, _) = play(&mut playout, 130, false);
        assert_eq!(events.last(), Some(&PlayoutEvent::Finished { piece: 1 }));
    }

    #[test]
    fn alignment_of_the_synthesiser_is_used_when_there_is_one() {
        let mut playout = Playout::new(RATE_HZ, false);
        playout.begin(1, "one two");
        playout.push(1, &[1_000; 8_000]);
        playout.align(1, 3, Duration::from_millis(900));
        playout.align(1, 7, Duration::from_millis(1_000));
        playout.finish(1);
        let (early, _) = play(&mut playout, 40, false);
        assert!(!early.iter().any(|event| matches!(event, PlayoutEvent::Heard { .. })), "{early:?}");
        let (late, _) = play(&mut playout, 8, false);
        assert_eq!(late, [PlayoutEvent::Heard { piece: 1, text_end: 3 }]);
    }

    #[test]
    fn a_gap_in_the_synthesis_is_a_pause_and_not_an_end() {
        let mut playout = Playout::new(RATE_HZ, false);
        playout.begin(1, "one");
        playout.push(1, &[1_000; 200]);
        let (events, _) = play(&mut playout, 10, false);
        assert_eq!(events, [PlayoutEvent::Playing { piece: 1 }]);
        playout.push(1, &[1_000; 40]);
        playout.finish(1);
        let (events, sound) = play(&mut playout, 10, false);
        assert_eq!(events.last(), Some(&PlayoutEvent::Finished { piece: 1 }));
        assert_eq!(sound.iter().filter(|sample| **sample != 0).count(), 80);
    }

    #[test]
    fn a_full_queue_never_holds_up_the_piece_in_front() {
        let mut playout = Playout::new(RATE_HZ, false);
        playout.begin(1, "one");
        playout.push(1, &[1_000; 800]);
        playout.begin(2, "two");
        playout.push(2, &vec![1_000; 8_000 * 20]);
        assert!(playout.is_full(2) && !playout.is_full(1) && !playout.is_full(3));
    }

    #[test]
    fn a_carrier_that_has_not_acknowledged_is_cleared() {
        let mut playout = Playout::new(RATE_HZ, true);
        begin(&mut playout, 1, "one two", 10);
        let (events, _) = play(&mut playout, 14, false);
        assert!(events.is_empty());
        assert!(playout.cancel(1), "all is sent, nothing is known to be heard");
    }

    #[test]
    fn an_empty_piece_finishes_at_once() {
        let mut playout = Playout::new(RATE_HZ, true);
        playout.begin(7, "...");
        playout.finish(7);
        assert_eq!(playout.poll_event(), Some(PlayoutEvent::Finished { piece: 7 }));
    }
}
