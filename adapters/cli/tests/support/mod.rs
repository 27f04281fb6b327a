//! The server as a user runs it, in a process of its own.
#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

pub(crate) mod receiver;

use std::borrow::Borrow;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const OFFHOOK: &str = env!("CARGO_BIN_EXE_offhook");

/// Calls run so many times faster.
const TIME_SCALE: &str = "3";

/// Longest wait for something that a call brings about.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server that is killed when it is dropped.
pub(crate) struct Server {
    pub(crate) addr: String,
    pub(crate) child: Child,
}

impl Server {
    /// A server on that folder, with a dialect at `/`.
    pub(crate) fn start(data: &Path, root: &str) -> Self {
        Self::start_with(data, |command| {
            let command = command.args(["--root", root, "--time-scale", TIME_SCALE]);
            command.env("OFFHOOK_WEBHOOKS_ALLOW", "127.0.0.1/32")
        })
    }

    /// A server on that folder, with whatever `set` adds to its command line and environment.
    pub(crate) fn start_with(data: &Path, set: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let mut command = Command::new(OFFHOOK);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).stdout(Stdio::piped());
        let mut child = set(&mut command).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.strip_prefix("offhook listens on http://").and_then(|rest| rest.split(' ').next());
        let addr = addr.unwrap_or_else(|| panic!("it says {line:?}")).to_owned();
        Self { addr, child }
    }

    /// One request that is answered.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Borrow<Value>,
    ) -> (u16, Value) {
        ask(&self.addr, method, path, headers, body.borrow()).unwrap()
    }

    /// Asks until the answer is so.
    pub(crate) fn until(&self, path: &str, headers: &[(&str, &str)], is_so: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let (_, answer) = self.ask("GET", path, headers, Value::Null);
            if is_so(&answer) {
                return answer;
            }
            assert!(Instant::now() < end, "{path} never came to be so: {answer}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request on a connection of its own.
pub(crate) fn ask(
    addr: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> io::Result<(u16, Value)> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut socket = TcpStream::connect(addr)?;
    socket.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

pub(crate) fn admin(data: &Path, arguments: &[&str]) -> Value {
    let output =
        Command::new(OFFHOOK).arg("admin").args(arguments).arg("--json").arg("--data").arg(data).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A tenant with credits, and its keys.
pub(crate) struct Tenant {
    pub(crate) id: String,
    keys: Value,
    /// Signs what it is told where it has given no secret of its own.
    pub(crate) signing_secret: String,
}

impl Tenant {
    pub(crate) fn create(data: &Path) -> Self {
        let made = admin(data, &["tenant", "create", "Klinik Sehat", "--plan", "enterprise", "--minutes", "1000"]);
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Self { id: text("tenant_id"), keys: made["keys"].clone(), signing_secret: text("signing_secret") }
    }

    pub(crate) fn key(&self, dialect: &str) -> &str {
        self.keys[dialect].as_str().unwrap()
    }

    /// The header that a dialect's requests bear.
    pub(crate) fn header(&self, dialect: &str) -> (&'static str, String) {
        let key = self.key(dialect);
        match dialect {
            "dialflo" => ("auth_token", format!("Bearer {key}")),
            "dialro" => ("x-api-key", key.to_owned()),
            "voxcore" => ("X-API-Key", key.to_owned()),
            "voxstack" => ("Authorization", format!("Bearer {key}")),
            other => panic!("{other} is no dialect"),
        }
    }
}

/// Where the clients of the tests are installed.
pub(crate) fn clients() -> PathBuf {
    let default = || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers").join("clients");
    let folder = std::env::var_os("OFFHOOK_CLIENTS").map_or_else(default, PathBuf::from);
    assert!(
        folder.join("node_modules/typescript").is_dir() && folder.join("python/schemathesis").is_dir(),
        "the packages are not installed in {}: run `cargo xtask setup`",
        folder.display()
    );
    folder
}

/// Python, with the packages that are installed for the tests.
pub(crate) fn python() -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", clients().join("python")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Runs a command; what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (told, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed:\n{told}\n{complaint}");
    told.into_owned()
}
