//! What was said in a call (VS-042, VS-043).

use axum::extract::Path;
use offhook::call::{Speaker, TranscriptEntry};
use serde::Serialize;
use utoipa::ToSchema;

use super::calls;
use super::envelope::{Ask, Envelope, Failure, Told};
use crate::problem::{Kind, Problem};

/// Whose transcripts are fetched.
const PROVIDER: &str = "elevenlabs";

/// The transcript of a call.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::Transcript)]
pub(super) struct Transcript {
    #[schema(format = "uuid")]
    call_id: String,
    transcript: Vec<Said>,
}

/// One thing that was said, as far as the other side heard it (VS-065).
#[derive(Clone, Debug, Eq, PartialEq, Serialize, ToSchema)]
#[schema(as = voxstack::Said)]
pub(super) struct Said {
    #[schema(pattern = "^(agent|user)$")]
    role: &'static str,
    message: String,
    time_in_call_secs: u64,
}

/// The stored transcript.
#[utoipa::path(get, operation_id = "get_transcript", path = "/calls/{id}/transcript", tag = "calls", params(("id" = String, Path)), responses((status = 200, body = Envelope<Transcript>), (status = 404, body = Failure)))]
pub(super) async fn get(ask: Ask, Path(id): Path<String>) -> Told<Transcript> {
    let call = calls::find(&ask, &id).await?;
    if call.record.transcript.is_empty() {
        let message = "no transcript is stored: POST to this path to fetch it";
        return Err(Problem::new(Kind::NotFound, message));
    }
    ask.tell(Transcript { call_id: call.record.id.to_string(), transcript: said(&call.record.transcript) })
}

/// Fetches the transcript from ElevenLabs, which this server is not connected with (VS-A9).
#[utoipa::path(post, operation_id = "fetch_transcript", path = "/calls/{id}/transcript", tag = "calls", params(("id" = String, Path)), responses((status = 404, body = Failure), (status = 503, body = Failure)))]
pub(super) async fn fetch(ask: Ask, Path(id): Path<String>) -> Told<Transcript> {
    calls::find(&ask, &id).await?;
    let problem =
        Problem::new(Kind::External, "ElevenLabs is not configured: calls of this server are transcribed here");
    Err(problem.with("provider", PROVIDER))
}

/// Entries in the vendor's form.
pub(super) fn said<'a>(entries: impl IntoIterator<Item = &'a TranscriptEntry>) -> Vec<Said> {
    let said = |entry: &TranscriptEntry| Said {
        role: match entry.speaker {
            Speaker::Agent => "agent",
            Speaker::Caller => "user",
        },
        message: entry.text.clone(),
        time_in_call_secs: entry.at_ms / 1_000,
    };
    entries.into_iter().map(said).collect()
}
