//! Why a stream ended.

use offhook::provider::telephony::HangupCause;
use offhook::provider::transport::CloseCode;
use offhook::{Error, ErrorKind};

use crate::twilio::message::MessageError;

/// Why a stream ended; [`EndReason::cause`] is what the engine is told.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EndReason {
    /// A binary message; the protocol has text only.
    #[error("a binary message")]
    Binary,
    /// The application closed the socket, which is how it hangs up.
    #[error("the application closed the stream")]
    ClosedByApp,
    /// The carrier announced media that cannot be taken.
    #[error("the media is of another codec, rate or number of channels")]
    Codec,
    /// The socket broke, or closed without a `stop`.
    #[error("the socket closed without a stop")]
    Disconnected,
    /// A message that cannot be understood.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The event has no place here: before `start`, or a second time.
    #[error("`{0}` out of order")]
    OutOfOrder(&'static str),
    /// More audio or marks wait to be played than the line holds.
    #[error("more waits to be played than the line holds")]
    Overflow,
    /// The message names another stream than this socket's.
    #[error("a message of another stream")]
    OtherStream,
    /// The peer left what it was sent unread for [`STALL_LIMIT`](crate::STALL_LIMIT).
    #[error("the peer does not read")]
    Stalled,
    /// The carrier ended the stream with `stop`.
    #[error("the carrier stopped the stream")]
    Stopped,
    /// No protocol that is known here begins like this.
    #[error("no known protocol")]
    UnknownProtocol,
    /// Nobody takes the events of the line.
    #[error("the events are not read")]
    Unread,
}

impl EndReason {
    /// The Q.850 cause.
    pub fn cause(&self) -> HangupCause {
        match self {
            Self::Binary | Self::Message(_) => HangupCause::INVALID_MESSAGE,
            Self::ClosedByApp | Self::Stopped => HangupCause::NORMAL_CLEARING,
            Self::Codec => HangupCause::BEARER_CAPABILITY_NOT_IMPLEMENTED,
            Self::Disconnected | Self::Stalled => HangupCause::NETWORK_OUT_OF_ORDER,
            Self::OtherStream | Self::OutOfOrder(_) | Self::UnknownProtocol => HangupCause::PROTOCOL_ERROR,
            Self::Overflow | Self::Unread => HangupCause::RESOURCE_UNAVAILABLE,
        }
    }

    /// As a refusal in `operation`; its context holds the cause by name (`cause`) and by number (`q850`).
    pub fn into_error(self, operation: &'static str) -> Error {
        let cause = self.cause();
        Error::new(ErrorKind::Rejected, operation, self.to_string())
            .with_context("cause", cause)
            .with_context("q850", cause.value())
    }
}

/// The code with which a socket is closed for `cause`.
pub(crate) fn close_code(cause: HangupCause) -> CloseCode {
    match cause {
        HangupCause::NORMAL_CLEARING | HangupCause::NORMAL_UNSPECIFIED => CloseCode::NORMAL,
        HangupCause::BEARER_CAPABILITY_NOT_IMPLEMENTED
        | HangupCause::INVALID_MESSAGE
        | HangupCause::PROTOCOL_ERROR
        | HangupCause::UNALLOCATED_NUMBER => CloseCode::POLICY,
        HangupCause::CALL_REJECTED
        | HangupCause::NO_CIRCUIT_AVAILABLE
        | HangupCause::RESOURCE_UNAVAILABLE
        | HangupCause::USER_BUSY => CloseCode::TRY_AGAIN,
        _ => CloseCode::INTERNAL,
    }
}
