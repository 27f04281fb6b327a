//! A way to the server that is cut at a chosen byte.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Towards {
    Client,
    Server,
}

/// Forwards connections from a port of its own.
pub(crate) struct Proxy {
    state: Arc<State>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

struct State {
    server: SocketAddr,
    /// Bytes that still pass towards the client and towards the server.
    left: [AtomicI64; 2],
    /// Whether lost connections may be made again.
    refuses_after_cut: AtomicBool,
    is_cut: AtomicBool,
    /// Whether a cut keeps connections open and lets nothing pass.
    stalls: AtomicBool,
    cut: Notify,
}

impl Proxy {
    pub(crate) async fn start(server_port: u16) -> io::Result<Self> {
        let state = Arc::new(State {
            server: SocketAddr::from(([127, 0, 0, 1], server_port)),
            left: [AtomicI64::new(i64::MAX), AtomicI64::new(i64::MAX)],
            refuses_after_cut: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
            stalls: AtomicBool::new(false),
            cut: Notify::new(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(accept(listener, state.clone()));
        Ok(Self { state, address, accepting })
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Cuts all connections once `bytes` more have passed `towards` somebody.
    pub(crate) fn cut_after(&self, towards: Towards, bytes: i64) {
        self.state.is_cut.store(false, Ordering::SeqCst);
        self.state.left[towards as usize].store(bytes, Ordering::SeqCst);
    }

    /// Lets everything pass again; whether there was a cut.
    pub(crate) fn restore(&self) -> bool {
        self.state.left.iter().for_each(|left| left.store(i64::MAX, Ordering::SeqCst));
        self.state.is_cut.swap(false, Ordering::SeqCst)
    }

    /// Whether a cut lasts until [`Proxy::restore`].
    pub(crate) fn refuse_after_cut(&self, refuses: bool) {
        self.state.refuses_after_cut.store(refuses, Ordering::SeqCst);
    }

    /// Whether cut connections stay open and are silent.
    pub(crate) fn stall(&self, stalls: bool) {
        self.state.stalls.store(stalls, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        if state.is_cut.load(Ordering::SeqCst) && state.refuses_after_cut.load(Ordering::SeqCst) {
            continue;
        }
        let state = state.clone();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(state.server).await else { return };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            let cut = state.cut.notified();
            tokio::pin!(cut);
            cut.as_mut().enable();
            // Whatever ends first, both connections are dropped with it.
            tokio::select! {
                () = forward(&state, Towards::Server, from_client, to_server) => {}
                () = forward(&state, Towards::Client, from_server, to_client) => {}
                () = cut => {}
            }
        });
    }
}

/// Passes on bytes until there are no more, or no more may pass.
async fn forward(state: &State, towards: Towards, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut bytes = [0; 4_096];
    loop {
        let Ok(read @ 1..) = from.read(&mut bytes).await else { return };
        let left = state.left[towards as usize].fetch_sub(read as i64, Ordering::SeqCst);
        let passing = read.min(usize::try_from(left).unwrap_or(0));
        if to.write_all(&bytes[..passing]).await.is_err() {
            return;
        }
        if passing < read {
            state.left.iter().for_each(|left| left.store(i64::MAX, Ordering::SeqCst));
            state.is_cut.store(true, Ordering::SeqCst);
            if state.stalls.load(Ordering::SeqCst) {
                return std::future::pending().await;
            }
            state.cut.notify_waiters();
            return;
        }
    }
}
