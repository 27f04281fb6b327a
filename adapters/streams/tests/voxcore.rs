//! VoxCore's protocol at the server, against scripted diallers in virtual time.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use offhook::audio::codec;
use offhook::provider::Telephony;
use offhook::provider::telephony::{Codec, HangupCause, LegId, Media, MediaCommand, MediaEvent};
use offhook::provider::transport::CloseCode;
use offhook::{Error, ErrorKind};
use offhook_streams::voxcore::{CHUNK_BYTES, HANG_UP_LIMIT, MEDIA_FORMAT};
use offhook_streams::{Accepted, HANDSHAKE_LIMIT, MediaStreams, OPEN_LIMIT, Protocol, StreamCaller};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{OneSocket, Wires, World, options, pair, rest, run, settle, wires};

const CONNECTED: &str = r#"{"event":"connected","callerId":"+919876543210","did":"+918000000001","callDirection":"incoming","name":"Asha","_skip_prefetch":true}"#;
const START: &str =
    r#"{"event":"start","streamId":"S1","mediaFormat":{"encoding":"LINEAR","sampleRate":8000,"channels":1}}"#;
const ANSWER: &str = r#"{"event":"answer"}"#;
const MEDIA: &str = r#"{"event":"media","payload":"AQACAA=="}"#;
const HANGUP: &str = r#"{"event":"hangup-call","disconnectedBy":"customer"}"#;

/// An accepted leg, its media and its dialler.
struct Stage {
    streams: MediaStreams,
    leg: LegId,
    media: Media,
    peer: Wires,
}

async fn accept(world: &Arc<World>, messages: &[&str]) -> (MediaStreams, Result<Accepted, Error>, Wires) {
    let streams = MediaStreams::new(world.runtime());
    let (socket, peer) = wires(64);
    for message in messages {
        peer.send(message).await;
    }
    let accepted = streams.accept(socket).await;
    (streams, accepted, peer)
}

async fn stage(world: &Arc<World>) -> Stage {
    let (streams, accepted, peer) = accept(world, &[CONNECTED, START, ANSWER]).await;
    let leg = accepted.unwrap().call.leg;
    let media = streams.open_media(leg.clone()).await.unwrap();
    Stage { streams, leg, media, peer }
}

impl Stage {
    async fn play(&self, chunks: usize) {
        let audio = Bytes::from(vec![7; CHUNK_BYTES * chunks]);
        self.media.commands.send(MediaCommand::Audio(audio)).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        serde_json::from_str(&self.peer.next().await.unwrap()).unwrap()
    }

    /// What has been sent up to now.
    fn sent(&mut self) -> Vec<Value> {
        let texts = std::iter::from_fn(|| self.peer.incoming.try_recv().ok());
        texts.map(|message| serde_json::from_str(&support::text(message)).unwrap()).collect()
    }
}

fn events(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["event"].as_str().unwrap()).collect()
}

#[test]
fn fl_070_fl_072_three_events_in_order_become_a_call() {
    run(|world| async move {
        let (streams, accepted, _peer) = accept(&world, &[CONNECTED, START, ANSWER]).await;
        let Accepted { call, protocol, reserved, .. } = accepted.unwrap();
        assert_eq!(protocol, Protocol::VoxCore);
        assert_eq!(
            (call.from, call.to),
            (Some("+919876543210".parse().unwrap()), Some("+918000000001".parse().unwrap()))
        );
        assert_eq!(call.parameters["name"], "Asha");
        assert_eq!(reserved["_skip_prefetch"], json!(true));
        assert!(!call.parameters.contains_key("_skip_prefetch"));
        assert_ne!(call.leg.as_str(), "S1", "another dialler may name its stream so");
        let media = streams.open_media(call.leg).await.unwrap();
        assert_eq!((media.format, media.marks), (MEDIA_FORMAT, false));
    });
}

#[test]
fn fl_071_the_stream_is_named_by_either_event_and_by_both_alike() {
    let named = CONNECTED.replace("\"did\"", "\"streamId\":\"S1\",\"did\"");
    let nameless = START.replace("\"streamId\":\"S1\",", "");
    let other = START.replace("S1", "S2");
    for (messages, is_fine) in [
        ([&named, START, ANSWER], true),
        ([&named, &nameless, ANSWER], true),
        ([CONNECTED, &nameless, ANSWER], false),
        ([&named, &other, ANSWER], false),
    ] {
        run(|world| async move {
            let (_streams, accepted, _peer) = accept(&world, &messages).await;
            assert_eq!(accepted.is_ok(), is_fine, "{messages:?}");
        });
    }
}

#[test]
fn fl_072_fl_081_a_handshake_out_of_order_is_closed_as_a_breach() {
    let codec = START.replace("8000", "16000");
    for messages in [
        &[START, ANSWER][..],
        &[ANSWER],
        &[MEDIA],
        &[CONNECTED, ANSWER],
        &[CONNECTED, MEDIA],
        &[CONNECTED, CONNECTED],
        &[CONNECTED, START, START],
        &[CONNECTED, START, MEDIA],
        &[CONNECTED, "garbage"],
        &[CONNECTED, &codec],
        &[CONNECTED, START, HANGUP],
    ] {
        run(|world| async move {
            let (_streams, accepted, mut peer) = accept(&world, messages).await;
            assert_eq!(accepted.unwrap_err().kind(), ErrorKind::Rejected, "{messages:?}");
            assert_eq!((peer.next().await, peer.closed), (None, Some(CloseCode::POLICY)), "{messages:?}");
        });
    }
}

#[test]
fn fl_081_a_handshake_takes_ten_seconds_at_most() {
    assert_eq!(HANDSHAKE_LIMIT, Duration::from_secs(10));
    run(|world| async move {
        let (_streams, accepted, mut peer) = accept(&world, &[CONNECTED, START]).await;
        assert_eq!(accepted.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(world.now_ms(), 10_000);
        assert_eq!((peer.next().await, peer.closed), (None, Some(CloseCode::POLICY)));
    });
}

#[test]
fn fl_073_the_customers_voice_is_heard() {
    run(|world| async move {
        let mut stage = stage(&world).await;
        stage.peer.send(MEDIA).await;
        stage.peer.send(r#"{"event":"news"}"#).await;
        stage.peer.send(HANGUP).await;
        let heard = [
            MediaEvent::Audio(Bytes::from_static(&[1, 0, 2, 0])),
            MediaEvent::Ended { cause: HangupCause::NORMAL_CLEARING },
        ];
        assert_eq!(rest(&mut stage.media).await, heard);
    });
}

#[test]
fn fl_074_fl_085_audio_goes_out_in_chunks_of_20_ms_that_are_counted() {
    run(|world| async move {
        let mut stage = stage(&world).await;
        let mut chunk = 0;
        for _ in 0..3 {
            stage.play(4).await;
            for _ in 0..4 {
                let message = stage.next().await;
                chunk += 1;
                assert_eq!((&message["event"], &message["chunk"]), (&json!("reverse-media"), &json!(chunk)));
                let audio = STANDARD.decode(message["payload"].as_str().unwrap()).unwrap();
                assert_eq!(audio, [7; CHUNK_BYTES]);
                assert_eq!((&message["streamId"], &message["callerId"]), (&json!("S1"), &json!("+919876543210")));
                assert_eq!(message["chunk_durn_ms"], 20);
            }
            world.sleep(Duration::from_millis(500)).await;
        }
    });
}

#[test]
fn fl_085_audio_runs_ahead_of_real_time_by_200_ms_at_most() {
    run(|world| async move {
        let mut stage = stage(&world).await;
        let start = world.now_ms();
        stage.play(60).await;
        for chunk in 0..60 {
            stage.next().await;
            let due = (chunk * 20_u64).saturating_sub(180);
            assert_eq!(world.now_ms() - start, due, "chunk {chunk}");
        }
    });
}

#[test]
fn fl_076_a_clear_takes_back_what_is_not_sent() {
    run(|world| async move {
        let mut stage = stage(&world).await;
        stage.play(100).await;
        settle(&world).await;
        assert_eq!(stage.sent().len(), 10);
        stage.media.commands.send(MediaCommand::Clear).await.unwrap();
        assert_eq!(
            stage.next().await,
            json!({ "event": "reverse-media-stop", "callerId": "+919876543210", "streamId": "S1" })
        );
        world.sleep(Duration::from_secs(5)).await;
        assert_eq!(stage.sent(), [Value::Null; 0]);
        stage.play(1).await;
        assert_eq!(stage.next().await["chunk"], 11, "the count goes on");
    });
}

#[test]
fn fl_075_the_customer_hangs_up() {
    run(|world| async move {
        let mut stage = stage(&world).await;
        stage.peer.send(HANGUP).await;
        assert_eq!(rest(&mut stage.media).await, [MediaEvent::Ended { cause: HangupCause::NORMAL_CLEARING }]);
        assert_eq!((stage.peer.next().await, stage.peer.closed), (None, Some(CloseCode::NORMAL)));
    });
}

#[test]
fn fl_077_our_hang_up_stops_the_audio_first_and_waits_for_theirs() {
    run(|world| async move {
        let mut stage = stage(&world).await;
        stage.play(100).await;
        settle(&world).await;
        stage.streams.hang_up(stage.leg.clone(), HangupCause::NORMAL_CLEARING).await.unwrap();
        world.sleep(Duration::from_millis(500)).await;
        let sent = stage.sent();
        assert_eq!(events(&sent[10..]), ["reverse-media-stop", "reverse-hangup-call"]);
        assert_eq!((&sent[11]["source"], &sent[11]["message"]), (&json!("ai"), &json!("Call ended by bot")));
        stage.peer.send(MEDIA).await;
        stage.peer.send(HANGUP).await;
        let before = world.now_ms();
        assert_eq!((stage.peer.next().await, stage.peer.closed), (None, Some(CloseCode::NORMAL)));
        assert_eq!(world.now_ms(), before);
        settle(&world).await;
        assert_eq!(world.running(), 0);
    });
}

#[test]
fn fl_077_a_dialler_that_does_not_hang_up_is_not_waited_for_long() {
    run(|world| async move {
        let mut stage = stage(&world).await;
        stage.streams.hang_up(stage.leg.clone(), HangupCause::NORMAL_CLEARING).await.unwrap();
        assert_eq!(stage.next().await["event"], "reverse-media-stop");
        assert_eq!(stage.next().await["event"], "reverse-hangup-call");
        let before = world.now_ms();
        assert_eq!((stage.peer.next().await, stage.peer.closed), (None, Some(CloseCode::NORMAL)));
        assert_eq!(Duration::from_millis(world.now_ms() - before), HANG_UP_LIMIT);
    });
}

#[test]
fn fl_078_a_transfer_is_asked_of_the_dialler() {
    run(|world| async move {
        let mut stage = stage(&world).await;
        stage.streams.transfer(stage.leg.clone(), "+919000000000".parse().unwrap()).await.unwrap();
        let message = stage.next().await;
        assert_eq!(
            (&message["event"], &message["transferTo"]),
            (&json!("reverse-call-transfer"), &json!("+919000000000"))
        );
        assert_eq!((&message["streamId"], &message["callerId"]), (&json!("S1"), &json!("+919876543210")));
        drop(stage.media);
        settle(&world).await;
        stage.peer.send(HANGUP).await;
        assert_eq!((stage.peer.next().await, stage.peer.closed), (None, Some(CloseCode::NORMAL)));
    });
}

#[test]
fn fl_080_fl_081_a_refused_call_is_closed_with_the_code_of_its_cause() {
    for (cause, code) in [
        (HangupCause::UNALLOCATED_NUMBER, CloseCode::POLICY),
        (HangupCause::CALL_REJECTED, CloseCode::TRY_AGAIN),
        (HangupCause::USER_BUSY, CloseCode::TRY_AGAIN),
        (HangupCause::NORMAL_CLEARING, CloseCode::NORMAL),
        (HangupCause::TEMPORARY_FAILURE, CloseCode::INTERNAL),
    ] {
        run(|world| async move {
            let (streams, accepted, mut peer) = accept(&world, &[CONNECTED, START, ANSWER]).await;
            streams.hang_up(accepted.unwrap().call.leg, cause).await.unwrap();
            assert_eq!((peer.next().await, peer.closed), (None, Some(code)), "{cause}");
        });
    }
    run(|world| async move {
        let (_streams, accepted, mut peer) = accept(&world, &[CONNECTED, START, ANSWER]).await;
        let _ = accepted.unwrap();
        assert_eq!((peer.next().await, peer.closed), (None, Some(CloseCode::INTERNAL)));
        assert_eq!(Duration::from_millis(world.now_ms()), OPEN_LIMIT);
    });
}

#[test]
fn fl_081_a_breach_in_the_call_is_closed_as_one_and_tells_the_engine() {
    for (message, cause) in [
        ("garbage", HangupCause::INVALID_MESSAGE),
        (START, HangupCause::PROTOCOL_ERROR),
        (r#"{"event":"media","payload":"*"}"#, HangupCause::INVALID_MESSAGE),
        (r#"{"event":"media","payload":"AQA=","streamId":"S2"}"#, HangupCause::PROTOCOL_ERROR),
    ] {
        run(|world| async move {
            let mut stage = stage(&world).await;
            stage.peer.send(message).await;
            assert_eq!(rest(&mut stage.media).await, [MediaEvent::Ended { cause }], "{message}");
            assert_eq!((stage.peer.next().await, stage.peer.closed), (None, Some(CloseCode::POLICY)), "{message}");
        });
    }
}

/// 100 ms of a key's two tones, as messages of 20 ms.
fn tones(low_hz: f32, high_hz: f32) -> Vec<String> {
    let sample = |index: usize| {
        let at = 2.0 * std::f32::consts::PI * index as f32 / 8_000.0;
        (((low_hz * at).sin() + (high_hz * at).sin()) * 8_000.0) as i16
    };
    let samples: Vec<i16> = (0..800).map(sample).collect();
    let message = |frame: &[i16]| {
        let mut audio = Vec::new();
        codec::encode(Codec::Pcm16Le, frame, &mut audio);
        json!({ "event": "media", "payload": STANDARD.encode(audio) }).to_string()
    };
    samples.chunks(160).map(message).collect()
}

#[test]
fn fl_083_keys_are_heard_by_message_and_by_their_tones_each_once() {
    run(|world| async move {
        let mut stage = stage(&world).await;
        let silence = json!({ "event": "media", "payload": STANDARD.encode([0; CHUNK_BYTES * 3]) }).to_string();
        let five = r#"{"event":"dtmf","digit":"5"}"#.to_owned();
        let mut messages = vec![five.clone()];
        // The same press in the audio, and then another one of the same key.
        for _ in 0..2 {
            messages.extend(tones(770.0, 1_336.0));
            messages.push(silence.clone());
        }
        messages.extend(tones(941.0, 1_477.0));
        messages.push(HANGUP.to_owned());
        let media = &mut stage.media;
        let send = async {
            for message in messages {
                stage.peer.send(&message).await;
            }
        };
        let (events, ()) = futures_util::join!(rest(media), send);
        let keys: String = events
            .iter()
            .filter_map(|event| if let MediaEvent::Dtmf(key) = event { Some(key.as_char()) } else { None })
            .collect();
        assert_eq!(keys, "55#");
    });
}

#[test]
fn fl_084_one_door_serves_every_protocol() {
    let exotel = [
        r#"{"event":"connected"}"#,
        r#"{"event":"start","stream_sid":"S1","start":{"stream_sid":"S1","call_sid":"C1","from":"+6281","to":"+6221","media_format":{"encoding":"base64","sample_rate":"8000"}}}"#,
    ];
    let telnyx = [
        r#"{"event":"connected","version":"1.0.0"}"#,
        r#"{"event":"start","start":{"call_control_id":"C1","from":"+6281","to":"+6221","media_format":{"encoding":"PCMA","sample_rate":8000,"channels":1}},"stream_id":"S1"}"#,
    ];
    let plivo = [
        r#"{"sequenceNumber":0,"event":"start","start":{"callId":"C1","streamId":"S1","tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-l16","sampleRate":16000}}}"#,
    ];
    for (messages, protocol, codec, rate_hz, mark, back) in [
        (
            &exotel[..],
            Protocol::Exotel,
            Codec::Pcm16Le,
            8_000,
            r#"{"event":"mark","stream_sid":"S1","mark":{"name":"m7"}}"#,
            r#"{"event":"mark","stream_sid":"S1","mark":{"name":"m7"}}"#,
        ),
        (
            &telnyx,
            Protocol::Telnyx,
            Codec::Alaw,
            8_000,
            r#"{"event":"mark","mark":{"name":"m7"}}"#,
            r#"{"event":"mark","stream_id":"S1","mark":{"name":"m7"}}"#,
        ),
        (
            &plivo,
            Protocol::Plivo,
            Codec::Pcm16Le,
            16_000,
            r#"{"event":"checkpoint","streamId":"S1","name":"m7"}"#,
            r#"{"event":"playedStream","streamId":"S1","name":"m7"}"#,
        ),
    ] {
        run(|world| async move {
            let (streams, accepted, mut peer) = accept(&world, messages).await;
            let Accepted { call, protocol: found, .. } = accepted.unwrap();
            assert_eq!((found, call.parameters["call_sid"].as_str()), (protocol, "C1"));
            let mut media = streams.open_media(call.leg.clone()).await.unwrap();
            assert_eq!((media.format.codec, media.format.rate_hz, media.marks), (codec, rate_hz, true));
            media.commands.send(MediaCommand::Mark(7)).await.unwrap();
            assert_eq!(peer.next().await.unwrap(), mark);
            peer.send(back).await;
            assert_eq!(media.events.next().await, Some(MediaEvent::Marked(7)));
            let unsupported = streams.transfer(call.leg.clone(), "+6281".parse().unwrap()).await.unwrap_err();
            assert_eq!(unsupported.kind(), ErrorKind::Unsupported);
            streams.hang_up(call.leg, HangupCause::NORMAL_CLEARING).await.unwrap();
            assert_eq!((peer.next().await, peer.closed), (None, Some(CloseCode::NORMAL)));
        });
    }
}

#[test]
fn exotel_is_sent_large_pieces_and_what_is_left_in_time() {
    run(|world| async move {
        let start = r#"{"event":"start","stream_sid":"S1","start":{"stream_sid":"S1"}}"#;
        let (streams, accepted, mut peer) = accept(&world, &[r#"{"event":"connected"}"#, start]).await;
        let media = streams.open_media(accepted.unwrap().call.leg).await.unwrap();
        for _ in 0..13 {
            media.commands.send(MediaCommand::Audio(Bytes::from(vec![7; 320]))).await.unwrap();
        }
        media.commands.send(MediaCommand::Mark(1)).await.unwrap();
        for (event, bytes) in [("media", 3_200), ("media", 960), ("mark", 0)] {
            let message: Value = serde_json::from_str(&peer.next().await.unwrap()).unwrap();
            let payload = message["media"]["payload"].as_str().unwrap_or_default();
            assert_eq!((message["event"].as_str(), STANDARD.decode(payload).unwrap().len()), (Some(event), bytes));
        }
    });
}

#[test]
fn both_ends_talk_and_either_hangs_up() {
    for agent_hangs_up in [true, false] {
        run(|world| async move {
            let (near, far) = pair(64);
            let caller = StreamCaller::voxcore(world.runtime(), OneSocket::new(near), "ws://fleet.example/ws/bot")
                .with_parameter("order", "42");
            let streams = MediaStreams::new(world.runtime());
            let (progress, accepted) = futures_util::join!(caller.dial(options()), streams.accept(far));
            let (mut progress, call) = (progress.unwrap(), accepted.unwrap().call);
            assert_eq!((call.from, call.to), (Some(options().from), Some(options().to)));
            assert_eq!(call.parameters["order"], "42");
            progress.events.next().await.unwrap();
            let mut theirs = caller.open_media(progress.leg.clone()).await.unwrap();
            let mut ours = streams.open_media(call.leg.clone()).await.unwrap();

            let voice = Bytes::from(vec![3; CHUNK_BYTES]);
            ours.commands.send(MediaCommand::Audio(voice.clone())).await.unwrap();
            theirs.commands.send(MediaCommand::Audio(voice.clone())).await.unwrap();
            caller.send_dtmf(progress.leg.clone(), vec!['9'.try_into().unwrap()]).await.unwrap();
            assert_eq!(ours.events.next().await, Some(MediaEvent::Dtmf('9'.try_into().unwrap())));
            assert_eq!(ours.events.next().await, Some(MediaEvent::Audio(voice.clone())));
            loop {
                let Some(MediaEvent::Audio(frame)) = theirs.events.next().await else { panic!("no audio") };
                if frame == voice {
                    break;
                }
            }

            if agent_hangs_up {
                streams.hang_up(call.leg, HangupCause::NORMAL_CLEARING).await.unwrap();
            } else {
                caller.hang_up(progress.leg, HangupCause::NORMAL_CLEARING).await.unwrap();
            }
            let other = if agent_hangs_up { &mut theirs } else { &mut ours };
            let ended = MediaEvent::Ended { cause: HangupCause::NORMAL_CLEARING };
            assert_eq!(rest(other).await.last(), Some(&ended));
            let before = world.now_ms();
            while world.running() > 0 {
                settle(&world).await;
            }
            assert!(world.now_ms() - before < 100, "nobody waits for a time-out");
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_the_dialler_says_the_call_ends_once(
        messages in prop::collection::vec(
            prop_oneof![
                prop::sample::select(&[CONNECTED, START, ANSWER, MEDIA, r#"{"event":"dtmf","digit":"5"}"#][..]).prop_map(str::to_owned),
                "\\PC{0,30}",
            ],
            0..12,
        ),
    ) {
        run(|world| async move {
            let mut stage = stage(&world).await;
            for message in &messages {
                stage.peer.send(message).await;
            }
            drop(stage.peer);
            let events = rest(&mut stage.media).await;
            let ends = events.iter().filter(|event| matches!(event, MediaEvent::Ended { .. })).count();
            assert_eq!(ends, 1);
            assert!(matches!(events.last(), Some(MediaEvent::Ended { .. })));
        });
    }
}
