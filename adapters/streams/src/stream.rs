//! A leg's task: a [`Wire`] on a socket and a clock.

use std::collections::VecDeque;
use std::sync::Arc;

use async_channel::{Receiver, Sender, TrySendError};
use futures_util::future;
use futures_util::{FutureExt, StreamExt, select_biased};
use offhook::Result;
use offhook::provider::BoxStream;
use offhook::provider::telephony::{HangupCause, MediaCommand, MediaEvent};
use offhook::provider::transport::{Socket, SocketMessage};
use offhook::runtime::Runtime;
use offhook::time::Instant;

use crate::end::{EndReason, close_code};
use crate::legs::{Control, Seat};
use crate::wire::{Output, Wire};
use crate::{CLOSE_LIMIT, OPEN_LIMIT, STALL_LIMIT};

/// Waits for the leg's media to be opened, then carries it until either side ends it.
pub(crate) async fn serve(runtime: Arc<dyn Runtime>, seat: Seat, wire: Box<dyn Wire>, socket: Socket) {
    let Socket { incoming, outgoing } = socket;
    if let Err(cause) = seat.opened(&*runtime, OPEN_LIMIT).await {
        let _ = outgoing.try_send(SocketMessage::Close(close_code(cause)));
        return;
    }
    let mut stream = Stream {
        commands: Some(seat.commands.clone()),
        is_leaving: false,
        outbox: Outbox::default(),
        to_engine: VecDeque::new(),
        wire,
    };
    let reason = stream.carry(&*runtime, &seat, incoming, &outgoing).await;
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
    commands: Option<Receiver<MediaCommand>>,
    /// Our side has hung up.
    is_leaving: bool,
    outbox: Outbox,
    /// What the engine has not taken; nothing more is read then.
    to_engine: VecDeque<MediaEvent>,
    wire: Box<dyn Wire>,
}

impl Stream {
    /// Runs until the end; `None` when our side hung up.
    async fn carry(
        &mut self,
        runtime: &dyn Runtime,
        seat: &Seat,
        mut incoming: BoxStream<'static, Result<SocketMessage>>,
        outgoing: &Sender<SocketMessage>,
    ) -> Option<EndReason> {
        loop {
            if let Some(end) = self.deliver(seat, outgoing, runtime.now()) {
                return end.filter(|_| !self.is_leaving);
            }
            let deadline = self.wire.poll_timeout().into_iter().chain(self.outbox.deadline()).min();
            select_biased! {
                control = next_control(seat, self.is_leaving).fuse() => self.control(runtime.now(), control),
                () = until(runtime, deadline).fuse() => {
                    if let Some(reason) = self.outbox.overdue(runtime.now()) {
                        return Some(reason).filter(|_| !self.is_leaving);
                    }
                    self.wire.handle_timeout(runtime.now());
                }
                () = room(outgoing, self.outbox.front()).fuse() => self.outbox.took_one(),
                () = pass(&seat.events, self.to_engine.front()).fuse() => drop(self.to_engine.pop_front()),
                command = next_command(self.commands.as_ref().filter(|_| self.may_take())).fuse() => match command {
                    Some(command) => self.wire.handle_command(runtime.now(), command),
                    None => self.commands = None,
                },
                message = next_message(&mut incoming, self.to_engine.is_empty()).fuse() => match message {
                    Some(Ok(SocketMessage::Text(text))) => self.wire.handle_message(&text),
                    Some(Ok(SocketMessage::Binary(_))) => self.wire.handle_binary(),
                    Some(Ok(SocketMessage::Close(_)) | Err(_)) | None => self.wire.handle_close(),
                },
            }
        }
    }

    fn may_take(&self) -> bool {
        self.outbox.queue.is_empty() && self.wire.takes_commands() && !self.is_leaving
    }

    fn control(&mut self, now: Instant, control: Option<Control>) {
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
        self.wire.hang_up(now, cause);
    }

    /// Does what the wire wants done; the end when there is one.
    fn deliver(&mut self, seat: &Seat, outgoing: &Sender<SocketMessage>, now: Instant) -> Option<Option<EndReason>> {
        while let Some(output) = self.wire.poll_output() {
            match output {
                Output::Close(code) => {
                    self.outbox.queue.push_back(SocketMessage::Close(code));
                    // A peer that does not read sees the socket close.
                    self.outbox.flush(outgoing, now);
                    return Some(None);
                }
                Output::Ended(reason) => return Some(Some(reason)),
                Output::Event(event) if !self.is_leaving => self.tell(seat, event),
                Output::Event(_) | Output::Started(_) => {}
                Output::Send(text) => self.outbox.queue.push_back(SocketMessage::Text(text)),
            }
        }
        self.outbox.flush(outgoing, now);
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

    fn front(&self) -> Option<&SocketMessage> {
        self.queue.front()
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

async fn next_control(seat: &Seat, is_leaving: bool) -> Option<Control> {
    if is_leaving {
        return future::pending().await;
    }
    seat.control.recv().await.ok()
}

async fn until(runtime: &dyn Runtime, deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => runtime.sleep_until(deadline).await,
        None => future::pending().await,
    }
}

/// Hands `message` over once there is room.
async fn room(outgoing: &Sender<SocketMessage>, message: Option<&SocketMessage>) {
    match message {
        // A socket that closes meanwhile is noticed by the next message.
        Some(message) => drop(outgoing.send(message.clone()).await),
        None => future::pending().await,
    }
}

/// Hands `event` over once there is room.
async fn pass(events: &Sender<MediaEvent>, event: Option<&MediaEvent>) {
    match event {
        Some(event) => drop(events.send(event.clone()).await),
        None => future::pending().await,
    }
}

async fn next_command(commands: Option<&Receiver<MediaCommand>>) -> Option<MediaCommand> {
    match commands {
        Some(commands) => commands.recv().await.ok(),
        None => future::pending().await,
    }
}

async fn next_message(
    incoming: &mut BoxStream<'static, Result<SocketMessage>>,
    is_wanted: bool,
) -> Option<Result<SocketMessage>> {
    if is_wanted { incoming.next().await } else { future::pending().await }
}
