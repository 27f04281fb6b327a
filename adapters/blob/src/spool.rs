//! An object while it is gathered.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};
use offhook::provider::blob::BlobPart;
use offhook::{Error, ErrorKind, Result};

use crate::map::{map, map_io};

/// Longest head that can be replaced.
pub const HEAD_BYTES_MAX: usize = 4096;
/// A larger object is sent in parts of this size; S3 takes 10,000 of them at most, which is 78 GiB.
pub const PART_BYTES: usize = 8 * 1024 * 1024;

const OPERATION: &str = "blob.put";
/// What is gathered before it is written to the disk.
const PIECE_BYTES: usize = 32 * 1024;

/// A temporary file without a name: whatever happens, nothing is left of it.
pub(crate) struct Spool {
    file: Arc<File>,
    is_patched: bool,
    length: u64,
    /// Not written yet.
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
}

impl Spool {
    pub(crate) async fn create() -> Result<Self> {
        let file = Arc::new(blocking(tempfile::tempfile).await?);
        Ok(Self { file, is_patched: false, length: 0, waiting: Vec::new(), waiting_bytes: 0 })
    }

    pub(crate) async fn take(&mut self, part: BlobPart) -> Result<()> {
        if self.is_patched {
            return Err(rejected("a part came after the head was replaced"));
        }
        match part {
            BlobPart::Append(bytes) => {
                self.length += bytes.len() as u64;
                self.waiting_bytes += bytes.len();
                self.waiting.push(bytes);
                if self.waiting_bytes >= PIECE_BYTES { self.flush().await } else { Ok(()) }
            }
            BlobPart::PatchHead(head) => {
                if head.len() > HEAD_BYTES_MAX || head.len() as u64 > self.length {
                    return Err(rejected("the new head is longer than allowed or than the object"));
                }
                self.is_patched = true;
                self.flush().await?;
                let file = self.file.clone();
                blocking(move || {
                    let mut file = &*file;
                    file.rewind()?;
                    file.write_all(&head)?;
                    file.seek(SeekFrom::End(0)).map(|_| ())
                })
                .await
            }
        }
    }

    async fn flush(&mut self) -> Result<()> {
        let (file, parts) = (self.file.clone(), std::mem::take(&mut self.waiting));
        self.waiting_bytes = 0;
        blocking(move || parts.iter().try_for_each(|part| (&*file).write_all(part))).await
    }

    /// Sends all of it to `path`.
    pub(crate) async fn store(mut self, store: &dyn ObjectStore, path: &Path) -> Result<()> {
        self.flush().await?;
        let Self { file, length, .. } = self;
        let rewound = file.clone();
        blocking(move || (&*rewound).rewind()).await?;
        if length <= PART_BYTES as u64 {
            let whole = read_part(&file).await?;
            return store.put(path, whole.into()).await.map(|_| ()).map_err(|error| map(OPERATION, error));
        }
        let mut upload = store.put_multipart(path).await.map_err(|error| map(OPERATION, error))?;
        match send_parts(&file, &mut *upload).await {
            Ok(()) => Ok(()),
            Err(error) => {
                // Parts that stay behind cost money and are seen by nobody; the first failure is the one to tell.
                let _ = upload.abort().await;
                Err(error)
            }
        }
    }
}

async fn send_parts(file: &Arc<File>, upload: &mut dyn MultipartUpload) -> Result<()> {
    loop {
        let part = read_part(file).await?;
        if part.is_empty() {
            break;
        }
        upload.put_part(part.into()).await.map_err(|error| map(OPERATION, error))?;
    }
    upload.complete().await.map(|_| ()).map_err(|error| map(OPERATION, error))
}

/// The next [`PART_BYTES`], fewer at the end.
async fn read_part(file: &Arc<File>) -> Result<Bytes> {
    let file = file.clone();
    blocking(move || {
        let mut part = Vec::new();
        (&*file).take(PART_BYTES as u64).read_to_end(&mut part).map(|_| part.into())
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other);
    done.flatten().map_err(|error| map_io(OPERATION, error))
}

fn rejected(why: &'static str) -> Error {
    Error::new(ErrorKind::Rejected, OPERATION, why)
}
