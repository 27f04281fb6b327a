//! Words as a recogniser writes them, made comparable.

/// The words of a text: lower case, digits apart from letters, `+` and `:` between digits kept as words of their own.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars().peekable();
    let mut in_contraction = false;
    while let Some(c) = chars.next() {
        let is_joined = word.chars().last().is_none_or(|last| last.is_ascii_digit() == c.is_ascii_digit());
        if c.is_alphanumeric() && is_joined {
            if !in_contraction {
                word.extend(c.to_lowercase());
            }
            continue;
        }
        // "What's" is "what", "I'd" is "I": the rest carries no meaning here.
        let follows_letter = word.chars().last().is_some_and(char::is_alphabetic);
        in_contraction = matches!(c, '\'' | '\u{2019}') && follows_letter;
        if in_contraction {
            continue;
        }
        flush(&mut word, &mut words);
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        } else if c == '+' || (c == ':' && chars.peek().is_some_and(char::is_ascii_digit)) {
            words.push(c.to_string());
        }
    }
    flush(&mut word, &mut words);
    words
}

fn flush(word: &mut String, words: &mut Vec<String>) {
    if word.is_empty() {
        return;
    }
    let is_half_day = word == "m" && words.last().is_some_and(|last| last == "a" || last == "p");
    match words.last_mut() {
        Some(last) if is_half_day => last.push('m'),
        _ => words.push(word.clone()),
    }
    word.clear();
}

/// The stems of the words that carry meaning.
pub(super) fn stems(text: &str) -> Vec<String> {
    words(text).iter().filter(|word| !STOP_WORDS.contains(&word.as_str())).filter_map(|word| stem(word)).collect()
}

/// The stems of all words, for phrases that count word by word: "how much" is not "very much".
pub(super) fn all_stems(text: &str) -> Vec<String> {
    words(text).iter().filter_map(|word| stem(word)).collect()
}

/// Words that any question may hold.
const STOP_WORDS: &[&str] = &[
    "a",
    "about",
    "actually",
    "ah",
    "am",
    "an",
    "and",
    "are",
    "at",
    "be",
    "been",
    "but",
    "can",
    "could",
    "d",
    "did",
    "do",
    "does",
    "er",
    "for",
    "get",
    "give",
    "got",
    "had",
    "has",
    "have",
    "hello",
    "hi",
    "how",
    "i",
    "if",
    "in",
    "is",
    "it",
    "its",
    "just",
    "know",
    "let",
    "like",
    "ll",
    "may",
    "me",
    "my",
    "need",
    "of",
    "oh",
    "ok",
    "okay",
    "on",
    "or",
    "please",
    "re",
    "s",
    "say",
    "see",
    "so",
    "some",
    "tell",
    "that",
    "the",
    "their",
    "them",
    "there",
    "they",
    "this",
    "to",
    "uh",
    "um",
    "us",
    "want",
    "was",
    "we",
    "well",
    "were",
    "what",
    "which",
    "will",
    "with",
    "wonder",
    "wondering",
    "would",
    "yes",
    "you",
    "your",
];

/// A word without its ending; `None` for what is no word.
fn stem(word: &str) -> Option<String> {
    if !word.chars().all(char::is_alphabetic) {
        return None;
    }
    let shorter = |stem: &'_ str, ending: &str| {
        let shorter = stem.strip_suffix(ending).filter(|shorter| shorter.chars().count() >= STEM_CHARS_MIN)?;
        let is_double_s = ending == "s" && shorter.ends_with('s');
        (!is_double_s).then(|| shorter.to_owned())
    };
    let stem = ["ing", "ed", "s"].iter().find_map(|ending| shorter(word, ending)).unwrap_or_else(|| word.to_owned());
    Some(shorter(&stem, "e").unwrap_or(stem))
}

const STEM_CHARS_MIN: usize = 3;

/// Whether two stems are the same but for the spelling.
pub(super) fn is_alike(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    let (shorter, longer) = (a.len().min(b.len()), a.len().max(b.len()));
    let slips_max = match shorter {
        0..5 => return false,
        5..8 => 1,
        _ => 2,
    };
    // A different beginning is a different word.
    longer - shorter <= slips_max && a.as_bytes().first() == b.as_bytes().first() && slips(a, b) <= slips_max
}

/// Letters to change, add or leave out.
fn slips(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_comparable() {
        assert_eq!(words("What's the price, Dr. Jones?"), ["what", "the", "price", "dr", "jones"]);
        assert_eq!(words("at 10:30 a.m. or 4pm"), ["at", "10", ":", "30", "am", "or", "4", "pm"]);
        assert_eq!(words("+62 812-3456 plus 7"), ["+", "62", "812", "3456", "plus", "7"]);
        assert_eq!(words("it\u{2019}s  I'd 5th"), ["it", "i", "5", "th"]);
    }

    #[test]
    fn endings_do_not_matter() {
        let stems_of = |text: &str| stems(text).join(" ");
        assert_eq!(stems_of("When do you close?"), stems_of("when are you closing"));
        assert_eq!(stems_of("the prices"), stems_of("a price"));
        assert_eq!(stems_of("opening hours"), "open hour");
        assert_eq!(stems_of("address"), "address");
    }

    #[test]
    fn slips_of_spelling_are_forgiven() {
        assert!(is_alike("appointment", "apointment"));
        assert!(is_alike("clinic", "clinik"));
        assert!(!is_alike("hour", "four"));
        assert!(!is_alike("park", "part"));
    }
}
