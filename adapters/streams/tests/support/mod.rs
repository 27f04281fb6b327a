//! A world in virtual time: one thread, one clock that jumps to the next timer when nothing else can happen.
#![allow(dead_code, unreachable_pub, reason = "each test file takes its part")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::future::{Future, poll_fn, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use async_trait::async_trait;
use futures_util::StreamExt;
use offhook::provider::telephony::{DialOptions, Media, MediaEvent};
use offhook::provider::transport::{CloseCode, Socket, SocketMessage, SocketRequest};
use offhook::provider::{BoxStream, ProviderInfo, SocketTransport};
use offhook::runtime::{Runtime, SleepTimer, Task, Timer as WaitTimer};
use offhook::time::{Instant, Timestamp};
use offhook::{Error, ErrorKind, Result};
use offhook_streams::twilio::{FRAME_BYTES, SILENCE};

pub const CONNECTED: &str = r#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#;
pub const START: &str = concat!(
    r#"{"event":"start","sequenceNumber":"1","start":{"accountSid":"AC1","streamSid":"MZ1","callSid":"CA1","#,
    r#""tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1},"#,
    r#""customParameters":{"from":"+14155550123","to":"+628123456789","clinic":"north"}},"streamSid":"MZ1"}"#,
);
pub const STOP: &str =
    r#"{"event":"stop","sequenceNumber":"5","streamSid":"MZ1","stop":{"accountSid":"AC1","callSid":"CA1"}}"#;

/// Runs `story` in a world of its own and returns what it returns, once nothing but timers is left running.
pub fn run<T, F: Future<Output = T>>(story: impl FnOnce(Arc<World>) -> F) -> T {
    let world = Arc::new(World::default());
    let mut story = pin!(story(Arc::clone(&world)));
    let flag = Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&flag));
    let mut tasks: Vec<(Task, Arc<Flag>)> = Vec::new();
    loop {
        let mut idle = true;
        if flag.0.swap(false, Ordering::Relaxed) {
            idle = false;
            if let Poll::Ready(result) = story.as_mut().poll(&mut Context::from_waker(&waker)) {
                return result;
            }
        }
        let spawned = std::mem::take(&mut *world.spawned.lock().unwrap());
        tasks.extend(spawned.into_iter().map(|task| (task, Arc::new(Flag(AtomicBool::new(true))))));
        tasks.retain_mut(|(task, woken)| {
            if !woken.0.swap(false, Ordering::Relaxed) {
                return true;
            }
            idle = false;
            task.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(woken)))).is_pending()
        });
        *world.running.lock().unwrap() = tasks.len();
        if idle {
            world.jump();
        }
    }
}

#[derive(Default)]
pub struct World {
    now_micros: Mutex<u64>,
    random: Mutex<u8>,
    running: Mutex<usize>,
    spawned: Mutex<Vec<Task>>,
    timers: Mutex<BTreeMap<(Instant, usize), Waker>>,
    timer_count: Mutex<usize>,
}

impl World {
    pub fn runtime(self: &Arc<Self>) -> Arc<dyn Runtime> {
        Arc::clone(self) as Arc<dyn Runtime>
    }

    pub async fn sleep(&self, time: Duration) {
        self.sleep_until(self.now() + time).await;
    }

    pub fn now_ms(&self) -> u64 {
        self.now().as_micros() / 1_000
    }

    /// Tasks that have not ended, as of the last time around.
    pub fn running(&self) -> usize {
        *self.running.lock().unwrap()
    }

    fn jump(&self) {
        let first = self.timers.lock().unwrap().pop_first();
        let Some(((at, _), waker)) = first else { panic!("nothing can happen any more") };
        let mut now = self.now_micros.lock().unwrap();
        *now = at.as_micros().max(*now);
        waker.wake();
    }
}

#[async_trait]
impl Runtime for World {
    fn now(&self) -> Instant {
        Instant::from_micros(*self.now_micros.lock().unwrap())
    }

    fn wall_clock(&self) -> Timestamp {
        Timestamp::from_unix_micros(0)
    }

    async fn sleep_until(&self, deadline: Instant) {
        let number = {
            let mut count = self.timer_count.lock().unwrap();
            *count += 1;
            *count
        };
        let _timer = Timer { world: self, key: (deadline, number) };
        poll_fn(|context| {
            if self.now() >= deadline {
                return Poll::Ready(());
            }
            self.timers.lock().unwrap().insert((deadline, number), context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn timer(self: Arc<Self>) -> Box<dyn WaitTimer> {
        Box::new(SleepTimer::new(self))
    }

    fn spawn(&self, _name: &'static str, task: Task) {
        self.spawned.lock().unwrap().push(task);
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        let mut random = self.random.lock().unwrap();
        *random += 1;
        bytes.fill(*random);
    }
}

/// Takes an abandoned sleep out of the table, so that the clock does not jump to it.
struct Timer<'a> {
    world: &'a World,
    key: (Instant, usize),
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.world.timers.lock().unwrap().remove(&self.key);
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The two ends of a socket that holds `messages_max` messages each way.
pub fn pair(messages_max: usize) -> (Socket, Socket) {
    let (near, far) = wires(messages_max);
    (near, Socket { incoming: from_network(far.incoming), outgoing: far.outgoing })
}

/// A socket and the bare wires of its other end.
pub fn wires(messages_max: usize) -> (Socket, Wires) {
    let (near_out, far_in) = async_channel::bounded(messages_max);
    let (far_out, near_in) = async_channel::bounded(messages_max);
    let near = Socket { incoming: from_network(near_in), outgoing: near_out };
    (near, Wires { closed: None, incoming: far_in, outgoing: far_out })
}

/// What a text message says.
pub fn text(message: SocketMessage) -> String {
    match message {
        SocketMessage::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

/// A close ends the messages and is none.
fn from_network(messages: Receiver<SocketMessage>) -> BoxStream<'static, Result<SocketMessage>> {
    Box::pin(messages.take_while(|message| ready(!matches!(message, SocketMessage::Close(_)))).map(Ok))
}

/// The far end of a socket, in the hands of a test.
pub struct Wires {
    /// With what code the socket was closed.
    pub closed: Option<CloseCode>,
    pub incoming: Receiver<SocketMessage>,
    pub outgoing: Sender<SocketMessage>,
}

impl Wires {
    pub async fn send(&self, text: &str) {
        self.outgoing.send(SocketMessage::Text(text.to_owned())).await.unwrap();
    }

    /// The next text, or `None` when the socket was closed.
    pub async fn next(&mut self) -> Option<String> {
        match self.incoming.recv().await.ok()? {
            SocketMessage::Text(text) => Some(text),
            SocketMessage::Close(code) => {
                self.closed = Some(code);
                None
            }
            SocketMessage::Binary(_) => panic!("a binary message"),
        }
    }
}

/// Hands out one socket, and keeps what it was asked for.
pub struct OneSocket {
    pub requests: Mutex<Vec<SocketRequest>>,
    socket: Mutex<Option<Socket>>,
}

impl OneSocket {
    pub fn new(socket: Socket) -> Arc<Self> {
        Arc::new(Self { requests: Mutex::default(), socket: Mutex::new(Some(socket)) })
    }
}

#[async_trait]
impl SocketTransport for OneSocket {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "one-socket", detail: String::new() }
    }

    async fn connect(&self, request: SocketRequest) -> Result<Socket> {
        self.requests.lock().unwrap().push(request);
        let refused = || Error::new(ErrorKind::Unavailable, "socket.connect", "connection refused");
        self.socket.lock().unwrap().take().ok_or_else(refused)
    }
}

/// All that is left of the events; they must end.
pub async fn rest(media: &mut Media) -> Vec<MediaEvent> {
    media.events.by_ref().collect().await
}

/// A call between two numbers.
pub fn options() -> DialOptions {
    DialOptions::new("+14155550123".parse().unwrap(), "+628123456789".parse().unwrap(), Duration::from_secs(30))
}

/// What is heard in the next `frames` frames, silence left out; nothing else may happen.
pub async fn hear(media: &mut Media, frames: usize) -> Vec<u8> {
    let mut heard = Vec::new();
    for _ in 0..frames {
        match media.events.next().await {
            Some(MediaEvent::Audio(frame)) => {
                assert_eq!(frame.len(), FRAME_BYTES);
                heard.extend(frame.into_iter().filter(|byte| *byte != SILENCE));
            }
            other => panic!("{other:?}"),
        }
    }
    heard
}

/// Yields to everything else that can run without time passing.
pub async fn settle(world: &World) {
    world.sleep(Duration::from_micros(1)).await;
}
