//! Audio and marks on their way to an ear: the buffer that a carrier keeps between what it is sent and what is heard.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Audio with which the buffer is full, in frames: five minutes. The last piece may pass it.
pub(crate) const AUDIO_FRAMES_MAX: usize = 300 * 50;

/// Pieces of audio and marks with which the buffer is full.
pub(crate) const ITEMS_MAX: usize = 65_536;

/// Plays one frame a call; `M` names a mark.
#[derive(Debug)]
pub(crate) struct PlayBuffer<M> {
    audio_bytes: usize,
    items: VecDeque<Item<M>>,
    /// Marks inside the frame that is being heard now.
    passing: Vec<M>,
    /// A frame of nothing.
    silence: Bytes,
}

#[derive(Debug)]
enum Item<M> {
    Audio(Bytes),
    Mark(M),
}

/// The buffer has reached [`AUDIO_FRAMES_MAX`] or [`ITEMS_MAX`].
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Full;

impl<M> PlayBuffer<M> {
    /// A buffer whose frames are as long as `silence`, which is heard when there is nothing else.
    pub(crate) fn new(silence: &'static [u8]) -> Self {
        let silence = Bytes::from_static(silence);
        Self { audio_bytes: 0, items: VecDeque::new(), passing: Vec::new(), silence }
    }

    pub(crate) fn push_audio(&mut self, audio: Bytes) -> Result<(), Full> {
        if self.is_full() {
            return Err(Full);
        }
        if !audio.is_empty() {
            self.audio_bytes += audio.len();
            self.items.push_back(Item::Audio(audio));
        }
        Ok(())
    }

    pub(crate) fn push_mark(&mut self, mark: M) -> Result<(), Full> {
        if self.is_full() {
            return Err(Full);
        }
        self.items.push_back(Item::Mark(mark));
        Ok(())
    }

    /// Whether it takes no more until something was played or cleared.
    pub(crate) fn is_full(&self) -> bool {
        self.audio_bytes >= AUDIO_FRAMES_MAX * self.silence.len() || self.items.len() >= ITEMS_MAX
    }

    /// Forgets the audio and yields the marks that stood in it.
    pub(crate) fn clear(&mut self) -> Vec<M> {
        self.audio_bytes = 0;
        let mut marks = std::mem::take(&mut self.passing);
        marks.extend(self.items.drain(..).filter_map(|item| match item {
            Item::Audio(_) => None,
            Item::Mark(mark) => Some(mark),
        }));
        marks
    }

    /// Begins the next frame: the marks before which everything has now been heard, then the frame, filled up with silence.
    ///
    /// A mark right behind a frame is due when that frame is over, at the next call.
    pub(crate) fn play(&mut self) -> (Vec<M>, Bytes) {
        let mut marks = std::mem::take(&mut self.passing);
        while let Some(Item::Mark(_)) = self.items.front() {
            if let Some(Item::Mark(mark)) = self.items.pop_front() {
                marks.push(mark);
            }
        }
        (marks, self.take_frame())
    }

    fn take_frame(&mut self) -> Bytes {
        let length = self.silence.len();
        match self.items.front_mut() {
            None => return self.silence.clone(),
            // The common case, a piece of a frame or more, costs no copy.
            Some(Item::Audio(audio)) if audio.len() >= length => {
                let frame = audio.split_to(length);
                if audio.is_empty() {
                    self.items.pop_front();
                }
                self.audio_bytes -= length;
                return frame;
            }
            Some(_) => {}
        }
        self.assemble_frame()
    }

    fn assemble_frame(&mut self) -> Bytes {
        let length = self.silence.len();
        let mut frame = BytesMut::with_capacity(length);
        while frame.len() < length {
            match self.items.pop_front() {
                None => break,
                Some(Item::Audio(mut audio)) => {
                    let piece = audio.split_to(audio.len().min(length - frame.len()));
                    self.audio_bytes -= piece.len();
                    frame.extend_from_slice(&piece);
                    if !audio.is_empty() {
                        self.items.push_front(Item::Audio(audio));
                    }
                }
                Some(Item::Mark(mark)) => self.passing.push(mark),
            }
        }
        let filled = frame.len();
        frame.extend_from_slice(&self.silence[filled..]);
        frame.freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::twilio::{FRAME_BYTES, SILENCE};

    const SILENT_FRAME: &[u8] = &[SILENCE; FRAME_BYTES];

    fn silence() -> Bytes {
        Bytes::from_static(&[SILENCE; FRAME_BYTES])
    }

    #[test]
    fn an_empty_buffer_plays_silence() {
        assert_eq!(PlayBuffer::<u64>::new(SILENT_FRAME).play(), (vec![], silence()));
    }

    #[test]
    fn a_mark_is_due_when_the_audio_before_it_is_over() {
        let mut buffer = PlayBuffer::new(SILENT_FRAME);
        buffer.push_mark(1).unwrap();
        buffer.push_audio(Bytes::from(vec![7; FRAME_BYTES])).unwrap();
        buffer.push_mark(2).unwrap();
        buffer.push_audio(Bytes::from(vec![8; 10])).unwrap();
        buffer.push_mark(3).unwrap();
        buffer.push_audio(Bytes::from(vec![9; 10])).unwrap();

        assert_eq!(buffer.play(), (vec![1], Bytes::from(vec![7; FRAME_BYTES])));
        let mut short = vec![8; 10];
        short.extend([9; 10]);
        short.resize(FRAME_BYTES, SILENCE);
        assert_eq!(buffer.play(), (vec![2], Bytes::from(short)));
        assert_eq!(buffer.play(), (vec![3], silence()));
        assert_eq!(buffer.play(), (vec![], silence()));
    }

    #[test]
    fn clear_forgets_audio_and_yields_every_mark_in_order() {
        let mut buffer = PlayBuffer::new(SILENT_FRAME);
        buffer.push_audio(Bytes::from(vec![7; 10])).unwrap();
        buffer.push_mark(1).unwrap();
        buffer.push_audio(Bytes::from(vec![7; 1_000])).unwrap();
        buffer.push_mark(2).unwrap();
        buffer.play();
        assert_eq!(buffer.clear(), [1, 2]);
        assert_eq!(buffer.play(), (vec![], silence()));
    }

    #[test]
    fn what_may_wait_is_limited() {
        let mut buffer = PlayBuffer::new(SILENT_FRAME);
        buffer.push_audio(Bytes::from(vec![7; AUDIO_FRAMES_MAX * FRAME_BYTES])).unwrap();
        assert_eq!(buffer.push_audio(Bytes::from_static(&[7])), Err(Full));
        buffer.play();
        (1..ITEMS_MAX).for_each(|mark| buffer.push_mark(mark).unwrap());
        assert_eq!(buffer.push_mark(0), Err(Full));
        assert_eq!(buffer.clear().len(), ITEMS_MAX - 1);
        assert_eq!(buffer.push_audio(Bytes::from_static(&[7])), Ok(()));
    }

    proptest! {
        #[test]
        fn every_byte_is_played_once_in_order_whatever_the_pieces(pieces in prop::collection::vec(prop::collection::vec(0_u8..SILENCE, 0..500), 0..20)) {
            let mut buffer = PlayBuffer::new(SILENT_FRAME);
            for (number, piece) in pieces.iter().enumerate() {
                buffer.push_audio(Bytes::from(piece.clone())).unwrap();
                buffer.push_mark(number).unwrap();
            }
            let (mut heard, mut marks) = (Vec::new(), Vec::new());
            for _ in 0..=pieces.concat().len().div_ceil(FRAME_BYTES) {
                let (due, frame) = buffer.play();
                for mark in &due {
                    prop_assert!(heard.len() >= pieces[..=*mark].concat().len());
                }
                marks.extend(due);
                heard.extend(frame.into_iter().filter(|byte| *byte != SILENCE));
            }
            prop_assert_eq!(heard, pieces.concat());
            prop_assert_eq!(marks, (0..pieces.len()).collect::<Vec<_>>());
            prop_assert_eq!(buffer.audio_bytes, 0);
        }
    }
}
