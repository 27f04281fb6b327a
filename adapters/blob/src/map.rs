//! Errors of `object_store` as the engine's.

use std::error::Error as _;
use std::io;

use object_store::Error as StoreError;
use offhook::{Error, ErrorKind};

pub(crate) fn map(operation: &'static str, error: StoreError) -> Error {
    let (kind, message) = match &error {
        StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } => {
            (ErrorKind::Conflict, "another object stands there")
        }
        StoreError::InvalidPath { .. } => (ErrorKind::ConfigInvalid, "the key cannot be kept there"),
        StoreError::JoinError { .. } => (ErrorKind::Unexpected, "work in the background broke off"),
        StoreError::NotFound { .. } => (ErrorKind::NotFound, "there is no such object"),
        StoreError::NotImplemented { .. } | StoreError::NotSupported { .. } => {
            (ErrorKind::Unsupported, "the place does not offer this")
        }
        StoreError::PermissionDenied { .. } => (ErrorKind::PermissionDenied, "the place does not permit it"),
        StoreError::Unauthenticated { .. } => (ErrorKind::Unauthenticated, "the place does not know the credentials"),
        StoreError::UnknownConfigurationKey { .. } => (ErrorKind::ConfigInvalid, "there is no such option"),
        _ => match io_below(&error) {
            Some(io) => classify_io(io),
            None => (ErrorKind::Unavailable, "the place cannot be reached or fails"),
        },
    };
    Error::new(kind, operation, message).with_source(error)
}

/// The same for an object that is looked for: `a/b` is absent also when `a` is an object, and `a` when it is a folder.
pub(crate) fn map_absent(operation: &'static str, error: StoreError) -> Error {
    let error = map(operation, error);
    if error.kind() != ErrorKind::Conflict {
        return error;
    }
    Error::new(ErrorKind::NotFound, operation, "there is no such object").with_source(error)
}

pub(crate) fn map_io(operation: &'static str, error: io::Error) -> Error {
    let (kind, message) = classify_io(&error);
    Error::new(kind, operation, message).with_source(error)
}

fn classify_io(error: &io::Error) -> (ErrorKind, &'static str) {
    use io::ErrorKind as K;

    match error.kind() {
        K::AlreadyExists | K::DirectoryNotEmpty | K::IsADirectory | K::NotADirectory => {
            (ErrorKind::Conflict, "a folder stands where an object would, or the other way round")
        }
        K::FileTooLarge | K::QuotaExceeded | K::StorageFull => (ErrorKind::Unavailable, "there is no space left"),
        K::InvalidFilename | K::InvalidInput => (ErrorKind::ConfigInvalid, "the name cannot be kept there"),
        K::PermissionDenied | K::ReadOnlyFilesystem => (ErrorKind::PermissionDenied, "the system does not permit it"),
        _ => (ErrorKind::Unavailable, "the disk fails"),
    }
}

/// The system's error at the bottom of another.
fn io_below(error: &StoreError) -> Option<&io::Error> {
    let mut below = error.source();
    while let Some(error) = below {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io);
        }
        below = error.source();
    }
    None
}
