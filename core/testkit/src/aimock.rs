//! The mock server aimock (npm `@copilotkit/aimock`).

use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::peer::{self, Peer};

/// The only key that the server takes.
pub const KEY: &str = "sk-of-the-test";

/// A running server; dropping it ends the process.
pub struct Aimock {
    peer: Peer,
    _fixtures: TempDir,
}

impl Aimock {
    /// Starts a server that knows `fixtures`, with `options` of its command line, and waits until it listens.
    /// `target_tmpdir` is the caller's `CARGO_TARGET_TMPDIR`.
    ///
    /// # Panics
    /// When the server is not installed or does not start.
    #[expect(clippy::disallowed_methods, reason = "the server reads its answers from a file")]
    pub fn start(target_tmpdir: &str, fixtures: &Value, options: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let file = folder.path().join("fixtures.json");
        std::fs::write(file, json!({ "fixtures": fixtures }).to_string()).expect("fixtures can be written");
        let mut command = Command::new("node");
        command.arg(peer::file(target_tmpdir, "aimock/node_modules/@copilotkit/aimock/dist/cli.js"));
        command.args(["--port", "0", "--strict", "--fixtures"]).arg(folder.path()).args(options);
        let peer = Peer::start(command.env("AIMOCK_API_KEYS", KEY), "listening on ");
        Self { peer, _fixtures: folder }
    }

    /// Where its Chat Completions are.
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.peer.address)
    }
}
