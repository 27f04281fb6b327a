//! Large objects: recordings and documents.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{BoxStream, ProviderInfo};
use crate::error::Result;

/// A store of large objects, by key.
#[async_trait]
pub trait Blob: Send + Sync {
    /// Who this is.
    fn info(&self) -> ProviderInfo;

    /// What it can do.
    fn capabilities(&self) -> BlobCapabilities;

    /// Writes `parts` in constant memory and returns where the object can be found (a path or a URL).
    ///
    /// The object appears whole or not at all: when the stream yields an error, nothing is kept.
    async fn put(&self, key: String, parts: BoxStream<'static, Result<BlobPart>>) -> Result<String>;

    /// `length` bytes from `offset`, fewer at the object's end. `NotFound` without such an object.
    async fn get_range(&self, key: String, offset: u64, length: u64) -> Result<BoxStream<'static, Result<Bytes>>>;

    /// The object's length in bytes. `NotFound` without such an object.
    async fn length(&self, key: String) -> Result<u64>;

    /// A URL that lets whoever has it read the object until `lifetime` has passed. The object need not exist.
    ///
    /// Requires [`BlobCapabilities::signs_urls`].
    async fn sign_url(&self, key: String, lifetime: Duration) -> Result<String>;

    /// Removes the object. Removing nothing is not an error.
    async fn delete(&self, key: String) -> Result<()>;
}

/// What an object store can do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BlobCapabilities {
    /// Longest prefix that [`BlobPart::PatchHead`] may replace; zero when it is not offered.
    pub head_bytes_max: usize,
    /// Whether [`Blob::sign_url`] is offered.
    pub signs_urls: bool,
}

/// A step of writing an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BlobPart {
    /// The next bytes.
    Append(Bytes),
    /// Replaces the object's first bytes; sent at most once, as the last part, by formats whose header states a length.
    ///
    /// Requires [`BlobCapabilities::head_bytes_max`].
    PatchHead(Bytes),
}
