//! The `offhook` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    offhook_cli::run(std::env::args_os())
}
