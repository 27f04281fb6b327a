//! Whoever does what is to be done for calls that are over.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};

use super::{AFTER_CALL, Facts, Pending, PushForm, PushMethod, TaskEvent, dialflo, result, voxstack, zone};
use crate::call::CallRecord;
use crate::call::record::CallStatus;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::TaskId;
use crate::provider::llm::{LlmEvent, LlmRequest};
use crate::provider::store::{Batch, Expect, Put, Record, RecordKey};
use crate::provider::{Llm, Store};
use crate::runtime::{self, Runtime};
use crate::service::analysis::{self, ANSWER_BYTES_MAX, Analysis, AnalysisPlan};
use crate::service::calls::{CALL, StoredCall};
use crate::service::outbox::{Attempts, Inline, Message, Outbox, Target};
use crate::service::recordings::{LINK_LIFETIME_MAX, Recordings};
use crate::service::webhooks::{self, Webhooks, from_value, to_value};

/// How often a model is asked about a call before rules answer.
pub const ATTEMPTS_MAX: u32 = 3;

/// Longest wait for a model's whole answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(45);

/// How often a job may fail, for whatever reason, before it is given up: five hours.
const FAILURES_MAX: u32 = 12;

/// Calls that one engine works on at once: most of them wait for a model.
const CONCURRENT_MAX: usize = 64;

/// A job whose worker died is done by another after this, which is longer than anything it waits for.
const LEASE: Duration = Duration::from_secs(120);

/// How often jobs are looked for when nobody says that there are any.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How soon a job that failed is tried again; each further time four times as late, up to the longest.
const RETRY_DELAY: Duration = Duration::from_secs(5);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(1_800);

/// What is noted of a job.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Job {
    /// How often it failed.
    attempts: u32,
}

/// The worker.
#[derive(Clone)]
pub(crate) struct AfterCalls {
    llm: Arc<dyn Llm>,
    outbox: Outbox,
    recordings: Recordings,
    runtime: Arc<dyn Runtime>,
    store: Arc<dyn Store>,
    wake: async_channel::Sender<()>,
    webhooks: Webhooks,
    woken: async_channel::Receiver<()>,
}

impl AfterCalls {
    pub(crate) fn new(
        runtime: Arc<dyn Runtime>,
        store: Arc<dyn Store>,
        llm: Arc<dyn Llm>,
        outbox: Outbox,
        webhooks: Webhooks,
        recordings: Recordings,
    ) -> Self {
        let (wake, woken) = async_channel::bounded(1);
        Self { llm, outbox, recordings, runtime, store, wake, webhooks, woken }
    }

    /// Says that a job was written.
    pub(crate) fn wake(&self) {
        // A full channel is as good as a sent message: the worker will look.
        let _ = self.wake.try_send(());
    }

    /// Works until `stop` is closed.
    pub(crate) async fn run(self, stop: async_channel::Receiver<()>) {
        let mut working = FuturesUnordered::new();
        while !stop.is_closed() {
            let room = CONCURRENT_MAX - working.len();
            if room > 0 {
                match self.claim(room).await {
                    Ok(jobs) => working.extend(jobs.into_iter().map(|job| self.work(job))),
                    Err(error) => tracing::warn!(%error, "calls that are over could not be claimed"),
                }
            }
            let nap = self.runtime.sleep_until(self.runtime.now() + POLL_INTERVAL);
            futures_util::select_biased! {
                _ = std::pin::pin!(stop.recv().fuse()) => return,
                _ = working.select_next_some() => {}
                _ = std::pin::pin!(self.woken.recv().fuse()) => {}
                () = nap.fuse() => {}
            }
        }
    }

    /// Adds the news that a task's call was begun to the commit that begins it.
    pub(crate) fn tell_begun(&self, batch: &mut Batch, stored: &StoredCall) {
        if let (Some(task), Some(pending)) = (stored.record.task, &stored.after) {
            self.enqueue(batch, task_message(pending, TaskEvent::CallStarted, task, &stored.record, None));
        }
    }

    async fn claim(&self, room: usize) -> Result<Vec<Record>> {
        let limit = u32::try_from(room).unwrap_or(u32::MAX);
        self.store.claim(AFTER_CALL.to_owned(), self.runtime.wall_clock(), LEASE, limit).await
    }

    async fn work(&self, job: Record) {
        let (id, attempts) = (job.key.id.clone(), from_value::<Job>(&job.body).unwrap_or_default().attempts);
        let Err(error) = self.finish(job.clone(), attempts).await else { return };
        if attempts >= FAILURES_MAX {
            tracing::error!(%error, call = id, "what is to be done for a call that is over is given up");
            // Else it is due again when its lease is over, and given up then.
            let _ = self.drop_job(job).await;
            return;
        }
        tracing::warn!(%error, call = id, "what is to be done for a call that is over is put off");
        let _ = self.postpone(job, attempts + 1).await;
    }

    async fn finish(&self, job: Record, attempts: u32) -> Result<()> {
        let call = RecordKey::new(job.key.tenant, CALL, &job.key.id);
        let Some(row) = self.store.get(call).await? else { return self.drop_job(job).await };
        let mut stored: StoredCall = from_value(&row.body)?;
        let Some(pending) = stored.after.take() else { return self.drop_job(job).await };
        if let Some(plan) = &pending.analysis
            && stored.analysis.is_none()
        {
            match self.analyse(plan, &stored.record).await {
                Ok(analysis) => stored.analysis = Some(analysis),
                Err(error) if attempts + 1 < ATTEMPTS_MAX => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, call = %stored.record.id, "a call is analysed by rules");
                    stored.analysis = Some(analysis::by_rules(plan, &stored.record));
                }
            }
        }
        let mut batch = Batch::default();
        self.webhooks.tell(&mut batch, &mut stored).await?;
        for message in self.messages(&pending, &stored).await? {
            self.enqueue(&mut batch, Some(message));
        }
        batch.put(Put {
            key: row.key,
            expect: Expect::Revision(row.revision),
            indexes: row.indexes,
            due_at: row.due_at,
            body: to_value(&stored)?,
        });
        batch.delete(job.key, Expect::Revision(job.revision));
        self.store.commit(batch).await?;
        self.outbox.wake();
        Ok(())
    }

    /// What the model says of a call, or rules where there is nothing to ask it.
    pub(super) async fn analyse(&self, plan: &AnalysisPlan, call: &CallRecord) -> Result<Analysis> {
        let Some(request) = analysis::request(plan, call) else { return Ok(analysis::by_rules(plan, call)) };
        let answer = self.ask(request);
        let answer = runtime::timeout(&*self.runtime, ANSWER_TIMEOUT, "analysis.ask", answer).await?;
        analysis::parse(plan, call, &answer)
    }

    async fn ask(&self, request: LlmRequest) -> Result<String> {
        let mut events = self.llm.generate(request).await?;
        let mut answer = String::new();
        while let Some(event) = events.next().await {
            match event? {
                LlmEvent::Text(text) => answer.push_str(&text),
                LlmEvent::Finished { .. } => break,
                _ => {}
            }
            if answer.len() > ANSWER_BYTES_MAX {
                let message = "the model's answer is too long";
                return Err(Error::new(ErrorKind::Rejected, "analysis.ask", message));
            }
        }
        Ok(answer)
    }

    /// All that is to be told of the call.
    async fn messages(&self, pending: &Pending, stored: &StoredCall) -> Result<Vec<Message>> {
        let call = &stored.record;
        let by_rules;
        let analysis = match &stored.analysis {
            Some(analysis) => analysis,
            None => {
                by_rules = analysis::by_rules(&AnalysisPlan::default(), call);
                &by_rules
            }
        };
        let facts = Facts {
            agent_name: &pending.agent_name,
            analysis,
            call,
            now: self.runtime.wall_clock(),
            recording_url: self.recording_url(call).await,
            values: &pending.values,
            // It was looked at when it was configured.
            zone: zone(pending.zone.as_deref()).unwrap_or(jiff::tz::TimeZone::UTC),
        };
        let mut messages: Vec<_> = (0..)
            .zip(&pending.pushes)
            .map(|(index, push)| {
                let told = match &push.form {
                    PushForm::CallResult => result::result(&facts),
                    PushForm::Dialflo => dialflo::body(&facts),
                    PushForm::KeyMapper(keys) => result::mapped(&facts, keys),
                };
                let target = push.target(&told);
                // What a GET tells stands in its query.
                let body = if push.method == PushMethod::Get { String::new() } else { told.to_string() };
                message(
                    call,
                    "call.result",
                    &format!("push-{}", push.id),
                    webhooks::AFTER_ALL_EVENTS + index,
                    target,
                    body,
                )
            })
            .collect();
        if let Some(task) = call.task {
            let event = match call.status {
                CallStatus::Completed => TaskEvent::CallCompleted,
                _ => TaskEvent::CallFailed,
            };
            messages.extend(task_message(pending, event, task, call, stored.analysis.as_ref()));
        }
        Ok(messages)
    }

    async fn recording_url(&self, call: &CallRecord) -> Option<String> {
        call.recording.as_ref()?;
        match self.recordings.link(call.tenant, call.id, LINK_LIFETIME_MAX).await {
            Ok(link) => Some(link.url),
            Err(error) => {
                tracing::warn!(%error, "a recording is told of without a link");
                None
            }
        }
    }

    /// A URL that was fine once and is out of reach now keeps nothing else from being told.
    fn enqueue(&self, batch: &mut Batch, message: Option<Message>) {
        if let Some(message) = message
            && let Err(error) = self.outbox.enqueue(batch, message)
        {
            tracing::warn!(%error, "a message cannot be sent");
        }
    }

    async fn postpone(&self, job: Record, attempts: u32) -> Result<()> {
        let wait = RETRY_DELAY.saturating_mul(4_u32.saturating_pow(attempts.saturating_sub(1))).min(RETRY_DELAY_MAX);
        let put = Put::new(job.key, Expect::Revision(job.revision), to_value(&Job { attempts })?);
        let mut batch = Batch::default();
        batch.put(put.due_at(self.runtime.wall_clock() + wait));
        self.store.commit(batch).await.map(|_| ())
    }

    async fn drop_job(&self, job: Record) -> Result<()> {
        let mut batch = Batch::default();
        batch.delete(job.key, Expect::Revision(job.revision));
        self.store.commit(batch).await.map(|_| ())
    }
}

/// What a task's owner is told, if that was asked for.
fn task_message(
    pending: &Pending,
    event: TaskEvent,
    task: TaskId,
    call: &CallRecord,
    analysis: Option<&Analysis>,
) -> Option<Message> {
    let webhook = pending.task_webhook.as_ref().filter(|webhook| webhook.events.contains(&event))?;
    let mut target = Inline::new(webhook.url.clone(), super::PUSH_TIMEOUT);
    target.attempts = if webhook.is_retried { Attempts::Retried } else { Attempts::Once };
    let place = if event == TaskEvent::CallStarted { 0 } else { webhooks::AFTER_ALL_EVENTS };
    let body = voxstack::body(event.as_str(), task, call, analysis);
    Some(message(call, event.as_str(), "task", place, target, body.to_string()))
}

fn message(call: &CallRecord, event: &str, to: &str, place: u64, target: Inline, body: String) -> Message {
    Message {
        body,
        event: event.to_owned(),
        event_id: format!("{}:{event}", call.id),
        id: format!("{}:{to}:{event}", call.id).replace('.', "_"),
        // One that is not taken keeps none of the others.
        lane: format!("{}:{to}", call.id),
        place,
        target: Target::Inline(Box::new(target)),
        tenant: call.tenant,
    }
}
