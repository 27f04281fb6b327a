//! What happens when a call is over: its analysis, and what customers' systems are told of it beside their webhooks.
//!
//! A call that has anything of this to come writes a job in the commit of its end. A worker claims the job, asks the model,
//! and writes analysis, events and messages in one commit; the [`outbox`](super::outbox) delivers them. So a call ends as
//! fast as ever, and nothing is told twice or forgotten.

mod dialflo;
pub mod mapper;
mod on_request;
mod push;
mod result;
mod voxstack;
mod worker;

use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use push::{Push, PushForm, PushMethod, url_telling};
pub(crate) use worker::AfterCalls;
pub use worker::{ANSWER_TIMEOUT, ATTEMPTS_MAX};

use self::push::PendingPush;
use super::analysis::{self, Analysis, AnalysisPlan, Insights};
use super::clock::{self, zone};
use super::outbox::Outbox;
use super::tasks::Task;
use super::webhooks::to_value;
use crate::call::CallRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::TenantId;
use crate::provider::reach::Reach;
use crate::provider::store::{Expect, Put, RecordKey};
use crate::time::Timestamp;

/// The record kind of what is to be done for a call that is over.
pub const AFTER_CALL: &str = "after_call";

/// Pushes that an agent may have.
pub const PUSHES_MAX: usize = 8;

/// Longest wait for the answer to a push; VoxStack's contract gives its webhooks as long (VS-072).
pub const PUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// The header of a push and of a task's webhook that holds its [signature](crate::signing::body) by the secret of the tenant
/// (VS-073): of the body, or with GET of the query.
pub const SIGNATURE_HEADER: &str = "x-offhook-signature";

/// What is done when an agent's call is over.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AfterCall {
    /// What to find out; `None` analyses nothing.
    pub analysis: Option<AnalysisPlan>,
    /// Who is told.
    pub pushes: Vec<Push>,
    /// The IANA time zone of the moments that are told; `None` is UTC.
    pub zone: Option<String>,
}

/// Where the owner of a task hears of its calls (VS-070 to VS-074).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskWebhook {
    /// Of what; never empty.
    pub events: Vec<TaskEvent>,
    /// Whether to try again what was not taken. The vendor does not; what was on its way when an engine was killed is sent
    /// again all the same, because nobody knows whether it came.
    #[serde(default)]
    pub is_retried: bool,
    /// `https`.
    pub url: String,
}

/// What happens to a task's call.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskEvent {
    /// It was answered and is over.
    CallCompleted,
    /// It is over without that.
    CallFailed,
    /// It was begun; it may not ring yet.
    CallStarted,
}

impl TaskEvent {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::CallStarted, Self::CallCompleted, Self::CallFailed];

    /// The vendor's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CallCompleted => "call_completed",
            Self::CallFailed => "call_failed",
            Self::CallStarted => "call_started",
        }
    }
}

impl AfterCall {
    /// `ConfigInvalid`, with what is wrong, when it cannot be done.
    pub fn check(&self, reach: &Reach) -> Result<()> {
        if self.pushes.len() > PUSHES_MAX {
            return Err(invalid("there are too many pushes"));
        }
        zone(self.zone.as_deref())?;
        for (index, push) in self.pushes.iter().enumerate() {
            if self.pushes[..index].iter().any(|other| other.id == push.id) {
                return Err(invalid("two pushes have one id").with_context("push", &push.id));
            }
            push.check(reach).map_err(|error| error.with_context("push", &push.id))?;
        }
        Ok(())
    }

    /// What of it stands in the row of a call: nothing when nothing is to be done.
    pub(crate) fn pending(
        &self,
        outbox: &Outbox,
        tenant: TenantId,
        agent_name: &str,
        values: &Map<String, Value>,
    ) -> Result<Option<Pending>> {
        if self.analysis.is_none() && self.pushes.is_empty() {
            return Ok(None);
        }
        Ok(Some(Pending {
            agent_name: agent_name.to_owned(),
            analysis: self.analysis.clone(),
            pushes: self.pushes.iter().map(|push| push.pending(outbox, tenant)).collect::<Result<_>>()?,
            task_webhook: None,
            values: values.clone(),
            zone: self.zone.clone(),
        }))
    }
}

/// What is still to be done for a call when it is over, as its row keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    agent_name: String,
    analysis: Option<AnalysisPlan>,
    pushes: Vec<PendingPush>,
    task_webhook: Option<TaskWebhook>,
    values: Map<String, Value>,
    zone: Option<String>,
}

impl Pending {
    /// What an agent's plan wants done for a call, and its task's owner.
    pub(crate) fn of(plan: Option<Self>, task: Option<Task>) -> Option<Self> {
        match task.and_then(|task| task.wish.webhook) {
            Some(webhook) => Some(Self { task_webhook: Some(webhook), ..plan.unwrap_or_default() }),
            None => plan,
        }
    }

    /// With what was found out about the caller.
    pub(crate) fn with_values(mut self, values: &Map<String, Value>) -> Self {
        self.values.clone_from(values);
        self
    }

    /// Whether events that tell of the analysis must wait for it.
    pub(crate) fn awaits_analysis(&self) -> bool {
        self.analysis.is_some()
    }
}

/// The job of a call that is over, to be written with its end.
pub(crate) fn job_of(call: &CallRecord, now: Timestamp) -> Result<Put> {
    let key = RecordKey::new(call.tenant, AFTER_CALL, call.id);
    Ok(Put::new(key, Expect::Any, to_value(&worker::Job::default())?).due_at(now))
}

/// What is known when it is told.
struct Facts<'a> {
    agent_name: &'a str,
    analysis: &'a Analysis,
    call: &'a CallRecord,
    now: Timestamp,
    recording_url: Option<String>,
    values: &'a Map<String, Value>,
    zone: TimeZone,
}

impl Facts<'_> {
    /// A moment by the clock on the wall of the zone.
    fn zoned(&self, moment: Timestamp, format: &str) -> String {
        clock::zoned(moment, &self.zone, format)
    }

    fn insights_by_rules(&self) -> Insights {
        analysis::insights_by_rules(self.call)
    }
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::ConfigInvalid, "after_call", message)
}
