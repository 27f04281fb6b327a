//! The port: HTTP/1.1 with or without TLS, limits of headers, time and connections, and an orderly end.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tower::ServiceExt;

/// What connections are held to.
#[derive(Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at once; more wait in the system's queue.
    pub connections_max: usize,
    /// Longest wait for the requests that are being answered when the server stops.
    pub drain: Duration,
    /// Longest wait for the headers of a request, also of the first on a connection.
    pub head_timeout: Duration,
    /// Bytes of a request's line and headers at most.
    pub head_bytes_max: usize,
    /// Headers of a request at most.
    pub headers_max: usize,
    /// Longest wait for a TLS handshake.
    pub handshake_timeout: Duration,
    /// Longest time for which a peer may take nothing of what it is sent.
    pub write_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            drain: Duration::from_secs(10),
            head_timeout: Duration::from_secs(10),
            head_bytes_max: 32 * 1024,
            headers_max: 100,
            handshake_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
        }
    }
}

/// After a failure to accept, such as too many open files, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` on `listener` until `stop` ends. Requests that are being answered then may come to their end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Arc<ServerConfig>>,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let tls = tls.map(TlsAcceptor::from);
    let graceful = Graceful::default();
    let mut stop = pin!(stop.fuse());
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = &mut stop => break,
            next = next => next,
        };
        match accepted {
            Ok((tcp, addr)) => {
                let (limits, router, tls) = (limits.clone(), router.clone(), tls.clone());
                let connection = Connection { limits, peer: Peer(addr.ip()), router, slot, tls };
                tokio::spawn(connection.run(tcp, graceful.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    graceful.stop.close();
    // What is not done by then is cut off.
    let _ = tokio::time::timeout(limits.drain, graceful.done()).await;
}

/// Tells all connections to end, and knows when they have.
#[derive(Clone)]
struct Graceful {
    stop: async_channel::Sender<()>,
    stopped: async_channel::Receiver<()>,
}

impl Default for Graceful {
    fn default() -> Self {
        let (stop, stopped) = async_channel::bounded(1);
        Self { stop, stopped }
    }
}

impl Graceful {
    /// Every connection holds a receiver while it lives, beside the one here.
    async fn done(&self) {
        while self.stopped.receiver_count() > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

struct Connection {
    limits: Limits,
    peer: Peer,
    router: Router,
    slot: Option<OwnedSemaphorePermit>,
    tls: Option<TlsAcceptor>,
}

/// Who is at the other end of a request's connection: a proxy, if one stands in front.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// A connection's place, which a socket that outlives its request holds on to: it counts among the connections, and the
/// server waits for it when it stops.
#[derive(Clone)]
pub struct Held {
    _slot: Arc<Option<OwnedSemaphorePermit>>,
    _stopped: async_channel::Receiver<()>,
}

impl Connection {
    async fn run(mut self, tcp: TcpStream, graceful: Graceful) {
        let Graceful { stop, stopped } = graceful;
        drop(stop);
        // Small answers should not wait for more to send.
        let _ = tcp.set_nodelay(true);
        let held = Held { _slot: Arc::new(self.slot.take()), _stopped: stopped.clone() };
        match &self.tls {
            None => self.speak(tcp, &stopped, held).await,
            Some(acceptor) => match tokio::time::timeout(self.limits.handshake_timeout, acceptor.accept(tcp)).await {
                Ok(Ok(stream)) => self.speak(stream, &stopped, held).await,
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            },
        }
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        stopped: &async_channel::Receiver<()>,
        held: Held,
    ) {
        let peer = self.peer;
        let router = self.router.clone().map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(held.clone());
            request.extensions_mut().insert(peer);
            request
        });
        let service = TowerToHyperService::new(router);
        let mut stream = TimeoutStream::new(stream);
        // A peer that reads nothing for so long is gone.
        stream.set_write_timeout(Some(self.limits.write_timeout));
        let stream = Box::pin(stream);
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_timeout)
            .max_buf_size(self.limits.head_bytes_max)
            .max_headers(self.limits.headers_max);
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
        let result = tokio::select! {
            result = &mut connection => result,
            _ = stopped.recv() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a connection ended");
        }
    }
}
