//! What the server's side of every protocol has in common.

use std::collections::BTreeMap;

use offhook::Result;
use offhook::provider::telephony::{E164, HangupCause, MediaCommand, MediaEvent, MediaFormat};
use offhook::provider::transport::CloseCode;
use offhook::time::{Instant, Timestamp};
use serde_json::Value;

use crate::end::EndReason;
use crate::protocol::Protocol;
use crate::twilio::wire::TwilioWire;
use crate::voxcore::session::Session;

/// The server's side of one stream: messages and commands in, outputs out, no I/O and no clock.
///
/// Total: any input is legal at any time. At most one [`Output::Close`] or [`Output::Ended`] comes out, last.
pub trait Wire: Send {
    /// Takes a text message.
    fn handle_message(&mut self, text: &str);

    /// Takes a binary message.
    fn handle_binary(&mut self);

    /// Takes the end of the socket, by close or by failure.
    fn handle_close(&mut self);

    /// Takes what is to go to the far party.
    fn handle_command(&mut self, now: Instant, command: MediaCommand);

    /// Does what is due.
    fn handle_timeout(&mut self, now: Instant);

    /// When something is due.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Whether it takes a command now.
    fn takes_commands(&self) -> bool;

    /// Hands the far party over. `Unsupported` when the protocol has no word for it.
    fn transfer(&mut self, target: &E164) -> Result<()>;

    /// Hangs up; [`Output::Close`] follows, at once or when the peer has had its say.
    fn hang_up(&mut self, now: Instant, cause: HangupCause);

    /// What comes of it, in order.
    fn poll_output(&mut self) -> Option<Output>;
}

/// What comes of a message, a command or the time.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Close the socket: our side hung up.
    Close(CloseCode),
    /// The peer is gone, or did what it may not do.
    Ended(EndReason),
    /// Tell the engine.
    Event(MediaEvent),
    /// Send this to the peer.
    Send(String),
    /// The stream has begun.
    Started(Box<Started>),
}

/// A stream that has begun.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Started {
    /// Of both directions.
    pub format: MediaFormat,
    /// The far party's number, where it is E.164.
    pub from: Option<E164>,
    /// The stream's own name, if no other stream may have it.
    pub leg: Option<String>,
    /// What is passed on.
    pub parameters: BTreeMap<String, String>,
    /// What is for the platform alone.
    pub reserved: BTreeMap<String, Value>,
    /// The number that was called, where it is E.164.
    pub to: Option<E164>,
}

/// The server's side of a stream of `protocol` whose socket has just been opened; `wall_clock` is the time at `now`.
pub fn wire(protocol: Protocol, now: Instant, wall_clock: Timestamp) -> Box<dyn Wire> {
    match protocol {
        Protocol::VoxCore => Box::new(Session::new(now, wall_clock)),
        _ => Box::new(TwilioWire::new(protocol)),
    }
}
