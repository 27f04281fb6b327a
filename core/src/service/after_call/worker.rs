//! Whoever does what is to be done for calls that are over.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AFTER_CALL, Facts, Pending, PushForm, TaskEvent, dialflo, mapper, result, voxstack, zone};
use crate::billing::{Resource, Usage};
use crate::call::CallRecord;
use crate::call::record::CallStatus;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::TaskId;
use crate::provider::llm::{LlmEvent, LlmRequest};
use crate::provider::store::{Batch, Expect, Put, Record, RecordKey};
use crate::provider::{Llm, Store};
use crate::runtime::{self, Runtime};
use crate::service::analysis::{self, ANSWER_BYTES_MAX, Analysis, AnalysisPlan};
use crate::service::calls::{CALL, Prices, StoredCall};
use crate::service::outbox::{Attempts, Inline, Message, Outbox, Scheme, Target};
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

/// A job whose worker died is done by another after this, or, once a model is asked, after what is longer than its answer.
const LEASE: Duration = Duration::from_secs(15);
const ASKING_LEASE: Duration = Duration::from_secs(120);

/// How often jobs are looked for when nobody says that there are any.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How soon a job that failed is tried again; each further time four times as late, up to the longest.
const RETRY_DELAY: Duration = Duration::from_secs(5);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(1_800);

/// What is noted of a job.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Job {
    /// How often it failed.
    attempts: u32,
    /// What that took of the model.
    #[serde(default)]
    usage: Usage,
}

/// The worker.
#[derive(Clone)]
pub(crate) struct AfterCalls {
    llm: Arc<dyn Llm>,
    outbox: Outbox,
    prices: Arc<Prices>,
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
        prices: Arc<Prices>,
    ) -> Self {
        let (wake, woken) = async_channel::bounded(1);
        Self { llm, outbox, prices, recordings, runtime, store, wake, webhooks, woken }
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
    pub(crate) fn tell_begun(&self, batch: &mut Batch, stored: &StoredCall) -> Result<()> {
        let (Some(task), Some(pending)) = (stored.record.task, &stored.after) else { return Ok(()) };
        let message = task_message(pending, TaskEvent::CallStarted, task, &stored.record, None);
        message.map_or(Ok(()), |message| self.outbox.enqueue(batch, message))
    }

    async fn claim(&self, room: usize) -> Result<Vec<Record>> {
        let limit = u32::try_from(room).unwrap_or(u32::MAX);
        self.store.claim(AFTER_CALL.to_owned(), self.runtime.wall_clock(), LEASE, limit).await
    }

    async fn work(&self, mut row: Record) {
        let (id, mut job) = (row.key.id.clone(), from_value::<Job>(&row.body).unwrap_or_default());
        let Err(error) = self.finish(&mut row, &mut job).await else { return };
        if job.attempts >= FAILURES_MAX {
            tracing::error!(%error, call = id, "what is to be done for a call that is over is given up");
            // Else it is due again when its lease is over, and given up then.
            let _ = self.drop_job(row).await;
            return;
        }
        tracing::warn!(%error, call = id, "what is to be done for a call that is over is put off");
        job.attempts += 1;
        let _ = self.postpone(row, &job).await;
    }

    async fn finish(&self, row: &mut Record, job: &mut Job) -> Result<()> {
        let call = RecordKey::new(row.key.tenant, CALL, &row.key.id);
        let Some(stored_row) = self.store.get(call).await? else { return self.drop_job(row.clone()).await };
        let mut stored: StoredCall = from_value(&stored_row.body)?;
        let Some(pending) = stored.after.take() else { return self.drop_job(row.clone()).await };
        if let Some(plan) = &pending.analysis
            && stored.analysis.is_none()
        {
            self.keep(row, job).await?;
            stored.analysis = Some(self.analyse_or_retry(plan, &stored.record, job).await?);
            stored.usage.merge(&job.usage);
            stored.costs = self.prices.costs(&stored.usage);
        }
        let mut batch = Batch::default();
        self.webhooks.tell(&mut batch, &mut stored).await?;
        self.tell(&mut batch, &pending, &stored).await?;
        batch.put(Put {
            key: stored_row.key,
            expect: Expect::Revision(stored_row.revision),
            indexes: stored_row.indexes,
            due_at: stored_row.due_at,
            body: to_value(&stored)?,
        });
        batch.delete(row.key.clone(), Expect::Revision(row.revision));
        self.store.commit(batch).await?;
        self.outbox.wake();
        Ok(())
    }

    /// Keeps a job for as long as a model may take.
    async fn keep(&self, row: &mut Record, job: &Job) -> Result<()> {
        let mut batch = Batch::default();
        let put = Put::new(row.key.clone(), Expect::Revision(row.revision), to_value(job)?);
        batch.put(put.due_at(self.runtime.wall_clock() + ASKING_LEASE));
        self.store.commit(batch).await?;
        row.revision += 1;
        Ok(())
    }

    /// What the model says of a call; an error as long as it may be asked again, and then what rules say.
    async fn analyse_or_retry(&self, plan: &AnalysisPlan, call: &CallRecord, job: &mut Job) -> Result<Analysis> {
        match self.analyse(plan, call, &mut job.usage).await {
            Err(error) if job.attempts + 1 < ATTEMPTS_MAX => Err(error),
            Err(error) => {
                tracing::warn!(%error, call = %call.id, "a call is analysed by rules");
                Ok(analysis::by_rules(plan, call))
            }
            analysis => analysis,
        }
    }

    /// What the model says of a call, or rules where there is nothing to ask it.
    pub(super) async fn analyse(&self, plan: &AnalysisPlan, call: &CallRecord, usage: &mut Usage) -> Result<Analysis> {
        let Some(request) = analysis::request(plan, call) else { return Ok(analysis::by_rules(plan, call)) };
        let answer = self.ask(request, usage);
        let answer = runtime::timeout(&*self.runtime, ANSWER_TIMEOUT, "analysis.ask", answer).await?;
        analysis::parse(plan, call, &answer)
    }

    async fn ask(&self, request: LlmRequest, usage: &mut Usage) -> Result<String> {
        let model = self.llm.info();
        usage.add(&model, Resource::Requests, 1);
        let mut events = self.llm.generate(request).await?;
        let mut answer = String::new();
        while let Some(event) = events.next().await {
            match event? {
                LlmEvent::Text(text) => answer.push_str(&text),
                LlmEvent::Finished { .. } => break,
                event => usage.add_generated(&model, &event),
            }
            if answer.len() > ANSWER_BYTES_MAX {
                let message = "the model's answer is too long";
                return Err(Error::new(ErrorKind::Rejected, "analysis.ask", message));
            }
        }
        Ok(answer)
    }

    /// Adds all that is to be told of the call. What cannot be sent is dead at once, and keeps nothing else from being told.
    async fn tell(&self, batch: &mut Batch, pending: &Pending, stored: &StoredCall) -> Result<()> {
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
        for (index, push) in (0..).zip(&pending.pushes) {
            let (to, place) = (format!("push-{}", push.id), webhooks::AFTER_ALL_EVENTS + index);
            let message = |target, body| message(call, "call.result", &to, place, target, body);
            match told(&facts, &push.form).and_then(|told| push.target(&told)) {
                Ok((target, body)) => self.outbox.enqueue(batch, message(target, body))?,
                Err(error) => self.outbox.bury(batch, message(push.bare_target(), String::new()), &error)?,
            }
        }
        let event = match call.status {
            CallStatus::Completed => TaskEvent::CallCompleted,
            _ => TaskEvent::CallFailed,
        };
        let message = call.task.and_then(|task| task_message(pending, event, task, call, stored.analysis.as_ref()));
        message.map_or(Ok(()), |message| self.outbox.enqueue(batch, message))
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

    async fn postpone(&self, row: Record, job: &Job) -> Result<()> {
        let failures = job.attempts.saturating_sub(1);
        let wait = RETRY_DELAY.saturating_mul(4_u32.saturating_pow(failures)).min(RETRY_DELAY_MAX);
        let put = Put::new(row.key, Expect::Revision(row.revision), to_value(job)?);
        let mut batch = Batch::default();
        batch.put(put.due_at(self.runtime.wall_clock() + wait));
        self.store.commit(batch).await.map(|_| ())
    }

    async fn drop_job(&self, row: Record) -> Result<()> {
        let mut batch = Batch::default();
        batch.delete(row.key, Expect::Revision(row.revision));
        self.store.commit(batch).await.map(|_| ())
    }
}

/// What a push of this form tells.
fn told(facts: &Facts<'_>, form: &PushForm) -> Result<Value> {
    match form {
        PushForm::CallResult => Ok(result::result(facts)),
        PushForm::Dialflo => Ok(dialflo::body(facts)),
        PushForm::KeyMapper(keys) => mapper::fill(keys, &result::values(facts)),
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
    target.scheme = Scheme::Tenant(super::SIGNATURE_HEADER.to_owned());
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
