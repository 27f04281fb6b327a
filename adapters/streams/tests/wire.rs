//! The server's side of every protocol: whatever comes, at whatever time, a stream starts once and ends once.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use offhook::provider::telephony::{HangupCause, MediaCommand};
use offhook::time::{Instant, Timestamp};
use offhook_streams::Protocol;
use offhook_streams::protocol::{Sniff, sniff};
use offhook_streams::wire::{Output, Wire, wire};
use proptest::prelude::*;

/// Each protocol's way into its stream, and what may come then.
const TALKS: [(Protocol, &[&str], &[&str]); 5] = [
    (
        Protocol::Exotel,
        &[r#"{"event":"connected"}"#, r#"{"event":"start","stream_sid":"S1","start":{"stream_sid":"S1"}}"#],
        &[r#"{"event":"media","stream_sid":"S1","media":{"payload":"AQA="}}"#, r#"{"event":"stop","stream_sid":"S1"}"#],
    ),
    (
        Protocol::Plivo,
        &[r#"{"event":"start","start":{"streamId":"S1"}}"#],
        &[r#"{"event":"clearedAudio","streamId":"S1"}"#, r#"{"event":"playedStream","streamId":"S1","name":"m1"}"#],
    ),
    (
        Protocol::Telnyx,
        &[r#"{"event":"connected","version":"1.0.0"}"#, r#"{"event":"start","start":{},"stream_id":"S1"}"#],
        &[r#"{"event":"dtmf","stream_id":"S1","dtmf":{"digit":"1"}}"#],
    ),
    (
        Protocol::Twilio,
        &[r#"{"event":"connected","protocol":"Call"}"#, r#"{"event":"start","start":{"streamSid":"S1"}}"#],
        &[r#"{"event":"mark","streamSid":"S1","mark":{"name":"m1"}}"#, r#"{"event":"stop","streamSid":"S1"}"#],
    ),
    (
        Protocol::VoxCore,
        &[
            r#"{"event":"connected","callerId":"+6281"}"#,
            r#"{"event":"start","streamId":"S1"}"#,
            r#"{"event":"answer"}"#,
        ],
        &[r#"{"event":"media","payload":"AQA="}"#, r#"{"event":"hangup-call"}"#],
    ),
];

#[derive(Clone, Debug)]
enum Step {
    Audio(usize),
    Binary,
    Clear,
    Close,
    HangUp,
    Mark(u64),
    Said(usize),
    Text(String),
    Wait(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_usize..4_000).prop_map(Step::Audio),
        Just(Step::Binary),
        Just(Step::Clear),
        Just(Step::Close),
        Just(Step::HangUp),
        (0_u64..5).prop_map(Step::Mark),
        (0_usize..5).prop_map(Step::Said),
        "\\PC{0,30}".prop_map(Step::Text),
        (0_u64..3_000).prop_map(Step::Wait),
    ]
}

fn drain(wire: &mut dyn Wire, starts: &mut u32, ends: &mut u32) {
    while let Some(output) = wire.poll_output() {
        assert_eq!(*ends, 0, "nothing comes after the end");
        match output {
            Output::Close(_) | Output::Ended(_) => *ends += 1,
            Output::Started(_) => *starts += 1,
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn a_stream_starts_once_and_ends_once(
        talk in 0_usize..TALKS.len(),
        way in 0_usize..4,
        steps in prop::collection::vec(any_step(), 0..30),
    ) {
        let (protocol, handshake, talk) = TALKS[talk];
        prop_assert_eq!(sniff(handshake.iter().copied()), Sniff::Is(protocol));
        let mut now = Instant::from_micros(0);
        let mut stream = wire(protocol, now, Timestamp::from_unix_micros(0));
        let (mut starts, mut ends) = (0, 0);
        handshake.iter().take(way).for_each(|message| stream.handle_message(message));
        drain(&mut *stream, &mut starts, &mut ends);
        prop_assert_eq!(starts, u32::from(way >= handshake.len()));
        for step in steps {
            match step {
                Step::Audio(bytes) => stream.handle_command(now, MediaCommand::Audio(vec![7; bytes].into())),
                Step::Binary => stream.handle_binary(),
                Step::Clear => stream.handle_command(now, MediaCommand::Clear),
                Step::Close => stream.handle_close(),
                Step::HangUp => stream.hang_up(now, HangupCause::NORMAL_CLEARING),
                Step::Mark(mark) => stream.handle_command(now, MediaCommand::Mark(mark)),
                Step::Said(index) => stream.handle_message(talk[index % talk.len()]),
                Step::Text(text) => stream.handle_message(&text),
                Step::Wait(millis) => {
                    now = now + Duration::from_millis(millis);
                    stream.handle_timeout(now);
                }
            }
            drain(&mut *stream, &mut starts, &mut ends);
        }
        stream.hang_up(now, HangupCause::NORMAL_CLEARING);
        stream.handle_timeout(now + Duration::from_secs(60));
        drain(&mut *stream, &mut starts, &mut ends);
        prop_assert_eq!(ends, 1);
        prop_assert!(starts <= 1);
    }
}
