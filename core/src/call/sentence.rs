//! Where streamed text may be handed to the synthesiser.

/// Longest text that waits for the end of its sentence, in bytes.
const PENDING_BYTES_MAX: usize = 400;

/// Shorter pieces wait for more, in bytes: a synthesiser needs some words to sound natural.
const SENTENCE_BYTES_MIN: usize = 8;

/// Words that end in a full stop and no sentence.
pub(super) const TITLES: [&str; 8] = ["dr", "mr", "mrs", "ms", "no", "prof", "st", "vs"];

/// The length of the first piece of `text` that can be spoken now, if there is one.
///
/// A sentence ends at `.`, `!`, `?` or a line break, and is known to end only once white space follows.
pub(super) fn ready(text: &str) -> Option<usize> {
    let mut previous = None;
    for (index, character) in text.char_indices() {
        if let Some(mark) = previous
            && character.is_whitespace()
            && index >= SENTENCE_BYTES_MIN
            && (matches!(mark, '!' | '?' | '\u{2026}' | '\u{3002}') || (mark == '.' && !is_abbreviated(&text[..index])))
        {
            return Some(index);
        }
        if character == '\n' && !text[..index].trim().is_empty() {
            return Some(index);
        }
        // A closing quote or bracket belongs to the mark before it.
        if !matches!(character, '"' | '\'' | ')' | '\u{201d}' | '\u{2019}') {
            previous = Some(character);
        }
    }
    if text.len() <= PENDING_BYTES_MAX {
        return None;
    }
    let limit = text.floor_char_boundary(PENDING_BYTES_MAX);
    Some(text[..limit].rfind(char::is_whitespace).filter(|index| *index > 0).unwrap_or(limit))
}

/// Whether the words end as a sentence does.
pub(super) fn is_complete(text: &str) -> bool {
    let text = text.trim_end_matches(['"', '\'', ')', '\u{201d}', '\u{2019}']).trim_end();
    !text.ends_with("...") && text.ends_with(['.', '!', '?', '\u{3002}', '\u{ff1f}', '\u{ff01}'])
}

/// `Dr.`, `Mr.`, `e.g.`, `3.`: a short last word in front of the full stop.
fn is_abbreviated(text: &str) -> bool {
    let word = text.trim_end_matches('.').rsplit(char::is_whitespace).next().unwrap_or_default();
    word.contains('.')
        || (word.len() <= 2 && word.bytes().all(|byte| byte.is_ascii_digit()))
        || TITLES.iter().any(|title| word.eq_ignore_ascii_case(title)) && word.starts_with(char::is_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_ready_once_white_space_follows() {
        assert_eq!(ready("We are open."), None);
        assert_eq!(ready("We are open. Until"), Some(12));
        assert_eq!(ready("He said \"come in!\" and left"), Some(18));
        assert_eq!(ready("One line\nanother"), Some(8));
        assert_eq!(ready("Yes. "), None);
    }

    #[test]
    fn abbreviations_and_numbers_do_not_end_a_sentence() {
        assert_eq!(ready("Please see Dr. Miller"), None);
        assert_eq!(ready("It takes about 3. Yes"), None);
        assert_eq!(ready("The answer is no. Sorry"), Some(17));
    }

    #[test]
    fn text_without_an_end_is_cut_at_a_word() {
        let text = "word ".repeat(100);
        let end = ready(&text).unwrap();
        assert!(end <= PENDING_BYTES_MAX && text[..end].ends_with("word"));
        assert_eq!(ready(&"\u{e9}".repeat(300)), Some(400));
    }

    #[test]
    fn completeness_is_judged_by_punctuation() {
        assert!(is_complete("What are your opening hours?"));
        assert!(is_complete("He said \"no.\""));
        assert!(!is_complete("My number is"));
        assert!(!is_complete("I would like..."));
    }
}
