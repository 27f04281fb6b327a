//! Lines of any text as the messages of one media stream, to both of its ends.
//!
//! Nothing panics, each end is reported exactly once and last, and whatever either side answers is well-formed.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use offhook::time::Instant;
use offhook_streams::line::{self, Line};
use offhook_streams::Protocol;
use offhook_streams::twilio::message::Message;
use offhook_streams::twilio::session::{self, Session};
use offhook_streams::twilio::writer::CarrierWriter;
use offhook_streams::twilio::{APP_MESSAGE_BYTES_MAX, FRAME, FRAME_BYTES};

const CONNECTED: &str = r#"{"event":"connected"}"#;
const START: &str = r#"{"event":"start","start":{"streamSid":"MZ1"}}"#;

fuzz_target!(|text: &str| {
    let messages: Vec<&str> = text.lines().collect();
    end_of_session(&messages);
    // A fuzzer rarely finds the way through the handshake by itself.
    end_of_session(&[&[CONNECTED, START], &messages[..]].concat());
    end_of_line(&messages);
});

fn end_of_session(messages: &[&str]) {
    let mut session = Session::new(Protocol::Twilio);
    for message in messages {
        session.handle_message(message);
    }
    session.handle_close();
    let outputs: Vec<session::Output> = std::iter::from_fn(|| session.poll_output()).collect();
    let ends = outputs.iter().filter(|output| matches!(output, session::Output::Ended(_))).count();
    assert_eq!(ends, 1);
    assert!(matches!(outputs.last(), Some(session::Output::Ended(_))));
    let started = outputs.iter().rposition(|output| matches!(output, session::Output::Started(_)));
    assert!(started.is_none_or(|index| index == 0));
}

fn end_of_line(messages: &[&str]) {
    let mut now = Instant::from_micros(0);
    let mut open = Line::twilio(now, "MZ1", CarrierWriter::new("AC1", "CA1", "MZ1"));
    let (mut frames, mut ends) = (0, 0);
    for message in messages {
        open.handle_message(message);
        now = now + FRAME / 2;
        open.handle_timeout(now);
        drain(&mut open, &mut frames, &mut ends);
    }
    if ends == 0 {
        assert_eq!(Duration::from_micros(now.as_micros()).as_millis() / FRAME.as_millis(), frames);
    }
    open.handle_close(true);
    drain(&mut open, &mut frames, &mut ends);
    assert_eq!(ends, 1);
}

fn drain(open: &mut Line, frames: &mut u128, ends: &mut u32) {
    while let Some(output) = open.poll_output() {
        assert_eq!(*ends, 0);
        match output {
            line::Output::Ended(_) => *ends += 1,
            line::Output::Event(offhook::provider::telephony::MediaEvent::Audio(audio)) => {
                assert_eq!(audio.len(), FRAME_BYTES);
                *frames += 1;
            }
            line::Output::Send(text) => assert!(Message::parse(&text, APP_MESSAGE_BYTES_MAX * 8).is_ok()),
            _ => {}
        }
    }
}
