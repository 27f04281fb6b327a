//! The server's side of one stream of Twilio's, or of those who speak alike, with both directions in one place.

use std::collections::{BTreeMap, VecDeque};

use offhook::provider::telephony::{E164, HangupCause, MediaCommand, MediaEvent, MediaFormat};
use offhook::time::Instant;
use offhook::{Error, Result};

use super::message::Start;
use super::pieces::{Piece, Pieces};
use super::session::{self, Session, command_message};
use super::writer::AppWriter;
use crate::end::close_code;
use crate::protocol::Protocol;
use crate::wire::{Output, Started, Wire};

pub(crate) struct TwilioWire {
    format: MediaFormat,
    is_over: bool,
    outputs: VecDeque<Output>,
    /// Of a carrier that wants its audio in larger pieces.
    pieces: Option<Pieces>,
    protocol: Protocol,
    session: Session,
    writer: Option<AppWriter>,
}

impl TwilioWire {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self {
            format: super::MEDIA_FORMAT,
            is_over: false,
            outputs: VecDeque::new(),
            pieces: None,
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
        self.pieces = (self.protocol == Protocol::Exotel).then(|| Pieces::new(self.format));
        let (from, to) = (number(&parameters, ["from", "From"]), number(&parameters, ["to", "To"]));
        if !call_sid.is_empty() {
            parameters.insert("call_sid".to_owned(), call_sid);
        }
        Started { format: self.format, from, leg: Some(stream_sid), parameters, reserved: BTreeMap::new(), to }
    }

    /// Sends the pieces that are complete.
    fn send_pieces(&mut self) {
        let (Some(pieces), Some(writer)) = (&mut self.pieces, &self.writer) else { return };
        while let Some(piece) = pieces.next_piece() {
            let message = match piece {
                Piece::Audio(audio) => Some(writer.media(&audio)),
                Piece::Mark(mark) => command_message(writer, &MediaCommand::Mark(mark)),
            };
            self.outputs.extend(message.map(Output::Send));
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

    fn handle_command(&mut self, now: Instant, command: MediaCommand) {
        let Some(writer) = &self.writer else { return };
        self.session.handle_command(&command);
        match (&mut self.pieces, &command) {
            (Some(pieces), MediaCommand::Audio(audio)) => pieces.push_audio(now, audio),
            (Some(pieces), MediaCommand::Mark(mark)) => pieces.push_mark(*mark),
            (pieces, command) => {
                let cleared = pieces.iter_mut().flat_map(Pieces::clear);
                self.outputs.extend(cleared.map(|mark| Output::Event(MediaEvent::Marked(mark))));
                self.outputs.extend(command_message(writer, command).map(Output::Send));
            }
        }
        self.send_pieces();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.pieces.iter_mut().for_each(|pieces| pieces.handle_timeout(now));
        self.send_pieces();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.pieces.as_ref()?.poll_timeout()
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
