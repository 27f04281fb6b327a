//! Ears and voice with no key and no network.

use std::sync::Arc;

use offhook::provider::{SpeechToText, TextToSpeech};
use offhook_local::stt::{LocalSpeechToText, SttConfig};
use offhook_local::tts::LocalTextToSpeech;
use offhook_local::weights::Models;

use crate::blocking;
use crate::failure::{Failure, Outcome};

/// Loaded models.
pub struct Speech {
    /// The recogniser.
    pub stt: Arc<dyn SpeechToText>,
    /// The synthesiser.
    pub tts: Arc<dyn TextToSpeech>,
}

impl Speech {
    /// Loads the installed models; fails with one line of advice when there are none.
    pub async fn load() -> Outcome<Self> {
        blocking::run("no speech", || {
            let models = Models::locate()?;
            let stt = LocalSpeechToText::new(&models, SttConfig::default())?;
            let tts = LocalTextToSpeech::new(&models)?;
            Ok::<_, Failure>(Self { stt: Arc::new(stt), tts: Arc::new(tts) })
        })
        .await
    }
}
