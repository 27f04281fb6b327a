//! What happens to sound between the wire and the models: codecs, rates, frames, levels, keys, speech or silence, recordings.
//!
//! Samples are mono `i16` at a named rate, cut into frames of 20 ms. Nothing here reads a clock, waits or keeps more than
//! its construction reserved: the caller owns the buffers and says when.

pub mod beep;
pub mod codec;
pub mod dtmf;
pub mod frame;
pub mod g711;
pub mod level;
pub mod playout;
pub mod record;
pub mod resample;
pub mod silero;
mod simd;
pub mod telephone_event;
pub mod vad;

pub use beep::BeepDetector;
pub use dtmf::{DtmfDetector, DtmfTone};
pub use frame::{FRAME_DURATION, FRAMES_PER_SECOND, Framer, samples_per_frame};
pub use playout::{Playout, PlayoutEvent};
pub use record::Recorder;
pub use resample::Resampler;
pub use silero::Silero;
pub use vad::{EnergyVad, EnergyVadSettings, VadEvent};
