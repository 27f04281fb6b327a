//! An object store that speaks as S3 does: s3rver. It knows keys and expiry, and takes any signature.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::future::Future;
use std::process::Command;

use offhook::Result;
use offhook_blob::ObjectBlob;
use offhook_testkit::peer::{self, Peer};
use tempfile::TempDir;

const BUCKET: &str = "recordings";

/// Dropping it ends the server.
pub(crate) struct S3 {
    peer: Peer,
    _folder: TempDir,
}

impl S3 {
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let mut command = Command::new("node");
        command.arg(peer::file(env!("CARGO_TARGET_TMPDIR"), "s3rver/node_modules/s3rver/bin/s3rver.js"));
        command.args(["--address", "127.0.0.1", "--port", "0", "--no-vhost-buckets", "--configure-bucket", BUCKET]);
        let peer = Peer::start(command.arg("--directory").arg(folder.path()), "listening on ");
        Self { peer, _folder: folder }
    }

    /// What lies under `prefix`.
    pub(crate) fn open(&self, prefix: &str) -> Result<ObjectBlob> {
        self.open_as(prefix, "S3RVER")
    }

    /// With the key of that id.
    pub(crate) fn open_as(&self, prefix: &str, key: &str) -> Result<ObjectBlob> {
        let endpoint = format!("http://{}", self.peer.address);
        let options = [
            ("aws_access_key_id", key),
            ("aws_allow_http", "true"),
            ("aws_endpoint", &endpoint),
            ("aws_region", "us-east-1"),
            ("aws_secret_access_key", "S3RVER"),
        ];
        ObjectBlob::open(&format!("s3://{BUCKET}/{prefix}"), options)
    }
}

pub(crate) fn on_tokio<T>(case: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(case)
}
