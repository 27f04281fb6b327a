//! A journal as a file: a line that says what it is, and each entry behind its length.

use super::codec::{Reader, put_number};
use super::{Journal, Tail, rejected};
use crate::error::Result;

/// What a journal's file begins with.
pub const MAGIC: &[u8] = b"offhook journal\n";

impl Journal {
    /// The file of what a log holds.
    pub fn file_of<T: AsRef<[u8]>>(items: impl IntoIterator<Item = T>) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        for item in items {
            put_number(&mut file, item.as_ref().len() as u64);
            file.extend_from_slice(item.as_ref());
        }
        file
    }

    /// The journal's file.
    pub fn to_file(&self) -> Vec<u8> {
        Self::file_of(self.to_log())
    }

    /// Reads a file, up to its end or to the first entry that cannot be read.
    ///
    /// `Rejected` for a file that is no journal, that does not begin with a start, or of another version.
    pub fn from_file(file: &[u8]) -> Result<Self> {
        let rest = file.strip_prefix(MAGIC).ok_or_else(|| rejected("the file is not a journal"))?;
        let mut items = Items { reader: Reader { rest }, is_torn: false };
        let mut journal = Self::from_log(&mut items)?;
        if items.is_torn && journal.tail == Tail::Clean {
            journal.tail = Tail::Torn;
        }
        Ok(journal)
    }
}

struct Items<'a> {
    reader: Reader<'a>,
    /// The last item is shorter than it says.
    is_torn: bool,
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.reader.rest.is_empty() || self.is_torn {
            return None;
        }
        let length = self.reader.number().ok().and_then(|length| usize::try_from(length).ok());
        let split = length.and_then(|length| self.reader.rest.split_at_checked(length));
        let Some((item, rest)) = split else {
            self.is_torn = true;
            return None;
        };
        self.reader.rest = rest;
        Some(item)
    }
}
