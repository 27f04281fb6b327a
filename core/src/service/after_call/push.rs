//! Pushes: systems of the customer's that are told of each call when it is over.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{PUSH_TIMEOUT, SIGNATURE_HEADER, invalid, mapper};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::TenantId;
use crate::provider::reach::Reach;
use crate::provider::transport::{HttpMethod, check_header_value};
use crate::service::outbox::{Inline, Outbox, Scheme};
use crate::signing::Secret;

/// Bytes of a push's id at most.
const ID_BYTES_MAX: usize = 64;

/// A system that is told of each call when it is over, again and again until it takes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Push {
    /// In which form.
    pub form: PushForm,
    /// Unique in the agent: 1 to 64 lower-case letters, digits, `_` and `-`.
    pub id: String,
    /// How. With GET, what is told stands in the query.
    #[serde(default)]
    pub method: PushMethod,
    /// The `Authorization` header, word for word (FL-050).
    #[serde(default, with = "crate::signing::serial::optional")]
    pub token: Option<Secret>,
    /// `https`.
    pub url: String,
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PushForm {
    /// VoxCore's whole result of a call (FL-043).
    CallResult,
    /// Dialflo's post-call webhook (DF-020).
    Dialflo,
    /// What a [key mapper](mapper) makes of `{{call.*}}`, `{{crm.*}}`, `{{result.*}}`, `{{analysis.*}}`, `{{qc.*}}` and
    /// `{{system.*}}` (FL-034, FL-040).
    KeyMapper(Map<String, Value>),
}

/// The method of a push.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "HTTP's own names")]
pub enum PushMethod {
    Get,
    Patch,
    #[default]
    Post,
    Put,
}

impl Push {
    pub(super) fn check(&self, reach: &Reach) -> Result<()> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
        if self.id.is_empty() || self.id.len() > ID_BYTES_MAX || !self.id.bytes().all(is_plain) {
            return Err(invalid("a push's id is made of lower-case letters, digits, _ and -"));
        }
        if let Some(token) = &self.token {
            check_header_value(token.expose())?;
        }
        reach.check(&self.url)?;
        match &self.form {
            PushForm::KeyMapper(keys) => mapper::check(keys),
            PushForm::CallResult | PushForm::Dialflo => Ok(()),
        }
    }

    /// As a call's row keeps it.
    pub(super) fn pending(&self, outbox: &Outbox, tenant: TenantId) -> Result<PendingPush> {
        let token = self.token.as_ref().map(|token| outbox.seal(tenant, token.expose())).transpose()?;
        let (form, id, method, url) = (self.form.clone(), self.id.clone(), self.method, self.url.clone());
        Ok(PendingPush { form, id, method, sealed_token: token, url })
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PendingPush {
    pub(super) form: PushForm,
    pub(super) id: String,
    method: PushMethod,
    sealed_token: Option<String>,
    url: String,
}

impl PendingPush {
    /// Where `told` goes, and the body that it goes with: none with GET, which tells in its query.
    pub(super) fn target(&self, told: &Value) -> Result<(Inline, String)> {
        let inline = self.bare_target();
        if self.method == PushMethod::Get {
            return Ok((Inline { url: url_telling(&self.url, told)?, ..inline }, String::new()));
        }
        Ok((inline, told.to_string()))
    }

    /// Where it goes, whatever is told.
    pub(super) fn bare_target(&self) -> Inline {
        let mut inline = Inline::new(self.url.clone(), PUSH_TIMEOUT);
        let token = self.sealed_token.clone();
        inline.scheme = Scheme::Tenant(SIGNATURE_HEADER.to_owned());
        inline.sealed_headers = token.into_iter().map(|token| ("authorization".to_owned(), token)).collect();
        inline.method = match self.method {
            PushMethod::Get => HttpMethod::Get,
            PushMethod::Patch => HttpMethod::Patch,
            PushMethod::Post => HttpMethod::Post,
            PushMethod::Put => HttpMethod::Put,
        };
        inline
    }
}

/// `url` with the fields of `told` in its query, behind those that it has: texts as they are, `null` as empty text, all else
/// as JSON (FL-036). `ConfigInvalid` for what is no URL.
pub fn url_telling(url: &str, told: &Value) -> Result<String> {
    let unusable =
        |error| Error::new(ErrorKind::ConfigInvalid, "after_call.url", "the URL is not one").with_source(error);
    let mut url = url::Url::parse(url).map_err(unusable)?;
    let fields = told.as_object().into_iter().flatten();
    url.query_pairs_mut().extend_pairs(fields.map(|(name, value)| (name, text(value))));
    Ok(url.into())
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
