//! The sound of one call: joins the carrier's media, the recogniser, the synthesiser and the recording.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::BytesMut;

use crate::audio::codec::{Decoder, Encoder};
use crate::audio::progress::{CallProgress, Country, ToneKind};
use crate::audio::silero::{Silero, SileroVad};
use crate::audio::vad::{EnergyVad, EnergyVadSettings, VadEvent};
use crate::audio::{BeepDetector, FRAME_DURATION, Framer, Playout, PlayoutEvent, Resampler, samples_per_frame};
use crate::call::{CommandId, Failure, Input, Outcome, Progress};
use crate::error::{Error, ErrorKind, Result};
use crate::provider::stt::{SttEvent, SttInput};
use crate::provider::telephony::{HangupCause, Media, MediaCommand, MediaEvent};
use crate::provider::tts::TtsEvent;
use crate::time::{Instant, micros};

use super::feed::{Feed, FeedStream};
use super::recording::Recording;

/// A carrier that sends nothing for so long has lost the call.
const MEDIA_TIMEOUT: Duration = Duration::from_secs(10);

/// Audio that a carrier leaves out is filled with silence from this length; less is jitter.
const GAP_MIN: Duration = Duration::from_millis(200);

/// Frames between two marks.
const MARK_INTERVAL: u32 = 4;

/// Frames that are made up for at once after a late wake-up; what is later is skipped.
const TICKS_MAX: u32 = 50;

/// A frame that arrives so shortly before its tick brings the tick along, and a tick waits as long for a frame: so one
/// wake-up does the work of two.
const TICK_SLACK: Duration = Duration::from_millis(10);

/// Bytes that are allocated at once for what goes out.
const ARENA_BYTES: usize = 4 * 1024;

/// Caller's audio that waits to be recorded; a burst beyond it loses its oldest samples.
const RECORD_WAITING_MAX: Duration = Duration::from_secs(1);

/// Of a joined leg's sound, 1/5 of a second may wait; what is older is dropped, so that nobody talks into the past.
const RELAY_WAITING_PER_SECOND: usize = 5;

/// Sound in both directions, from the joining of the media to the end of the call.
pub(super) struct MediaSession {
    pub(super) media: Media,
    arena: BytesMut,
    decoder: Decoder,
    encoded: Vec<u8>,
    encoder: Encoder,
    frame: Vec<i16>,
    /// A frame has arrived since the last tick.
    has_frame: bool,
    heard: Vec<i16>,
    inputs: VecDeque<Input>,
    last_audio: Instant,
    last_position: u64,
    listening: Option<Listening>,
    lost: bool,
    next_tick: Instant,
    playout: Playout,
    recording: Option<Recording>,
    relay: Option<Relay>,
    samples: Vec<i16>,
    sent_since_mark: u32,
    to_record: Vec<i16>,
    voices: BTreeMap<CommandId, Voice>,
}

/// A piece of speech that is being synthesised.
struct Voice {
    /// It has words, and no sound of them has come.
    is_mute: bool,
    resampler: Resampler,
    samples: Vec<i16>,
}

/// A recogniser that is being fed.
struct Listening {
    /// When the first sample was heard: the recogniser's time zero.
    began: Option<Instant>,
    /// Samples so far, at the carrier's rate.
    fed: u64,
    id: CommandId,
    input: Option<Feed>,
    resampler: Resampler,
    samples: Vec<i16>,
    machines: Option<Machines>,
    framer: Framer,
    vad: Option<Vad>,
}

/// What tells speech from silence where the recogniser does not.
enum Vad {
    Energy(Box<EnergyVad>),
    Neural(Box<SileroVad>),
}

impl Vad {
    /// By `silero` if there is one and it takes the rate, else by the energy of the sound.
    fn new(rate_hz: u32, silero: Option<&Silero>) -> Result<Self> {
        match silero.map(|silero| SileroVad::new(silero, rate_hz)) {
            Some(Ok(vad)) => Ok(Self::Neural(Box::new(vad))),
            _ => EnergyVad::new(rate_hz, EnergyVadSettings::default()).map(|vad| Self::Energy(Box::new(vad))),
        }
    }

    fn push(&mut self, frame: &[i16]) -> Option<VadEvent> {
        match self {
            Self::Energy(vad) => vad.push(frame),
            Self::Neural(vad) => vad.push(frame),
        }
    }
}

impl MediaSession {
    pub(super) fn new(now: Instant, media: Media, recording: Option<Recording>) -> Self {
        let rate_hz = media.format.rate_hz;
        let frame = samples_per_frame(rate_hz);
        Self {
            arena: BytesMut::new(),
            decoder: Decoder::new(media.format.codec),
            encoded: Vec::with_capacity(frame * 2),
            encoder: Encoder::new(media.format.codec),
            frame: vec![0; frame],
            has_frame: false,
            heard: vec![0; frame],
            inputs: VecDeque::new(),
            last_audio: now,
            last_position: 0,
            listening: None,
            lost: false,
            next_tick: now + FRAME_DURATION,
            playout: Playout::new(rate_hz, media.marks),
            media,
            recording,
            relay: None,
            samples: Vec::with_capacity(frame * 2),
            sent_since_mark: 0,
            to_record: Vec::new(),
            voices: BTreeMap::new(),
        }
    }

    /// When [`MediaSession::tick`] is due at the latest.
    pub(super) fn next_tick(&self) -> Instant {
        self.next_tick + TICK_SLACK
    }

    /// What the call machine must be told.
    pub(super) fn poll_input(&mut self) -> Option<Input> {
        self.inputs.pop_front()
    }

    /// Whether the synthesiser of that piece should wait.
    pub(super) fn is_full(&self, id: CommandId) -> bool {
        self.playout.is_full(id.get())
    }

    /// Ends the recording and hands it over; the session goes on to take the recogniser's last words.
    pub(super) fn take_recording(&mut self) -> Option<Recording> {
        self.recording.take()
    }

    /// Takes what the carrier sent; `None` when it sends no more.
    pub(super) fn receive(&mut self, now: Instant, event: Option<MediaEvent>) {
        match event {
            Some(MediaEvent::Audio(bytes)) => self.receive_audio(now, &bytes),
            Some(MediaEvent::Dtmf(digit)) => self.inputs.push_back(Input::Dtmf(digit)),
            Some(MediaEvent::Ended { cause }) => {
                self.lost = true;
                self.inputs.push_back(Input::LegEnded { cause });
            }
            Some(MediaEvent::Marked(position)) => {
                self.playout.marked(position);
                self.account();
            }
            None => self.lose(HangupCause::NETWORK_OUT_OF_ORDER),
        }
    }

    /// Whether the carrier may still send.
    pub(super) fn is_alive(&self) -> bool {
        !self.lost
    }

    /// Plays and records what is due.
    pub(super) fn tick(&mut self, now: Instant) {
        let due_until = if std::mem::take(&mut self.has_frame) { now + TICK_SLACK } else { now };
        if self.next_tick > due_until {
            return;
        }
        let mut ticks = 0;
        while self.next_tick <= due_until {
            self.next_tick = self.next_tick + FRAME_DURATION;
            ticks += 1;
            if ticks <= TICKS_MAX {
                self.tick_once();
            }
        }
        self.account();
        if now.saturating_since(self.last_audio) >= MEDIA_TIMEOUT {
            self.lose(HangupCause::RECOVERY_ON_TIMER_EXPIRY);
        }
    }

    fn tick_once(&mut self) {
        if self.relay.is_some() {
            self.relay_frame();
            return;
        }
        self.playout.tick(&mut self.heard);
        self.record();
        self.send_frames();
        if self.media.marks && self.sent_since_mark > 0 && self.playout.has_nothing_to_send() {
            self.mark(self.last_position);
        }
    }

    /// Sends as much as the carrier may hold.
    fn send_frames(&mut self) {
        while let Some(position) = self.playout.next_frame(&mut self.frame) {
            self.encoded.clear();
            self.encoder.encode(&self.frame, &mut self.encoded);
            self.send_audio();
            self.sent_since_mark += 1;
            if self.media.marks && (self.sent_since_mark >= MARK_INTERVAL || position == self.frame.len() as u64) {
                self.mark(position);
            }
            self.last_position = position;
        }
    }

    fn record(&mut self) {
        let Some(recording) = &mut self.recording else { return };
        let length = self.to_record.len().min(self.frame.len());
        if !recording.write(&self.to_record[..length], &self.heard) {
            self.recording = None;
        }
        self.to_record.drain(..length);
    }

    /// Sends what was encoded, in memory that many frames share.
    fn send_audio(&mut self) {
        if self.arena.capacity() < self.encoded.len() {
            self.arena.reserve(self.encoded.len().max(ARENA_BYTES));
        }
        self.arena.extend_from_slice(&self.encoded);
        let audio = self.arena.split().freeze();
        self.send(MediaCommand::Audio(audio));
    }

    fn mark(&mut self, position: u64) {
        self.sent_since_mark = 0;
        self.send(MediaCommand::Mark(position));
    }

    fn send(&mut self, command: MediaCommand) {
        // A closed channel is told by the events' end.
        if let Err(async_channel::TrySendError::Full(_)) = self.media.commands.try_send(command) {
            self.lose(HangupCause::NETWORK_OUT_OF_ORDER);
        }
    }

    fn lose(&mut self, cause: HangupCause) {
        if !std::mem::replace(&mut self.lost, true) {
            self.inputs.push_back(Input::MediaLost { cause });
        }
    }
}

/// The caller's side.
impl MediaSession {
    /// Begins to feed a recogniser at `rate_hz`; `detects_speech` when it tells speech from silence itself, `machines_of`
    /// to report the tones of a country's machines too.
    pub(super) fn listen(
        &mut self,
        id: CommandId,
        rate_hz: u32,
        detects_speech: bool,
        silero: Option<&Silero>,
        machines_of: Option<Country>,
    ) -> Result<FeedStream> {
        let (input, queue) = Feed::new();
        let from_hz = self.media.format.rate_hz;
        let vad = if detects_speech { None } else { Some(Vad::new(from_hz, silero)?) };
        self.listening = Some(Listening {
            began: None,
            fed: 0,
            id,
            input: Some(input),
            resampler: Resampler::new(from_hz, rate_hz)?,
            samples: Vec::new(),
            machines: machines_of.map(|country| Machines::new(from_hz, country)).transpose()?,
            framer: Framer::new(from_hz)?,
            vad,
        });
        Ok(queue)
    }

    /// Asks the recogniser to settle.
    pub(super) fn finalize(&mut self) {
        if let Some(input) = self.listening.as_ref().and_then(|listening| listening.input.as_ref()) {
            // A recogniser that is too far behind to take this is given up by the next audio.
            let _ = input.push(SttInput::Finalize);
        }
    }

    /// Wakes a recogniser that has not taken what it was fed.
    pub(super) fn wake_recogniser(&self) {
        self.listening.iter().filter_map(|listening| listening.input.as_ref()).for_each(Feed::wake);
    }

    /// Ends the recogniser's input; what it still yields counts.
    pub(super) fn finish_listening(&mut self) {
        if let Some(listening) = &mut self.listening {
            listening.input = None;
        }
    }

    /// Takes what the recogniser heard.
    pub(super) fn transcript(&mut self, id: CommandId, event: SttEvent) {
        let Some(listening) = self.listening.as_ref().filter(|listening| listening.id == id) else {
            return;
        };
        let began = listening.began.unwrap_or_default();
        let progress = match event {
            SttEvent::EndOfSpeech { at } => Progress::SpeechEnded { at: began + at },
            SttEvent::EndOfTurn { probability } => Progress::EndOfTurn { percent: percent(probability) },
            SttEvent::Final { language, text, .. } => Progress::Final { language, text },
            SttEvent::Interim { text } => Progress::Interim { text },
            SttEvent::StartOfSpeech { at } => Progress::SpeechStarted { at: began + at },
            SttEvent::Usage { .. } => return,
        };
        let is_speech = matches!(progress, Progress::SpeechEnded { .. } | Progress::SpeechStarted { .. });
        if !(is_speech && listening.vad.is_some()) {
            self.inputs.push_back(Input::Progress(id, progress));
        }
    }

    fn receive_audio(&mut self, now: Instant, bytes: &[u8]) {
        self.last_audio = now;
        self.has_frame = true;
        self.samples.clear();
        self.decoder.decode(bytes, &mut self.samples);
        if self.recording.is_some() {
            self.to_record.extend_from_slice(&self.samples);
            let rate_hz = u64::from(self.media.format.rate_hz);
            let waiting_max = usize::try_from(RECORD_WAITING_MAX.as_secs() * rate_hz).unwrap_or(usize::MAX);
            let excess = self.to_record.len().saturating_sub(waiting_max);
            self.to_record.drain(..excess);
        }
        if let Some(relay) = &mut self.relay {
            relay.from_leg.extend_from_slice(&self.samples);
        }
        self.feed(now);
    }

    fn feed(&mut self, now: Instant) {
        let Some(listening) = &mut self.listening else { return };
        let rate_hz = u64::from(self.media.format.rate_hz.max(1));
        let lasting = |samples: u64| Duration::from_micros(samples * 1_000_000 / rate_hz);
        let length = self.samples.len() as u64;
        let began = *listening.began.get_or_insert(now - lasting(length));
        let missing = now.saturating_since(began + lasting(listening.fed + length));
        if missing >= GAP_MIN {
            // Times count samples, so what the carrier left out is silence and not nothing.
            let silence = micros(missing.min(MEDIA_TIMEOUT)) * rate_hz / 1_000_000;
            listening.hear(&vec![0; usize::try_from(silence).unwrap_or(0)], &mut self.inputs);
        }
        listening.hear(&self.samples, &mut self.inputs);
    }
}

impl Listening {
    fn hear(&mut self, samples: &[i16], inputs: &mut VecDeque<Input>) {
        self.fed += samples.len() as u64;
        let began = self.began.unwrap_or_default();
        let mut rest = if self.vad.is_some() || self.machines.is_some() { samples } else { &[] };
        while let Some(frame) = self.framer.next_frame(&mut rest) {
            if let Some(progress) = self.machines.as_mut().and_then(|machines| machines.push(frame)) {
                inputs.push_back(Input::Progress(self.id, progress));
            }
            let progress = match self.vad.as_mut().and_then(|vad| vad.push(frame)) {
                Some(VadEvent::SpeechEnded { at }) => Progress::SpeechEnded { at: began + at },
                Some(VadEvent::SpeechStarted { at }) => Progress::SpeechStarted { at: began + at },
                None => continue,
            };
            inputs.push_back(Input::Progress(self.id, progress));
        }
        let Some(input) = &self.input else { return };
        self.samples.clear();
        self.resampler.process(samples, &mut self.samples);
        if self.samples.is_empty() {
            return;
        }
        if input.push(SttInput::Audio(self.samples.clone())).is_err() {
            // Closing its input makes the recogniser end, and the call machine starts another.
            self.input = None;
        }
    }
}

/// What machines sound like that pick up.
struct Machines {
    beeps: BeepDetector,
    tones: CallProgress,
}

impl Machines {
    fn new(rate_hz: u32, country: Country) -> Result<Self> {
        Ok(Self { beeps: BeepDetector::new(rate_hz), tones: CallProgress::new(rate_hz, country)? })
    }

    fn push(&mut self, frame: &[i16]) -> Option<Progress> {
        let beep = self.beeps.push(frame).map(|_| Progress::Beep);
        let tone = self.tones.push(frame).filter(|tone| match tone.kind {
            ToneKind::Busy | ToneKind::Congestion | ToneKind::FaxAnswer | ToneKind::SpecialInformation => true,
            // A beep may be one of these.
            _ => false,
        });
        tone.map(|_| Progress::MachineTone).or(beep)
    }
}

/// A leg that is joined with another one.
struct Relay {
    /// What this leg said and the other one has not been given.
    from_leg: Vec<i16>,
    resampler: Option<Resampler>,
    /// What the other leg said, at this leg's rate.
    to_leg: VecDeque<i16>,
}

impl MediaSession {
    /// From now on, this leg hears another one and not the agent.
    pub(super) fn bridge(&mut self) {
        self.relay = Some(Relay { from_leg: Vec::new(), resampler: None, to_leg: VecDeque::new() });
    }

    /// Takes what `other` said since the last time.
    pub(super) fn relay(&mut self, other: &mut Self) {
        let (Some(relay), Some(theirs)) = (&mut self.relay, &mut other.relay) else { return };
        let (from_hz, to_hz) = (other.media.format.rate_hz, self.media.format.rate_hz);
        if relay.resampler.is_none() {
            // The rates were good enough for the recogniser and the synthesiser.
            relay.resampler = Resampler::new(from_hz, to_hz).ok();
        }
        if let Some(resampler) = &mut relay.resampler {
            self.samples.clear();
            resampler.process(&theirs.from_leg, &mut self.samples);
            relay.to_leg.extend(&self.samples);
        }
        theirs.from_leg.clear();
        let waiting_max = usize::try_from(to_hz).unwrap_or(usize::MAX) / RELAY_WAITING_PER_SECOND;
        relay.to_leg.drain(..relay.to_leg.len().saturating_sub(waiting_max));
    }

    fn relay_frame(&mut self) {
        let Some(relay) = &mut self.relay else { return };
        let length = relay.to_leg.len().min(self.frame.len());
        self.heard.fill(0);
        for (heard, sample) in self.heard.iter_mut().zip(relay.to_leg.drain(..length)) {
            *heard = sample;
        }
        self.record();
        if length > 0 {
            self.encoded.clear();
            self.encoder.encode(&self.heard, &mut self.encoded);
            self.send_audio();
        }
    }
}

/// A probability as whole percent; one that is no number is none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to 100")]
fn percent(probability: f32) -> u8 {
    if probability.is_nan() { 0 } else { (probability.clamp(0.0, 1.0) * 100.0).round() as u8 }
}

/// The agent's side.
impl MediaSession {
    /// Whether that piece of speech is being synthesised for this leg.
    pub(super) fn speaks(&self, id: CommandId) -> bool {
        self.voices.contains_key(&id)
    }

    /// Queues a piece of speech that will come at `rate_hz`.
    pub(super) fn begin_speech(&mut self, id: CommandId, text: &str, rate_hz: u32) -> Result<()> {
        let resampler = Resampler::new(rate_hz, self.media.format.rate_hz)?;
        let is_mute = text.contains(char::is_alphanumeric);
        self.voices.insert(id, Voice { is_mute, resampler, samples: Vec::new() });
        self.playout.begin(id.get(), text);
        Ok(())
    }

    /// Takes synthesised speech; `None` when the piece is complete.
    pub(super) fn speech(&mut self, id: CommandId, event: Option<TtsEvent>) {
        let Some(voice) = self.voices.get_mut(&id) else { return };
        voice.samples.clear();
        match event {
            Some(TtsEvent::Audio(samples)) => {
                voice.is_mute &= samples.is_empty();
                voice.resampler.process(&samples, &mut voice.samples);
                self.playout.push(id.get(), &voice.samples);
                // The first sound of an answer need not wait for a tick; a leg that is joined to another hears that one.
                if self.relay.is_none() {
                    self.send_frames();
                }
            }
            Some(TtsEvent::Characters(_)) => {}
            Some(TtsEvent::Spoken { text_end, at }) => self.playout.align(id.get(), text_end, at),
            None if voice.is_mute => {
                // Words that were never played must not pass for heard.
                let error = Error::new(ErrorKind::Unexpected, "tts.synthesize", "the synthesiser made no sound");
                self.cancel_speech(id);
                self.inputs.push_back(Input::Failed(id, Failure::from(&error)));
            }
            None => {
                voice.resampler.flush(&mut voice.samples);
                self.playout.push(id.get(), &voice.samples);
                self.playout.finish(id.get());
                self.voices.remove(&id);
                self.account();
            }
        }
    }

    /// Drops a piece of speech, and what the carrier holds of it.
    pub(super) fn cancel_speech(&mut self, id: CommandId) {
        self.voices.remove(&id);
        if self.playout.cancel(id.get()) {
            self.sent_since_mark = 0;
            self.send(MediaCommand::Clear);
        }
    }

    /// Tells what was heard.
    fn account(&mut self) {
        while let Some(event) = self.playout.poll_event() {
            let input = match event {
                PlayoutEvent::Finished { piece } => Input::Completed(CommandId::new(piece), Outcome::Done),
                PlayoutEvent::Heard { piece, text_end } => {
                    Input::Progress(CommandId::new(piece), Progress::Heard { text_end })
                }
                PlayoutEvent::Playing { piece } => Input::Progress(CommandId::new(piece), Progress::Playing),
            };
            self.inputs.push_back(input);
        }
    }
}
