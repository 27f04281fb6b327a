//! The callers' side of the wire: what goes out in real time, and what comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use offhook::provider::transport::SocketMessage;
use serde_json::json;

use crate::far::Far;
use crate::script;

/// A call, seen from the far end.
pub(crate) struct Line<S> {
    pub(crate) due: Instant,
    pub(crate) far: Arc<Far>,
    index: usize,
    send: S,
    stream: String,
}

impl<S: FnMut(String)> Line<S> {
    /// The call of that number, whose first frame is due at `due`; `send` takes a message to the engine.
    pub(crate) fn new(number: usize, due: Instant, far: Arc<Far>, mut send: S) -> Self {
        far.begin(due);
        let stream = format!("MZ{number}");
        handshake(&stream).into_iter().for_each(&mut send);
        Self { due, far, index: 0, send, stream }
    }
}

/// Feeds all calls in real time for so long.
pub(crate) async fn pump<S: FnMut(String)>(lines: &mut [Line<S>], messages: &[String], length: Duration) {
    let end = Instant::now() + length;
    while Instant::now() < end {
        feed(lines, messages);
        let next = lines.iter().map(|line| line.due).min().unwrap_or(end);
        tokio::time::sleep_until(next.into()).await;
    }
}

/// Sends every frame that is due, and the marks that are.
pub(crate) fn feed<S: FnMut(String)>(lines: &mut [Line<S>], messages: &[String]) {
    let now = Instant::now();
    for line in lines {
        while line.due <= now {
            for name in line.far.sent(line.index, now) {
                let stream = &line.stream;
                let head = format!(r#"{{"event":"mark","streamSid":"{stream}","sequenceNumber":"4","mark":"#);
                (line.send)(format!(r#"{head}{{"name":"{name}"}}}}"#));
            }
            let rest = &messages[(line.index + line.far.offset) % messages.len()];
            (line.send)([r#"{"event":"media","streamSid":""#, &line.stream, rest].concat());
            line.index += 1;
            line.due += script::FRAME;
        }
    }
}

/// Hears what the engine sends.
pub(crate) async fn listen(far: Arc<Far>, mut from_engine: impl Stream<Item = SocketMessage> + Unpin) {
    while let Some(message) = from_engine.next().await {
        let SocketMessage::Text(text) = message else { continue };
        let now = Instant::now();
        if let Some(payload) = between(&text, r#""payload":"#) {
            let padding = payload.bytes().rev().take_while(|byte| *byte == b'=').count();
            let bytes = payload.len() / 4 * 3 - padding;
            far.received(now, Duration::from_micros(bytes as u64 * 125));
        } else if let Some(name) = between(&text, r#""name":"#) {
            far.marked(name.to_owned());
        } else if text.contains(r#""clear""#) {
            far.cleared(now);
        }
    }
}

/// The string behind a name of JSON, with or without a space between them.
fn between<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(name)?;
    rest.trim_start().strip_prefix('"')?.split_once('"').map(|(value, _)| value)
}

fn handshake(stream: &str) -> [String; 2] {
    let format = json!({ "encoding": "audio/x-mulaw", "sampleRate": 8_000, "channels": 1 });
    let call = format!("CA{stream}");
    let start = json!({
        "streamSid": stream, "callSid": call, "accountSid": "AC0", "tracks": ["inbound"], "mediaFormat": format
    });
    [
        json!({ "event": "connected", "protocol": "Call", "version": "1.0.0" }).to_string(),
        json!({ "event": "start", "sequenceNumber": "1", "streamSid": stream, "start": start }).to_string(),
    ]
}
