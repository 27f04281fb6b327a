//! From Moonshine's token numbers back to text: byte-fallback BPE, detokenising half only.

use std::collections::BTreeMap;
use std::path::Path;

use offhook::error::{Error, ErrorKind, Result};

/// Marks the start of a word inside a piece, in place of a space (SentencePiece's convention).
const WORD_START: char = '\u{2581}';
const OPERATION: &str = "local.tokenizer";

/// The pieces of a `tokenizer.json` vocabulary, by token number.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    pieces: Vec<Piece>,
}

impl Vocabulary {
    /// Reads a `tokenizer.json`; `ConfigInvalid` if it is not one.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|error| {
            Error::new(ErrorKind::NotFound, OPERATION, "the tokenizer file cannot be read").with_source(error)
        })?;
        Self::parse(&bytes)
    }

    /// Parses the JSON of a `tokenizer.json`.
    pub(crate) fn parse(json: &[u8]) -> Result<Self> {
        let file: File = serde_json::from_slice(json).map_err(|error| {
            Error::new(ErrorKind::ConfigInvalid, OPERATION, "the tokenizer file is malformed").with_source(error)
        })?;
        let special: Vec<u32> = file.added_tokens.iter().filter(|token| token.special).map(|token| token.id).collect();
        let mut pieces = Vec::new();
        for (text, id) in file.model.vocab {
            let index = id as usize;
            if index >= PIECES_MAX {
                return Err(Error::new(ErrorKind::ConfigInvalid, OPERATION, "a token number is out of range"));
            }
            if pieces.len() <= index {
                pieces.resize(index + 1, Piece::Silent);
            }
            pieces[index] = if special.contains(&id) { Piece::Silent } else { Piece::of(&text) };
        }
        Ok(Self { pieces })
    }

    /// The text of `tokens`; special and unknown tokens are silent.
    pub(crate) fn detokenize(&self, tokens: &[u32]) -> String {
        let mut bytes = Vec::with_capacity(tokens.len() * 4);
        for &token in tokens {
            match self.pieces.get(token as usize) {
                Some(Piece::Byte(byte)) => bytes.push(*byte),
                Some(Piece::Text(text)) => bytes.extend_from_slice(text.as_bytes()),
                Some(Piece::Silent) | None => {}
            }
        }
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

/// Far above the 32,768 tokens of Moonshine; keeps a broken file from allocating without bound.
const PIECES_MAX: usize = 1 << 20;

#[derive(Clone, Debug)]
enum Piece {
    Byte(u8),
    Silent,
    Text(Box<str>),
}

impl Piece {
    fn of(text: &str) -> Self {
        let byte = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
        match byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => Self::Byte(byte),
            None => Self::Text(text.replace(WORD_START, " ").into()),
        }
    }
}

#[derive(serde::Deserialize)]
struct File {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
}

#[derive(serde::Deserialize)]
struct Model {
    vocab: BTreeMap<String, u32>,
}

#[derive(serde::Deserialize)]
struct AddedToken {
    id: u32,
    special: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_words_and_reassembles_bytes() {
        let vocabulary = sample();
        assert_eq!(vocabulary.detokenize(&[1, 3, 4, 5, 6, 7, 2]), "Hello caf\u{e9}");
    }

    #[test]
    fn unknown_and_special_tokens_are_silent() {
        assert_eq!(sample().detokenize(&[1, 99, 3, 2]), "Hel");
    }

    #[test]
    fn broken_files_are_refused() {
        assert_eq!(Vocabulary::parse(b"{}").unwrap_err().kind(), ErrorKind::ConfigInvalid);
        let huge = br#"{"model":{"vocab":{"a":4000000000}}}"#;
        assert_eq!(Vocabulary::parse(huge).unwrap_err().kind(), ErrorKind::ConfigInvalid);
    }

    fn sample() -> Vocabulary {
        let json = r#"{"model":{"vocab":{"<s>":1,"</s>":2,"▁Hel":3,"lo":4,"▁caf":5,"<0xC3>":6,"<0xA9>":7}},
            "added_tokens":[{"id":1,"special":true},{"id":2,"special":true}]}"#;
        Vocabulary::parse(json.as_bytes()).unwrap()
    }
}
