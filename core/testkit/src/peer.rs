//! A real peer as a process of the test's own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Where the peers were installed; without it, where set-up puts them.
const FOLDER_VARIABLE: &str = "OFFHOOK_PEERS";

const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// A running server; dropping it ends the process.
pub struct Peer {
    /// What stood in its output behind the marker.
    pub address: String,
    process: Child,
}

impl Peer {
    /// Starts a server and waits until a line of its output holds `marker`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(command: &mut Command, marker: &'static str) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start ({error}); run `cargo xtask setup`"));
        let output = BufReader::new(process.stdout.take().expect("a piped output"));
        let mut peer = Self { address: String::new(), process };
        let (sender, receiver) = mpsc::channel();
        // Reads on behind the address, because a full pipe would stop the server.
        let read = move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once(marker) {
                    let _ = sender.send(address.trim().to_owned());
                }
            }
        };
        thread::Builder::new().spawn(read).expect("a thread");
        peer.address = receiver.recv_timeout(READY_TIMEOUT).unwrap_or_else(|_| panic!("{name} does not listen"));
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A file of an installed peer. `target_tmpdir` is the caller's `CARGO_TARGET_TMPDIR`.
///
/// # Panics
/// When the peer is not installed.
pub fn file(target_tmpdir: &str, path: &str) -> PathBuf {
    let default = || Path::new(target_tmpdir).with_file_name("peers");
    let file = std::env::var_os(FOLDER_VARIABLE).map_or_else(default, PathBuf::from).join(path);
    assert!(file.is_file(), "{} is not there: run `cargo xtask setup`", file.display());
    file
}
