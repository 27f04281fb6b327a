//! Carriers: who rings, who is rung, and the media between.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{BoxStream, ProviderInfo};
use crate::error::{Error, ErrorKind, Result};

/// Bytes in a [`LegId`] at most.
pub const LEG_ID_BYTES_MAX: usize = 256;

/// A carrier.
#[async_trait]
pub trait Telephony: Send + Sync {
    /// Who this is.
    fn info(&self) -> ProviderInfo;

    /// What it can do.
    fn capabilities(&self) -> TelephonyCapabilities;

    /// Places a call and returns its progress; the first event comes only after the carrier took the order.
    ///
    /// Requires `dial`. Dropping the future, or the progress before `Answered`, abandons the call: no leg goes on ringing.
    async fn dial(&self, options: DialOptions) -> Result<DialProgress>;

    /// Picks up a ringing leg. Answering twice is not an error.
    ///
    /// `NotFound` when the leg is gone.
    async fn answer(&self, leg: LegId) -> Result<()>;

    /// Ends a leg. Ending one that is gone is not an error.
    async fn hang_up(&self, leg: LegId, cause: HangupCause) -> Result<()>;

    /// Sends digits. Requires `send_dtmf`.
    async fn send_dtmf(&self, leg: LegId, digits: Vec<DtmfDigit>) -> Result<()>;

    /// Hands the leg over to `target`. Requires `transfer`.
    async fn transfer(&self, leg: LegId, target: E164) -> Result<()>;

    /// Joins the media of an answered leg, once.
    ///
    /// `NotFound` when the leg is gone, `Conflict` when its media was joined before.
    async fn open_media(&self, leg: LegId) -> Result<Media>;

    /// Verifies and parses a carrier's webhook: pure, no network. Requires `webhooks`.
    ///
    /// `Unauthenticated` when its signature does not hold, `Rejected` when it cannot be understood.
    fn decode(&self, request: CarrierRequest) -> Result<Vec<CarrierEvent>>;
}

/// What a carrier can do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TelephonyCapabilities {
    /// Places calls.
    pub dial: bool,
    /// Sends digits.
    pub send_dtmf: bool,
    /// Transfers legs.
    pub transfer: bool,
    /// Speaks to us by webhooks.
    pub webhooks: bool,
}

/// A carrier's name for one leg of a call.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LegId(String);

impl LegId {
    /// `ConfigInvalid` when empty or longer than [`LEG_ID_BYTES_MAX`].
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        if text.is_empty() || text.len() > LEG_ID_BYTES_MAX {
            return Err(Error::new(ErrorKind::ConfigInvalid, "leg_id.parse", "a leg id has 1 to 256 bytes"));
        }
        Ok(Self(text))
    }

    /// The carrier's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A telephone number as ITU-T E.164 writes it: `+` and 2 to 15 digits, the first not zero.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct E164(String);

impl E164 {
    /// With the leading `+`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for E164 {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = text.strip_prefix('+').unwrap_or_default();
        let valid = (2..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        if !valid {
            return Err(Error::new(ErrorKind::ConfigInvalid, "e164.parse", "not a number such as +14155550123"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for E164 {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<E164> for String {
    fn from(number: E164) -> Self {
        number.0
    }
}

impl fmt::Display for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key of the telephone: `0` to `9`, `*`, `#`, `A` to `D` (ITU-T Q.23).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(into = "char", try_from = "char")]
pub struct DtmfDigit(char);

impl DtmfDigit {
    /// The key's character.
    pub fn as_char(self) -> char {
        self.0
    }
}

impl TryFrom<char> for DtmfDigit {
    type Error = Error;

    fn try_from(key: char) -> Result<Self> {
        match key {
            '0'..='9' | '*' | '#' | 'A'..='D' => Ok(Self(key)),
            'a'..='d' => Ok(Self(key.to_ascii_uppercase())),
            _ => Err(Error::new(ErrorKind::ConfigInvalid, "dtmf.parse", "not a key of the telephone")),
        }
    }
}

impl From<DtmfDigit> for char {
    fn from(digit: DtmfDigit) -> Self {
        digit.0
    }
}

/// Why a leg ended: an ITU-T Q.850 cause value, 1 to 127.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub struct HangupCause(u8);

impl HangupCause {
    /// 1: the number is assigned to nobody.
    pub const UNALLOCATED_NUMBER: Self = Self(1);
    /// 16: one of the parties hung up.
    pub const NORMAL_CLEARING: Self = Self(16);
    /// 17: the called party is busy.
    pub const USER_BUSY: Self = Self(17);
    /// 18: the called party does not respond.
    pub const NO_USER_RESPONDING: Self = Self(18);
    /// 19: it rang and nobody answered.
    pub const NO_ANSWER: Self = Self(19);
    /// 21: the call was refused.
    pub const CALL_REJECTED: Self = Self(21);
    /// 31: an end without a more exact cause.
    pub const NORMAL_UNSPECIFIED: Self = Self(31);
    /// 34: no circuit or channel is free.
    pub const NO_CIRCUIT_AVAILABLE: Self = Self(34);
    /// 38: the network is out of order.
    pub const NETWORK_OUT_OF_ORDER: Self = Self(38);
    /// 41: a failure that may pass soon.
    pub const TEMPORARY_FAILURE: Self = Self(41);
    /// 47: no resource is free.
    pub const RESOURCE_UNAVAILABLE: Self = Self(47);
    /// 65: the bearer capability (codec) is not implemented.
    pub const BEARER_CAPABILITY_NOT_IMPLEMENTED: Self = Self(65);
    /// 95: a message that makes no sense.
    pub const INVALID_MESSAGE: Self = Self(95);
    /// 102: a timer ran out.
    pub const RECOVERY_ON_TIMER_EXPIRY: Self = Self(102);
    /// 111: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(111);
    /// 127: interworking, unspecified.
    pub const INTERWORKING: Self = Self(127);

    /// The Q.850 value.
    pub const fn value(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for HangupCause {
    type Error = Error;

    fn try_from(value: u8) -> Result<Self> {
        if !(1..=127).contains(&value) {
            return Err(Error::new(ErrorKind::ConfigInvalid, "hangup_cause.parse", "a Q.850 cause is 1 to 127"));
        }
        Ok(Self(value))
    }
}

impl From<HangupCause> for u8 {
    fn from(cause: HangupCause) -> Self {
        cause.0
    }
}

/// The lower-case name, or `q850_N` for a cause without a constant here.
impl fmt::Display for HangupCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::UNALLOCATED_NUMBER => "unallocated_number",
            Self::NORMAL_CLEARING => "normal_clearing",
            Self::USER_BUSY => "user_busy",
            Self::NO_USER_RESPONDING => "no_user_responding",
            Self::NO_ANSWER => "no_answer",
            Self::CALL_REJECTED => "call_rejected",
            Self::NORMAL_UNSPECIFIED => "normal_unspecified",
            Self::NO_CIRCUIT_AVAILABLE => "no_circuit_available",
            Self::NETWORK_OUT_OF_ORDER => "network_out_of_order",
            Self::TEMPORARY_FAILURE => "temporary_failure",
            Self::RESOURCE_UNAVAILABLE => "resource_unavailable",
            Self::BEARER_CAPABILITY_NOT_IMPLEMENTED => "bearer_capability_not_implemented",
            Self::INVALID_MESSAGE => "invalid_message",
            Self::RECOVERY_ON_TIMER_EXPIRY => "recovery_on_timer_expiry",
            Self::PROTOCOL_ERROR => "protocol_error",
            Self::INTERWORKING => "interworking",
            Self(other) => return write!(f, "q850_{other}"),
        };
        f.write_str(name)
    }
}

/// An incoming call, as the carrier announced it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct IncomingCall {
    /// The carrier's name for the leg.
    pub leg: LegId,
    /// Who calls; `None` when withheld.
    pub from: Option<E164>,
    /// The number that was called; `None` when the carrier does not say.
    pub to: Option<E164>,
    /// What the carrier or the caller's set-up attached.
    pub parameters: BTreeMap<String, String>,
}

/// A call to place.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DialOptions {
    /// The number shown to the called party.
    pub from: E164,
    /// The number to call.
    pub to: E164,
    /// Longest wait for an answer; the carrier should give up then, the engine does.
    pub ring_timeout: Duration,
}

impl DialOptions {
    /// A call from `from` to `to`.
    pub fn new(from: E164, to: E164, ring_timeout: Duration) -> Self {
        Self { from, to, ring_timeout }
    }
}

/// A placed call on its way.
pub struct DialProgress {
    /// The carrier's name for the leg.
    pub leg: LegId,
    /// Ends after `Answered` or `Failed`.
    pub events: BoxStream<'static, DialEvent>,
}

/// How a placed call gets on.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DialEvent {
    /// The other side picked up.
    Answered,
    /// The network plays audio before the answer.
    EarlyMedia,
    /// It will not be answered.
    Failed {
        /// Why.
        cause: HangupCause,
    },
    /// The other side rings.
    Ringing,
}

/// The form of media on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct MediaFormat {
    /// The codec.
    pub codec: Codec,
    /// Samples per second.
    pub rate_hz: u32,
}

/// A codec.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Codec {
    /// ITU-T G.711 A-law, one byte a sample.
    Alaw,
    /// ITU-T G.722 at 64 kbit/s, two samples at 16 kHz a byte.
    G722,
    /// Linear PCM, 16 bits, big-endian: L16 of RFC 3551.
    Pcm16Be,
    /// Linear PCM, 16 bits, little-endian.
    Pcm16Le,
    /// ITU-T G.711 mu-law, one byte a sample.
    Ulaw,
}

/// The media of one leg: a stream in and a bounded channel out. No frame costs a boxed future.
pub struct Media {
    /// Of both directions.
    pub format: MediaFormat,
    /// Whether it acknowledges [`MediaCommand::Mark`]; without it the engine accounts by the pacing clock.
    pub marks: bool,
    /// From the leg; ends with the leg.
    pub events: BoxStream<'static, MediaEvent>,
    /// To the leg. A full channel means that the carrier does not read. Dropping it gives the media back, not the leg up.
    pub commands: async_channel::Sender<MediaCommand>,
}

/// What the leg sends.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MediaEvent {
    /// Encoded samples, of any length.
    Audio(Bytes),
    /// A key was pressed.
    Dtmf(DtmfDigit),
    /// The leg ended by the other side.
    Ended {
        /// Why.
        cause: HangupCause,
    },
    /// All audio sent before this mark has been played, or was cleared.
    Marked(u64),
}

/// What goes to the leg.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MediaCommand {
    /// Encoded samples to play after those sent before.
    Audio(Bytes),
    /// Forget what was sent and not yet played.
    Clear,
    /// Report [`MediaEvent::Marked`] when the audio sent before has been played. Requires [`Media::marks`].
    Mark(u64),
}

/// A webhook from a carrier.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CarrierRequest {
    /// The raw body.
    pub body: Bytes,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// As the carrier called it; some signatures cover it.
    pub url: String,
}

impl CarrierRequest {
    /// A request to `url`.
    pub fn new(url: impl Into<String>, headers: Vec<(String, String)>, body: Bytes) -> Self {
        Self { body, headers, url: url.into() }
    }
}

/// What a carrier's webhook said.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CarrierEvent {
    /// A leg ended.
    Ended {
        /// Which.
        leg: LegId,
        /// Why.
        cause: HangupCause,
    },
    /// A call comes in.
    Incoming(IncomingCall),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e164_takes_plus_and_two_to_fifteen_digits() {
        for good in ["+628123456789", "+14155550123", "+123456789012345"] {
            assert_eq!(good.parse::<E164>().unwrap().as_str(), good);
        }
        for bad in ["", "+", "628123456789", "+0123", "+1234567890123456", "+1415555012a", "+1"] {
            assert!(bad.parse::<E164>().is_err(), "{bad}");
        }
    }

    #[test]
    fn causes_are_q850_values() {
        assert_eq!(HangupCause::try_from(16).unwrap().to_string(), "normal_clearing");
        assert_eq!(HangupCause::try_from(3).unwrap().to_string(), "q850_3");
        assert!(HangupCause::try_from(0).is_err());
        assert!(HangupCause::try_from(128).is_err());
    }

    #[test]
    fn digits_are_the_sixteen_keys() {
        assert_eq!(DtmfDigit::try_from('d').unwrap().as_char(), 'D');
        assert!(DtmfDigit::try_from('e').is_err());
    }
}
