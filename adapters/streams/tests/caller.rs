//! The caller's side as a carrier, against scripted applications in virtual time.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use offhook::ErrorKind;
use offhook::provider::Telephony;
use offhook::provider::telephony::{
    DialEvent, DialProgress, DtmfDigit, HangupCause, LegId, Media, MediaCommand, MediaEvent,
};
use offhook_streams::line::{self, Line};
use offhook_streams::twilio::message::{Event, Message};
use offhook_streams::twilio::writer::{AppWriter, CarrierWriter};
use offhook_streams::twilio::{APP_MESSAGE_BYTES_MAX, FRAME_BYTES, SILENCE};
use offhook_streams::{OPEN_LIMIT, Protocol, STALL_LIMIT, StreamCaller};
use proptest::prelude::*;
use support::{OneSocket, Wires, World, options, rest, run, wires};

const FRAME_MS: u64 = 20;

/// A caller on an open line, and the bare application that it called.
struct Stage {
    caller: StreamCaller,
    leg: LegId,
    media: Media,
    app: Wires,
    writer: AppWriter,
}

impl Stage {
    async fn new(world: &Arc<World>, messages_max: usize) -> Self {
        let (socket, mut app) = wires(messages_max);
        let caller = StreamCaller::twilio(world.runtime(), OneSocket::new(socket), "ws://agent.test/");
        let DialProgress { leg, events } = caller.dial(options()).await.unwrap();
        assert_eq!(events.collect::<Vec<_>>().await, [DialEvent::Answered]);
        app.next().await.unwrap();
        app.next().await.unwrap();
        let media = caller.open_media(leg.clone()).await.unwrap();
        let writer = AppWriter::new(leg.as_str());
        Self { caller, leg, media, app, writer }
    }

    /// What is heard in the next `frames` frames, silence left out.
    async fn hear(&mut self, frames: usize) -> Vec<u8> {
        support::hear(&mut self.media, frames).await
    }

    /// The next message to the application that is not audio.
    async fn next_but_media(&mut self) -> Option<String> {
        loop {
            let text = self.app.next().await?;
            if !text.starts_with(r#"{"event":"media""#) {
                return Some(text);
            }
        }
    }
}

#[test]
fn a_dialled_call_introduces_itself_as_twilio_does() {
    run(|world| async move {
        let (socket, mut app) = wires(64);
        let transport = OneSocket::new(socket);
        let caller = StreamCaller::twilio(world.runtime(), transport.clone(), "ws://agent.test/stream")
            .with_parameter("clinic", "north");
        let progress = caller.dial(options()).await.unwrap();
        assert_eq!(transport.requests.lock().unwrap()[0].url, "ws://agent.test/stream");
        assert_eq!(app.next().await.unwrap(), support::CONNECTED);
        let text = app.next().await.unwrap();
        let Event::Start(start) = Message::parse(&text, 4_096).unwrap().event else { panic!("{text}") };
        assert_eq!(start.stream_sid, progress.leg.as_str());
        assert!(start.stream_sid.starts_with("MZ") && start.stream_sid.len() == 34, "{}", start.stream_sid);
        assert!(start.call_sid.starts_with("CA") && start.call_sid.len() == 34, "{}", start.call_sid);
        assert_eq!(start.parameters["from"], "+14155550123");
        assert_eq!(start.parameters["to"], "+628123456789");
        assert_eq!(start.parameters["clinic"], "north");
        assert!(Protocol::Twilio.media_format(start.format.as_ref()).is_some());
    });
}

#[test]
fn a_server_that_cannot_be_reached_is_an_error() {
    run(|world| async move {
        let (socket, _app) = wires(64);
        let caller = StreamCaller::twilio(world.runtime(), OneSocket::new(socket), "ws://agent.test/");
        let _first = caller.dial(options()).await.unwrap();
        assert_eq!(caller.dial(options()).await.err().unwrap().kind(), ErrorKind::Unavailable);
    });
}

#[test]
fn a_dial_that_is_dropped_before_its_answer_is_abandoned() {
    run(|world| async move {
        let (socket, mut app) = wires(64);
        let caller = StreamCaller::twilio(world.runtime(), OneSocket::new(socket), "ws://agent.test/");
        let DialProgress { leg, events } = caller.dial(options()).await.unwrap();
        drop(events);
        app.next().await.unwrap();
        app.next().await.unwrap();
        assert!(app.next().await.unwrap().starts_with(r#"{"event":"stop""#));
        assert_eq!(app.next().await, None);
        assert_eq!(caller.open_media(leg).await.err().unwrap().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_frame_is_spoken_and_heard_every_20_ms_for_ever_and_without_drift() {
    run(|world| async move {
        let mut stage = Stage::new(&world, 64).await;
        let start = world.now_ms();
        stage.media.commands.send(MediaCommand::Audio(Bytes::from(vec![7; 400]))).await.unwrap();
        let mut spoken = Vec::new();
        for frame in 1..=500 {
            let text = stage.app.next().await.unwrap();
            assert_eq!(world.now_ms() - start, frame * FRAME_MS);
            let Event::Media(media) = Message::parse(&text, 4_096).unwrap().event else { panic!("{text}") };
            let audio = media.decode(&mut bytes::BytesMut::new()).unwrap();
            assert_eq!(audio.len(), FRAME_BYTES);
            spoken.extend_from_slice(&audio);
            assert!(matches!(stage.media.events.next().await, Some(MediaEvent::Audio(_))));
            if frame == 250 {
                // A turn that does not keep step with the frames leaves their times as they are.
                world.sleep(Duration::from_millis(7)).await;
            }
        }
        assert_eq!(spoken[..400], [7; 400]);
        assert!(spoken[400..].iter().all(|byte| *byte == SILENCE));
    });
}

#[test]
fn audio_that_comes_faster_than_real_time_is_heard_in_real_time_and_then_its_mark_returned() {
    run(|world| async move {
        let mut stage = Stage::new(&world, 64).await;
        let start = world.now_ms();
        stage.app.send(&stage.writer.media(&[7; 8_000])).await;
        stage.app.send(&stage.writer.mark("over")).await;
        assert_eq!(stage.hear(49).await, [7; 49 * FRAME_BYTES]);
        assert_eq!(world.now_ms() - start, 49 * FRAME_MS);
        let mark = stage.next_but_media().await.unwrap();
        assert!(mark.contains(r#""mark":{"name":"over"}"#), "{mark}");
        assert_eq!(world.now_ms() - start, 51 * FRAME_MS, "a frame begins at its time and is over 20 ms later");
        assert_eq!(stage.hear(2).await, [7; FRAME_BYTES]);
    });
}

#[test]
fn after_a_clear_nothing_more_is_heard_and_the_marks_return_at_once() {
    run(|world| async move {
        let mut stage = Stage::new(&world, 4_096).await;
        stage.app.send(&stage.writer.media(&[7; 80_000])).await;
        stage.app.send(&stage.writer.mark("one")).await;
        stage.app.send(&stage.writer.mark("two")).await;
        assert_eq!(stage.hear(3).await, [7; 3 * FRAME_BYTES]);
        let before = world.now_ms();
        stage.app.send(&stage.writer.clear()).await;
        assert!(stage.next_but_media().await.unwrap().contains(r#""name":"one""#));
        assert!(stage.next_but_media().await.unwrap().contains(r#""name":"two""#));
        assert_eq!(world.now_ms(), before);
        assert_eq!(stage.hear(600).await, [0_u8; 0]);
        stage.app.send(&stage.writer.media(&[8; 10])).await;
        assert_eq!(stage.hear(2).await, [8; 10]);
    });
}

#[test]
fn the_callers_own_marks_and_clears_work() {
    run(|world| async move {
        let mut stage = Stage::new(&world, 64).await;
        for command in [
            MediaCommand::Audio(Bytes::from(vec![7; FRAME_BYTES])),
            MediaCommand::Mark(1),
            MediaCommand::Audio(Bytes::from(vec![7; 80_000])),
            MediaCommand::Mark(2),
        ] {
            stage.media.commands.send(command).await.unwrap();
        }
        stage.hear(1).await;
        assert_eq!(stage.media.events.next().await, Some(MediaEvent::Marked(1)));
        stage.hear(1).await;
        stage.media.commands.send(MediaCommand::Clear).await.unwrap();
        assert_eq!(stage.media.events.next().await, Some(MediaEvent::Marked(2)));
    });
}

#[test]
fn keys_are_pressed_on_an_open_line_only() {
    run(|world| async move {
        let (socket, mut app) = wires(64);
        let caller = StreamCaller::twilio(world.runtime(), OneSocket::new(socket), "ws://agent.test/");
        let DialProgress { leg, events } = caller.dial(options()).await.unwrap();
        let _: Vec<_> = events.collect().await;
        let keys: Vec<DtmfDigit> = "1#".chars().map(|key| key.try_into().unwrap()).collect();
        assert_eq!(caller.send_dtmf(leg.clone(), keys.clone()).await.unwrap_err().kind(), ErrorKind::Conflict);
        let _media = caller.open_media(leg.clone()).await.unwrap();
        caller.send_dtmf(leg, keys).await.unwrap();
        app.next().await.unwrap();
        app.next().await.unwrap();
        assert!(app.next().await.unwrap().contains(r#""dtmf":{"track":"inbound_track","digit":"1"}"#));
        assert!(app.next().await.unwrap().contains(r##""dtmf":{"track":"inbound_track","digit":"#"}"##));
    });
}

#[test]
fn hanging_up_says_stop_and_closes() {
    run(|world| async move {
        let mut stage = Stage::new(&world, 64).await;
        stage.caller.hang_up(stage.leg.clone(), HangupCause::NORMAL_CLEARING).await.unwrap();
        assert!(stage.next_but_media().await.unwrap().starts_with(r#"{"event":"stop""#));
        assert_eq!(stage.app.next().await, None);
        assert_eq!(rest(&mut stage.media).await, []);
    });
}

#[test]
fn an_application_hangs_up_by_closing_and_ends_the_call_by_garbage() {
    run(|world| async move {
        let mut stage = Stage::new(&world, 64).await;
        drop(stage.app);
        assert_eq!(rest(&mut stage.media).await, [MediaEvent::Ended { cause: HangupCause::NORMAL_CLEARING }]);
        assert_eq!(stage.caller.answer(stage.leg).await.unwrap_err().kind(), ErrorKind::NotFound);
    });
    run(|world| async move {
        let mut stage = Stage::new(&world, 64).await;
        stage.app.send("garbage").await;
        assert_eq!(rest(&mut stage.media).await, [MediaEvent::Ended { cause: HangupCause::INVALID_MESSAGE }]);
    });
}

#[test]
fn an_application_that_does_not_read_ends_the_call() {
    run(|world| async move {
        let mut stage = Stage::new(&world, 2).await;
        let start = world.now_ms();
        let last = rest(&mut stage.media).await.pop();
        assert_eq!(last, Some(MediaEvent::Ended { cause: HangupCause::NETWORK_OUT_OF_ORDER }));
        let stalled_ms = world.now_ms() - start - 3 * FRAME_MS;
        assert_eq!(Duration::from_millis(stalled_ms), STALL_LIMIT);
        drop(stage.app);
    });
}

#[test]
fn a_socket_that_takes_no_more_ends_the_call_even_if_it_never_says_so() {
    run(|world| async move {
        let mut stage = Stage::new(&world, 64).await;
        let Wires { incoming, outgoing, .. } = stage.app;
        drop(incoming);
        let last = rest(&mut stage.media).await.pop();
        assert_eq!(last, Some(MediaEvent::Ended { cause: HangupCause::NETWORK_OUT_OF_ORDER }));
        drop(outgoing);
    });
}

#[test]
fn a_listener_who_does_not_listen_misses_audio_and_the_line_goes_on() {
    run(|world| async move {
        let mut stage = Stage::new(&world, 4_096).await;
        world.sleep(Duration::from_millis(60_001)).await;
        stage.caller.hang_up(stage.leg.clone(), HangupCause::NORMAL_CLEARING).await.unwrap();
        assert_eq!(rest(&mut stage.media).await.len(), 192);
        let mut spoken = 0;
        while let Some(text) = stage.app.next().await {
            spoken += usize::from(text.starts_with(r#"{"event":"media""#));
        }
        assert_eq!(spoken, 3_000);
    });
}

#[test]
fn a_line_that_is_never_opened_is_hung_up() {
    run(|world| async move {
        let (socket, mut app) = wires(64);
        let caller = StreamCaller::twilio(world.runtime(), OneSocket::new(socket), "ws://agent.test/");
        let DialProgress { leg: _leg, events } = caller.dial(options()).await.unwrap();
        let _: Vec<_> = events.collect().await;
        app.next().await.unwrap();
        app.next().await.unwrap();
        assert!(app.next().await.unwrap().starts_with(r#"{"event":"stop""#));
        assert_eq!(Duration::from_millis(world.now_ms()), OPEN_LIMIT);
        assert_eq!(app.next().await, None);
    });
}

#[test]
fn a_line_whose_clock_was_read_late_catches_up_within_limits() {
    let start = offhook::time::Instant::from_micros(1_000_003);
    let mut open = Line::twilio(start, "MZ1", CarrierWriter::new("AC1", "CA1", "MZ1"));
    let frames = |open: &mut Line| {
        let all: Vec<line::Output> = std::iter::from_fn(|| open.poll_output()).collect();
        all.iter().filter(|output| matches!(output, line::Output::Event(_))).count() as u64
    };
    open.handle_timeout(start + Duration::from_millis(19));
    assert_eq!(frames(&mut open), 0);
    open.handle_timeout(start + Duration::from_millis(110));
    assert_eq!(frames(&mut open), 5);
    assert_eq!(open.poll_timeout(), Some(start + Duration::from_millis(120)));
    open.handle_timeout(start + Duration::from_secs(3_600));
    assert_eq!(frames(&mut open), line::CATCH_UP_FRAMES_MAX);
    assert_eq!(open.poll_timeout(), Some(start + Duration::from_millis(3_600_020)));
}

proptest! {
    #[test]
    fn whatever_the_application_says_the_line_ends_once_and_stays_in_step(
        script in prop::collection::vec(
            prop_oneof![
                4 => prop::collection::vec(any::<u8>(), 0..600).prop_map(|audio| AppWriter::new("MZ1").media(&audio)),
                2 => "[a-z\"]{0,4}".prop_map(|name| AppWriter::new("MZ1").mark(&name)),
                1 => Just(AppWriter::new("MZ1").clear()),
                1 => Just(AppWriter::new("MZ2").clear()),
                1 => "\\PC{0,30}",
            ],
            0..40,
        ),
        waits_ms in prop::collection::vec(0_u64..100, 40),
    ) {
        let start = offhook::time::Instant::from_micros(0);
        let mut now = start;
        let mut open = Line::twilio(start, "MZ1", CarrierWriter::new("AC1", "CA1", "MZ1"));
        let (mut frames, mut ends) = (0, 0);
        for (text, wait_ms) in script.iter().zip(waits_ms) {
            open.handle_message(text);
            now = now + Duration::from_millis(wait_ms);
            open.handle_timeout(now);
            while let Some(output) = open.poll_output() {
                prop_assert_eq!(ends, 0, "nothing comes after the end");
                match output {
                    line::Output::Ended(_) => ends += 1,
                    line::Output::Event(_) => frames += 1,
                    line::Output::Send(text) => {
                        prop_assert!(Message::parse(&text, APP_MESSAGE_BYTES_MAX).is_ok());
                    }
                    _ => {}
                }
            }
            if ends == 0 {
                prop_assert_eq!(frames, now.as_micros() / 20_000);
            }
        }
        open.handle_close(true);
        ends += std::iter::from_fn(|| open.poll_output()).filter(|output| matches!(output, line::Output::Ended(_))).count();
        prop_assert_eq!(ends, 1);
    }
}
