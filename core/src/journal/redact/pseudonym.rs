//! Words that mean nothing, of the same length.

use std::collections::{BTreeMap, BTreeSet};

/// Letters of each length in UTF-8 that no word by which a call decides is made of alone.
const LETTERS: [[char; 13]; 4] = [
    ['b', 'c', 'd', 'f', 'j', 'k', 'l', 'p', 'q', 'v', 'w', 'x', 'z'],
    ['б', 'в', 'г', 'д', 'ж', 'к', 'л', 'п', 'ф', 'ц', 'ч', 'ш', 'щ'],
    ['か', 'き', 'く', 'け', 'こ', 'さ', 'し', 'す', 'せ', 'そ', 'た', 'ち', 'つ'],
    ['𠀀', '𠀁', '𠀂', '𠀃', '𠀄', '𠀅', '𠀆', '𠀇', '𠀈', '𠀉', '𠀊', '𠀋', '𠀌'],
];

/// Digits of each length in UTF-8: the one that a number begins with, and zero.
const DIGITS: [[char; 2]; 4] = [['1', '0'], ['١', '٠'], ['१', '०'], ['𝟏', '𝟎']];

/// Shorter words may by chance become others that were said.
const AVOIDED_LETTERS_MIN: usize = 4;

/// Words that are tried for one that was not said.
const TRIES_MAX: usize = 64;

/// Which word stands for which.
#[derive(Debug, Default)]
pub(super) struct Pseudonyms {
    avoided: BTreeSet<String>,
    /// Words that stay; a number word becomes the first of its kind.
    kept: BTreeMap<String, String>,
    known: BTreeMap<String, usize>,
    /// How many words of so many letters there are.
    numbers: BTreeMap<usize, usize>,
}

impl Pseudonyms {
    /// `kept` words, and what becomes of each.
    pub(super) fn new(kept: BTreeMap<String, String>) -> Self {
        Self { kept, ..Self::default() }
    }

    /// The words of a text stay.
    pub(super) fn keep(&mut self, text: &str) {
        for word in words(text).filter(|word| is_word(word)) {
            self.kept.insert(key(word), key(word));
        }
    }

    /// The words of a text shall not come out.
    pub(super) fn avoid(&mut self, text: &str) {
        self.avoided.extend(words(text).filter(|word| is_word(word)).map(key));
    }

    /// A text of the same length with other words.
    pub(super) fn text(&mut self, text: &str) -> String {
        words(text).map(|word| if is_word(word) { self.word(word) } else { word.to_owned() }).collect()
    }

    /// Letters for the letters and digits of an object's key; other keys become others.
    pub(super) fn key(&mut self, text: &str) -> String {
        let letter = |character: char| if character.is_numeric() { letters_like(character)[0] } else { character };
        let lettered: String = text.chars().map(letter).collect();
        let count = lettered.chars().filter(|character| character.is_alphabetic()).count();
        let number = self.number(format!("\"{text}\""), &lettered, count);
        spelled(&lettered, count, number)
    }

    fn word(&mut self, word: &str) -> String {
        let key = key(word);
        if let Some(kept) = self.kept.get(&key) {
            return if *kept == key { word.to_owned() } else { cased(kept, word) };
        }
        let letters = word.chars().filter(|character| character.is_alphabetic()).count();
        let number = self.number(key, word, letters);
        spelled(word, letters, number)
    }

    /// The number that stands for a word.
    fn number(&mut self, key: String, word: &str, letters: usize) -> usize {
        if let Some(number) = self.known.get(&key) {
            return *number;
        }
        let number = self.next(word, letters);
        self.known.insert(key, number);
        number
    }

    /// A number for a new word.
    fn next(&mut self, word: &str, letters: usize) -> usize {
        let mut number = 0;
        for _ in 0..TRIES_MAX {
            let numbers = self.numbers.entry(letters).or_default();
            number = *numbers;
            *numbers += 1;
            let pseudonym = key(&spelled(word, letters, number));
            // A word that a policy names would decide something.
            let decides = self.kept.contains_key(&pseudonym);
            if !decides && (letters < AVOIDED_LETTERS_MIN || !self.avoided.contains(&pseudonym)) {
                break;
            }
        }
        number
    }
}

/// The digits of a text become those of no number, of the same length; nothing else changes.
pub(super) fn digits(text: &str) -> String {
    let mut within = false;
    let digit = |character: char| {
        let is_first = !std::mem::replace(&mut within, character.is_numeric());
        if !character.is_numeric() {
            return character;
        }
        let is_zero = !is_first || character.to_digit(10) == Some(0);
        DIGITS[character.len_utf8() - 1][usize::from(is_zero)]
    };
    text.chars().map(digit).collect()
}

/// Letters, digits and apostrophes in one piece, everything else in another.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let belongs = |character: char| character.is_alphanumeric() || is_apostrophe(character);
    let mut rest = text;
    std::iter::from_fn(move || {
        let is_word = rest.chars().next().map(belongs)?;
        let end = rest.find(|character| belongs(character) != is_word).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word)
    })
}

fn is_word(piece: &str) -> bool {
    piece.contains(char::is_alphanumeric)
}

fn is_apostrophe(character: char) -> bool {
    matches!(character, '\'' | '\u{2019}')
}

/// Words are the same whatever their case.
fn key(word: &str) -> String {
    word.trim_matches(is_apostrophe).to_lowercase().replace('\u{2019}', "'")
}

/// Spells a number in the letters, and in the case, of a word.
fn spelled(word: &str, letters: usize, number: usize) -> String {
    let mut left = letters;
    let spell = |character: char| {
        if !character.is_alphabetic() {
            return character;
        }
        left -= 1;
        let alphabet = letters_like(character);
        let place = u32::try_from(left).ok().and_then(|left| alphabet.len().checked_pow(left));
        let letter = alphabet[place.map_or(0, |place| number / place) % alphabet.len()];
        if character.is_uppercase() { letter.to_uppercase().next().unwrap_or(letter) } else { letter }
    };
    digits(&word.chars().map(spell).collect::<String>())
}

/// The letters of a character's length.
fn letters_like(character: char) -> [char; 13] {
    LETTERS[character.len_utf8() - 1]
}

/// A word in the case of another of the same length.
fn cased(word: &str, like: &str) -> String {
    let letter = |(letter, like): (char, char)| if like.is_uppercase() { letter.to_ascii_uppercase() } else { letter };
    word.chars().zip(like.chars()).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_word_becomes_the_same_word_in_its_case() {
        let mut pseudonyms = Pseudonyms::default();
        assert_eq!(pseudonyms.text("Miller? MILLER, miller's!"), "Bbbbbb? BBBBBB, bbbbbb'b!");
        assert_eq!(pseudonyms.text("Mueller, Miller"), "Bbbbbbc, Bbbbbb");
    }

    #[test]
    fn every_character_keeps_its_length() {
        let mut pseudonyms = Pseudonyms::default();
        let text = "Zo\u{eb} \u{4f60}\u{597d} \u{1f4de} caf\u{e9} \u{20000} \u{416}\u{430} 2.50\u{20ac} \u{663}";
        let redacted = pseudonyms.text(text);
        let lengths = |text: &str| text.chars().map(char::len_utf8).collect::<Vec<_>>();
        assert_eq!(lengths(&redacted), lengths(text));
        assert!(!redacted.contains("caf") && redacted.contains('\u{1f4de}') && redacted.contains("1.10\u{20ac}"));
    }

    #[test]
    fn words_that_decide_stay_and_number_words_lose_their_number() {
        let kept = [("and", "and"), ("two", "one"), ("one", "one")];
        let kept = kept.map(|(word, becomes)| (word.to_owned(), becomes.to_owned()));
        let mut pseudonyms = Pseudonyms::new(kept.into());
        assert_eq!(pseudonyms.text("Two and one"), "One and one");
        pseudonyms.keep("go on");
        assert_eq!(pseudonyms.text("Go on!"), "Go on!");
    }

    #[test]
    fn a_word_that_was_said_does_not_come_out() {
        let mut pseudonyms = Pseudonyms::default();
        pseudonyms.avoid("bbbb bbbc");
        assert_eq!(pseudonyms.text("some"), "bbbd");
    }

    #[test]
    fn of_a_number_stay_its_length_and_a_leading_zero() {
        assert_eq!(digits("+628123456789, 0812, 7 and 0"), "+100000000000, 0000, 1 and 0");
    }
}
