//! What a folder of objects leaves on the disk.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail tests")]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use offhook::ErrorKind;
use offhook::provider::Blob;
use offhook::provider::blob::BlobPart;
use offhook_blob::{ObjectBlob, limits};
use tempfile::TempDir;

const NO_OPTIONS: [(&str, &str); 0] = [];

fn open(folder: &Path) -> offhook::Result<ObjectBlob> {
    ObjectBlob::folder(folder)
}

fn part(bytes: usize) -> BlobPart {
    BlobPart::Append(Bytes::from(vec![7; bytes]))
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test]
async fn objects_are_plain_files_where_put_says() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().canonicalize().unwrap().join("made/when/missing");
    for place in [root.display().to_string(), format!("file://{}", root.display())] {
        let blob = ObjectBlob::open(&place, NO_OPTIONS).unwrap();
        for bytes in [1, limits::PART_BYTES, limits::PART_BYTES + 1, 3 * limits::PART_BYTES] {
            let place = blob.put("calls/7.wav".into(), stream::iter([Ok(part(bytes))]).boxed()).await.unwrap();
            assert_eq!(Path::new(&place), root.join("calls/7.wav"));
            assert_eq!(fs::read(&place).unwrap(), vec![7; bytes]);
            assert_eq!(files(&root), [PathBuf::from(place)]);
        }
    }
}

#[tokio::test]
async fn nothing_is_left_of_a_put_that_was_dropped() {
    let folder = TempDir::new().unwrap();
    let blob = open(folder.path()).unwrap();
    for parts_before in 0..4 {
        let (sender, parts) = async_channel::bounded(8);
        for _ in 0..parts_before {
            sender.send(Ok(part(100_000))).await.unwrap();
        }
        let blob = blob.clone();
        let put = tokio::spawn(async move { blob.put("key".into(), parts.boxed()).await });
        tokio::task::yield_now().await;
        put.abort();
        assert!(put.await.unwrap_err().is_cancelled());
        assert_eq!(files(folder.path()), [] as [PathBuf; 0]);
    }
}

#[tokio::test]
async fn a_key_cannot_be_object_and_folder() {
    let folder = TempDir::new().unwrap();
    let blob = open(folder.path()).unwrap();
    for (first, second) in [("a", "a/b"), ("c/d", "c")] {
        blob.put(first.into(), stream::iter([Ok(part(1))]).boxed()).await.unwrap();
        let error = blob.put(second.into(), stream::iter([Ok(part(1))]).boxed()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    }
    assert_eq!(files(folder.path()).len(), 2);
}

#[test]
fn a_folder_that_cannot_be_made_is_a_typed_error() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(open(&file.join("below")).err().unwrap().kind(), ErrorKind::Conflict);
    assert_eq!(open(&file).err().unwrap().kind(), ErrorKind::Conflict);
}
