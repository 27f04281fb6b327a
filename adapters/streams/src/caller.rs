//! The caller's side: it dials a server of media streams and behaves towards it as a carrier does.

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

use crate::end::EndReason;
use crate::legs::{Control, EVENTS_MAX, Legs, Seat};
use crate::line::{Line, Output};
use crate::tongue::Tongue;
use crate::twilio::writer::CarrierWriter;
use crate::voxcore::writer::DiallerWriter;
use crate::{CLOSE_LIMIT, CONNECT_LIMIT, OPEN_LIMIT, STALL_LIMIT, twilio, voxcore};

/// A caller over media streams, for trying out a server of them: a [`Line`] on a socket and a clock.
///
/// Once its media is opened, the line runs in real time: every 20 ms exactly one frame is heard ([`MediaEvent::Audio`],
/// silence when the application sends nothing) and one is spoken (silence when there is no command). Commands of any length
/// wait and are spoken in real time. A listener who does not take his events misses audio, as on any telephone. The
/// application hangs up by closing the socket, or by the word that the protocol has for it.
pub struct StreamCaller {
    legs: Arc<Legs>,
    parameters: BTreeMap<String, String>,
    runtime: Arc<dyn Runtime>,
    speaks: Speaks,
    transport: Arc<dyn SocketTransport>,
    url: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Speaks {
    Twilio,
    VoxCore,
}

impl StreamCaller {
    /// A caller by Twilio Media Streams of the server at `url` (`ws` or `wss`).
    pub fn twilio(runtime: Arc<dyn Runtime>, transport: Arc<dyn SocketTransport>, url: impl Into<String>) -> Self {
        Self::new(runtime, transport, url, Speaks::Twilio)
    }

    /// A dialler of VoxCore's protocol to the bot at `url` (`ws` or `wss`).
    pub fn voxcore(runtime: Arc<dyn Runtime>, transport: Arc<dyn SocketTransport>, url: impl Into<String>) -> Self {
        Self::new(runtime, transport, url, Speaks::VoxCore)
    }

    fn new(
        runtime: Arc<dyn Runtime>,
        transport: Arc<dyn SocketTransport>,
        url: impl Into<String>,
        speaks: Speaks,
    ) -> Self {
        Self { legs: Arc::default(), parameters: BTreeMap::new(), runtime, speaks, transport, url: url.into() }
    }

    /// Attaches a custom parameter, or a custom field of VoxCore's `connected`, to every call; the numbers are there already.
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

    /// The words of a new call, and its handshake.
    fn introduction(&self, leg: &LegId, options: &DialOptions) -> (Tongue, Vec<String>) {
        let mut parameters = self.parameters.clone();
        match self.speaks {
            Speaks::Twilio => {
                parameters.insert("from".to_owned(), options.from.to_string());
                parameters.insert("to".to_owned(), options.to.to_string());
                let (account_sid, call_sid) = (self.random_name("AC"), self.random_name("CA"));
                let mut writer = CarrierWriter::new(&account_sid, &call_sid, leg.as_str());
                let messages = vec![writer.connected(), writer.start(&parameters)];
                (Tongue::twilio(leg.as_str(), writer), messages)
            }
            Speaks::VoxCore => {
                let writer = DiallerWriter::new(leg.as_str(), options.from.as_str(), options.to.as_str());
                let custom = parameters.into_iter().map(|(name, value)| (name, value.into())).collect();
                let messages = writer.handshake(&custom).into();
                (Tongue::voxcore(leg.as_str(), writer), messages)
            }
        }
    }

    async fn introduce(&self, outgoing: &Sender<SocketMessage>, messages: Vec<String>) -> Result<()> {
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
    fn random_name(&self, kind: &str) -> String {
        let mut bytes = [0; 16];
        self.runtime.fill_random(&mut bytes);
        format!("{kind}{}", hex::encode(bytes))
    }
}

#[async_trait]
impl Telephony for StreamCaller {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "stream-caller", detail: String::new() }
    }

    fn capabilities(&self) -> TelephonyCapabilities {
        TelephonyCapabilities { dial: true, send_dtmf: true, ..TelephonyCapabilities::default() }
    }

    /// A stream is answered once it is open, so `Answered` is the first event; a server that cannot be reached is an
    /// error and not an event.
    async fn dial(&self, options: DialOptions) -> Result<DialProgress> {
        let (kind, format) = match self.speaks {
            Speaks::Twilio => ("MZ", twilio::MEDIA_FORMAT),
            Speaks::VoxCore => ("VX", voxcore::MEDIA_FORMAT),
        };
        let leg = LegId::new(self.random_name(kind))?;
        let seat = self.legs.insert(leg.clone(), (format, true), DIAL)?;
        let socket = self.connect(options.ring_timeout).await?;
        let (tongue, messages) = self.introduction(&leg, &options);
        self.introduce(&socket.outgoing, messages).await?;

        self.runtime.spawn("streams.caller", Box::pin(hold(Arc::clone(&self.runtime), seat, socket, tongue)));
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

    async fn hang_up(&self, leg: LegId, cause: HangupCause) -> Result<()> {
        self.legs.hang_up(&leg, cause);
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
            legs.hang_up(leg, HangupCause::NORMAL_CLEARING);
        }
    }
}

/// The leg's task.
async fn hold(runtime: Arc<dyn Runtime>, seat: Seat, socket: Socket, tongue: Tongue) {
    let opened = seat.opened(&*runtime, OPEN_LIMIT).await;
    let mut line = Line::new(runtime.now(), tongue);
    let reason = if opened.is_ok() {
        talk(&*runtime, &seat, &mut line, socket).await
    } else {
        hang_up(&*runtime, &mut line, &socket.outgoing).await
    };
    let Some(reason) = reason else { return };
    tracing::debug!(leg = %seat.leg(), cause = %reason.cause(), %reason, "stream ended");
    seat.end([], reason.cause()).await;
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
                Ok(Control::Opened | Control::Transfer(..)) => {}
                Ok(Control::HangUp(_)) | Err(_) => return hang_up(runtime, line, &socket.outgoing).await,
            },
            () = tick.due.as_mut().fuse() => {
                line.handle_timeout(runtime.now());
                tick = Tick::new(runtime, line)?;
            }
            command = commands.next(line.takes_commands()).fuse() => line.handle_command(command),
            message = socket.incoming.next().fuse() => match message {
                Some(Ok(SocketMessage::Text(text))) => line.handle_message(&text),
                Some(Ok(SocketMessage::Binary(_) | SocketMessage::Close(_))) => line.handle_binary(),
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
            Output::Ended(reason) => {
                // The last words go out with what the socket still takes.
                let _ = outbox.flush(outgoing, now);
                return Err(reason);
            }
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

/// Says the last word, if the peer still takes it.
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
                Err(TrySendError::Full(_)) => {}
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
