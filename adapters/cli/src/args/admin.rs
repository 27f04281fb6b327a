//! The command line of `offhook admin`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::HouseArgs;

/// `offhook admin`
#[derive(Args, Clone, Debug)]
pub struct AdminArgs {
    /// Where everything is.
    #[command(flatten)]
    pub house: HouseArgs,

    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,

    /// What to do.
    #[command(subcommand)]
    pub task: AdminTask,
}

/// What an administrator does.
#[derive(Clone, Debug, Subcommand)]
pub enum AdminTask {
    /// Copy the SQLite database to a new file, while the server runs
    Backup {
        /// The new file
        file: PathBuf,
    },
    /// Prepaid minutes
    #[command(subcommand)]
    Credits(CreditsTask),
    /// Keys to the APIs
    #[command(subcommand)]
    Key(KeyTask),
    /// Telephone numbers
    #[command(subcommand)]
    Number(NumberTask),
    /// Customers
    #[command(subcommand)]
    Tenant(TenantTask),
    /// Lines to the telephone network
    #[command(subcommand)]
    Trunk(TrunkTask),
    /// People who manage a tenant
    #[command(subcommand)]
    User(UserTask),
}

/// `offhook admin credits`
#[derive(Clone, Debug, Subcommand)]
pub enum CreditsTask {
    /// Give a tenant minutes
    Grant {
        /// Whom
        #[arg(long)]
        tenant: String,
        /// How many
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        minutes: u32,
        /// Grants once, however often it is said
        #[arg(long)]
        key: Option<String>,
    },
}

/// `offhook admin key`
#[derive(Clone, Debug, Subcommand)]
pub enum KeyTask {
    /// Make a key and print it, once
    Create {
        /// Whose
        #[arg(long)]
        tenant: String,
        /// To which API
        #[arg(long)]
        dialect: String,
        /// For these agents alone
        #[arg(long, value_delimiter = ',')]
        bots: Vec<String>,
        /// What it is for
        #[arg(long, default_value = "")]
        label: String,
    },
    /// List keys, without what opens the door
    List {
        /// Whose
        #[arg(long)]
        tenant: String,
        /// To which API
        #[arg(long)]
        dialect: Option<String>,
    },
    /// Take a key away, at once
    Revoke {
        /// Whose
        #[arg(long)]
        tenant: String,
        /// Its id, or its text
        key: String,
    },
}

/// `offhook admin number`
#[derive(Clone, Debug, Subcommand)]
pub enum NumberTask {
    /// Give a tenant a number
    Add {
        /// Such as +14155550123
        number: String,
        /// Whom
        #[arg(long)]
        tenant: String,
        /// For people
        #[arg(long, default_value = "")]
        label: String,
        /// Who answers
        #[arg(long)]
        agent: Option<String>,
    },
    /// List a tenant's numbers
    List {
        /// Whose
        #[arg(long)]
        tenant: String,
    },
}

/// `offhook admin tenant`
#[derive(Clone, Debug, Subcommand)]
pub enum TenantTask {
    /// Make a tenant, with a key to each API
    Create {
        /// Its name
        name: String,
        /// What it books
        #[arg(long, default_value = "starter")]
        plan: String,
        /// Prepaid minutes to begin with
        #[arg(long, default_value_t = 0)]
        minutes: u32,
        /// How many requests a minute it may make, in place of what its plan and the APIs say
        #[arg(long)]
        requests_per_minute: Option<u32>,
    },
    /// List all tenants
    List,
}

/// `offhook admin trunk`
#[derive(Clone, Debug, Subcommand)]
pub enum TrunkTask {
    /// Add a trunk, which servers use from their next start on
    Add {
        /// Its name
        name: String,
        /// The carrier's host, with a port behind a colon if it is not the usual one
        #[arg(long)]
        host: String,
        /// How it is spoken to
        #[arg(long, default_value = "sip", value_parser = ["sip"])]
        kind: String,
        /// Who logs in
        #[arg(long)]
        user: Option<String>,
        /// Read the password of the user from the first line of the standard input
        #[arg(long, requires = "user")]
        password_stdin: bool,
        /// Shown to those who are called over it by agents without a number of their own
        #[arg(long, value_name = "NUMBER")]
        caller_id: Option<String>,
    },
    /// List all trunks, without their passwords
    List,
    /// Remove a trunk
    Remove {
        /// Its name
        name: String,
    },
}

/// `offhook admin user`
#[derive(Clone, Debug, Subcommand)]
pub enum UserTask {
    /// Make a user; without a password it is invited, and chooses one
    Create {
        /// Its email address
        email: String,
        /// What it manages
        #[arg(long)]
        tenant: String,
        /// For people
        #[arg(long, default_value = "")]
        name: String,
        /// What it may do
        #[arg(long, default_value = "admin", value_parser = ["admin", "member"])]
        role: String,
        /// Read a password of 8 to 256 bytes from the first line of the standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// List a tenant's users
    List {
        /// Whose
        #[arg(long)]
        tenant: String,
    },
}
