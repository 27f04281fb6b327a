//! A folder and a server that speaks as S3 does, held to the suite.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use libtest_mimic::Trial;
use offhook::provider::Blob;
use offhook_blob::ObjectBlob;
use offhook_testkit::{behaviour, blob};
use tempfile::TempDir;

use support::{S3, on_tokio};

fn main() -> ExitCode {
    let folders = Arc::new(TempDir::new().unwrap());
    let server = Arc::new(S3::start());
    let spaces = Arc::new(AtomicU32::new(0));
    let fresh = move || spaces.fetch_add(1, Ordering::Relaxed);
    let in_folder = {
        let fresh = fresh.clone();
        move || {
            let place = folders.path().join(fresh().to_string());
            async move { Ok(Arc::new(ObjectBlob::open(place.to_str().unwrap(), [("", ""); 0])?) as Arc<dyn Blob>) }
        }
    };
    let in_s3 = move || {
        let blob = server.open(&format!("space {}", fresh()));
        async move { Ok(Arc::new(blob?) as Arc<dyn Blob>) }
    };
    let mut trials: Vec<Trial> = blob::suite().on(on_tokio).trials("folder", in_folder);
    // This server writes an object in place, so that two writers of one mix; S3 does not.
    let is_beyond_server = |trial: &Trial| trial.name().ends_with("writers_of_one_key_do_not_mix");
    let in_s3 = blob::suite().on(on_tokio).trials("s3", in_s3);
    trials.extend(in_s3.into_iter().map(|trial| {
        let is_ignored = is_beyond_server(&trial);
        trial.with_ignored_flag(is_ignored)
    }));
    behaviour::run(trials)
}
