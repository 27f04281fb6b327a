//! Clients that ask as fast as they are answered, each on a connection that stays open.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const WARM_UP: Duration = Duration::from_secs(1);

pub(crate) struct Load {
    pub(crate) addr: SocketAddr,
    pub(crate) connections: usize,
    /// Sent in turns.
    pub(crate) requests: Vec<Vec<u8>>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Answers other than 2xx.
    pub(crate) failures: u64,
    latencies: Vec<Duration>,
    took: Duration,
}

impl Load {
    pub(crate) async fn warm_up(&self) {
        self.run_until(Instant::now() + WARM_UP, u64::MAX).await;
    }

    pub(crate) async fn run_for(&self, limit: Duration) -> Tally {
        self.run_until(Instant::now() + limit, u64::MAX).await
    }

    pub(crate) async fn run(&self, requests: u64) -> Tally {
        self.run_until(Instant::now() + Duration::from_secs(3_600), requests).await
    }

    async fn run_until(&self, deadline: Instant, requests: u64) -> Tally {
        let started = Instant::now();
        let sent = Arc::new(AtomicU64::new(0));
        let clients: Vec<_> = (0..self.connections)
            .map(|_| {
                let (addr, all, sent) = (self.addr, self.requests.clone(), sent.clone());
                tokio::spawn(async move {
                    let mut client = Client::connect(addr).await;
                    let mut tally = Tally::default();
                    loop {
                        let number = sent.fetch_add(1, Ordering::Relaxed);
                        let before = Instant::now();
                        if number >= requests || before >= deadline {
                            return tally;
                        }
                        let at = usize::try_from(number % all.len() as u64).expect("it is small");
                        let status = client.ask(&all[at]).await;
                        tally.latencies.push(before.elapsed());
                        tally.failures += u64::from(!(200..300).contains(&status));
                    }
                })
            })
            .collect();
        let mut tally = Tally::default();
        for client in clients {
            let part = client.await.expect("a client");
            tally.failures += part.failures;
            tally.latencies.extend(part.latencies);
        }
        tally.took = started.elapsed();
        tally.latencies.sort_unstable();
        tally
    }
}

impl Tally {
    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    fn percentile(&self, percent: usize) -> Duration {
        let at = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).copied().unwrap_or_default()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [middle, late] = [50, 99].map(|percent| self.percentile(percent).as_secs_f64() * 1_000.0);
        write!(f, "{:>7.0}/s, p50 {middle:>6.2} ms, p99 {late:>6.2} ms", self.per_second())?;
        if self.failures > 0 {
            write!(f, ", {} FAILED", self.failures)?;
        }
        Ok(())
    }
}

/// A connection of HTTP/1.1, to servers that tell the length of what they answer.
pub(crate) struct Client {
    buffer: Vec<u8>,
    stream: TcpStream,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.expect("the server listens");
        stream.set_nodelay(true).expect("a socket option");
        Self { buffer: Vec::with_capacity(256 * 1024), stream }
    }

    /// Sends a request and reads the answer whole. Returns its status.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> u16 {
        self.exchange(request).await.0
    }

    /// The same, with the body.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> (u16, &[u8]) {
        self.buffer.clear();
        self.stream.write_all(request).await.expect("the server reads");
        let (mut head, mut whole) = (0, usize::MAX);
        while self.buffer.len() < whole {
            let read = self.stream.read_buf(&mut self.buffer).await.expect("the server answers");
            assert!(read > 0, "the server hung up");
            if whole == usize::MAX
                && let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n")
            {
                head = end + 4;
                whole = head + length(&self.buffer[..end]);
            }
        }
        let status = std::str::from_utf8(&self.buffer[9..12]).ok().and_then(|status| status.parse().ok());
        (status.expect("a status"), &self.buffer[head..])
    }
}

fn length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"\r\ncontent-length:";
    let at = head.windows(NAME.len()).position(|window| window.eq_ignore_ascii_case(NAME));
    let digits = head[at.expect("an answer with a length") + NAME.len()..].iter();
    let digits = digits.skip_while(|byte| **byte == b' ').take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
}
