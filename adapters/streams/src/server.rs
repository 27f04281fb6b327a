//! The server: carriers connect, a socket becomes a leg.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::StreamExt;
use offhook::provider::telephony::{
    CarrierEvent, CarrierRequest, DialOptions, DialProgress, DtmfDigit, E164, HangupCause, IncomingCall, LegId, Media,
    TelephonyCapabilities,
};
use offhook::provider::transport::{CloseCode, Socket, SocketMessage};
use offhook::provider::{ProviderInfo, Telephony};
use offhook::runtime::{self, Runtime};
use offhook::{Error, ErrorKind, Result};
use serde_json::Value;

use crate::end::EndReason;
use crate::legs::{Control, Legs, Seat};
use crate::protocol::{Protocol, Sniff, sniff};
use crate::twilio::CARRIER_MESSAGE_BYTES_MAX;
use crate::twilio::message::{Message, MessageError};
use crate::wire::{self, Output, Started, Wire};
use crate::{HANDSHAKE_LIMIT, HANDSHAKES_MAX, stream};

/// The server that carriers' media streams connect to, of any [`Protocol`].
///
/// A carrier has answered the call before it streams, so [`Telephony::answer`] does nothing. To hang up is to close the
/// socket, with a code that says why; VoxCore is told so first. Only VoxCore's legs can be transferred, and only its media
/// has no marks. Nothing is read from a leg until its media is opened. Dropping this hangs up every leg.
pub struct MediaStreams {
    handshakes: Arc<AtomicUsize>,
    legs: Arc<Legs>,
    runtime: Arc<dyn Runtime>,
}

/// A call that a socket carries.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Accepted {
    /// The call.
    pub call: IncomingCall,
    /// What the socket speaks.
    pub protocol: Protocol,
    /// What a VoxCore dialler says to the platform and not to the agent
    /// ([`RESERVED`](crate::voxcore::message::RESERVED)).
    pub reserved: BTreeMap<String, Value>,
}

impl MediaStreams {
    /// Without legs.
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self { handshakes: Arc::default(), legs: Arc::default(), runtime }
    }

    /// Takes a new socket and returns the call that it carries, once its handshake is done.
    ///
    /// The numbers are VoxCore's `callerId` and `did`, and else the stream's parameters `from` and `to` (or `From` and
    /// `To`), where they are E.164; all that is custom is passed on, and `call_sid` with it. A stream of an unknown codec
    /// is a call all the same, so that it is recorded: its media ends at once with cause 65.
    ///
    /// `Rejected` when the peer breaks the protocol (context `cause`, `q850`) or names a stream that is there already,
    /// `TimedOut` after [`HANDSHAKE_LIMIT`], `RateLimited` when too many sockets or legs wait.
    /// The socket is closed on any error, with a code that says why. A leg that is not opened within
    /// [`OPEN_LIMIT`](crate::OPEN_LIMIT) is hung up.
    pub async fn accept(&self, mut socket: Socket) -> Result<Accepted> {
        let accepted = self.try_accept(&mut socket).await;
        let (wire, seat, accepted) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                let full = error.kind() == ErrorKind::RateLimited;
                let code = if full { CloseCode::TRY_AGAIN } else { CloseCode::POLICY };
                // A peer that has no room for it sees the socket close.
                let _ = socket.outgoing.try_send(SocketMessage::Close(code));
                return Err(error);
            }
        };
        self.runtime.spawn("streams.leg", Box::pin(stream::serve(Arc::clone(&self.runtime), seat, wire, socket)));
        Ok(accepted)
    }

    async fn try_accept(&self, socket: &mut Socket) -> Result<(Box<dyn Wire>, Seat, Accepted)> {
        let permit = Permit::take(&self.handshakes)?;
        let handshake = self.handshake(socket);
        let (protocol, wire, started) = runtime::timeout(&*self.runtime, HANDSHAKE_LIMIT, ACCEPT, handshake).await?;
        drop(permit);
        let Started { format, from, leg, parameters, reserved, to } = started;
        let leg = leg.unwrap_or_else(|| self.random_name(protocol));
        let leg = LegId::new(leg).map_err(|error| refused("the stream has no usable name", error))?;
        let seat = self.legs.insert(leg.clone(), (format, protocol.acknowledges_marks()), ACCEPT);
        let seat = seat.map_err(|error| match error.kind() {
            ErrorKind::Conflict => refused("the stream is there already", error),
            _ => error,
        })?;
        let call = IncomingCall { leg, from, to, parameters };
        Ok((wire, seat, Accepted { call, protocol, reserved }))
    }

    async fn handshake(&self, socket: &mut Socket) -> Result<(Protocol, Box<dyn Wire>, Started)> {
        let rejected = |reason: EndReason| reason.into_error(ACCEPT);
        let mut messages: Vec<String> = Vec::new();
        let protocol = loop {
            match sniff(messages.iter().map(String::as_str)) {
                Sniff::Is(protocol) => break protocol,
                Sniff::More => messages.push(next_text(socket).await.map_err(rejected)?),
                Sniff::Unknown => return Err(rejected(unknown(messages.last()))),
            }
        };
        let mut wire = wire::wire(protocol, self.runtime.now(), self.runtime.wall_clock());
        messages.iter().for_each(|message| wire.handle_message(message));
        loop {
            match wire.poll_output() {
                Some(Output::Started(started)) => return Ok((protocol, wire, *started)),
                Some(Output::Ended(reason)) => return Err(rejected(reason)),
                Some(_) => {}
                None => match next_text(socket).await {
                    Ok(text) => wire.handle_message(&text),
                    Err(reason) => return Err(rejected(reason)),
                },
            }
        }
    }

    fn random_name(&self, protocol: Protocol) -> String {
        let mut bytes = [0; 16];
        self.runtime.fill_random(&mut bytes);
        format!("{}-{}", protocol.name(), hex::encode(bytes))
    }
}

#[async_trait]
impl Telephony for MediaStreams {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "streams", detail: String::new() }
    }

    fn capabilities(&self) -> TelephonyCapabilities {
        TelephonyCapabilities { transfer: true, ..TelephonyCapabilities::default() }
    }

    async fn dial(&self, _options: DialOptions) -> Result<DialProgress> {
        Err(Error::unsupported("streams.dial", "placing calls"))
    }

    async fn answer(&self, leg: LegId) -> Result<()> {
        self.legs.require(&leg, "streams.answer")
    }

    async fn hang_up(&self, leg: LegId, cause: HangupCause) -> Result<()> {
        self.legs.hang_up(&leg, cause);
        Ok(())
    }

    async fn send_dtmf(&self, _leg: LegId, _digits: Vec<DtmfDigit>) -> Result<()> {
        Err(Error::unsupported("streams.send_dtmf", "sending digits"))
    }

    /// Asks the dialler to hand the caller over; it does not say what came of it. `Unsupported` for legs of other
    /// protocols than VoxCore's.
    async fn transfer(&self, leg: LegId, target: E164) -> Result<()> {
        const OPERATION: &str = "streams.transfer";
        let (answer, answered) = async_channel::bounded(1);
        self.legs.control(&leg, Control::Transfer(target, answer), OPERATION)?;
        let gone = |_| Error::new(ErrorKind::NotFound, OPERATION, "the leg ended before it was handed over");
        answered.recv().await.map_err(gone)?
    }

    async fn open_media(&self, leg: LegId) -> Result<Media> {
        self.legs.open(&leg, "streams.open_media")
    }

    fn decode(&self, _request: CarrierRequest) -> Result<Vec<CarrierEvent>> {
        Err(Error::unsupported("streams.decode", "a carrier's webhook"))
    }
}

const ACCEPT: &str = "streams.accept";

async fn next_text(socket: &mut Socket) -> Result<String, EndReason> {
    match socket.incoming.next().await {
        Some(Ok(SocketMessage::Text(text))) if text.len() > CARRIER_MESSAGE_BYTES_MAX => {
            Err(MessageError::TooLong { bytes_max: CARRIER_MESSAGE_BYTES_MAX }.into())
        }
        Some(Ok(SocketMessage::Text(text))) => Ok(text),
        Some(Ok(SocketMessage::Binary(_))) => Err(EndReason::Binary),
        Some(Ok(SocketMessage::Close(_)) | Err(_)) | None => Err(EndReason::Disconnected),
    }
}

/// Why nobody speaks like this.
fn unknown(last: Option<&String>) -> EndReason {
    match last.map(|text| Message::parse(text, CARRIER_MESSAGE_BYTES_MAX)) {
        Some(Err(error)) => error.into(),
        _ => EndReason::UnknownProtocol,
    }
}

fn refused(message: &str, source: Error) -> Error {
    let cause = HangupCause::PROTOCOL_ERROR;
    Error::new(ErrorKind::Rejected, ACCEPT, message)
        .with_context("cause", cause)
        .with_context("q850", cause.value())
        .with_source(source)
}

/// A place among the sockets whose `start` has not come.
struct Permit(Arc<AtomicUsize>);

impl Permit {
    fn take(taken: &Arc<AtomicUsize>) -> Result<Self> {
        let permit = Self(Arc::clone(taken));
        if taken.fetch_add(1, Ordering::Relaxed) >= HANDSHAKES_MAX {
            return Err(Error::new(ErrorKind::RateLimited, ACCEPT, "too many sockets wait for their start"));
        }
        Ok(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
