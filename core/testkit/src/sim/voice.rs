//! Speech whose words can be read from its samples: each word is a few frames, and each frame carries the number of its
//! word in sounds that mu-law keeps exactly. So the far end of a line knows to the word what it heard.

use std::sync::{Mutex, MutexGuard, PoisonError};

use offhook::audio::g711;

/// Samples in a frame at 8 kHz.
pub(super) const FRAME_SAMPLES: usize = 160;

/// A frame of silence.
pub(super) const SILENCE: [u8; FRAME_SAMPLES] = [0xff; FRAME_SAMPLES];

/// The number of a word in its utterance takes so many bits, that of the utterance the rest.
const INDEX_BITS: u32 = 12;

/// A digit of a number is one of the louder half of the positive codes.
const DIGIT_BITS: u32 = 6;
const DIGITS: usize = 5;
const DIGIT_FIRST: u8 = 0x80;
const DIGIT_COUNT: u8 = 1 << DIGIT_BITS;

/// Where a word is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Word {
    pub(super) utterance: u32,
    pub(super) index: u32,
}

/// All that was said in a world, by whomever.
#[derive(Debug, Default)]
pub(super) struct Said(Mutex<Vec<Vec<String>>>);

impl Said {
    /// Notes an utterance and returns its number.
    pub(super) fn add(&self, words: Vec<String>) -> u32 {
        let mut utterances = self.utterances();
        utterances.push(words);
        u32::try_from(utterances.len() - 1).unwrap_or(u32::MAX)
    }

    pub(super) fn word(&self, word: Word) -> Option<String> {
        self.utterances().get(word.utterance as usize)?.get(word.index as usize).cloned()
    }

    pub(super) fn words(&self, utterance: u32) -> Vec<String> {
        self.utterances().get(utterance as usize).cloned().unwrap_or_default()
    }

    fn utterances(&self) -> MutexGuard<'_, Vec<Vec<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A frame of sound that is no word.
pub(super) fn noise() -> [u8; FRAME_SAMPLES] {
    // A square wave: a steady level would be no sound.
    std::array::from_fn(|index| if index % 8 < 4 { 0x90 } else { 0x10 })
}

/// A frame of a word.
pub(super) fn frame(word: Word) -> [u8; FRAME_SAMPLES] {
    let mut number = (word.utterance << INDEX_BITS) | word.index;
    let mut frame = noise();
    for code in &mut frame[..DIGITS] {
        *code = DIGIT_FIRST | (number & u32::from(DIGIT_COUNT - 1)) as u8;
        number >>= DIGIT_BITS;
    }
    frame
}

/// The samples of a frame of a word.
pub(super) fn samples(word: Word) -> [i16; FRAME_SAMPLES] {
    let mut samples = [0; FRAME_SAMPLES];
    g711::decode_ulaw(&frame(word), &mut samples);
    samples
}

/// The word that a frame carries.
pub(super) fn read(frame: &[u8]) -> Option<Word> {
    let digits = frame.get(..DIGITS)?;
    let mut number = 0;
    for code in digits.iter().rev() {
        let digit = code.checked_sub(DIGIT_FIRST).filter(|digit| *digit < DIGIT_COUNT)?;
        number = (number << DIGIT_BITS) | u32::from(digit);
    }
    Some(Word { utterance: number >> INDEX_BITS, index: number & ((1 << INDEX_BITS) - 1) })
}

/// What a frame of samples is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sound {
    Noise,
    Silence,
    Word(Word),
}

/// What a frame of samples is.
pub(super) fn listen(samples: &[i16]) -> Sound {
    let mut head = [0; DIGITS];
    g711::encode_ulaw(&samples[..DIGITS.min(samples.len())], &mut head);
    match read(&head) {
        Some(word) => Sound::Word(word),
        None if samples.first().is_some_and(|sample| sample.unsigned_abs() > 1_000) => Sound::Noise,
        None => Sound::Silence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_wire() {
        for (utterance, index) in [(0, 0), (1, 4_095), (77, 12), ((1 << 18) - 1, 1)] {
            let word = Word { utterance, index };
            assert_eq!(read(&frame(word)), Some(word));
            assert_eq!(listen(&samples(word)), Sound::Word(word));
        }
        assert_eq!(read(&noise()), None);
        let mut samples = [0; FRAME_SAMPLES];
        assert_eq!(listen(&samples), Sound::Silence);
        g711::decode_ulaw(&noise(), &mut samples);
        assert_eq!(listen(&samples), Sound::Noise);
    }
}
