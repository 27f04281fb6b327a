//! The caller's side of each protocol: its words, and what it understands.

use bytes::{Bytes, BytesMut};
use offhook::provider::telephony::DtmfDigit;

use crate::end::EndReason;
use crate::twilio;
use crate::twilio::writer::CarrierWriter;
use crate::voxcore;
use crate::voxcore::writer::DiallerWriter;

#[derive(Debug)]
pub(crate) struct Tongue {
    arena: BytesMut,
    stream: String,
    words: Words,
}

#[derive(Debug)]
enum Words {
    Twilio(CarrierWriter),
    VoxCore(DiallerWriter),
}

/// What the application said.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Heard {
    Audio(Bytes),
    Clear,
    /// It ended the call, which is to be answered so.
    HangUp {
        answer: String,
    },
    Mark(String),
    Nothing,
}

impl Tongue {
    pub(crate) fn twilio(stream_sid: &str, writer: CarrierWriter) -> Self {
        Self { arena: BytesMut::new(), stream: stream_sid.to_owned(), words: Words::Twilio(writer) }
    }

    pub(crate) fn voxcore(stream_id: &str, writer: DiallerWriter) -> Self {
        Self { arena: BytesMut::new(), stream: stream_id.to_owned(), words: Words::VoxCore(writer) }
    }

    /// A silent frame.
    pub(crate) fn silence(&self) -> &'static [u8] {
        match self.words {
            Words::Twilio(_) => &[twilio::SILENCE; twilio::FRAME_BYTES],
            Words::VoxCore(_) => &[0; voxcore::CHUNK_BYTES],
        }
    }

    pub(crate) fn read(&mut self, text: &str) -> Result<Heard, EndReason> {
        match &self.words {
            Words::Twilio(_) => self.read_twilio(text),
            Words::VoxCore(_) => self.read_voxcore(text),
        }
    }

    pub(crate) fn media(&mut self, audio: &[u8]) -> String {
        match &mut self.words {
            Words::Twilio(writer) => writer.media(audio),
            Words::VoxCore(writer) => writer.media(audio),
        }
    }

    pub(crate) fn dtmf(&mut self, digit: DtmfDigit) -> String {
        match &mut self.words {
            Words::Twilio(writer) => writer.dtmf(digit),
            Words::VoxCore(writer) => writer.dtmf(digit),
        }
    }

    /// A mark that was reached or cleared, where the protocol has marks.
    pub(crate) fn mark(&mut self, name: &str) -> Option<String> {
        match &mut self.words {
            Words::Twilio(writer) => Some(writer.mark(name)),
            Words::VoxCore(_) => None,
        }
    }

    pub(crate) fn hang_up(&mut self) -> String {
        match &mut self.words {
            Words::Twilio(writer) => writer.stop(),
            Words::VoxCore(writer) => writer.hangup("customer"),
        }
    }

    fn read_twilio(&mut self, text: &str) -> Result<Heard, EndReason> {
        use twilio::message::{Event, Message};
        let message = Message::parse(text, twilio::APP_MESSAGE_BYTES_MAX)?;
        self.check(message.stream_sid.as_deref())?;
        Ok(match message.event {
            Event::Clear => Heard::Clear,
            Event::Mark(name) => Heard::Mark(name.into_owned()),
            Event::Media(media) => Heard::Audio(media.decode(&mut self.arena)?),
            _ => Heard::Nothing,
        })
    }

    fn read_voxcore(&mut self, text: &str) -> Result<Heard, EndReason> {
        use voxcore::message::{Event, Message};
        let message = Message::parse(text)?;
        self.check(message.stream_id.as_deref())?;
        let Words::VoxCore(writer) = &self.words else { return Ok(Heard::Nothing) };
        Ok(match message.event {
            Event::ReverseCallTransfer(_) => Heard::HangUp { answer: writer.hangup("transfer") },
            Event::ReverseHangupCall => Heard::HangUp { answer: writer.hangup("bot") },
            Event::ReverseMedia { media, .. } => Heard::Audio(media.decode(&mut self.arena)?),
            Event::ReverseMediaStop => Heard::Clear,
            _ => Heard::Nothing,
        })
    }

    fn check(&self, named: Option<&str>) -> Result<(), EndReason> {
        if named.is_some_and(|named| named != self.stream) { Err(EndReason::OtherStream) } else { Ok(()) }
    }
}
