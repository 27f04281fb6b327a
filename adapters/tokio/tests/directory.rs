//! What a folder of objects leaves on the disk.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use offhook::ErrorKind;
use offhook::provider::Blob;
use offhook::provider::blob::BlobPart;
use offhook_tokio::{Directory, limits};
use tempfile::TempDir;

fn part() -> BlobPart {
    BlobPart::Append(Bytes::from(vec![7; limits::PIECE_BYTES + 1]))
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
    let directory = Directory::open(folder.path().join("made/when/missing")).await.unwrap();
    let place = directory.put("calls/7.wav".into(), stream::iter([Ok(part())]).boxed()).await.unwrap();
    assert_eq!(Path::new(&place), directory.root().join("calls/7.wav"));
    assert_eq!(fs::read(&place).unwrap().len(), limits::PIECE_BYTES + 1);
    assert_eq!(files(directory.root()), [PathBuf::from(place)]);
}

#[tokio::test]
async fn nothing_is_left_of_a_put_that_was_dropped() {
    let folder = TempDir::new().unwrap();
    let directory = Directory::open(folder.path()).await.unwrap();
    for parts_before in 0..4 {
        let (sender, parts) = async_channel::bounded(8);
        for _ in 0..parts_before {
            sender.send(Ok(part())).await.unwrap();
        }
        let put = {
            let directory = directory.clone();
            tokio::spawn(async move { directory.put("key".into(), parts.boxed()).await })
        };
        tokio::task::yield_now().await;
        put.abort();
        assert!(put.await.unwrap_err().is_cancelled());
        // Work that was under way on the blocking pool ends behind the put, and cleans up last.
        while !files(directory.root()).is_empty() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn leftovers_of_a_crash_go_and_fresh_ones_stay() {
    let folder = TempDir::new().unwrap();
    let partials = folder.path().join(".partial");
    fs::create_dir(&partials).unwrap();
    let (old, fresh) = (partials.join("old"), partials.join("fresh"));
    fs::write(&fresh, "another process is at it").unwrap();
    let leftover = fs::File::create(&old).unwrap();
    leftover.set_modified(SystemTime::now() - 2 * limits::PARTIAL_AGE_MAX).unwrap();
    Directory::open(folder.path()).await.unwrap();
    assert_eq!(files(folder.path()), [fresh]);
}

#[tokio::test]
async fn key_cannot_be_object_and_folder() {
    let folder = TempDir::new().unwrap();
    let directory = Directory::open(folder.path()).await.unwrap();
    for (first, second) in [("a", "a/b"), ("c/d", "c")] {
        directory.put(first.into(), stream::iter([Ok(part())]).boxed()).await.unwrap();
        let error = directory.put(second.into(), stream::iter([Ok(part())]).boxed()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    }
    assert_eq!(files(folder.path()).len(), 2);
}

#[tokio::test]
async fn folder_that_cannot_be_made_is_a_typed_error() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(Directory::open(file.join("below")).await.unwrap_err().kind(), ErrorKind::Conflict);
}
