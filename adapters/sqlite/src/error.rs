//! SQLite's failures in the engine's words.

use offhook::{Error, ErrorKind};
use rusqlite::ErrorCode;

/// Why a piece of work failed: SQLite, or a promise of the trait that did not hold.
pub(crate) enum Failure {
    Sqlite(rusqlite::Error),
    Typed(Error),
}

impl Failure {
    pub(crate) fn into_error(self, operation: &'static str) -> Error {
        match self {
            Self::Sqlite(error) => map(operation, &error).with_source(error),
            Self::Typed(error) => error,
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Typed(error)
    }
}

/// The state is not what the caller expects.
pub(crate) fn conflict(operation: &'static str, message: &str) -> Error {
    Error::new(ErrorKind::Conflict, operation, message)
}

/// What `error` means for a caller. SQLite's own words are safe to show: values are always bound, never in a statement.
pub(crate) fn map(operation: &'static str, error: &rusqlite::Error) -> Error {
    let (kind, message) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (ErrorKind::Unavailable, "another connection keeps the database locked")
        }
        Some(ErrorCode::DatabaseCorrupt) => (ErrorKind::Unexpected, "the database is damaged"),
        Some(ErrorCode::DiskFull) => (ErrorKind::Unavailable, "the disk is full"),
        Some(ErrorCode::NotADatabase) => (ErrorKind::ConfigInvalid, "the file is not an SQLite database"),
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            (ErrorKind::PermissionDenied, "the database may not be written")
        }
        Some(ErrorCode::TooBig) => (ErrorKind::ConfigInvalid, "a value is larger than SQLite takes"),
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::OperationAborted
            | ErrorCode::OperationInterrupted
            | ErrorCode::OutOfMemory
            | ErrorCode::SystemIoFailure,
        ) => (ErrorKind::Unavailable, "the database cannot be used now"),
        _ => (ErrorKind::Unexpected, "the database does not behave as it should"),
    };
    Error::new(kind, operation, message).with_context("sqlite", error)
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn sqlite_codes_become_kinds() {
        let cases = [
            (ffi::SQLITE_BUSY, ErrorKind::Unavailable),
            (ffi::SQLITE_BUSY_SNAPSHOT, ErrorKind::Unavailable),
            (ffi::SQLITE_CONSTRAINT_UNIQUE, ErrorKind::Unexpected),
            (ffi::SQLITE_CORRUPT, ErrorKind::Unexpected),
            (ffi::SQLITE_FULL, ErrorKind::Unavailable),
            (ffi::SQLITE_IOERR_FSYNC, ErrorKind::Unavailable),
            (ffi::SQLITE_NOTADB, ErrorKind::ConfigInvalid),
            (ffi::SQLITE_READONLY, ErrorKind::PermissionDenied),
            (ffi::SQLITE_TOOBIG, ErrorKind::ConfigInvalid),
        ];
        for (code, kind) in cases {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let mapped = Failure::from(error).into_error("store.commit");
            assert_eq!((mapped.kind(), mapped.operation()), (kind, "store.commit"), "{code}");
        }
    }
}
