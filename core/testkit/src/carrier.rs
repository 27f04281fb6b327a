//! A carrier in memory, and the people who call over it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use offhook::audio::FRAME_DURATION;
use offhook::error::{Error, ErrorKind, Result};
use offhook::provider::telephony::{
    CarrierEvent, CarrierRequest, Codec, DialEvent, DialOptions, DialProgress, DtmfDigit, E164, HangupCause,
    IncomingCall, LegId, Media, MediaCommand, MediaEvent, MediaFormat, TelephonyCapabilities,
};
use offhook::provider::{ProviderInfo, Telephony};
use offhook::runtime::Runtime;

/// Frames that may wait on a leg, in either direction.
const WAITING_MAX: usize = 1_024;

/// A carrier whose legs are channels; it speaks 8 kHz mu-law and acknowledges marks as they are played.
#[derive(Clone)]
pub struct Carrier {
    runtime: Arc<dyn Runtime>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    callees: BTreeMap<E164, Answering>,
    dialled: VecDeque<Caller>,
    digits: BTreeMap<LegId, Vec<DtmfDigit>>,
    hung_up: BTreeMap<LegId, HangupCause>,
    legs: BTreeMap<LegId, Option<Media>>,
    legs_made: u64,
    transferred: BTreeMap<LegId, E164>,
}

/// What a called number does.
#[derive(Clone, Copy, Debug)]
pub enum Answering {
    /// Rings for a while and picks up.
    After(Duration),
    /// Refuses with a cause.
    Refuses(HangupCause),
    /// Rings for ever.
    Rings,
}

/// The far end of a leg.
pub struct Caller {
    /// The leg's name.
    pub leg: LegId,
    events: async_channel::Sender<MediaEvent>,
    heard: Arc<Mutex<Vec<u8>>>,
    runtime: Arc<dyn Runtime>,
}

impl Carrier {
    /// A carrier on `runtime`.
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime, state: Arc::default() }
    }

    /// A call comes in.
    pub fn ring(&self, from: &str, to: &str) -> (IncomingCall, Caller) {
        let caller = self.open_leg();
        let incoming = IncomingCall {
            leg: caller.leg.clone(),
            from: from.parse().ok(),
            to: to.parse().ok(),
            parameters: BTreeMap::new(),
        };
        (incoming, caller)
    }

    /// Decides what happens when `number` is dialled; others are unknown.
    pub fn when_dialled(&self, number: &E164, answering: Answering) {
        self.state().callees.insert(number.clone(), answering);
    }

    /// The far end of the oldest placed call that was not taken yet.
    pub fn take_dialled(&self) -> Option<Caller> {
        self.state().dialled.pop_front()
    }

    /// With what cause our side ended a leg.
    pub fn hung_up(&self, leg: &LegId) -> Option<HangupCause> {
        self.state().hung_up.get(leg).copied()
    }

    /// The digits that were sent on a leg.
    pub fn sent_digits(&self, leg: &LegId) -> String {
        self.state().digits.get(leg).into_iter().flatten().map(|digit| digit.as_char()).collect()
    }

    /// To whom a leg was handed over.
    pub fn transferred(&self, leg: &LegId) -> Option<E164> {
        self.state().transferred.get(leg).cloned()
    }

    fn open_leg(&self) -> Caller {
        let (events, events_out) = async_channel::bounded(WAITING_MAX);
        let (commands, commands_out) = async_channel::bounded(WAITING_MAX);
        let media =
            Media { format: MediaFormat { codec: Codec::Ulaw, rate_hz: 8_000 }, events: events_out.boxed(), commands };
        let mut state = self.state();
        state.legs_made += 1;
        let leg = LegId::new(format!("leg-{}", state.legs_made)).expect("a leg id");
        state.legs.insert(leg.clone(), Some(media));
        drop(state);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let player = Player { commands: commands_out, events: events.clone(), heard: heard.clone() };
        self.runtime.spawn("carrier", Box::pin(player.run(self.runtime.clone())));
        Caller { leg, events, heard, runtime: self.runtime.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Plays what a leg is sent, in real time, as a carrier does.
struct Player {
    commands: async_channel::Receiver<MediaCommand>,
    events: async_channel::Sender<MediaEvent>,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Player {
    async fn run(self, runtime: Arc<dyn Runtime>) {
        let mut waiting: VecDeque<MediaCommand> = VecDeque::new();
        let mut tick = runtime.now();
        loop {
            tick = tick + FRAME_DURATION;
            runtime.sleep_until(tick).await;
            loop {
                match self.commands.try_recv() {
                    Ok(MediaCommand::Clear) => {
                        let marks = waiting.drain(..).filter(|command| matches!(command, MediaCommand::Mark(_)));
                        marks.for_each(|mark| self.acknowledge(&mark));
                    }
                    Ok(command) => waiting.push_back(command),
                    Err(async_channel::TryRecvError::Empty) => break,
                    Err(async_channel::TryRecvError::Closed) => return,
                }
            }
            if let Some(MediaCommand::Audio(frame)) = waiting.front() {
                self.heard.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(frame);
                waiting.pop_front();
            }
            while let Some(mark @ MediaCommand::Mark(_)) = waiting.front() {
                self.acknowledge(mark);
                waiting.pop_front();
            }
        }
    }

    fn acknowledge(&self, command: &MediaCommand) {
        if let MediaCommand::Mark(mark) = command {
            // A leg that does not read loses its acknowledgements, as it would its audio.
            let _ = self.events.try_send(MediaEvent::Marked(*mark));
        }
    }
}

impl Caller {
    /// Sends one frame of encoded audio.
    pub fn send_audio(&self, frame: Bytes) {
        let _ = self.events.try_send(MediaEvent::Audio(frame));
    }

    /// Sends a square wave of 1 kHz between a mu-law code and its negative, in real time: `0xff` is silence, `0x80` loud.
    pub async fn sound(&self, code: u8, duration: Duration) {
        let frame: Vec<u8> = (0..160).map(|index| if index % 8 < 4 { code } else { code ^ 0x80 }).collect();
        let frame = Bytes::from(frame);
        let mut tick = self.runtime.now();
        let end = tick + duration;
        while tick < end {
            self.send_audio(frame.clone());
            tick = tick + FRAME_DURATION;
            self.runtime.sleep_until(tick).await;
        }
    }

    /// Sends a pure tone, in real time.
    pub async fn tone(&self, pitch_hz: f32, duration: Duration) {
        let mut tick = self.runtime.now();
        let end = tick + duration;
        let mut at = 0.0_f32;
        while tick < end {
            let mut frame = Vec::new();
            let mut sample = || {
                at += 1.0 / 8_000.0;
                ((2.0 * std::f32::consts::PI * pitch_hz * at).sin() * 10_000.0) as i16
            };
            let samples: Vec<i16> = (0..160).map(|_| sample()).collect();
            offhook::audio::codec::encode(Codec::Ulaw, &samples, &mut frame);
            self.send_audio(frame.into());
            tick = tick + FRAME_DURATION;
            self.runtime.sleep_until(tick).await;
        }
    }

    /// Presses a key.
    pub fn press(&self, digit: DtmfDigit) {
        let _ = self.events.try_send(MediaEvent::Dtmf(digit));
    }

    /// Ends the leg from the far end.
    pub fn hang_up(&self, cause: HangupCause) {
        let _ = self.events.try_send(MediaEvent::Ended { cause });
    }

    /// What was played to the far end so far, encoded.
    pub fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Vanishes without a word.
    pub fn vanish(self) {
        self.events.close();
    }
}

#[async_trait]
impl Telephony for Carrier {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "memory", detail: String::new() }
    }

    fn capabilities(&self) -> TelephonyCapabilities {
        TelephonyCapabilities { dial: true, marks: true, send_dtmf: true, transfer: true, webhooks: false }
    }

    async fn dial(&self, options: DialOptions) -> Result<DialProgress> {
        let Some(answering) = self.state().callees.get(&options.to).copied() else {
            return Err(Error::new(ErrorKind::Rejected, "carrier.dial", "the number is not in service"));
        };
        let caller = self.open_leg();
        let leg = caller.leg.clone();
        self.state().dialled.push_back(caller);
        let runtime = self.runtime.clone();
        let ending = async move {
            match answering {
                Answering::After(delay) => {
                    runtime.sleep_until(runtime.now() + delay).await;
                    DialEvent::Answered
                }
                Answering::Refuses(cause) => DialEvent::Failed { cause },
                Answering::Rings => std::future::pending().await,
            }
        };
        let events = stream::iter([DialEvent::Ringing]).chain(stream::once(ending)).boxed();
        Ok(DialProgress { leg, events })
    }

    async fn answer(&self, leg: LegId) -> Result<()> {
        self.state().legs.get(&leg).map(|_| ()).ok_or_else(gone)
    }

    async fn hang_up(&self, leg: LegId, cause: HangupCause) -> Result<()> {
        let mut state = self.state();
        if state.legs.remove(&leg).is_some() {
            state.hung_up.insert(leg, cause);
        }
        Ok(())
    }

    async fn send_dtmf(&self, leg: LegId, digits: Vec<DtmfDigit>) -> Result<()> {
        let mut state = self.state();
        state.legs.get(&leg).ok_or_else(gone)?;
        state.digits.entry(leg).or_default().extend(digits);
        Ok(())
    }

    async fn transfer(&self, leg: LegId, target: E164) -> Result<()> {
        let mut state = self.state();
        state.legs.get(&leg).ok_or_else(gone)?;
        match state.callees.get(&target) {
            Some(Answering::After(_)) => {
                state.transferred.insert(leg, target);
                Ok(())
            }
            _ => Err(Error::new(ErrorKind::Rejected, "carrier.transfer", "the target does not take the call")),
        }
    }

    async fn open_media(&self, leg: LegId) -> Result<Media> {
        let mut state = self.state();
        let media = state.legs.get_mut(&leg).ok_or_else(gone)?;
        media.take().ok_or_else(|| Error::new(ErrorKind::Conflict, "carrier.open_media", "the media was joined before"))
    }

    fn decode(&self, _request: CarrierRequest) -> Result<Vec<CarrierEvent>> {
        Err(Error::unsupported("carrier.decode", "a webhook"))
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::NotFound, "carrier", "the leg is gone")
}
