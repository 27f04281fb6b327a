//! One record read, changed and written again, as often as others overtake it.

use serde::Deserialize;

use super::webhooks::from_value;
use crate::error::{Error, ErrorKind, Result};
use crate::provider::Store;
use crate::provider::store::{Batch, Expect, Put, RecordKey};

/// How often a change is tried that others keep overtaking.
const CONFLICTS_MAX: u32 = 8;

/// The record's content, if there is one.
pub(super) async fn get<T: for<'de> Deserialize<'de>>(store: &dyn Store, key: RecordKey) -> Result<Option<T>> {
    store.get(key).await?.map(|record| from_value(&record.body)).transpose()
}

/// Changes a record by `change` and writes it as `put` says, with what else is in its batch. `None` when there is none.
pub(super) async fn change<T: for<'de> Deserialize<'de>>(
    store: &dyn Store,
    key: RecordKey,
    mut change: impl FnMut(&mut T) -> Result<()> + Send,
    put: impl Fn(&T, Expect) -> Result<Put> + Send,
) -> Result<Option<T>> {
    for _ in 0..CONFLICTS_MAX {
        let Some(record) = store.get(key.clone()).await? else { return Ok(None) };
        let mut value: T = from_value(&record.body)?;
        change(&mut value)?;
        let mut batch = Batch::default();
        batch.put(put(&value, Expect::Revision(record.revision))?);
        match store.commit(batch).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            result => return result.map(|_| Some(value)),
        }
    }
    Err(Error::new(ErrorKind::Conflict, "records.change", "the record was changed by others too often")
        .with_context("kind", key.kind))
}
