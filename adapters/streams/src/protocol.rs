//! Which protocol a socket speaks, and what each names its things.

use offhook::provider::telephony::{Codec, MediaFormat};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::twilio::message::StatedFormat;

/// Messages that may come before it is clear which protocol they are of.
pub const SNIFFED_MAX: usize = 4;

/// A protocol of media streams.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Protocol {
    /// Exotel's streams: <https://developer.exotel.com/docs/agentstream/websocket-protocol>.
    Exotel,
    /// Plivo's audio streams: <https://plivo.com/docs/voice/audio-streaming/audio-streaming>.
    Plivo,
    /// Telnyx's media streaming: <https://developers.telnyx.com/docs/voice/programmable-voice/media-streaming>.
    Telnyx,
    /// Twilio Media Streams: <https://www.twilio.com/docs/voice/media-streams/websocket-messages>.
    Twilio,
    /// VoxCore's fleet protocol, as its diallers speak it.
    VoxCore,
}

/// What the first messages of a socket tell of its protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sniff {
    /// They are of this one.
    Is(Protocol),
    /// The next message is needed.
    More,
    /// They are of none.
    Unknown,
}

/// Tells by the first messages of a socket, in order, which protocol it speaks.
pub fn sniff<'a>(messages: impl IntoIterator<Item = &'a str>) -> Sniff {
    let mut is_connected = false;
    for (index, message) in messages.into_iter().enumerate() {
        let Ok(head) = serde_json::from_str::<Head>(message) else { return Sniff::Unknown };
        let told = match head.event.as_str() {
            _ if index >= SNIFFED_MAX => Sniff::Unknown,
            "connected" => {
                is_connected = true;
                head.of_connected()
            }
            "start" => head.of_start(),
            "answer" | "dtmf" | "media" | "stop" => Sniff::Unknown,
            _ if is_connected => Sniff::More,
            _ => Sniff::Unknown,
        };
        if told != Sniff::More {
            return told;
        }
    }
    Sniff::More
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    event: String,
    call_direction: Option<IgnoredAny>,
    caller_id: Option<IgnoredAny>,
    did: Option<IgnoredAny>,
    protocol: Option<IgnoredAny>,
    start: Option<Start>,
    #[serde(flatten)]
    stream: StreamKeys,
}

#[derive(Deserialize)]
struct Start {
    #[serde(flatten)]
    stream: StreamKeys,
}

/// The stream's name is each protocol's own name for it.
#[derive(Deserialize)]
struct StreamKeys {
    #[serde(rename = "stream_sid")]
    exotel: Option<IgnoredAny>,
    /// VoxCore's too.
    #[serde(rename = "streamId")]
    plivo: Option<IgnoredAny>,
    #[serde(rename = "stream_id")]
    telnyx: Option<IgnoredAny>,
    #[serde(rename = "streamSid")]
    twilio: Option<IgnoredAny>,
}

impl Head {
    fn of_connected(&self) -> Sniff {
        if self.protocol.is_some() {
            return Sniff::Is(Protocol::Twilio);
        }
        let is_voxcore = self.caller_id.is_some() || self.did.is_some() || self.call_direction.is_some();
        if is_voxcore || self.stream.plivo.is_some() { Sniff::Is(Protocol::VoxCore) } else { Sniff::More }
    }

    fn of_start(&self) -> Sniff {
        let Some(start) = &self.start else { return Sniff::Is(Protocol::VoxCore) };
        start.stream.protocol().or_else(|| self.stream.protocol()).map_or(Sniff::Unknown, Sniff::Is)
    }
}

impl StreamKeys {
    fn protocol(&self) -> Option<Protocol> {
        let Self { exotel, plivo, telnyx, twilio } = self;
        let named = [
            (twilio, Protocol::Twilio),
            (exotel, Protocol::Exotel),
            (telnyx, Protocol::Telnyx),
            (plivo, Protocol::Plivo),
        ];
        named.into_iter().find(|(key, _)| key.is_some()).map(|(_, protocol)| protocol)
    }
}

impl Protocol {
    /// Lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exotel => "exotel",
            Self::Plivo => "plivo",
            Self::Telnyx => "telnyx",
            Self::Twilio => "twilio",
            Self::VoxCore => "voxcore",
        }
    }

    /// Whether the protocol tells what was played; without that, who speaks goes by the clock.
    pub fn acknowledges_marks(self) -> bool {
        self != Self::VoxCore
    }

    /// The media that a carrier of this protocol means; `None` when it cannot be taken. One that says nothing uses the first
    /// of the protocol's formats.
    pub fn media_format(self, stated: Option<&StatedFormat>) -> Option<MediaFormat> {
        let formats = self.formats();
        let Some(stated) = stated else { return formats.first().map(|(_, format)| *format) };
        let is_stated = |name: &str, format: &MediaFormat| {
            (name.is_empty() || stated.encoding.eq_ignore_ascii_case(name)) && stated.rate_hz == format.rate_hz
        };
        let found = formats.iter().find(|(name, format)| is_stated(name, format));
        found.filter(|_| stated.channels.is_none_or(|channels| channels == 1)).map(|(_, format)| *format)
    }

    /// What the protocol calls each format that can be taken; an empty name takes any encoding.
    fn formats(self) -> &'static [(&'static str, MediaFormat)] {
        match self {
            // Its encoding is that of the payload, which is always PCM in base64.
            Self::Exotel => const { &[("", pcm(8_000)), ("", pcm(16_000)), ("", pcm(24_000))] },
            Self::Plivo => {
                const { &[("audio/x-mulaw", ULAW), ("audio/x-l16", pcm(8_000)), ("audio/x-l16", pcm(16_000))] }
            }
            Self::Telnyx => &[("PCMU", ULAW), ("PCMA", ALAW)],
            Self::Twilio => &[("audio/x-mulaw", ULAW)],
            Self::VoxCore => const { &[("LINEAR", pcm(8_000))] },
        }
    }
}

const ALAW: MediaFormat = MediaFormat { codec: Codec::Alaw, rate_hz: 8_000 };
const ULAW: MediaFormat = MediaFormat { codec: Codec::Ulaw, rate_hz: 8_000 };

const fn pcm(rate_hz: u32) -> MediaFormat {
    MediaFormat { codec: Codec::Pcm16Le, rate_hz }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECTED: &str = r#"{"event":"connected"}"#;

    #[test]
    fn fl_084_the_first_messages_tell_the_protocol() {
        let is = Sniff::Is;
        for (messages, told) in [
            (&[r#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#][..], is(Protocol::Twilio)),
            (&[CONNECTED, r#"{"event":"start","streamSid":"S","start":{"streamSid":"S"}}"#], is(Protocol::Twilio)),
            (&[r#"{"event":"connected","callerId":"+6281","streamId":"S","campaign":"x"}"#], is(Protocol::VoxCore)),
            (&[r#"{"event":"connected","did":"+6221"}"#], is(Protocol::VoxCore)),
            (&[CONNECTED, r#"{"event":"start","streamId":"S","mediaFormat":{}}"#], is(Protocol::VoxCore)),
            (&[CONNECTED], Sniff::More),
            (&[], Sniff::More),
            (&[CONNECTED, r#"{"event":"start","stream_sid":"S","start":{"stream_sid":"S"}}"#], is(Protocol::Exotel)),
            (
                &[r#"{"event":"connected","version":"1.0.0"}"#, r#"{"event":"start","start":{},"stream_id":"S"}"#],
                is(Protocol::Telnyx),
            ),
            (&[r#"{"sequenceNumber":0,"event":"start","start":{"streamId":"S"}}"#], is(Protocol::Plivo)),
            (&[CONNECTED, r#"{"event":"news"}"#], Sniff::More),
            (&[CONNECTED, CONNECTED, CONNECTED, CONNECTED, CONNECTED], Sniff::Unknown),
            (&[CONNECTED, r#"{"event":"start","start":{}}"#], Sniff::Unknown),
            (&[CONNECTED, r#"{"event":"media"}"#], Sniff::Unknown),
            (&[r#"{"event":"stop"}"#], Sniff::Unknown),
            (&[r#"{"event":"news"}"#], Sniff::Unknown),
            (&["garbage"], Sniff::Unknown),
            (&["[]"], Sniff::Unknown),
            (&["{}"], Sniff::Unknown),
        ] {
            assert_eq!(sniff(messages.iter().copied()), told, "{messages:?}");
        }
    }

    #[test]
    fn formats_are_those_that_the_protocol_has() {
        let stated =
            |encoding: &str, rate_hz, channels| StatedFormat { channels, encoding: encoding.to_owned(), rate_hz };
        let format = |codec, rate_hz| Some(MediaFormat { codec, rate_hz });
        for (protocol, stated, found) in [
            (Protocol::Twilio, stated("audio/x-mulaw", 8_000, Some(1)), format(Codec::Ulaw, 8_000)),
            (Protocol::Twilio, stated("audio/x-mulaw", 8_000, Some(2)), None),
            (Protocol::Twilio, stated("audio/x-mulaw", 16_000, None), None),
            (Protocol::Twilio, stated("audio/x-alaw", 8_000, None), None),
            (Protocol::Exotel, stated("base64", 16_000, None), format(Codec::Pcm16Le, 16_000)),
            (Protocol::Exotel, stated("raw/slin", 44_100, None), None),
            (Protocol::Plivo, stated("audio/x-l16", 16_000, None), format(Codec::Pcm16Le, 16_000)),
            (Protocol::Telnyx, stated("PCMA", 8_000, Some(1)), format(Codec::Alaw, 8_000)),
            (Protocol::Telnyx, stated("OPUS", 16_000, Some(1)), None),
            (Protocol::VoxCore, stated("LINEAR", 8_000, Some(1)), format(Codec::Pcm16Le, 8_000)),
        ] {
            assert_eq!(protocol.media_format(Some(&stated)), found, "{protocol:?} {stated:?}");
        }
        assert_eq!(Protocol::Twilio.media_format(None), format(Codec::Ulaw, 8_000));
    }
}
