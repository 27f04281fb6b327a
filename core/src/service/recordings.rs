//! Recordings: where they are, who may hear them, and how long they are kept.
//!
//! A call's end writes a row for its recording. A sweeper gives each row its day of deletion by the tenant's retention, and
//! when the day has come removes the object and then the row, so that no object is forgotten.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};

use super::retention::rules_of;
use super::vault::Vault;
use super::webhooks::{from_value, to_value};
use crate::call::CallRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CallId, TenantId};
use crate::provider::store::{Batch, Expect, Put, Query, Record, RecordKey};
use crate::provider::{Blob, BoxStream, Store};
use crate::runtime::Runtime;
use crate::signing::{Secret, link};
use crate::time::Timestamp;

/// The record kind of recordings.
pub const RECORDING: &str = "recording";

/// What recordings are: two channels of 16-bit samples.
pub const CONTENT_TYPE: &str = "audio/wav";

/// Longest life of a link; S3 signs for no longer.
pub const LINK_LIFETIME_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// How often rows that are due are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// A row whose sweeper died, or whose object could not be removed, is due again after this.
const LEASE: Duration = Duration::from_secs(600);

/// How often, and for how long after the call, an object is looked for that was not complete at its end.
const SEARCH_INTERVAL: Duration = Duration::from_secs(120);
const SEARCH_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Rows that are looked at together.
const SWEEP_MAX: u32 = 100;

/// What the keys that sign links are derived for.
const LINK_PURPOSE: &str = "recording links";

/// A recording of a call that is over.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// The call.
    pub call: CallId,
    /// When the call ended.
    pub created_at: Timestamp,
    /// Its length, in milliseconds.
    pub duration_ms: u64,
    /// Nobody knows yet whether the object came to be: the call ended before it was complete.
    #[serde(default)]
    pub is_uncertain: bool,
    /// The object's key.
    pub key: String,
}

/// A link to a recording.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Link {
    /// From then on it opens nothing.
    pub expires_at: Timestamp,
    /// Where to get it, without any other credentials.
    pub url: String,
}

/// The recordings of all tenants.
#[derive(Clone)]
pub struct Recordings {
    blob: Option<Arc<dyn Blob>>,
    link_keys: Arc<[Secret]>,
    public_url: Option<Arc<str>>,
    runtime: Arc<dyn Runtime>,
    store: Arc<dyn Store>,
}

impl Recordings {
    pub(crate) fn new(
        runtime: Arc<dyn Runtime>,
        store: Arc<dyn Store>,
        blob: Option<Arc<dyn Blob>>,
        vault: &Vault,
        public_url: Option<String>,
    ) -> Self {
        let public_url = public_url.map(|url| url.trim_end_matches('/').into());
        Self { blob, link_keys: vault.derive(LINK_PURPOSE).into(), public_url, runtime, store }
    }

    /// The call's recording, if there is one and it has not been deleted.
    pub async fn get(&self, tenant: TenantId, call: CallId) -> Result<Option<Recording>> {
        let row = self.store.get(RecordKey::new(tenant, RECORDING, call)).await?;
        let recording: Option<Recording> = row.map(|row| from_value(&row.body)).transpose()?;
        Ok(recording.filter(|recording| !recording.is_uncertain))
    }

    /// The length of the call's recording in bytes. `NotFound` without one.
    pub async fn length(&self, tenant: TenantId, call: CallId) -> Result<u64> {
        let (blob, recording) = self.find(tenant, call).await?;
        blob.length(recording.key).await
    }

    /// `length` bytes of the call's recording from `offset`, fewer at its end. `NotFound` without one.
    pub async fn read(
        &self,
        tenant: TenantId,
        call: CallId,
        offset: u64,
        length: u64,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let (blob, recording) = self.find(tenant, call).await?;
        blob.get_range(recording.key, offset, length).await
    }

    /// A link to the call's recording that expires after `lifetime`, which is cut to [`LINK_LIFETIME_MAX`]: the object
    /// store's own where it signs, else one of this server, for [`Recordings::open_link`].
    ///
    /// `NotFound` without a recording; `ConfigInvalid` when the object store signs nothing and the engine has no public URL
    /// or no key.
    pub async fn link(&self, tenant: TenantId, call: CallId, lifetime: Duration) -> Result<Link> {
        let (blob, recording) = self.find(tenant, call).await?;
        let lifetime = lifetime.min(LINK_LIFETIME_MAX);
        let expires_at = self.runtime.wall_clock() + lifetime;
        if blob.capabilities().signs_urls {
            return Ok(Link { expires_at, url: blob.sign_url(recording.key, lifetime).await? });
        }
        let (Some(base), Some(key)) = (&self.public_url, self.link_keys.first()) else {
            let message = "links need an object store that signs them, or a public URL and a key";
            return Err(Error::new(ErrorKind::ConfigInvalid, "recordings.link", message));
        };
        let path = link::sign(key, &path_of(tenant, call), expires_at);
        Ok(Link { expires_at, url: format!("{base}{path}") })
    }

    /// What the path and the query of a link of [`Recordings::link`] give access to.
    ///
    /// `Unauthenticated` for what was not signed here, `PermissionDenied` for what has expired.
    pub fn open_link(&self, path: &str, query: &str) -> Result<(TenantId, CallId)> {
        link::verify(&self.link_keys, path, query, self.runtime.wall_clock())?;
        let ids = path.strip_prefix("/recordings/").and_then(|rest| rest.strip_suffix(".wav")?.split_once('/'));
        let ids = ids.and_then(|(tenant, call)| Some((tenant.parse().ok()?, call.parse().ok()?)));
        ids.ok_or_else(|| Error::new(ErrorKind::NotFound, "recordings.open_link", "there is no such recording"))
    }

    /// Deletes the call's recording. Deleting none is not an error.
    pub async fn delete(&self, tenant: TenantId, call: CallId) -> Result<()> {
        match self.store.get(RecordKey::new(tenant, RECORDING, call)).await? {
            Some(row) => self.remove(row.key, Expect::Any, from_value(&row.body)?).await,
            None => Ok(()),
        }
    }

    /// The row of a call's recording, to be written with the call's end. The end does not wait for a slow object store, and
    /// a crash may have taken the news of an object: then the sweeper looks for it.
    pub(super) fn row_of(call: &CallRecord, is_recorded: bool, now: Timestamp) -> Result<Option<Put>> {
        let is_uncertain = call.recording.is_none();
        if is_uncertain && !(is_recorded && call.answered_at.is_some()) {
            return Ok(None);
        }
        let recording = Recording {
            call: call.id,
            created_at: call.ended_at.unwrap_or(now),
            duration_ms: call.talk_time_ms,
            is_uncertain,
            key: object_key(call.tenant, call.id),
        };
        let due_at = if is_uncertain { now + SEARCH_INTERVAL } else { now };
        Ok(Some(put(call.tenant, Expect::Any, &recording)?.due_at(due_at)))
    }

    /// Deletes what is due until `stop` is closed.
    pub(crate) async fn run(self, stop: async_channel::Receiver<()>) {
        while !stop.is_closed() {
            match self.sweep().await {
                Ok(looked_at) if looked_at == SWEEP_MAX as usize => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "recordings could not be looked through"),
            }
            let nap = self.runtime.sleep_until(self.runtime.now() + SWEEP_INTERVAL);
            futures_util::select_biased! {
                _ = std::pin::pin!(stop.recv().fuse()) => return,
                () = nap.fuse() => {}
            }
        }
    }

    /// Looks at the rows that are due, once. Returns how many there were.
    pub async fn sweep(&self) -> Result<usize> {
        let rows = self.store.claim(RECORDING.to_owned(), self.runtime.wall_clock(), LEASE, SWEEP_MAX).await?;
        let looked_at = rows.len();
        for row in rows {
            if let Err(error) = self.settle(row).await {
                // The row is due again when its lease is over.
                tracing::warn!(%error, "a recording could not be dealt with");
            }
        }
        Ok(looked_at)
    }

    /// Deletes a recording whose day has come; else notes the day.
    async fn settle(&self, row: Record) -> Result<()> {
        let (tenant, expect) = (row.key.tenant, Expect::Revision(row.revision));
        let mut recording: Recording = from_value(&row.body)?;
        if recording.is_uncertain {
            let Some(blob) = &self.blob else { return Ok(()) };
            match blob.length(recording.key.clone()).await {
                Ok(_) => recording.is_uncertain = false,
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Err(_) if self.runtime.wall_clock() > recording.created_at + SEARCH_MAX => {
                    return commit(&*self.store, |batch| batch.delete(row.key, expect)).await;
                }
                Err(_) => {
                    let put = put(tenant, expect, &recording)?.due_at(self.runtime.wall_clock() + SEARCH_INTERVAL);
                    return commit(&*self.store, |batch| batch.put(put)).await;
                }
            }
        }
        let days = rules_of(&*self.store, tenant).await?.recording_days;
        let delete_at = days.map(|days| recording.created_at + DAY * days);
        if delete_at.is_some_and(|delete_at| delete_at <= self.runtime.wall_clock()) {
            return self.remove(row.key, expect, recording).await;
        }
        // Never later than in a day: rules that changed at the wrong moment are seen then.
        let next = self.runtime.wall_clock() + DAY;
        let put = put(tenant, expect, &recording)?.due_at(delete_at.map_or(next, |delete_at| delete_at.min(next)));
        commit(&*self.store, |batch| batch.put(put)).await
    }

    /// Lets the sweeper look at all of the tenant's rows again.
    pub(super) async fn reconsider(&self, tenant: TenantId) -> Result<()> {
        let mut query = Query::new(Some(tenant), RECORDING).limit(SWEEP_MAX);
        loop {
            let page = self.store.list(query.clone()).await?;
            for row in page.records {
                let recording: Recording = from_value(&row.body)?;
                let put = put(tenant, Expect::Revision(row.revision), &recording)?.due_at(self.runtime.wall_clock());
                commit(&*self.store, |batch| batch.put(put)).await?;
            }
            let Some(next) = page.next else { return Ok(()) };
            query = query.after(next);
        }
    }

    async fn remove(&self, row: RecordKey, expect: Expect, recording: Recording) -> Result<()> {
        if let Some(blob) = &self.blob {
            blob.delete(recording.key).await?;
        }
        commit(&*self.store, |batch| batch.delete(row, expect)).await
    }

    async fn find(&self, tenant: TenantId, call: CallId) -> Result<(Arc<dyn Blob>, Recording)> {
        match (&self.blob, self.get(tenant, call).await?) {
            (Some(blob), Some(recording)) => Ok((blob.clone(), recording)),
            _ => Err(Error::new(ErrorKind::NotFound, "recordings.get", "the call has no recording")),
        }
    }
}

/// The key of a call's recording.
pub fn object_key(tenant: TenantId, call: CallId) -> String {
    format!("recordings/{tenant}/{call}.wav")
}

fn path_of(tenant: TenantId, call: CallId) -> String {
    format!("/recordings/{tenant}/{call}.wav")
}

fn put(tenant: TenantId, expect: Expect, recording: &Recording) -> Result<Put> {
    Ok(Put::new(RecordKey::new(tenant, RECORDING, recording.call), expect, to_value(recording)?)
        .index("created_at", recording.created_at.as_unix_micros()))
}

/// Commits one operation; whoever was faster is right.
async fn commit(store: &dyn Store, operation: impl FnOnce(&mut Batch) -> &mut Batch) -> Result<()> {
    let mut batch = Batch::default();
    operation(&mut batch);
    match store.commit(batch).await {
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
        result => result.map(|_| ()),
    }
}
