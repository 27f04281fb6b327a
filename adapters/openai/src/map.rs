//! The one place where an endpoint's refusals become the engine's errors.
//!
//! An endpoint's own words are never passed on: they quote prompts and pieces of keys.

use offhook::{Error, ErrorKind, Retry};
use serde_json::Value;

/// What an endpoint answered instead of a completion.
pub(crate) struct Refusal<'a> {
    /// The `error` object of the dialect, or whatever stands there; `Null` when there is none.
    pub(crate) error: &'a Value,
    /// Of the response, when that is what refuses; an error inside a stream has none.
    pub(crate) status: Option<u16>,
    /// The response's `retry-after`.
    pub(crate) retry_after: Option<&'a str>,
}

/// The engine's error for `refusal`.
pub(crate) fn map(operation: &'static str, refusal: &Refusal<'_>) -> Error {
    let code = token(&refusal.error["code"]);
    let class = token(&refusal.error["type"]);
    // Gateways put the status that they met upstream where the dialect has a name.
    let status = refusal.status.or_else(|| code.as_deref()?.parse().ok());
    let kind = match status {
        Some(status) => kind_of_status(status),
        None => kind_of_name(code.as_deref().unwrap_or_default(), class.as_deref().unwrap_or_default()),
    };
    let mut error = Error::new(kind, operation, message(kind));
    if [&code, &class].into_iter().flatten().any(|name| name == "insufficient_quota") {
        // Sent as a rate limit, but waiting does not fill an account.
        error = error.with_retry(Retry::Never);
    }
    if let Some(status) = refusal.status {
        error = error.with_context("status", status);
    }
    if let Some(code) = code {
        error = error.with_context("code", code);
    }
    if let Some(class) = class {
        error = error.with_context("type", class);
    }
    if let Some(seconds) = refusal.retry_after.and_then(|value| value.trim().parse::<u32>().ok()) {
        error = error.with_context("retry_after_s", seconds);
    }
    error
}

fn kind_of_status(status: u16) -> ErrorKind {
    match status {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::PermissionDenied,
        404 => ErrorKind::NotFound,
        408 => ErrorKind::TimedOut,
        429 => ErrorKind::RateLimited,
        500..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::Rejected,
    }
}

fn kind_of_name(code: &str, class: &str) -> ErrorKind {
    let named = |name: &str| code == name || class == name;
    if named("authentication_error") || named("invalid_api_key") {
        return ErrorKind::Unauthenticated;
    }
    if named("permission_error") {
        return ErrorKind::PermissionDenied;
    }
    if named("rate_limit_error") || named("rate_limit_exceeded") || named("insufficient_quota") {
        return ErrorKind::RateLimited;
    }
    if named("invalid_request_error") || named("context_length_exceeded") {
        return ErrorKind::Rejected;
    }
    ErrorKind::Unavailable
}

fn message(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "the endpoint has no such model or path",
        ErrorKind::PermissionDenied => "the endpoint does not permit it",
        ErrorKind::RateLimited => "the endpoint limits the rate or the account is empty",
        ErrorKind::TimedOut => "the endpoint took too long",
        ErrorKind::Unauthenticated => "the endpoint wants another key",
        ErrorKind::Unavailable => "the endpoint is failing",
        _ => "the endpoint refused the request",
    }
}

/// A short machine word, which cannot hold a sentence of a prompt or a key.
fn token(value: &Value) -> Option<String> {
    const BYTES_MAX: usize = 40;
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (!text.is_empty() && text.len() <= BYTES_MAX && text.bytes().all(is_plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn statuses_become_kinds() {
        for (status, kind) in [
            (302, ErrorKind::Rejected),
            (400, ErrorKind::Rejected),
            (401, ErrorKind::Unauthenticated),
            (403, ErrorKind::PermissionDenied),
            (404, ErrorKind::NotFound),
            (408, ErrorKind::TimedOut),
            (422, ErrorKind::Rejected),
            (429, ErrorKind::RateLimited),
            (500, ErrorKind::Unavailable),
            (529, ErrorKind::Unavailable),
        ] {
            let refusal = Refusal { error: &Value::Null, status: Some(status), retry_after: None };
            assert_eq!(map("test", &refusal).kind(), kind, "{status}");
        }
    }

    #[test]
    fn names_and_upstream_statuses_become_kinds() {
        for (error, kind) in [
            (json!({"type": "rate_limit_error"}), ErrorKind::RateLimited),
            (json!({"code": "invalid_api_key"}), ErrorKind::Unauthenticated),
            (json!({"code": "context_length_exceeded", "type": "invalid_request_error"}), ErrorKind::Rejected),
            (json!({"type": "server_error"}), ErrorKind::Unavailable),
            (json!({"code": 429}), ErrorKind::RateLimited),
            (json!({"code": "502"}), ErrorKind::Unavailable),
            (json!("only words"), ErrorKind::Unavailable),
        ] {
            assert_eq!(
                map("test", &Refusal { error: &error, status: None, retry_after: None }).kind(),
                kind,
                "{error}"
            );
        }
    }

    #[test]
    fn an_empty_account_is_not_worth_waiting_for() {
        let error = json!({"type": "insufficient_quota", "code": "insufficient_quota"});
        let mapped = map("test", &Refusal { error: &error, status: Some(429), retry_after: None });
        assert_eq!((mapped.kind(), mapped.retry()), (ErrorKind::RateLimited, Retry::Never));
    }

    #[test]
    fn words_of_the_endpoint_are_not_repeated() {
        let error = json!({"message": "bad key sk-abc", "type": "Bad key sk-abc", "code": "sk-abc"});
        let refusal = Refusal { error: &error, status: Some(429), retry_after: Some(" 7 ") };
        let mapped = map("test", &refusal);
        assert_eq!(mapped.context(), [("status", "429".to_owned()), ("retry_after_s", "7".to_owned())]);
        assert!(!format!("{mapped:?}").contains("sk-abc"));
    }
}
