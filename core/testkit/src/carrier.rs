//! A carrier in memory, and the people at its far ends.

mod line;

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use offhook::audio::FRAME_DURATION;
use offhook::error::{Error, ErrorKind, Result};
use offhook::provider::telephony::{
    CarrierEvent, CarrierRequest, Codec, DialEvent, DialOptions, DialProgress, DtmfDigit, E164, HangupCause,
    IncomingCall, LegId, Media, MediaEvent, MediaFormat, TelephonyCapabilities,
};
use offhook::provider::{ProviderInfo, Telephony};
use offhook::runtime::Runtime;
use offhook::time::Instant;

pub use self::line::Sound;
use self::line::{Ear, Line, Player};
use crate::fates::{Fates, Fault, Wait};

/// Frames that may wait on a leg, in either direction.
const WAITING_MAX: usize = 1_024;

/// How long something takes that takes too long.
pub const STALL: Duration = Duration::from_secs(40);

const FORMAT: MediaFormat = MediaFormat { codec: Codec::Ulaw, rate_hz: 8_000 };

/// A carrier whose legs are channels; it speaks 8 kHz mu-law and acknowledges marks as they are played.
#[derive(Clone)]
pub struct Carrier {
    fates: Fates,
    runtime: Arc<dyn Runtime>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    callees: BTreeMap<E164, Callee>,
    dialled: VecDeque<Caller>,
    digits: BTreeMap<LegId, Vec<DtmfDigit>>,
    hung_up: BTreeMap<LegId, HangupCause>,
    legs: BTreeMap<LegId, Leg>,
    legs_made: u64,
    transferred: BTreeMap<LegId, E164>,
}

struct Callee {
    answering: Answering,
    call: u32,
    picked_up: async_channel::Sender<Caller>,
}

struct Leg {
    call: u32,
    /// Until it is joined.
    media: Option<Media>,
    /// Closed when the leg is over.
    up: async_channel::Receiver<Infallible>,
}

/// What a called number does.
#[derive(Clone, Copy, Debug)]
pub enum Answering {
    /// Rings for a while and picks up.
    After(Duration),
    /// Rings for a while, plays audio before the answer for a while, and picks up.
    AfterEarlyMedia(Duration),
    /// Refuses with a cause, after a while.
    Refuses(Duration, HangupCause),
    /// Rings for ever.
    Rings,
}

/// The far end of a leg.
pub struct Caller {
    /// The leg's name.
    pub leg: LegId,
    line: Arc<Line>,
    state: Arc<Mutex<State>>,
}

impl Carrier {
    /// A carrier on `runtime` with which nothing goes wrong.
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self::with_fates(runtime, Fates::fair())
    }

    /// A carrier on `runtime` with which `fates` decides what goes wrong.
    pub fn with_fates(runtime: Arc<dyn Runtime>, fates: Fates) -> Self {
        Self { fates, runtime, state: Arc::default() }
    }

    /// A call comes in.
    pub fn ring(&self, from: &str, to: &str) -> (IncomingCall, Caller) {
        self.ring_for(0, from, to)
    }

    /// A call comes in, of that number to the fates.
    pub fn ring_for(&self, call: u32, from: &str, to: &str) -> (IncomingCall, Caller) {
        let caller = self.open_leg(call);
        let incoming = IncomingCall {
            leg: caller.leg.clone(),
            from: from.parse().ok(),
            to: to.parse().ok(),
            parameters: BTreeMap::new(),
        };
        (incoming, caller)
    }

    /// Decides what happens when `number` is dialled; others are unknown. Whoever picks up waits for
    /// [`Carrier::take_dialled`].
    pub fn when_dialled(&self, number: &E164, answering: Answering) {
        drop(self.when_dialled_for(0, number, answering));
    }

    /// The same for the call of that number to the fates. Returns whoever picks up.
    pub fn when_dialled_for(&self, call: u32, number: &E164, answering: Answering) -> async_channel::Receiver<Caller> {
        let (picked_up, callers) = async_channel::bounded(1);
        self.state().callees.insert(number.clone(), Callee { answering, call, picked_up });
        callers
    }

    /// The legs that are up, ringing ones included.
    pub fn legs(&self) -> Vec<LegId> {
        self.state().legs.keys().cloned().collect()
    }

    /// The first who picked up and was not taken yet.
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

    /// Goes out of business: no number is known and no leg is up any more.
    pub fn close(&self) {
        let (callees, legs) = {
            let mut state = self.state();
            (std::mem::take(&mut state.callees), std::mem::take(&mut state.legs))
        };
        for leg in legs.values() {
            leg.up.close();
        }
        drop(callees);
    }

    fn open_leg(&self, call: u32) -> Caller {
        let (events, events_out) = async_channel::bounded(WAITING_MAX);
        let (commands, commands_out) = async_channel::bounded(WAITING_MAX);
        let (over, up) = async_channel::bounded(1);
        let media = Media { format: FORMAT, marks: true, events: events_out.boxed(), commands };
        let mut state = self.state();
        state.legs_made += 1;
        let leg = LegId::new(format!("leg-{}", state.legs_made)).expect("a leg id");
        state.legs.insert(leg.clone(), Leg { call, media: Some(media), up: up.clone() });
        drop(state);
        let line = Arc::new(Line {
            call,
            dead_from: self.dies(Fault::LineDead, call),
            ear: Mutex::new(Ear::default()),
            events,
            fates: self.fates.clone(),
            latency: self.fates.takes(Wait::Line, call),
            runtime: self.runtime.clone(),
            up,
        });
        let player = Player::new(line.clone(), commands_out, over, self.dies(Fault::LineBreaks, call));
        self.runtime.spawn("carrier", Box::pin(player.run()));
        Caller { leg, line, state: self.state.clone() }
    }

    /// When a line fails, if it does: within its first half minute.
    fn dies(&self, fault: Fault, call: u32) -> Option<Instant> {
        let age = self.fates.dice(call, fault as u64).millis(0, 100, 30_000);
        self.fates.strikes(fault, call).then(|| self.runtime.now() + age)
    }

    /// What stands between an order and its execution.
    async fn obstacle(
        &self,
        operation: &'static str,
        call: u32,
        wait: Wait,
        refusal: Fault,
        stall: Fault,
    ) -> Result<()> {
        let mut delay = self.fates.takes(wait, call);
        if self.fates.strikes(stall, call) {
            delay += STALL;
        }
        if !delay.is_zero() {
            self.runtime.sleep_until(self.runtime.now() + delay).await;
        }
        if self.fates.strikes(refusal, call) {
            return Err(Error::new(ErrorKind::Unavailable, operation, "the carrier is out of order"));
        }
        Ok(())
    }

    fn call_of(&self, leg: &LegId) -> u32 {
        self.state().legs.get(leg).map_or(Fates::NOBODY, |leg| leg.call)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Caller {
    /// Sends one frame of encoded audio.
    pub fn send_audio(&self, frame: Bytes) {
        if !self.line.fates.strikes(Fault::AudioLost, self.line.call) {
            self.line.send(MediaEvent::Audio(frame));
        }
    }

    /// Sends a square wave of 1 kHz between a mu-law code and its negative, in real time: `0xff` is silence, `0x80` loud.
    pub async fn sound(&self, code: u8, duration: Duration) {
        let frame: Vec<u8> = (0..160).map(|index| if index % 8 < 4 { code } else { code ^ 0x80 }).collect();
        let frame = Bytes::from(frame);
        let mut tick = self.line.runtime.now();
        let end = tick + duration;
        while tick < end {
            self.send_audio(frame.clone());
            tick = tick + FRAME_DURATION;
            self.line.runtime.sleep_until(tick).await;
        }
    }

    /// Sends a pure tone, in real time.
    pub async fn tone(&self, pitch_hz: f32, duration: Duration) {
        let mut tick = self.line.runtime.now();
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
            self.line.runtime.sleep_until(tick).await;
        }
    }

    /// Presses a key.
    pub fn press(&self, digit: DtmfDigit) {
        self.line.send(MediaEvent::Dtmf(digit));
    }

    /// Ends the leg from the far end.
    pub fn hang_up(&self, cause: HangupCause) {
        let ringing = lock(&self.state).legs.get(&self.leg).is_some_and(|leg| leg.media.is_some());
        if ringing {
            lock(&self.state).legs.remove(&self.leg);
        }
        self.line.send(MediaEvent::Ended { cause });
        if self.line.fates.strikes(Fault::EndRepeated, self.line.call) {
            self.line.send(MediaEvent::Ended { cause });
        }
        self.line.up.close();
    }

    /// What was played to the far end so far, encoded.
    pub fn heard(&self) -> Vec<u8> {
        self.sounds().iter().flat_map(|sound| sound.bytes.iter().copied()).collect()
    }

    /// What was played to the far end so far, piece by piece.
    pub fn sounds(&self) -> Vec<Sound> {
        let now = self.line.runtime.now();
        self.line.ear().heard_until(now).to_vec()
    }

    /// How many frames reached the far end so far, played or about to be, and when the last of them ends.
    pub fn played(&self) -> (usize, Instant) {
        self.line.ear().played()
    }

    /// How long sound and orders take on their way, in each direction.
    pub fn latency(&self) -> Duration {
        self.line.latency
    }

    /// Waits, or until the leg is over; then false.
    pub async fn wait(&self, duration: Duration) -> bool {
        let runtime = &self.line.runtime;
        let nap = async {
            runtime.sleep_until(runtime.now() + duration).await;
            true
        };
        let over = async { self.line.up.recv().await.is_ok() };
        futures_lite::future::or(over, nap).await
    }

    /// Vanishes without a word.
    pub fn vanish(&self) {
        self.line.events.close();
        self.line.up.close();
    }
}

#[async_trait]
impl Telephony for Carrier {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "memory", detail: String::new() }
    }

    fn capabilities(&self) -> TelephonyCapabilities {
        TelephonyCapabilities { dial: true, send_dtmf: true, transfer: true, webhooks: false }
    }

    async fn dial(&self, options: DialOptions) -> Result<DialProgress> {
        let operation = "carrier.dial";
        let call = self.state().callees.get(&options.to).map(|callee| callee.call);
        let Some(call) = call else {
            return Err(Error::new(ErrorKind::Rejected, operation, "the number is not in service"));
        };
        self.obstacle(operation, call, Wait::Dial, Fault::DialRefused, Fault::DialStalls).await?;
        let caller = self.open_leg(call);
        let leg = caller.leg.clone();
        Ok(DialProgress { leg, events: self.progress(options.to, caller).boxed() })
    }

    async fn answer(&self, leg: LegId) -> Result<()> {
        let call = self.call_of(&leg);
        self.obstacle("carrier.answer", call, Wait::Answer, Fault::AnswerRefused, Fault::AnswerStalls).await?;
        self.state().legs.get(&leg).map(|_| ()).ok_or_else(gone)
    }

    async fn hang_up(&self, leg: LegId, cause: HangupCause) -> Result<()> {
        let call = self.call_of(&leg);
        self.obstacle("carrier.hang_up", call, Wait::HangUp, Fault::HangUpRefused, Fault::HangUpStalls).await?;
        let mut state = self.state();
        if let Some(gone) = state.legs.remove(&leg) {
            gone.up.close();
            state.hung_up.insert(leg, cause);
        }
        Ok(())
    }

    async fn send_dtmf(&self, leg: LegId, digits: Vec<DtmfDigit>) -> Result<()> {
        let call = self.call_of(&leg);
        self.obstacle("carrier.send_dtmf", call, Wait::Digits, Fault::DigitsRefused, Fault::DigitsStall).await?;
        let mut state = self.state();
        state.legs.get(&leg).ok_or_else(gone)?;
        state.digits.entry(leg).or_default().extend(digits);
        Ok(())
    }

    async fn transfer(&self, leg: LegId, target: E164) -> Result<()> {
        let call = self.call_of(&leg);
        self.obstacle("carrier.transfer", call, Wait::Transfer, Fault::TransferRefused, Fault::TransferStalls).await?;
        let mut state = self.state();
        state.legs.get(&leg).ok_or_else(gone)?;
        match state.callees.get(&target).map(|callee| callee.answering) {
            Some(Answering::After(_) | Answering::AfterEarlyMedia(_)) => {
                state.transferred.insert(leg, target);
                Ok(())
            }
            _ => Err(Error::new(ErrorKind::Rejected, "carrier.transfer", "the target does not take the call")),
        }
    }

    async fn open_media(&self, leg: LegId) -> Result<Media> {
        let call = self.call_of(&leg);
        self.obstacle("carrier.open_media", call, Wait::Media, Fault::MediaRefused, Fault::MediaStalls).await?;
        let mut state = self.state();
        let leg = state.legs.get_mut(&leg).ok_or_else(gone)?;
        leg.media
            .take()
            .ok_or_else(|| Error::new(ErrorKind::Conflict, "carrier.open_media", "the media was joined before"))
    }

    fn decode(&self, _request: CarrierRequest) -> Result<Vec<CarrierEvent>> {
        Err(Error::unsupported("carrier.decode", "a webhook"))
    }
}

impl Carrier {
    fn picked_up(&self, number: &E164, caller: Caller) {
        let mut state = self.state();
        let Some(callee) = state.callees.get(number) else { return };
        if let Err(unawaited) = callee.picked_up.try_send(caller) {
            state.dialled.push_back(unawaited.into_inner());
        }
    }

    /// What becomes of a number that is dialled.
    fn progress(&self, number: E164, caller: Caller) -> impl stream::Stream<Item = DialEvent> + Send + use<> {
        let (carrier, runtime) = (self.clone(), self.runtime.clone());
        let (answering, call) = match self.state().callees.get(&number) {
            Some(callee) => (callee.answering, callee.call),
            None => (Answering::Rings, Fates::NOBODY),
        };
        let wait = move |duration: Duration| {
            let runtime = runtime.clone();
            async move { runtime.sleep_until(runtime.now() + duration).await }
        };
        let early = match answering {
            Answering::AfterEarlyMedia(after) => {
                let ringing = wait(after / 2);
                Some(stream::once(async move {
                    ringing.await;
                    DialEvent::EarlyMedia
                }))
            }
            _ => None,
        };
        let last = async move {
            let event = match answering {
                Answering::After(after) => {
                    wait(after).await;
                    DialEvent::Answered
                }
                Answering::AfterEarlyMedia(after) => {
                    wait(after - after / 2).await;
                    DialEvent::Answered
                }
                Answering::Refuses(after, cause) => {
                    wait(after).await;
                    DialEvent::Failed { cause }
                }
                Answering::Rings => std::future::pending().await,
            };
            if carrier.fates.strikes(Fault::DialBreaksOff, call) {
                return Vec::new();
            }
            if event != DialEvent::Answered {
                carrier.state().legs.remove(&caller.leg);
                return vec![event];
            }
            carrier.picked_up(&number, caller);
            let times = if carrier.fates.strikes(Fault::DialRepeats, call) { 2 } else { 1 };
            vec![event; times]
        };
        stream::iter([DialEvent::Ringing])
            .chain(stream::iter(early).flatten())
            .chain(stream::once(last).map(stream::iter).flatten())
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::NotFound, "carrier", "the leg is gone")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
