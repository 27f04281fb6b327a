//! The server's side of one stream of Twilio's, or of those who speak alike: messages in, outputs out, no I/O and no clock.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use offhook::provider::telephony::{DtmfDigit, MediaCommand};

use super::CARRIER_MESSAGE_BYTES_MAX;
use super::message::{Event, Media, Message, MessageError, Start};
use super::writer::AppWriter;
use crate::end::EndReason;
use crate::protocol::Protocol;

/// Marks that a carrier may leave unanswered; then the oldest count as passed.
const MARKS_WAITING_MAX: usize = 4_096;

/// The server's side of one stream.
///
/// Total: any message is legal input at any time. Exactly one [`Output::Ended`] comes out, last.
#[derive(Debug)]
pub struct Session {
    arena: BytesMut,
    outputs: VecDeque<Output>,
    phase: Phase,
    protocol: Protocol,
    /// Of a carrier that drops marks when it clears: those on their way, `None` for a clear.
    unanswered: VecDeque<Option<u64>>,
}

/// What came of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Output {
    /// Encoded samples of the far party, of any length but none.
    Audio(Bytes),
    /// The far party pressed a key.
    Dtmf(DtmfDigit),
    /// The stream is over.
    Ended(EndReason),
    /// A mark of ours was reached or cleared.
    Marked(u64),
    /// The stream has begun.
    Started(Box<Start>),
}

#[derive(Debug)]
enum Phase {
    AwaitConnected,
    AwaitStart,
    Ended,
    Streaming { stream_sid: String },
}

impl Session {
    /// A stream of `protocol` whose socket has just been opened.
    pub fn new(protocol: Protocol) -> Self {
        let phase = if protocol == Protocol::Plivo { Phase::AwaitStart } else { Phase::AwaitConnected };
        Self { arena: BytesMut::new(), outputs: VecDeque::new(), phase, protocol, unanswered: VecDeque::new() }
    }

    /// Takes a text message.
    pub fn handle_message(&mut self, text: &str) {
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        if let Err(reason) = self.handle(text) {
            self.end(reason);
        }
    }

    /// Takes a binary message.
    pub fn handle_binary(&mut self) {
        self.end(EndReason::Binary);
    }

    /// Takes the end of the socket, by close or by failure.
    pub fn handle_close(&mut self) {
        self.end(EndReason::Disconnected);
    }

    /// Takes note of a command that goes to the carrier.
    pub fn handle_command(&mut self, command: &MediaCommand) {
        if self.protocol != Protocol::Plivo {
            return;
        }
        match command {
            MediaCommand::Clear => self.unanswered.push_back(None),
            MediaCommand::Mark(number) => self.unanswered.push_back(Some(*number)),
            _ => {}
        }
        if self.unanswered.len() > MARKS_WAITING_MAX {
            self.outputs.extend(self.unanswered.pop_front().flatten().map(Output::Marked));
        }
    }

    /// What came of the input, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn handle(&mut self, text: &str) -> Result<(), EndReason> {
        let message = Message::parse(text, CARRIER_MESSAGE_BYTES_MAX)?;
        match &self.phase {
            Phase::AwaitConnected => self.handle_first(message.event),
            Phase::AwaitStart => self.handle_second(message),
            Phase::Ended => Ok(()),
            Phase::Streaming { stream_sid } => {
                if message.stream_sid.is_some_and(|named| named != *stream_sid) {
                    return Err(EndReason::OtherStream);
                }
                self.handle_streaming(message.event)
            }
        }
    }

    fn handle_first(&mut self, event: Event<'_>) -> Result<(), EndReason> {
        match event {
            Event::Connected => self.phase = Phase::AwaitStart,
            Event::Clear | Event::Cleared | Event::Other => {}
            Event::Dtmf(_) => return Err(EndReason::OutOfOrder("dtmf")),
            Event::Mark(_) => return Err(EndReason::OutOfOrder("mark")),
            Event::Media(_) => return Err(EndReason::OutOfOrder("media")),
            Event::Start(_) => return Err(EndReason::OutOfOrder("start")),
            Event::Stop => return Err(EndReason::OutOfOrder("stop")),
        }
        Ok(())
    }

    fn handle_second(&mut self, message: Message<'_>) -> Result<(), EndReason> {
        let start = match message.event {
            Event::Start(start) => start,
            Event::Connected => return Err(EndReason::OutOfOrder("connected")),
            event => return self.handle_first(event),
        };
        if message.stream_sid.is_some_and(|named| named != start.stream_sid) {
            return Err(EndReason::OtherStream);
        }
        let format_supported = self.protocol.media_format(start.format.as_ref()).is_some();
        self.phase = Phase::Streaming { stream_sid: start.stream_sid.clone() };
        self.outputs.push_back(Output::Started(start));
        if format_supported { Ok(()) } else { Err(EndReason::Codec) }
    }

    fn handle_streaming(&mut self, event: Event<'_>) -> Result<(), EndReason> {
        match event {
            Event::Clear | Event::Other => {}
            Event::Cleared => self.cleared(),
            Event::Connected => return Err(EndReason::OutOfOrder("connected")),
            Event::Dtmf(digit) => self.outputs.push_back(Output::Dtmf(digit)),
            Event::Mark(name) => self.marked(&name),
            Event::Media(media) => self.handle_media(&media)?,
            Event::Start(_) => return Err(EndReason::OutOfOrder("start")),
            Event::Stop => return Err(EndReason::Stopped),
        }
        Ok(())
    }

    fn handle_media(&mut self, media: &Media<'_>) -> Result<(), MessageError> {
        if !media.inbound {
            return Ok(());
        }
        let audio = media.decode(&mut self.arena)?;
        if !audio.is_empty() {
            self.outputs.push_back(Output::Audio(audio));
        }
        Ok(())
    }

    fn marked(&mut self, name: &str) {
        let Some(number) = mark_number(name) else { return };
        self.unanswered.retain(|waiting| *waiting != Some(number));
        self.outputs.push_back(Output::Marked(number));
    }

    /// The marks before the clear will not come back: they count as passed.
    fn cleared(&mut self) {
        while let Some(Some(number)) = self.unanswered.pop_front() {
            self.outputs.push_back(Output::Marked(number));
        }
    }

    fn end(&mut self, reason: EndReason) {
        if !matches!(self.phase, Phase::Ended) {
            self.phase = Phase::Ended;
            self.outputs.push_back(Output::Ended(reason));
        }
    }
}

/// The message that carries `command`.
pub fn command_message(writer: &AppWriter, command: &MediaCommand) -> Option<String> {
    match command {
        MediaCommand::Audio(audio) => Some(writer.media(audio)),
        MediaCommand::Clear => Some(writer.clear()),
        MediaCommand::Mark(number) => Some(writer.mark(&format!("m{number}"))),
        _ => None,
    }
}

/// The number of a mark of ours; others' marks are none of our business.
fn mark_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix('m')?;
    let canonical = digits == "0" || (!digits.starts_with(['0', '+']) && !digits.is_empty());
    canonical.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use offhook::provider::telephony::HangupCause;
    use proptest::prelude::*;

    use super::*;
    use crate::twilio::writer::CarrierWriter;

    const CONNECTED: &str = r#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#;
    const START: &str = r#"{"event":"start","streamSid":"MZ1","start":{"streamSid":"MZ1","callSid":"CA1"}}"#;
    const MEDIA: &str = r#"{"event":"media","streamSid":"MZ1","media":{"track":"inbound","payload":"AP8="}}"#;
    const STOP: &str = r#"{"event":"stop","streamSid":"MZ1","stop":{"callSid":"CA1"}}"#;

    fn outputs(messages: &[&str]) -> Vec<Output> {
        let mut session = Session::new(Protocol::Twilio);
        messages.iter().for_each(|message| session.handle_message(message));
        std::iter::from_fn(|| session.poll_output()).collect()
    }

    /// Outputs after a good start.
    fn streaming(messages: &[&str]) -> Vec<Output> {
        let all = outputs(&[&[CONNECTED, START], messages].concat());
        assert!(matches!(&all[0], Output::Started(start) if start.stream_sid == "MZ1" && start.call_sid == "CA1"));
        all[1..].to_vec()
    }

    fn cause(outputs: &[Output]) -> HangupCause {
        let [Output::Ended(reason)] = outputs else { panic!("{outputs:?}") };
        reason.cause()
    }

    #[test]
    fn a_stream_from_connected_to_stop() {
        let audio = Output::Audio(Bytes::from_static(&[0x00, 0xff]));
        let dtmf = r##"{"event":"dtmf","streamSid":"MZ1","dtmf":{"track":"inbound_track","digit":"#"}}"##;
        let mark = r#"{"event":"mark","streamSid":"MZ1","mark":{"name":"m42"}}"#;
        assert_eq!(
            streaming(&[MEDIA, dtmf, mark, STOP, MEDIA, STOP]),
            [audio, Output::Dtmf('#'.try_into().unwrap()), Output::Marked(42), Output::Ended(EndReason::Stopped),]
        );
        assert_eq!(EndReason::Stopped.cause(), HangupCause::NORMAL_CLEARING);
    }

    #[test]
    fn events_out_of_order_break_the_protocol() {
        for messages in
            [&[MEDIA][..], &[STOP], &[START], &[CONNECTED, MEDIA], &[CONNECTED, STOP], &[CONNECTED, CONNECTED]]
        {
            assert_eq!(cause(&outputs(messages)), HangupCause::PROTOCOL_ERROR, "{messages:?}");
        }
        assert_eq!(cause(&streaming(&[START])), HangupCause::PROTOCOL_ERROR);
        assert_eq!(cause(&streaming(&[CONNECTED])), HangupCause::PROTOCOL_ERROR);
    }

    #[test]
    fn another_streams_message_breaks_the_protocol() {
        let other = MEDIA.replace("MZ1", "MZ2");
        assert_eq!(streaming(&[&other]), [Output::Ended(EndReason::OtherStream)]);
        let torn = START.replacen("MZ1", "MZ2", 1);
        assert_eq!(outputs(&[CONNECTED, &torn]), [Output::Ended(EndReason::OtherStream)]);
    }

    #[test]
    fn garbage_ends_the_stream_as_an_invalid_message() {
        for garbage in ["", "{", "null", "{\"event\":\"media\"}"] {
            assert_eq!(cause(&streaming(&[garbage])), HangupCause::INVALID_MESSAGE, "{garbage}");
            assert_eq!(cause(&outputs(&[garbage])), HangupCause::INVALID_MESSAGE, "{garbage}");
        }
        let torn = MEDIA.replace("AP8=", "*");
        assert_eq!(cause(&streaming(&[&torn])), HangupCause::INVALID_MESSAGE);
        let long = format!(r#"{{"event":"media","media":{{"payload":"{}"}}}}"#, "A".repeat(CARRIER_MESSAGE_BYTES_MAX));
        assert_eq!(cause(&streaming(&[&long])), HangupCause::INVALID_MESSAGE);
        let mut session = Session::new(Protocol::Twilio);
        session.handle_binary();
        assert_eq!(session.poll_output(), Some(Output::Ended(EndReason::Binary)));
    }

    #[test]
    fn what_is_not_for_us_is_ignored() {
        assert_eq!(
            streaming(&[
                r#"{"event":"media","media":{"track":"outbound","payload":"AP8="}}"#,
                r#"{"event":"media","media":{"payload":""}}"#,
                r#"{"event":"mark","mark":{"name":"theirs"}}"#,
                r#"{"event":"mark","mark":{"name":"m"}}"#,
                r#"{"event":"mark","mark":{"name":"m+1"}}"#,
                r#"{"event":"mark","mark":{"name":"m99999999999999999999"}}"#,
                r#"{"event":"news"}"#,
            ]),
            []
        );
    }

    #[test]
    fn a_wrong_codec_starts_and_ends_at_once() {
        let start = START.replace(r#""callSid""#, r#""mediaFormat":{"encoding":"audio/x-alaw"},"callSid""#);
        let outputs = outputs(&[CONNECTED, &start, MEDIA, STOP]);
        assert!(matches!(&outputs[..], [Output::Started(_), Output::Ended(EndReason::Codec)]), "{outputs:?}");
        assert_eq!(EndReason::Codec.cause(), HangupCause::BEARER_CAPABILITY_NOT_IMPLEMENTED);
    }

    #[test]
    fn marks_that_plivo_drops_with_its_audio_come_back() {
        let mut session = Session::new(Protocol::Plivo);
        session.handle_message(r#"{"sequenceNumber":0,"event":"start","start":{"streamId":"S1","callId":"C1"}}"#);
        assert!(matches!(session.poll_output(), Some(Output::Started(_))));
        for command in [1, 2, 3].map(MediaCommand::Mark).into_iter().chain([MediaCommand::Clear, MediaCommand::Mark(4)])
        {
            session.handle_command(&command);
        }
        session.handle_message(r#"{"event":"playedStream","streamId":"S1","name":"m1"}"#);
        session.handle_message(r#"{"event":"clearedAudio","streamId":"S1"}"#);
        session.handle_message(r#"{"event":"playedStream","streamId":"S1","name":"m4"}"#);
        let outputs: Vec<_> = std::iter::from_fn(|| session.poll_output()).collect();
        assert_eq!(outputs, [1, 2, 3, 4].map(Output::Marked));
    }

    #[test]
    fn a_closed_socket_without_a_stop_is_a_fault_of_the_network() {
        let mut session = Session::new(Protocol::Twilio);
        session.handle_message(CONNECTED);
        session.handle_close();
        session.handle_close();
        assert_eq!(session.poll_output(), Some(Output::Ended(EndReason::Disconnected)));
        assert_eq!(session.poll_output(), None);
        assert_eq!(EndReason::Disconnected.cause(), HangupCause::NETWORK_OUT_OF_ORDER);
    }

    const KNOWN: &[&str] =
        &[CONNECTED, START, MEDIA, STOP, r#"{"event":"mark","mark":{"name":"m1"}}"#, r#"{"event":"clear"}"#];

    fn any_message() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => proptest::sample::select(KNOWN).prop_map(str::to_owned),
            1 => "\\PC{0,40}",
            1 => (proptest::sample::select(KNOWN), 0_usize..80, any::<char>()).prop_map(|(text, at, with)| {
                let at = at.min(text.len());
                format!("{}{with}{}", &text[..at], &text[at..])
            }),
        ]
    }

    proptest! {
        #[test]
        fn any_messages_end_exactly_once_and_last(messages in prop::collection::vec(any_message(), 0..40)) {
            let mut session = Session::new(Protocol::Twilio);
            messages.iter().for_each(|message| session.handle_message(message));
            session.handle_close();
            let all: Vec<Output> = std::iter::from_fn(|| session.poll_output()).collect();
            let ends = all.iter().filter(|output| matches!(output, Output::Ended(_))).count();
            prop_assert_eq!(ends, 1);
            prop_assert!(matches!(all.last(), Some(Output::Ended(_))));
            let starts = all.iter().position(|output| matches!(output, Output::Started(_)));
            prop_assert!(starts.is_none_or(|index| index == 0));
        }

        #[test]
        fn any_audio_in_any_pieces_round_trips(audio in prop::collection::vec(any::<u8>(), 0..2_000), sizes in prop::collection::vec(0_usize..400, 1..20)) {
            let mut session = Session::new(Protocol::Twilio);
            let mut carrier = CarrierWriter::new("AC1", "CA1", "MZ1");
            session.handle_message(CONNECTED);
            session.handle_message(START);
            let mut rest = &audio[..];
            for size in sizes.iter().copied().chain([usize::MAX]) {
                let (piece, after) = rest.split_at(size.min(rest.len()));
                session.handle_message(&carrier.media(piece));
                rest = after;
            }
            let mut heard = Vec::new();
            while let Some(output) = session.poll_output() {
                match output {
                    Output::Audio(piece) => heard.extend_from_slice(&piece),
                    Output::Started(_) => {}
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            prop_assert_eq!(heard, audio);
        }

        #[test]
        fn any_mark_of_ours_comes_back(number in any::<u64>()) {
            let message = command_message(&AppWriter::new("MZ1"), &MediaCommand::Mark(number)).unwrap();
            prop_assert_eq!(streaming(&[&message]), [Output::Marked(number)]);
        }
    }
}
