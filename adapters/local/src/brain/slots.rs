//! What the caller says of numbers, names, days and times.

use super::rules::{Slot, SlotKind};
use super::words::words;
use crate::numbers::{ONES, TENS};

/// E.164.
const PHONE_DIGITS_MAX: usize = 15;
/// Fewer digits than this are no part of a telephone number.
const PHONE_PART_DIGITS_MIN: usize = 3;
/// After more digits than this, "to" and "for" are digits too.
const HOMOPHONE_DIGITS_MIN: usize = 2;
const NAME_WORDS_MAX: usize = 3;

/// What a text holds for a slot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Found {
    Nothing,
    /// Digits, but fewer than a telephone number has.
    Part(String),
    Value(String),
}

/// Looks for `slot` in what the caller said. `is_asked` tells that nothing else was asked for.
pub(super) fn find(slot: &Slot, text: &str, is_asked: bool) -> Found {
    let words = words(text);
    let value = match slot.kind {
        SlotKind::Day => day(&words),
        SlotKind::Name => name(text, is_asked),
        SlotKind::Phone => return phone(slot, &words),
        SlotKind::Time => time(&words),
    };
    value.map_or(Found::Nothing, Found::Value)
}

/// A telephone number in the digits of two answers, if together they make one.
pub(super) fn join(slot: &Slot, first: &str, second: &str) -> Found {
    complete(slot, &format!("{first}{}", second.trim_start_matches('+')))
}

/// The longest run of digits, written or spoken, with the plus before it.
fn phone(slot: &Slot, words: &[String]) -> Found {
    let mut runs = Vec::new();
    let mut run = String::new();
    for (index, word) in words.iter().enumerate() {
        match digits(word, &words[index + 1..], &run) {
            Some(digits) => run.push_str(&digits),
            None if matches!(word.as_str(), "+" | "plus") => runs.push(std::mem::replace(&mut run, "+".to_owned())),
            None if is_filler(word) => {}
            None if !run.is_empty() => runs.push(std::mem::take(&mut run)),
            None => {}
        }
    }
    runs.push(run);
    let longest = runs.into_iter().rev().max_by_key(String::len).unwrap_or_default();
    complete(slot, &longest)
}

fn complete(slot: &Slot, run: &str) -> Found {
    let digits = run.trim_start_matches('+');
    if digits.len() < PHONE_PART_DIGITS_MIN || digits.len() > PHONE_DIGITS_MAX {
        return Found::Nothing;
    }
    if digits.len() < slot.digits_min {
        return Found::Part(run.to_owned());
    }
    let code = slot.country_code.as_str();
    Found::Value(match digits.strip_prefix('0') {
        _ if run.starts_with('+') => run.to_owned(),
        Some(rest) if rest.starts_with('0') => format!("+{}", rest.trim_start_matches('0')),
        Some(rest) if !code.is_empty() => format!("+{code}{rest}"),
        None if !code.is_empty() && digits.starts_with(code) => format!("+{digits}"),
        _ => digits.to_owned(),
    })
}

/// The digits that a word stands for. Some words count only between digits, where recognisers write them by mistake.
fn digits(word: &str, rest: &[String], run: &str) -> Option<String> {
    let next = rest.first().map(String::as_str);
    if word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(word.to_owned());
    }
    if let Some(value) = number(word) {
        // "Sixty two" is 62, not 602.
        let ones = next.and_then(number).filter(|ones| (1..10).contains(ones));
        return Some(match (value, ones) {
            (20.., Some(_)) => (value / 10).to_string(),
            _ => value.to_string(),
        });
    }
    if word == "hundred" && !run.is_empty() {
        // "Seven hundred and eighty nine" is 789, "eight hundred" alone is 800.
        let behind = rest.iter().find(|word| *word != "and").and_then(|word| number(word));
        let zeros = behind.map_or(2, |value| usize::from(value < 10));
        return Some("0".repeat(zeros));
    }
    let times = match word {
        "double" => 2,
        "triple" => 3,
        _ => 1,
    };
    // The word after "double" is counted when its own turn comes.
    if times > 1 {
        return next.and_then(digit).map(|digit| digit.to_string().repeat(times - 1));
    }
    let is_in_number = run.len() > HOMOPHONE_DIGITS_MIN || (run.starts_with('+') && run.len() > 1);
    let is_between = is_in_number && next.is_none_or(|next| is_number(next) || is_filler(next));
    match word {
        "o" | "oh" if !run.is_empty() || next.is_some_and(is_number) => Some("0".to_owned()),
        "won" if is_between => Some("1".to_owned()),
        "to" | "too" | "tu" if is_between => Some("2".to_owned()),
        "tree" if is_between => Some("3".to_owned()),
        "for" | "fore" if is_between => Some("4".to_owned()),
        "sex" | "sicks" if is_between => Some("6".to_owned()),
        "ate" | "aid" if is_between => Some("8".to_owned()),
        "nein" if is_between => Some("9".to_owned()),
        _ => None,
    }
}

fn digit(word: &str) -> Option<u32> {
    let zero = matches!(word, "o" | "oh").then_some(0);
    zero.or_else(|| number(word)).or_else(|| word.parse().ok()).filter(|digit| *digit < 10)
}

fn is_number(word: &str) -> bool {
    number(word).is_some() || word.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_filler(word: &str) -> bool {
    matches!(word, "and" | "dash" | "er" | "hyphen" | "um" | "uh")
}

/// Zero to ninety.
fn number(word: &str) -> Option<u32> {
    let small = ONES.iter().zip(0..).find(|(name, _)| **name == word).map(|(_, value)| value);
    let ten = || TENS.iter().zip(0..).skip(2).find(|(name, _)| **name == word).map(|(_, value)| value * 10);
    small.or_else(ten)
}

/// After "my name is" and the like, or the whole of a short answer.
fn name(text: &str, is_asked: bool) -> Option<String> {
    let introductions = ["my name is ", "my name's ", "this is ", "i am ", "i'm ", "it is ", "it's ", "name of "];
    let lower = text.to_lowercase();
    let found = introductions.iter().filter_map(|words| lower.find(words).map(|at| at + words.len())).min();
    let rest = match found {
        Some(at) => text.get(at..)?,
        None if is_asked => text,
        None => return None,
    };
    let is_in_name = |c: char| c.is_alphabetic() || matches!(c, '\'' | '-' | '\u{2019}');
    let phrase = rest.split(|c: char| !is_in_name(c) && !c.is_whitespace()).find(|part| !part.trim().is_empty())?;
    let words: Vec<&str> = phrase.split_whitespace().collect();
    // Without an introduction, a long answer is about something else. With one, a name is what is written large.
    let count = match found {
        None if words.len() > NAME_WORDS_MAX => return None,
        None => words.len(),
        Some(_) => words.iter().take(NAME_WORDS_MAX).take_while(|word| word.starts_with(char::is_uppercase)).count(),
    };
    (count > 0).then(|| words[..count].join(" "))
}

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// "tomorrow", "next monday", "may 5", as said.
fn day(words: &[String]) -> Option<String> {
    let word = |index: usize| words.get(index).map_or("", String::as_str);
    for (index, current) in words.iter().map(String::as_str).enumerate() {
        let previous = index.checked_sub(1).map_or("", word);
        if current == "tomorrow" && previous == "after" {
            return Some("the day after tomorrow".to_owned());
        }
        if matches!(current, "today" | "tonight" | "tomorrow") {
            return Some(current.to_owned());
        }
        if WEEKDAYS.contains(&current) {
            return Some(if previous == "next" { format!("next {current}") } else { current.to_owned() });
        }
        if MONTHS.contains(&current) {
            let behind = words[..index].iter().rev().find_map(|word| day_of_month(word)).filter(|_| index > 0);
            let ahead = words[index + 1..].iter().take(2).find_map(|word| day_of_month(word));
            if let Some(number) = ahead.or(behind) {
                return Some(format!("{current} {number}"));
            }
        }
        if current == "week" && previous == "next" {
            return Some("next week".to_owned());
        }
    }
    None
}

fn day_of_month(word: &str) -> Option<u32> {
    let ordinals = [
        "first",
        "second",
        "third",
        "fourth",
        "fifth",
        "sixth",
        "seventh",
        "eighth",
        "ninth",
        "tenth",
        "eleventh",
        "twelfth",
        "thirteenth",
        "fourteenth",
        "fifteenth",
        "sixteenth",
        "seventeenth",
        "eighteenth",
        "nineteenth",
        "twentieth",
    ];
    let ordinal = ordinals.iter().zip(1..).find(|(name, _)| **name == word).map(|(_, value)| value);
    ordinal.or_else(|| number(word)).or_else(|| word.parse().ok()).filter(|day| (1..=31).contains(day))
}

/// "3 pm", "10:30", "half past 4", "morning", as said.
fn time(words: &[String]) -> Option<String> {
    let word = |index: usize| words.get(index).map_or("", String::as_str);
    for index in 0..words.len() {
        let Some(hour) = hour(word(index)) else { continue };
        let (before, next) = (index.checked_sub(1).map_or("", word), word(index + 1));
        if next == ":" {
            let half = word(index + 3);
            let time = format!("{hour}:{}", word(index + 2));
            return Some(if is_half_day(half) { format!("{time} {half}") } else { time });
        }
        if is_half_day(next) {
            return Some(format!("{hour} {next}"));
        }
        if before == "past" && index >= 2 && matches!(word(index - 2), "half" | "quarter") {
            return Some(format!("{} past {hour}", word(index - 2)));
        }
        if matches!(next, "oclock" | "o") || before == "at" {
            return Some(format!("{hour} o'clock"));
        }
    }
    let parts = ["morning", "noon", "afternoon", "evening"];
    words.iter().find(|word| parts.contains(&word.as_str())).cloned()
}

fn hour(word: &str) -> Option<u32> {
    number(word).or_else(|| word.parse().ok()).filter(|hour| (0..=23).contains(hour))
}

fn is_half_day(word: &str) -> bool {
    matches!(word, "am" | "pm")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brain::rules::Rules;

    #[test]
    fn numbers_are_found_however_they_are_written() {
        for text in [
            "+628123456789",
            "Does plus 6281 2345 6789 have an appointment?",
            "plus six two eight one two three four five six seven eight nine",
            "Plus 62, 812, 3456, 789.",
            "plus sixty two eight one two three four five six seven eight nine",
            "it's +62-812-3456-789 please",
            "Plus six to eight one two three for five six seven ate nine",
            "plus 6-2-8-1-2-3-4-5-6-7-8-9",
            "plus six two, um, eight one two, three four five and six seven eight nine",
            "for 2 people: plus 62 8123 456 789",
            "six two eight one two three four five six seven eight nine",
            "zero eight one two three four five six seven eight nine",
            "oh eight one two three four five six seven eight nine",
            "0812 3456 789",
            "+628123456? Seven hundred and eighty-nine",
            "plus 62 eight hundred twelve 3456789",
            "double oh six two eight one two three four five six seven eight nine",
        ] {
            assert_eq!(phone_in(text), Found::Value("+628123456789".into()), "{text}");
        }
        assert_eq!(
            phone_in("plus four four double seven triple five one two three"),
            Found::Value("+4477555123".into())
        );
        assert_eq!(phone_in("plus six two eight one"), Found::Part("+6281".into()));
        assert_eq!(phone_in("at 10:30, for two of us, to go"), Found::Nothing);
        assert_eq!(phone_in("I need to ask for one thing"), Found::Nothing);
        assert_eq!(phone_in(&"1".repeat(40)), Found::Nothing);
    }

    #[test]
    fn two_parts_make_a_number() {
        let rules = rules();
        let slot = &rules.slots["phone"];
        assert_eq!(join(slot, "+6281", "23456789"), Found::Value("+628123456789".into()));
    }

    #[test]
    fn names_days_and_times_are_found() {
        let rules = rules();
        let cases = [
            ("name", false, "Hello, my name is Peter Parker and I call about", Some("Peter Parker")),
            ("name", true, "Maria Lopez.", Some("Maria Lopez")),
            ("name", true, "I would like to know your prices", None),
            ("name", false, "I'm calling about a bill", None),
            ("day", false, "could I come on next Monday", Some("next monday")),
            ("day", false, "the day after tomorrow", Some("the day after tomorrow")),
            ("day", false, "on the 5th of May", Some("may 5")),
            ("day", false, "on March third", Some("march 3")),
            ("day", false, "soon", None),
            ("time", false, "at 3 p.m.", Some("3 pm")),
            ("time", false, "10:30 am would be good", Some("10:30 am")),
            ("time", false, "half past four", Some("half past 4")),
            ("time", false, "at nine", Some("9 o'clock")),
            ("time", false, "in the morning", Some("morning")),
            ("time", false, "any", None),
        ];
        for (slot, is_asked, text, value) in cases {
            let expected = value.map_or(Found::Nothing, |value| Found::Value(value.to_owned()));
            assert_eq!(find(&rules.slots[slot], text, is_asked), expected, "{text}");
        }
    }

    fn phone_in(text: &str) -> Found {
        find(&rules().slots["phone"], text, false)
    }

    fn rules() -> Rules {
        let text = "name = 'x'\nfallback = ['?']\nintents = []\n\
            [slots.phone]\nkind = 'phone'\nask = '?'\ncountry_code = '62'\n\
            [slots.name]\nkind = 'name'\nask = '?'\n[slots.day]\nkind = 'day'\nask = '?'\n[slots.time]\nkind = 'time'\nask = '?'\n";
        Rules::parse(text).unwrap()
    }
}
