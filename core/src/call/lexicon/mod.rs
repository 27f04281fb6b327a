//! What small words tell about a turn, by language: whether it goes on, whether it only agrees, whether it is a number.
//!
//! The lists are short on purpose. They hold words that decide on their own, and a language without a list of its own is
//! judged by its punctuation.

mod english;
mod indonesian;

use std::collections::BTreeMap;

use super::{screening, sentence};

/// A number of fewer digits, told digit by digit, is not taken for finished. Telephone numbers with their area have as
/// many or more.
const NUMBER_DIGITS_MIN: u32 = 10;

/// Digits from which an answer to a question for a number is taken for the number's begin.
const ASKED_DIGITS_MIN: u32 = 3;

/// Digits from which a written group looks like a part of a number rather than like an amount or an hour.
const GROUP_DIGITS_MIN: u32 = 3;

/// A reference stands no further in front of an introduction: "what my mobile number is".
const REFERENCE_DISTANCE_MAX: usize = 3;

/// Stands between the entries of a list.
const SEPARATOR: &str = ", ";

/// The small words of a language, in lower case, listed with commas.
#[derive(Debug)]
pub(super) struct Lexicon {
    /// Answers that are complete by themselves.
    answers: &'static str,
    /// Words that end no sentence, not even in front of a full stop that a recogniser has put there.
    dangling: &'static str,
    /// Words for one digit.
    digits: &'static str,
    /// Words that stand among digits.
    digit_signs: &'static str,
    /// Words of agreement, attention and thought, which a listener says without wanting the turn.
    fillers: &'static str,
    /// What people say when they pick up, or when somebody does.
    greetings: &'static str,
    /// What to say while the caller waits; sentences.
    pub(super) holding: &'static [&'static str],
    /// What stands before something that is dictated.
    introductions: &'static str,
    /// Words that seldom end a sentence, and then with a full stop.
    leaning: &'static str,
    /// What is asked for when a number is wanted.
    numbers: &'static str,
    /// Words in front of an introduction that make it none: "what my number is".
    references: &'static str,
}

/// How the words of a turn end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    /// As a sentence or an answer does.
    Complete,
    /// In the middle of a number.
    Dictating,
    /// Where more must come.
    Incomplete,
    /// It cannot be told.
    Unclear,
}

/// Sounds that mean the same nearly everywhere.
static ANY: Lexicon = Lexicon {
    answers: "ok, okay",
    dangling: "uh, um",
    digits: "",
    digit_signs: "",
    fillers: "ah, hm, hmm, huh, mhm, mm, mmm, oh, ok, okay, uh, uhuh, um",
    greetings: "",
    holding: &[],
    introductions: "",
    leaning: "",
    numbers: "",
    references: "",
};

impl Lexicon {
    /// The lexicon of a BCP 47 tag.
    pub(super) fn of(language: &str) -> &'static Self {
        match primary(language).as_str() {
            "en" => &english::LEXICON,
            "id" | "ms" => &indonesian::LEXICON,
            _ => &ANY,
        }
    }

    /// How the caller's words end; `number_asked` when the agent has just asked for a number.
    pub(super) fn ending(&self, text: &str, number_asked: bool) -> Ending {
        let text = text.trim();
        if text.ends_with(['?', '!', '\u{ff1f}', '\u{ff01}']) {
            return Ending::Complete;
        }
        let words = words(text);
        let Some(last) = words.last() else { return Ending::Unclear };
        if self.is_dictating(&words, number_asked) {
            return Ending::Dictating;
        }
        if holds(self.dangling, last) || self.introduced(&words) {
            return Ending::Incomplete;
        }
        if sentence::is_complete(text) || words.iter().all(|word| holds(self.answers, word)) {
            return Ending::Complete;
        }
        let leans = holds(self.leaning, last) || text.ends_with([',', ':', ';', '-', '.', '\u{2026}']);
        if leans { Ending::Incomplete } else { Ending::Unclear }
    }

    /// Whether `words` are nothing but agreement, by the language's list or by `more` phrases.
    pub(super) fn is_filler(&self, words: &[String], more: &[String]) -> bool {
        consists_of(words, self.fillers.split(SEPARATOR).chain(more.iter().map(String::as_str)))
    }

    /// Whether `words` are nothing but a greeting, perhaps with agreement.
    pub(super) fn is_greeting(&self, words: &[String]) -> bool {
        consists_of(words, self.greetings.split(SEPARATOR).chain(self.fillers.split(SEPARATOR)))
    }

    /// Whether the agent's words ask for a number.
    pub(super) fn asks_for_number(&self, text: &str) -> bool {
        let question = text.split(['.', '!']).rfind(|sentence| !sentence.trim().is_empty()).unwrap_or_default();
        words(question).iter().any(|word| holds(self.numbers, word))
    }

    fn is_dictating(&self, words: &[String], number_asked: bool) -> bool {
        let mut start = words.len();
        let mut digits = Vec::new();
        while let Some(count) = start.checked_sub(1).and_then(|before| self.digits_of(&words[before])) {
            start -= 1;
            digits.push((count, words[start].as_str()));
        }
        let total: u32 = digits.iter().map(|(count, _)| count).sum();
        if total == 0 || total >= NUMBER_DIGITS_MIN {
            return false;
        }
        let one_by_one = digits.iter().filter(|(count, _)| *count <= 1).count() >= 2;
        let in_groups = digits.len() >= 2 && digits.iter().all(|(count, _)| *count >= GROUP_DIGITS_MIN);
        let has_prefix = digits.last().is_some_and(|(count, word)| *count >= GROUP_DIGITS_MIN && word.starts_with('0'));
        let was_asked = number_asked && total >= ASKED_DIGITS_MIN;
        one_by_one || in_groups || has_prefix || was_asked || self.introduced(&words[..start])
    }

    /// How many digits a word stands for, if it stands for any.
    fn digits_of(&self, word: &str) -> Option<u32> {
        if word.bytes().all(|byte| byte.is_ascii_digit()) {
            return u32::try_from(word.len()).ok();
        }
        let digits = holds(self.digits, word).then_some(1);
        digits.or_else(|| holds(self.digit_signs, word).then_some(0))
    }

    /// Whether the words end in something that is followed by what it introduces.
    fn introduced(&self, words: &[String]) -> bool {
        self.introductions.split(SEPARATOR).any(|phrase| {
            let phrase: Vec<&str> = phrase.split(' ').collect();
            let Some(before) = words.len().checked_sub(phrase.len()) else { return false };
            let (before, end) = words.split_at(before);
            let mut near = before.iter().rev().take(REFERENCE_DISTANCE_MAX);
            let is_asked = near.any(|word| holds(self.references, word));
            end == phrase && !is_asked
        })
    }
}

/// Whether words are a sequence of such phrases.
fn consists_of<'a>(words: &[String], phrases: impl Iterator<Item = &'a str>) -> bool {
    let phrases: Vec<Vec<String>> = phrases.map(self::words).collect();
    let mut rest = words;
    while !rest.is_empty() {
        let longest = phrases.iter().filter(|phrase| rest.starts_with(phrase)).map(Vec::len).max();
        let Some(length) = longest.filter(|length| *length > 0) else { return false };
        rest = &rest[length..];
    }
    !words.is_empty()
}

/// Whether a list holds a word.
fn holds(list: &str, word: &str) -> bool {
    list.split(SEPARATOR).any(|known| known == word)
}

/// All words that can decide something in a call, of every language, and what may stand for each: itself, but for the words
/// of digits, which another one of their length stands for.
pub(crate) fn deciding_words() -> BTreeMap<String, String> {
    let lexicons = [&ANY, &english::LEXICON, &indonesian::LEXICON];
    let lists = lexicons.iter().flat_map(|lexicon| {
        [
            lexicon.answers,
            lexicon.dangling,
            lexicon.digit_signs,
            lexicon.fillers,
            lexicon.greetings,
            lexicon.introductions,
            lexicon.leaning,
            lexicon.numbers,
            lexicon.references,
        ]
    });
    let phrases = lists.flat_map(|list| list.split(SEPARATOR)).chain(screening::phrases()).chain(sentence::TITLES);
    let mut deciding: BTreeMap<_, _> = phrases.flat_map(words).map(|word| (word.clone(), word)).collect();
    for lexicon in lexicons {
        for word in lexicon.digits.split(SEPARATOR) {
            let like = lexicon.digits.split(SEPARATOR).find(|other| other.len() == word.len()).unwrap_or(word);
            deciding.insert(word.to_owned(), like.to_owned());
        }
    }
    deciding
}

/// The words of a text in lower case, without punctuation. `Uh-huh` is two.
pub(super) fn words(text: &str) -> Vec<String> {
    let words = text.split(|character: char| !character.is_alphanumeric() && !is_apostrophe(character));
    let words = words.map(|word| word.trim_matches(is_apostrophe)).filter(|word| !word.is_empty());
    words.map(|word| word.to_lowercase().replace('\u{2019}', "'")).collect()
}

/// What follows in `text` after about these words, or all of it when it does not begin with most of them.
pub(super) fn beyond<'a>(text: &'a str, taken: &[String]) -> &'a str {
    let mut rest = text.trim_start();
    let mut begin = Vec::new();
    while begin.len() < taken.len() && !rest.is_empty() {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        begin.extend(words(&rest[..end]));
        rest = rest[end..].trim_start();
    }
    let same = begin.iter().zip(taken).filter(|(word, taken)| word == taken).count();
    if same * 4 >= taken.len() * 3 { rest } else { text }
}

/// The first subtag of a BCP 47 tag, which names the language itself.
pub(super) fn primary(language: &str) -> String {
    language.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase()
}

fn is_apostrophe(character: char) -> bool {
    matches!(character, '\'' | '\u{2019}')
}

#[cfg(test)]
mod tests {
    use super::Ending::{Complete, Dictating, Incomplete, Unclear};
    use super::*;

    #[test]
    fn words_have_neither_case_nor_punctuation() {
        assert_eq!(words("Uh-huh, I\u{2019}m \"there\"!"), ["uh", "huh", "i'm", "there"]);
        assert!(words(" ... ").is_empty());
    }

    #[test]
    fn endings_in_english() {
        let cases = [
            ("What are your opening hours?", Complete),
            ("What is that for?", Complete),
            ("That is what I am looking for.", Complete),
            ("Yes", Complete),
            ("no thanks", Complete),
            ("I was born in 1985.", Complete),
            ("At ten thirty.", Complete),
            ("Can you tell me what my number is?", Complete),
            ("I forgot what my number is.", Complete),
            ("My number is", Incomplete),
            ("My number is.", Incomplete),
            ("So my phone number is.", Incomplete),
            ("I would like to book and.", Incomplete),
            ("I would like the", Incomplete),
            ("I am looking for", Incomplete),
            ("Well,", Incomplete),
            ("I would like...", Incomplete),
            ("um", Incomplete),
            ("I would like to book a table", Unclear),
            ("", Unclear),
            ("My number is five five five.", Dictating),
            ("My number is 555.", Dictating),
            ("Zero eight one two.", Dictating),
            ("0812", Dictating),
            ("It is 555-123.", Dictating),
            ("plus six two, eight one two", Dictating),
            ("Plus six two, eight one two, three four five, six seven eight nine.", Complete),
            ("My number is 555 123 4567.", Complete),
            ("Chapter 12.", Complete),
        ];
        for (text, ending) in cases {
            assert_eq!(Lexicon::of("en-GB").ending(text, false), ending, "{text}");
        }
    }

    #[test]
    fn endings_in_indonesian() {
        let cases = [
            ("Saya mau buat janji untuk besok pagi.", Complete),
            ("iya betul", Complete),
            ("Itu nomor saya.", Complete),
            ("Nomor saya.", Incomplete),
            ("nomor telepon saya adalah", Incomplete),
            ("Saya mau pesan dan.", Incomplete),
            ("Saya mau yang", Incomplete),
            ("Nomor saya nol delapan satu dua.", Dictating),
            ("nol delapan satu dua tiga empat lima enam tujuh delapan sembilan", Unclear),
            ("saya mau buat janji", Unclear),
        ];
        for (text, ending) in cases {
            assert_eq!(Lexicon::of("id").ending(text, false), ending, "{text}");
        }
    }

    #[test]
    fn digits_are_expected_after_a_question_for_them() {
        let lexicon = Lexicon::of("en");
        assert!(lexicon.asks_for_number("Of course. What is your phone number?"));
        assert!(!lexicon.asks_for_number("Your number is known. What is your name?"));
        assert_eq!(lexicon.ending("812.", true), Dictating);
        assert_eq!(lexicon.ending("12.", true), Complete);
        assert_eq!(lexicon.ending("812.", false), Complete);
    }

    #[test]
    fn a_late_transcript_adds_only_what_was_not_taken() {
        let taken = words("when are you open");
        assert_eq!(beyond("When are you open?", &taken), "");
        assert_eq!(beyond("When are you open on Sunday?", &taken), "on Sunday?");
        assert_eq!(beyond("When were you open today?", &taken), "today?");
        assert_eq!(beyond("And your address?", &taken), "And your address?");
        assert_eq!(beyond("When", &taken), "When");
        assert_eq!(beyond("", &taken), "");
    }

    #[test]
    fn agreement_is_told_from_answers() {
        let filler = |language: &str, text: &str| Lexicon::of(language).is_filler(&words(text), &[]);
        for text in ["Uh-huh.", "Mm-hmm", "Yeah, yeah, okay.", "Oh, I see.", "Right.", "Got it."] {
            assert!(filler("en-US", text), "{text}");
        }
        for text in ["", "No.", "Stop!", "Wait.", "Okay, but when?", "I see him."] {
            assert!(!filler("en-US", text), "{text}");
        }
        assert!(filler("id-ID", "Oh iya, oke.") && filler("id", "He'eh.") && !filler("id", "Tunggu, tidak."));
        assert!(!filler("en", "Hello?") && Lexicon::of("en").is_greeting(&words("Yes, hello? Good morning.")));
        assert!(!Lexicon::of("en").is_greeting(&words("Hello, who is this?")));
        assert!(filler("fr", "Mm-hm.") && !filler("fr", "Oui."));
        assert!(
            Lexicon::of("fr").is_filler(&words("Oui, d\u{2019}accord."), &["oui".to_owned(), "d'accord".to_owned()])
        );
    }
}
