//! What somebody of the sandbox hears of the agent.

use std::time::Duration;

use offhook::Result;
use offhook::audio::vad::{EnergyVad, EnergyVadSettings};
use offhook::audio::{FRAME_DURATION, level};

/// A frame below this is silence, whatever came before it.
const QUIET_DBFS: f32 = -45.0;

/// For how long an agent must be silent to have come to an end; it pauses between sentences.
pub(crate) const PAUSE: Duration = Duration::from_millis(1_000);

/// An ear at a line; its clock counts frames.
#[derive(Clone, Debug)]
pub(crate) struct Ear {
    /// Since the answer.
    now: Duration,
    is_talking: bool,
    last_sound: Duration,
    /// When the agent last fell silent.
    silent_since: Option<Duration>,
    vad: EnergyVad,
}

impl Ear {
    pub(crate) fn new(rate_hz: u32) -> Result<Self> {
        let vad = EnergyVad::new(rate_hz, EnergyVadSettings::default())?;
        Ok(Self { now: Duration::ZERO, is_talking: false, last_sound: Duration::ZERO, silent_since: None, vad })
    }

    /// Takes a frame; true when the agent has just come to an end.
    pub(crate) fn hear(&mut self, frame: &[i16]) -> bool {
        self.now += FRAME_DURATION;
        self.vad.push(frame);
        self.is_talking |= self.vad.is_speech();
        // A steady voice turns into noise for the detector, and goes on all the same.
        if self.vad.is_speech() || level::rms_dbfs(frame) > QUIET_DBFS {
            self.last_sound = self.now;
        }
        let is_over = self.is_talking && self.now - self.last_sound >= PAUSE;
        if is_over {
            self.is_talking = false;
            self.silent_since = Some(self.last_sound);
        }
        is_over
    }

    /// Since the answer.
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// Whether the agent speaks, or has only just stopped.
    pub(crate) fn is_talking(&self) -> bool {
        self.is_talking
    }

    /// Whether the agent has come to an end since then.
    pub(crate) fn has_ended_since(&self, moment: Duration) -> bool {
        !self.is_talking && self.silent_since.is_some_and(|silent| silent > moment)
    }

    /// For how long nothing has been heard.
    pub(crate) fn silent_for(&self) -> Duration {
        self.now - self.last_sound
    }
}
