//! `offhook serve` in a process of its own, and what asks it.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

const OFFHOOK: &str = env!("CARGO_BIN_EXE_offhook");

/// A server that is killed when it is dropped.
pub(crate) struct Server {
    pub(crate) addr: String,
    pub(crate) child: Child,
}

impl Server {
    /// With `data`, and whatever `set` adds to its command line and environment.
    pub(crate) fn start(data: &Path, set: impl FnOnce(&mut Command) -> &mut Command) -> Self {
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
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
        ask(&self.addr, method, path, headers, body).unwrap()
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
    let answer = String::from_utf8(answer).map_err(|_| io::ErrorKind::InvalidData)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

/// What `offhook admin` says.
pub(crate) fn admin(data: &Path, arguments: &[&str]) -> Value {
    let output =
        Command::new(OFFHOOK).arg("admin").args(arguments).arg("--json").arg("--data").arg(data).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
