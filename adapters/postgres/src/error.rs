//! PostgreSQL's failures in the engine's words.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use deadpool_postgres::{PoolError, TimeoutType};
use offhook::{Error, ErrorKind};
use tokio_postgres::error::SqlState;

/// Why a piece of work failed: the server or the way to it, or a promise of the trait that did not hold.
pub(crate) enum Failure {
    Postgres(tokio_postgres::Error),
    /// No answer within this time.
    Silent(Duration),
    Typed(Error),
}

impl Failure {
    pub(crate) fn into_error(self, operation: &'static str) -> Error {
        match self {
            Self::Postgres(error) => map(operation, error),
            Self::Silent(waited) => {
                let error = Error::new(ErrorKind::TimedOut, operation, "the database does not answer");
                error.with_context("seconds", waited.as_secs())
            }
            Self::Typed(error) => error,
        }
    }

    /// Whether it leaves open what became of the request. An error that the server tells, and lives to tell, does not.
    pub(crate) fn is_in_doubt(&self) -> bool {
        match self {
            Self::Postgres(error) => error.code().is_none_or(is_last_words),
            Self::Silent(_) => true,
            Self::Typed(_) => false,
        }
    }

    /// Whether the connection was lost, as when a server is started again; another one may work.
    pub(crate) fn is_loss(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        error.code().map_or_else(|| is_broken(error), is_last_words)
    }

    /// Whether others were in the way, and a second attempt finds them gone.
    pub(crate) fn is_collision(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        let collisions =
            [SqlState::UNIQUE_VIOLATION, SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE];
        error.code().is_some_and(|code| collisions.contains(code))
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Typed(error)
    }
}

/// The state is not what the caller expects.
pub(crate) fn conflict(message: &str) -> Error {
    Error::new(ErrorKind::Conflict, "store.commit", message)
}

/// Why the pool lends no connection. Nothing was asked of the database yet.
pub(crate) fn map_pool(operation: &'static str, error: PoolError) -> Error {
    let unavailable = |message| Error::new(ErrorKind::Unavailable, operation, message);
    match error {
        PoolError::Backend(error) if error.as_db_error().is_none() && !is_broken(&error) => {
            // Such as a server without TLS or with an unknown certificate, or one that wants a password that there is not.
            Error::new(ErrorKind::ConfigInvalid, operation, "the URL does not suit the server").with_source(error)
        }
        PoolError::Backend(error) => map(operation, error),
        PoolError::Timeout(TimeoutType::Wait) => unavailable("all connections are busy"),
        PoolError::Timeout(_) => unavailable("the database cannot be reached in time"),
        PoolError::PostCreateHook(deadpool_postgres::HookError::Backend(error)) => map(operation, error),
        error => unavailable("no connection can be made").with_source(error),
    }
}

/// What `error` means for a caller.
///
/// The server's own words are kept where they name settings and objects, and left out where they may quote a value.
pub(crate) fn map(operation: &'static str, error: tokio_postgres::Error) -> Error {
    let Some(server) = error.as_db_error() else {
        let (kind, message) = match is_broken(&error) {
            true => (ErrorKind::Unavailable, "there is no connection to the database"),
            false => (ErrorKind::Unexpected, "the database does not behave as it should"),
        };
        return Error::new(kind, operation, message).with_source(error);
    };
    let code = server.code().code();
    let (kind, message) = meaning(code);
    let mapped = Error::new(kind, operation, message).with_context("sqlstate", code);
    if code.starts_with("22") || code.starts_with("23") {
        return mapped;
    }
    mapped.with_context("postgres", server.message())
}

/// Whether the server says it while it closes the connection: it is told to, or a session or a transaction was idle for too
/// long.
fn is_last_words(code: &SqlState) -> bool {
    code.code().starts_with("57P") || matches!(code.code(), "25P03" | "25P04")
}

/// Whether it was the connection that failed, and not what was said over it. TLS wraps its refusals as invalid data.
fn is_broken(error: &tokio_postgres::Error) -> bool {
    let is_refusal = |error: &io::Error| error.kind() == io::ErrorKind::InvalidData;
    let source = error.source();
    error.is_closed() || source.is_none_or(|source| source.downcast_ref().is_some_and(|error| !is_refusal(error)))
}

/// The kind and the words for an SQLSTATE (PostgreSQL's documentation, appendix A).
fn meaning(code: &str) -> (ErrorKind, &'static str) {
    match code {
        "22021" | "22P05" => (ErrorKind::ConfigInvalid, "the database cannot hold a character"),
        "25006" => (ErrorKind::Unavailable, "the database may only be read now"),
        "25P03" | "25P04" => {
            (ErrorKind::Unavailable, "the database gave up on a connection that was idle for too long")
        }
        "42501" => (ErrorKind::PermissionDenied, "the database does not permit it"),
        "53100" => (ErrorKind::Unavailable, "the disk is full"),
        "53300" => (ErrorKind::Unavailable, "the database takes no more connections"),
        "55P03" => (ErrorKind::Unavailable, "another connection keeps the database locked"),
        "57014" => (ErrorKind::TimedOut, "the database took too long and gave up"),
        _ => match &code[..2.min(code.len())] {
            "08" => (ErrorKind::Unavailable, "the connection to the database is lost"),
            "28" => (ErrorKind::Unauthenticated, "the database does not know the user or the password"),
            "3D" | "3F" => (ErrorKind::ConfigInvalid, "there is no such database"),
            "40" => (ErrorKind::Unavailable, "other connections were in the way each time"),
            "53" | "55" | "57" | "58" => (ErrorKind::Unavailable, "the database cannot be used now"),
            "54" => (ErrorKind::ConfigInvalid, "a value is larger than PostgreSQL takes"),
            "XX" => (ErrorKind::Unexpected, "the database is damaged or broken"),
            _ => (ErrorKind::Unexpected, "the database does not behave as it should"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_become_kinds() {
        let cases = [
            ("08006", ErrorKind::Unavailable),
            ("22021", ErrorKind::ConfigInvalid),
            ("23505", ErrorKind::Unexpected),
            ("25P03", ErrorKind::Unavailable),
            ("28P01", ErrorKind::Unauthenticated),
            ("3D000", ErrorKind::ConfigInvalid),
            ("40P01", ErrorKind::Unavailable),
            ("42501", ErrorKind::PermissionDenied),
            ("42P01", ErrorKind::Unexpected),
            ("53100", ErrorKind::Unavailable),
            ("54000", ErrorKind::ConfigInvalid),
            ("55P03", ErrorKind::Unavailable),
            ("57014", ErrorKind::TimedOut),
            ("57P01", ErrorKind::Unavailable),
            ("XX001", ErrorKind::Unexpected),
            ("", ErrorKind::Unexpected),
        ];
        for (code, kind) in cases {
            assert_eq!(meaning(code).0, kind, "{code}");
        }
    }

    #[test]
    fn a_server_that_closes_the_connection_has_lost_it() {
        for (code, is_loss) in [("57P01", true), ("25P03", true), ("25P04", true), ("57014", false), ("25006", false)] {
            assert_eq!(is_last_words(&SqlState::from_code(code)), is_loss, "{code}");
        }
    }
}
