//! Keys that were pressed: those that a rule names are the call's, all other digits are the caller's.

use std::collections::{BTreeSet, VecDeque};

use super::super::{Entry, Runner};
use crate::call::policy::KeyPattern;
use crate::call::{DecisionKind, Input, Phase};
use crate::error::{Error, ErrorKind, Result};
use crate::provider::telephony::DtmfDigit;

/// Rows of keys for which digits are sought one by one: each costs up to ten runs of the call.
const ROWS_MAX: usize = 256;

/// What a row of keys meant to the call.
#[derive(Debug, PartialEq)]
struct Row {
    /// The entry with which it was over.
    decided: usize,
    /// The entries of its keys.
    keys: Vec<usize>,
    /// What took them.
    pattern: Option<KeyPattern>,
}

/// The entries with another digit wherever no rule asks for just that one, so that every row means what it meant.
///
/// `Rejected` for a journal with a second start; `Unexpected` when no digit leaves every row what it was.
pub(super) fn hide(entries: &[Entry]) -> Result<Vec<Entry>> {
    if !entries.iter().any(|entry| pressed(entry).is_some()) {
        return Ok(entries.to_vec());
    }
    let rows = rows(entries)?;
    let secrets = secrets(entries, &rows);
    let digits = substitutes(entries);
    if let Some(hidden) = with_one_of(&digits, &secrets.concat(), entries, &rows)? {
        return Ok(hidden);
    }
    if secrets.len() > ROWS_MAX {
        return Err(unexpected("there are too many keys to find others for each"));
    }
    secrets.iter().try_fold(entries.to_vec(), |hidden, secrets| {
        let with_others = with_one_of(&digits, secrets, &hidden, &rows)?;
        with_others.ok_or_else(|| unexpected("the call would go another way with other keys"))
    })
}

/// The entries with the first of the digits as every secret key that leaves the rows what they are.
fn with_one_of(digits: &[DtmfDigit], secrets: &[usize], entries: &[Entry], rows: &[Row]) -> Result<Option<Vec<Entry>>> {
    let mut hidden = entries.to_vec();
    for digit in digits {
        for index in secrets {
            if let Some(Entry::Input { input: Input::Dtmf(key), .. }) = hidden.get_mut(*index) {
                *key = *digit;
            }
        }
        if self::rows(&hidden)? == rows {
            return Ok(Some(hidden));
        }
    }
    Ok(None)
}

/// Runs the call for its rows of keys.
fn rows(entries: &[Entry]) -> Result<Vec<Row>> {
    let patterns = patterns(entries);
    let mut entries = entries.iter().cloned().enumerate();
    let mut runner = Runner::start(entries.next().map(|(_, start)| start))?;
    runner.call.explain();
    let (mut rows, mut waiting) = (Vec::new(), VecDeque::new());
    for (index, entry) in entries {
        if let Some(key) = pressed(&entry) {
            // A hold may be over by now.
            runner.call.handle_timeout(entry.at());
            if runner.call.phase() == Phase::Connected && !runner.call.is_on_hold() {
                waiting.push_back((index, key));
            }
        }
        runner.step(entry)?;
        runner.outputs();
        for decision in runner.call.take_decisions() {
            let DecisionKind::Keys { keys: told, rule } = decision.kind else { continue };
            let length = told.len().min(waiting.len());
            let (keys, digits): (Vec<usize>, Vec<DtmfDigit>) = waiting.drain(..length).unzip();
            if !digits.iter().map(|key| key.as_char()).eq(told.chars()) {
                return Err(unexpected("it is unclear which keys the call took"));
            }
            let pattern = rule.and_then(|_| patterns.iter().find(|pattern| pattern.is(&digits)).cloned());
            rows.push(Row { decided: index, keys, pattern });
        }
    }
    Ok(rows)
}

/// The entries of all digits but those that a rule names: of each row, and of what the call never took.
fn secrets(entries: &[Entry], rows: &[Row]) -> Vec<Vec<usize>> {
    let is_digit = |entry: &Entry| pressed(entry).is_some_and(|key| key.as_char().is_ascii_digit());
    let digits = entries.iter().enumerate().filter(|(_, entry)| is_digit(entry)).map(|(index, _)| index);
    let mut left: BTreeSet<usize> = digits.collect();
    let of_row = |row: &Row| {
        let pattern = row.pattern.as_ref().map(KeyPattern::to_string).unwrap_or_default();
        let wanted = pattern.chars().map(Some).chain(std::iter::repeat(None));
        let keys = row.keys.iter().zip(wanted).filter(|(key, _)| left.remove(key));
        keys.filter(|(_, wanted)| wanted.is_none_or(|key| key == 'x')).map(|(key, _)| *key).collect()
    };
    let mut secrets: Vec<Vec<usize>> = rows.iter().map(of_row).collect();
    secrets.push(left.into_iter().collect());
    secrets.retain(|keys| !keys.is_empty());
    secrets
}

/// All digits; first those that no rule names.
fn substitutes(entries: &[Entry]) -> Vec<DtmfDigit> {
    let named: String = patterns(entries).iter().map(KeyPattern::to_string).collect();
    let mut digits: Vec<char> = ('0'..='9').collect();
    digits.sort_by_key(|digit| named.contains(*digit));
    digits.into_iter().filter_map(|digit| DtmfDigit::try_from(digit).ok()).collect()
}

fn patterns(entries: &[Entry]) -> Vec<KeyPattern> {
    let Some(Entry::Start { config, .. }) = entries.first() else { return Vec::new() };
    config.policy.keypad.rules.iter().map(|rule| rule.keys.clone()).collect()
}

fn pressed(entry: &Entry) -> Option<DtmfDigit> {
    match entry {
        Entry::Input { input: Input::Dtmf(key), .. } => Some(*key),
        _ => None,
    }
}

fn unexpected(message: &str) -> Error {
    Error::new(ErrorKind::Unexpected, "journal.redact", message)
}
