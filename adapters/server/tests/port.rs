//! What the port does with peers that do not behave, and with sockets that are open when it closes.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Extension;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use futures_util::{StreamExt, stream};
use offhook_server::{Held, Limits, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_tungstenite::connect_async;

struct Port {
    addr: SocketAddr,
    serving: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Port {
    async fn open(router: Router, change: impl FnOnce(&mut Limits)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut limits = Limits::default();
        change(&mut limits);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve(listener, router, None, limits, async {
            let _ = stopped.await;
        }));
        Self { addr, serving, stop }
    }
}

/// Says when it is dropped.
struct Dropped(mpsc::UnboundedSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn a_peer_that_reads_nothing_is_let_go() {
    let (sender, mut dropped) = mpsc::unbounded_channel();
    let endless = move || {
        let guard = Dropped(sender.clone());
        let chunk = Bytes::from(vec![0_u8; 64 * 1024]);
        async move {
            let body = stream::repeat_with(move || {
                let _ = &guard;
                Ok::<_, std::io::Error>(chunk.clone())
            });
            Response::new(Body::from_stream(body))
        }
    };
    let patience = Duration::from_millis(200);
    let port = Port::open(Router::new().route("/", get(endless)), |limits| limits.write_timeout = patience).await;
    let ask = async || {
        let mut peer = TcpStream::connect(port.addr).await.unwrap();
        peer.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
        peer
    };
    let (slow, mut reader) = (ask().await, ask().await);
    let mut bytes = vec![0; 64 * 1024];
    // Whoever reads is served meanwhile, for longer than anybody may read nothing.
    let reading = async {
        loop {
            reader.read_exact(&mut bytes).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = reading => {}
        ended = dropped.recv() => ended.unwrap(),
    }
    reader.read_exact(&mut bytes).await.unwrap();
    drop(slow);
}

/// A socket that says when it has ended.
fn with_sockets(has_ended: &Arc<AtomicBool>) -> Router {
    let has_ended = has_ended.clone();
    let open = |upgrade: WebSocketUpgrade, Extension(held): Extension<Held>| async move {
        upgrade.on_upgrade(async move |mut socket| {
            let _held = held;
            socket.send(Message::text("open")).await.unwrap();
            while socket.recv().await.is_some_and(|message| message.is_ok()) {}
            has_ended.store(true, Ordering::SeqCst);
        })
    };
    Router::new().route("/", get(open))
}

#[tokio::test]
async fn a_stop_waits_for_sockets_that_are_held() {
    let has_ended = Arc::new(AtomicBool::new(false));
    let port = Port::open(with_sockets(&has_ended), |limits| limits.drain = Duration::from_secs(600)).await;
    let (mut socket, _) = connect_async(format!("ws://{}/", port.addr)).await.unwrap();
    socket.next().await.unwrap().unwrap();
    port.stop.send(()).unwrap();
    // Nobody new comes in; then the one who is there leaves.
    while TcpStream::connect(port.addr).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!port.serving.is_finished());
    drop(socket);
    port.serving.await.unwrap();
    assert!(has_ended.load(Ordering::SeqCst), "the server was not to end before the socket did");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let has_ended = Arc::new(AtomicBool::new(false));
    let port = Port::open(with_sockets(&has_ended), |limits| limits.drain = Duration::from_millis(100)).await;
    let (mut socket, _) = connect_async(format!("ws://{}/", port.addr)).await.unwrap();
    socket.next().await.unwrap().unwrap();
    port.stop.send(()).unwrap();
    port.serving.await.unwrap();
    assert!(!has_ended.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_socket_counts_among_the_connections() {
    let has_ended = Arc::new(AtomicBool::new(false));
    let port = Port::open(with_sockets(&has_ended), |limits| limits.connections_max = 1).await;
    let (mut socket, _) = connect_async(format!("ws://{}/", port.addr)).await.unwrap();
    socket.next().await.unwrap().unwrap();
    let second = tokio::spawn(connect_async(format!("ws://{}/", port.addr)));
    drop(socket);
    let (mut second, _) = second.await.unwrap().unwrap();
    assert!(has_ended.load(Ordering::SeqCst), "its place was free only then");
    second.next().await.unwrap().unwrap();
}
