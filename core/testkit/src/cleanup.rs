//! Things to clear away even when a test is killed.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// A shell command that runs when this is dropped, or when the process is gone without having dropped it.
pub struct Cleanup(Child);

impl Cleanup {
    /// Runs `script` in the end.
    pub fn new(script: &str) -> io::Result<Self> {
        let mut shell = Command::new("sh");
        // The shell waits for the end of a pipe that this process alone holds, in a group of its own, so that what
        // interrupts the tests does not interrupt it.
        shell.args(["-c", &format!("read -r _; {script}")]).process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(Self)
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // There is nobody to tell.
        let _ = self.0.wait();
    }
}
