//! What has changed, in numbers: for stores that can answer [`Store::version`](super::Store::version).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Batch, Operation, Put, RecordKey};
use crate::ids::TenantId;

/// Counters that are kept, however many tenants there are: those who share one see changes that are not theirs.
const SLOTS: usize = 4_096;

/// Counts the changes of each kind of record, for each tenant and for all together.
pub struct Changes {
    everything: AtomicU64,
    slots: Box<[AtomicU64]>,
}

/// What a commit changes.
#[derive(Clone, Debug, Default)]
pub struct Touched(Vec<usize>);

impl Default for Changes {
    fn default() -> Self {
        Self { everything: AtomicU64::new(0), slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Changes {
    /// Counts what was changed: once readers can see it, and before anybody is told that it was done.
    pub fn note(&self, touched: &Touched) {
        for slot in &touched.0 {
            self.slots[*slot].fetch_add(1, Ordering::Release);
        }
    }

    /// Counts a change of which nobody knows what it was.
    pub fn note_everything(&self) {
        self.everything.fetch_add(1, Ordering::Release);
    }

    /// As [`Store::version`](super::Store::version).
    pub fn version(&self, tenant: Option<TenantId>, kind: &str) -> u64 {
        // Both only ever grow, so their sum is new when either is.
        let slot = self.slots[slot(tenant, kind)].load(Ordering::Acquire);
        self.everything.load(Ordering::Acquire).wrapping_add(slot)
    }
}

impl Touched {
    /// What `batch` changes. Counters and logs have no version.
    pub fn by(batch: &Batch) -> Self {
        let mut touched = Self::default();
        for operation in &batch.operations {
            match operation {
                Operation::Add(add) => touched.puts(add.crossing.iter().flat_map(|crossing| &crossing.then)),
                Operation::Delete(delete) => touched.record(&delete.key),
                Operation::Put(put) => touched.record(&put.key),
                Operation::Append(_) | Operation::DeleteLog(_) => {}
            }
        }
        touched
    }

    /// Adds a record that is changed.
    pub fn record(&mut self, key: &RecordKey) {
        for slot in [slot(Some(key.tenant), &key.kind), slot(None, &key.kind)] {
            if !self.0.contains(&slot) {
                self.0.push(slot);
            }
        }
    }

    fn puts<'a>(&mut self, puts: impl Iterator<Item = &'a Put>) {
        puts.for_each(|put| self.record(&put.key));
    }
}

fn slot(tenant: Option<TenantId>, kind: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    (tenant, kind).hash(&mut hasher);
    usize::try_from(hasher.finish() % SLOTS as u64).unwrap_or(0)
}
