//! Parsing messages, of both directions.
//!
//! Strict about what matters: an object with a string `event`, and a known event's own fields. Unknown fields and unknown
//! events pass.

use std::borrow::Cow;
use std::collections::BTreeMap;

use offhook::provider::telephony::{DtmfDigit, E164};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::MESSAGE_BYTES_MAX;
use crate::protocol::Protocol;
use crate::twilio::message::{Media, MessageError, StatedFormat};

/// Fields of `connected` that are for the platform: they never reach a call's parameters.
pub const RESERVED: [&str; 9] = [
    "_campaign_attempt",
    "_campaign_call_id",
    "_campaign_id",
    "_campaign_run_number",
    "_campaign_session_id",
    "_mock_crm",
    "_skip_post_push",
    "_skip_prefetch",
    "sip_candidate_headers",
];

/// A message and the stream that it names.
#[derive(Debug, PartialEq)]
pub struct Message<'a> {
    /// What it says.
    pub event: Event<'a>,
    /// `None` when it does not say.
    pub stream_id: Option<Cow<'a, str>>,
}

/// What a message says.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// From the dialler: its third message; the conversation may begin.
    Answer,
    /// From the dialler: its first message.
    Connected(Box<Connected>),
    /// From the dialler: a key was pressed.
    Dtmf(DtmfDigit),
    /// From the dialler: the call is over.
    HangupCall {
        /// Who ended it, such as `customer`; empty when not said.
        disconnected_by: Cow<'a, str>,
    },
    /// From the dialler: audio of the far party.
    Media(Media<'a>),
    /// An event that this version does not know.
    Other,
    /// To the dialler: hand the far party over.
    ReverseCallTransfer(E164),
    /// To the dialler: end the call.
    ReverseHangupCall,
    /// To the dialler: audio to play.
    ReverseMedia {
        /// The count of chunks, this one included.
        chunk: u64,
        /// The audio.
        media: Media<'a>,
    },
    /// To the dialler: forget the audio that has not been played.
    ReverseMediaStop,
    /// From the dialler: its second message. Whether the media is [`MEDIA_FORMAT`](super::MEDIA_FORMAT).
    Start {
        /// One that says nothing uses it.
        format_supported: bool,
    },
}

/// What the dialler says of a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connected {
    /// The called number; empty when not said.
    pub did: String,
    /// `incoming` or `outgoing`; empty when not said.
    pub direction: String,
    /// The far party's number, in either direction; empty when not said.
    pub caller_id: String,
    /// All that was said but the event and what is reserved, as text: a string as it is, `null` as nothing, and anything
    /// else as its JSON.
    pub parameters: BTreeMap<String, String>,
    /// What is [`RESERVED`].
    pub reserved: BTreeMap<String, Value>,
}

impl<'a> Message<'a> {
    /// Parses `text` of at most [`MESSAGE_BYTES_MAX`] bytes; borrows from it wherever it has no escapes.
    pub fn parse(text: &'a str) -> Result<Self, MessageError> {
        if text.len() > MESSAGE_BYTES_MAX {
            return Err(MessageError::TooLong { bytes_max: MESSAGE_BYTES_MAX });
        }
        // Serde would also take an array of the fields in order.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(MessageError::Syntax { column: 1 });
        }
        let name: EventName<'_> = serde_json::from_str(text).map_err(|error| syntax(&error))?;
        if name.event.0 == "connected" {
            return Connected::parse(text);
        }
        if !EVENTS.contains(&&*name.event.0) {
            return Ok(Self { event: Event::Other, stream_id: None });
        }
        let fields: Fields<'a> = serde_json::from_str(text).map_err(|error| syntax(&error))?;
        fields.into_message(&name.event.0)
    }
}

impl Connected {
    fn parse<'a>(text: &str) -> Result<Message<'a>, MessageError> {
        let fields: Map<String, Value> = serde_json::from_str(text).map_err(|error| syntax(&error))?;
        let mut connected = Self::default();
        for (name, value) in fields {
            if RESERVED.contains(&name.as_str()) {
                connected.reserved.insert(name, value);
            } else if name != "event" {
                connected.parameters.insert(name, into_text(value));
            }
        }
        let said = |name: &str| connected.parameters.get(name).filter(|text| !text.is_empty()).cloned();
        let stream_id = said("streamId").map(Cow::Owned);
        connected.did = said("did").unwrap_or_default();
        connected.direction = said("callDirection").unwrap_or_default();
        connected.caller_id = said("callerId").unwrap_or_default();
        Ok(Message { event: Event::Connected(Box::new(connected)), stream_id })
    }
}

/// The events that have fields or a place in the order, but `connected`.
const EVENTS: [&str; 9] = [
    "answer",
    "dtmf",
    "hangup-call",
    "media",
    "reverse-call-transfer",
    "reverse-hangup-call",
    "reverse-media",
    "reverse-media-stop",
    "start",
];

#[derive(Deserialize)]
struct EventName<'a> {
    #[serde(borrow)]
    event: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    #[serde(borrow)]
    stream_id: Option<Text<'a>>,
    chunk: Option<u64>,
    digit: Option<Value>,
    #[serde(borrow)]
    disconnected_by: Option<Text<'a>>,
    media_format: Option<Format>,
    #[serde(borrow)]
    payload: Option<Text<'a>>,
    #[serde(borrow)]
    transfer_to: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Format {
    channels: Option<u32>,
    #[serde(default)]
    encoding: String,
    #[serde(default)]
    sample_rate: u32,
}

/// A string that borrows when it can; `Option<Cow<str>>` alone never would.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Fields<'a> {
    fn into_message(self, event: &str) -> Result<Message<'a>, MessageError> {
        let payload = self.payload.map(|payload| Media::new(true, payload.0));
        let event = match event {
            "answer" => Event::Answer,
            "dtmf" => Event::Dtmf(self.digit.and_then(digit).ok_or(missing("dtmf", "digit"))?),
            "hangup-call" => {
                Event::HangupCall { disconnected_by: self.disconnected_by.map(|by| by.0).unwrap_or_default() }
            }
            "media" => Event::Media(payload.ok_or(missing("media", "payload"))?),
            "reverse-call-transfer" => {
                let target = self.transfer_to.and_then(|target| target.0.parse().ok());
                Event::ReverseCallTransfer(target.ok_or(missing("reverse-call-transfer", "transferTo"))?)
            }
            "reverse-hangup-call" => Event::ReverseHangupCall,
            "reverse-media" => Event::ReverseMedia {
                chunk: self.chunk.ok_or(missing("reverse-media", "chunk"))?,
                media: payload.ok_or(missing("reverse-media", "payload"))?,
            },
            "reverse-media-stop" => Event::ReverseMediaStop,
            "start" => {
                let stated = self.media_format.map(StatedFormat::from);
                Event::Start { format_supported: Protocol::VoxCore.media_format(stated.as_ref()).is_some() }
            }
            _ => Event::Other,
        };
        Ok(Message { event, stream_id: self.stream_id.map(|text| text.0).filter(|text| !text.is_empty()) })
    }
}

impl From<Format> for StatedFormat {
    fn from(format: Format) -> Self {
        let Format { channels, encoding, sample_rate: rate_hz } = format;
        Self { channels, encoding, rate_hz }
    }
}

/// A key, as text or as a number.
fn digit(value: Value) -> Option<DtmfDigit> {
    let text = into_text(value);
    let mut keys = text.chars();
    match (keys.next(), keys.next()) {
        (Some(key), None) => DtmfDigit::try_from(key).ok(),
        _ => None,
    }
}

fn into_text(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn missing(event: &'static str, field: &'static str) -> MessageError {
    MessageError::Missing { event, field }
}

fn syntax(error: &serde_json::Error) -> MessageError {
    MessageError::Syntax { column: error.column() }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn event(text: &str) -> Event<'_> {
        Message::parse(text).unwrap().event
    }

    #[test]
    fn fl_071_fl_079_custom_fields_are_parameters_and_reserved_ones_are_apart() {
        let text = concat!(
            r#"{"event":"connected","callerId":"+919876543210","did":"+918000000001","callDirection":"incoming","#,
            r#""streamId":"S1","name":"Asha","amount":15000,"rate":1.5,"vip":true,"none":null,"tags":["a",{"b":1}],"#,
            r#""_skip_prefetch":true,"_mock_crm":{"plan":"gold"},"sip_candidate_headers":["X-A"]}"#,
        );
        let message = Message::parse(text).unwrap();
        assert_eq!(message.stream_id.as_deref(), Some("S1"));
        let Event::Connected(connected) = message.event else { panic!("not connected") };
        let parameters = [
            ("amount", "15000"),
            ("callDirection", "incoming"),
            ("callerId", "+919876543210"),
            ("did", "+918000000001"),
            ("name", "Asha"),
            ("none", ""),
            ("rate", "1.5"),
            ("streamId", "S1"),
            ("tags", r#"["a",{"b":1}]"#),
            ("vip", "true"),
        ];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(connected.parameters, BTreeMap::from(parameters));
        let reserved = [
            ("_mock_crm", serde_json::json!({ "plan": "gold" })),
            ("_skip_prefetch", serde_json::json!(true)),
            ("sip_candidate_headers", serde_json::json!(["X-A"])),
        ];
        assert_eq!(connected.reserved, BTreeMap::from(reserved.map(|(name, value)| (name.to_owned(), value))));
        assert_eq!((connected.caller_id.as_str(), connected.did.as_str()), ("+919876543210", "+918000000001"));
    }

    #[test]
    fn fl_079_every_reserved_flag_is_kept_from_the_parameters() {
        for name in RESERVED {
            let text = format!(r#"{{"event":"connected","callerId":"+6281","{name}":"x"}}"#);
            let Event::Connected(connected) = event(&text) else { panic!("{name}") };
            assert!(!connected.parameters.contains_key(name) && connected.reserved.contains_key(name), "{name}");
        }
    }

    #[test]
    fn fl_073_audio_is_base64() {
        let Event::Media(media) = event(r#"{"event":"media","payload":"AQACAA=="}"#) else { panic!("not media") };
        assert_eq!(&media.decode(&mut BytesMut::new()).unwrap()[..], [1, 0, 2, 0]);
    }

    #[test]
    fn fl_072_only_linear_pcm_at_8_khz_is_taken() {
        for (format, supported) in [
            (r#","mediaFormat":{"encoding":"LINEAR","sampleRate":8000,"channels":1}"#, true),
            (r#","mediaFormat":{"encoding":"LINEAR","sampleRate":8000}"#, true),
            ("", true),
            (r#","mediaFormat":{"encoding":"LINEAR","sampleRate":16000,"channels":1}"#, false),
            (r#","mediaFormat":{"encoding":"LINEAR","sampleRate":8000,"channels":2}"#, false),
            (r#","mediaFormat":{"encoding":"PCMU","sampleRate":8000,"channels":1}"#, false),
            (r#","mediaFormat":{}"#, false),
        ] {
            let text = format!(r#"{{"event":"start","streamId":"S1"{format}}}"#);
            assert_eq!(event(&text), Event::Start { format_supported: supported }, "{format}");
        }
    }

    #[test]
    fn fl_083_keys_are_text_or_numbers() {
        for text in [r#"{"event":"dtmf","digit":"5"}"#, r#"{"event":"dtmf","digit":5}"#] {
            assert_eq!(event(text), Event::Dtmf('5'.try_into().unwrap()));
        }
    }

    #[test]
    fn fl_075_a_hang_up_says_by_whom() {
        let text = r#"{"event":"hangup-call","disconnectedBy":"customer"}"#;
        assert_eq!(event(text), Event::HangupCall { disconnected_by: "customer".into() });
        assert_eq!(event(r#"{"event":"hangup-call"}"#), Event::HangupCall { disconnected_by: "".into() });
    }

    #[test]
    fn garbage_is_refused_and_the_unknown_passes() {
        for bad in ["", "x", "[]", "{}", r#"{"event":7}"#, r#"{"event":"media","payload":7}"#, r#"{"event":"media""#] {
            assert!(matches!(Message::parse(bad), Err(MessageError::Syntax { .. })), "{bad}");
        }
        for bad in [
            r#"{"event":"media"}"#,
            r#"{"event":"dtmf"}"#,
            r#"{"event":"dtmf","digit":"12"}"#,
            r#"{"event":"reverse-media","payload":""}"#,
            r#"{"event":"reverse-call-transfer","transferTo":"someone"}"#,
        ] {
            assert!(matches!(Message::parse(bad), Err(MessageError::Missing { .. })), "{bad}");
        }
        assert_eq!(event(r#"{"event":"news","payload":7}"#), Event::Other);
        let long = format!(r#"{{"event":"media","payload":"{}"}}"#, "A".repeat(MESSAGE_BYTES_MAX));
        assert!(matches!(Message::parse(&long), Err(MessageError::TooLong { .. })));
        let deep = format!(r#"{{"event":"connected","a":{}{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
        assert!(Message::parse(&deep).is_err());
    }
}
