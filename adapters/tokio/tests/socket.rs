//! WebSockets in both roles, against each other and against a bare tungstenite or TCP peer.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod support;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use offhook::provider::SocketTransport;
use offhook::provider::transport::{Socket, SocketMessage, SocketRequest};
use offhook::{Error, ErrorKind, Retry};
use offhook_tokio::{SocketListener, Tls, TungsteniteTransport, limits};
use support::{Authority, answer, hold, nobody, serve};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const PATIENT: Duration = Duration::from_secs(20);
const HASTY: Duration = Duration::from_millis(200);

fn transport() -> TungsteniteTransport {
    TungsteniteTransport::new(&Tls::public().unwrap())
}

async fn connect(url: String) -> Socket {
    transport().connect(SocketRequest::new(url, PATIENT)).await.unwrap()
}

async fn failure(request: SocketRequest) -> Error {
    let Err(error) = transport().connect(request).await else { panic!("the handshake went through") };
    error
}

async fn listen() -> (SocketListener, String) {
    let listener = SocketListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr());
    (listener, url)
}

async fn bare_client(url: &str) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
    tokio_tungstenite::connect_async(url).await.unwrap().0
}

fn text(text: &str) -> SocketMessage {
    SocketMessage::Text(text.to_owned())
}

/// The socket's end must be this failure and then nothing.
async fn ends_with(socket: &mut Socket, kind: ErrorKind) -> Error {
    let error = socket.incoming.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(socket.incoming.next().await.is_none());
    error
}

#[tokio::test]
async fn a_close_with_a_reason_comes_after_what_was_sent_before_it() {
    let (listener, url) = listen().await;
    let mut client = bare_client(&url).await;
    let server = listener.accept().await.unwrap().socket;
    let reason = offhook::provider::transport::CloseCode::TRY_AGAIN;
    for message in [text("last"), SocketMessage::Close(reason), text("never")] {
        server.outgoing.send(message).await.unwrap();
    }
    assert_eq!(client.next().await.unwrap().unwrap(), Message::text("last"));
    let Some(Ok(Message::Close(Some(frame)))) = client.next().await else { panic!("no close") };
    assert_eq!(u16::from(frame.code), reason.value());
}

#[tokio::test]
async fn both_roles_carry_text_and_binary_in_order() {
    let (listener, url) = listen().await;
    let mut request = SocketRequest::new(format!("{url}/media/7?token=t&x=1"), PATIENT);
    request.headers.push(("x-call".to_owned(), "7".to_owned()));
    let client = transport().connect(request).await.unwrap();
    let mut server = listener.accept().await.unwrap();
    assert_eq!((server.path.as_str(), server.query.as_str()), ("/media/7", "token=t&x=1"));
    assert!(server.headers.contains(&("x-call".to_owned(), "7".to_owned())), "{:?}", server.headers);

    let echo = tokio::spawn(async move {
        while let Some(message) = server.socket.incoming.next().await {
            server.socket.outgoing.send(message.unwrap()).await.unwrap();
        }
    });
    let said: Vec<_> = (0..500)
        .map(|n| if n % 2 == 0 { text(&n.to_string()) } else { SocketMessage::Binary(vec![n as u8; n].into()) })
        .collect();
    let Socket { incoming, outgoing } = client;
    let saying = said.clone();
    let speaker = tokio::spawn(async move {
        for message in saying {
            outgoing.send(message).await.unwrap();
        }
        outgoing
    });
    let heard: Vec<_> = incoming.take(said.len()).map(Result::unwrap).collect().await;
    assert_eq!(heard, said);
    drop(speaker.await.unwrap());
    echo.await.unwrap();
}

#[tokio::test]
async fn closing_says_goodbye_after_the_last_message_and_ends() {
    let (listener, url) = listen().await;
    let mut client = bare_client(&url).await;
    let mut server = listener.accept().await.unwrap().socket;
    server.outgoing.send(text("bye")).await.unwrap();
    server.outgoing.close();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::text("bye"));
    let Message::Close(Some(frame)) = client.next().await.unwrap().unwrap() else { panic!("no close frame") };
    assert_eq!(frame.code, CloseCode::Normal);
    assert!(client.next().await.is_none());
    assert!(server.incoming.next().await.is_none());
}

#[tokio::test]
async fn peer_that_never_answers_the_goodbye_is_left() {
    let addr = serve(|stream| async move {
        let socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        std::future::pending::<()>().await;
        drop(socket);
    })
    .await;
    let mut client = connect(format!("ws://{addr}/")).await;
    client.outgoing.close();
    tokio::time::pause();
    assert!(client.incoming.next().await.is_none());
}

#[tokio::test]
async fn end_by_the_peer_ends_both_directions() {
    let (listener, url) = listen().await;
    let mut client = bare_client(&url).await;
    let mut server = listener.accept().await.unwrap().socket;
    client.send(Message::text("last")).await.unwrap();
    client.close(None).await.unwrap();
    assert_eq!(server.incoming.next().await.unwrap().unwrap(), text("last"));
    assert!(server.incoming.next().await.is_none());
    while server.outgoing.send(text("too late")).await.is_ok() {}
    // The closing handshake is complete from the peer's side too.
    while let Some(message) = client.next().await {
        assert!(matches!(message.unwrap(), Message::Close(_)));
    }
}

#[tokio::test]
async fn reasons_of_the_peer_become_kinds() {
    for (code, kind) in [
        (1011, ErrorKind::Unavailable),
        (1013, ErrorKind::Unavailable),
        (1008, ErrorKind::Rejected),
        (4001, ErrorKind::Rejected),
    ] {
        let (listener, url) = listen().await;
        let mut client = bare_client(&url).await;
        let mut server = listener.accept().await.unwrap().socket;
        let frame = CloseFrame { code: CloseCode::from(code), reason: "the key s3cret is wrong".into() };
        client.close(Some(frame)).await.unwrap();
        let error = ends_with(&mut server, kind).await;
        assert_eq!(error.context(), [("close_code", code.to_string())]);
        assert!(!format!("{error:?}").contains("s3cret"));
    }
}

#[tokio::test]
async fn vanished_peer_is_an_error_after_what_it_said() {
    let (listener, url) = listen().await;
    let mut client = bare_client(&url).await;
    let mut server = listener.accept().await.unwrap().socket;
    client.send(Message::text("help")).await.unwrap();
    drop(client);
    assert_eq!(server.incoming.next().await.unwrap().unwrap(), text("help"));
    ends_with(&mut server, ErrorKind::Unavailable).await;
}

#[tokio::test]
async fn pings_are_answered_while_nobody_reads() {
    let (listener, url) = listen().await;
    let mut client = bare_client(&url).await;
    let server = listener.accept().await.unwrap().socket;
    client.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"there?")));
    drop(server.incoming);
    client.send(Message::text("for nobody")).await.unwrap();
    client.send(Message::Ping(Bytes::from_static(b"still?"))).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"still?")));
}

#[tokio::test]
async fn messages_that_are_too_long_are_refused() {
    let (listener, url) = listen().await;
    let mut client = bare_client(&url).await;
    let mut server = listener.accept().await.unwrap().socket;
    client.send(Message::binary(vec![0; limits::SERVER_MESSAGE_BYTES_MAX])).await.unwrap();
    assert!(server.incoming.next().await.unwrap().is_ok());
    client.send(Message::binary(vec![0; limits::SERVER_MESSAGE_BYTES_MAX + 1])).await.unwrap();
    ends_with(&mut server, ErrorKind::Rejected).await;
    let Message::Close(Some(frame)) = client.next().await.unwrap().unwrap() else { panic!("no close frame") };
    assert_eq!(frame.code, CloseCode::Size);
}

#[tokio::test]
async fn garbage_instead_of_frames_ends_the_socket_only() {
    use tokio::io::AsyncWriteExt;

    let (listener, url) = listen().await;
    let reserved_bits = &[0xff; 32][..];
    let unmasked = &[0x81, 0x02, b'h', b'i'][..];
    let not_utf8 = &[0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28][..];
    let half_a_frame = &[0x81, 0x82, 0, 0, 0, 0, b'h'][..];
    for (garbage, kind) in [
        (reserved_bits, ErrorKind::Rejected),
        (unmasked, ErrorKind::Rejected),
        (not_utf8, ErrorKind::Rejected),
        (half_a_frame, ErrorKind::Unavailable),
    ] {
        let mut client = bare_client(&url).await;
        let mut server = listener.accept().await.unwrap().socket;
        let MaybeTlsStream::Plain(tcp) = client.get_mut() else { panic!("not plain") };
        tcp.write_all(garbage).await.unwrap();
        tcp.shutdown().await.unwrap();
        ends_with(&mut server, kind).await;
    }
    let client = connect(url).await;
    client.outgoing.send(text("next call")).await.unwrap();
    let mut server = listener.accept().await.unwrap().socket;
    assert_eq!(server.incoming.next().await.unwrap().unwrap(), text("next call"));
}

#[tokio::test]
async fn peer_that_does_not_read_is_given_up() {
    let addr = serve(|stream| async move {
        let socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        std::future::pending::<()>().await;
        drop(socket);
    })
    .await;
    let mut client = transport().connect(SocketRequest::new(format!("ws://{addr}/"), HASTY)).await.unwrap();
    let flood = SocketMessage::Binary(vec![0; 256 * 1024].into());
    while client.outgoing.send(flood.clone()).await.is_ok() {}
    let error = ends_with(&mut client, ErrorKind::TimedOut).await;
    assert_eq!(error.operation(), "socket.write");
}

#[tokio::test]
async fn peer_that_stays_silent_even_to_pings_is_given_up() {
    let addr = serve(|stream| async move {
        let socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        std::future::pending::<()>().await;
        drop(socket);
    })
    .await;
    let mut client = connect(format!("ws://{addr}/")).await;
    tokio::time::pause();
    let error = ends_with(&mut client, ErrorKind::TimedOut).await;
    assert_eq!(error.operation(), "socket.read");
}

#[tokio::test]
async fn consumer_that_does_not_read_slows_the_peer_and_loses_nothing() {
    let (listener, url) = listen().await;
    let client = connect(url).await;
    let server = listener.accept().await.unwrap().socket;
    let many = 20 * limits::INCOMING_MAX;
    let speaker = tokio::spawn(async move {
        for n in 0..many {
            client.outgoing.send(text(&n.to_string())).await.unwrap();
        }
        client
    });
    tokio::task::yield_now().await;
    let heard: Vec<_> = server.incoming.take(many).map(Result::unwrap).collect().await;
    let said: Vec<_> = (0..many).map(|n| text(&n.to_string())).collect();
    assert_eq!(heard, said);
    speaker.await.unwrap();
}

#[tokio::test]
async fn clients_that_stall_in_the_handshake_hold_up_nobody() {
    let (listener, url) = listen().await;
    let mut stalled = Vec::new();
    for _ in 0..limits::HANDSHAKES_MAX / 2 {
        stalled.push(TcpStream::connect(listener.local_addr()).await.unwrap());
    }
    let client = connect(url).await;
    client.outgoing.send(text("hello")).await.unwrap();
    let mut server = listener.accept().await.unwrap().socket;
    assert_eq!(server.incoming.next().await.unwrap().unwrap(), text("hello"));
}

#[tokio::test]
async fn stalled_handshakes_are_cut_off() {
    use tokio::io::AsyncReadExt;

    let (listener, _) = listen().await;
    let mut stalled = TcpStream::connect(listener.local_addr()).await.unwrap();
    tokio::time::pause();
    assert_eq!(stalled.read(&mut [0; 64]).await.unwrap(), 0);
}

#[tokio::test]
async fn dropping_the_listener_frees_the_port_and_spares_the_sockets() {
    let (listener, url) = listen().await;
    let client = connect(url).await;
    let mut server = listener.accept().await.unwrap().socket;
    let addr = listener.local_addr();
    let Err(taken) = SocketListener::bind(addr).await else { panic!("bound twice") };
    assert_eq!(taken.kind(), ErrorKind::Conflict);
    drop(listener);
    while SocketListener::bind(addr).await.is_err() {
        tokio::task::yield_now().await;
    }
    client.outgoing.send(text("still here")).await.unwrap();
    assert_eq!(server.incoming.next().await.unwrap().unwrap(), text("still here"));
}

#[tokio::test]
async fn handshakes_fail_by_kind() {
    let refused = failure(SocketRequest::new(format!("ws://{}/?key=s3cret", nobody().await), PATIENT)).await;
    assert_eq!((refused.kind(), refused.retry()), (ErrorKind::Unavailable, Retry::Later));
    assert!(!format!("{refused:?}").contains("s3cret"), "{refused:?}");

    let silent = serve(hold).await;
    let late = failure(SocketRequest::new(format!("ws://{silent}/"), HASTY)).await;
    assert_eq!(late.kind(), ErrorKind::TimedOut);

    for (status, kind) in [
        (401, ErrorKind::Unauthenticated),
        (403, ErrorKind::PermissionDenied),
        (404, ErrorKind::NotFound),
        (429, ErrorKind::RateLimited),
        (503, ErrorKind::Unavailable),
        (200, ErrorKind::Rejected),
    ] {
        let addr = serve(move |stream| async move {
            answer(stream, &format!("HTTP/1.1 {status} X\r\nx-echo: s3cret\r\ncontent-length: 0\r\n\r\n")).await;
        })
        .await;
        let error = failure(SocketRequest::new(format!("ws://{addr}/"), PATIENT)).await;
        assert_eq!(error.kind(), kind, "{status}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
}

#[tokio::test]
async fn sockets_that_cannot_be_asked_for_are_not_tried() {
    for url in ["", "/relative", "http://localhost:1/", "ws://", "ws://:80/", "ws://a b/"] {
        assert_eq!(failure(SocketRequest::new(url, PATIENT)).await.kind(), ErrorKind::ConfigInvalid, "{url}");
    }
    let mut request = SocketRequest::new("ws://localhost:1/", PATIENT);
    request.headers.push(("x-bad".to_owned(), "a\r\nb".to_owned()));
    assert_eq!(failure(request).await.kind(), ErrorKind::ConfigInvalid);
}

#[tokio::test]
async fn only_a_trusted_peer_is_spoken_to() {
    let authority = Authority::new();
    let acceptor = authority.acceptor.clone();
    let addr = serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            // The client that does not trust hangs up here.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            socket.send(Message::text("secret")).await.unwrap();
            socket.close(None).await.unwrap();
            while socket.next().await.is_some() {}
        }
    })
    .await;
    let request = SocketRequest::new(format!("wss://localhost:{}/", addr.port()), PATIENT);
    let mut socket = TungsteniteTransport::new(&authority.trusting).connect(request.clone()).await.unwrap();
    assert_eq!(socket.incoming.next().await.unwrap().unwrap(), text("secret"));
    assert!(socket.incoming.next().await.is_none());
    let error = failure(request).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Never), "{error:?}");
}
