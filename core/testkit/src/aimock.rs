//! The mock server aimock (npm `@copilotkit/aimock`) as a process of the test's own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// The only key that the server takes.
pub const KEY: &str = "sk-of-the-test";

/// The folder that the package was installed into; without it, where set-up puts it.
const FOLDER_VARIABLE: &str = "OFFHOOK_AIMOCK";

const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// A running server; dropping it ends the process.
pub struct Aimock {
    process: Child,
    url: String,
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
        let mut process = Command::new("node")
            .arg(program(target_tmpdir))
            .args(["--port", "0", "--strict", "--fixtures"])
            .arg(folder.path())
            .args(options)
            .env("AIMOCK_API_KEYS", KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("node does not start ({error}); run `cargo xtask setup`"));
        let output = BufReader::new(process.stdout.take().expect("a piped output"));
        let mut server = Self { process, url: String::new(), _fixtures: folder };
        let (sender, receiver) = mpsc::channel();
        // Reads on behind the address, because a full pipe would stop the server.
        let read = move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some((_, url)) = line.split_once("listening on ") {
                    let _ = sender.send(url.trim().to_owned());
                }
            }
        };
        thread::Builder::new().spawn(read).expect("a thread");
        server.url = receiver.recv_timeout(READY_TIMEOUT).expect("aimock does not listen");
        server
    }

    /// Where its Chat Completions are.
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.url)
    }
}

impl Drop for Aimock {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn program(target_tmpdir: &str) -> PathBuf {
    let default = || Path::new(target_tmpdir).with_file_name("peers").join("aimock");
    let folder = std::env::var_os(FOLDER_VARIABLE).map_or_else(default, PathBuf::from);
    let program = folder.join("node_modules/@copilotkit/aimock/dist/cli.js");
    assert!(program.is_file(), "the mock server is not installed in {}: run `cargo xtask setup`", folder.display());
    program
}
