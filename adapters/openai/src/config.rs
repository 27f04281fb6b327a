//! [`OpenAiConfig`]: which endpoint, which model.

use std::fmt;
use std::time::Duration;

use offhook::{Error, ErrorKind, Result};

/// OpenAI's own endpoint.
const OPENAI_URL: &str = "https://api.openai.com/v1";
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(20);

/// Where a model is and how to ask it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpenAiConfig {
    /// Sent as a bearer token; local servers often need none.
    pub api_key: Option<ApiKey>,
    /// Up to, without, `/chat/completions`; a query is kept and goes with every request.
    pub base_url: String,
    /// The model's name at that endpoint.
    pub model: String,
    /// Longest wait for the answer to begin, and then for each piece of it.
    pub timeout: Duration,
    /// How the endpoint calls the limit of an answer.
    pub tokens_field: TokensField,
}

impl OpenAiConfig {
    /// `model` at OpenAI.
    pub fn openai(model: impl Into<String>, api_key: ApiKey) -> Self {
        let config = Self { tokens_field: TokensField::MaxCompletionTokens, ..Self::compatible(OPENAI_URL, model) };
        config.with_api_key(api_key)
    }

    /// `model` at another endpoint that speaks the dialect, without a key.
    pub fn compatible(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            api_key: None,
            base_url: base_url.into(),
            model: model.into(),
            timeout: TIMEOUT_DEFAULT,
            tokens_field: TokensField::MaxTokens,
        }
    }

    /// Sets the key.
    #[must_use]
    pub fn with_api_key(mut self, api_key: ApiKey) -> Self {
        self.api_key = Some(api_key);
        self
    }

    /// Sets the time-out.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how the endpoint calls the limit of an answer.
    #[must_use]
    pub fn with_tokens_field(mut self, tokens_field: TokensField) -> Self {
        self.tokens_field = tokens_field;
        self
    }
}

/// How an endpoint calls the limit of an answer in tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TokensField {
    /// `max_completion_tokens`, the only one that OpenAI's reasoning models take.
    MaxCompletionTokens,
    /// `max_tokens`, the older one, which every compatible server knows.
    MaxTokens,
}

/// A key that does not show when printed.
#[derive(Clone, Eq, PartialEq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Keeps `key`.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(redacted)")
    }
}

/// The URLs of an endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) chat: String,
    pub(crate) models: String,
}

impl Endpoint {
    pub(crate) fn parse(base_url: &str) -> Result<Self> {
        let (base, query) = match base_url.split_once('?') {
            Some((base, query)) => (base, format!("?{query}")),
            None => (base_url, String::new()),
        };
        let base = base.trim_end_matches('/');
        let host = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://")).unwrap_or_default();
        let malformed = |c: char| c.is_whitespace() || c.is_control() || c == '#';
        if host.is_empty() || host.starts_with('/') || base_url.contains(malformed) {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                "llm.new",
                "the base URL is not an absolute http or https one",
            ));
        }
        Ok(Self { chat: format!("{base}/chat/completions{query}"), models: format!("{base}/models{query}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_keep_path_and_query() {
        for base in ["http://localhost:8080/v1", "http://localhost:8080/v1/"] {
            let endpoint = Endpoint::parse(base).unwrap();
            assert_eq!(endpoint.chat, "http://localhost:8080/v1/chat/completions");
            assert_eq!(endpoint.models, "http://localhost:8080/v1/models");
        }
        let endpoint = Endpoint::parse("https://host/openai/v1?api-version=preview").unwrap();
        assert_eq!(endpoint.chat, "https://host/openai/v1/chat/completions?api-version=preview");
    }

    #[test]
    fn malformed_urls_are_refused() {
        for base in ["", "localhost:8080", "ftp://host/v1", "https://", "https:///v1", "http://a b", "http://host/#v1"]
        {
            assert_eq!(Endpoint::parse(base).unwrap_err().kind(), ErrorKind::ConfigInvalid, "{base:?}");
        }
    }

    #[test]
    fn keys_do_not_show() {
        let config = OpenAiConfig::openai("model", ApiKey::new("sk-s3cret"));
        assert!(!format!("{config:?}").contains("s3cret"));
    }
}
