//! The one error of the engine: what went wrong, whether to try again, and where.

use std::fmt;

/// Core's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure this is; callers branch on it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting or an argument cannot work; nothing was tried.
    ConfigInvalid,
    /// The record or resource is not in the state that the operation expects.
    Conflict,
    /// A prepaid balance would pass its floor.
    InsufficientFunds,
    /// There is no such thing.
    NotFound,
    /// The caller is known and may not do this.
    PermissionDenied,
    /// Too many requests; `retry` says whether waiting helps.
    RateLimited,
    /// The peer understood and refused.
    Rejected,
    /// No answer came in time. The operation may or may not have happened.
    TimedOut,
    /// Credentials are missing or wrong.
    Unauthenticated,
    /// The peer cannot be reached or is failing.
    Unavailable,
    /// Something broke its own contract; see the message and the source.
    Unexpected,
    /// The capability is not offered by this implementation.
    Unsupported,
}

impl ErrorKind {
    /// Its name in snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigInvalid => "config_invalid",
            Self::Conflict => "conflict",
            Self::InsufficientFunds => "insufficient_funds",
            Self::NotFound => "not_found",
            Self::PermissionDenied => "permission_denied",
            Self::RateLimited => "rate_limited",
            Self::Rejected => "rejected",
            Self::TimedOut => "timed_out",
            Self::Unauthenticated => "unauthenticated",
            Self::Unavailable => "unavailable",
            Self::Unexpected => "unexpected",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Whether trying again may help.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// It was tried as often as the policy allows.
    Exhausted,
    /// The same call may succeed later.
    Later,
    /// The same call will fail again.
    Never,
}

/// A failure of any operation in the engine or in an adapter.
///
/// A dialled number, a transcript or a key never stands in `message` or `context`.
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Inner>);

#[derive(Debug, thiserror::Error)]
#[error("{operation}: {message}{}", Facts(context))]
struct Inner {
    kind: ErrorKind,
    retry: Retry,
    operation: &'static str,
    message: String,
    context: Vec<(&'static str, String)>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` in `operation` (a dotted name such as `store.commit`).
    ///
    /// [`Retry`] follows from the kind: later for rate limits, time-outs and unavailability, else never.
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        let retry = match kind {
            ErrorKind::RateLimited | ErrorKind::TimedOut | ErrorKind::Unavailable => Retry::Later,
            _ => Retry::Never,
        };
        Self(Box::new(Inner { kind, retry, operation, message: message.into(), context: Vec::new(), source: None }))
    }

    /// The capability `what` is not offered.
    pub fn unsupported(operation: &'static str, what: &str) -> Self {
        Self::new(ErrorKind::Unsupported, operation, format!("{what} is not supported"))
    }

    /// Adds a named fact.
    #[must_use]
    pub fn with_context(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((name, value.to_string()));
        self
    }

    /// Overrides what follows from the kind.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// Keeps the error below.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether trying again may help.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// The operation that failed.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// What happened, in plain words.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Named facts, in the order they were added.
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.0.context
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Named facts, as they stand behind a message.
struct Facts<'a>(&'a [(&'static str, String)]);

impl fmt::Display for Facts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let opening = if index == 0 { " (" } else { ", " };
            write!(f, "{opening}{name}: {value}")?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_operation_message_and_context() {
        let error = Error::new(ErrorKind::Conflict, "store.commit", "revision moved").with_context("kind", "call");
        assert_eq!(error.to_string(), "store.commit: revision moved (kind: call)");
        assert_eq!(error.retry(), Retry::Never);
    }

    #[test]
    fn unavailability_may_be_retried() {
        let error = Error::new(ErrorKind::Unavailable, "llm.generate", "no route");
        assert_eq!(error.retry(), Retry::Later);
        assert_eq!(error.with_retry(Retry::Exhausted).retry(), Retry::Exhausted);
    }
}
