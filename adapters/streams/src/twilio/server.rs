//! The server's side: carriers connect, a socket becomes a leg.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_channel::{Receiver, Sender, TrySendError};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::{self, Either};
use offhook::provider::telephony::{
    CarrierEvent, CarrierRequest, DialOptions, DialProgress, DtmfDigit, E164, HangupCause, IncomingCall, LegId, Media,
    MediaCommand, MediaEvent, TelephonyCapabilities,
};
use offhook::provider::transport::{Socket, SocketMessage};
use offhook::provider::{BoxStream, ProviderInfo, Telephony};
use offhook::runtime::{self, Runtime};
use offhook::{Error, ErrorKind, Result};

use super::message::Start;
use super::session::{Output, Session, command_message};
use super::writer::AppWriter;
use super::{CLOSE_LIMIT, EndReason, HANDSHAKE_LIMIT, HANDSHAKES_MAX, MEDIA_FORMAT, OPEN_LIMIT, STALL_LIMIT};
use crate::legs::{Legs, Seat};

/// Twilio Media Streams as the server that Twilio connects to.
///
/// A leg's id is its `streamSid`. Twilio has answered the call before it streams, so [`Telephony::answer`] does nothing,
/// and there is no word for hanging up: closing the socket ends `<Connect><Stream>`, and the call with it unless the
/// TwiML goes on. Nothing is read from a leg until its media is opened. Dropping this hangs up every leg.
pub struct TwilioStreams {
    handshakes: Arc<AtomicUsize>,
    legs: Arc<Legs>,
    runtime: Arc<dyn Runtime>,
}

impl TwilioStreams {
    /// Without legs.
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self { handshakes: Arc::default(), legs: Arc::default(), runtime }
    }

    /// Takes a new socket and returns the call that it carries, once `connected` and `start` have come.
    ///
    /// The numbers are the stream's custom parameters `from` and `to` (or `From` and `To`) where they are E.164; all
    /// custom parameters are passed on, and `call_sid` with them. A stream of an unknown codec is a call all the same,
    /// so that it is recorded: its media ends at once with cause 65.
    ///
    /// `Rejected` when the peer breaks the protocol (context `cause`, `q850`) or names a stream that is there already,
    /// `TimedOut` after [`HANDSHAKE_LIMIT`], `RateLimited` when too many sockets or legs wait.
    /// The socket is closed on any error. A leg that is not opened within [`OPEN_LIMIT`] is hung up.
    pub async fn accept(&self, mut socket: Socket) -> Result<IncomingCall> {
        let permit = Permit::take(&self.handshakes)?;
        let mut session = Session::new();
        let handshake = handshake(&mut session, &mut socket.incoming);
        let start = runtime::timeout(&*self.runtime, HANDSHAKE_LIMIT, ACCEPT, handshake).await?;
        drop(permit);

        let leg =
            LegId::new(start.stream_sid.as_str()).map_err(|error| refused("the stream has no usable name", error))?;
        let seat = self.legs.insert(leg.clone(), MEDIA_FORMAT, ACCEPT).map_err(|error| match error.kind() {
            ErrorKind::Conflict => refused("the stream is there already", error),
            _ => error,
        })?;
        let task = serve(Arc::clone(&self.runtime), seat, session, socket, AppWriter::new(&start.stream_sid));
        self.runtime.spawn("streams.twilio.leg", Box::pin(task));
        Ok(incoming_call(leg, *start))
    }
}

#[async_trait]
impl Telephony for TwilioStreams {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "twilio-streams", detail: String::new() }
    }

    fn capabilities(&self) -> TelephonyCapabilities {
        TelephonyCapabilities::default()
    }

    async fn dial(&self, _options: DialOptions) -> Result<DialProgress> {
        Err(Error::unsupported("streams.dial", "placing calls"))
    }

    async fn answer(&self, leg: LegId) -> Result<()> {
        self.legs.require(&leg, "streams.answer")
    }

    async fn hang_up(&self, leg: LegId, _cause: HangupCause) -> Result<()> {
        self.legs.remove(&leg);
        Ok(())
    }

    async fn send_dtmf(&self, _leg: LegId, _digits: Vec<DtmfDigit>) -> Result<()> {
        Err(Error::unsupported("streams.send_dtmf", "sending digits"))
    }

    async fn transfer(&self, _leg: LegId, _target: E164) -> Result<()> {
        Err(Error::unsupported("streams.transfer", "transferring"))
    }

    async fn open_media(&self, leg: LegId) -> Result<Media> {
        self.legs.open(&leg, "streams.open_media")
    }

    fn decode(&self, _request: CarrierRequest) -> Result<Vec<CarrierEvent>> {
        Err(Error::unsupported("streams.decode", "a carrier's webhook"))
    }
}

const ACCEPT: &str = "streams.accept";

type Incoming = BoxStream<'static, Result<SocketMessage>>;

/// The leg's task: waits for its media to be opened, then carries it until either side ends it.
async fn serve(runtime: Arc<dyn Runtime>, seat: Seat, mut session: Session, socket: Socket, writer: AppWriter) {
    if !seat.opened(&*runtime, OPEN_LIMIT).await {
        return;
    }
    let reason = {
        let Socket { incoming, outgoing } = socket;
        let reader = pin!(read(&mut session, incoming, &seat.events));
        let writer = pin!(write(&*runtime, &seat.commands, &writer, outgoing));
        let hung_up = pin!(seat.hung_up());
        match future::select(hung_up, future::select(reader, writer)).await {
            Either::Left(_) => None,
            Either::Right((Either::Left((reason, _)) | Either::Right((reason, _)), _)) => Some(reason),
        }
    };
    // The socket is closed by now, so that the peer is not held while the engine takes its events.
    let Some(reason) = reason else { return };
    tracing::debug!(leg = %seat.leg(), cause = %reason.cause(), %reason, "stream ended");
    seat.end(reason.cause()).await;
}

/// From the peer to the engine.
async fn read(session: &mut Session, mut incoming: Incoming, events: &Sender<MediaEvent>) -> EndReason {
    loop {
        while let Some(output) = session.poll_output() {
            let event = match output {
                Output::Audio(audio) => MediaEvent::Audio(audio),
                Output::Dtmf(digit) => MediaEvent::Dtmf(digit),
                Output::Ended(reason) => return reason,
                Output::Marked(number) => MediaEvent::Marked(number),
                Output::Started(_) => continue,
            };
            // An engine that dropped the events has given the media back; the leg goes on unheard.
            let _ = events.send(event).await;
        }
        read_one(session, &mut incoming).await;
    }
}

async fn read_one(session: &mut Session, incoming: &mut Incoming) {
    match incoming.next().await {
        Some(Ok(SocketMessage::Text(text))) => session.handle_message(&text),
        Some(Ok(SocketMessage::Binary(_))) => session.handle_binary(),
        Some(Err(_)) | None => session.handle_close(),
    }
}

/// From the engine to the peer.
async fn write(
    runtime: &dyn Runtime,
    commands: &Receiver<MediaCommand>,
    writer: &AppWriter,
    outgoing: Sender<SocketMessage>,
) -> EndReason {
    while let Ok(command) = commands.recv().await {
        let Some(text) = command_message(writer, &command) else {
            continue;
        };
        if let Err(reason) = send(runtime, &outgoing, SocketMessage::Text(text)).await {
            return reason;
        }
    }
    // The media was given back. The leg goes on unspoken to, and its socket stays open.
    future::pending().await
}

async fn send(
    runtime: &dyn Runtime,
    outgoing: &Sender<SocketMessage>,
    message: SocketMessage,
) -> Result<(), EndReason> {
    let message = match outgoing.try_send(message) {
        Ok(()) => return Ok(()),
        Err(TrySendError::Closed(_)) => return Err(disconnected(runtime).await),
        Err(TrySendError::Full(message)) => message,
    };
    let deadline = runtime.sleep_until(runtime.now() + STALL_LIMIT);
    match future::select(pin!(outgoing.send(message)), deadline).await {
        Either::Left((Ok(()), _)) => Ok(()),
        Either::Left((Err(_), _)) => Err(disconnected(runtime).await),
        Either::Right(_) => Err(EndReason::Stalled),
    }
}

/// The peer reads no more; a last `stop` of its own may still be on its way and tells more.
async fn disconnected(runtime: &dyn Runtime) -> EndReason {
    runtime.sleep_until(runtime.now() + CLOSE_LIMIT).await;
    EndReason::Disconnected
}

async fn handshake(session: &mut Session, incoming: &mut Incoming) -> Result<Box<Start>> {
    loop {
        match session.poll_output() {
            Some(Output::Started(start)) => return Ok(start),
            Some(Output::Ended(reason)) => return Err(reason.into_error(ACCEPT)),
            Some(_) => {}
            None => read_one(session, incoming).await,
        }
    }
}

fn incoming_call(leg: LegId, start: Start) -> IncomingCall {
    let Start { call_sid, mut parameters, .. } = start;
    let from = number(&parameters, ["from", "From"]);
    let to = number(&parameters, ["to", "To"]);
    if !call_sid.is_empty() {
        parameters.insert("call_sid".to_owned(), call_sid);
    }
    IncomingCall { leg, from, to, parameters }
}

fn number(parameters: &BTreeMap<String, String>, names: [&str; 2]) -> Option<E164> {
    names.iter().find_map(|name| parameters.get(*name)?.parse().ok())
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
