//! A leg's task: a [`Wire`] on a socket and a clock.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_channel::{Receiver, Sender, TrySendError};
use futures_util::StreamExt;
use offhook::provider::telephony::{HangupCause, MediaCommand, MediaEvent};
use offhook::provider::transport::{Socket, SocketMessage};
use offhook::runtime::{Runtime, Timer};
use offhook::time::Instant;

use crate::end::{EndReason, close_code};
use crate::legs::{Control, Seat};
use crate::wire::{Output, Wire};
use crate::{CLOSE_LIMIT, OPEN_LIMIT, STALL_LIMIT};

/// Waits for the leg's media to be opened, then carries it until either side ends it.
pub(crate) async fn serve(runtime: Arc<dyn Runtime>, seat: Seat, wire: Box<dyn Wire>, mut socket: Socket) {
    if let Err(cause) = seat.opened(&*runtime, OPEN_LIMIT).await {
        let _ = socket.outgoing.try_send(SocketMessage::Close(close_code(cause)));
        return;
    }
    let mut stream = Stream {
        commands: Some(Box::pin(seat.commands.clone())),
        control: Box::pin(seat.control.clone()),
        is_leaving: false,
        outbox: Outbox::default(),
        pass: None,
        room: None,
        timer: runtime.clone().timer(),
        to_engine: VecDeque::new(),
        wire,
    };
    let reason = poll_fn(|context| stream.poll_end(context, &*runtime, &seat, &mut socket)).await;
    let outgoing = socket.outgoing;
    if let Some(reason) = &reason {
        let _ = outgoing.try_send(SocketMessage::Close(close_code(reason.cause())));
    }
    // The socket is closed before the engine takes its events, so that the peer is not held meanwhile.
    drop(outgoing);
    let Some(reason) = reason else { return };
    tracing::debug!(leg = %seat.leg(), cause = %reason.cause(), %reason, "stream ended");
    seat.end(stream.to_engine, reason.cause()).await;
}

struct Stream {
    /// `None` once the media was given back; the leg goes on unspoken to.
    commands: Option<Pin<Box<Receiver<MediaCommand>>>>,
    control: Pin<Box<Receiver<Control>>>,
    /// Our side has hung up.
    is_leaving: bool,
    outbox: Outbox,
    /// The first of `to_engine` on its way.
    pass: Option<Waiting>,
    /// The first of the outbox on its way.
    room: Option<Waiting>,
    timer: Box<dyn Timer>,
    /// What the engine has not taken; nothing more is read then.
    to_engine: VecDeque<MediaEvent>,
    wire: Box<dyn Wire>,
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Stream {
    /// Gets on until the end; `None` when our side hung up.
    fn poll_end(
        &mut self,
        context: &mut Context<'_>,
        runtime: &dyn Runtime,
        seat: &Seat,
        socket: &mut Socket,
    ) -> Poll<Option<EndReason>> {
        loop {
            let now = runtime.now();
            if let Some(end) = self.deliver(seat, &socket.outgoing, now) {
                return Poll::Ready(end.filter(|_| !self.is_leaving));
            }
            if !self.is_leaving
                && let Poll::Ready(control) = self.control.poll_next_unpin(context)
            {
                self.obey(now, control);
                continue;
            }
            if self.poll_due(context).is_ready() {
                if let Some(reason) = self.outbox.overdue(now) {
                    return Poll::Ready(Some(reason).filter(|_| !self.is_leaving));
                }
                self.wire.handle_timeout(now);
                continue;
            }
            let is_handed_over = self.poll_room(context, &socket.outgoing).is_ready();
            if is_handed_over || self.poll_pass(context, &seat.events).is_ready() {
                continue;
            }
            if self.may_take()
                && let Some(Poll::Ready(command)) = self.commands.as_mut().map(|from| from.poll_next_unpin(context))
            {
                match command {
                    Some(command) => self.wire.handle_command(now, command),
                    None => self.commands = None,
                }
                continue;
            }
            if !self.to_engine.is_empty() {
                return Poll::Pending;
            }
            match ready!(socket.incoming.poll_next_unpin(context)) {
                Some(Ok(SocketMessage::Text(text))) => self.wire.handle_message(&text),
                Some(Ok(SocketMessage::Binary(_))) => self.wire.handle_binary(),
                Some(Ok(SocketMessage::Close(_)) | Err(_)) | None => self.wire.handle_close(),
            }
        }
    }

    /// Ready when something is due.
    fn poll_due(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.wire.poll_timeout().into_iter().chain(self.outbox.deadline()).min() else {
            return Poll::Pending;
        };
        self.timer.poll_at(context, deadline)
    }

    /// Ready when the socket has taken what it had no room for.
    fn poll_room(&mut self, context: &mut Context<'_>, outgoing: &Sender<SocketMessage>) -> Poll<()> {
        let Some(message) = self.outbox.queue.front() else { return Poll::Pending };
        let room = self.room.get_or_insert_with(|| hand_over(outgoing, message));
        ready!(room.as_mut().poll(context));
        self.room = None;
        self.outbox.took_one();
        Poll::Ready(())
    }

    /// Ready when the engine has taken what it had no room for.
    fn poll_pass(&mut self, context: &mut Context<'_>, events: &Sender<MediaEvent>) -> Poll<()> {
        let Some(event) = self.to_engine.front() else { return Poll::Pending };
        let pass = self.pass.get_or_insert_with(|| hand_over(events, event));
        ready!(pass.as_mut().poll(context));
        self.pass = None;
        self.to_engine.pop_front();
        Poll::Ready(())
    }

    fn may_take(&self) -> bool {
        self.outbox.queue.is_empty() && self.wire.takes_commands() && !self.is_leaving
    }

    fn obey(&mut self, now: Instant, control: Option<Control>) {
        match control {
            Some(Control::HangUp(cause)) => self.leave(now, cause),
            Some(Control::Transfer(target, answer)) => {
                // Who asked may have stopped waiting.
                let _ = answer.try_send(self.wire.transfer(&target));
            }
            Some(Control::Dtmf(_) | Control::Opened) => {}
            None => self.leave(now, HangupCause::NORMAL_CLEARING),
        }
    }

    fn leave(&mut self, now: Instant, cause: HangupCause) {
        self.is_leaving = true;
        self.to_engine.clear();
        self.pass = None;
        self.wire.hang_up(now, cause);
    }

    /// Does what the wire wants done; the end when there is one.
    fn deliver(&mut self, seat: &Seat, outgoing: &Sender<SocketMessage>, now: Instant) -> Option<Option<EndReason>> {
        while let Some(output) = self.wire.poll_output() {
            match output {
                Output::Close(code) => {
                    self.outbox.queue.push_back(SocketMessage::Close(code));
                    // A peer that does not read sees the socket close.
                    self.room = None;
                    self.outbox.flush(outgoing, now);
                    return Some(None);
                }
                Output::Ended(reason) => return Some(Some(reason)),
                Output::Event(event) if !self.is_leaving => self.tell(seat, event),
                Output::Event(_) | Output::Started(_) => {}
                Output::Send(text) => self.outbox.queue.push_back(SocketMessage::Text(text)),
            }
        }
        if self.room.is_none() {
            self.outbox.flush(outgoing, now);
        }
        None
    }

    fn tell(&mut self, seat: &Seat, event: MediaEvent) {
        if !self.to_engine.is_empty() {
            self.to_engine.push_back(event);
            return;
        }
        match seat.events.try_send(event) {
            // An engine that dropped the events has given the media back; the leg goes on unheard.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(event)) => self.to_engine.push_back(event),
        }
    }
}

/// Messages that the socket has not taken. Bounded: nothing more is written while there are any.
#[derive(Default)]
struct Outbox {
    /// The peer reads no more since then; its last words may still be on their way.
    closed_since: Option<Instant>,
    full_since: Option<Instant>,
    queue: VecDeque<SocketMessage>,
}

impl Outbox {
    fn flush(&mut self, outgoing: &Sender<SocketMessage>, now: Instant) {
        while let Some(message) = self.queue.pop_front() {
            match outgoing.try_send(message) {
                Ok(()) => self.full_since = None,
                Err(TrySendError::Closed(_)) => {
                    self.closed_since.get_or_insert(now);
                    self.queue.clear();
                }
                Err(TrySendError::Full(message)) => {
                    self.queue.push_front(message);
                    self.full_since.get_or_insert(now);
                    return;
                }
            }
        }
    }

    fn took_one(&mut self) {
        self.queue.pop_front();
        self.full_since = None;
    }

    fn deadline(&self) -> Option<Instant> {
        let closed = self.closed_since.map(|since| since + CLOSE_LIMIT);
        closed.into_iter().chain(self.full_since.map(|since| since + STALL_LIMIT)).min()
    }

    fn overdue(&self, now: Instant) -> Option<EndReason> {
        match (self.closed_since, self.full_since) {
            (Some(since), _) if since + CLOSE_LIMIT <= now => Some(EndReason::Disconnected),
            (_, Some(since)) if since + STALL_LIMIT <= now => Some(EndReason::Stalled),
            _ => None,
        }
    }
}

/// Hands `item` over once there is room; a channel that closes meanwhile is noticed by the next item.
fn hand_over<T: Clone + Send + 'static>(to: &Sender<T>, item: &T) -> Waiting {
    let (to, item) = (to.clone(), item.clone());
    Box::pin(async move { drop(to.send(item).await) })
}
