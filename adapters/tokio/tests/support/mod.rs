//! Peers on loopback that say exactly what a test wants.

#![allow(dead_code, reason = "each test file uses its part")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use offhook_tokio::Tls;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Serves every connection with `talk`, until the test's runtime ends.
pub(crate) async fn serve<F, T>(talk: F) -> SocketAddr
where
    F: Fn(TcpStream) -> T + Send + Sync + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream));
        }
    });
    addr
}

/// An address where nothing listens.
pub(crate) async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// A request's head and as much body as its `content-length` says.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = String::new();
    while !text.contains("\r\n\r\n") {
        text.push(stream.read_u8().await.unwrap().into());
    }
    let length = text.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.unwrap();
    text + std::str::from_utf8(&body).unwrap()
}

/// Says `answer` to the first request and hangs up.
pub(crate) async fn answer(mut stream: TcpStream, answer: &str) {
    read_request(&mut stream).await;
    stream.write_all(answer.as_bytes()).await.unwrap();
}

/// Holds the connection without a word.
pub(crate) async fn hold(stream: TcpStream) {
    std::future::pending::<()>().await;
    drop(stream);
}

/// An authority of the test's own, and a server that it vouches for under `localhost`.
pub(crate) struct Authority {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) trusting: Tls,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let trusting = Tls::trusting(made.cert.pem().as_bytes()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![made.cert.der().clone()], key)
                .unwrap();
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), trusting }
    }
}
