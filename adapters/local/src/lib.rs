//! Speech and a brain with no key and no network: everything runs on the CPU of this machine, off the async threads.
//!
//! | what | by | cost on one core |
//! |---|---|---|
//! | [`LocalSpeechToText`] | Silero v6 detects speech, Moonshine base or tiny (English) writes it down on `rten` | 0.5 % a call, and 3 to 5 % of the speech |
//! | [`LocalTextToSpeech`] | SVOX Pico: American and British English, French, German, Italian, Spanish | 1 % of the speech |
//! | [`RulesBrain`] | rules from a readable file, no model | microseconds |
//!
//! The models are fetched once ([`Models::fetch`]) and found again ([`Models::locate`]). Inference takes one thread a
//! piece, so that many calls share the machine evenly.
//!
//! ```no_run
//! use std::sync::Arc;
//! use offhook_local::{LocalSpeechToText, LocalTextToSpeech, Models, RulesBrain, SttConfig};
//!
//! let models = Models::locate()?;
//! let hears = Arc::new(LocalSpeechToText::new(&models, SttConfig::default())?);
//! let speaks = Arc::new(LocalTextToSpeech::new(&models)?);
//! let thinks = Arc::new(RulesBrain::clinic()?);
//! # Ok::<(), offhook::Error>(())
//! ```

pub mod brain;
pub mod ear;
pub mod moonshine;
mod numbers;
pub mod pico;
mod segment;
pub mod silero;
pub mod stt;
mod text;
mod tokenizer;
pub mod tts;
pub mod voice;
pub mod weights;
pub mod wer;

pub use brain::RulesBrain;
pub use stt::{LocalSpeechToText, SttConfig};
pub use tts::LocalTextToSpeech;
pub use voice::Voice;
pub use weights::{Models, Progress, Size};
pub use wer::WordErrors;
