//! [`TungsteniteTransport`]: WebSockets as a client.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use offhook::provider::transport::{Socket, SocketRequest};
use offhook::provider::{ProviderInfo, SocketTransport};
use offhook::{Error, ErrorKind, Result};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;

use crate::http::header;
use crate::map::map;
use crate::pump::{self, Limits};
use crate::resolve::resolve;
use crate::tls::Tls;

/// Longest message that a client takes; providers send seconds of base64 audio in one.
pub const CLIENT_MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Opens WebSockets.
#[derive(Clone, Debug)]
pub struct TungsteniteTransport {
    tls: Tls,
}

impl TungsteniteTransport {
    /// A transport that trusts `tls`.
    pub fn new(tls: &Tls) -> Self {
        Self { tls: tls.clone() }
    }
}

#[async_trait]
impl SocketTransport for TungsteniteTransport {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "tungstenite", detail: String::new() }
    }

    async fn connect(&self, request: SocketRequest) -> Result<Socket> {
        let target = Target::parse(&request)?;
        let host = target.host.clone();
        let opening = open(&self.tls, target, request.timeout);
        match tokio::time::timeout(request.timeout, opening).await {
            Ok(Ok(socket)) => Ok(socket),
            Ok(Err(error)) => Err(error.with_context("host", host)),
            Err(elapsed) => Err(map(OPERATION, elapsed).with_context("host", host)),
        }
    }
}

const OPERATION: &str = "socket.connect";

struct Target {
    handshake: Request,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    secure: bool,
}

impl Target {
    fn parse(request: &SocketRequest) -> Result<Self> {
        let invalid = || Error::new(ErrorKind::ConfigInvalid, OPERATION, "the URL is not an absolute ws or wss one");
        let mut handshake = request.url.as_str().into_client_request().map_err(|error| invalid().with_source(error))?;
        let (secure, port_default) = match handshake.uri().scheme_str() {
            Some("ws") => (false, 80),
            Some("wss") => (true, 443),
            _ => return Err(invalid()),
        };
        let host = handshake.uri().host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(invalid());
        }
        let port = handshake.uri().port_u16().unwrap_or(port_default);
        for (name, value) in &request.headers {
            let (name, value) = header(OPERATION, name, value)?;
            handshake.headers_mut().append(name, value);
        }
        Ok(Self { handshake, host, port, secure })
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

async fn open(tls: &Tls, target: Target, write_timeout: Duration) -> Result<Socket> {
    let addresses = resolve(&target.host, target.port).await.map_err(|error| map(OPERATION, error))?;
    let tcp = TcpStream::connect(addresses.as_slice()).await.map_err(|error| map(OPERATION, error))?;
    tcp.set_nodelay(true).map_err(|error| map(OPERATION, error))?;
    let stream: Box<dyn Io> =
        if target.secure { Box::new(encrypt(tls, &target.host, tcp).await?) } else { Box::new(tcp) };
    let limits = Limits { message_bytes_max: CLIENT_MESSAGE_BYTES_MAX, write_timeout };
    let (socket, _response) =
        tokio_tungstenite::client_async_with_config(target.handshake, stream, Some(limits.websocket()))
            .await
            .map_err(|error| map(OPERATION, error))?;
    Ok(pump::start(socket, limits))
}

async fn encrypt(tls: &Tls, host: &str, tcp: TcpStream) -> Result<impl Io + use<>> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| {
        Error::new(ErrorKind::ConfigInvalid, OPERATION, "the URL's host is not a name").with_source(error)
    })?;
    let connector = TlsConnector::from(Arc::clone(&tls.config()));
    connector.connect(name, tcp).await.map_err(|error| map(OPERATION, error))
}
