//! The server's side of one stream: messages and commands in, outputs out, no I/O and no clock.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use offhook::Result;
use offhook::audio::codec::Decoder;
use offhook::audio::{DtmfDetector, Framer};
use offhook::provider::telephony::{DtmfDigit, E164, HangupCause, MediaCommand, MediaEvent};
use offhook::provider::transport::CloseCode;
use offhook::time::{Instant, Timestamp, millis};

use super::message::{Connected, Event, Message};
use super::pacer::Pacer;
use super::writer::BotWriter;
use super::{HANG_UP_LIMIT, MEDIA_FORMAT};
use crate::end::{EndReason, close_code};
use crate::twilio::message::{Media, MessageError};
use crate::wire::{Output, Started, Wire};

/// A key that the dialler reports is not reported again when its tones are heard so soon.
const KEY_ECHO_MAX: Duration = Duration::from_millis(500);

/// The server's side of one stream.
pub(crate) struct Session {
    arena: BytesMut,
    ear: Option<Ear>,
    now: Instant,
    outputs: VecDeque<Output>,
    pacer: Pacer,
    phase: Phase,
    started_at: Instant,
    wall_clock: Timestamp,
}

enum Phase {
    AwaitAnswer {
        call: Box<Connected>,
        stream_id: String,
    },
    AwaitConnected,
    AwaitStart {
        call: Box<Connected>,
        stream_id: Option<String>,
    },
    Ended,
    /// We hung up and wait for the dialler to do so.
    Leaving {
        code: CloseCode,
        until: Instant,
    },
    Streaming {
        stream_id: String,
        writer: Box<BotWriter>,
    },
}

/// Hears keys by their tones.
struct Ear {
    decoder: Decoder,
    detector: DtmfDetector,
    framer: Framer,
    /// Samples heard: the far party's clock.
    heard: u64,
    /// The last key, when it was reported, and by what.
    last: Option<(DtmfDigit, u64, Told)>,
    samples: Vec<i16>,
}

/// How a key became known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Told {
    ByMessage,
    ByTones,
}

impl Session {
    /// A stream whose socket has just been opened; `wall_clock` is the time at `now`.
    pub(crate) fn new(now: Instant, wall_clock: Timestamp) -> Self {
        Self {
            arena: BytesMut::new(),
            ear: Ear::new().ok(),
            now,
            outputs: VecDeque::new(),
            pacer: Pacer::default(),
            phase: Phase::AwaitConnected,
            started_at: now,
            wall_clock,
        }
    }

    fn handle(&mut self, text: &str) -> Result<(), EndReason> {
        let message = Message::parse(text)?;
        self.check_stream(&message)?;
        match (std::mem::replace(&mut self.phase, Phase::Ended), message.event) {
            (phase, Event::Other) => self.phase = phase,
            (phase @ Phase::Leaving { .. }, event) => {
                self.phase = phase;
                if matches!(event, Event::HangupCall { .. }) {
                    self.close();
                }
            }
            (_, Event::HangupCall { .. }) => return Err(EndReason::Stopped),
            (Phase::AwaitConnected, Event::Connected(call)) => {
                let stream_id = message.stream_id.map(String::from);
                self.phase = Phase::AwaitStart { call, stream_id };
            }
            (Phase::AwaitStart { .. }, Event::Start { format_supported: false }) => return Err(EndReason::Codec),
            (Phase::AwaitStart { call, stream_id }, Event::Start { .. }) => {
                let missing = MessageError::Missing { event: "start", field: "streamId" };
                let stream_id = message.stream_id.map(String::from).or(stream_id).ok_or(missing)?;
                self.phase = Phase::AwaitAnswer { call, stream_id };
            }
            (Phase::AwaitAnswer { call, stream_id }, Event::Answer) => self.start(*call, stream_id),
            (phase @ Phase::Streaming { .. }, event) => {
                self.phase = phase;
                self.handle_streaming(event)?;
            }
            (_, event) => return Err(EndReason::OutOfOrder(name_of(&event))),
        }
        Ok(())
    }

    fn check_stream(&self, message: &Message<'_>) -> Result<(), EndReason> {
        let ours = match &self.phase {
            Phase::AwaitAnswer { stream_id, .. } | Phase::Streaming { stream_id, .. } => Some(stream_id.as_str()),
            Phase::AwaitStart { stream_id, .. } => stream_id.as_deref(),
            Phase::AwaitConnected | Phase::Ended | Phase::Leaving { .. } => None,
        };
        match (ours, message.stream_id.as_deref()) {
            (Some(ours), Some(named)) if ours != named => Err(EndReason::OtherStream),
            _ => Ok(()),
        }
    }

    fn start(&mut self, call: Connected, stream_id: String) {
        let writer = Box::new(BotWriter::new(&stream_id, &call));
        let started = Started {
            format: MEDIA_FORMAT,
            from: call.caller_id.parse().ok(),
            leg: None,
            parameters: call.parameters,
            reserved: call.reserved,
            to: call.did.parse().ok(),
        };
        self.outputs.push_back(Output::Started(Box::new(started)));
        self.phase = Phase::Streaming { stream_id, writer };
    }

    fn handle_streaming(&mut self, event: Event<'_>) -> Result<(), EndReason> {
        match event {
            Event::Dtmf(digit) => {
                let is_new = self.ear.as_mut().is_none_or(|ear| ear.note(digit, Told::ByMessage));
                self.outputs.extend(is_new.then_some(Output::Event(MediaEvent::Dtmf(digit))));
            }
            Event::Media(media) => self.hear(&media)?,
            Event::Answer | Event::Connected(_) | Event::Start { .. } => {
                return Err(EndReason::OutOfOrder(name_of(&event)));
            }
            // What only a bot says means nothing to a bot.
            _ => {}
        }
        Ok(())
    }

    fn hear(&mut self, media: &Media<'_>) -> Result<(), MessageError> {
        let audio = media.decode(&mut self.arena)?;
        if audio.is_empty() {
            return Ok(());
        }
        let keys = self.ear.as_mut().map(|ear| ear.hear(&audio)).unwrap_or_default();
        self.outputs.push_back(Output::Event(MediaEvent::Audio(audio)));
        self.outputs.extend(keys.into_iter().map(|key| Output::Event(MediaEvent::Dtmf(key))));
        Ok(())
    }

    fn send_due(&mut self) {
        let Phase::Streaming { writer, .. } = &mut self.phase else { return };
        let now = self.wall_clock + self.now.saturating_since(self.started_at);
        while let Some(chunk) = self.pacer.next_chunk(self.now) {
            self.outputs.push_back(Output::Send(writer.media(&chunk, now)));
        }
    }

    /// The dialler has had its say, or its time.
    fn close(&mut self) {
        if let Phase::Leaving { code, .. } = self.phase {
            self.phase = Phase::Ended;
            self.outputs.push_back(Output::Close(code));
        }
    }

    fn end(&mut self, reason: EndReason) {
        self.phase = Phase::Ended;
        self.outputs.push_back(Output::Ended(reason));
    }
}

impl Wire for Session {
    fn handle_message(&mut self, text: &str) {
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        let is_leaving = matches!(self.phase, Phase::Leaving { .. });
        match self.handle(text) {
            // Who hung up does not care for the rest.
            Err(_) if is_leaving => {}
            Err(reason) => self.end(reason),
            Ok(()) => {}
        }
    }

    fn handle_binary(&mut self) {
        match self.phase {
            Phase::Ended | Phase::Leaving { .. } => {}
            _ => self.end(EndReason::Binary),
        }
    }

    fn handle_close(&mut self) {
        match self.phase {
            Phase::Ended => {}
            Phase::Leaving { .. } => self.close(),
            _ => self.end(EndReason::Disconnected),
        }
    }

    fn handle_command(&mut self, now: Instant, command: MediaCommand) {
        self.now = self.now.max(now);
        let Phase::Streaming { writer, .. } = &self.phase else { return };
        match command {
            MediaCommand::Audio(audio) => {
                self.pacer.push(&audio);
                self.send_due();
            }
            MediaCommand::Clear => {
                self.outputs.push_back(Output::Send(writer.stop()));
                self.pacer.clear(self.now);
            }
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        match self.phase {
            Phase::Leaving { until, .. } if until <= self.now => self.close(),
            _ => self.send_due(),
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Leaving { until, .. } => Some(until),
            Phase::Streaming { .. } => self.pacer.poll_timeout(),
            _ => None,
        }
    }

    fn takes_commands(&self) -> bool {
        self.pacer.has_room()
    }

    fn transfer(&mut self, target: &E164) -> Result<()> {
        if let Phase::Streaming { writer, .. } = &self.phase {
            self.outputs.push_back(Output::Send(writer.transfer(target)));
        }
        Ok(())
    }

    fn hang_up(&mut self, now: Instant, cause: HangupCause) {
        self.now = self.now.max(now);
        let code = close_code(cause);
        match &self.phase {
            Phase::Ended | Phase::Leaving { .. } => {}
            Phase::Streaming { writer, .. } => {
                self.outputs.extend([Output::Send(writer.stop()), Output::Send(writer.hangup())]);
                self.phase = Phase::Leaving { code, until: self.now + HANG_UP_LIMIT };
            }
            _ => {
                self.phase = Phase::Ended;
                self.outputs.push_back(Output::Close(code));
            }
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}

impl Ear {
    fn new() -> Result<Self> {
        Ok(Self {
            decoder: Decoder::new(MEDIA_FORMAT.codec),
            detector: DtmfDetector::new(MEDIA_FORMAT.rate_hz),
            framer: Framer::new(MEDIA_FORMAT.rate_hz)?,
            heard: 0,
            last: None,
            samples: Vec::new(),
        })
    }

    /// The keys in the audio that were not reported before.
    fn hear(&mut self, audio: &[u8]) -> Vec<DtmfDigit> {
        self.samples.clear();
        self.decoder.decode(audio, &mut self.samples);
        let samples = std::mem::take(&mut self.samples);
        let (mut rest, mut keys) = (samples.as_slice(), Vec::new());
        while let Some(frame) = self.framer.next_frame(&mut rest) {
            self.heard += frame.len() as u64;
            keys.extend(self.detector.push(frame));
        }
        keys.retain(|key| self.note(*key, Told::ByTones));
        self.samples = samples;
        keys
    }

    /// Whether a key is another press than the last one, or the same one told in the other way.
    fn note(&mut self, key: DtmfDigit, told: Told) -> bool {
        let echo_max = u64::from(MEDIA_FORMAT.rate_hz) * millis(KEY_ECHO_MAX) / 1_000;
        let is_echo = |(last, at, by): (DtmfDigit, u64, Told)| last == key && by != told && self.heard - at <= echo_max;
        let is_new = !self.last.is_some_and(is_echo);
        self.last = is_new.then_some((key, self.heard, told));
        is_new
    }
}

fn name_of(event: &Event<'_>) -> &'static str {
    match event {
        Event::Answer => "answer",
        Event::Connected(_) => "connected",
        Event::Dtmf(_) => "dtmf",
        Event::HangupCall { .. } => "hangup-call",
        Event::Media(_) => "media",
        Event::Other => "an unknown event",
        Event::ReverseCallTransfer(_) => "reverse-call-transfer",
        Event::ReverseHangupCall => "reverse-hangup-call",
        Event::ReverseMedia { .. } => "reverse-media",
        Event::ReverseMediaStop => "reverse-media-stop",
        Event::Start { .. } => "start",
    }
}
