//! Ears and voice with no key and no network.

use std::sync::Arc;

use offhook::provider::{SpeechToText, TextToSpeech};
use offhook_local::stt::{LocalSpeechToText, SttConfig};
use offhook_local::tts::LocalTextToSpeech;
use offhook_local::voice::Voice;
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
        let (stt, tts) = models().await?;
        Ok(Self { stt: Arc::new(stt), tts: Arc::new(tts) })
    }

    /// The same for agents of any language: what is not spoken here is spoken, and heard, as English.
    pub async fn load_for_all() -> Outcome<Self> {
        let (stt, tts) = models().await?;
        Ok(Self { stt: Arc::new(stt.hearing_english()), tts: Arc::new(tts.with_stand_in(Voice::EnUs)) })
    }
}

async fn models() -> Outcome<(LocalSpeechToText, LocalTextToSpeech)> {
    blocking::run("no speech", || {
        let models = Models::locate()?;
        let stt = LocalSpeechToText::new(&models, SttConfig::default())?;
        Ok::<_, Failure>((stt, LocalTextToSpeech::new(&models)?))
    })
    .await
}
