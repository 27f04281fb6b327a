//! What a message of media costs. Not a test: it prints, and asserts nothing about time.
//!
//! `cargo test --release -p offhook-streams --test cost -- --ignored --nocapture`
#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "it only prints")]

use std::hint::black_box;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use offhook::provider::telephony::MediaCommand;
use offhook_streams::Protocol;
use offhook_streams::twilio::message::{Event, Message};
use offhook_streams::twilio::session::{Output, Session, command_message};
use offhook_streams::twilio::writer::{AppWriter, CarrierWriter};
use offhook_streams::twilio::{CARRIER_MESSAGE_BYTES_MAX, FRAME_BYTES};

/// Short, so that the best of many samples was not interrupted on a busy machine.
const ROUNDS: u32 = 2_000;
const SAMPLES: u32 = 500;
const SID: &str = "MZ18ad3ab5a668481ce02b83e7395059f0";

#[test]
#[ignore = "prints figures"]
fn a_message_of_20_ms() {
    let audio: Vec<u8> = (0..FRAME_BYTES).map(|index| (index * 37 % 256) as u8).collect();
    let text = CarrierWriter::new("AC1", "CA1", SID).media(&audio);

    let mut arena = BytesMut::new();
    report("parse and decode", || {
        let Ok(Message { event: Event::Media(media), .. }) =
            Message::parse(black_box(&text), CARRIER_MESSAGE_BYTES_MAX)
        else {
            panic!("not media")
        };
        media.decode(&mut arena).unwrap()
    });

    let mut session = Session::new(Protocol::Twilio);
    session.handle_message(r#"{"event":"connected"}"#);
    session.handle_message(&format!(r#"{{"event":"start","start":{{"streamSid":"{SID}"}}}}"#));
    session.poll_output();
    report("session, message to output", || {
        session.handle_message(black_box(&text));
        let Some(Output::Audio(audio)) = session.poll_output() else { panic!("not audio") };
        audio
    });

    let writer = AppWriter::new(SID);
    let command = MediaCommand::Audio(Bytes::from(audio.clone()));
    report("build, application to carrier", || command_message(&writer, black_box(&command)));
    let mut writer = CarrierWriter::new("AC1", "CA1", SID);
    report("build, carrier to application", || writer.media(black_box(&audio)));
}

fn report<T>(what: &str, mut work: impl FnMut() -> T) {
    let best = (0..SAMPLES)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..ROUNDS {
                black_box(work());
            }
            start.elapsed() / ROUNDS
        })
        .min()
        .unwrap();
    println!("{what}: {best:?} a message");
}
