//! Recordings (VS-045, VS-046, VS-A10, VS-A11).

use std::time::Duration;

use axum::extract::{OriginalUri, Path};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use offhook::ErrorKind;
use offhook::service::calls::StoredCall;
use offhook::service::recordings::CONTENT_TYPE;
use serde::Serialize;
use utoipa::ToSchema;

use super::envelope::{Ask, Envelope, Failure, Told};
use super::live::Place;
use super::{API, calls};
use crate::native::recordings;
use crate::problem::{Answer, Kind, Problem};

/// How long a link to a recording lives.
const LINK_LIFETIME: Duration = Duration::from_secs(3_600);

/// Where the recording of a call is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::Recording)]
pub(super) struct Recording {
    recording_url: String,
    /// When the URL opens nothing any more; `null` for one that takes the API key.
    #[schema(format = "date-time")]
    expires_at: Option<String>,
    content_type: &'static str,
    duration_seconds: u64,
}

/// A URL from which the recording of a call that is over can be had without any other credentials.
#[utoipa::path(get, operation_id = "get_recording", path = "/calls/{id}/recording", tag = "calls", params(("id" = String, Path)), responses((status = 200, body = Envelope<Recording>), (status = 400, body = Failure), (status = 404, body = Failure)))]
pub(super) async fn get(
    ask: Ask,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Told<Recording> {
    let call = find(&ask, &id).await?;
    let id = call.record.id;
    let recordings = ask.engine().recordings();
    let recording = recordings.get(ask.tenant, id).await?.ok_or_else(Problem::no_recording)?;
    let (recording_url, expires_at) = match recordings.link(ask.tenant, id, LINK_LIFETIME).await {
        Ok(link) => (link.url, Some(link.expires_at.to_string())),
        // Without a public URL there are no links; the stream is there all the same.
        Err(error) if error.kind() == ErrorKind::ConfigInvalid => {
            let place = Place::of(ask.app.options(), &uri, &headers);
            (format!("{}{API}/calls/{id}/recording/stream", place.http), None)
        }
        Err(error) => return Err(error.into()),
    };
    ask.tell(Recording {
        recording_url,
        expires_at,
        content_type: CONTENT_TYPE,
        duration_seconds: recording.duration_ms / 1_000,
    })
}

/// The sound of a call that is over.
#[utoipa::path(get, operation_id = "stream_recording", path = "/calls/{id}/recording/stream", tag = "calls", params(("id" = String, Path)), responses((status = 200, content_type = "audio/wav"), (status = 206), (status = 400, body = Failure), (status = 404, body = Failure)))]
pub(super) async fn stream(ask: Ask, Path(id): Path<String>, headers: HeaderMap) -> Answer<Response> {
    let call = find(&ask, &id).await?;
    let response = recordings::stream(&ask.app, ask.tenant, call.record.id, &headers).await?;
    match response.status() {
        // The vendor's list of codes is closed (VS-005).
        StatusCode::RANGE_NOT_SATISFIABLE => Err(Problem::invalid("Range", "lies behind the end of the recording")),
        _ => Ok(response),
    }
}

async fn find(ask: &Ask, id: &str) -> Answer<StoredCall> {
    let call = calls::find(ask, id).await?;
    match calls::is_over(&call) {
        true => Ok(call),
        false => Err(Problem::new(Kind::Conflict, "a recording is there once the call is completed or failed")),
    }
}
