//! Providers that cost nothing: a recogniser that knows when the caller has spoken, a model that says the same, a
//! synthesiser that has it ready.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use offhook::Result;
use offhook::provider::llm::{FinishReason, LlmCapabilities, LlmEvent, LlmEvents, LlmRequest};
use offhook::provider::stt::{SttCapabilities, SttEvent, SttEvents, SttInput, SttOptions};
use offhook::provider::tts::{TtsCapabilities, TtsEvent, TtsEvents, TtsInput, TtsOptions};
use offhook::provider::{BoxStream, Llm, ProviderInfo, SpeechToText, TextToSpeech};

use crate::far::Far;
use crate::script;

/// Gives a final transcript the moment the caller's last sound of a cycle reaches it.
pub(crate) struct NullRecogniser {
    /// Calls whose recogniser has not begun, in their order.
    pub(crate) waiting: Arc<Mutex<VecDeque<Arc<Far>>>>,
    pub(crate) rate_hz: u32,
}

#[async_trait]
impl SpeechToText for NullRecogniser {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "null", detail: String::new() }
    }

    fn capabilities(&self) -> SttCapabilities {
        SttCapabilities { detects_speech: false, interim: false, languages: Vec::new(), rates_hz: vec![self.rate_hz] }
    }

    async fn transcribe(&self, _options: SttOptions, input: BoxStream<'static, SttInput>) -> Result<SttEvents> {
        let far = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        // Whoever calls over a network begins with the script's first frame.
        let far = far.unwrap_or_else(|| Far::new(0));
        far.listened();
        let frame = self.rate_hz as usize / 50;
        let mut samples = 0;
        let events = input.filter_map(move |input| {
            let event = match input {
                SttInput::Audio(audio) => {
                    let before = samples / frame;
                    samples += audio.len();
                    (before..samples / frame).find_map(|index| far.heard(index)).map(|at| {
                        Ok(SttEvent::Final {
                            language: None,
                            text: script::HEARD.to_owned(),
                            start: at.saturating_sub(Duration::from_secs(2)),
                            end: at,
                        })
                    })
                }
                // Nothing beyond what it has told.
                _ => Some(Ok(SttEvent::Final {
                    language: None,
                    text: String::new(),
                    start: Duration::ZERO,
                    end: Duration::ZERO,
                })),
            };
            std::future::ready(event)
        });
        Ok(events.boxed())
    }
}

/// Streams the same twelve tokens.
pub(crate) struct NullModel;

#[async_trait]
impl Llm for NullModel {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "null", detail: String::new() }
    }

    fn capabilities(&self) -> LlmCapabilities {
        LlmCapabilities { streaming: true, tools: false }
    }

    async fn generate(&self, _request: LlmRequest) -> Result<LlmEvents> {
        let tokens = script::TOKENS.iter().map(|token| Ok(LlmEvent::Text((*token).to_owned())));
        let end = Ok(LlmEvent::Finished { reason: FinishReason::Stop });
        Ok(stream::iter(tokens.chain([end])).boxed())
    }

    async fn warm_up(&self) -> Result<()> {
        Ok(())
    }
}

/// Has a sentence ready in pieces of 100 ms.
pub(crate) struct NullVoice(pub Arc<Vec<Vec<i16>>>);

#[async_trait]
impl TextToSpeech for NullVoice {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "null", detail: String::new() }
    }

    fn capabilities(&self) -> TtsCapabilities {
        TtsCapabilities { alignment: false, rates_hz: vec![script::TTS_RATE_HZ], voices: Vec::new() }
    }

    async fn synthesize(&self, _options: TtsOptions, _input: BoxStream<'static, TtsInput>) -> Result<TtsEvents> {
        let pieces = self.0.clone();
        Ok(stream::iter(0..pieces.len()).map(move |piece| Ok(TtsEvent::Audio(pieces[piece].clone()))).boxed())
    }
}
