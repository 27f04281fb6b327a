//! Messages written by others: the vendor's documented forms and an independent implementation. See `vectors/README.md`.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use bytes::Bytes;
use offhook::provider::telephony::MediaEvent;
use offhook::time::Instant;
use offhook_streams::line::{self, Line};
use offhook_streams::twilio::session::{Output, Session};
use offhook_streams::twilio::writer::CarrierWriter;
use offhook_streams::twilio::{FRAME_BYTES, SILENCE};
use offhook_streams::{EndReason, Protocol};

const TWILIO: &str = include_str!("vectors/twilio.jsonl");
const PIPECAT: &str = include_str!("vectors/pipecat-1.14.0.jsonl");
const SID: &str = "MZ18ad3ab5a668481ce02b83e7395059f0";

#[test]
fn a_stream_as_twilio_documents_it_is_understood() {
    let mut session = Session::new(Protocol::Twilio);
    TWILIO.lines().for_each(|message| session.handle_message(message));
    let Some(Output::Started(start)) = session.poll_output() else { panic!("not started") };
    assert_eq!((start.stream_sid.as_str(), start.call_sid.as_str()), (SID, "CA00000000000000000000000000000002"));
    assert_eq!(start.parameters["RemoteParty"], "Bob");
    assert!(Protocol::Twilio.media_format(start.format.as_ref()).is_some());
    let rest: Vec<Output> = std::iter::from_fn(|| session.poll_output()).collect();
    assert_eq!(
        rest,
        [
            Output::Audio(Bytes::from_static(&[0xfe, 0xfe, 0xfc, 0xfc])),
            Output::Dtmf('1'.try_into().unwrap()),
            Output::Marked(3),
            Output::Ended(EndReason::Stopped),
        ]
    );
}

#[test]
fn an_application_on_pipecat_is_heard_and_its_interruption_obeyed() {
    let start = Instant::from_micros(0);
    let mut open = Line::twilio(start, SID, CarrierWriter::new("AC1", "CA1", SID));
    let messages: Vec<&str> = PIPECAT.lines().collect();
    let (speech, rest) = messages.split_at(4);
    speech.iter().for_each(|message| open.handle_message(message));
    open.handle_timeout(start + Duration::from_millis(40));
    assert_eq!(heard(&mut open), 2 * FRAME_BYTES);

    rest.iter().for_each(|message| open.handle_message(message));
    open.handle_timeout(start + Duration::from_millis(200));
    let outputs: Vec<line::Output> = std::iter::from_fn(|| open.poll_output()).collect();
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, line::Output::Send(text) if text.contains(r#""name":"greeting""#)))
    );
    assert!(!outputs.iter().any(is_voice), "an interruption clears what waits");
    open.handle_close(false);
    assert_eq!(open.poll_output(), Some(line::Output::Ended(EndReason::ClosedByApp)));
}

fn heard(open: &mut Line) -> usize {
    std::iter::from_fn(|| open.poll_output()).filter(is_voice).count() * FRAME_BYTES
}

fn is_voice(output: &line::Output) -> bool {
    matches!(output, line::Output::Event(MediaEvent::Audio(audio)) if audio.iter().any(|byte| *byte != SILENCE))
}
