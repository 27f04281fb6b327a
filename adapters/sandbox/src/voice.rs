//! The sandbox's voice: each line is synthesised once and kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, stream};
use offhook::audio::Resampler;
use offhook::provider::TextToSpeech;
use offhook::provider::tts::{TtsEvent, TtsInput, TtsOptions};
use offhook::{Error, ErrorKind, Result};

use crate::person::Phrase;
use crate::script::Script;

/// The longest line; what is longer is cut.
const LINE_SECONDS_MAX: usize = 60;

/// Says the lines of a script.
pub(crate) struct Voice {
    /// At most one entry for each line of the script.
    lines: Mutex<BTreeMap<Phrase, Arc<[i16]>>>,
    rate_hz: u32,
    script: Script,
    tts: Arc<dyn TextToSpeech>,
}

impl Voice {
    pub(crate) fn new(tts: Arc<dyn TextToSpeech>, script: Script, rate_hz: u32) -> Result<Self> {
        script.check()?;
        Ok(Self { lines: Mutex::default(), rate_hz, script, tts })
    }

    pub(crate) fn script(&self) -> &Script {
        &self.script
    }

    /// The sound of `phrase`.
    pub(crate) async fn say(&self, phrase: Phrase) -> Result<Arc<[i16]>> {
        if let Some(known) = self.lines.lock().unwrap_or_else(PoisonError::into_inner).get(&phrase) {
            return Ok(Arc::clone(known));
        }
        let samples: Arc<[i16]> = self.synthesize(self.text(phrase).to_owned()).await?.into();
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).insert(phrase, Arc::clone(&samples));
        Ok(samples)
    }

    async fn synthesize(&self, text: String) -> Result<Vec<i16>> {
        let rates_hz = self.tts.capabilities().rates_hz;
        let offered = rates_hz.iter().copied().find(|rate_hz| *rate_hz == self.rate_hz);
        let rate_hz = offered.or(rates_hz.first().copied()).unwrap_or(self.rate_hz);
        let mut resampler = Resampler::new(rate_hz, self.rate_hz)?;
        let options = TtsOptions::new(self.script.language.as_str(), rate_hz);
        let input = stream::iter([TtsInput::Text(text), TtsInput::Flush]).boxed();
        let mut events = self.tts.synthesize(options, input).await?;
        let samples_max = LINE_SECONDS_MAX * usize::try_from(self.rate_hz).unwrap_or(usize::MAX);
        let mut samples = Vec::new();
        while let Some(event) = events.next().await {
            if let TtsEvent::Audio(piece) = event? {
                resampler.process(&piece, &mut samples);
            }
            if samples.len() > samples_max {
                break;
            }
        }
        resampler.flush(&mut samples);
        samples.truncate(samples_max);
        if samples.is_empty() {
            return Err(Error::new(ErrorKind::Unexpected, "sandbox.say", "the synthesiser made no sound"));
        }
        Ok(samples)
    }

    fn text(&self, phrase: Phrase) -> &str {
        match phrase {
            Phrase::Goodbye => &self.script.goodbye,
            Phrase::Hello => &self.script.hello,
            Phrase::Line(index) => self.script.lines.get(index).map_or("", String::as_str),
            Phrase::Unfinished => &self.script.unfinished,
            Phrase::Voicemail => &self.script.voicemail,
        }
    }
}
