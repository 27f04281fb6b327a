//! Ids as dialects show them: one UUIDv7 of the engine, bare or behind a prefix.

use std::fmt::Display;
use std::str::FromStr;

use crate::problem::{Answer, Problem};

/// The id behind `prefix`, if the text is one: of nothing else is there anything (X18: 404).
pub(crate) fn parse<T: FromStr>(text: &str, prefix: &str, what: &str) -> Answer<T> {
    let bare = text.strip_prefix(prefix).ok_or_else(|| Problem::not_found(what))?;
    bare.parse().map_err(|_| Problem::not_found(what))
}

/// The id behind `prefix`.
pub(crate) fn show(prefix: &str, id: impl Display) -> String {
    format!("{prefix}{id}")
}
