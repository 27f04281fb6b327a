//! Calls over real WebSockets on loopback.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use offhook::provider::SocketTransport;
use offhook::provider::Telephony;
use offhook::provider::telephony::{
    DialOptions, DialProgress, HangupCause, IncomingCall, LegId, Media, MediaCommand, MediaEvent,
};
use offhook::provider::transport::{Socket, SocketMessage, SocketRequest};
use offhook::runtime::Runtime;
use offhook_streams::twilio::{FRAME_BYTES, SILENCE};
use offhook_streams::{MediaStreams, StreamCaller};
use offhook_tokio::{SocketListener, Tls, TokioRuntime, TungsteniteTransport};

/// A server on loopback, and what a client needs.
struct Stage {
    listener: SocketListener,
    runtime: Arc<dyn Runtime>,
    streams: MediaStreams,
    transport: Arc<dyn SocketTransport>,
    url: String,
}

impl Stage {
    async fn new() -> Self {
        let listener = SocketListener::bind("127.0.0.1:0").await.unwrap();
        let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime::current().unwrap());
        Self {
            url: format!("ws://{}/streams/twilio", listener.local_addr()),
            listener,
            streams: MediaStreams::new(Arc::clone(&runtime)),
            runtime,
            transport: Arc::new(TungsteniteTransport::new(&Tls::public().unwrap())),
        }
    }

    async fn accept(&self) -> offhook::Result<IncomingCall> {
        Ok(self.streams.accept(self.listener.accept().await.unwrap().socket).await?.call)
    }

    /// A call with both its media.
    async fn call(&self) -> (StreamCaller, Media, Media, LegId) {
        let caller = StreamCaller::twilio(Arc::clone(&self.runtime), Arc::clone(&self.transport), self.url.as_str());
        let options = DialOptions::new(
            "+14155550123".parse().unwrap(),
            "+628123456789".parse().unwrap(),
            Duration::from_secs(30),
        );
        let (progress, incoming) = tokio::join!(caller.dial(options.clone()), self.accept());
        let DialProgress { leg, mut events } = progress.unwrap();
        let incoming = incoming.unwrap();
        assert_eq!((&incoming.leg, incoming.from, incoming.to), (&leg, Some(options.from), Some(options.to)));
        events.next().await.unwrap();
        let caller_media = caller.open_media(leg.clone()).await.unwrap();
        let agent_media = self.streams.open_media(leg.clone()).await.unwrap();
        (caller, caller_media, agent_media, leg)
    }

    /// A bare socket to the server, with `messages` sent.
    async fn connect(&self, messages: &[&str]) -> Socket {
        let request = SocketRequest::new(self.url.as_str(), Duration::from_secs(10));
        let socket = self.transport.connect(request).await.unwrap();
        for message in messages {
            socket.outgoing.send(SocketMessage::Text((*message).to_owned())).await.unwrap();
        }
        socket
    }
}

const CONNECTED: &str = r#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#;
const START: &str = r#"{"event":"start","streamSid":"MZ1","start":{"streamSid":"MZ1","callSid":"CA1"}}"#;

/// The next event that is not silence.
async fn next(media: &mut Media) -> Option<MediaEvent> {
    loop {
        match media.events.next().await {
            Some(MediaEvent::Audio(audio)) if audio.iter().all(|byte| *byte == SILENCE) => {}
            other => return other,
        }
    }
}

/// Every sample that is not silence, until the media says something else.
async fn listen(media: &mut Media) -> (Vec<u8>, Option<MediaEvent>) {
    let mut heard = Vec::new();
    loop {
        match next(media).await {
            Some(MediaEvent::Audio(audio)) => heard.extend(audio.into_iter().filter(|byte| *byte != SILENCE)),
            other => return (heard, other),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_carries_both_voices_a_mark_an_interruption_and_keys() {
    let stage = Stage::new().await;
    let (caller, mut caller_media, mut agent_media, leg) = stage.call().await;
    assert_eq!(agent_media.format, caller_media.format);

    let voice: Vec<u8> = (0..2_000).map(|index| (index % 251) as u8).collect();
    for piece in voice.chunks(77) {
        caller_media.commands.send(MediaCommand::Audio(Bytes::copy_from_slice(piece))).await.unwrap();
    }
    caller_media.commands.send(MediaCommand::Mark(1)).await.unwrap();
    assert_eq!(listen(&mut caller_media).await, (vec![], Some(MediaEvent::Marked(1))));
    caller.send_dtmf(leg.clone(), vec!['#'.try_into().unwrap()]).await.unwrap();
    assert_eq!(listen(&mut agent_media).await, (voice, Some(MediaEvent::Dtmf('#'.try_into().unwrap()))));

    agent_media.commands.send(MediaCommand::Audio(Bytes::from(vec![7; 80_000]))).await.unwrap();
    agent_media.commands.send(MediaCommand::Mark(2)).await.unwrap();
    assert_eq!(next(&mut caller_media).await, Some(MediaEvent::Audio(Bytes::from(vec![7; FRAME_BYTES]))));
    agent_media.commands.send(MediaCommand::Clear).await.unwrap();
    assert_eq!(listen(&mut agent_media).await, (vec![], Some(MediaEvent::Marked(2))));

    caller.hang_up(leg, HangupCause::NORMAL_CLEARING).await.unwrap();
    assert_eq!(next(&mut agent_media).await, Some(MediaEvent::Ended { cause: HangupCause::NORMAL_CLEARING }));
    assert_eq!(next(&mut agent_media).await, None);
    let (heard, end) = listen(&mut caller_media).await;
    assert_eq!(end, None);
    assert!(heard.len() < 80_000 - FRAME_BYTES, "cleared audio is not heard");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_hangs_up_by_closing_the_socket() {
    let stage = Stage::new().await;
    let (_caller, mut caller_media, mut agent_media, leg) = stage.call().await;
    stage.streams.hang_up(leg, HangupCause::NORMAL_CLEARING).await.unwrap();
    assert_eq!(next(&mut caller_media).await, Some(MediaEvent::Ended { cause: HangupCause::NORMAL_CLEARING }));
    assert_eq!(next(&mut agent_media).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_call_ends_with_its_cause_and_the_next_call_works() {
    let stage = Stage::new().await;

    let (_socket, refused) =
        tokio::join!(stage.connect(&[CONNECTED, r#"{"event":"stop","streamSid":"MZ1"}"#]), stage.accept());
    assert!(refused.unwrap_err().to_string().contains("protocol_error"));

    for (message, cause) in [
        (Some("garbage"), HangupCause::INVALID_MESSAGE),
        (Some(START), HangupCause::PROTOCOL_ERROR),
        (None, HangupCause::NETWORK_OUT_OF_ORDER),
    ] {
        let (socket, call) = tokio::join!(stage.connect(&[CONNECTED, START]), stage.accept());
        let mut media = stage.streams.open_media(call.unwrap().leg).await.unwrap();
        let mut open = message.map(|_| socket);
        if let (Some(socket), Some(text)) = (&open, message) {
            socket.outgoing.send(SocketMessage::Text(text.to_owned())).await.unwrap();
        }
        assert_eq!(next(&mut media).await, Some(MediaEvent::Ended { cause }));
        assert_eq!(next(&mut media).await, None);
        if let Some(socket) = &mut open {
            assert!(!matches!(socket.incoming.next().await, Some(Ok(_))), "the socket is closed");
        }
    }

    let (_caller, _caller_media, mut agent_media, _leg) = stage.call().await;
    assert!(matches!(agent_media.events.next().await, Some(MediaEvent::Audio(_))));
}
