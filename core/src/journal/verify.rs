//! Whether a call that is run again does what it did.

use std::time::Duration;

use super::chain::Chain;
use super::{Entry, Journal, Runner};
use crate::call::{CallRecord, Output};
use crate::error::Result;

/// What came of running a journal again.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Where the call first did something else; `None` when all that can be checked is identical.
    pub difference: Option<Difference>,
    /// Inputs that were given.
    pub inputs: u64,
    /// Whether the journal holds the call to its end, so that every output was checked.
    pub is_whole: bool,
    /// Outputs that came.
    pub outputs: u64,
    /// The call's record after the last entry.
    pub record: CallRecord,
}

/// Where a call that was run again went another way.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Since the call's start.
    pub at: Duration,
    /// What was answered otherwise.
    pub entry: Entry,
    /// The entry's number; the start is 0.
    pub index: usize,
    /// What the call puts out there now. What it put out then is known by its digest alone.
    pub outputs: Vec<Output>,
}

impl Journal {
    /// Runs the call again and compares all that it puts out with what it put out when it happened.
    ///
    /// `Rejected` for a journal with a second start.
    pub fn verify(&self) -> Result<Verdict> {
        let mut entries = self.entries.iter().cloned();
        let mut chain = Chain::default();
        let mut runner = Runner::start(entries.next())?;
        let mut outputs = runner.outputs();
        let mut difference = None;
        let (mut inputs, mut is_whole) = (0, false);
        // The first entry whose outputs no check value has confirmed.
        let mut suspect = (0, outputs.clone());
        for (index, entry) in entries.enumerate().map(|(index, entry)| (index + 1, entry)) {
            outputs.iter().for_each(|output| chain.push(output));
            let is_equal = match (&entry, self.checks.get(index)) {
                (Entry::End { digest, outputs, .. }, _) => {
                    is_whole = true;
                    Some((*digest, *outputs) == (chain.digest(), chain.outputs()))
                }
                (_, Some(Some(check))) => Some(*check == chain.check()),
                _ => None,
            };
            if is_equal == Some(false) && difference.is_none() {
                difference = self.difference(&suspect);
            }
            inputs += u64::from(matches!(entry, Entry::Input { .. }));
            runner.step(entry)?;
            outputs = runner.outputs();
            if is_equal.is_some() {
                suspect = (index, outputs.clone());
            }
        }
        outputs.iter().for_each(|output| chain.push(output));
        Ok(Verdict { difference, inputs, is_whole, outputs: chain.outputs(), record: runner.call.record() })
    }

    fn difference(&self, (index, outputs): &(usize, Vec<Output>)) -> Option<Difference> {
        let entry = self.entries.get(*index)?.clone();
        let at = entry.at().saturating_since(self.entries.first()?.at());
        Some(Difference { at, entry, index: *index, outputs: outputs.clone() })
    }
}
