//! Lines of any text as the first and further messages of a socket that may speak any protocol, with commands in between.
//!
//! Nothing panics, a stream starts once and ends once and last, and whatever is said to a dialler is well-formed.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use offhook::provider::telephony::{HangupCause, MediaCommand};
use offhook::time::{Instant, Timestamp};
use offhook_streams::Protocol;
use offhook_streams::protocol::{Sniff, sniff};
use offhook_streams::voxcore::message::Message;
use offhook_streams::wire::{Output, wire};

const HANDSHAKE: [&str; 3] = [
    r#"{"event":"connected","callerId":"+6281","streamId":"S1"}"#,
    r#"{"event":"start","streamId":"S1"}"#,
    r#"{"event":"answer"}"#,
];

fuzz_target!(|text: &str| {
    let messages: Vec<&str> = text.lines().collect();
    if let Sniff::Is(protocol) = sniff(messages.iter().copied()) {
        run(protocol, &messages);
    }
    // A fuzzer rarely finds the way through the handshake by itself.
    run(Protocol::VoxCore, &[&HANDSHAKE, &messages[..]].concat());
});

fn run(protocol: Protocol, messages: &[&str]) {
    let mut now = Instant::from_micros(0);
    let mut wire = wire(protocol, now, Timestamp::from_unix_micros(0));
    let (mut starts, mut ends) = (0, 0);
    for (index, message) in messages.iter().enumerate() {
        wire.handle_message(message);
        now = now + Duration::from_millis(10);
        match message.len() % 4 {
            0 => wire.handle_command(now, MediaCommand::Audio(message.as_bytes().to_vec().into())),
            1 => wire.handle_command(now, MediaCommand::Clear),
            2 => wire.handle_command(now, MediaCommand::Mark(index as u64)),
            _ => wire.handle_timeout(now),
        }
        while let Some(output) = wire.poll_output() {
            assert_eq!(ends, 0, "nothing comes after the end");
            match output {
                Output::Close(_) | Output::Ended(_) => ends += 1,
                Output::Send(text) if protocol == Protocol::VoxCore => assert!(Message::parse(&text).is_ok()),
                Output::Started(_) => starts += 1,
                _ => {}
            }
        }
    }
    wire.hang_up(now, HangupCause::NORMAL_CLEARING);
    wire.handle_timeout(now + Duration::from_secs(60));
    ends += std::iter::from_fn(|| wire.poll_output())
        .filter(|output| matches!(output, Output::Close(_) | Output::Ended(_)))
        .count();
    assert!(starts <= 1 && ends == 1);
}
