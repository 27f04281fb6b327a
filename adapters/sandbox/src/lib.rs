//! A carrier that reaches nobody real: outbound calls work on a machine without a trunk, and each reserved number
//! behaves in its own way, so that what an application does about it can be tried out.
//!
//! | number | what happens |
//! |---|---|
//! | `+1555010` `0001` | answers and converses: waits until the agent stops talking, says its next line, says goodbye and hangs up |
//! | `+1555010` `0002` | is busy (Q.850 cause 17) |
//! | `+1555010` `0003` | rings until nobody waits any longer (cause 19) |
//! | `+1555010` `0004` | a voicemail: a greeting, a beep of 1 kHz, then silence that records |
//! | `+1555010` `0005` | hangs up in the middle of a sentence of its own |
//! | `+1555010` `0006` | answers and stays silent |
//! | `+1555010` `0007` | rings and rejects (cause 21) |
//! | `+1555010` `0008` | presses 1 when asked to: when it understands "press one", or, without a recogniser, when the agent falls silent for the first time |
//! | any other | is nobody's (cause 1): the sandbox reaches only the numbers above |
//!
//! All waits are the [`Runtime`]'s, so that a scaled clock speeds everything up. The voice is of the synthesiser that the
//! sandbox is given, and says what the [`Script`] says.

mod ear;
mod legs;
mod line;
mod number;
mod person;
mod script;
mod speaker;
mod voice;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use offhook::provider::telephony::{
    CarrierEvent, CarrierRequest, Codec, DialEvent, DialOptions, DialProgress, DtmfDigit, E164, HangupCause, LegId,
    Media, MediaFormat, TelephonyCapabilities,
};
use offhook::provider::{ProviderInfo, SpeechToText, Telephony, TextToSpeech};
use offhook::runtime::Runtime;
use offhook::{Error, ErrorKind, Result};

pub use legs::LEGS_MAX;
pub use line::{CALL_LIMIT, OPEN_LIMIT};
pub use number::{Number, POST_DIAL_DELAY, PREFIX, RING_TIME};
pub use script::{LINE_BYTES_MAX, LINES_MAX, Script};

use self::ear::Ear;
use self::legs::{Legs, Seat};
use self::line::Studio;
use self::voice::Voice;

/// How the sandbox's lines sound.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SandboxOptions {
    /// Of both directions.
    pub format: MediaFormat,
    /// What is said.
    pub script: Script,
}

impl Default for SandboxOptions {
    fn default() -> Self {
        Self { format: MediaFormat { codec: Codec::Pcm16Le, rate_hz: 16_000 }, script: Script::english() }
    }
}

/// The sandbox.
pub struct Sandbox {
    legs: Arc<Legs>,
    studio: Arc<Studio>,
}

impl Sandbox {
    /// A sandbox whose people speak by `tts`, and understand what `stt` understands.
    ///
    /// `ConfigInvalid` for a rate that is none, and for a script that is too long.
    pub fn new(
        runtime: Arc<dyn Runtime>,
        tts: Arc<dyn TextToSpeech>,
        stt: Option<Arc<dyn SpeechToText>>,
        options: SandboxOptions,
    ) -> Result<Self> {
        let SandboxOptions { format, script } = options;
        let (ear, voice) = (Ear::new(format.rate_hz)?, Voice::new(tts, script, format.rate_hz)?);
        Ok(Self { legs: Arc::default(), studio: Arc::new(Studio { ear, format, runtime, stt, voice }) })
    }

    async fn sleep(&self, time: Duration) {
        let runtime = &self.studio.runtime;
        runtime.sleep_until(runtime.now() + time).await;
    }
}

#[async_trait]
impl Telephony for Sandbox {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "sandbox", detail: String::new() }
    }

    fn capabilities(&self) -> TelephonyCapabilities {
        TelephonyCapabilities { dial: true, send_dtmf: true, transfer: true, webhooks: false }
    }

    /// `RateLimited` when there are [`LEGS_MAX`] legs.
    async fn dial(&self, options: DialOptions) -> Result<DialProgress> {
        let number = Number::of(&options.to);
        if number.is_none() {
            tracing::info!("the sandbox reaches nobody but the numbers that are reserved for it");
        }
        let mut random = [0; 12];
        self.studio.runtime.fill_random(&mut random);
        let leg = LegId::new(format!("sandbox-{}", hex::encode(random)))?;
        let seat = self.legs.insert(leg.clone(), self.studio.format)?;
        let steps = number::progress(number, options.ring_timeout).into();
        let dialling = Dialling { number, seat: Some(seat), steps, studio: Arc::clone(&self.studio) };
        let events = stream::unfold(dialling, |mut dialling| async { Some((dialling.next().await?, dialling)) });
        Ok(DialProgress { leg, events: events.boxed() })
    }

    async fn answer(&self, leg: LegId) -> Result<()> {
        self.legs.require(&leg, "sandbox.answer")
    }

    async fn hang_up(&self, leg: LegId, _cause: HangupCause) -> Result<()> {
        self.legs.remove(&leg);
        Ok(())
    }

    /// Nobody in the sandbox does anything about keys.
    async fn send_dtmf(&self, leg: LegId, _digits: Vec<DtmfDigit>) -> Result<()> {
        self.legs.require(&leg, "sandbox.send_dtmf")
    }

    /// Rings `target`, another reserved number. `Rejected` when it does not answer within [`TRANSFER_RING_LIMIT`].
    async fn transfer(&self, leg: LegId, target: E164) -> Result<()> {
        const OPERATION: &str = "sandbox.transfer";
        self.legs.require(&leg, OPERATION)?;
        for (wait, event) in number::progress(Number::of(&target), TRANSFER_RING_LIMIT) {
            self.sleep(wait).await;
            if let DialEvent::Failed { cause } = event {
                return Err(Error::new(ErrorKind::Rejected, OPERATION, "the target does not take the call")
                    .with_context("cause", cause)
                    .with_context("q850", cause.value()));
            }
        }
        self.legs.hand_over(&leg)
    }

    async fn open_media(&self, leg: LegId) -> Result<Media> {
        self.legs.open(&leg)
    }

    fn decode(&self, _request: CarrierRequest) -> Result<Vec<CarrierEvent>> {
        Err(Error::unsupported("sandbox.decode", "a carrier's webhook"))
    }
}

/// How long the target of a transfer rings, at most.
pub const TRANSFER_RING_LIMIT: Duration = Duration::from_secs(30);

/// A call on its way to an answer; dropping it before gives it up.
struct Dialling {
    number: Option<Number>,
    seat: Option<Seat>,
    steps: VecDeque<(Duration, DialEvent)>,
    studio: Arc<Studio>,
}

impl Dialling {
    async fn next(&mut self) -> Option<DialEvent> {
        let (wait, event) = self.steps.pop_front()?;
        let runtime = Arc::clone(&self.studio.runtime);
        runtime.sleep_until(runtime.now() + wait).await;
        if event == DialEvent::Ringing {
            return Some(event);
        }
        let seat = self.seat.take();
        if let (DialEvent::Answered, Some(seat), Some(number)) = (&event, seat, self.number) {
            seat.answer();
            runtime.spawn("sandbox", Box::pin(line::hold(Arc::clone(&self.studio), seat, number)));
        }
        Some(event)
    }
}
