//! Running other programs.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// What a task says: nothing, or why it failed in one line.
pub(crate) type Result<T = ()> = std::result::Result<T, String>;

/// Runs programs at the root of the workspace.
pub(crate) struct Shell {
    root: PathBuf,
}

impl Default for Shell {
    fn default() -> Self {
        let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        Self { root: manifest.ancestors().nth(2).map_or_else(|| manifest.clone(), PathBuf::from) }
    }
}

impl Shell {
    /// Runs a program as a named step, its output shown.
    pub(crate) fn step(&self, name: &str, program: &str, arguments: &[&str]) -> Result {
        println!("== {name}: {program} {}", arguments.join(" "));
        let started = Instant::now();
        self.run(program, arguments)?;
        println!("== {name}: {} s", started.elapsed().as_secs());
        Ok(())
    }

    /// Runs a program, its output shown.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result {
        let status = self.command(program, arguments).status().map_err(|error| missing(program, &error))?;
        if status.success() { Ok(()) } else { Err(format!("{program} {} failed ({status})", arguments.join(" "))) }
    }

    /// Runs a program and returns what it printed.
    pub(crate) fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.command(program, arguments).output().map_err(|error| missing(program, &error))?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(format!("{program} {} failed: {complaint}", arguments.join(" ")));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a program and ends as it ends.
    pub(crate) fn exit_of(&self, program: &str, arguments: &[&str]) -> ExitCode {
        match self.command(program, arguments).status() {
            Ok(status) => {
                status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
            }
            Err(error) => {
                eprintln!("{}", missing(program, &error));
                ExitCode::FAILURE
            }
        }
    }

    /// Whether a program can be run with these arguments.
    pub(crate) fn works(&self, program: &str, arguments: &[&str]) -> bool {
        self.command(program, arguments).output().is_ok_and(|output| output.status.success())
    }

    /// The folder of what is built.
    pub(crate) fn target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.root.join("target"), PathBuf::from)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.root);
        // The fuzzer's instrumentation needs flags of the nightly compiler.
        if arguments.first() == Some(&"fuzz") {
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }
}

fn missing(program: &str, error: &std::io::Error) -> String {
    format!("{program} cannot be run: {error}")
}
