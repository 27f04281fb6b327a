//! The server's side as a carrier, against scripted peers in virtual time.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use offhook::provider::Telephony;
use offhook::provider::telephony::{
    CarrierRequest, DialOptions, HangupCause, IncomingCall, LegId, Media, MediaCommand, MediaEvent,
};
use offhook::provider::transport::SocketMessage;
use offhook::{Error, ErrorKind};
use offhook_streams::twilio::MEDIA_FORMAT;
use offhook_streams::{HANDSHAKE_LIMIT, HANDSHAKES_MAX, MediaStreams, OPEN_LIMIT, STALL_LIMIT};
use proptest::prelude::*;
use support::{CONNECTED, START, STOP, Wires, World, rest, run, settle, wires};

const MEDIA: &str = r#"{"event":"media","sequenceNumber":"3","media":{"track":"inbound","chunk":"1","timestamp":"5","payload":"AP8="},"streamSid":"MZ1"}"#;

fn leg() -> LegId {
    LegId::new("MZ1").unwrap()
}

fn ended(cause: HangupCause) -> MediaEvent {
    MediaEvent::Ended { cause }
}

fn audio(bytes: &'static [u8]) -> MediaEvent {
    MediaEvent::Audio(Bytes::from_static(bytes))
}

/// An accepted leg, its media and its peer.
struct Stage {
    streams: MediaStreams,
    media: Media,
    peer: Wires,
}

async fn accept(world: &Arc<World>, messages: &[&str]) -> (MediaStreams, Result<IncomingCall, Error>, Wires) {
    let streams = MediaStreams::new(world.runtime());
    let (socket, peer) = wires(64);
    for message in messages {
        peer.send(message).await;
    }
    let call = streams.accept(socket).await.map(|accepted| accepted.call);
    (streams, call, peer)
}

async fn stage(world: &Arc<World>, start: &str, messages: &[&str]) -> Stage {
    let (streams, call, peer) = accept(world, &[&[CONNECTED, start], messages].concat()).await;
    let media = streams.open_media(call.unwrap().leg).await.unwrap();
    Stage { streams, media, peer }
}

fn cause_of(error: &Error) -> (&str, &str) {
    let value = |name| error.context().iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str()).unwrap();
    (value("cause"), value("q850"))
}

#[test]
fn a_start_becomes_a_call_with_its_numbers_and_parameters() {
    run(|world| async move {
        let (streams, call, _peer) = accept(&world, &[CONNECTED, START]).await;
        let call = call.unwrap();
        assert_eq!(call.leg, leg());
        assert_eq!(call.from, Some("+14155550123".parse().unwrap()));
        assert_eq!(call.to, Some("+628123456789".parse().unwrap()));
        assert_eq!(call.parameters["call_sid"], "CA1");
        assert_eq!(call.parameters["clinic"], "north");
        streams.answer(leg()).await.unwrap();
        streams.answer(leg()).await.unwrap();
    });
}

#[test]
fn numbers_are_taken_in_capitals_too_and_left_out_when_they_are_none() {
    run(|world| async move {
        let start = START.replace(r#""from":"+14155550123""#, r#""from":"anonymous","From":"+14155550199""#);
        let start = start.replace(r#""to":"+628123456789","#, "");
        let (_streams, call, _peer) = accept(&world, &[CONNECTED, &start]).await;
        let call = call.unwrap();
        assert_eq!((call.from, call.to), (Some("+14155550199".parse().unwrap()), None));
        assert_eq!(call.parameters["from"], "anonymous");
    });
}

#[test]
fn media_flows_both_ways_until_stop() {
    run(|world| async move {
        let mark = r#"{"event":"mark","streamSid":"MZ1","mark":{"name":"m7"}}"#;
        let dtmf = r#"{"event":"dtmf","streamSid":"MZ1","dtmf":{"track":"inbound_track","digit":"5"}}"#;
        let mut stage = stage(&world, START, &[MEDIA, dtmf]).await;
        assert_eq!(stage.media.format, MEDIA_FORMAT);
        for command in [MediaCommand::Audio(Bytes::from_static(&[0, 255])), MediaCommand::Mark(7), MediaCommand::Clear]
        {
            stage.media.commands.send(command).await.unwrap();
        }
        assert_eq!(
            stage.peer.next().await.unwrap(),
            r#"{"event":"media","streamSid":"MZ1","media":{"payload":"AP8="}}"#
        );
        assert_eq!(stage.peer.next().await.unwrap(), r#"{"event":"mark","streamSid":"MZ1","mark":{"name":"m7"}}"#);
        assert_eq!(stage.peer.next().await.unwrap(), r#"{"event":"clear","streamSid":"MZ1"}"#);
        stage.peer.send(mark).await;
        stage.peer.send(STOP).await;
        assert_eq!(
            rest(&mut stage.media).await,
            [
                audio(&[0, 255]),
                MediaEvent::Dtmf('5'.try_into().unwrap()),
                MediaEvent::Marked(7),
                ended(HangupCause::NORMAL_CLEARING),
            ]
        );
        assert_eq!(stage.peer.next().await, None, "the socket is closed");
        assert_eq!(stage.streams.answer(leg()).await.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_peer_that_breaks_the_protocol_before_its_start_is_refused() {
    let cases = [
        (&[MEDIA][..], ("protocol_error", "111")),
        (&[STOP], ("protocol_error", "111")),
        (&[CONNECTED, MEDIA], ("protocol_error", "111")),
        (&[CONNECTED, STOP], ("protocol_error", "111")),
        (&["garbage"], ("invalid_message", "95")),
        (&[CONNECTED, "{}"], ("invalid_message", "95")),
    ];
    for (messages, cause) in cases {
        run(|world| async move {
            let (streams, call, mut peer) = accept(&world, messages).await;
            let error = call.unwrap_err();
            assert_eq!((error.kind(), cause_of(&error)), (ErrorKind::Rejected, cause), "{messages:?}");
            assert_eq!(peer.next().await, None, "the socket is closed");

            let (socket, peer) = wires(64);
            peer.send(CONNECTED).await;
            peer.send(START).await;
            assert!(streams.accept(socket).await.is_ok(), "the next call works");
        });
    }
}

#[test]
fn a_peer_that_closes_or_says_nothing_is_given_up() {
    run(|world| async move {
        let streams = MediaStreams::new(world.runtime());
        let (socket, peer) = wires(64);
        drop(peer);
        let error = streams.accept(socket).await.unwrap_err();
        assert_eq!((error.kind(), cause_of(&error).0), (ErrorKind::Rejected, "network_out_of_order"));

        let (socket, peer) = wires(64);
        peer.send(CONNECTED).await;
        let before = world.now_ms();
        assert_eq!(streams.accept(socket).await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(Duration::from_millis(world.now_ms() - before), HANDSHAKE_LIMIT);
    });
}

#[test]
fn sockets_waiting_for_their_start_are_limited() {
    run(|world| async move {
        let streams = MediaStreams::new(world.runtime());
        let mut waiting = futures_util::stream::FuturesUnordered::new();
        let mut peers = Vec::new();
        for _ in 0..=HANDSHAKES_MAX {
            let (socket, peer) = wires(4);
            peers.push(peer);
            waiting.push(streams.accept(socket));
        }
        assert_eq!(waiting.next().await.unwrap().unwrap_err().kind(), ErrorKind::RateLimited);
        drop(waiting);
        let (socket, peer) = wires(4);
        peer.send(CONNECTED).await;
        peer.send(START).await;
        assert!(streams.accept(socket).await.is_ok(), "abandoned sockets gave their places back");
    });
}

#[test]
fn a_broken_call_ends_with_its_cause_and_the_next_call_works() {
    let torn = MEDIA.replace("AP8=", "*");
    let stranger = MEDIA.replace("MZ1", "MZ2");
    let cases = [
        ("not json", HangupCause::INVALID_MESSAGE),
        ("{\"event\":", HangupCause::INVALID_MESSAGE),
        ("[1]", HangupCause::INVALID_MESSAGE),
        (&torn, HangupCause::INVALID_MESSAGE),
        (START, HangupCause::PROTOCOL_ERROR),
        (&stranger, HangupCause::PROTOCOL_ERROR),
    ];
    for (message, cause) in cases {
        run(|world| async move {
            let mut stage = stage(&world, START, &[MEDIA, message, MEDIA]).await;
            assert_eq!(rest(&mut stage.media).await, [audio(&[0, 255]), ended(cause)], "{message}");
            assert_eq!(stage.peer.next().await, None, "the socket is closed");

            let (socket, peer) = wires(64);
            peer.send(CONNECTED).await;
            peer.send(START).await;
            assert!(stage.streams.accept(socket).await.is_ok(), "the next call works");
        });
    }
}

#[test]
fn a_binary_message_ends_the_call() {
    run(|world| async move {
        let mut stage = stage(&world, START, &[]).await;
        stage.peer.outgoing.send(SocketMessage::Binary(Bytes::from_static(b"x"))).await.unwrap();
        assert_eq!(rest(&mut stage.media).await, [ended(HangupCause::INVALID_MESSAGE)]);
    });
}

#[test]
fn a_killed_socket_is_a_fault_of_the_network() {
    run(|world| async move {
        let mut stage = stage(&world, START, &[MEDIA]).await;
        drop(stage.peer);
        assert_eq!(rest(&mut stage.media).await, [audio(&[0, 255]), ended(HangupCause::NETWORK_OUT_OF_ORDER)]);
    });
}

#[test]
fn a_stop_counts_even_when_the_peer_has_stopped_reading() {
    run(|world| async move {
        let mut stage = stage(&world, START, &[]).await;
        let Wires { incoming, outgoing, .. } = stage.peer;
        drop(incoming);
        stage.media.commands.send(MediaCommand::Clear).await.unwrap();
        settle(&world).await;
        outgoing.send(SocketMessage::Text(STOP.to_owned())).await.unwrap();
        assert_eq!(rest(&mut stage.media).await, [ended(HangupCause::NORMAL_CLEARING)]);
    });
}

#[test]
fn a_wrong_codec_is_a_call_that_ends_at_once() {
    for (good, bad) in [("x-mulaw", "x-alaw"), ("8000", "16000"), (r#""channels":1"#, r#""channels":2"#)] {
        run(|world| async move {
            let mut stage = stage(&world, &START.replace(good, bad), &[MEDIA]).await;
            let cause = HangupCause::BEARER_CAPABILITY_NOT_IMPLEMENTED;
            assert_eq!(rest(&mut stage.media).await, [ended(cause)], "{bad}");
        });
    }
}

#[test]
fn a_peer_that_does_not_read_ends_the_call() {
    run(|world| async move {
        let mut stage = stage(&world, START, &[]).await;
        for _ in 0..65 {
            stage.media.commands.send(MediaCommand::Audio(Bytes::from_static(&[0]))).await.unwrap();
        }
        settle(&world).await;
        let before = world.now_ms();
        assert_eq!(rest(&mut stage.media).await, [ended(HangupCause::NETWORK_OUT_OF_ORDER)]);
        assert_eq!(Duration::from_millis(world.now_ms() - before), STALL_LIMIT);
        for _ in 0..64 {
            assert!(stage.peer.next().await.is_some());
        }
        assert_eq!(stage.peer.next().await, None, "the socket is closed");
    });
}

#[test]
fn a_slow_peer_loses_nothing() {
    run(|world| async move {
        let mut stage = stage(&world, START, &[]).await;
        for number in 0..200 {
            stage.media.commands.send(MediaCommand::Mark(number)).await.unwrap();
        }
        for number in 0..200 {
            world.sleep(Duration::from_millis(100)).await;
            assert!(stage.peer.next().await.unwrap().contains(&format!(r#""m{number}""#)));
        }
    });
}

#[test]
fn media_is_opened_once() {
    run(|world| async move {
        let mut stage = stage(&world, START, &[]).await;
        assert_eq!(stage.streams.open_media(leg()).await.err().unwrap().kind(), ErrorKind::Conflict);
        let unknown = LegId::new("MZ9").unwrap();
        assert_eq!(stage.streams.open_media(unknown.clone()).await.err().unwrap().kind(), ErrorKind::NotFound);
        assert_eq!(stage.streams.answer(unknown.clone()).await.unwrap_err().kind(), ErrorKind::NotFound);
        stage.streams.hang_up(unknown, HangupCause::NORMAL_CLEARING).await.unwrap();
        stage.peer.send(STOP).await;
        rest(&mut stage.media).await;
        assert_eq!(stage.streams.open_media(leg()).await.err().unwrap().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn hanging_up_closes_the_socket_and_ends_the_events_without_blaming_the_peer() {
    run(|world| async move {
        let mut stage = stage(&world, START, &[]).await;
        stage.streams.hang_up(leg(), HangupCause::NORMAL_CLEARING).await.unwrap();
        stage.streams.hang_up(leg(), HangupCause::NORMAL_CLEARING).await.unwrap();
        assert_eq!(rest(&mut stage.media).await, []);
        assert_eq!(stage.peer.next().await, None);
    });
}

#[test]
fn giving_the_media_back_leaves_the_leg_up() {
    run(|world| async move {
        let mut stage = stage(&world, START, &[]).await;
        drop(stage.media);
        for _ in 0..1_000 {
            stage.peer.send(MEDIA).await;
        }
        settle(&world).await;
        stage.streams.answer(leg()).await.unwrap();
        stage.streams.hang_up(leg(), HangupCause::NORMAL_CLEARING).await.unwrap();
        assert_eq!(stage.peer.next().await, None);
    });
}

#[test]
fn a_leg_that_is_never_opened_is_hung_up() {
    run(|world| async move {
        let (streams, call, mut peer) = accept(&world, &[CONNECTED, START]).await;
        call.unwrap();
        let before = world.now_ms();
        assert_eq!(peer.next().await, None);
        assert_eq!(Duration::from_millis(world.now_ms() - before), OPEN_LIMIT);
        assert_eq!(streams.open_media(leg()).await.err().unwrap().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn unopened_legs_are_limited() {
    run(|world| async move {
        let streams = MediaStreams::new(world.runtime());
        let mut peers = Vec::new();
        let error = loop {
            let (socket, peer) = wires(4);
            peer.send(CONNECTED).await;
            peer.send(&START.replace("MZ1", &format!("MZ{}", peers.len()))).await;
            peers.push(peer);
            if let Err(error) = streams.accept(socket).await {
                break error;
            }
        };
        assert_eq!((error.kind(), peers.len()), (ErrorKind::RateLimited, 1_025));
        let _media = streams.open_media(leg()).await.unwrap();
        let (socket, peer) = wires(4);
        peer.send(CONNECTED).await;
        peer.send(START.replace("MZ1", "MZnew").as_str()).await;
        assert!(streams.accept(socket).await.is_ok(), "an opened leg makes room");
    });
}

#[test]
fn a_stream_that_is_there_already_cannot_be_taken_over() {
    run(|world| async move {
        let mut stage = stage(&world, START, &[]).await;
        let (socket, thief) = wires(64);
        thief.send(CONNECTED).await;
        thief.send(START).await;
        let error = stage.streams.accept(socket).await.unwrap_err();
        assert_eq!((error.kind(), cause_of(&error).0), (ErrorKind::Rejected, "protocol_error"));
        stage.peer.send(MEDIA).await;
        stage.peer.send(STOP).await;
        assert_eq!(rest(&mut stage.media).await, [audio(&[0, 255]), ended(HangupCause::NORMAL_CLEARING)]);
    });
}

#[test]
fn a_name_taken_again_after_a_hang_up_is_not_swept_away_with_the_old_leg() {
    run(|world| async move {
        let stage = stage(&world, START, &[]).await;
        stage.streams.hang_up(leg(), HangupCause::NORMAL_CLEARING).await.unwrap();
        let (socket, peer) = wires(64);
        peer.send(CONNECTED).await;
        peer.send(START).await;
        stage.streams.accept(socket).await.unwrap();
        settle(&world).await;
        stage.streams.answer(leg()).await.unwrap();
    });
}

#[test]
fn dropping_the_carrier_hangs_up() {
    run(|world| async move {
        let mut stage = stage(&world, START, &[]).await;
        drop(stage.streams);
        assert_eq!(rest(&mut stage.media).await, []);
        assert_eq!(stage.peer.next().await, None);
        settle(&world).await;
        assert_eq!(world.running(), 0);
    });
}

#[test]
fn what_is_not_claimed_is_unsupported() {
    run(|world| async move {
        let streams = MediaStreams::new(world.runtime());
        let can = streams.capabilities();
        assert!(!can.dial && !can.send_dtmf && !can.webhooks, "transfers are VoxCore's");
        let number: offhook::provider::telephony::E164 = "+14155550123".parse().unwrap();
        let options = DialOptions::new(number.clone(), number.clone(), Duration::from_secs(1));
        assert_eq!(streams.dial(options).await.err().unwrap().kind(), ErrorKind::Unsupported);
        assert_eq!(streams.send_dtmf(leg(), vec![]).await.unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(streams.transfer(leg(), number.clone()).await.unwrap_err().kind(), ErrorKind::NotFound);
        let stage = stage(&world, START, &[]).await;
        assert_eq!(stage.streams.transfer(leg(), number).await.unwrap_err().kind(), ErrorKind::Unsupported);
        let _: fn(&MediaStreams, CarrierRequest) -> _ = Telephony::decode;
    });
}

#[test]
fn an_engine_that_reads_late_loses_nothing() {
    run(|world| async move {
        let mut stage = stage(&world, START, &[]).await;
        let peer = stage.peer;
        let sent = async move {
            for _ in 0..2_000 {
                peer.send(MEDIA).await;
            }
            peer.send(STOP).await;
            peer
        };
        let heard = async {
            world.sleep(Duration::from_secs(30)).await;
            rest(&mut stage.media).await
        };
        let (heard, _peer) = futures_util::join!(heard, sent);
        assert_eq!(heard.len(), 2_001);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_peer_says_the_call_ends_once(script in prop::collection::vec(
        prop_oneof![
            8 => Just(MEDIA.to_owned()),
            2 => Just(r#"{"event":"mark","mark":{"name":"m1"}}"#.to_owned()),
            1 => Just(STOP.to_owned()),
            1 => Just(START.to_owned()),
            1 => "\\PC{0,30}",
        ],
        0..40,
    )) {
        let events = run(|world| async move {
            let script: Vec<&str> = script.iter().map(String::as_str).collect();
            let mut stage = stage(&world, START, &script).await;
            drop(stage.peer);
            rest(&mut stage.media).await
        });
        let ends = events.iter().filter(|event| matches!(event, MediaEvent::Ended { .. })).count();
        prop_assert_eq!(ends, 1);
        let last = events.last();
        prop_assert!(last.is_some_and(|event| matches!(event, MediaEvent::Ended { .. })), "{:?}", last);
    }
}
