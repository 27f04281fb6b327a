//! Calls between both sides, in virtual time.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use offhook::provider::Telephony;
use offhook::provider::telephony::{DialProgress, HangupCause, LegId, Media, MediaCommand, MediaEvent};
use offhook_streams::twilio::{FRAME_BYTES, SILENCE};
use offhook_streams::{MediaStreams, StreamCaller};
use support::{OneSocket, World, hear, options, pair, rest, run, settle};

/// Both sides on one socket.
async fn call(world: &Arc<World>) -> (StreamCaller, Media, MediaStreams, Media, LegId) {
    let (near, far) = pair(64);
    let caller = StreamCaller::twilio(world.runtime(), OneSocket::new(near), "ws://agent.test/");
    let streams = MediaStreams::new(world.runtime());
    let DialProgress { leg, events } = caller.dial(options()).await.unwrap();
    let incoming = streams.accept(far).await.unwrap().call;
    assert_eq!((&incoming.leg, incoming.from, incoming.to), (&leg, Some(options().from), Some(options().to)));
    let _: Vec<_> = events.collect().await;
    let caller_media = caller.open_media(leg.clone()).await.unwrap();
    let agent_media = streams.open_media(leg.clone()).await.unwrap();
    (caller, caller_media, streams, agent_media, leg)
}

#[test]
fn an_agent_is_interrupted() {
    run(|world| async move {
        let (caller, mut caller_media, _streams, mut agent_media, leg) = call(&world).await;
        for (number, sentence) in [[7; 1_600], [8; 1_600], [9; 1_600]].into_iter().enumerate() {
            agent_media.commands.send(MediaCommand::Audio(Bytes::copy_from_slice(&sentence))).await.unwrap();
            agent_media.commands.send(MediaCommand::Mark(number as u64)).await.unwrap();
        }
        let agent = async {
            let (mut marks, mut heard) = (Vec::new(), Vec::new());
            let mut interrupted = false;
            while let Some(event) = agent_media.events.next().await {
                match event {
                    MediaEvent::Audio(frame) => heard.extend(frame.into_iter().filter(|byte| *byte != SILENCE)),
                    MediaEvent::Marked(number) => marks.push((number, interrupted)),
                    MediaEvent::Ended { cause } => assert_eq!(cause, HangupCause::NORMAL_CLEARING),
                    other => panic!("{other:?}"),
                }
                if !heard.is_empty() && !interrupted {
                    interrupted = true;
                    agent_media.commands.send(MediaCommand::Clear).await.unwrap();
                }
            }
            (marks, heard)
        };
        let human = async {
            let before = hear(&mut caller_media, 13).await;
            caller_media.commands.send(MediaCommand::Audio(Bytes::from(vec![1; 200]))).await.unwrap();
            let after = hear(&mut caller_media, 100).await;
            caller.hang_up(leg, HangupCause::NORMAL_CLEARING).await.unwrap();
            (before, after)
        };
        let ((marks, said), (before, after)) = futures_util::join!(agent, human);
        assert_eq!(before, [&[7; 1_600][..], &[8; 3 * FRAME_BYTES]].concat(), "13 frames: one sentence and a bit");
        assert_eq!(after, [8; FRAME_BYTES], "the frame under which the caller's voice arrived, and nothing after it");
        assert_eq!(said, [1; 200]);
        assert_eq!(marks, [(0, false), (1, true), (2, true)]);
    });
}

#[test]
fn an_agent_hangs_up() {
    run(|world| async move {
        let (_caller, mut caller_media, streams, mut agent_media, leg) = call(&world).await;
        hear(&mut caller_media, 5).await;
        streams.hang_up(leg, HangupCause::NORMAL_CLEARING).await.unwrap();
        assert_eq!(
            rest(&mut caller_media).await.pop(),
            Some(MediaEvent::Ended { cause: HangupCause::NORMAL_CLEARING })
        );
        assert!(rest(&mut agent_media).await.iter().all(|event| matches!(event, MediaEvent::Audio(_))));
        settle(&world).await;
        assert_eq!(world.running(), 0);
    });
}
