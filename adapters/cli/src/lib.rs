//! The `offhook` program as a library, so that tests can run its parts: one file a command, over shared scenery.
//!
//! | file | what |
//! |---|---|
//! | [`args`] | the command line |
//! | [`command`] | the commands, one file each |
//! | [`stage`] | an engine on SQLite, real sockets and real speech |
//! | [`clinic`] | the agent of the demo |
//! | [`peers`] | the customer's systems: the function's endpoint and the receiver of webhooks |
//! | [`caller`] | the caller at the other end of the line |
//! | [`scene`] | all of them together: one call from its ring to its last webhook |
//! | [`live`] | the call on the terminal while it runs |
//! | [`config`], [`house`] | how a server is set, and where it keeps everything |
//! | [`report`] | what became of it, for people and for machines |

pub mod args;
pub mod blocking;
pub mod brain;
pub mod caller;
pub mod clinic;
pub mod command;
pub mod config;
pub mod failure;
pub mod house;
pub mod live;
pub mod peers;
pub mod report;
pub mod scene;
pub mod sound;
pub mod speech;
pub mod stage;
pub mod terminal;
pub mod tls;

use std::ffi::OsString;
use std::process::ExitCode;

use tokio::runtime::Builder;
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command};
use crate::failure::{Failure, Outcome};

/// Runs a command line to its end.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let outcome = match args::parse(arguments) {
        Ok(Ok(cli)) => execute(cli),
        Ok(Err(text)) => {
            terminal::print(text.trim_end());
            Ok(())
        }
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal::complain(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn execute(cli: Cli) -> Outcome<()> {
    // `RUST_LOG` asks for the engine's own log; by default the terminal belongs to the command, unless it is a server's.
    let usual = if matches!(cli.command, Command::Serve(_)) { "warn,offhook=info" } else { "off" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = log.try_init();
    let runtime = Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format_args!("the runtime cannot be started: {error}")))?;
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Admin(args) => command::admin::run(args).await,
            Command::CheckConfig(args) => command::check_config::run(&args),
            Command::Call(args) => command::call::run(args).await,
            Command::Demo(args) => command::demo::run(args).await,
            Command::Replay(args) => command::replay::run(args).await,
            Command::Serve(args) => command::serve::run(args).await,
            Command::Setup => command::setup::run().await,
            Command::Simulate(args) => command::simulate::run(&args),
        }
    });
    // Whatever still waits somewhere does not hold the program.
    runtime.shutdown_background();
    outcome
}
