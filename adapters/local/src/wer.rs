//! Word error rate between what was said and what was understood.

use std::collections::VecDeque;

use crate::numbers::{ONES, TENS};

/// How far a transcript is from its reference.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WordErrors {
    /// Words of the reference.
    pub words: usize,
    /// Words substituted, inserted and deleted.
    pub errors: usize,
}

impl WordErrors {
    /// Compares word by word, after [`normalize`]; of the two ways to read a number aloud the nearer one counts.
    pub fn between(reference: &str, hypothesis: &str) -> Self {
        let readings = [Reading::Digits, Reading::Number];
        let reference = readings.map(|reading| normalize(reference, reading));
        let hypothesis = readings.map(|reading| normalize(hypothesis, reading));
        let pairs = reference.iter().flat_map(|said| hypothesis.iter().map(move |heard| (said, heard)));
        let counted = pairs.map(|(said, heard)| Self { words: said.len(), errors: distance(said, heard) });
        counted.min_by_key(|found| found.errors).unwrap_or_default()
    }

    /// Errors by reference words; 1 means that as many words are wrong as were said. Above zero words only.
    pub fn rate(&self) -> f64 {
        self.errors as f64 / self.words.max(1) as f64
    }
}

impl std::ops::AddAssign for WordErrors {
    fn add_assign(&mut self, other: Self) {
        self.words += other.words;
        self.errors += other.errors;
    }
}

/// How a number of three digits or more is read aloud.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reading {
    /// `398` is "three nine eight", as in telephone numbers.
    Digits,
    /// `398` is "three hundred ninety eight".
    Number,
}

/// Lower case, without punctuation, numbers in words, a few abbreviations spelled out.
pub fn normalize(text: &str, reading: Reading) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest: VecDeque<char> = text.to_lowercase().chars().filter(|c| !matches!(c, '\'' | '\u{2019}')).collect();
    while let Some(&first) = rest.front() {
        if first.is_ascii_digit() {
            number(&mut rest, reading, &mut words);
        } else if first.is_alphabetic() {
            letters(&mut rest, &mut words);
        } else {
            rest.pop_front();
            if let Some((_, name)) = SYMBOLS.iter().find(|(symbol, _)| *symbol == first) {
                words.push((*name).to_owned());
            }
            if first == '+' {
                // A country code is never read as an amount.
                while let Some(digit) = rest.front().and_then(|c| c.to_digit(10)) {
                    words.push(ONES[digit as usize].to_owned());
                    rest.pop_front();
                }
            }
        }
    }
    words
}

const SYMBOLS: &[(char, &str)] = &[('%', "percent"), ('&', "and"), ('+', "plus"), ('*', "star"), ('#', "pound")];

const ABBREVIATIONS: &[(&str, &[&str])] = &[
    ("am", &["a", "m"]),
    ("dr", &["doctor"]),
    ("mr", &["mister"]),
    ("mrs", &["missus"]),
    ("ok", &["okay"]),
    ("pm", &["p", "m"]),
    ("st", &["saint"]),
    ("vs", &["versus"]),
];

const ORDINALS: &[(&str, &str)] = &[
    ("one", "first"),
    ("two", "second"),
    ("three", "third"),
    ("five", "fifth"),
    ("eight", "eighth"),
    ("nine", "ninth"),
    ("twelve", "twelfth"),
];

/// Above this many digits nobody reads a number as one.
const NUMBER_DIGITS_MAX: usize = 6;

fn letters(rest: &mut VecDeque<char>, words: &mut Vec<String>) {
    let mut word = String::new();
    while let Some(&c) = rest.front() {
        let is_initial = c == '.' && word.chars().count() == 1 && rest.get(1).is_some_and(|next| next.is_alphabetic());
        if is_initial {
            // Initials ("p.m.") are words of their own.
            rest.pop_front();
            break;
        }
        if !c.is_alphabetic() {
            break;
        }
        word.push(c);
        rest.pop_front();
    }
    // "mrs" is read as the speaker said it; the others have one reading.
    match ABBREVIATIONS.iter().find(|(short, _)| *short == word) {
        Some((_, long)) => words.extend(long.iter().map(|&long| long.to_owned())),
        None => words.push(word),
    }
}

fn number(rest: &mut VecDeque<char>, reading: Reading, words: &mut Vec<String>) {
    let mut digits = String::new();
    while let Some(&c) = rest.front() {
        let groups_thousands = c == ',' && rest.iter().skip(1).take_while(|next| next.is_ascii_digit()).count() == 3;
        if !c.is_ascii_digit() && !groups_thousands {
            break;
        }
        if c.is_ascii_digit() {
            digits.push(c);
        }
        rest.pop_front();
    }
    let as_number = digits.len() <= 2 || (reading == Reading::Number && digits.len() <= NUMBER_DIGITS_MAX);
    match digits.parse::<u32>() {
        Ok(value) if as_number && !(digits.len() > 1 && digits.starts_with('0')) => cardinal(value, words),
        _ => words.extend(digits.bytes().map(|digit| ONES[usize::from(digit - b'0')].to_owned())),
    }
    let suffix: String = rest.iter().take_while(|c| c.is_alphabetic()).collect();
    if matches!(suffix.as_str(), "st" | "nd" | "rd" | "th") {
        rest.drain(..2);
        if let Some(last) = words.last_mut() {
            *last = ordinal(last);
        }
    }
}

fn cardinal(value: u32, words: &mut Vec<String>) {
    match value {
        0..20 => words.push(ONES[value as usize].to_owned()),
        20..100 => {
            words.push(TENS[(value / 10) as usize].to_owned());
            if !value.is_multiple_of(10) {
                cardinal(value % 10, words);
            }
        }
        100..1_000 => scale(value, 100, "hundred", words),
        _ => scale(value, 1_000, "thousand", words),
    }
}

fn scale(value: u32, unit: u32, name: &str, words: &mut Vec<String>) {
    cardinal(value / unit, words);
    words.push(name.to_owned());
    if !value.is_multiple_of(unit) {
        cardinal(value % unit, words);
    }
}

fn ordinal(cardinal: &str) -> String {
    match ORDINALS.iter().find(|(from, _)| *from == cardinal) {
        Some((_, to)) => (*to).to_owned(),
        None => match cardinal.strip_suffix('y') {
            Some(stem) => format!("{stem}ieth"),
            None => format!("{cardinal}th"),
        },
    }
}

/// Levenshtein's, over words. A word written in one or in two ("good-bye", "key words") is the same.
fn distance(said: &[String], heard: &[String]) -> usize {
    let width = heard.len() + 1;
    let mut table: Vec<usize> = (0..width).collect();
    for i in 1..=said.len() {
        table.push(i);
        for j in 1..width {
            let above = (i - 1) * width;
            let substituted = table[above + j - 1] + usize::from(said[i - 1] != heard[j - 1]);
            let mut best = substituted.min(table[above + j] + 1).min(table[i * width + j - 1] + 1);
            if j >= 2 && is_joined(&said[i - 1], &heard[j - 2..j]) {
                best = best.min(table[above + j - 2]);
            }
            if i >= 2 && is_joined(&heard[j - 1], &said[i - 2..i]) {
                best = best.min(table[(i - 2) * width + j - 1]);
            }
            table.push(best);
        }
    }
    table[said.len() * width + heard.len()]
}

fn is_joined(whole: &str, parts: &[String]) -> bool {
    parts.first().and_then(|part| whole.strip_prefix(part.as_str())) == parts.last().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_is_not_an_error() {
        for (said, heard) in [
            ("two thirty p m", "2:30 p.m."),
            ("three nine eight two five", "39825"),
            ("nine eight two", "982"),
            ("three hundred and ninety eight", "three hundred and ninety eight"),
            ("three hundred ninety eight", "398"),
            ("mister smith's first okay", "Mr. Smith\u{2019}s 1st OK"),
            ("it costs ten thousand five hundred", "It costs 10,500!"),
            ("the twentieth of may", "the 20th of May"),
            ("plus six two", "+62"),
            ("goodbye and use the keywords", "Good-bye, and use the key words."),
            ("a check up", "a checkup"),
        ] {
            assert_eq!(WordErrors::between(said, heard).errors, 0, "{said} / {heard}");
        }
    }

    #[test]
    fn errors_are_counted_by_kind() {
        assert_eq!(WordErrors::between("a b c d", "a x c d"), WordErrors { words: 4, errors: 1 });
        assert_eq!(WordErrors::between("a b c d", "a c d"), WordErrors { words: 4, errors: 1 });
        assert_eq!(WordErrors::between("a b c d", "a b b c d"), WordErrors { words: 4, errors: 1 });
        assert_eq!(WordErrors::between("a b", ""), WordErrors { words: 2, errors: 2 });
        assert_eq!(WordErrors::between("", "a b").errors, 2);
    }
}
