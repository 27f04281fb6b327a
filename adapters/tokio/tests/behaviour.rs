//! The folder of objects, held to the suite.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use offhook::Result;
use offhook::provider::blob::{BlobCapabilities, BlobPart};
use offhook::provider::{Blob, ProviderInfo};
use offhook_testkit::{behaviour, blob};
use offhook_tokio::Directory;
use tempfile::TempDir;

fn main() -> ExitCode {
    let suite = blob::suite().on(on_tokio);
    behaviour::run(suite.trials("directory", || async { Ok(Arc::new(Temporary::open().await?) as Arc<dyn Blob>) }))
}

fn on_tokio<T>(case: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(case)
}

/// A [`Directory`] that cleans up after the case.
struct Temporary {
    directory: Directory,
    _folder: TempDir,
}

impl Temporary {
    async fn open() -> Result<Self> {
        let folder = TempDir::new().unwrap();
        Ok(Self { directory: Directory::open(folder.path()).await?, _folder: folder })
    }
}

#[async_trait]
impl Blob for Temporary {
    fn info(&self) -> ProviderInfo {
        self.directory.info()
    }

    fn capabilities(&self) -> BlobCapabilities {
        self.directory.capabilities()
    }

    async fn put(&self, key: String, parts: BoxStream<'static, Result<BlobPart>>) -> Result<String> {
        self.directory.put(key, parts).await
    }

    async fn get_range(&self, key: String, offset: u64, length: u64) -> Result<BoxStream<'static, Result<Bytes>>> {
        self.directory.get_range(key, offset, length).await
    }

    async fn delete(&self, key: String) -> Result<()> {
        self.directory.delete(key).await
    }
}
