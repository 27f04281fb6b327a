//! Diallers that connect (FL-070 to FL-085). The protocol itself is the carrier's, in `offhook_streams`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::{SinkExt, StreamExt};
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
use crate::serve::Held;

/// Messages that wait in each direction.
const MESSAGES_MAX: usize = 64;

/// Longest wait for the network to take one message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a message at most.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// A dialler's call: the bot answers it over this socket.
#[utoipa::path(
    get,
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
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer<Response> {
    let upgrade = upgrade.map_err(|_| Problem::new(Kind::Invalid, "a WebSocket is expected here"))?;
    let streams = app.streams().cloned();
    let streams = streams.ok_or_else(|| Problem::new(Kind::External, "this server takes no media streams"))?;
    let key = query.text("token").map(str::to_owned).or_else(|| gate::plain(&headers, "x-api-key"));
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(async move |socket| {
        let bot = find(&app, &bot, key).await;
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
    let (mut sink, stream) = socket.split();
    let (outgoing, messages) = async_channel::bounded::<SocketMessage>(MESSAGES_MAX);
    tokio::spawn(async move {
        let _held = held;
        while let Ok(message) = messages.recv().await {
            let message = match message {
                SocketMessage::Binary(bytes) => Message::Binary(bytes),
                SocketMessage::Close(code) => {
                    let frame = CloseFrame { code: code.value(), reason: "".into() };
                    let _ = tokio::time::timeout(WRITE_TIMEOUT, sink.send(Message::Close(Some(frame)))).await;
                    return;
                }
                SocketMessage::Text(text) => Message::Text(text.into()),
            };
            match tokio::time::timeout(WRITE_TIMEOUT, sink.send(message)).await {
                Ok(Ok(())) => {}
                // A peer that does not read is gone.
                Ok(Err(_)) | Err(_) => return,
            }
        }
        let frame = CloseFrame { code: CloseCode::NORMAL.value(), reason: "".into() };
        let _ = tokio::time::timeout(WRITE_TIMEOUT, sink.send(Message::Close(Some(frame)))).await;
    });
    let incoming = stream.filter_map(|message| async move {
        match message {
            Ok(Message::Text(text)) => Some(Ok(SocketMessage::Text(text.to_string()))),
            Ok(Message::Binary(bytes)) => Some(Ok(SocketMessage::Binary(bytes))),
            Ok(_) => None,
            Err(error) => {
                Some(Err(Error::new(ErrorKind::Unavailable, "socket.receive", "the socket failed").with_source(error)))
            }
        }
    });
    Socket { incoming: incoming.boxed(), outgoing }
}
