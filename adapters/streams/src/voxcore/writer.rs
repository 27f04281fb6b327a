//! Building messages, of both directions.

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use offhook::provider::telephony::{DtmfDigit, E164};
use offhook::time::Timestamp;
use serde_json::{Value, json};

use super::message::Connected;

/// Writes a bot's messages to the dialler, for one stream.
#[derive(Clone, Debug)]
pub struct BotWriter {
    chunks: u64,
    hangup: String,
    /// Behind the payload and the time.
    media_tail: String,
    /// Behind the chunk's number.
    media_middle: String,
    stop: String,
    transfer: Value,
}

impl BotWriter {
    /// For the stream `stream_id` of that call.
    pub fn new(stream_id: &str, call: &Connected) -> Self {
        let Connected { caller_id, did, direction, .. } = call;
        let (stream, caller, number) = (json!(stream_id), json!(caller_id), json!(did));
        Self {
            chunks: 0,
            hangup: format!(
                concat!(
                    r#"{{"event":"reverse-hangup-call","streamId":{},"callerId":{},"source":"ai","#,
                    r#""message":"Call ended by bot"}}"#,
                ),
                stream, caller
            ),
            media_middle: format!(r#","did":{number},"payload":""#),
            media_tail: format!(
                concat!(
                    r#"","streamId":{},"callerId":{},"chunk_durn_ms":20,"callDirection":{},"encoding":"LINEAR","#,
                    r#""RevMediaQ":0,"source":"ai"}}"#,
                ),
                stream,
                caller,
                json!(direction)
            ),
            stop: format!(r#"{{"event":"reverse-media-stop","callerId":{caller},"streamId":{stream}}}"#),
            transfer: json!({ "event": "reverse-call-transfer", "streamId": stream_id, "callerId": caller_id, "source": "ai" }),
        }
    }

    /// One chunk of audio to play; `now` is when it is sent.
    pub fn media(&mut self, audio: &[u8], now: Timestamp) -> String {
        self.chunks += 1;
        let base64 = audio.len().div_ceil(3) * 4;
        let mut text =
            String::with_capacity(MEDIA_HEAD_BYTES + self.media_middle.len() + base64 + self.media_tail.len());
        // Writing to a String cannot fail.
        let _ = write!(text, r#"{{"event":"reverse-media","chunk":{}{}"#, self.chunks, self.media_middle);
        STANDARD.encode_string(audio, &mut text);
        let _ = write!(text, r#"","timestamp":"{}"#, date_and_time(now));
        text.push_str(&self.media_tail);
        text
    }

    /// Forget the audio that has not been played.
    pub fn stop(&self) -> String {
        self.stop.clone()
    }

    /// End the call.
    pub fn hangup(&self) -> String {
        self.hangup.clone()
    }

    /// Hand the far party over.
    pub fn transfer(&self, target: &E164) -> String {
        let mut transfer = self.transfer.clone();
        transfer["transferTo"] = json!(target);
        transfer.to_string()
    }
}

/// Room for a chunk's number and time.
const MEDIA_HEAD_BYTES: usize = 100;

/// `YYYY-MM-DD HH:MM:SS`, in UTC.
fn date_and_time(now: Timestamp) -> String {
    let text = now.to_string();
    text.get(..19).unwrap_or_default().replace('T', " ")
}

/// Writes the dialler's messages to a bot, for one stream.
#[derive(Clone, Debug)]
pub struct DiallerWriter {
    caller_id: String,
    did: String,
    stream_id: String,
}

impl DiallerWriter {
    /// For the stream `stream_id` of a call between these numbers.
    pub fn new(stream_id: &str, caller_id: &str, did: &str) -> Self {
        Self { caller_id: caller_id.to_owned(), did: did.to_owned(), stream_id: stream_id.to_owned() }
    }

    /// The handshake: three messages. `custom` fields are the first one's, except the protocol's own.
    pub fn handshake(&self, custom: &BTreeMap<String, Value>) -> [String; 3] {
        let mut connected = json!(custom);
        connected["event"] = json!("connected");
        connected["callerId"] = json!(self.caller_id);
        connected["did"] = json!(self.did);
        connected["callDirection"] = json!("incoming");
        connected["streamId"] = json!(self.stream_id);
        let start = json!({
            "event": "start",
            "streamId": self.stream_id,
            "mediaFormat": { "encoding": "LINEAR", "sampleRate": 8_000, "channels": 1 },
        });
        [connected.to_string(), start.to_string(), r#"{"event":"answer"}"#.to_owned()]
    }

    /// Audio that the far party spoke.
    pub fn media(&self, audio: &[u8]) -> String {
        format!(r#"{{"event":"media","payload":"{}"}}"#, STANDARD.encode(audio))
    }

    /// A key that the far party pressed.
    pub fn dtmf(&self, digit: DtmfDigit) -> String {
        format!(r#"{{"event":"dtmf","digit":"{}"}}"#, digit.as_char())
    }

    /// The last message; `by` is who ended the call.
    pub fn hangup(&self, by: &str) -> String {
        json!({ "event": "hangup-call", "disconnectedBy": by, "streamId": self.stream_id }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Connected {
        Connected {
            caller_id: "+919876543210".to_owned(),
            did: "+918000000001".to_owned(),
            direction: "incoming".to_owned(),
            ..Connected::default()
        }
    }

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn fl_074_audio_goes_out_with_all_its_fields() {
        let mut writer = BotWriter::new("S\"1", &call());
        // 2025-11-20T07:00:00.123Z
        let now = Timestamp::from_unix_micros(1_763_622_000_123_000);
        assert_eq!(
            value(&writer.media(&[1, 0, 2, 0], now)),
            json!({
                "event": "reverse-media",
                "chunk": 1,
                "did": "+918000000001",
                "payload": "AQACAA==",
                "timestamp": "2025-11-20 07:00:00",
                "streamId": "S\"1",
                "callerId": "+919876543210",
                "chunk_durn_ms": 20,
                "callDirection": "incoming",
                "encoding": "LINEAR",
                "RevMediaQ": 0,
                "source": "ai",
            })
        );
        assert_eq!(value(&writer.media(&[], now))["chunk"], 2);
        let text = writer.media(&[7; 320], now);
        assert!(text.len() <= text.capacity() && text.capacity() < text.len() + 64, "built in one allocation");
    }

    #[test]
    fn fl_076_fl_077_fl_078_orders_name_the_stream_and_the_caller() {
        let writer = BotWriter::new("S1", &call());
        let of = |event: &str| json!({ "event": event, "streamId": "S1", "callerId": "+919876543210" });
        assert_eq!(value(&writer.stop()), of("reverse-media-stop"));
        let mut hangup = of("reverse-hangup-call");
        hangup["source"] = json!("ai");
        hangup["message"] = json!("Call ended by bot");
        assert_eq!(value(&writer.hangup()), hangup);
        let mut transfer = of("reverse-call-transfer");
        transfer["source"] = json!("ai");
        transfer["transferTo"] = json!("+919000000000");
        assert_eq!(value(&writer.transfer(&"+919000000000".parse().unwrap())), transfer);
    }
}
