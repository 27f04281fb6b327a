//! Objects by `object_store`: in a folder, in S3 and what speaks as it does, in Google Cloud Storage or in Azure.
//!
//! An object is gathered in an unnamed temporary file and then stored in one go, so that it appears whole or not at all,
//! takes constant memory, and may have its head replaced wherever it goes.

mod key;
mod map;
mod place;
mod spool;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use object_store::path::Path as ObjectPath;
use object_store::signer::Signer;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use offhook::provider::blob::{BlobCapabilities, BlobPart};
use offhook::provider::{Blob, ProviderInfo};
use offhook::{Error, ErrorKind, Result};

use self::map::{map, map_absent};
use self::place::Place;
use self::spool::Spool;

/// The limits that hold in this crate.
pub mod limits {
    pub use crate::key::{KEY_BYTES_MAX, SEGMENT_BYTES_MAX};
    pub use crate::place::{CONNECT_TIMEOUT, REQUEST_TIMEOUT, RETRIES_MAX, RETRY_TIMEOUT};
    pub use crate::spool::{HEAD_BYTES_MAX, PART_BYTES};
}

/// A store of objects at one place.
#[derive(Clone)]
pub struct ObjectBlob {
    place: Arc<Place>,
    signer: Option<Arc<dyn Signer>>,
    store: Arc<dyn ObjectStore>,
}

impl ObjectBlob {
    /// Opens a folder; see [`ObjectBlob::open`].
    pub fn folder(path: impl AsRef<Path>) -> Result<Self> {
        let (place, store) = place::open_folder(path.as_ref())?;
        Ok(Self { place: Arc::new(place), signer: None, store })
    }

    /// Opens a place: a folder, which is made when it is missing, or a URL (`file:///folder`, `s3://bucket/prefix`,
    /// `gs://bucket/prefix`, `az://container/prefix`, or the `https` form of one of them).
    ///
    /// `options` are the place's settings by the names that `object_store` gives them, such as `aws_access_key_id`,
    /// `aws_endpoint` and `aws_region`; see its `AmazonS3ConfigKey`, `GoogleConfigKey` and `AzureConfigKey`.
    /// `ConfigInvalid` for a place or an option that is not known. Nothing is asked of the network yet.
    pub fn open<K: Into<String>, V: Into<String>>(
        place: &str,
        options: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self> {
        let options = options.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let (place, store, signer) = place::open(place, options)?;
        Ok(Self { place: Arc::new(place), signer, store })
    }

    /// The folder, absolute, or the URL.
    pub fn place(&self) -> String {
        self.place.to_string()
    }

    /// Where the object of that key is.
    fn path(&self, operation: &'static str, key: &str) -> Result<ObjectPath> {
        key::check(operation, key)?;
        self.place.path(key).map_err(|error| map(operation, error.into()))
    }
}

#[async_trait]
impl Blob for ObjectBlob {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: self.place.kind(), detail: self.place.to_string() }
    }

    fn capabilities(&self) -> BlobCapabilities {
        BlobCapabilities { head_bytes_max: spool::HEAD_BYTES_MAX, signs_urls: self.signer.is_some() }
    }

    async fn put(&self, key: String, mut parts: BoxStream<'static, Result<BlobPart>>) -> Result<String> {
        const OPERATION: &str = "blob.put";
        let path = self.path(OPERATION, &key)?;
        let mut spool = Spool::create().await?;
        while let Some(part) = parts.next().await {
            spool.take(part?).await?;
        }
        spool.store(&*self.store, &path).await?;
        Ok(self.place.location(&key))
    }

    async fn get_range(&self, key: String, offset: u64, length: u64) -> Result<BoxStream<'static, Result<Bytes>>> {
        const OPERATION: &str = "blob.get_range";
        let path = self.path(OPERATION, &key)?;
        // A range that begins at or behind the end, or is empty, is refused by some and answered by others.
        let size = self.length(key).await?;
        let end = offset.saturating_add(length).min(size);
        if offset >= end {
            return Ok(stream::empty().boxed());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(offset..end)), ..GetOptions::default() };
        let found = self.store.get_opts(&path, options).await.map_err(|error| map_absent(OPERATION, error))?;
        Ok(found.into_stream().map(|piece| piece.map_err(|error| map(OPERATION, error))).boxed())
    }

    async fn length(&self, key: String) -> Result<u64> {
        const OPERATION: &str = "blob.length";
        let path = self.path(OPERATION, &key)?;
        let found = self.store.head(&path).await.map_err(|error| map_absent(OPERATION, error))?;
        Ok(found.size)
    }

    async fn sign_url(&self, key: String, lifetime: Duration) -> Result<String> {
        const OPERATION: &str = "blob.sign_url";
        let path = self.path(OPERATION, &key)?;
        let Some(signer) = &self.signer else { return Err(Error::unsupported(OPERATION, "signing a URL")) };
        let url = signer.signed_url(object_store::signer::Method::GET, &path, lifetime).await;
        url.map(String::from).map_err(|error| map(OPERATION, error))
    }

    async fn delete(&self, key: String) -> Result<()> {
        const OPERATION: &str = "blob.delete";
        let path = self.path(OPERATION, &key)?;
        match self.store.delete(&path).await.map_err(|error| map_absent(OPERATION, error)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}
