//! Where the bytes of a file come from.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

use symphonia::core::io::{MediaSource, ReadOnlySource};

/// The bytes of a file: in memory, in the file system, or from any reader.
///
/// A reader that cannot go back serves every format but MP4 files with their index at the end.
pub struct Source(Box<dyn MediaSource>);

impl Source {
    /// Bytes in memory.
    pub fn from_bytes(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self(Box::new(Cursor::new(bytes)))
    }

    /// An open file, from its begin.
    pub fn from_file(file: File) -> Self {
        Self(Box::new(file))
    }

    /// A stream of bytes, such as the body of a download.
    pub fn from_reader(reader: impl Read + Send + Sync + 'static) -> Self {
        Self(Box::new(ReadOnlySource::new(reader)))
    }

    /// The length in bytes, where it is known.
    pub(crate) fn len(&self) -> Option<u64> {
        self.0.byte_len()
    }

    /// The same source, of which no byte behind the first `bytes_max` can be read.
    pub(crate) fn limited(self, bytes_max: u64) -> Box<dyn MediaSource> {
        Box::new(Limited { source: self.0, at: 0, bytes_max })
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("len", &self.len()).finish_non_exhaustive()
    }
}

struct Limited {
    source: Box<dyn MediaSource>,
    at: u64,
    bytes_max: u64,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.at = self.at.saturating_add(read as u64);
        if self.at > self.bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(read)
    }
}

impl Seek for Limited {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = self.source.seek(to)?;
        Ok(self.at)
    }
}

impl MediaSource for Limited {
    fn is_seekable(&self) -> bool {
        self.source.is_seekable()
    }

    fn byte_len(&self) -> Option<u64> {
        self.source.byte_len()
    }
}
