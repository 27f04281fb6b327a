//! The server's side of one stream of Twilio's, or of those who speak alike, with both directions in one place.

use std::collections::{BTreeMap, VecDeque};

use offhook::audio::codec;
use offhook::provider::telephony::{E164, HangupCause, MediaCommand, MediaEvent, MediaFormat};
use offhook::time::Instant;
use offhook::{Error, Result};

use super::message::Start;
use super::session::{self, Session, command_message};
use super::writer::AppWriter;
use crate::end::close_code;
use crate::protocol::Protocol;
use crate::wire::{Output, Started, Wire};

/// Exotel wants audio in pieces of 100 ms: so many frames.
const EXOTEL_FRAMES: usize = 5;

pub(crate) struct TwilioWire {
    format: MediaFormat,
    /// Audio that waits for the rest of its piece.
    held: Vec<u8>,
    is_over: bool,
    outputs: VecDeque<Output>,
    protocol: Protocol,
    session: Session,
    writer: Option<AppWriter>,
}

impl TwilioWire {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self {
            format: super::MEDIA_FORMAT,
            held: Vec::new(),
            is_over: false,
            outputs: VecDeque::new(),
            protocol,
            session: Session::new(protocol),
            writer: None,
        }
    }

    fn started(&mut self, start: Start) -> Started {
        let Start { call_sid, format, mut parameters, stream_sid } = start;
        // A format that cannot be taken ends the call at once; until then it has one.
        let named = self.protocol.media_format(format.as_ref()).or_else(|| self.protocol.media_format(None));
        self.format = named.unwrap_or(self.format);
        self.writer = Some(AppWriter::of(self.protocol, &stream_sid, self.format));
        let (from, to) = (number(&parameters, ["from", "From"]), number(&parameters, ["to", "To"]));
        if !call_sid.is_empty() {
            parameters.insert("call_sid".to_owned(), call_sid);
        }
        Started { format: self.format, from, leg: Some(stream_sid), parameters, reserved: BTreeMap::new(), to }
    }

    /// Sends what is held in whole pieces, and all of it before a mark.
    fn send_held(&mut self, writer: &AppWriter, has_all: bool) {
        let frame = codec::bytes_per_frame(self.format);
        let piece = frame * EXOTEL_FRAMES;
        while self.held.len() >= piece || (has_all && !self.held.is_empty()) {
            let rest = self.held.split_off(self.held.len().min(piece));
            let mut audio = std::mem::replace(&mut self.held, rest);
            // A piece is whole frames; silence is zero in PCM.
            audio.resize(audio.len().next_multiple_of(frame.max(1)), 0);
            self.outputs.push_back(Output::Send(writer.media(&audio)));
        }
    }
}

impl Wire for TwilioWire {
    fn handle_message(&mut self, text: &str) {
        self.session.handle_message(text);
    }

    fn handle_binary(&mut self) {
        self.session.handle_binary();
    }

    fn handle_close(&mut self) {
        self.session.handle_close();
    }

    fn handle_command(&mut self, _now: Instant, command: MediaCommand) {
        let Some(writer) = self.writer.take() else { return };
        self.session.handle_command(&command);
        match &command {
            MediaCommand::Audio(audio) if self.protocol == Protocol::Exotel => {
                self.held.extend_from_slice(audio);
                self.send_held(&writer, false);
            }
            MediaCommand::Clear => self.held.clear(),
            MediaCommand::Mark(_) => self.send_held(&writer, true),
            _ => {}
        }
        let is_held = self.protocol == Protocol::Exotel && matches!(command, MediaCommand::Audio(_));
        let message = if is_held { None } else { command_message(&writer, &command) };
        self.outputs.extend(message.map(Output::Send));
        self.writer = Some(writer);
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn takes_commands(&self) -> bool {
        true
    }

    fn transfer(&mut self, _target: &E164) -> Result<()> {
        Err(Error::unsupported("streams.transfer", "transferring a leg of this protocol"))
    }

    fn hang_up(&mut self, _now: Instant, cause: HangupCause) {
        self.outputs.push_back(Output::Close(close_code(cause)));
    }

    fn poll_output(&mut self) -> Option<Output> {
        if self.is_over {
            return None;
        }
        let output = self.outputs.pop_front().or_else(|| {
            Some(match self.session.poll_output()? {
                session::Output::Audio(audio) => Output::Event(MediaEvent::Audio(audio)),
                session::Output::Dtmf(digit) => Output::Event(MediaEvent::Dtmf(digit)),
                session::Output::Ended(reason) => Output::Ended(reason),
                session::Output::Marked(number) => Output::Event(MediaEvent::Marked(number)),
                session::Output::Started(start) => Output::Started(Box::new(self.started(*start))),
            })
        });
        self.is_over = matches!(output, Some(Output::Close(_) | Output::Ended(_)));
        output
    }
}

fn number(parameters: &BTreeMap<String, String>, names: [&str; 2]) -> Option<E164> {
    names.iter().find_map(|name| parameters.get(*name)?.parse().ok())
}
