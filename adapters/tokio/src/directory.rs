//! [`Directory`]: objects as files in a folder.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use offhook::provider::blob::{BlobCapabilities, BlobPart};
use offhook::provider::{Blob, ProviderInfo};
use offhook::{Error, ErrorKind, Result};

use crate::key;
use crate::map::map;

/// Longest head that can be replaced.
pub const HEAD_BYTES_MAX: usize = 4096;
/// Older unfinished files are the leftovers of a crash.
pub const PARTIAL_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Reads and writes go to the disk in pieces of about this size.
pub const PIECE_BYTES: usize = 64 * 1024;

/// Unfinished files stand here. No key begins with a dot, so none can name one of them.
const PARTIAL_FOLDER: &str = ".partial";

/// Objects as files below one folder; `/` in a key makes subfolders.
///
/// An object is written beside the others, flushed to the disk and then renamed, so that readers see all of it or none.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Opens the folder, makes it when it is missing, and removes leftovers of puts that a crash cut short.
    pub async fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        blocking("directory.open", move || {
            fs::create_dir_all(root.join(PARTIAL_FOLDER))?;
            let root = root.canonicalize()?;
            remove_leftovers(&root.join(PARTIAL_FOLDER))?;
            Ok(Self { root })
        })
        .await
    }

    /// The folder, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

#[async_trait]
impl Blob for Directory {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "directory", detail: self.root.display().to_string() }
    }

    fn capabilities(&self) -> BlobCapabilities {
        BlobCapabilities { head_bytes_max: HEAD_BYTES_MAX }
    }

    async fn put(&self, key: String, mut parts: BoxStream<'static, Result<BlobPart>>) -> Result<String> {
        const OPERATION: &str = "blob.put";
        let target = self.root.join(key::to_path(OPERATION, &key)?);
        let partials = self.root.join(PARTIAL_FOLDER);
        let mut partial = blocking(OPERATION, move || Partial::create(&partials)).await?;
        let mut pending = Vec::with_capacity(PIECE_BYTES);
        let mut written: u64 = 0;
        let mut patched = false;
        while let Some(part) = parts.next().await {
            if patched {
                return Err(rejected("a part came after the head was replaced"));
            }
            match part? {
                BlobPart::Append(bytes) => {
                    written += bytes.len() as u64;
                    pending.extend_from_slice(&bytes);
                    if pending.len() >= PIECE_BYTES {
                        (partial, pending) = blocking(OPERATION, move || partial.append(pending)).await?;
                    }
                }
                BlobPart::PatchHead(head) => {
                    if head.len() > HEAD_BYTES_MAX || head.len() as u64 > written {
                        return Err(rejected("the new head is longer than allowed or than the object"));
                    }
                    (partial, pending) = blocking(OPERATION, move || partial.append(pending)).await?;
                    partial = blocking(OPERATION, move || partial.patch_head(&head)).await?;
                    patched = true;
                }
            }
        }
        let root = self.root.clone();
        blocking(OPERATION, move || {
            let (partial, _) = partial.append(pending)?;
            partial.finish(&root, &target)?;
            Ok(target.display().to_string())
        })
        .await
    }

    async fn get_range(&self, key: String, offset: u64, length: u64) -> Result<BoxStream<'static, Result<Bytes>>> {
        const OPERATION: &str = "blob.get_range";
        let path = self.root.join(key::to_path(OPERATION, &key)?);
        let found = blocking(OPERATION, move || open_at(&path, offset)).await?;
        let Some(file) = found else {
            return Err(Error::new(ErrorKind::NotFound, OPERATION, "there is no such object"));
        };
        let pieces = stream::unfold(Some((file, length)), |state| async move {
            let (file, left) = state?;
            match blocking(OPERATION, move || read_piece(file, left)).await {
                Ok((_, piece)) if piece.is_empty() => None,
                Ok((file, piece)) => {
                    let left = left - piece.len() as u64;
                    Some((Ok(piece), Some((file, left))))
                }
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(pieces.boxed())
    }

    async fn delete(&self, key: String) -> Result<()> {
        const OPERATION: &str = "blob.delete";
        let path = self.root.join(key::to_path(OPERATION, &key)?);
        blocking(OPERATION, move || match fs::remove_file(&path) {
            Err(error) if is_absent(&error) || path.is_dir() => Ok(()),
            result => result,
        })
        .await
    }
}

/// A file that is removed unless it is finished. It travels into blocking work and back, so that whoever holds it last,
/// a cancelled caller or the work itself, cleans up.
struct Partial {
    file: File,
    path: PathBuf,
    finished: bool,
}

impl Partial {
    fn create(folder: &Path) -> io::Result<Self> {
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(io::Error::other)?;
        let path = folder.join(hex::encode(name));
        let file = File::create_new(&path)?;
        Ok(Self { file, path, finished: false })
    }

    /// Writes `bytes` and gives the buffer back, empty.
    fn append(mut self, mut bytes: Vec<u8>) -> io::Result<(Self, Vec<u8>)> {
        self.file.write_all(&bytes)?;
        bytes.clear();
        bytes.shrink_to(PIECE_BYTES);
        Ok((self, bytes))
    }

    fn patch_head(mut self, head: &[u8]) -> io::Result<Self> {
        self.file.rewind()?;
        self.file.write_all(head)?;
        self.file.seek(SeekFrom::End(0))?;
        Ok(self)
    }

    fn finish(mut self, root: &Path, target: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::rename(&self.path, target)?;
        self.finished = true;
        sync_folders(root, target)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, "an unfinished object could not be removed");
        }
    }
}

/// Makes the rename, and folders made for it, survive a power cut.
#[cfg(unix)]
fn sync_folders(root: &Path, target: &Path) -> io::Result<()> {
    for folder in target.ancestors().skip(1).take_while(|folder| folder.starts_with(root)) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Folders cannot be flushed here; the file system keeps its own journal.
#[cfg(not(unix))]
fn sync_folders(_root: &Path, _target: &Path) -> io::Result<()> {
    Ok(())
}

fn open_at(path: &Path, offset: u64) -> io::Result<Option<File>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(offset.min(metadata.len())))?;
    Ok(Some(file))
}

fn read_piece(mut file: File, left: u64) -> io::Result<(File, Bytes)> {
    let mut piece = Vec::new();
    Read::by_ref(&mut file).take(left.min(PIECE_BYTES as u64)).read_to_end(&mut piece)?;
    Ok((file, piece.into()))
}

/// `a/b` is absent also when `a` is an object and no folder.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::NotFound)
}

fn remove_leftovers(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let age = entry.metadata().and_then(|metadata| metadata.modified()).map(|modified| modified.elapsed());
        if matches!(age, Ok(Ok(age)) if age > PARTIAL_AGE_MAX) {
            // Another process may have been faster.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn rejected(why: &'static str) -> Error {
    Error::new(ErrorKind::Rejected, "blob.put", why)
}

async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| map(operation, error)),
        Err(error) => Err(map(operation, error)),
    }
}
