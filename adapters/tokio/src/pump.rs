//! The pump behind every socket, client or server: one task that carries messages between a WebSocket and two bounded
//! channels, keeps the connection alive, and ends in bounded time whatever the peer does.

use std::time::Duration;

use async_channel::{Receiver, Sender};
use futures_util::SinkExt;
use futures_util::future::{self, Either};
use futures_util::stream::{self, BoxStream, SplitSink, SplitStream, StreamExt};
use offhook::provider::transport::{Socket, SocketMessage};
use offhook::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error as WsError, Message};

use crate::map::map;

/// Longest wait for the peer's half of the closing handshake.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Most messages held for a consumer that does not read; beyond it nothing is read from the network.
pub const INCOMING_MAX: usize = 64;
/// Most messages held for a peer that does not read.
pub const OUTGOING_MAX: usize = 64;
/// A ping goes out after this long without a message to the peer.
pub const PING_INTERVAL: Duration = Duration::from_secs(15);
/// A peer that sends nothing for this long, not even the answer to a ping, is gone.
pub const SILENCE_MAX: Duration = Duration::from_secs(45);

const READ_BUFFER_BYTES: usize = 8 * 1024;

#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) message_bytes_max: usize,
    /// Longest wait for the network to take one message.
    pub(crate) write_timeout: Duration,
}

impl Limits {
    pub(crate) fn websocket(self) -> WebSocketConfig {
        WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(self.message_bytes_max))
            .max_frame_size(Some(self.message_bytes_max))
    }
}

/// Starts pumping `socket` in a task of its own.
pub(crate) fn start<S>(socket: WebSocketStream<S>, limits: Limits) -> Socket
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (to_consumer, from_network) = async_channel::bounded(INCOMING_MAX);
    let (outgoing, to_network) = async_channel::bounded(OUTGOING_MAX);
    let (failed, failure) = oneshot::channel();
    tokio::spawn(async move {
        if let Some(error) = run(socket, &to_consumer, &to_network, limits).await {
            // The consumer may be gone already.
            let _ = failed.send(error);
        }
        // Only now: the end of the messages is the sign that the failure, if any, is there.
        drop(to_consumer);
    });
    Socket { incoming: incoming(from_network, failure), outgoing }
}

fn incoming(
    messages: Receiver<SocketMessage>,
    failure: oneshot::Receiver<Error>,
) -> BoxStream<'static, Result<SocketMessage>> {
    stream::unfold((messages, failure), |(messages, mut failure)| async move {
        let item = match messages.recv().await {
            Ok(message) => Ok(message),
            Err(_) => Err(failure.try_recv().ok()?),
        };
        Some((item, (messages, failure)))
    })
    .boxed()
}

type Sink<S> = SplitSink<WebSocketStream<S>, Message>;

/// How reading ended.
struct Ending {
    error: Option<Error>,
    /// What to tell the peer before hanging up.
    farewell: Option<CloseCode>,
}

impl Ending {
    fn clean() -> Self {
        Self { error: None, farewell: None }
    }

    fn failed(error: Error) -> Self {
        Self { error: Some(error), farewell: None }
    }
}

async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    socket: WebSocketStream<S>,
    to_consumer: &Sender<SocketMessage>,
    to_network: &Receiver<SocketMessage>,
    limits: Limits,
) -> Option<Error> {
    let (mut sink, stream) = socket.split();
    let ending = pump(&mut sink, stream, to_consumer, to_network, limits).await;
    to_network.close();
    if let Some(code) = ending.farewell {
        let _ = timeout(CLOSE_TIMEOUT, sink.send(close(code))).await;
    }
    ending.error
}

async fn pump<S: AsyncRead + AsyncWrite + Unpin>(
    sink: &mut Sink<S>,
    stream: SplitStream<WebSocketStream<S>>,
    to_consumer: &Sender<SocketMessage>,
    to_network: &Receiver<SocketMessage>,
    limits: Limits,
) -> Ending {
    let reading = std::pin::pin!(read(stream, to_consumer));
    let writing = std::pin::pin!(write(sink, to_network, limits.write_timeout));
    let (written, reading) = match future::select(reading, writing).await {
        Either::Left((ending, _)) => return ending,
        Either::Right(right) => right,
    };
    match written {
        Written::Stuck(error) => Ending::failed(error),
        // Reading goes on: the peer's last messages and its half of the handshake may still be on their way.
        Written::Closed => timeout(CLOSE_TIMEOUT, reading).await.unwrap_or(Ending::clean()),
        Written::Broken(error) => timeout(CLOSE_TIMEOUT, reading).await.unwrap_or(Ending::failed(error)),
    }
}

async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: SplitStream<WebSocketStream<S>>,
    to_consumer: &Sender<SocketMessage>,
) -> Ending {
    const OPERATION: &str = "socket.read";
    let mut closed = None;
    loop {
        let patience = if closed.is_some() { CLOSE_TIMEOUT } else { SILENCE_MAX };
        let message = match timeout(patience, stream.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(WsError::AlreadyClosed | WsError::ConnectionClosed)) | None) => {
                return closed.unwrap_or(Ending::clean());
            }
            Ok(Some(Err(error))) => return closed.unwrap_or_else(|| broken(OPERATION, error)),
            Err(elapsed) => return closed.unwrap_or_else(|| Ending::failed(map(OPERATION, elapsed))),
        };
        let message = match message {
            Message::Binary(bytes) => SocketMessage::Binary(bytes),
            Message::Close(frame) => {
                closed = Some(verdict(OPERATION, frame));
                continue;
            }
            Message::Frame(_) | Message::Ping(_) | Message::Pong(_) => continue,
            Message::Text(text) => SocketMessage::Text(text.as_str().to_owned()),
        };
        // A consumer that dropped its end may still be sending, so reading goes on and pings are answered.
        let _ = to_consumer.send(message).await;
    }
}

fn broken(operation: &'static str, error: WsError) -> Ending {
    let farewell = match &error {
        WsError::Capacity(_) => Some(CloseCode::Size),
        WsError::Protocol(_) => Some(CloseCode::Protocol),
        WsError::Utf8(_) => Some(CloseCode::Invalid),
        _ => None,
    };
    Ending { error: Some(map(operation, error)), farewell }
}

/// What the peer's close frame means; codes are those of RFC 6455, section 7.4.
fn verdict(operation: &'static str, frame: Option<CloseFrame>) -> Ending {
    let Some(frame) = frame else { return Ending::clean() };
    let kind = match frame.code {
        CloseCode::Away | CloseCode::Normal | CloseCode::Status => return Ending::clean(),
        CloseCode::Again | CloseCode::Error | CloseCode::Restart => ErrorKind::Unavailable,
        _ => ErrorKind::Rejected,
    };
    tracing::debug!(code = u16::from(frame.code), reason = frame.reason.as_str(), "the peer closed the socket");
    Ending::failed(
        Error::new(kind, operation, "the peer closed the socket").with_context("close_code", u16::from(frame.code)),
    )
}

enum Written {
    /// The connection failed under the writer.
    Broken(Error),
    /// The last message and the close frame are out.
    Closed,
    /// The network did not take a message in time.
    Stuck(Error),
}

async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    sink: &mut Sink<S>,
    to_network: &Receiver<SocketMessage>,
    limit: Duration,
) -> Written {
    const OPERATION: &str = "socket.write";
    loop {
        let (message, last) = match timeout(PING_INTERVAL, to_network.recv()).await {
            Ok(Ok(SocketMessage::Binary(bytes))) => (Message::Binary(bytes), false),
            Ok(Ok(SocketMessage::Close(code))) => (close(code.value().into()), true),
            Ok(Ok(SocketMessage::Text(text))) => (Message::Text(text.into()), false),
            Ok(Err(_)) => (close(CloseCode::Normal), true),
            Err(_) => (Message::Ping(Bytes::new()), false),
        };
        match timeout(limit, sink.send(message)).await {
            Ok(Ok(())) if last => return Written::Closed,
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Written::Broken(map(OPERATION, error)),
            Err(elapsed) => return Written::Stuck(map(OPERATION, elapsed)),
        }
    }
}

fn close(code: CloseCode) -> Message {
    Message::Close(Some(CloseFrame { code, reason: Default::default() }))
}
