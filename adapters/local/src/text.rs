//! Streamed text cut into sentences, so that speech begins before the text has ended.

/// A sentence longer than this is cut at a pause or a space. Pico needs whole phrases for its melody, not more.
const SENTENCE_BYTES_MAX: usize = 320;

/// Gathers pieces of text and gives back sentences.
#[derive(Debug, Default)]
pub(crate) struct Sentences {
    text: String,
    /// Bytes of `text` that a flush has released.
    released: usize,
}

impl Sentences {
    /// Adds the next piece.
    pub(crate) fn push(&mut self, piece: &str) {
        self.text.push_str(piece);
    }

    /// Releases all text so far, whether or not its sentence has ended.
    pub(crate) fn flush(&mut self) {
        self.released = self.text.len();
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// The next sentence that is complete, released or too long to wait for.
    pub(crate) fn next(&mut self) -> Option<String> {
        let complete = sentence_end(&self.text).filter(|&end| end <= SENTENCE_BYTES_MAX);
        let released = (self.released > 0).then_some(self.released);
        let end = match (complete, released) {
            (Some(complete), _) => complete,
            (None, Some(released)) if released <= SENTENCE_BYTES_MAX => released,
            (None, _) if self.text.len() > SENTENCE_BYTES_MAX => long_end(&self.text),
            (None, _) => return None,
        };
        let sentence: String = self.text.drain(..end).collect();
        self.released = self.released.saturating_sub(end);
        Some(sentence)
    }
}

/// Past the first mark that ends a sentence: one with a space behind it, so that `9.30` and `10 a.m.,` hold together.
fn sentence_end(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().peekable();
    while let Some((_, c)) = chars.next() {
        let &(next, after) = chars.peek()?;
        let ends = matches!(c, '.' | '!' | '?' | '\u{2026}') && after.is_whitespace();
        if (ends && !is_abbreviation(&text[..next])) || c == '\n' {
            return Some(next);
        }
    }
    None
}

/// Whether the last word of `text`, which ends in a full stop, is short for another.
fn is_abbreviation(text: &str) -> bool {
    let word = text.rsplit(char::is_whitespace).next().unwrap_or_default().to_lowercase();
    matches!(word.as_str(), "a.m." | "dr." | "e.g." | "i.e." | "mr." | "mrs." | "ms." | "no." | "p.m." | "st.")
}

/// Where to cut text that has no end in reach: past the last pause within the limit, else the last space, else anywhere.
fn long_end(text: &str) -> usize {
    let limit = text.floor_char_boundary(SENTENCE_BYTES_MAX);
    let head = &text[..limit];
    let past = |found: &str| found.len() + found_char_len(&head[found.len()..]);
    let pause = head.rmatch_indices([',', ';', ':']).next().map(|(at, _)| past(&head[..at]));
    let space = head.rmatch_indices(char::is_whitespace).next().map(|(at, _)| past(&head[..at]));
    pause.or(space).unwrap_or(limit)
}

fn found_char_len(rest: &str) -> usize {
    rest.chars().next().map_or(0, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_comes_out_when_the_next_begins() {
        let mut sentences = Sentences::default();
        sentences.push("We are open. From ni");
        assert_eq!(sentences.next().as_deref(), Some("We are open."));
        assert_eq!(sentences.next(), None);
        sentences.push("ne to five.");
        assert_eq!(sentences.next(), None);
        sentences.flush();
        assert_eq!(sentences.next().as_deref(), Some(" From nine to five."));
        assert_eq!(sentences.next(), None);
    }

    #[test]
    fn numbers_and_abbreviations_hold_together() {
        let mut sentences = Sentences::default();
        sentences.push("Dr. May is in from 9.30 to 5 p.m. today. Ok");
        assert_eq!(sentences.next().as_deref(), Some("Dr. May is in from 9.30 to 5 p.m. today."));
    }

    #[test]
    fn text_without_end_is_cut_at_a_pause_or_a_space_or_anywhere() {
        let words = "word ".repeat(100);
        for (text, last) in [(format!("one, {words}"), ','), (words.clone(), ' '), ("\u{e9}".repeat(400), '\u{e9}')] {
            let mut sentences = Sentences::default();
            sentences.push(&text);
            let first = sentences.next().unwrap();
            assert!(first.len() <= SENTENCE_BYTES_MAX && first.ends_with(last));
            sentences.flush();
            let mut all = first;
            while let Some(next) = sentences.next() {
                all.push_str(&next);
            }
            assert_eq!(all, text);
            assert_eq!(sentences.len(), 0);
        }
    }

    #[test]
    fn a_flush_does_not_release_what_comes_after_it() {
        let mut sentences = Sentences::default();
        sentences.push("Hello");
        sentences.flush();
        sentences.push(" there");
        assert_eq!(sentences.next().as_deref(), Some("Hello"));
        assert_eq!(sentences.next(), None);
    }
}
