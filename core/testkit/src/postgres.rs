//! A PostgreSQL server of one's own, made from the programs that Debian's package `postgresql` brings.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a server is made of files")]

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cleanup::Cleanup;

/// The user of the database.
const USER: &str = "offhook";
/// How often another port is tried when somebody else took the one that was free.
const STARTS_MAX: usize = 5;
/// Users that the server may run as when the tests run as root, which it refuses.
const SERVANTS: [&str; 2] = ["postgres", "nobody"];

/// A running server with a folder of its own, both gone when it is dropped or when the process ends, however it ends.
pub struct Cluster {
    folder: PathBuf,
    port: u16,
    programs: Programs,
    databases: AtomicUsize,
    _cleanup: Cleanup,
}

impl Cluster {
    /// The one of this process, started when first asked for. It does not flush to the disk.
    ///
    /// # Panics
    /// When there is no PostgreSQL here, or it does not start.
    pub fn shared() -> &'static Self {
        static CLUSTER: OnceLock<Cluster> = OnceLock::new();
        CLUSTER.get_or_init(|| Self::start(&["fsync=off"]).expect("PostgreSQL starts"))
    }

    /// Makes and starts one with `settings` such as `fsync=off`.
    pub fn start(settings: &[&str]) -> io::Result<Self> {
        let programs = Programs::find()?;
        let folder = tempfile::Builder::new().prefix("offhook-postgres-").tempdir()?.keep();
        let stop = "kill -QUIT $(head -n 1 data/postmaster.pid); while [ -e data/postmaster.pid ]; do sleep 0.05; done";
        let cleanup = Cleanup::new(&format!("cd {0} && {{ {stop}; cd /; rm -rf {0}; }}", folder.display()))?;
        programs.give(&folder)?;
        let data = folder.join("data");
        // Another order of texts than byte by byte, so that a forgotten collation shows.
        let locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=icu", "--icu-locale=en-US"];
        programs.run("initdb", |init| {
            init.arg("--pgdata").arg(&data).args(locale).args(["--auth=trust", "--no-sync"]).arg("--username=offhook")
        })?;
        let port = start(&programs, &folder, settings)?;
        Ok(Self { folder, port, programs, databases: AtomicUsize::new(0), _cleanup: cleanup })
    }

    /// The URL of a new database with nothing in it.
    pub fn database(&self) -> io::Result<String> {
        self.database_with("")
    }

    /// As [`Cluster::database`], with more words for `CREATE DATABASE`, such as `TABLESPACE small`.
    pub fn database_with(&self, words: &str) -> io::Result<String> {
        let name = format!("database_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql(&self.url("postgres"), &format!("CREATE DATABASE {name} {words}"))?;
        Ok(self.url(&name))
    }

    /// The URL of the database `name`, over TCP.
    pub fn url(&self, name: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{name}", self.port)
    }

    /// Where it listens, on the loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What `sql` prints: a line a row, with `|` between columns.
    pub fn sql(&self, url: &str, sql: &str) -> io::Result<String> {
        self.programs.run("psql", |psql| {
            psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]).args([
                "--dbname",
                url,
                "--command",
                sql,
            ])
        })
    }

    /// Checks all tables and indexes of the database at `url`.
    pub fn check(&self, url: &str) -> io::Result<()> {
        self.programs.run("pg_amcheck", |check| check.args(["--install-missing", url])).map(|_| ())
    }

    /// Makes the server lose all its connections and begin again as after a crash.
    pub fn crash(&self) -> io::Result<()> {
        let data = self.folder.join("data");
        self.programs.run("pg_ctl", |stop| stop.args(["stop", "--mode=immediate", "--pgdata"]).arg(&data))?;
        self.start_again()
    }

    /// Stops it; [`Cluster::start_again`] brings it back at the same port.
    pub fn stop(&self) -> io::Result<()> {
        let data = self.folder.join("data");
        self.programs.run("pg_ctl", |stop| stop.args(["stop", "--mode=fast", "--pgdata"]).arg(&data)).map(|_| ())
    }

    /// Starts what was stopped.
    pub fn start_again(&self) -> io::Result<()> {
        start_on(&self.programs, &self.folder)
    }

    /// Gives the file or folder at `path` to the user that the server runs as.
    pub fn give(&self, path: &Path) -> io::Result<()> {
        self.programs.give(path)
    }

    /// Where the server's own files are.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }
}

/// Starts it on a free port, which it returns.
fn start(programs: &Programs, folder: &Path, settings: &[&str]) -> io::Result<u16> {
    let configuration = folder.join("data/postgresql.auto.conf");
    let mut failure = io::Error::other("never started");
    for _ in 0..STARTS_MAX {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut lines = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\nmax_connections = 150\n",
            folder.display()
        );
        settings.iter().for_each(|setting| lines.extend([setting, "\n"]));
        fs::write(&configuration, lines)?;
        match start_on(programs, folder) {
            Ok(()) => return Ok(port),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn start_on(programs: &Programs, folder: &Path) -> io::Result<()> {
    let log = folder.join("log");
    let data = folder.join("data");
    programs.run("pg_ctl", |run| run.args(["start", "--wait", "--log"]).arg(log).arg("--pgdata").arg(data))?;
    Ok(())
}

/// PostgreSQL's programs, and who may run them.
struct Programs {
    folder: PathBuf,
    servant: Option<(u32, u32)>,
}

impl Programs {
    fn find() -> io::Result<Self> {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut versions: Vec<(u32, PathBuf)> = versions
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
            .filter(|(_, folder)| folder.join("initdb").exists())
            .collect();
        versions.sort();
        let missing =
            || io::Error::other("there is no PostgreSQL in /usr/lib/postgresql; install the package postgresql");
        let (_, folder) = versions.pop().ok_or_else(missing)?;
        let is_root = fs::metadata("/proc/self")?.uid() == 0;
        let servant = if is_root { Some(find_servant()?) } else { None };
        Ok(Self { folder, servant })
    }

    /// What `program` prints.
    fn run(&self, program: &str, arguments: impl FnOnce(&mut Command) -> &mut Command) -> io::Result<String> {
        let mut command = Command::new(self.folder.join(program));
        arguments(&mut command).current_dir("/");
        if let Some((user, group)) = self.servant {
            command.uid(user).gid(group);
        }
        // The server must not inherit what the output is read from, or the end of it would never come.
        let (output, errors) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let status = command.stdout(output.try_clone()?).stderr(errors.try_clone()?).status()?;
        match status.success() {
            true => read(output),
            false => Err(io::Error::other(format!("{program} failed: {}", read(errors)?))),
        }
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        self.servant.map_or(Ok(()), |(user, group)| chown(path, Some(user), Some(group)))
    }
}

fn read(mut file: fs::File) -> io::Result<String> {
    use std::io::{Read as _, Seek as _};
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text.trim_end().to_owned())
}

/// User and group of the first of [`SERVANTS`] that there is.
fn find_servant() -> io::Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd")?;
    let find = |name: &&str| {
        let fields: Vec<&str> = users.lines().find(|line| line.starts_with(&format!("{name}:")))?.split(':').collect();
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    };
    SERVANTS.iter().find_map(find).ok_or_else(|| io::Error::other("nobody is there to run PostgreSQL"))
}
