//! Diallers that connect (FL-070 to FL-085). The protocol itself is the carrier's, in `offhook_streams`.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use offhook::dialect::Dialect;
use offhook::ids::{AgentId, TenantId};
use offhook::provider::transport::{CloseCode, Socket, SocketMessage};
use offhook::service::agents::Agent;
use offhook::{Error, ErrorKind};
use offhook_streams::Accepted;
use serde_json::{Map, Value};

use super::Flags;
use crate::app::{App, Streams};
use crate::dialect::context;
use crate::gate;
use crate::problem::{Answer, Kind, Problem};
use crate::request::Query;
use crate::serve::{Held, Peer};

/// Messages that wait in each direction.
const MESSAGES_MAX: usize = 64;

/// Longest wait for the network to take one message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for a peer to close, too.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of a message at most.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// A dialler's call: the bot answers it over this socket.
#[utoipa::path(
    get,
    operation_id = "connect",
    path = "/ws/{bot_id}",
    tag = "calls",
    params(("bot_id" = String, Path), ("token" = Option<String>, Query, description = "A key, if the bot asks for one")),
    responses((status = 101, description = "A WebSocket"), (status = 503)),
)]
pub(super) async fn connect(
    State(app): State<App>,
    Path(bot): Path<String>,
    query: Query,
    headers: HeaderMap,
    held: Option<Extension<Held>>,
    peer: Option<Extension<Peer>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer<Response> {
    let upgrade = upgrade.map_err(|_| Problem::new(Kind::Invalid, "a WebSocket is expected here"))?;
    let streams = app.streams().cloned();
    let streams = streams.ok_or_else(|| Problem::new(Kind::External, "this server takes no media streams"))?;
    let key = query.text("token").map(str::to_owned).or_else(|| gate::plain(&headers, "x-api-key"));
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(async move |socket| {
        let bot = match is_allowed(&app, peer) {
            true => find(&app, &bot, key).await,
            false => Err(CloseCode::POLICY),
        };
        let socket = bridge(socket, held);
        let (tenant, agent) = match bot {
            Ok(found) => found,
            Err(code) => {
                let _ = socket.outgoing.send(SocketMessage::Close(code)).await;
                // The peer closes in its turn; it is not waited for.
                drop(socket.incoming);
                return;
            }
        };
        if let Err(error) = hold(&app, &streams, tenant, agent, socket).await {
            tracing::debug!(%error, "a dialler's call was not taken");
        }
    }))
}

/// Whether diallers may connect from there (FL-082).
fn is_allowed(app: &App, peer: Option<Extension<Peer>>) -> bool {
    let allowed = &app.options().voxcore_allow;
    allowed.is_empty() || peer.is_some_and(|Extension(Peer(address))| allowed.has(address))
}

/// Whose bot that is. FL-081: 1008 for a bot that there is not, and for a key that opens nothing.
async fn find(app: &App, bot: &str, key: Option<String>) -> Result<(TenantId, Agent), CloseCode> {
    let id: AgentId = bot.strip_prefix("agent_").unwrap_or(bot).parse().map_err(|_| CloseCode::POLICY)?;
    let found = app.engine().agents().find_anywhere(id).await.map_err(|_| CloseCode::INTERNAL)?;
    let (tenant, agent) = found.ok_or(CloseCode::POLICY)?;
    if key.is_some() || app.options().voxcore_requires_key {
        // Otherwise nobody is asked (FL-082).
        let caller = gate::identify(app, Dialect::VoxCore, key).await.map_err(|_| CloseCode::POLICY)?;
        let is_for = caller.key.agents.as_ref().is_none_or(|agents| agents.contains(&id));
        if caller.tenant != tenant || !is_for {
            return Err(CloseCode::POLICY);
        }
    }
    Ok((tenant, agent))
}

async fn hold(app: &App, streams: &Streams, tenant: TenantId, agent: Agent, socket: Socket) -> Result<(), Error> {
    let Accepted { call, reserved, .. } = streams.media.accept(socket).await?;
    let mut fields: Map<String, Value> =
        call.parameters.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    let mut flags = Flags::take(&mut fields);
    reserved.iter().for_each(|(name, value)| flags.read(name, value));
    let mut agent = agent;
    // FL-033
    context::add(&mut agent, "call", &fields);
    flags.apply(&mut agent);
    let call = streams.carriers.incoming(&streams.name, call)?;
    let mut handle = app.engine().accept(tenant, Arc::new(agent), call)?;
    match handle.begun().await {
        // The engine has hung up, and the socket closes with what that says.
        Err(error) if error.kind() != ErrorKind::Unexpected => Ok(()),
        result => result,
    }
}

/// A WebSocket of the server as a carrier takes it.
fn bridge(socket: WebSocket, held: Option<Extension<Held>>) -> Socket {
    let (outgoing, messages) = async_channel::bounded(MESSAGES_MAX);
    let (heard, incoming) = async_channel::bounded(MESSAGES_MAX);
    tokio::spawn(async move {
        let _held = held;
        let (mut sink, mut stream) = socket.split();
        {
            let mut hearing = pin!(hear(&mut stream, heard).fuse());
            let mut telling = pin!(tell(&mut sink, messages));
            loop {
                tokio::select! {
                    () = &mut hearing => {}
                    () = &mut telling => break,
                }
            }
        }
        // A connection that is closed while something of the peer's lies unread is reset, and the peer may lose what it was
        // told last: so the peer is heard until it closes, too.
        let closed = async { while stream.next().await.is_some_and(|message| message.is_ok()) {} };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closed).await;
    });
    Socket { incoming: incoming.boxed(), outgoing }
}

/// Passes on what the peer says until it ends or nobody listens.
async fn hear(stream: &mut SplitStream<WebSocket>, heard: async_channel::Sender<Result<SocketMessage, Error>>) {
    while let Some(message) = stream.next().await {
        let message = match message {
            Ok(Message::Text(text)) => Ok(SocketMessage::Text(text.to_string())),
            Ok(Message::Binary(bytes)) => Ok(SocketMessage::Binary(bytes)),
            Ok(_) => continue,
            Err(error) => {
                Err(Error::new(ErrorKind::Unavailable, "socket.receive", "the socket failed").with_source(error))
            }
        };
        if heard.send(message).await.is_err() {
            return;
        }
    }
}

/// Tells the peer what there is to tell, until the last of it is that the socket closes, or the peer does not read.
async fn tell(sink: &mut SplitSink<WebSocket, Message>, messages: async_channel::Receiver<SocketMessage>) {
    loop {
        let (message, is_last) = match messages.recv().await {
            Ok(SocketMessage::Binary(bytes)) => (Message::Binary(bytes), false),
            Ok(SocketMessage::Text(text)) => (Message::Text(text.into()), false),
            Ok(SocketMessage::Close(code)) => (close(code), true),
            Err(_) => (close(CloseCode::NORMAL), true),
        };
        match tokio::time::timeout(WRITE_TIMEOUT, sink.send(message)).await {
            Ok(Ok(())) if !is_last => {}
            // A peer that does not read is gone.
            _ => return,
        }
    }
}

fn close(code: CloseCode) -> Message {
    Message::Close(Some(CloseFrame { code: code.value(), reason: "".into() }))
}
