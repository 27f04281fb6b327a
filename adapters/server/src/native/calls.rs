//! The events of a live call as server-sent events, for whoever has a key of its tenant.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, stream};
use offhook::engine::CallHandle;
use offhook::ids::CallId;

use super::AnyKey;
use crate::app::App;
use crate::id;
use crate::problem::{Answer, Problem};

/// A comment goes out after so long without an event, so that nobody in between closes the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Follows a call until it ends: each event as JSON, the first of all what was said so far.
#[utoipa::path(
    get,
    operation_id = "follow_call",
    path = "/calls/{id}/events",
    tag = "calls",
    params(("id" = String, Path, description = "The call's UUID, or `call_` and the UUID")),
    responses((status = 200, content_type = "text/event-stream"), (status = 401), (status = 404)),
)]
pub(crate) async fn events(
    State(app): State<App>,
    AnyKey(caller): AnyKey,
    Path(id): Path<String>,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let call: CallId = id::parse(id.strip_prefix("call_").unwrap_or(&id), "", "call")?;
    let (handle, glance) = app.engine().follow(caller.tenant, call).ok_or_else(|| Problem::not_found("live call"))?;
    let transcript: Vec<_> = glance.transcript.values().collect();
    let so_far = serde_json::json!({ "event": "so_far", "phase": glance.phase, "transcript": transcript });
    let first = Event::default().event("so_far").data(so_far.to_string());
    let events = stream::unfold((Some(first), handle), |(first, mut handle): (Option<Event>, CallHandle)| async move {
        let event = match first {
            Some(first) => first,
            None => {
                let event = handle.next_event().await?;
                let value = serde_json::to_value(&event).ok()?;
                let name = value["event"].as_str().unwrap_or("event").to_owned();
                Event::default().event(name).data(value.to_string())
            }
        };
        Some((Ok(event), (None, handle)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}
