//! [`SocketListener`]: WebSockets as a server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use offhook::provider::transport::Socket;
use offhook::{Error, ErrorKind, Result};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio_tungstenite::tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response};

use crate::http::from_headers;
use crate::map::map;
use crate::pump::{self, Limits};

/// Longest time from the connection to a finished handshake that the consumer has taken.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Most handshakes at once; further connections wait in the system's queue.
pub const HANDSHAKES_MAX: usize = 256;
/// Longest message that a server takes; media streams send some hundred bytes each.
pub const SERVER_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Longest wait for the network to take one message.
pub const SERVER_WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// After a failure to accept, such as too many open files, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts WebSockets on a TCP port. Dropping it frees the port; sockets that were accepted live on.
pub struct SocketListener {
    accepted: Receiver<AcceptedSocket>,
    accepting: AbortHandle,
    local_addr: SocketAddr,
}

/// A socket and the request that opened it.
#[non_exhaustive]
pub struct AcceptedSocket {
    /// Headers of the handshake, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The path of the request, without the query.
    pub path: String,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// The query of the request, without the question mark; empty when there is none.
    pub query: String,
    /// The socket.
    pub socket: Socket,
}

impl SocketListener {
    /// Listens on `addr`, in plain text: encryption belongs to what stands in front. `Conflict` when the port is taken.
    pub async fn bind(addr: impl ToSocketAddrs) -> Result<Self> {
        const OPERATION: &str = "socket_listener.bind";
        let listener = TcpListener::bind(addr).await.map_err(|error| map(OPERATION, error))?;
        let local_addr = listener.local_addr().map_err(|error| map(OPERATION, error))?;
        let (sender, accepted) = async_channel::bounded(1);
        let accepting = tokio::spawn(accept_all(listener, sender)).abort_handle();
        Ok(Self { accepted, accepting, local_addr })
    }

    /// Where it listens; the port is the real one when zero was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The next socket whose handshake is done. Dropping the future loses no socket.
    ///
    /// `Unavailable` when the runtime is shutting down.
    pub async fn accept(&self) -> Result<AcceptedSocket> {
        self.accepted.recv().await.map_err(|_| {
            Error::new(ErrorKind::Unavailable, "socket_listener.accept", "the listener has been shut down")
        })
    }
}

impl Drop for SocketListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept_all(listener: TcpListener, accepted: Sender<AcceptedSocket>) {
    let slots = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    // Owned here so that the handshakes end with the listener.
    let mut handshakes = JoinSet::new();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let (tcp, peer) = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while handshakes.try_join_next().is_some() {}
        let accepted = accepted.clone();
        handshakes.spawn(async move {
            if let Err(error) = shake_hands(tcp, peer, accepted).await {
                tracing::debug!(%error, "a handshake failed");
            }
            drop(slot);
        });
    }
}

async fn shake_hands(tcp: TcpStream, peer: SocketAddr, accepted: Sender<AcceptedSocket>) -> Result<()> {
    const OPERATION: &str = "socket_listener.handshake";
    let handshake = async {
        tcp.set_nodelay(true).map_err(|error| map(OPERATION, error))?;
        let limits = Limits { message_bytes_max: SERVER_MESSAGE_BYTES_MAX, write_timeout: SERVER_WRITE_TIMEOUT };
        let mut head = Head::default();
        let socket =
            tokio_tungstenite::accept_hdr_async_with_config(tcp, TakeHead(&mut head), Some(limits.websocket()))
                .await
                .map_err(|error| map(OPERATION, error))?;
        let Head { headers, path, query } = head;
        let socket = pump::start(socket, limits);
        // A closed channel means that the listener is gone; the socket closes with what is dropped here.
        let _ = accepted.send(AcceptedSocket { headers, path, peer, query, socket }).await;
        Ok(())
    };
    tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await.unwrap_or_else(|elapsed| Err(map(OPERATION, elapsed)))
}

#[derive(Default)]
struct Head {
    headers: Vec<(String, String)>,
    path: String,
    query: String,
}

struct TakeHead<'a>(&'a mut Head);

impl Callback for TakeHead<'_> {
    fn on_request(self, request: &Request, response: Response) -> Result<Response, ErrorResponse> {
        *self.0 = Head {
            headers: from_headers(request.headers()),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
        };
        Ok(response)
    }
}
