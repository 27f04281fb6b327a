//! What the caller hears, counted in samples since the line was opened.

use std::time::Duration;

use offhook::audio::vad::{EnergyVad, EnergyVadSettings};
use offhook::error::Result;

use crate::sound::is_heard;

/// The caller's ear.
#[derive(Debug)]
pub struct Ear {
    last_heard: Option<u64>,
    position: u64,
    rate_hz: u32,
    /// When the speech that goes on began; `None` in silence.
    speech_began: Option<u64>,
    vad: EnergyVad,
}

impl Ear {
    /// At a line of `rate_hz`.
    pub fn new(rate_hz: u32) -> Result<Self> {
        let vad = EnergyVad::new(rate_hz, EnergyVadSettings::default())?;
        Ok(Self { last_heard: None, position: 0, rate_hz, speech_began: None, vad })
    }

    /// Takes the next samples.
    pub fn hear(&mut self, samples: &[i16]) {
        if let Some(index) = samples.iter().rposition(is_heard) {
            self.last_heard = Some(self.position + index as u64);
        }
        self.vad.push(samples);
        if !self.vad.is_speech() {
            self.speech_began = None;
        } else if self.speech_began.is_none() {
            self.speech_began = Some(self.position);
        }
        self.position += samples.len() as u64;
    }

    /// Samples heard so far: the line's clock.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The last sample that was more than silence.
    pub fn last_heard(&self) -> Option<u64> {
        self.last_heard
    }

    /// For how long the other side has been speaking; `None` while it is silent.
    pub fn speaking_for(&self) -> Option<Duration> {
        self.speech_began.map(|began| self.duration_of(self.position - began))
    }

    /// For how long nothing was heard.
    pub fn silent_for(&self) -> Duration {
        self.duration_of(self.position - self.last_heard.map_or(0, |last| last + 1))
    }

    /// Samples in `duration`.
    pub fn samples_in(&self, duration: Duration) -> u64 {
        u64::try_from(duration.as_micros() * u128::from(self.rate_hz) / 1_000_000).unwrap_or(u64::MAX)
    }

    /// The length of so many samples.
    pub fn duration_of(&self, samples: u64) -> Duration {
        let micros = u128::from(samples) * 1_000_000 / u128::from(self.rate_hz.max(1));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}
