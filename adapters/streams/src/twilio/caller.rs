//! The caller's side: it dials any server of Twilio Media Streams and behaves towards it as Twilio does.

use std::collections::{BTreeMap, VecDeque};
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_channel::{Receiver, Sender, TrySendError};
use async_trait::async_trait;
use futures_util::future;
use futures_util::{FutureExt, StreamExt, select_biased, stream};
use offhook::provider::telephony::{
    CarrierEvent, CarrierRequest, DialEvent, DialOptions, DialProgress, DtmfDigit, E164, HangupCause, LegId, Media,
    MediaCommand, MediaEvent, TelephonyCapabilities,
};
use offhook::provider::transport::{Socket, SocketMessage, SocketRequest};
use offhook::provider::{ProviderInfo, SocketTransport, Telephony};
use offhook::runtime::{self, Runtime};
use offhook::time::Instant;
use offhook::{Error, ErrorKind, Result};

use super::line::{Line, Output};
use super::writer::CarrierWriter;
use super::{CLOSE_LIMIT, CONNECT_LIMIT, EndReason, MEDIA_FORMAT, OPEN_LIMIT, STALL_LIMIT};
use crate::legs::{Control, EVENTS_MAX, Legs, Seat};

/// A caller over Twilio Media Streams, for trying out a server of them: a [`Line`] on a socket and a clock.
///
/// Once its media is opened, the line runs in real time: every 20 ms exactly one frame of 160 bytes is heard
/// ([`MediaEvent::Audio`], silence when the application sends nothing) and one is spoken (silence when there is no
/// command). Commands of any length wait and are spoken in real time. A listener who does not take his events misses
/// audio, as on any telephone. The application hangs up by closing the socket.
pub struct TwilioCaller {
    legs: Arc<Legs>,
    parameters: BTreeMap<String, String>,
    runtime: Arc<dyn Runtime>,
    transport: Arc<dyn SocketTransport>,
    url: String,
}

impl TwilioCaller {
    /// A caller of the server at `url` (`ws` or `wss`).
    pub fn new(runtime: Arc<dyn Runtime>, transport: Arc<dyn SocketTransport>, url: impl Into<String>) -> Self {
        Self { legs: Arc::default(), parameters: BTreeMap::new(), runtime, transport, url: url.into() }
    }

    /// Attaches a custom parameter to every call; `from` and `to` are there already.
    #[must_use]
    pub fn with_parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.insert(name.into(), value.into());
        self
    }

    async fn connect(&self, limit: Duration) -> Result<Socket> {
        let limit = limit.min(CONNECT_LIMIT);
        let connect = self.transport.connect(SocketRequest::new(self.url.as_str(), limit));
        runtime::timeout(&*self.runtime, limit, DIAL, connect).await
    }

    async fn introduce(
        &self,
        outgoing: &Sender<SocketMessage>,
        writer: &mut CarrierWriter,
        options: &DialOptions,
    ) -> Result<()> {
        let mut parameters = self.parameters.clone();
        parameters.insert("from".to_owned(), options.from.to_string());
        parameters.insert("to".to_owned(), options.to.to_string());
        let messages = [writer.connected(), writer.start(&parameters)];
        let send = async {
            for message in messages {
                let closed = |_| Error::new(ErrorKind::Unavailable, DIAL, "the server closed the socket");
                outgoing.send(SocketMessage::Text(message)).await.map_err(closed)?;
            }
            Ok(())
        };
        runtime::timeout(&*self.runtime, CONNECT_LIMIT, DIAL, send).await
    }

    /// A name as Twilio gives them: two letters and 32 hexadecimal digits.
    fn random_sid(&self, kind: &str) -> String {
        let mut bytes = [0; 16];
        self.runtime.fill_random(&mut bytes);
        format!("{kind}{}", hex::encode(bytes))
    }
}

#[async_trait]
impl Telephony for TwilioCaller {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "twilio-caller", detail: String::new() }
    }

    fn capabilities(&self) -> TelephonyCapabilities {
        TelephonyCapabilities { dial: true, send_dtmf: true, ..TelephonyCapabilities::default() }
    }

    /// A stream is answered once it is open, so `Answered` is the first event; a server that cannot be reached is an
    /// error and not an event.
    async fn dial(&self, options: DialOptions) -> Result<DialProgress> {
        let (account_sid, call_sid) = (self.random_sid("AC"), self.random_sid("CA"));
        let stream_sid = self.random_sid("MZ");
        let leg = LegId::new(stream_sid.as_str())?;
        let mut writer = CarrierWriter::new(&account_sid, &call_sid, &stream_sid);
        let seat = self.legs.insert(leg.clone(), MEDIA_FORMAT, DIAL)?;
        let socket = self.connect(options.ring_timeout).await?;
        self.introduce(&socket.outgoing, &mut writer, &options).await?;

        self.runtime.spawn("streams.twilio.caller", Box::pin(hold(Arc::clone(&self.runtime), seat, socket, writer)));
        let unanswered = Unanswered { leg: Some(leg.clone()), legs: Arc::downgrade(&self.legs) };
        let events = stream::once(async move {
            unanswered.forget();
            DialEvent::Answered
        });
        Ok(DialProgress { leg, events: Box::pin(events) })
    }

    async fn answer(&self, leg: LegId) -> Result<()> {
        self.legs.require(&leg, "streams.answer")
    }

    async fn hang_up(&self, leg: LegId, _cause: HangupCause) -> Result<()> {
        self.legs.remove(&leg);
        Ok(())
    }

    /// `Conflict` until the media is opened.
    async fn send_dtmf(&self, leg: LegId, digits: Vec<DtmfDigit>) -> Result<()> {
        self.legs.control(&leg, Control::Dtmf(digits), "streams.send_dtmf")
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

const DIAL: &str = "streams.dial";

/// Places among the waiting events that audio leaves to what must not be missed.
const EVENTS_RESERVED: usize = 64;

/// Hangs up when dropped before the answer was taken.
struct Unanswered {
    leg: Option<LegId>,
    legs: Weak<Legs>,
}

impl Unanswered {
    fn forget(mut self) {
        self.leg = None;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let (Some(leg), Some(legs)) = (&self.leg, self.legs.upgrade()) {
            legs.remove(leg);
        }
    }
}

/// The leg's task.
async fn hold(runtime: Arc<dyn Runtime>, seat: Seat, socket: Socket, writer: CarrierWriter) {
    let opened = seat.opened(&*runtime, OPEN_LIMIT).await;
    let mut line = Line::new(runtime.now(), seat.leg().as_str(), writer);
    let reason = if opened {
        talk(&*runtime, &seat, &mut line, socket).await
    } else {
        hang_up(&*runtime, &mut line, &socket.outgoing).await
    };
    let Some(reason) = reason else { return };
    tracing::debug!(leg = %seat.leg(), cause = %reason.cause(), %reason, "stream ended");
    seat.end(reason.cause()).await;
}

/// Runs the line until it ends; `None` when our side hung up.
async fn talk(runtime: &dyn Runtime, seat: &Seat, line: &mut Line, mut socket: Socket) -> Option<EndReason> {
    let mut outbox = Outbox::default();
    let mut commands = Commands(Some(&seat.commands));
    let mut tick = Tick::new(runtime, line)?;
    loop {
        if let Err(reason) = deliver(line, seat, &mut outbox, &socket.outgoing, runtime.now()) {
            return Some(reason);
        }
        select_biased! {
            request = seat.control.recv().fuse() => match request {
                Ok(Control::Dtmf(digits)) => line.handle_dtmf(&digits),
                Ok(Control::Opened) => {}
                Err(_) => return hang_up(runtime, line, &socket.outgoing).await,
            },
            () = tick.due.as_mut().fuse() => {
                line.handle_timeout(runtime.now());
                tick = Tick::new(runtime, line)?;
            }
            command = commands.next(line.takes_commands()).fuse() => line.handle_command(command),
            message = socket.incoming.next().fuse() => match message {
                Some(Ok(SocketMessage::Text(text))) => line.handle_message(&text),
                Some(Ok(SocketMessage::Binary(_))) => line.handle_binary(),
                Some(Err(_)) => line.handle_close(true),
                None => line.handle_close(false),
            },
        }
    }
}

/// Does what the line wants done.
fn deliver(
    line: &mut Line,
    seat: &Seat,
    outbox: &mut Outbox,
    outgoing: &Sender<SocketMessage>,
    now: Instant,
) -> Result<(), EndReason> {
    while let Some(output) = line.poll_output() {
        match output {
            Output::Ended(reason) => return Err(reason),
            Output::Event(event) => tell(&seat.events, event)?,
            Output::Send(text) => outbox.queue.push_back(text),
        }
    }
    outbox.flush(outgoing, now)
}

/// Passes `event` on while there is room; audio that nobody takes is lost.
fn tell(events: &Sender<MediaEvent>, event: MediaEvent) -> Result<(), EndReason> {
    if matches!(event, MediaEvent::Audio(_)) && events.len() >= EVENTS_MAX - EVENTS_RESERVED {
        return Ok(());
    }
    match events.try_send(event) {
        // Whoever dropped the events has given the media back; the line stays.
        Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
        Err(TrySendError::Full(_)) => Err(EndReason::Unread),
    }
}

/// Says `stop`, if the peer still takes it.
async fn hang_up(runtime: &dyn Runtime, line: &mut Line, outgoing: &Sender<SocketMessage>) -> Option<EndReason> {
    line.hang_up();
    while let Some(output) = line.poll_output() {
        if let Output::Send(text) = output {
            let deadline = runtime.sleep_until(runtime.now() + CLOSE_LIMIT);
            future::select(pin!(outgoing.send(SocketMessage::Text(text))), deadline).await;
        }
    }
    None
}

/// Messages that the socket has not taken. Bounded by the time for which it may take none.
#[derive(Default)]
struct Outbox {
    queue: VecDeque<String>,
    refused_since: Option<Instant>,
}

impl Outbox {
    fn flush(&mut self, outgoing: &Sender<SocketMessage>, now: Instant) -> Result<(), EndReason> {
        while let Some(text) = self.queue.pop_front() {
            match outgoing.try_send(SocketMessage::Text(text)) {
                Ok(()) => self.refused_since = None,
                // The incoming side knows more, and is about to say it.
                Err(TrySendError::Closed(_)) => return self.bear(now, CLOSE_LIMIT, EndReason::Disconnected),
                Err(TrySendError::Full(SocketMessage::Text(text))) => {
                    self.queue.push_front(text);
                    return self.bear(now, STALL_LIMIT, EndReason::Stalled);
                }
                Err(TrySendError::Full(SocketMessage::Binary(_))) => {}
            }
        }
        Ok(())
    }

    /// `reason`, once the socket has taken nothing for `limit`.
    fn bear(&mut self, now: Instant, limit: Duration, reason: EndReason) -> Result<(), EndReason> {
        let since = *self.refused_since.get_or_insert(now);
        if now.saturating_since(since) < limit { Ok(()) } else { Err(reason) }
    }
}

/// The wait for the next frame, kept while other things happen.
struct Tick<'a> {
    due: Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
}

impl<'a> Tick<'a> {
    /// `None` when the line is over.
    fn new(runtime: &'a dyn Runtime, line: &Line) -> Option<Self> {
        Some(Self { due: runtime.sleep_until(line.poll_timeout()?) })
    }
}

/// What is to be said; silent for ever once the media was given back.
struct Commands<'a>(Option<&'a Receiver<MediaCommand>>);

impl Commands<'_> {
    async fn next(&mut self, wanted: bool) -> MediaCommand {
        if let Some(receiver) = self.0.filter(|_| wanted) {
            match receiver.recv().await {
                Ok(command) => return command,
                Err(_) => self.0 = None,
            }
        }
        future::pending().await
    }
}
