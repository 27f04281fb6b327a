//! Calls (VS-040, VS-041, VS-048 to VS-050).

use std::time::Duration;

use axum::extract::Path;
use offhook::call::record::Direction;
use offhook::dialect::Dialect;
use offhook::engine::CallHandle;
use offhook::ids::CallId;
use offhook::service::calls::{CallFilter, StoredCall};
use serde::Serialize;
use utoipa::ToSchema;

use super::envelope::{Ask, Envelope, Failure, Listed, Told, page};
use super::report::Report;
use super::transcript::{self, Said};
use crate::id;
use crate::problem::{Answer, Kind, Problem};
use crate::request::Query;

/// VS-050
const STATUSES: [&str; 4] = ["initiated", "in_progress", "completed", "failed"];

/// Longest wait for a call that was told to end.
const END_WAIT: Duration = Duration::from_secs(5);

/// A call as the vendor shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::Call)]
pub(super) struct Shown {
    #[schema(format = "uuid")]
    id: String,
    #[schema(format = "uuid")]
    task_id: Option<String>,
    #[schema(format = "uuid")]
    agent_id: String,
    #[schema(pattern = "^(initiated|in_progress|completed|failed)$")]
    status: &'static str,
    #[schema(pattern = "^(inbound|outbound)$")]
    direction: &'static str,
    from_number: Option<String>,
    to_number: Option<String>,
    #[schema(format = "date-time")]
    started_at: String,
    #[schema(format = "date-time")]
    answered_at: Option<String>,
    #[schema(format = "date-time")]
    ended_at: Option<String>,
    duration_seconds: u64,
    /// Why it ended.
    end_reason: Option<String>,
}

/// A call, what was said in it and what it came to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::CallDetails)]
pub(super) struct Details {
    #[serde(flatten)]
    call: Shown,
    transcript: Vec<Said>,
    /// `null` until it was made.
    report: Option<Report>,
}

/// What came of an order to end a call.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::Ended)]
pub(super) struct Ended {
    #[schema(format = "uuid")]
    call_id: String,
    message: &'static str,
    status: &'static str,
}

/// The tenant's calls, newest first.
#[utoipa::path(
    get,
    operation_id = "list_calls",
    path = "/calls",
    tag = "calls",
    params(
        ("task_id" = Option<String>, Query),
        ("agent_id" = Option<String>, Query),
        ("status" = Option<String>, Query, description = "`initiated`, `in_progress`, `completed` or `failed`"),
        ("limit" = Option<u32>, Query, description = "1 to 100; 50 unless told"),
        ("offset" = Option<u64>, Query),
    ),
    responses((status = 200, body = Envelope<Vec<Shown>>), (status = 400, body = Failure)),
)]
pub(super) async fn list(ask: Ask, query: Query) -> Listed {
    let status = query.word("status", &STATUSES)?.map(|status| (Dialect::VoxStack, status.to_owned()));
    let (agent, task) = (query.value("agent_id", "a UUID")?, query.value("task_id", "a UUID")?);
    let (offset, limit) = page(&query)?;
    let filter = CallFilter { agent, status, task, ..CallFilter::default() };
    let calls = ask.engine().calls();
    let version = calls.version(ask.tenant);
    let make = async {
        let (calls, total) = calls.list(ask.tenant, &filter, offset, limit).await?;
        Ok((calls.iter().map(Shown::of).collect(), total))
    };
    ask.page("voxstack/calls", query.clone(), version, make, (offset, limit)).await
}

/// One call, with transcript and report.
#[utoipa::path(get, operation_id = "get_call", path = "/calls/{id}", tag = "calls", params(("id" = String, Path)), responses((status = 200, body = Envelope<Details>), (status = 404, body = Failure)))]
pub(super) async fn get(ask: Ask, Path(id): Path<String>) -> Told<Details> {
    let call = find(&ask, &id).await?;
    let report = call.analysis.as_ref().map(Report::of);
    ask.tell(Details { call: Shown::of(&call), transcript: transcript::said(&call.record.transcript), report })
}

/// Ends a call that goes on.
#[utoipa::path(post, operation_id = "end_call", path = "/calls/{id}/end", tag = "calls", params(("id" = String, Path)), responses((status = 200, body = Envelope<Ended>), (status = 400, body = Failure), (status = 404, body = Failure)))]
pub(super) async fn end(ask: Ask, Path(id): Path<String>) -> Told<Ended> {
    stop(&ask, &id, CallHandle::hang_up, "Call ended").await
}

/// Calls a call off that goes on: it has failed.
#[utoipa::path(post, operation_id = "cancel_call", path = "/calls/{id}/cancel", tag = "calls", params(("id" = String, Path)), responses((status = 200, body = Envelope<Ended>), (status = 400, body = Failure), (status = 404, body = Failure)))]
pub(super) async fn cancel(ask: Ask, Path(id): Path<String>) -> Told<Ended> {
    stop(&ask, &id, CallHandle::cancel, "Call cancelled").await
}

/// The call, if the tenant has it.
pub(super) async fn find(ask: &Ask, id: &str) -> Answer<StoredCall> {
    let id: CallId = id::parse(id, "", "call")?;
    ask.engine().calls().get(ask.tenant, id).await?.ok_or_else(|| Problem::not_found("call"))
}

/// Whether nothing more will happen in the call.
pub(super) fn is_over(call: &StoredCall) -> bool {
    call.lease.is_none()
}

async fn stop(
    ask: &Ask,
    id: &str,
    order: fn(&CallHandle) -> offhook::Result<()>,
    message: &'static str,
) -> Told<Ended> {
    let call = find(ask, id).await?;
    let over = || Problem::new(Kind::Conflict, "the call is over");
    if is_over(&call) {
        return Err(over());
    }
    let id = call.record.id;
    let Some((handle, _)) = ask.engine().follow(ask.tenant, id) else {
        let now = find(ask, &id.to_string()).await?;
        return Err(match is_over(&now) {
            true => over(),
            false => Problem::new(Kind::External, "the call is held by another server"),
        });
    };
    order(&handle)?;
    let record = match tokio::time::timeout(END_WAIT, handle.finished()).await {
        Ok(Ok((record, _))) => record,
        Ok(Err(_)) | Err(_) => find(ask, &id.to_string()).await?.record,
    };
    ask.tell(Ended { call_id: id.to_string(), message, status: Dialect::VoxStack.words(&record).status })
}

impl Shown {
    fn of(call: &StoredCall) -> Self {
        let record = &call.record;
        Self {
            id: record.id.to_string(),
            task_id: record.task.map(|task| task.to_string()),
            agent_id: record.agent.to_string(),
            status: Dialect::VoxStack.words(record).status,
            direction: match record.direction {
                Direction::Inbound => "inbound",
                Direction::Outbound => "outbound",
            },
            from_number: record.from.as_ref().map(ToString::to_string),
            to_number: record.to.as_ref().map(ToString::to_string),
            started_at: record.started_at.to_string(),
            answered_at: record.answered_at.map(|moment| moment.to_string()),
            ended_at: record.ended_at.map(|moment| moment.to_string()),
            duration_seconds: record.duration_ms / 1_000,
            end_reason: record.end_reason.map(|reason| reason.to_string()),
        }
    }
}
