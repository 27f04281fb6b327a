//! Commits that show when only a part of one is there.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use offhook::Result;
use offhook::provider::Store;
use offhook::provider::store::{Add, Batch, CounterKey, Expect, LIMIT_MAX, LogKey, Put, Query, RecordKey};
use serde_json::json;

use super::{tenant, value_of};

/// The kind of the records; the schema must have it.
pub const JOB: &str = "job";

const RECORDS_PER_COMMIT: usize = 3;
/// Counts all commits of all writers.
const COMMITS: &str = "commits";

/// Makes commits of some records, a counter and a log entry.
pub struct Writer {
    name: String,
    text_bytes: usize,
    written: u64,
}

impl Writer {
    /// A writer whose name no other has, and that has no dot.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), text_bytes: 500, written: 0 }
    }

    /// With little in each record.
    #[must_use]
    pub fn terse(mut self) -> Self {
        self.text_bytes = 1;
        self
    }

    /// How many commits succeeded.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The next commit, of which it returns the name.
    pub async fn commit(&mut self, store: &dyn Store) -> Result<String> {
        store.commit(self.batch()).await?;
        self.written += 1;
        Ok(format!("{}.{}", self.name, self.written - 1))
    }

    /// The next commit.
    pub fn batch(&self) -> Batch {
        let mut batch = Batch::default();
        for part in 0..RECORDS_PER_COMMIT {
            let key = RecordKey::new(tenant(1), JOB, format!("{}.{}.{part}", self.name, self.written));
            batch.put(Put::new(key, Expect::Absent, json!({"text": "x".repeat(self.text_bytes)})));
        }
        batch.add(Add::new(CounterKey::new(tenant(1), COMMITS), 1));
        let entry = Bytes::from(self.written.to_string());
        batch.append(LogKey::new(tenant(1), &self.name), self.written, vec![entry]);
        batch
    }

    /// Takes note of a commit that was told apart from [`Writer::commit`].
    pub fn note_written(&mut self) {
        self.written += 1;
    }
}

/// The names of all commits that are in `store`.
///
/// # Panics
/// When there is a part of one.
pub async fn check(store: &dyn Store) -> Result<BTreeSet<String>> {
    let mut parts: BTreeMap<String, usize> = BTreeMap::new();
    let mut query = Query::new(Some(tenant(1)), JOB).limit(LIMIT_MAX);
    loop {
        let page = store.list(query.clone()).await?;
        for record in page.records {
            let (commit, _) = record.key.id.rsplit_once('.').expect("an id of a part");
            *parts.entry(commit.to_owned()).or_default() += 1;
        }
        let Some(next) = page.next else { break };
        query = query.after(next);
    }
    for (commit, parts) in &parts {
        assert_eq!(*parts, RECORDS_PER_COMMIT, "{commit} is there in part");
    }
    assert_eq!(value_of(store, COMMITS).await?, parts.len() as i64, "the counter has lost its records");
    let writers: BTreeSet<&str> = parts.keys().filter_map(|commit| Some(commit.rsplit_once('.')?.0)).collect();
    let mut logged = BTreeSet::new();
    for writer in writers {
        for number in read_log(store, writer).await? {
            logged.insert(format!("{writer}.{number}"));
        }
    }
    let commits: BTreeSet<String> = parts.into_keys().collect();
    assert_eq!(logged, commits, "the logs have lost their records");
    Ok(commits)
}

/// The entries of a writer's log, each of which says its own number.
async fn read_log(store: &dyn Store, writer: &str) -> Result<Vec<u64>> {
    let mut numbers: Vec<u64> = Vec::new();
    loop {
        let entries = store.read_log(LogKey::new(tenant(1), writer), numbers.len() as u64, LIMIT_MAX).await?;
        for entry in &entries {
            assert_eq!(entry, numbers.len().to_string().as_bytes(), "an entry is out of place");
            numbers.push(numbers.len() as u64);
        }
        if entries.len() < LIMIT_MAX as usize {
            return Ok(numbers);
        }
    }
}
