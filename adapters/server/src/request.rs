//! Taking requests apart: who asks, its body, its query, its place. Every mistake is a [`Problem`].

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header;
use axum::http::request::Parts;
use offhook::ids::TenantId;
use offhook::provider::telephony::E164;
use offhook::service::keys::ApiKey;
use offhook::time::Timestamp;
use offhook::trace::TraceParent;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::app::BODY_BYTES_MAX;
use crate::problem::{Answer, Kind, Problem};

/// Who asks, once the [gate](crate::gate) has let it in.
#[derive(Clone, Debug)]
pub struct Caller {
    /// By which key.
    pub key: ApiKey,
    /// Whose records it sees.
    pub tenant: TenantId,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Problem::new(Kind::Unauthorized, "nobody knows who asks"))
    }
}

/// The request's name in logs and answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestId(pub Uuid);

impl Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or(Self(Uuid::nil())))
    }
}

/// What the request is a part of, if its header `traceparent` says so.
pub struct Traced(pub Option<TraceParent>);

impl<S: Sync> FromRequestParts<S> for Traced {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        let header = parts.headers.get("traceparent").and_then(|text| text.to_str().ok());
        // One that cannot be understood counts as none, as its specification says.
        Ok(Self(header.and_then(|text| text.parse().ok())))
    }
}

/// A request that says that its body is JSON: a page of another origin can send none such without being asked first.
pub struct JsonOnly;

impl<S: Sync> FromRequestParts<S> for JsonOnly {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        match essence.eq_ignore_ascii_case("application/json") {
            true => Ok(Self),
            false => Err(Problem::new(Kind::Invalid, "the content type is not application/json")),
        }
    }
}

/// A JSON body, which is read once it is known that there is what the path names and that the caller may change it: that is
/// said before what is wrong with the body (X18).
pub struct Body<T> {
    bytes: Option<Bytes>,
    form: PhantomData<fn() -> T>,
}

impl<T, S: Sync> FromRequest<S> for Body<T> {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        let bytes = to_bytes(request.into_body(), BODY_BYTES_MAX).await.ok();
        Ok(Self { bytes, form: PhantomData })
    }
}

impl<T: DeserializeOwned> Body<T> {
    /// What it says. Unknown fields do not matter (X18); what is wrong is named by its field.
    pub fn read(self) -> Answer<T> {
        let too_large = || Problem::new(Kind::TooLarge, "the body is longer than 1 MiB, or was cut short");
        let bytes = self.bytes.ok_or_else(too_large)?;
        if bytes.is_empty() {
            return Err(Problem::new(Kind::Invalid, "a JSON body is expected"));
        }
        parse(&bytes)
    }
}

/// A JSON value of that form.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        let message = error.to_string();
        // serde has no other place for the name of a field that is missing.
        let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        match (missing, path.as_str()) {
            (Some(field), "." | "?") => Problem::invalid(field, "is required"),
            (Some(field), path) => Problem::invalid(format!("{path}.{field}"), "is required"),
            _ if error.is_syntax() || error.is_eof() => {
                Problem::new(Kind::Invalid, format!("the body is not JSON: {message}"))
            }
            (None, "." | "?") => match culprit::<T>(bytes) {
                Some(field) => Problem::invalid(field, plain(&message)),
                None => Problem::new(Kind::Invalid, plain(&message)),
            },
            (None, path) => Problem::invalid(path, plain(&message)),
        }
    })?;
    json.end().map_err(|error| Problem::new(Kind::Invalid, format!("the body is not JSON: {error}")))?;
    Ok(value)
}

/// What is wrong in flattened fields is told without its name: it is the field without which the rest is sound.
fn culprit<T: DeserializeOwned>(bytes: &[u8]) -> Option<String> {
    const FIELDS_MAX: usize = 64;
    const BYTES_MAX: usize = 64 * 1024;
    if bytes.len() > BYTES_MAX {
        return None;
    }
    let fields: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
    let is_sound_without = |name: &&String| {
        let rest = fields.iter().filter(|(other, _)| other != name);
        let rest: Map<String, Value> = rest.map(|(name, value)| (name.clone(), value.clone())).collect();
        T::deserialize(Value::Object(rest)).is_ok()
    };
    fields.keys().take(FIELDS_MAX).find(is_sound_without).cloned()
}

/// Without the place in the text, of which nobody makes anything.
fn plain(message: &str) -> String {
    message.split(" at line ").next().unwrap_or(message).to_owned()
}

/// The query. Unknown parameters do not matter (X18).
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Query(BTreeMap<String, String>);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl Query {
    /// Of several parameters of one name, the last counts.
    pub fn parse(query: &str) -> Self {
        Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// How much text it is.
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// The parameter as it was given; one that is empty is not there.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// The parameter as a value.
    pub fn value<T: FromStr>(&self, name: &str, expected: &str) -> Answer<Option<T>> {
        let parse = |text: &str| text.parse().map_err(|_| Problem::invalid(name, format!("is not {expected}")));
        self.text(name).map(parse).transpose()
    }

    /// One of some words.
    pub fn word<'a>(&'a self, name: &str, words: &[&str]) -> Answer<Option<&'a str>> {
        match self.text(name) {
            Some(word) if !words.contains(&word) => {
                Err(Problem::invalid(name, format!("is not one of {}", words.join(", "))))
            }
            word => Ok(word),
        }
    }

    /// `limit` and `offset`: a limit above `max` counts as `max` (X18), one of zero as one.
    pub fn page(&self, default: u32, max: u32) -> Answer<(u64, u32)> {
        let limit = self.value::<u64>("limit", "a number")?.unwrap_or(default.into());
        let offset = self.value::<u64>("offset", "a number")?.unwrap_or(0);
        Ok((offset, u32::try_from(limit).unwrap_or(u32::MAX).clamp(1, max)))
    }

    /// A moment: RFC 3339, or a date, which is its first moment in UTC (DR-054).
    pub fn moment(&self, name: &str) -> Answer<Option<Timestamp>> {
        let parse = |text: &str| moment(text).ok_or_else(|| Problem::invalid(name, "is not a date such as 2026-06-28"));
        self.text(name).map(parse).transpose()
    }
}

/// A moment: RFC 3339, or a date, which is its first moment in UTC.
pub fn moment(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| format!("{text}T00:00:00Z").parse().ok())
}

/// A text that says something, of some length at most.
pub fn text(field: &str, text: String, bytes_max: usize) -> Answer<String> {
    match text.trim().is_empty() || text.len() > bytes_max {
        true => Err(Problem::invalid(field, format!("has 1 to {bytes_max} bytes"))),
        false => Ok(text),
    }
}

/// A number as E.164 writes it.
pub fn e164(field: &str, text: &str) -> Answer<E164> {
    text.parse().map_err(|_| Problem::invalid(field, "is not a number in E.164 form such as +14155550123"))
}

/// A field of a partial update: absent leaves things as they are, `null` clears them.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
