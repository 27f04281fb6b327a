//! What is played at the far end of a leg, in real time, and the marks in it.

use std::collections::VecDeque;

use offhook::audio::codec::Decoder;
use offhook::audio::samples_per_frame;
use offhook::provider::telephony::{MediaCommand, MediaFormat};

/// Sound that waits to be played at most; what comes then waits in the leg's channel. The last piece may pass it.
const WAITING_SECONDS_MAX: usize = 60;

/// Marks that wait at most; what comes then waits in the leg's channel.
const MARKS_MAX: usize = 4_096;

/// The telephone's speaker.
#[derive(Debug)]
pub(crate) struct Speaker {
    decoder: Decoder,
    format: MediaFormat,
    /// Where in all sound each mark stands, in samples.
    marks: VecDeque<(u64, u64)>,
    played: u64,
    waiting: VecDeque<i16>,
}

impl Speaker {
    pub(crate) fn new(format: MediaFormat) -> Self {
        let decoder = Decoder::new(format.codec);
        Self { decoder, format, marks: VecDeque::new(), played: 0, waiting: VecDeque::new() }
    }

    /// Whether it takes more.
    pub(crate) fn has_room(&self) -> bool {
        let samples_max = samples_per_frame(self.format.rate_hz) * 50 * WAITING_SECONDS_MAX;
        self.waiting.len() < samples_max && self.marks.len() < MARKS_MAX
    }

    pub(crate) fn take(&mut self, command: MediaCommand) {
        match command {
            MediaCommand::Audio(bytes) => {
                let mut samples = Vec::with_capacity(bytes.len());
                self.decoder.decode(&bytes, &mut samples);
                self.waiting.extend(samples);
            }
            MediaCommand::Clear => {
                self.waiting.clear();
                // What is forgotten counts as passed.
                self.marks.iter_mut().for_each(|(position, _)| *position = self.played);
            }
            MediaCommand::Mark(mark) => self.marks.push_back((self.played + self.waiting.len() as u64, mark)),
            _ => {}
        }
    }

    /// The next mark that all sound before has been played of.
    pub(crate) fn next_mark(&mut self) -> Option<u64> {
        self.marks.pop_front_if(|(position, _)| *position <= self.played).map(|(_, mark)| mark)
    }

    /// Plays one frame into `frame`, filled up with silence.
    pub(crate) fn play(&mut self, frame: &mut [i16]) {
        let length = frame.len().min(self.waiting.len());
        frame.fill(0);
        for (sample, played) in frame.iter_mut().zip(self.waiting.drain(..length)) {
            *sample = played;
        }
        self.played += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use offhook::provider::telephony::Codec;

    use super::*;

    const FORMAT: MediaFormat = MediaFormat { codec: Codec::Pcm16Le, rate_hz: 8_000 };

    fn audio(value: u8, samples: usize) -> MediaCommand {
        MediaCommand::Audio(Bytes::from([value, 0].repeat(samples)))
    }

    fn marks(speaker: &mut Speaker) -> Vec<u64> {
        std::iter::from_fn(|| speaker.next_mark()).collect()
    }

    #[test]
    fn a_mark_comes_back_when_all_before_it_was_played() {
        let mut speaker = Speaker::new(FORMAT);
        for command in
            [MediaCommand::Mark(1), audio(7, 160), MediaCommand::Mark(2), audio(8, 10), MediaCommand::Mark(3)]
        {
            speaker.take(command);
        }
        let mut frame = [1; 160];
        assert_eq!(marks(&mut speaker), [1]);
        speaker.play(&mut frame);
        assert_eq!((frame, marks(&mut speaker)), ([7; 160], vec![2]));
        speaker.play(&mut frame);
        assert_eq!((&frame[..12], marks(&mut speaker)), (&[8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 0, 0][..], vec![3]));
    }

    #[test]
    fn what_is_cleared_is_not_played_and_its_marks_come_back_at_once() {
        let mut speaker = Speaker::new(FORMAT);
        for command in [audio(7, 500), MediaCommand::Mark(1), MediaCommand::Clear, audio(8, 1), MediaCommand::Mark(2)] {
            speaker.take(command);
        }
        assert_eq!(marks(&mut speaker), [1]);
        let mut frame = [1; 2];
        speaker.play(&mut frame);
        assert_eq!((frame, marks(&mut speaker)), ([8, 0], vec![2]));
    }
}
