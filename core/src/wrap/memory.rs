//! Answers that were read once, and what they are worth.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Result;

/// Answers that are remembered at least, if they were asked for that often; twice as many at most.
const ANSWERS_MAX: usize = 2_000;

/// Answers with the versions that they are of. Those that nobody asks for are forgotten.
pub(crate) struct Memory<K, V> {
    generations: Mutex<Generations<K, V>>,
}

struct Generations<K, V> {
    new: BTreeMap<K, (u64, V)>,
    old: BTreeMap<K, (u64, V)>,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self { generations: Mutex::new(Generations { new: BTreeMap::new(), old: BTreeMap::new() }) }
    }
}

impl<K: Clone + Ord, V: Clone> Memory<K, V> {
    /// The answer of that version, or else what `read` finds, which is remembered if it is `worth` it.
    pub(crate) async fn recall<F: Future<Output = Result<V>>>(
        &self,
        version: Option<u64>,
        key: &K,
        read: impl FnOnce() -> F,
        worth: impl FnOnce(&V) -> bool,
    ) -> Result<V> {
        let Some(version) = version else { return read().await };
        if let Some(known) = self.find(key, version) {
            return Ok(known);
        }
        // The version was asked for first: what is read now may be newer than it says, but never older.
        let found = read().await?;
        if worth(&found) {
            self.keep(key.clone(), version, found.clone());
        }
        Ok(found)
    }

    fn find(&self, key: &K, version: u64) -> Option<V> {
        let mut generations = self.lock();
        if let Some((known, value)) = generations.new.get(key) {
            return (*known == version).then(|| value.clone());
        }
        let (known, value) = generations.old.remove(key)?;
        if known != version {
            return None;
        }
        generations.insert(key.clone(), version, value.clone());
        Some(value)
    }

    fn keep(&self, key: K, version: u64, value: V) {
        self.lock().insert(key, version, value);
    }

    fn lock(&self) -> MutexGuard<'_, Generations<K, V>> {
        // Nothing that runs under the lock can panic half way.
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord, V> Generations<K, V> {
    fn insert(&mut self, key: K, version: u64, value: V) {
        if self.new.len() >= ANSWERS_MAX {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(key, (version, value));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_lite::future::block_on;

    use super::*;

    #[test]
    fn an_answer_is_read_once_for_each_version() {
        let (memory, reads) = (Memory::default(), Cell::new(0));
        let recall = |version, key: u32| {
            let read = || async {
                reads.set(reads.get() + 1);
                Ok(reads.get())
            };
            block_on(memory.recall(version, &key, read, |_| true)).unwrap()
        };
        assert_eq!([recall(Some(1), 7), recall(Some(1), 7), recall(Some(1), 8)], [1, 1, 2]);
        assert_eq!([recall(Some(2), 7), recall(Some(2), 7)], [3, 3]);
        assert_eq!([recall(None, 7), recall(None, 7), recall(Some(2), 7)], [4, 5, 3]);
    }

    #[test]
    fn those_that_are_asked_for_stay_and_the_rest_is_bounded() {
        let memory = Memory::default();
        let recall = |key: usize| block_on(memory.recall(Some(1), &key, || async { Ok(key) }, |_| true)).unwrap();
        for key in 1..10 * ANSWERS_MAX {
            assert_eq!((recall(0), recall(key)), (0, key));
            let generations = memory.lock();
            assert!(generations.new.len() + generations.old.len() <= 2 * ANSWERS_MAX);
            assert!(generations.new.contains_key(&0) || generations.old.contains_key(&0));
        }
    }
}
