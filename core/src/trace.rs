//! What a call took its time for, as spans in the manner of OpenTelemetry: the call, its turns, and in each turn the
//! recogniser, the model, the functions, the synthesiser, and the wait for the first sound.
//!
//! An engine whose [`Settings`](crate::engine::Settings) have a channel for them yields spans as values; exporting them is an
//! adapter's business. They hold no words and no numbers of telephones.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::time::Timestamp;

/// A trace's id.
pub type TraceId = [u8; 16];

/// A span's id, unique in its trace.
pub type SpanId = [u8; 8];

/// A stretch of a call's time.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// What else there is to say, by the names of OpenTelemetry's semantic conventions where they have one.
    pub attributes: Vec<(&'static str, SpanValue)>,
    /// When it began.
    pub begin: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// Moments in it that have a name.
    pub events: Vec<(&'static str, Timestamp)>,
    /// Why it failed, if it did; free of personal data.
    pub failure: Option<String>,
    /// Its own id.
    pub id: SpanId,
    /// What it is.
    pub kind: SpanKind,
    /// The span that it is a part of.
    pub parent: Option<SpanId>,
    /// The trace that it belongs to.
    pub trace: TraceId,
}

/// What a span is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum SpanKind {
    /// A call, from its first ring to its settlement.
    Call,
    /// From the caller's last sound to the agent's first.
    FirstAudio,
    /// A function that the model called.
    Function,
    /// A request to the model, until its answer is complete or not wanted any more.
    Llm,
    /// From the beginning of the caller's speech to its last settled piece of transcript.
    Stt,
    /// A text on its way to the caller's ear.
    Tts,
    /// The caller's words and what the agent did about them; or what the agent said first.
    Turn,
}

impl SpanKind {
    /// Its name in snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::FirstAudio => "first_audio",
            Self::Function => "function",
            Self::Llm => "llm",
            Self::Stt => "stt",
            Self::Tts => "tts",
            Self::Turn => "turn",
        }
    }
}

/// The value of an attribute.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SpanValue {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
}

impl From<bool> for SpanValue {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<u64> for SpanValue {
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<&str> for SpanValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for SpanValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// The span of somebody else that a call is a part of, as the header `traceparent` names it
/// (<https://www.w3.org/TR/trace-context/>).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TraceParent {
    /// Whether anybody keeps the trace.
    pub is_sampled: bool,
    /// The span.
    pub span: SpanId,
    /// Its trace.
    pub trace: TraceId,
}

impl FromStr for TraceParent {
    type Err = Error;

    /// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`, and longer ones of later versions. `ConfigInvalid` for
    /// everything else.
    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).ok_or_else(|| Error::new(ErrorKind::ConfigInvalid, "trace.parse", "not a traceparent"))
    }
}

fn parse(text: &str) -> Option<TraceParent> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut parts = text.split('-');
    let [version] = bytes(parts.next()?)?;
    let (trace, span) = (bytes(parts.next()?)?, bytes(parts.next()?)?);
    let [flags] = bytes(parts.next()?)?;
    let is_legal = version != 0xff && (version > 0 || parts.next().is_none());
    let is_real = trace != TraceId::default() && span != SpanId::default();
    (is_legal && is_real).then_some(TraceParent { is_sampled: flags & 1 == 1, span, trace })
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (hex::encode(self.trace), hex::encode(self.span));
        write!(f, "00-{trace}-{span}-{:02x}", u8::from(self.is_sampled))
    }
}

impl From<TraceParent> for String {
    fn from(parent: TraceParent) -> Self {
        parent.to_string()
    }
}

impl TryFrom<String> for TraceParent {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_parent_is_read_as_it_is_written() {
        let parent: TraceParent = PARENT.parse().unwrap();
        assert!(parent.is_sampled);
        assert_eq!((parent.trace[0], parent.span[1]), (0x4b, 0xf0));
        assert_eq!(parent.to_string(), PARENT);
        assert_eq!(
            PARENT.replace("-01", "-00").parse::<TraceParent>().unwrap().to_string(),
            PARENT.replace("-01", "-00")
        );
        // A later version may say more.
        assert_eq!(format!("01{}-more", &PARENT[2..]).parse::<TraceParent>().unwrap(), parent);
    }

    #[test]
    fn everything_else_is_refused() {
        let no_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let no_span = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        let upper = PARENT.to_uppercase();
        let longer = format!("{PARENT}-more");
        let reserved = format!("ff{}", &PARENT[2..]);
        for text in ["", "00", "00---", &PARENT[..54], &no_trace, &no_span, &upper, &longer, &reserved, "é-é-é-é"] {
            assert_eq!(text.parse::<TraceParent>().unwrap_err().kind(), ErrorKind::ConfigInvalid, "{text}");
        }
    }
}
