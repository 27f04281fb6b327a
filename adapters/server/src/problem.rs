//! A refusal, before a dialect gives it its form.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use offhook::{Error, ErrorKind};

/// Why a request was not done. It travels in the extensions of a response; the dialect's outermost layer writes the body.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What else there is to say, for dialects that have a place for it.
    pub details: BTreeMap<&'static str, String>,
    /// The field, parameter or part of the path that is wrong.
    pub field: Option<String>,
    /// What kind of refusal.
    pub kind: Kind,
    /// In a sentence, free of personal data.
    pub message: String,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

/// What kind of refusal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// It cannot be done as things stand.
    Conflict,
    /// Something outside of this server failed, or is not configured.
    External,
    /// No prepaid credit is left.
    Funds,
    /// It may not be done with this key.
    Forbidden,
    /// A fault of this server.
    Internal,
    /// The request is wrong; with its field, if one is.
    Invalid,
    /// There is no such method for this path.
    Method,
    /// There is nothing of that name.
    NotFound,
    /// More than fits.
    TooLarge,
    /// Too many requests.
    TooMany,
    /// No slot for a call.
    Full,
    /// Nobody knows who asks.
    Unauthorized,
}

impl Kind {
    /// HTTP's own word for it; a dialect may have another.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Conflict => StatusCode::CONFLICT,
            Self::External | Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::Funds => StatusCode::PAYMENT_REQUIRED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
        }
    }

    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::External => "service_unavailable",
            Self::Full => "no_capacity",
            Self::Funds => "insufficient_credits",
            Self::Forbidden => "forbidden",
            Self::Internal => "internal_error",
            Self::Invalid => "invalid_request",
            Self::Method => "method_not_allowed",
            Self::NotFound => "not_found",
            Self::TooLarge => "payload_too_large",
            Self::TooMany => "rate_limited",
            Self::Unauthorized => "unauthorized",
        }
    }
}

impl Problem {
    /// A refusal of that kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { details: BTreeMap::new(), field: None, kind, message: message.into(), retry_after: None }
    }

    /// A field that is wrong.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(Kind::Invalid, message) }
    }

    /// There is no such `what`.
    pub fn not_found(what: &str) -> Self {
        Self::new(Kind::NotFound, format!("there is no such {what}"))
    }

    /// Worth another try after that time.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// With something else to say.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.insert(name, value.into());
        self
    }

    /// The message, with the field in front.
    pub fn sentence(&self) -> String {
        match &self.field {
            Some(field) if !field.is_empty() => format!("{field}: {}", self.message),
            _ => self.message.clone(),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::ConfigInvalid => Kind::Invalid,
            ErrorKind::Conflict | ErrorKind::Rejected => Kind::Conflict,
            ErrorKind::InsufficientFunds => Kind::Funds,
            ErrorKind::NotFound => Kind::NotFound,
            ErrorKind::PermissionDenied => Kind::Forbidden,
            // What an engine has not enough of is slots; requests are counted before it is asked.
            ErrorKind::RateLimited => Kind::Full,
            ErrorKind::TimedOut | ErrorKind::Unavailable | ErrorKind::Unsupported => Kind::External,
            ErrorKind::Unauthenticated => Kind::Unauthorized,
            _ => Kind::Internal,
        };
        match kind {
            Kind::Internal => {
                tracing::error!(%error, "a request failed");
                Self::new(kind, "something went wrong here")
            }
            Kind::External => {
                tracing::warn!(%error, "a request could not be done");
                Self::new(kind, error.message()).retry_after(RETRY_AFTER)
            }
            Kind::Full => Self::new(kind, error.message()).retry_after(RETRY_AFTER),
            Kind::Invalid => {
                let field = error.context().iter().find(|(name, _)| *name == "field").map(|(_, field)| field.clone());
                Self { field, ..Self::new(kind, error.message()) }
            }
            _ => Self::new(kind, error.message()),
        }
    }
}

/// When to come back to a server that cannot do it now.
const RETRY_AFTER: Duration = Duration::from_secs(5);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// What handlers answer.
pub type Answer<T> = Result<T, Problem>;
