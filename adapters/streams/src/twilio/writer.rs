//! Building messages, of both directions.

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use offhook::provider::telephony::{Codec, DtmfDigit, MediaFormat};
use serde_json::json;

use super::MEDIA_FORMAT;
use crate::protocol::Protocol;

/// Writes an application's messages to the carrier, for one stream.
#[derive(Clone, Debug)]
pub struct AppWriter {
    clear: String,
    mark_head: String,
    mark_tail: &'static str,
    media_head: String,
}

impl AppWriter {
    /// For Twilio's stream `stream_sid`.
    pub fn new(stream_sid: &str) -> Self {
        Self::of(Protocol::Twilio, stream_sid, MEDIA_FORMAT)
    }

    /// For the stream `stream`, whose media is of `format`, in the words of `protocol`.
    pub fn of(protocol: Protocol, stream: &str, format: MediaFormat) -> Self {
        let stream = json!(stream);
        if protocol == Protocol::Plivo {
            let content_type = if format.codec == Codec::Ulaw { "audio/x-mulaw" } else { "audio/x-l16" };
            let rate_hz = format.rate_hz;
            return Self {
                clear: format!(r#"{{"event":"clearAudio","streamId":{stream}}}"#),
                mark_head: format!(r#"{{"event":"checkpoint","streamId":{stream},"name":"#),
                mark_tail: "}",
                media_head: format!(
                    r#"{{"event":"playAudio","media":{{"contentType":"{content_type}","sampleRate":{rate_hz},"payload":""#
                ),
            };
        }
        let named = match protocol {
            Protocol::Exotel => format!(r#","stream_sid":{stream}"#),
            // Its application names no stream: a socket carries one.
            Protocol::Telnyx => String::new(),
            _ => format!(r#","streamSid":{stream}"#),
        };
        Self {
            clear: format!(r#"{{"event":"clear"{named}}}"#),
            mark_head: format!(r#"{{"event":"mark"{named},"mark":{{"name":"#),
            mark_tail: "}}",
            media_head: format!(r#"{{"event":"media"{named},"media":{{"payload":""#),
        }
    }

    /// Audio to play.
    pub fn media(&self, audio: &[u8]) -> String {
        let mut text = String::with_capacity(self.media_head.len() + base64_bytes(audio) + MEDIA_TAIL.len());
        text.push_str(&self.media_head);
        STANDARD.encode_string(audio, &mut text);
        text.push_str(MEDIA_TAIL);
        text
    }

    /// A place in the audio, to be reported when reached.
    pub fn mark(&self, name: &str) -> String {
        format!("{}{}{}", self.mark_head, json!(name), self.mark_tail)
    }

    /// Forget the audio that has not been played.
    pub fn clear(&self) -> String {
        self.clear.clone()
    }
}

/// Writes the carrier's messages to an application, for one stream.
#[derive(Clone, Debug)]
pub struct CarrierWriter {
    account_sid: String,
    call_sid: String,
    media_bytes: u64,
    media_chunks: u64,
    sequence: u64,
    stream_sid: String,
    tail: String,
}

impl CarrierWriter {
    /// For the stream `stream_sid` of the call `call_sid`.
    pub fn new(account_sid: &str, call_sid: &str, stream_sid: &str) -> Self {
        Self {
            account_sid: account_sid.to_owned(),
            call_sid: call_sid.to_owned(),
            media_bytes: 0,
            media_chunks: 0,
            sequence: 0,
            stream_sid: stream_sid.to_owned(),
            tail: format!(r#","streamSid":{}}}"#, json!(stream_sid)),
        }
    }

    /// The first message.
    pub fn connected(&self) -> String {
        r#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#.to_owned()
    }

    /// The second message.
    pub fn start(&mut self, parameters: &BTreeMap<String, String>) -> String {
        let body = json!({
            "accountSid": self.account_sid,
            "callSid": self.call_sid,
            "customParameters": parameters,
            "mediaFormat": { "channels": 1, "encoding": "audio/x-mulaw", "sampleRate": MEDIA_FORMAT.rate_hz },
            "streamSid": self.stream_sid,
            "tracks": ["inbound"],
        });
        self.message("start", format_args!("{body}"))
    }

    /// Audio that the far party spoke.
    pub fn media(&mut self, audio: &[u8]) -> String {
        self.sequence += 1;
        self.media_chunks += 1;
        let timestamp_ms = self.media_bytes * 1_000 / u64::from(MEDIA_FORMAT.rate_hz);
        self.media_bytes += audio.len() as u64;

        let mut text = String::with_capacity(MEDIA_HEAD_BYTES + base64_bytes(audio) + self.tail.len());
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            r#"{{"event":"media","sequenceNumber":"{}","media":{{"track":"inbound","chunk":"{}","timestamp":"{timestamp_ms}","payload":""#,
            self.sequence, self.media_chunks,
        );
        STANDARD.encode_string(audio, &mut text);
        text.push_str("\"}");
        text.push_str(&self.tail);
        text
    }

    /// A key that the far party pressed.
    pub fn dtmf(&mut self, digit: DtmfDigit) -> String {
        self.message("dtmf", format_args!(r#"{{"track":"inbound_track","digit":"{}"}}"#, digit.as_char()))
    }

    /// A mark that was reached or cleared.
    pub fn mark(&mut self, name: &str) -> String {
        self.message("mark", format_args!(r#"{{"name":{}}}"#, json!(name)))
    }

    /// The last message.
    pub fn stop(&mut self) -> String {
        let body = json!({ "accountSid": self.account_sid, "callSid": self.call_sid });
        self.message("stop", format_args!("{body}"))
    }

    fn message(&mut self, event: &str, body: std::fmt::Arguments<'_>) -> String {
        self.sequence += 1;
        format!(r#"{{"event":"{event}","sequenceNumber":"{}","{event}":{body}{}"#, self.sequence, self.tail)
    }
}

const MEDIA_TAIL: &str = "\"}}";

/// The text of a carrier's `media` before its payload, with room for the counters, and its closing.
const MEDIA_HEAD_BYTES: usize = 160;

fn base64_bytes(audio: &[u8]) -> usize {
    audio.len().div_ceil(3) * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_application_writes_what_the_vendor_documents() {
        let writer = AppWriter::new("MZ1");
        assert_eq!(writer.media(&[0, 255, 16]), r#"{"event":"media","streamSid":"MZ1","media":{"payload":"AP8Q"}}"#);
        assert_eq!(writer.mark("a\"b"), r#"{"event":"mark","streamSid":"MZ1","mark":{"name":"a\"b"}}"#);
        assert_eq!(writer.clear(), r#"{"event":"clear","streamSid":"MZ1"}"#);
    }

    #[test]
    fn each_protocol_has_its_own_words() {
        let of = |protocol, codec| {
            let writer = AppWriter::of(protocol, "S", MediaFormat { codec, rate_hz: 8_000 });
            [writer.media(&[0, 255, 16]), writer.mark("m1"), writer.clear()]
        };
        assert_eq!(
            of(Protocol::Exotel, Codec::Pcm16Le),
            [
                r#"{"event":"media","stream_sid":"S","media":{"payload":"AP8Q"}}"#,
                r#"{"event":"mark","stream_sid":"S","mark":{"name":"m1"}}"#,
                r#"{"event":"clear","stream_sid":"S"}"#,
            ]
        );
        assert_eq!(
            of(Protocol::Telnyx, Codec::Ulaw),
            [
                r#"{"event":"media","media":{"payload":"AP8Q"}}"#,
                r#"{"event":"mark","mark":{"name":"m1"}}"#,
                r#"{"event":"clear"}"#,
            ]
        );
        assert_eq!(
            of(Protocol::Plivo, Codec::Pcm16Le),
            [
                r#"{"event":"playAudio","media":{"contentType":"audio/x-l16","sampleRate":8000,"payload":"AP8Q"}}"#,
                r#"{"event":"checkpoint","streamId":"S","name":"m1"}"#,
                r#"{"event":"clearAudio","streamId":"S"}"#,
            ]
        );
    }

    #[test]
    fn the_carrier_counts_messages_chunks_and_milliseconds() {
        let mut writer = CarrierWriter::new("AC1", "CA1", "MZ\"1");
        assert_eq!(
            writer.start(&BTreeMap::from([("a".into(), "b".into())])),
            concat!(
                r#"{"event":"start","sequenceNumber":"1","start":{"accountSid":"AC1","callSid":"CA1","#,
                r#""customParameters":{"a":"b"},"mediaFormat":{"channels":1,"encoding":"audio/x-mulaw","sampleRate":8000},"#,
                r#""streamSid":"MZ\"1","tracks":["inbound"]},"streamSid":"MZ\"1"}"#,
            )
        );
        writer.media(&[0xff; 160]);
        assert_eq!(
            writer.media(&[1]),
            concat!(
                r#"{"event":"media","sequenceNumber":"3","media":{"track":"inbound","chunk":"2","timestamp":"20","#,
                r#""payload":"AQ=="},"streamSid":"MZ\"1"}"#,
            )
        );
        assert_eq!(
            writer.dtmf('5'.try_into().unwrap()),
            r#"{"event":"dtmf","sequenceNumber":"4","dtmf":{"track":"inbound_track","digit":"5"},"streamSid":"MZ\"1"}"#
        );
        assert_eq!(
            writer.mark("m1"),
            r#"{"event":"mark","sequenceNumber":"5","mark":{"name":"m1"},"streamSid":"MZ\"1"}"#
        );
        assert_eq!(
            writer.stop(),
            r#"{"event":"stop","sequenceNumber":"6","stop":{"accountSid":"AC1","callSid":"CA1"},"streamSid":"MZ\"1"}"#
        );
    }

    #[test]
    fn media_is_built_in_one_allocation() {
        let text = AppWriter::new("MZ1").media(&[7; 160]);
        assert_eq!(text.capacity(), text.len());
        let mut carrier = CarrierWriter::new("AC1", "CA1", "MZ1");
        carrier.sequence = u64::from(u32::MAX);
        let room = MEDIA_HEAD_BYTES + 216 + carrier.tail.len();
        assert_eq!(carrier.media(&[7; 160]).capacity(), room);
    }
}
