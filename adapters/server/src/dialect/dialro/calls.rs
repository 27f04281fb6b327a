//! Calls (DR-050 to DR-058).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use offhook::call::Speaker;
use offhook::call::record::Direction;
use offhook::dialect::Dialect;
use offhook::service::calls::{CallFilter, StoredCall};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{AGENT, CALL, NUMBER};
use crate::app::App;
use crate::id;
use crate::pages::{Page, Place};
use crate::problem::{Answer, Problem};
use crate::request::{Caller, Query};

/// DR-050
const STATUSES: [&str; 5] = ["ringing", "answered", "ended", "dropped", "failed"];
const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 100;

/// A call as the vendor shows it (DR-051).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = dialro::Call)]
pub(super) struct Shown {
    id: String,
    phone_number_id: Option<String>,
    agent_id: String,
    caller_number: Option<String>,
    callee_number: Option<String>,
    #[schema(pattern = "^(inbound|outbound)$")]
    direction: &'static str,
    #[schema(pattern = "^(ringing|answered|ended|dropped|failed)$")]
    status: &'static str,
    #[schema(format = "date-time")]
    started_at: String,
    #[schema(format = "date-time")]
    answered_at: Option<String>,
    #[schema(format = "date-time")]
    ended_at: Option<String>,
    duration_seconds: u64,
    talk_time_seconds: u64,
    hangup_reason: Option<&'static str>,
    #[schema(pattern = "^(caller|agent|system)$")]
    hangup_initiator: Option<&'static str>,
    transcript_summary: Option<String>,
    ai_cost_idr: Option<i64>,
    metadata: BTreeMap<String, String>,
}

/// A part of the list of calls (DR-053).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = dialro::Calls)]
pub(super) struct List {
    #[schema(value_type = Vec<Shown>)]
    calls: Arc<RawValue>,
    limit: u32,
    offset: u64,
    total: u64,
}

/// What was said (DR-A9).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = dialro::Transcript)]
pub(super) struct Transcript {
    call_id: String,
    transcript: Vec<Said>,
    transcript_summary: Option<String>,
}

/// One thing that was said.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = dialro::Said)]
pub(super) struct Said {
    #[schema(pattern = "^(agent|caller)$")]
    role: &'static str,
    text: String,
    at_ms: u64,
    interrupted: bool,
}

/// The tenant's calls, newest first.
#[utoipa::path(
    get,
    operation_id = "list_calls",
    path = "/calls",
    tag = "calls",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 100; 50 unless told"),
        ("offset" = Option<u64>, Query),
        ("status" = Option<String>, Query, description = "`ringing`, `answered`, `ended`, `dropped` or `failed`"),
        ("from" = Option<String>, Query, description = "RFC 3339 or a date; the first moment inside"),
        ("to" = Option<String>, Query, description = "RFC 3339 or a date; the first moment outside"),
    ),
    responses((status = 200, body = List), (status = 400)),
)]
pub(super) async fn list(State(app): State<App>, caller: Caller, query: Query) -> Answer<Json<List>> {
    let (offset, limit) = query.page(LIMIT_DEFAULT, LIMIT_MAX)?;
    let status = query.word("status", &STATUSES)?.map(|status| (Dialect::Dialro, status.to_owned()));
    let filter = CallFilter { from: query.moment("from")?, status, to: query.moment("to")?, ..CallFilter::default() };
    let calls = app.engine().calls();
    let version = calls.version(caller.tenant);
    let place = Place { list: "dialro/calls", query, tenant: caller.tenant };
    let make = async {
        let (calls, total) = calls.list(caller.tenant, &filter, offset, limit).await?;
        Ok((calls.iter().map(Shown::of).collect(), total))
    };
    let Page { items: calls, total } = app.pages().get(place, version, make).await?;
    Ok(Json(List { calls, limit, offset, total }))
}

/// One call.
#[utoipa::path(get, operation_id = "get_call", path = "/calls/{id}", tag = "calls", params(("id" = String, Path)), responses((status = 200, body = Shown), (status = 404)))]
pub(super) async fn get(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<Json<Shown>> {
    Ok(Json(Shown::of(&find(&app, &caller, &id).await?)))
}

/// What was said in a call.
#[utoipa::path(get, operation_id = "get_call_transcript", path = "/calls/{id}/transcript", tag = "calls", params(("id" = String, Path)), responses((status = 200, body = Transcript), (status = 404)))]
pub(super) async fn transcript(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Transcript>> {
    let call = find(&app, &caller, &id).await?;
    let said = |entry: &offhook::call::TranscriptEntry| Said {
        role: match entry.speaker {
            Speaker::Agent => "agent",
            Speaker::Caller => "caller",
        },
        text: entry.text.clone(),
        at_ms: entry.at_ms,
        interrupted: entry.cut,
    };
    Ok(Json(Transcript {
        call_id: id::show(CALL, call.record.id),
        transcript: call.record.transcript.iter().map(said).collect(),
        transcript_summary: summary(&call),
    }))
}

async fn find(app: &App, caller: &Caller, id: &str) -> Answer<StoredCall> {
    let call = app.engine().calls().get(caller.tenant, id::parse(id, CALL, "call")?).await?;
    call.ok_or_else(|| Problem::not_found("call"))
}

fn summary(call: &StoredCall) -> Option<String> {
    let summary = call.analysis.as_ref().map(|analysis| analysis.summary.clone());
    summary.filter(|summary| !summary.is_empty())
}

impl Shown {
    fn of(call: &StoredCall) -> Self {
        let record = &call.record;
        let words = Dialect::Dialro.words(record);
        Self {
            id: id::show(CALL, record.id),
            phone_number_id: call.number.map(|number| id::show(NUMBER, number)),
            agent_id: id::show(AGENT, record.agent),
            caller_number: record.from.as_ref().map(ToString::to_string),
            callee_number: record.to.as_ref().map(ToString::to_string),
            direction: match record.direction {
                Direction::Inbound => "inbound",
                Direction::Outbound => "outbound",
            },
            status: words.status,
            started_at: record.started_at.to_string(),
            answered_at: record.answered_at.map(|moment| moment.to_string()),
            ended_at: record.ended_at.map(|moment| moment.to_string()),
            duration_seconds: record.duration_ms / 1_000,
            talk_time_seconds: record.talk_time_ms / 1_000,
            hangup_reason: words.reason,
            hangup_initiator: words.party,
            transcript_summary: summary(call),
            ai_cost_idr: call.cost("IDR").map(|cost| cost.whole),
            metadata: record.variables.clone(),
        }
    }
}
