//! The command line.

mod admin;

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::str::FromStr;

pub use admin::{AdminArgs, AdminTask, CreditsTask, KeyTask, NumberTask, TenantTask, TrunkTask, UserTask};
use clap::{Args, Parser, Subcommand};

use crate::command::simulate::Faults;
use crate::failure::{Failure, Outcome};

/// Where carriers connect unless told otherwise: a free port of this machine alone.
const LISTEN_DEFAULT: &str = "127.0.0.1:0";

/// offhook picks up the phone for an AI agent.
#[derive(Clone, Debug, Parser)]
#[command(name = "offhook", version, about, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Call the agent with your own recordings or words
    Call(CallArgs),
    /// Manage tenants, keys, numbers and credits, whether the server runs or not
    Admin(AdminArgs),
    /// Read a configuration and say what is wrong with it
    CheckConfig(CheckConfigArgs),
    /// Hear and read an agent hold a whole phone call on this machine
    Demo(DemoArgs),
    /// Run a call again from its journal and check that it does what it did, to the byte
    Replay(ReplayArgs),
    /// Serve the vendors' APIs
    Serve(ServeArgs),
    /// Fetch the speech models into your cache folder
    Setup,
    /// Simulate calls by the million, with faults, and check every invariant
    Simulate(SimulateArgs),
}

/// Where a server keeps everything, and how it is set.
#[derive(Args, Clone, Debug, Default)]
pub struct HouseArgs {
    /// The folder of database, recordings and keys [default: offhook-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// The configuration, in TOML; the command line and OFFHOOK_… variables go before it
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Keep records in this database and not in SQLite
    #[arg(long, global = true, value_name = "URL")]
    pub postgres: Option<String>,
}

/// `offhook serve`
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Where everything is.
    #[command(flatten)]
    pub house: HouseArgs,

    /// Where to listen [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,

    /// The dialect that also stands at /
    #[arg(long, value_name = "DIALECT")]
    pub root: Option<String>,

    /// Where the outside reaches this server
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,

    /// Let calls run so many times faster, for trials
    #[arg(long, value_name = "N")]
    pub time_scale: Option<NonZeroU32>,

    /// What agents think with.
    #[command(flatten)]
    pub model: ModelArgs,
}

/// `offhook check-config`
#[derive(Args, Clone, Debug)]
pub struct CheckConfigArgs {
    /// The configuration
    #[arg(value_name = "FILE")]
    pub config: PathBuf,
}

/// `offhook demo`
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// What every command with a call takes.
    #[command(flatten)]
    pub options: Options,
}

/// `offhook call`
#[derive(Args, Clone, Debug)]
pub struct CallArgs {
    /// What the caller plays or says, in turn: a sound file, or words
    #[arg(required = true, value_name = "WAV|TEXT")]
    pub items: Vec<String>,

    /// What is said in a recording, for the word error rate; repeat it in the order of the items
    #[arg(long, value_name = "TEXT")]
    pub reference: Vec<String>,

    /// A file that says what is said in each recording: TSV with the columns `file` and `transcript`, or lines `name: text`
    #[arg(long, value_name = "FILE")]
    pub references: Option<PathBuf>,

    /// Let the agent answer no more than "I see.", to hear long recordings out
    #[arg(long, conflicts_with = "llm")]
    pub brief: bool,

    /// What every command with a call takes.
    #[command(flatten)]
    pub options: Options,
}

/// `offhook simulate`
#[derive(Args, Clone, Debug)]
pub struct SimulateArgs {
    /// How many calls
    #[arg(long, value_name = "N", default_value = "20000", value_parser = clap::value_parser!(u64).range(1..))]
    pub calls: u64,

    /// Where all randomness comes from; a fresh one unless told
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,

    /// What may go wrong: all, none, or a list such as store,media
    #[arg(long, value_name = "LIST", default_value = "all")]
    pub faults: Faults,

    /// Threads to run on; all cores unless told
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroU16>,

    /// Print one JSON object at the end and nothing else on stdout
    #[arg(long)]
    pub json: bool,

    /// Leave out the progress
    #[arg(long)]
    pub quiet: bool,

    /// Where to write a failing world, not the current folder
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

/// `offhook replay`
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// The journal's file, or a folder that a command kept, of which the latest call is taken
    #[arg(value_name = "FILE|DIR")]
    pub journal: PathBuf,

    /// Tell the call line by line: what came in (<), why it decided what it did (=), what it did (>) and told (*)
    #[arg(long, conflicts_with_all = ["redact", "set"])]
    pub explain: bool,

    /// Print JSON on one line
    #[arg(long)]
    pub json: bool,

    /// Write the journal to this new file without what people said and who they are; it replays all the same
    #[arg(long, value_name = "OUT", conflicts_with = "set")]
    pub redact: Option<PathBuf>,

    /// Show what would have changed under another policy, such as endpointing.delay_min=400ms; may be repeated
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<Setting>,
}

/// A policy's path and its new value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Setting {
    /// Dotted.
    pub path: String,
    /// As it was written.
    pub value: String,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (path, value) = text.split_once('=').ok_or("not of the form PATH=VALUE")?;
        Ok(Self { path: path.trim().to_owned(), value: value.trim().to_owned() })
    }
}

/// What every command with a call takes.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Print one JSON object at the end and nothing else on stdout; the live view goes to stderr
    #[arg(long)]
    pub json: bool,

    /// Leave out the live view
    #[arg(long)]
    pub quiet: bool,

    /// Keep database, recording, journal and webhooks in this folder, not in a new temporary one
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,

    /// Where the carrier connects
    #[arg(long, value_name = "ADDR", default_value = LISTEN_DEFAULT)]
    pub listen: SocketAddr,

    /// What the agent thinks with.
    #[command(flatten)]
    pub model: ModelArgs,
}

/// What an agent thinks with.
#[derive(Args, Clone, Debug, Default)]
pub struct ModelArgs {
    /// Think with a model behind a Chat Completions API and not with the built-in rules
    #[arg(long, value_name = "openai:MODEL")]
    pub llm: Option<LlmName>,

    /// The base URL of that API
    #[arg(long, value_name = "URL", requires = "llm")]
    pub llm_url: Option<String>,

    /// The environment variable that holds its key
    #[arg(long, value_name = "VAR", requires = "llm")]
    pub llm_key_env: Option<String>,
}

/// The name of a model: `openai:` and what its endpoint calls it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LlmName {
    /// The model, as its endpoint calls it.
    pub model: String,
}

impl FromStr for LlmName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("openai", model)) if !model.trim().is_empty() => Ok(Self { model: model.to_owned() }),
            _ => Err("not of the form openai:MODEL".to_owned()),
        }
    }
}

/// Reads a command line. `Ok(Err(text))` is what was asked for with `--help` or `--version`.
pub fn parse<I, T>(arguments: I) -> Outcome<Result<Cli, String>>
where
    I: IntoIterator<Item = T>,
    T: Into<std::ffi::OsString> + Clone,
{
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    let error = match Cli::try_parse_from(arguments) {
        Ok(cli) => return Ok(Ok(cli)),
        Err(error) => error,
    };
    let text = error.render();
    match error.kind() {
        DisplayHelp | DisplayVersion => Ok(Err(text.ansi().to_string())),
        DisplayHelpOnMissingArgumentOrSubcommand => Err(Failure::usage(
            "say what to do: admin, call, check-config, demo, replay, serve, setup or simulate (--help says more)",
        )),
        _ => Err(Failure::usage(first_paragraph(&text.to_string()))),
    }
}

/// What clap has to say before its hints, in one line.
fn first_paragraph(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.trim().is_empty());
    let line = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &[&str]) -> Cli {
        parse(std::iter::once(&"offhook").chain(line)).unwrap().unwrap()
    }

    fn refused(line: &[&str]) -> String {
        let failure = parse(std::iter::once(&"offhook").chain(line)).unwrap_err();
        assert_eq!(failure.exit_code(), 2, "{failure}");
        assert!(!failure.to_string().contains('\n'));
        failure.to_string()
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn demo_takes_its_options() {
        let line = "demo --json --quiet --keep dir --listen 127.0.0.1:8080 --llm openai:gpt-x:latest --llm-url http://h/v1 \
                    --llm-key-env KEY";
        let Command::Demo(DemoArgs { options }) = parsed(&line.split_whitespace().collect::<Vec<_>>()).command else {
            panic!("not a demo");
        };
        assert!(options.json && options.quiet);
        assert_eq!(options.keep, Some(PathBuf::from("dir")));
        assert_eq!(options.listen.port(), 8080);
        assert_eq!(options.model.llm, Some(LlmName { model: "gpt-x:latest".to_owned() }));
        assert_eq!(options.model.llm_url.as_deref(), Some("http://h/v1"));
        assert_eq!(options.model.llm_key_env.as_deref(), Some("KEY"));
    }

    #[test]
    fn call_takes_items_and_references() {
        let Command::Call(call) = parsed(&["call", "a.wav", "Hello there", "--reference", "one", "--brief"]).command
        else {
            panic!("not a call");
        };
        assert_eq!(call.items, ["a.wav", "Hello there"]);
        assert_eq!(call.reference, ["one"]);
        assert!(call.brief && call.options.listen.port() == 0);
    }

    #[test]
    fn what_cannot_be_is_refused_in_one_line() {
        assert!(refused(&["demo", "--nonsense"]).contains("--nonsense"));
        assert!(refused(&["call"]).contains("WAV|TEXT"));
        assert!(refused(&["demo", "--llm", "gpt-x"]).contains("openai:MODEL"));
        assert!(refused(&["demo", "--llm", "openai:"]).contains("openai:MODEL"));
        assert!(refused(&["demo", "--llm-url", "http://h"]).contains("--llm"));
        assert!(refused(&["demo", "--listen", "nowhere"]).contains("--listen"));
        assert!(refused(&["call", "x", "--brief", "--llm", "openai:m"]).contains("--brief"));
        assert!(refused(&["dance"]).contains("dance"));
        assert!(refused(&["replay"]).contains("FILE|DIR"));
        assert!(refused(&["replay", "x", "--set", "silence"]).contains("PATH=VALUE"));
        assert!(refused(&["replay", "x", "--explain", "--redact", "y"]).contains("--redact"));
        assert!(refused(&[]).contains("demo"));
    }

    #[test]
    fn simulate_takes_faults_by_name() {
        let Command::Simulate(args) =
            parsed(&["simulate", "--calls", "7", "--seed", "9", "--faults", "store,http"]).command
        else {
            panic!("not a simulation");
        };
        assert_eq!((args.calls, args.seed, args.faults.to_string()), (7, Some(9), "store, http".to_owned()));
        assert!(refused(&["simulate", "--faults", "weather"]).contains("weather"));
        assert!(refused(&["simulate", "--calls", "0"]).contains("--calls"));
        assert!(refused(&["simulate", "--threads", "0"]).contains("--threads"));
        assert!(refused(&["simulate", "--seed", "x"]).contains("--seed"));
    }

    #[test]
    fn help_and_version_are_no_failures() {
        let text = |line: [&str; 2]| parse(line).unwrap().unwrap_err();
        assert!(text(["offhook", "--help"]).contains("demo"));
        assert!(text(["offhook", "--version"]).starts_with("offhook "));
    }
}
