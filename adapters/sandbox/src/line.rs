//! A leg from its answer to its end: somebody with a telephone, on the runtime's clock.

use std::f32::consts::PI;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_channel::{Sender, TrySendError};
use bytes::Bytes;
use futures_util::future::{self, BoxFuture, Either};
use futures_util::{FutureExt, StreamExt, TryFutureExt, select_biased};
use offhook::Result;
use offhook::audio::{FRAME_DURATION, Resampler, codec, samples_per_frame};
use offhook::provider::stt::{SttEvent, SttInput, SttOptions};
use offhook::provider::telephony::{DtmfDigit, HangupCause, MediaEvent, MediaFormat};
use offhook::provider::{BoxStream, SpeechToText};
use offhook::runtime::Runtime;
use offhook::time::Instant;

use crate::ear::Ear;
use crate::legs::{Control, Seat};
use crate::number::Number;
use crate::person::{Act, Mouth, Person};
use crate::speaker::Speaker;
use crate::voice::Voice;

/// Longest wait of an answered leg for its media to be opened.
pub const OPEN_LIMIT: Duration = Duration::from_secs(60);

/// Longest call; then the sandbox hangs up.
pub const CALL_LIMIT: Duration = Duration::from_secs(3_600);

/// How long a leg that was handed over is kept for the agent to put down.
const HANDED_OVER_LIMIT: Duration = Duration::from_secs(10);

/// Frames that are caught up with after a late wake-up; more are skipped.
const CATCH_UP_FRAMES_MAX: u32 = 50;

/// Pieces of sound that wait for a slow recogniser: five seconds. What comes then is not heard.
const STT_WAITING_MAX: usize = 250;

/// A machine's beep.
const BEEP_HZ: f32 = 1_000.0;
const BEEP_LEVEL: f32 = 10_000.0;
const BEEP_FRAMES: usize = 25;

/// What all lines share.
pub(crate) struct Studio {
    pub(crate) ear: Ear,
    pub(crate) format: MediaFormat,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) stt: Option<Arc<dyn SpeechToText>>,
    pub(crate) voice: Voice,
}

/// Why a call is over.
enum End {
    /// The agent put it down, or gave it away.
    Agent,
    /// The sandbox's own end.
    Person(HangupCause),
}

/// The leg's task.
pub(crate) async fn hold(studio: Arc<Studio>, seat: Seat, number: Number) {
    let limit = studio.runtime.sleep_until(studio.runtime.now() + OPEN_LIMIT);
    if !matches!(future::select(seat.control.recv().boxed(), limit).await, Either::Left((Ok(Control::Opened), _))) {
        return;
    }
    let end = match Line::new(&studio, &seat, number) {
        Ok(mut line) => line.run().await,
        Err(error) => Err(error),
    };
    let cause = match end {
        Ok(End::Agent) => return,
        Ok(End::Person(cause)) => cause,
        Err(error) => {
            tracing::warn!(leg = %seat.leg(), %error, "somebody of the sandbox lost the voice");
            HangupCause::TEMPORARY_FAILURE
        }
    };
    // Without room nobody listens, and the end of the events says it.
    let _ = seat.events.try_send(MediaEvent::Ended { cause });
}

struct Line<'a> {
    asked: bool,
    ear: Ear,
    encoded: Vec<u8>,
    frame: Vec<i16>,
    hearing: Option<Hearing>,
    mouth: Vec<i16>,
    mouth_at: usize,
    person: Person,
    seat: &'a Seat,
    speaker: Speaker,
    studio: &'a Studio,
    /// A line that is being synthesised.
    thought: Option<BoxFuture<'a, Result<Arc<[i16]>>>>,
    started_at: Instant,
    /// The agent has said something.
    was_told: bool,
}

/// Somebody who understands words.
struct Hearing {
    events: BoxStream<'static, Result<SttEvent>>,
    input: Sender<SttInput>,
    resampler: Resampler,
}

impl<'a> Line<'a> {
    fn new(studio: &'a Studio, seat: &'a Seat, number: Number) -> Result<Self> {
        let stt = studio.stt.as_ref().filter(|_| number == Number::PressesOne);
        let hearing = stt.map(|stt| Hearing::new(stt, &studio.voice.script().language, studio.format.rate_hz));
        Ok(Self {
            asked: false,
            ear: studio.ear.clone(),
            encoded: Vec::new(),
            frame: vec![0; samples_per_frame(studio.format.rate_hz)],
            hearing: hearing.transpose()?,
            mouth: Vec::new(),
            mouth_at: 0,
            person: Person::new(number, studio.voice.script().lines.len()),
            seat,
            speaker: Speaker::new(studio.format),
            studio,
            thought: None,
            started_at: studio.runtime.now(),
            was_told: false,
        })
    }

    async fn run(&mut self) -> Result<End> {
        let runtime = &*self.studio.runtime;
        let mut due = self.started_at + FRAME_DURATION;
        let mut tick = sleep(runtime, due);
        loop {
            select_biased! {
                control = self.seat.control.recv().fuse() => match control {
                    Ok(Control::HandedOver) => {
                        part(runtime, self.seat).await;
                        return Ok(End::Agent);
                    }
                    Ok(Control::Opened) => {}
                    Err(_) => return Ok(End::Agent),
                },
                () = tick.as_mut().fuse() => {
                    let now = runtime.now();
                    let mut frames = 0;
                    while due <= now {
                        due = due + FRAME_DURATION;
                        frames += 1;
                        if frames <= CATCH_UP_FRAMES_MAX && let Some(end) = self.frame(now) {
                            return Ok(end);
                        }
                    }
                    tick = sleep(runtime, due);
                }
                samples = think(&mut self.thought).fuse() => {
                    self.thought = None;
                    self.speak(&samples?);
                }
                event = hear(&mut self.hearing).fuse() => self.understand(event),
            }
        }
    }

    /// One frame in each direction.
    fn frame(&mut self, now: Instant) -> Option<End> {
        while self.speaker.has_room()
            && let Ok(command) = self.seat.commands.try_recv()
        {
            self.speaker.take(command);
        }
        while let Some(mark) = self.speaker.next_mark() {
            if let Some(end) = self.tell(MediaEvent::Marked(mark)) {
                return Some(end);
            }
        }
        self.speaker.play(&mut self.frame);
        let has_ended = self.ear.hear(&self.frame);
        self.listen(has_ended);
        let asked = std::mem::take(&mut self.asked);
        let act = self.person.next_act(&self.ear, self.mouth_state(), asked);
        if now.saturating_since(self.started_at) >= CALL_LIMIT {
            return Some(End::Person(HangupCause::NORMAL_CLEARING));
        }
        match act {
            Some(Act::Beep) => self.speak(&beep(self.studio.format.rate_hz)),
            Some(Act::HangUp) => return Some(End::Person(HangupCause::NORMAL_CLEARING)),
            Some(Act::PressOne) => {
                let pressed = DtmfDigit::try_from('1').ok().and_then(|key| self.tell(MediaEvent::Dtmf(key)));
                if pressed.is_some() {
                    return pressed;
                }
            }
            Some(Act::Say(phrase)) => self.thought = Some(self.studio.voice.say(phrase).boxed()),
            None => {}
        }
        self.utter()
    }

    fn mouth_state(&self) -> Mouth {
        match self.mouth.len() {
            _ if self.thought.is_some() => Mouth::Speaking,
            length if self.mouth_at >= length => Mouth::Still,
            length if self.mouth_at * 2 >= length => Mouth::Ending,
            _ => Mouth::Speaking,
        }
    }

    fn speak(&mut self, samples: &[i16]) {
        self.mouth.clear();
        self.mouth.extend_from_slice(samples);
        self.mouth_at = 0;
    }

    /// Sends what is said in this frame.
    fn utter(&mut self) -> Option<End> {
        let said = self.mouth.get(self.mouth_at..).unwrap_or_default();
        let length = said.len().min(self.frame.len());
        self.frame.fill(0);
        self.frame[..length].copy_from_slice(&said[..length]);
        self.mouth_at += length;
        self.encoded.clear();
        codec::encode(self.studio.format.codec, &self.frame, &mut self.encoded);
        self.tell(MediaEvent::Audio(Bytes::copy_from_slice(&self.encoded)))
    }

    /// Who does not take events misses sound, as on any telephone; marks and keys must not be missed.
    fn tell(&self, event: MediaEvent) -> Option<End> {
        match self.seat.events.try_send(event) {
            Ok(()) | Err(TrySendError::Closed(_) | TrySendError::Full(MediaEvent::Audio(_))) => None,
            Err(TrySendError::Full(_)) => Some(End::Person(HangupCause::RESOURCE_UNAVAILABLE)),
        }
    }

    fn listen(&mut self, has_ended: bool) {
        let Some(hearing) = &mut self.hearing else {
            // Who has no recogniser takes the first thing that is said for the question.
            self.asked |= has_ended && !std::mem::replace(&mut self.was_told, true);
            return;
        };
        let mut samples = Vec::new();
        hearing.resampler.process(&self.frame, &mut samples);
        let _ = hearing.input.try_send(SttInput::Audio(samples));
        if has_ended {
            let _ = hearing.input.try_send(SttInput::Finalize);
        }
    }

    fn understand(&mut self, event: Option<Result<SttEvent>>) {
        match event {
            Some(Ok(SttEvent::Final { text, .. })) => self.asked |= self.studio.voice.script().asks_for_one(&text),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::warn!(%error, "somebody of the sandbox understands nothing any more");
                self.hearing = None;
            }
            None => self.hearing = None,
        }
    }
}

/// The call is somebody else's: the agent gives the media back, or puts the leg down.
async fn part(runtime: &dyn Runtime, seat: &Seat) {
    let given_back = async { while seat.commands.recv().await.is_ok() {} };
    let hung_up = async { while seat.control.recv().await.is_ok() {} };
    let limit = sleep(runtime, runtime.now() + HANDED_OVER_LIMIT);
    future::select(limit, future::select(given_back.boxed(), hung_up.boxed())).await;
}

impl Hearing {
    fn new(stt: &Arc<dyn SpeechToText>, language: &str, from_hz: u32) -> Result<Self> {
        let rates_hz = stt.capabilities().rates_hz;
        let same = rates_hz.iter().copied().find(|rate_hz| *rate_hz == from_hz);
        let rate_hz = same.or(rates_hz.first().copied()).unwrap_or(from_hz);
        let (input, heard) = async_channel::bounded(STT_WAITING_MAX);
        let (stt, options) = (Arc::clone(stt), SttOptions::new(language, rate_hz));
        let events = async move { stt.transcribe(options, heard.boxed()).await };
        let events = events.try_flatten_stream().boxed();
        Ok(Self { events, input, resampler: Resampler::new(from_hz, rate_hz)? })
    }
}

type Sleep<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

fn sleep(runtime: &dyn Runtime, until: Instant) -> Sleep<'_> {
    runtime.sleep_until(until)
}

async fn think(thought: &mut Option<BoxFuture<'_, Result<Arc<[i16]>>>>) -> Result<Arc<[i16]>> {
    match thought {
        Some(thought) => thought.await,
        None => future::pending().await,
    }
}

async fn hear(hearing: &mut Option<Hearing>) -> Option<Result<SttEvent>> {
    match hearing {
        Some(hearing) => hearing.events.next().await,
        None => future::pending().await,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a level far below the largest sample"
)]
fn beep(rate_hz: u32) -> Vec<i16> {
    let sample = |index: usize| ((2.0 * PI * BEEP_HZ * index as f32 / rate_hz as f32).sin() * BEEP_LEVEL) as i16;
    (0..samples_per_frame(rate_hz) * BEEP_FRAMES).map(sample).collect()
}
