//! A customer's system that is told of calls.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc::{self, Receiver};

use serde_json::Value;

use super::PATIENCE;

/// What it was told.
pub(crate) struct Told {
    pub(crate) bytes: Vec<u8>,
    headers: Vec<(String, String)>,
    pub(crate) path: String,
}

impl Told {
    /// A header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn body(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }
}

/// Takes whatever it is sent.
pub(crate) struct Customer {
    pub(crate) base: String,
    told: Receiver<Told>,
}

impl Customer {
    pub(crate) fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (sender, told) = mpsc::channel();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut reader = BufReader::new(socket.unwrap());
                let Some(message) = read(&mut reader) else { continue };
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _ = reader.get_mut().write_all(answer.as_bytes());
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Self { base, told }
    }

    /// The next thing that it is told.
    pub(crate) fn next(&self) -> Told {
        self.told.recv_timeout(PATIENCE).unwrap()
    }
}

fn read(reader: &mut impl BufRead) -> Option<Told> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<_> = lines
        .iter()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, length)| length);
    let mut bytes = vec![0; length.parse().ok()?];
    reader.read_exact(&mut bytes).ok()?;
    Some(Told { bytes, headers, path })
}
