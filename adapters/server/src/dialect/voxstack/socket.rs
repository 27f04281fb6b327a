//! The live transcript of a call, over a WebSocket (VS-061 to VS-066).

use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Extension, Path, State};
use axum::response::Response;
use offhook::call::{CallEventKind, Phase};
use offhook::dialect::Dialect;
use offhook::engine::{CallHandle, Glance};
use offhook::ids::{CallId, TenantId};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::calls;
use super::live::Token;
use super::transcript::{Said, said};
use crate::app::App;
use crate::gate;
use crate::id;
use crate::problem::{Answer, Kind, Problem};
use crate::request::Query;
use crate::serve::Held;

/// Longest wait for a client to take a message.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for a client to close, too.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest message of a client, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// How often a call that another server holds is looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Follows a call: its transcript and its status as JSON messages, until it is over.
#[utoipa::path(
    get,
    operation_id = "follow_call",
    path = "/ws/calls/{id}",
    tag = "calls",
    security(()),
    params(
        ("id" = String, Path),
        ("api_key" = Option<String>, Query, description = "An API key, or a session token in its place"),
        ("session_token" = Option<String>, Query, description = "`temp_token` of `/calls/{id}/live`"),
    ),
    responses((status = 101), (status = 400), (status = 401), (status = 404)),
)]
pub(super) async fn open(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Query,
    held: Option<Extension<Held>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer<Response> {
    let (tenant, call) = admit(&app, &id, &query).await?;
    app.engine().calls().get(tenant, call).await?.ok_or_else(|| Problem::not_found("call"))?;
    let upgrade = upgrade.map_err(|_| Problem::new(Kind::Invalid, "a WebSocket is expected here"))?;
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let _held = held;
        let idle_max = app.options().live_idle_max;
        let mut line = Line { idle_at: Instant::now() + idle_max, idle_max, socket };
        match watch(&mut line, &app, tenant, call).await {
            Ok(()) => line.close(close_code::NORMAL).await,
            Err(End::Failed(problem)) => {
                let told = line.tell(&json!({ "type": "error", "error": problem.sentence() })).await;
                if told.is_ok() {
                    line.close(close_code::ERROR).await;
                }
            }
            Err(End::Gone) => tracing::debug!(%call, "a client left a live transcript"),
        }
    }))
}

/// Whose call it is, if the key or the token opens it.
async fn admit(app: &App, id: &str, query: &Query) -> Answer<(TenantId, CallId)> {
    let parsed: Answer<CallId> = id::parse(id, "", "call");
    if let (None, Some(token)) = (query.text("api_key"), query.text("session_token")) {
        // What is no call has no token.
        let call = parsed.map_err(|_| Problem::new(Kind::Unauthorized, "the session token opens nothing here"))?;
        let token = Token::open(app.token_secret(), token, call, app.runtime().wall_clock())?;
        return Ok((token.tenant, call));
    }
    let key = query.text("api_key").map(str::to_owned);
    let caller = gate::identify(app, Dialect::VoxStack, key).await?;
    Ok((caller.tenant, parsed?))
}

/// Why a connection ends before its call has.
enum End {
    /// Something here went wrong.
    Failed(Problem),
    /// The client does not read, or has left.
    Gone,
}

/// Tells the client of the call until it is over, or the client has been silent for too long.
async fn watch(line: &mut Line, app: &App, tenant: TenantId, call: CallId) -> Result<(), End> {
    let mut view = View::default();
    line.tell(&json!({ "type": "connected", "call_id": call })).await?;
    let (mut source, mut news) = Source::open(app, tenant, call).await.map_err(End::Failed)?;
    loop {
        for message in view.update(&news) {
            line.tell(&message).await?;
        }
        if news.is_over {
            return Ok(());
        }
        news = loop {
            tokio::select! {
                news = source.next(app, tenant, call) => break news.map_err(End::Failed)?,
                heard = line.listen() => match heard? {
                    Heard::Message(answer) => line.tell(&answer).await?,
                    Heard::Nothing => return Ok(()),
                }
            }
        };
    }
}

/// The client's end.
struct Line {
    idle_at: Instant,
    idle_max: Duration,
    socket: WebSocket,
}

enum Heard {
    /// Something that is to be answered so.
    Message(Value),
    /// Nothing for too long.
    Nothing,
}

impl Line {
    async fn tell(&mut self, message: &Value) -> Result<(), End> {
        let sent = self.socket.send(Message::text(message.to_string()));
        match tokio::time::timeout(SEND_TIMEOUT, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }

    async fn listen(&mut self) -> Result<Heard, End> {
        loop {
            let message = match tokio::time::timeout_at(self.idle_at, self.socket.recv()).await {
                Err(_) => return Ok(Heard::Nothing),
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(_)) | None) => return Err(End::Gone),
            };
            let is_ping = |text: &str| serde_json::from_str(text).is_ok_and(|message: Value| message["type"] == "ping");
            match message {
                Message::Text(text) if is_ping(&text) => {
                    self.idle_at = Instant::now() + self.idle_max;
                    return Ok(Heard::Message(json!({ "type": "pong" })));
                }
                // The protocol's own is answered below.
                Message::Ping(_) => self.idle_at = Instant::now() + self.idle_max,
                Message::Pong(_) => {}
                Message::Close(_) => return Err(End::Gone),
                Message::Binary(_) | Message::Text(_) => {
                    return Ok(Heard::Message(
                        json!({ "type": "error", "error": "only {\"type\":\"ping\"} is known" }),
                    ));
                }
            }
        }
    }

    async fn close(mut self, code: u16) {
        let frame = Message::Close(Some(CloseFrame { code, reason: "".into() }));
        let closed = async {
            if self.socket.send(frame).await.is_ok() {
                while self.socket.recv().await.is_some_and(|message| message.is_ok()) {}
            }
        };
        // Who does not close in time is cut off.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closed).await;
    }
}

/// What is known of a call at a moment.
#[derive(Default)]
struct News {
    is_over: bool,
    /// The whole transcript; `None` when it has not changed.
    said: Option<Vec<Said>>,
    /// `None` when it has not changed.
    status: Option<&'static str>,
}

/// Where news of a call come from.
enum Source {
    /// From the engine of this server.
    Engine(CallHandle, Glance),
    /// From the store: the call is over, or another server holds it.
    Store,
}

impl Source {
    async fn open(app: &App, tenant: TenantId, call: CallId) -> Answer<(Self, News)> {
        let Some((handle, glance)) = app.engine().follow(tenant, call) else {
            return Ok((Self::Store, stored(app, tenant, call).await?));
        };
        let transcript = said(glance.transcript.values());
        let news = News {
            is_over: false,
            said: Some(transcript).filter(|said| !said.is_empty()),
            status: glance.phase.and_then(status_of),
        };
        Ok((Self::Engine(handle, glance), news))
    }

    async fn next(&mut self, app: &App, tenant: TenantId, call: CallId) -> Answer<News> {
        let Self::Engine(handle, glance) = self else {
            tokio::time::sleep(POLL_INTERVAL).await;
            return stored(app, tenant, call).await;
        };
        let Some(event) = handle.next_event().await else {
            *self = Self::Store;
            return stored(app, tenant, call).await;
        };
        let has_changed = glance.take(&event);
        Ok(match event.kind {
            CallEventKind::Ended { record, .. } => News {
                is_over: true,
                said: Some(said(&record.transcript)),
                status: Some(Dialect::VoxStack.words(&record).status),
            },
            CallEventKind::Phase { phase } => News { status: status_of(phase), ..News::default() },
            _ => News { said: has_changed.then(|| said(glance.transcript.values())), ..News::default() },
        })
    }
}

async fn stored(app: &App, tenant: TenantId, call: CallId) -> Answer<News> {
    let call = app.engine().calls().get(tenant, call).await?.ok_or_else(|| Problem::not_found("call"))?;
    Ok(News {
        is_over: calls::is_over(&call),
        said: Some(said(&call.record.transcript)),
        status: Some(Dialect::VoxStack.words(&call.record).status),
    })
}

/// How a call stands that is not over.
fn status_of(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Connected | Phase::Screening => Some("in_progress"),
        Phase::Dialing | Phase::Ended | Phase::Ending | Phase::Ringing => None,
    }
}

/// What the client has been told.
#[derive(Default)]
struct View {
    said: Option<Vec<Said>>,
    sequence: u64,
    status: Option<&'static str>,
}

impl View {
    /// What the client is to be told.
    fn update(&mut self, news: &News) -> Vec<Value> {
        let mut messages = Vec::new();
        if let Some(said) = &news.said
            && self.said.as_ref() != Some(said)
        {
            let before = self.said.as_deref().unwrap_or_default();
            let is_new = |(at, entry): &(usize, &Said)| before.get(*at) != Some(*entry);
            let delta: Vec<_> = said.iter().enumerate().filter(is_new).map(|(_, entry)| entry).collect();
            self.sequence += 1;
            let data = json!({ "transcript": said, "delta": delta, "sequence": self.sequence });
            messages.push(json!({ "type": "transcript_update", "data": data }));
            self.said = Some(said.clone());
        }
        // Nobody is told that a call is only initiated (VS-062).
        if let Some(status) = news.status.filter(|status| *status != "initiated" && self.status != Some(*status)) {
            messages.push(json!({ "type": "call_status_update", "data": { "status": status } }));
            self.status = Some(status);
        }
        messages
    }
}
