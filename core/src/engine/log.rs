//! The call's journal on its way to the store: in batches, in order, beside the call and never in its way.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::call::{CallConfig, Input, Offer, Output};
use crate::error::{ErrorKind, Result, Retry};
use crate::journal::{self, Writer};
use crate::provider::Store;
use crate::provider::store::LogKey;
use crate::runtime::Runtime;
use crate::time::Instant;

/// Entries in one append.
const BATCH_MAX: usize = 512;

/// Entries that wait for a slow store; a journal that falls further behind is given up.
const WAITING_MAX: usize = 16 * 1024;

/// Attempts at one append: a store may be away for some ten minutes.
const ATTEMPTS_MAX: u32 = 600;

/// Wait between two attempts.
const RETRY_DELAY: Duration = Duration::from_secs(1);

type Append = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Writes one call's journal.
pub(super) struct Log {
    appending: Option<(Append, usize)>,
    given_up: bool,
    key: LogKey,
    runtime: Arc<dyn Runtime>,
    seq: u64,
    store: Arc<dyn Store>,
    waiting: Vec<Bytes>,
    writer: Writer,
}

impl Log {
    pub(super) fn new(
        runtime: Arc<dyn Runtime>,
        store: Arc<dyn Store>,
        start: Instant,
        config: &CallConfig,
        offer: &Offer,
    ) -> Self {
        let key = journal::log_key(config.tenant, config.id);
        let (writer, first) = Writer::new(start, config, offer);
        Self { appending: None, given_up: false, key, runtime, seq: 0, store, waiting: vec![first], writer }
    }

    pub(super) fn input(&mut self, at: Instant, input: &Input) {
        self.write(|writer| writer.input(at, input));
    }

    pub(super) fn timeout(&mut self, at: Instant) {
        self.write(|writer| writer.timeout(at));
    }

    pub(super) fn output(&mut self, output: &Output) {
        if !self.given_up {
            self.writer.output(output);
        }
    }

    pub(super) fn end(&mut self, at: Instant) {
        self.write(|writer| writer.end(at));
    }

    fn write(&mut self, entry: impl FnOnce(&mut Writer) -> Bytes) {
        if self.given_up {
            return;
        }
        if self.waiting.len() >= WAITING_MAX {
            self.give_up("the store is too slow for the journal");
            return;
        }
        self.waiting.push(entry(&mut self.writer));
    }

    /// Gets the appends on. Ready once everything is written or given up.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some((append, length)) = &mut self.appending {
                let (result, length) = (std::task::ready!(append.as_mut().poll(context)), *length);
                self.appending = None;
                match result {
                    Ok(()) => self.seq += length as u64,
                    Err(error) => self.give_up(error.message()),
                }
            }
            if self.waiting.is_empty() {
                return Poll::Ready(());
            }
            let rest = self.waiting.split_off(self.waiting.len().min(BATCH_MAX));
            let entries = std::mem::replace(&mut self.waiting, rest);
            let length = entries.len();
            let append = append(self.runtime.clone(), self.store.clone(), self.key.clone(), self.seq, entries);
            self.appending = Some((Box::pin(append), length));
        }
    }

    fn give_up(&mut self, reason: &str) {
        tracing::warn!(log = %self.key.name, reason, "the journal is incomplete");
        self.given_up = true;
        self.waiting = Vec::new();
    }
}

/// Appends once, whatever becomes of the answers.
async fn append(
    runtime: Arc<dyn Runtime>,
    store: Arc<dyn Store>,
    key: LogKey,
    seq: u64,
    entries: Vec<Bytes>,
) -> Result<()> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let error = match store.append(key.clone(), seq, entries.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if attempts > 1 && error.kind() == ErrorKind::Conflict {
            // An earlier attempt may have been written although its answer was lost.
            let limit = u32::try_from(entries.len()).unwrap_or(u32::MAX);
            let written = store.read_log(key, seq, limit).await?;
            return if written == entries { Ok(()) } else { Err(error) };
        }
        if error.retry() != Retry::Later || attempts >= ATTEMPTS_MAX {
            return Err(error);
        }
        runtime.sleep_until(runtime.now() + RETRY_DELAY).await;
    }
}
