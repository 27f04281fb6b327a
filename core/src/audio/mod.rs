//! What happens to sound between the wire and the models: codecs, rates, frames, levels, keys, speech or silence, recordings.
//!
//! Samples are mono `i16` at a named rate, cut into frames of 20 ms. Nothing here reads a clock, waits or keeps more than
//! its construction reserved: the caller owns the buffers and says when.

pub mod answering;
pub mod beep;
pub mod codec;
pub mod conceal;
pub mod dtmf;
pub mod frame;
pub mod g711;
pub mod g722;
pub mod gain;
pub mod jitter;
pub mod level;
pub mod mix;
pub mod noise;
mod pitches;
pub mod playout;
pub mod progress;
pub mod record;
pub mod resample;
pub mod rtp;
pub mod silero;
mod simd;
pub mod telephone_event;
pub mod vad;

pub use answering::AnswerDetector;
pub use beep::{Beep, BeepDetector};
pub use conceal::{Concealer, ConcealingDecoder};
pub use dtmf::{DtmfDetector, DtmfTone};
pub use frame::{FRAME_DURATION, FRAMES_PER_SECOND, Framer, samples_per_frame};
pub use gain::{AutoGain, AutoGainSettings, DcBlocker};
pub use jitter::JitterBuffer;
pub use mix::Mixer;
pub use noise::ComfortNoise;
pub use playout::{Playout, PlayoutEvent};
pub use progress::CallProgress;
pub use record::Recorder;
pub use resample::Resampler;
pub use silero::Silero;
pub use vad::{EnergyVad, EnergyVadSettings, VadEvent};
