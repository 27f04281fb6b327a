//! Parsing messages, of both directions.
//!
//! One parser for all who speak alike: Twilio, Exotel, Plivo and Telnyx name the same things differently, and none gives
//! another's name a meaning of its own.
//!
//! Strict about what matters: an object with a string `event`, and a known event's own fields. Lenient about the rest:
//! unknown fields and unknown events pass, so that the carrier may grow.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use bytes::{Bytes, BytesMut};
use offhook::provider::telephony::DtmfDigit;
use serde::Deserialize;
use serde_json::Value;

/// A message and the stream that it names.
#[derive(Debug, PartialEq)]
pub struct Message<'a> {
    /// What it says.
    pub event: Event<'a>,
    /// `None` when it does not say, as in `connected`.
    pub stream_sid: Option<Cow<'a, str>>,
}

/// What a message says.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// To the carrier: forget the audio that has not been played.
    Clear,
    /// From the carrier: that audio is forgotten (Plivo).
    Cleared,
    /// From the carrier: its first message.
    Connected,
    /// From the carrier: a key was pressed.
    Dtmf(DtmfDigit),
    /// To the carrier: a place in the audio. From the carrier: that place was reached or cleared.
    Mark(Cow<'a, str>),
    /// Audio.
    Media(Media<'a>),
    /// An event that this version does not know.
    Other,
    /// From the carrier: its second message.
    Start(Box<Start>),
    /// From the carrier: its last message.
    Stop,
}

/// Audio, still in base64.
#[derive(Debug, PartialEq)]
pub struct Media<'a> {
    /// Whether it was spoken by the far party; a `track` of `outbound` is the application's own audio sent back.
    pub inbound: bool,
    payload: Cow<'a, str>,
}

/// What the carrier says of a stream.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Start {
    /// The call; empty when not said.
    pub call_sid: String,
    /// What the media is said to be; `None` when nothing is said.
    pub format: Option<StatedFormat>,
    /// What the stream's creator attached, and the numbers `from` and `to` where the carrier gives them.
    pub parameters: BTreeMap<String, String>,
    /// The stream.
    pub stream_sid: String,
}

/// A carrier's own words for its media.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StatedFormat {
    /// `None` when not said.
    pub channels: Option<u32>,
    /// Empty when not said.
    pub encoding: String,
    /// Samples per second; zero when not said.
    pub rate_hz: u32,
}

/// Why a message cannot be understood. Never quotes the message, which may hold numbers and speech.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The payload of a `media` is not base64.
    #[error("the payload of `media` is not base64")]
    Base64,
    /// A known event without a field that it must have.
    #[error("`{event}` lacks `{field}`")]
    Missing {
        /// The event.
        event: &'static str,
        /// The field's path.
        field: &'static str,
    },
    /// Not JSON, not an object, without a string `event`, or with a field of a wrong type.
    #[error("not a message (byte {column})")]
    Syntax {
        /// Where, counted in bytes from 1 for a message of one line; 0 when unknown.
        column: usize,
    },
    /// Longer than allowed.
    #[error("longer than {bytes_max} bytes")]
    TooLong {
        /// The limit.
        bytes_max: usize,
    },
}

impl<'a> Message<'a> {
    /// Parses `text` of at most `bytes_max` bytes; borrows from it wherever it has no escapes.
    pub fn parse(text: &'a str, bytes_max: usize) -> Result<Self, MessageError> {
        if text.len() > bytes_max {
            return Err(MessageError::TooLong { bytes_max });
        }
        // Serde would also take an array of the fields in order.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(MessageError::Syntax { column: 1 });
        }
        match serde_json::from_str::<Envelope<'a>>(text) {
            Ok(envelope) => envelope.into_message(),
            Err(error) => excuse_unknown_event(text, &error),
        }
    }
}

impl<'a> Media<'a> {
    /// Of `payload` in base64.
    pub fn new(inbound: bool, payload: impl Into<Cow<'a, str>>) -> Self {
        Self { inbound, payload: payload.into() }
    }

    /// The audio. `arena` is where it is written: one allocation serves many frames.
    pub fn decode(&self, arena: &mut BytesMut) -> Result<Bytes, MessageError> {
        let bytes_max = base64::decoded_len_estimate(self.payload.len());
        if arena.capacity() < bytes_max {
            arena.reserve(bytes_max.max(ARENA_BYTES));
        }
        arena.resize(bytes_max, 0);
        let decoded = STANDARD_PAD_INDIFFERENT.decode_slice(self.payload.as_bytes(), arena);
        arena.truncate(*decoded.as_ref().unwrap_or(&0));
        decoded.map(|_| arena.split().freeze()).map_err(|_| MessageError::Base64)
    }
}

/// How much [`Media::decode`] allocates at once: half a second of audio.
const ARENA_BYTES: usize = 4_096;

/// A message with a field of an unexpected type is still fine when its event is unknown to us.
fn excuse_unknown_event<'a>(text: &'a str, error: &serde_json::Error) -> Result<Message<'a>, MessageError> {
    match serde_json::from_str::<EventOnly<'a>>(text) {
        Ok(EventOnly { event }) if !KNOWN_EVENTS.contains(&&*event.0) => {
            Ok(Message { event: Event::Other, stream_sid: None })
        }
        _ => Err(MessageError::Syntax { column: error.column() }),
    }
}

const KNOWN_EVENTS: [&str; 9] =
    ["clear", "clearedAudio", "connected", "dtmf", "mark", "media", "playedStream", "start", "stop"];

#[derive(Deserialize)]
struct EventOnly<'a> {
    #[serde(borrow)]
    event: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Text<'a>,
    #[serde(borrow, alias = "streamId", alias = "stream_id", alias = "stream_sid")]
    stream_sid: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    media: Option<MediaFields<'a>>,
    #[serde(borrow)]
    mark: Option<MarkFields<'a>>,
    #[serde(borrow)]
    dtmf: Option<DtmfFields<'a>>,
    start: Option<Box<StartFields>>,
}

#[derive(Deserialize)]
struct MediaFields<'a> {
    #[serde(borrow)]
    track: Option<Text<'a>>,
    #[serde(borrow)]
    payload: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct MarkFields<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct DtmfFields<'a> {
    #[serde(borrow)]
    digit: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StartFields {
    #[serde(alias = "callId", alias = "call_control_id", alias = "call_sid")]
    call_sid: Option<String>,
    #[serde(default, alias = "custom_parameters")]
    custom_parameters: BTreeMap<String, Value>,
    from: Option<Value>,
    #[serde(alias = "media_format")]
    media_format: Option<FormatFields>,
    #[serde(alias = "streamId", alias = "stream_id", alias = "stream_sid")]
    stream_sid: Option<String>,
    to: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FormatFields {
    #[serde(default)]
    channels: Value,
    #[serde(default)]
    encoding: Value,
    #[serde(default, alias = "sample_rate")]
    sample_rate: Value,
}

/// A string that borrows when it can; `Option<Cow<str>>` alone never would.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Envelope<'a> {
    fn into_message(self) -> Result<Message<'a>, MessageError> {
        let stream_sid = self.stream_sid.map(|text| text.0);
        let event = match &*self.event.0 {
            "clear" => Event::Clear,
            "clearedAudio" => Event::Cleared,
            "connected" => Event::Connected,
            "dtmf" => Event::Dtmf(digit(self.dtmf)?),
            "mark" => Event::Mark(self.mark.and_then(|mark| mark.name).ok_or(missing("mark", "mark.name"))?.0),
            "playedStream" => Event::Mark(self.name.ok_or(missing("playedStream", "name"))?.0),
            "media" => Event::Media(self.media.ok_or(missing("media", "media"))?.into_media()?),
            "start" => {
                let fields = self.start.ok_or(missing("start", "start"))?;
                Event::Start(Box::new(fields.into_start(stream_sid.as_deref())?))
            }
            "stop" => Event::Stop,
            _ => Event::Other,
        };
        Ok(Message { event, stream_sid })
    }
}

impl<'a> MediaFields<'a> {
    fn into_media(self) -> Result<Media<'a>, MessageError> {
        let payload = self.payload.ok_or(missing("media", "media.payload"))?.0;
        let inbound = !self.track.is_some_and(|track| matches!(&*track.0, "outbound" | "outbound_track"));
        Ok(Media { inbound, payload })
    }
}

impl StartFields {
    fn into_start(self, outer_sid: Option<&str>) -> Result<Start, MessageError> {
        let stream_sid = self.stream_sid.or_else(|| outer_sid.map(str::to_owned));
        let mut parameters: BTreeMap<_, _> =
            self.custom_parameters.into_iter().map(|(name, value)| (name, into_text(value))).collect();
        for (name, number) in [("from", self.from), ("to", self.to)] {
            if let Some(number) = number {
                parameters.entry(name.to_owned()).or_insert_with(|| into_text(number));
            }
        }
        Ok(Start {
            call_sid: self.call_sid.unwrap_or_default(),
            format: self.media_format.map(FormatFields::into_format),
            parameters,
            stream_sid: stream_sid.ok_or(missing("start", "start.streamSid"))?,
        })
    }
}

impl FormatFields {
    fn into_format(self) -> StatedFormat {
        // Some carriers write numbers as strings. What is no number is none that could be supported.
        let number = |value: &Value| match value {
            Value::Number(found) => found.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(u32::MAX),
            Value::String(found) => found.parse().unwrap_or(u32::MAX),
            Value::Null => 0,
            _ => u32::MAX,
        };
        StatedFormat {
            channels: (!self.channels.is_null()).then(|| number(&self.channels)),
            rate_hz: number(&self.sample_rate),
            encoding: if self.encoding.is_null() { String::new() } else { into_text(self.encoding) },
        }
    }
}

fn digit(fields: Option<DtmfFields<'_>>) -> Result<DtmfDigit, MessageError> {
    let bad = missing("dtmf", "dtmf.digit");
    let Some(text) = fields.and_then(|dtmf| dtmf.digit) else {
        return Err(bad);
    };
    let mut keys = text.0.chars();
    match (keys.next(), keys.next()) {
        (Some(key), None) => DtmfDigit::try_from(key).map_err(|_| bad),
        _ => Err(bad),
    }
}

fn into_text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn missing(event: &'static str, field: &'static str) -> MessageError {
    MessageError::Missing { event, field }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Message<'_>, MessageError> {
        Message::parse(text, 4_096)
    }

    fn event(text: &str) -> Event<'_> {
        parse(text).unwrap().event
    }

    #[test]
    fn media_is_borrowed_and_decoded() {
        let message =
            parse(r#"{"event":"media","media":{"track":"inbound","payload":"AP8Q"},"streamSid":"MZ1"}"#).unwrap();
        assert!(matches!(message.stream_sid, Some(Cow::Borrowed("MZ1"))));
        let Event::Media(media) = message.event else { panic!("not media") };
        assert!(matches!(media.payload, Cow::Borrowed(_)) && media.inbound);
        assert_eq!(&media.decode(&mut BytesMut::new()).unwrap()[..], [0x00, 0xff, 0x10]);
    }

    #[test]
    fn escaped_payloads_missing_padding_and_any_field_order_are_fine() {
        for text in [
            r#"{"event":"media","media":{"payload":"\/\/8="}}"#,
            r#"{"media":{"payload":"//8"},"event":"media"}"#,
            " \n{ \"event\" : \"media\" , \"media\" : { \"payload\" : \"//8=\" , \"new\" : [{}] } , \"new\" : null }",
        ] {
            let Event::Media(media) = event(text) else { panic!("{text}") };
            assert_eq!(&media.decode(&mut BytesMut::new()).unwrap()[..], [0xff, 0xff], "{text}");
        }
    }

    #[test]
    fn empty_payloads_are_legal_and_bad_base64_is_not() {
        let mut arena = BytesMut::new();
        assert!(Media::new(true, "").decode(&mut arena).unwrap().is_empty());
        for bad in ["A", "====", "AA-_", "AAA\u{e9}", "AA AA", "A==="] {
            assert_eq!(Media::new(true, bad).decode(&mut arena), Err(MessageError::Base64), "{bad}");
        }
        assert_eq!(&Media::new(true, "AQ==").decode(&mut arena).unwrap()[..], [1]);
    }

    #[test]
    fn frames_share_an_allocation_and_do_not_overwrite_each_other() {
        let mut arena = BytesMut::new();
        let frames: Vec<Bytes> =
            ["AQEB", "AgIC", "AwMD"].iter().map(|text| Media::new(true, *text).decode(&mut arena).unwrap()).collect();
        assert_eq!(frames, [&[1_u8, 1, 1][..], &[2, 2, 2], &[3, 3, 3]]);
        assert_eq!(frames[1].as_ptr(), frames[0].as_ptr().wrapping_add(3));
    }

    #[test]
    fn garbage_is_refused() {
        for bad in [
            "",
            "x",
            "null",
            "7",
            "\"media\"",
            "[]",
            r#"["media"]"#,
            "{}",
            r#"{"event":null}"#,
            r#"{"event":7}"#,
            r#"{"event":"media""#,
            r#"{"event":"media"} x"#,
            r#"{"event":"media","media":7}"#,
            r#"{"event":"media","media":{"payload":7}}"#,
            r#"{"event":"media","event":"stop"}"#,
        ] {
            assert!(matches!(parse(bad), Err(MessageError::Syntax { .. })), "{bad}");
        }
        for bad in [
            r#"{"event":"media"}"#,
            r#"{"event":"media","media":{}}"#,
            r#"{"event":"mark"}"#,
            r#"{"event":"mark","mark":{}}"#,
            r#"{"event":"dtmf"}"#,
            r#"{"event":"dtmf","dtmf":{"digit":"12"}}"#,
            r#"{"event":"dtmf","dtmf":{"digit":"x"}}"#,
            r#"{"event":"start"}"#,
            r#"{"event":"start","start":{}}"#,
        ] {
            assert!(matches!(parse(bad), Err(MessageError::Missing { .. })), "{bad}");
        }
    }

    #[test]
    fn unknown_events_pass_whatever_their_fields() {
        assert_eq!(event(r#"{"event":"transcription"}"#), Event::Other);
        assert_eq!(event(r#"{"event":"transcription","mark":7,"media":"x","streamSid":{}}"#), Event::Other);
    }

    #[test]
    fn size_is_limited_before_parsing() {
        assert_eq!(Message::parse("{\"event\":\"stop\"}", 8), Err(MessageError::TooLong { bytes_max: 8 }));
    }

    #[test]
    fn deep_nesting_is_survived() {
        let deep = format!(r#"{{"event":"x","y":{}{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
        let _ = Message::parse(&deep, usize::MAX);
        let deep = format!(
            r#"{{"event":"start","start":{{"customParameters":{{"a":{}{}}}}}}}"#,
            "[".repeat(30_000),
            "]".repeat(30_000)
        );
        assert!(Message::parse(&deep, usize::MAX).is_err());
    }

    #[test]
    fn start_takes_the_stream_from_either_place_and_the_format_in_any_spelling() {
        let Event::Start(start) =
            event(r#"{"event":"start","streamSid":"MZ1","start":{"customParameters":{"a":"b","n":1}}}"#)
        else {
            panic!("not start")
        };
        assert_eq!((start.stream_sid.as_str(), &start.format), ("MZ1", &None));
        assert_eq!(start.parameters, BTreeMap::from([("a".into(), "b".into()), ("n".into(), "1".into())]));

        for (format, encoding, rate_hz, channels) in [
            (r#"{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1}"#, "audio/x-mulaw", 8_000, Some(1)),
            (r#"{"encoding":"audio/x-mulaw","sampleRate":"8000","channels":"1"}"#, "audio/x-mulaw", 8_000, Some(1)),
            (r#"{"encoding":"base64","sample_rate":"16000"}"#, "base64", 16_000, None),
            (r#"{"encoding":7,"sampleRate":[],"channels":{}}"#, "7", u32::MAX, Some(u32::MAX)),
            ("{}", "", 0, None),
        ] {
            let text = format!(r#"{{"event":"start","start":{{"streamSid":"MZ1","mediaFormat":{format}}}}}"#);
            let Event::Start(start) = event(&text) else { panic!("not start") };
            assert_eq!(
                start.format,
                Some(StatedFormat { channels, encoding: encoding.to_owned(), rate_hz }),
                "{format}"
            );
        }
    }

    #[test]
    fn all_who_speak_alike_are_understood() {
        for start in [
            r#"{"event":"start","stream_sid":"S1","start":{"stream_sid":"S1","call_sid":"C1","from":"+6281","to":"0211","custom_parameters":{"a":"b"},"media_format":{"encoding":"base64","sample_rate":"8000","bit_rate":"128kbps"}}}"#,
            r#"{"event":"start","stream_id":"S1","start":{"call_control_id":"C1","from":"+6281","to":"0211","custom_parameters":{"a":"b"},"media_format":{"encoding":"base64","sample_rate":8000}}}"#,
            r#"{"event":"start","sequenceNumber":0,"start":{"streamId":"S1","callId":"C1","from":"+6281","to":"0211","customParameters":{"a":"b"},"mediaFormat":{"encoding":"base64","sampleRate":8000}}}"#,
        ] {
            let Event::Start(start) = event(start) else { panic!("{start}") };
            let parameters = [("a", "b"), ("from", "+6281"), ("to", "0211")];
            let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let format = StatedFormat { channels: None, encoding: "base64".to_owned(), rate_hz: 8_000 };
            let expected = Start {
                call_sid: "C1".to_owned(),
                format: Some(format),
                parameters: parameters.into(),
                stream_sid: "S1".to_owned(),
            };
            assert_eq!(*start, expected);
        }
        assert_eq!(event(r#"{"event":"playedStream","streamId":"S1","name":"m1"}"#), Event::Mark("m1".into()));
        assert_eq!(event(r#"{"event":"clearedAudio","streamId":"S1"}"#), Event::Cleared);
        assert!(matches!(parse(r#"{"event":"playedStream"}"#), Err(MessageError::Missing { .. })));
    }
}
