//! `offhook check-config`: reads a configuration and says what is wrong with it.

use crate::args::CheckConfigArgs;
use crate::config::Config;
use crate::failure::{Failure, Outcome};
use crate::terminal;

/// Runs the command.
pub fn run(args: &CheckConfigArgs) -> Outcome<()> {
    let config = Config::of_file(&args.config)?;
    let files = config.tls.iter().flat_map(|(certificate, key)| [certificate, key]);
    if let Some(path) = files.into_iter().find(|path| !path.is_file()) {
        return Err(Failure::new(format_args!("there is no file {}", path.display())));
    }
    terminal::print(format_args!("{} is sound", args.config.display()));
    Ok(())
}
