//! An object while it is gathered.

use std::io::{self, SeekFrom};

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};
use offhook::provider::blob::BlobPart;
use offhook::{Error, ErrorKind, Result};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufWriter};

use crate::map::{map, map_io};

/// Longest head that can be replaced.
pub const HEAD_BYTES_MAX: usize = 4096;
/// A larger object is sent in parts of this size; S3 takes 10,000 of them at most, which is 78 GiB.
pub const PART_BYTES: usize = 8 * 1024 * 1024;

const OPERATION: &str = "blob.put";
/// What is written to the disk at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A temporary file without a name: whatever happens, nothing is left of it.
pub(crate) struct Spool {
    file: BufWriter<File>,
    is_patched: bool,
    length: u64,
}

impl Spool {
    pub(crate) async fn create() -> Result<Self> {
        let file = tokio::task::spawn_blocking(tempfile::tempfile).await.map_err(io::Error::other);
        let file = file.flatten().map_err(|error| map_io(OPERATION, error))?;
        Ok(Self { file: BufWriter::with_capacity(PIECE_BYTES, File::from_std(file)), is_patched: false, length: 0 })
    }

    pub(crate) async fn take(&mut self, part: BlobPart) -> Result<()> {
        if self.is_patched {
            return Err(rejected("a part came after the head was replaced"));
        }
        let written = match part {
            BlobPart::Append(bytes) => {
                self.length += bytes.len() as u64;
                self.file.write_all(&bytes).await
            }
            BlobPart::PatchHead(head) => {
                if head.len() > HEAD_BYTES_MAX || head.len() as u64 > self.length {
                    return Err(rejected("the new head is longer than allowed or than the object"));
                }
                self.is_patched = true;
                self.patch_head(&head).await
            }
        };
        written.map_err(|error| map_io(OPERATION, error))
    }

    /// Sends all of it to `path`.
    pub(crate) async fn store(self, store: &dyn ObjectStore, path: &Path) -> Result<()> {
        let Self { mut file, length, .. } = self;
        file.flush().await.map_err(|error| map_io(OPERATION, error))?;
        let mut file = file.into_inner();
        file.rewind().await.map_err(|error| map_io(OPERATION, error))?;
        if length <= PART_BYTES as u64 {
            let whole = read_part(&mut file).await?;
            return store.put(path, whole.into()).await.map(|_| ()).map_err(|error| map(OPERATION, error));
        }
        let mut upload = store.put_multipart(path).await.map_err(|error| map(OPERATION, error))?;
        match send_parts(&mut file, &mut *upload).await {
            Ok(()) => Ok(()),
            Err(error) => {
                // Parts that stay behind cost money and are seen by nobody; the first failure is the one to tell.
                let _ = upload.abort().await;
                Err(error)
            }
        }
    }

    async fn patch_head(&mut self, head: &[u8]) -> io::Result<()> {
        self.file.flush().await?;
        let file = self.file.get_mut();
        file.rewind().await?;
        file.write_all(head).await?;
        file.flush().await?;
        file.seek(SeekFrom::End(0)).await.map(|_| ())
    }
}

async fn send_parts(file: &mut File, upload: &mut dyn MultipartUpload) -> Result<()> {
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
async fn read_part(file: &mut File) -> Result<Bytes> {
    let mut part = Vec::new();
    let read = file.take(PART_BYTES as u64).read_to_end(&mut part).await;
    read.map(|_| part.into()).map_err(|error| map_io(OPERATION, error))
}

fn rejected(why: &'static str) -> Error {
    Error::new(ErrorKind::Rejected, OPERATION, why)
}
