//! Providers that do what a test says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use offhook::audio::level;
use offhook::error::{Error, ErrorKind, Result};
use offhook::provider::blob::{BlobCapabilities, BlobPart};
use offhook::provider::llm::{FinishReason, LlmCapabilities, LlmEvent, LlmEvents, LlmRequest};
use offhook::provider::stt::{SttCapabilities, SttEvent, SttEvents, SttInput, SttOptions};
use offhook::provider::transport::{HttpRequest, HttpResponse};
use offhook::provider::tts::{TtsCapabilities, TtsEvent, TtsEvents, TtsInput, TtsOptions};
use offhook::provider::{Blob, BoxStream, HttpTransport, Llm, ProviderInfo, SpeechToText, TextToSpeech};

/// How long [`ToneSpeech`] takes to say one character.
pub const CHARACTER_DURATION: Duration = Duration::from_millis(50);

/// Silence after which [`CueRecogniser`] takes speech for ended.
const HANGOVER: Duration = Duration::from_millis(200);

/// Sound above this is speech to [`CueRecogniser`].
const SPEECH_DBFS: f32 = -40.0;

/// A synthesiser that says everything as a steady sound at 8 kHz.
#[derive(Clone, Debug, Default)]
pub struct ToneSpeech {
    failures: Arc<AtomicU32>,
    spoken: Arc<Mutex<Vec<Manner>>>,
}

/// How a piece of speech was to be spoken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manner {
    /// BCP 47.
    pub language: String,
    /// The synthesiser's name of a voice.
    pub voice: Option<String>,
}

impl ToneSpeech {
    /// Breaks off in the middle of the first pieces, so many of them.
    pub fn failing(times: u32) -> Self {
        Self { failures: Arc::new(AtomicU32::new(times)), ..Self::default() }
    }

    /// How each piece so far was to be spoken.
    pub fn spoken(&self) -> Vec<Manner> {
        self.spoken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl TextToSpeech for ToneSpeech {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "tone", detail: String::new() }
    }

    fn capabilities(&self) -> TtsCapabilities {
        TtsCapabilities { alignment: false, rates_hz: vec![8_000], voices: Vec::new() }
    }

    async fn synthesize(&self, options: TtsOptions, input: BoxStream<'static, TtsInput>) -> Result<TtsEvents> {
        let manner = Manner { language: options.language, voice: options.voice };
        self.spoken.lock().unwrap_or_else(PoisonError::into_inner).push(manner);
        let samples = usize::try_from(u64::from(options.rate_hz) * CHARACTER_DURATION.as_millis() as u64 / 1_000)
            .unwrap_or(usize::MAX);
        let fails = self.failures.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        let audio = input.filter_map(move |input| async move {
            match input {
                TtsInput::Text(text) => Some(Ok(TtsEvent::Audio(vec![4_000; samples * text.chars().count()]))),
                _ => None,
            }
        });
        let failure = fails.then(|| Err(Error::new(ErrorKind::Unavailable, "tts.synthesize", "the voice has broken")));
        Ok(audio.chain(stream::iter(failure)).boxed())
    }
}

/// A recogniser that tells sound from silence and takes its words from a list.
#[derive(Clone, Debug, Default)]
pub struct CueRecogniser {
    languages: Arc<Mutex<Vec<String>>>,
    lines: Arc<Mutex<VecDeque<String>>>,
    turn_end: Option<f32>,
}

impl CueRecogniser {
    /// Will understand these, one for each stretch of sound.
    pub fn new(lines: &[&str]) -> Self {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        Self { lines: Arc::new(Mutex::new(lines)), ..Self::default() }
    }

    /// Is so sure of the end of each turn.
    #[must_use]
    pub fn judging(mut self, probability: f32) -> Self {
        self.turn_end = Some(probability);
        self
    }

    /// The languages in which it was to listen, in turn.
    pub fn languages(&self) -> Vec<String> {
        self.languages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn next_line(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or_default()
    }
}

#[async_trait]
impl SpeechToText for CueRecogniser {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "cue", detail: String::new() }
    }

    fn capabilities(&self) -> SttCapabilities {
        SttCapabilities { detects_speech: true, interim: false, languages: Vec::new(), rates_hz: vec![8_000] }
    }

    async fn transcribe(&self, options: SttOptions, input: BoxStream<'static, SttInput>) -> Result<SttEvents> {
        self.languages.lock().unwrap_or_else(PoisonError::into_inner).push(options.language.clone());
        let ear = Ear { at: Duration::ZERO, last_sound: None, began: None };
        let recogniser = self.clone();
        let input = input.map(Some).chain(stream::iter([None]));
        let events = input.scan(ear, move |ear, input| {
            let events = match input {
                Some(SttInput::Audio(samples)) => ear.hear(&samples, options.rate_hz, &recogniser),
                Some(SttInput::Finalize) => vec![],
                _ => ear.finish(&recogniser),
            };
            std::future::ready(Some(stream::iter(events.into_iter().map(Ok))))
        });
        Ok(events.flatten().boxed())
    }
}

struct Ear {
    at: Duration,
    began: Option<Duration>,
    last_sound: Option<Duration>,
}

impl Ear {
    fn hear(&mut self, samples: &[i16], rate_hz: u32, recogniser: &CueRecogniser) -> Vec<SttEvent> {
        let start = self.at;
        self.at += Duration::from_micros(samples.len() as u64 * 1_000_000 / u64::from(rate_hz));
        if level::rms_dbfs(samples) > SPEECH_DBFS {
            self.last_sound = Some(self.at);
            if self.began.is_none() {
                self.began = Some(start);
                return vec![SttEvent::StartOfSpeech { at: start }];
            }
        }
        match self.last_sound {
            Some(last) if self.at.saturating_sub(last) >= HANGOVER => self.finish(recogniser),
            _ => vec![],
        }
    }

    fn finish(&mut self, recogniser: &CueRecogniser) -> Vec<SttEvent> {
        let (Some(start), Some(end)) = (self.began.take(), self.last_sound.take()) else {
            return vec![];
        };
        let settled = SttEvent::Final { language: None, text: recogniser.next_line(), start, end };
        let turn_end = recogniser.turn_end.map(|probability| SttEvent::EndOfTurn { probability });
        [SttEvent::EndOfSpeech { at: end }, settled].into_iter().chain(turn_end).collect()
    }
}

/// A model whose answers are a function of the request.
#[derive(Clone)]
pub struct ScriptedModel {
    answer: Arc<ModelScript>,
}

type ModelScript = dyn Fn(&LlmRequest) -> Vec<LlmEvent> + Send + Sync;

impl ScriptedModel {
    /// Answers with these events; a missing `Finished` is added.
    pub fn new(answer: impl Fn(&LlmRequest) -> Vec<LlmEvent> + Send + Sync + 'static) -> Self {
        Self { answer: Arc::new(answer) }
    }
}

#[async_trait]
impl Llm for ScriptedModel {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "script", detail: String::new() }
    }

    fn capabilities(&self) -> LlmCapabilities {
        LlmCapabilities { streaming: true, tools: true }
    }

    async fn generate(&self, request: LlmRequest) -> Result<LlmEvents> {
        let mut events = (self.answer)(&request);
        if !matches!(events.last(), Some(LlmEvent::Finished { .. })) {
            events.push(LlmEvent::Finished { reason: FinishReason::Stop });
        }
        Ok(stream::iter(events.into_iter().map(Ok)).boxed())
    }

    async fn warm_up(&self) -> Result<()> {
        Ok(())
    }
}

/// An HTTP transport that answers by a function and keeps what it was sent.
#[derive(Clone)]
pub struct ScriptedHttp {
    answer: Arc<HttpScript>,
    requests: Arc<Mutex<Vec<HttpRequest>>>,
}

type HttpScript = dyn Fn(&HttpRequest) -> Result<(u16, String)> + Send + Sync;

impl ScriptedHttp {
    /// Answers with a status and a body, or fails.
    pub fn new(answer: impl Fn(&HttpRequest) -> Result<(u16, String)> + Send + Sync + 'static) -> Self {
        Self { answer: Arc::new(answer), requests: Arc::default() }
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<HttpRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl HttpTransport for ScriptedHttp {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "script", detail: String::new() }
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        let (status, body) = (self.answer)(&request)?;
        Ok(HttpResponse { body: stream::iter([Ok(Bytes::from(body))]).boxed(), headers: Vec::new(), status })
    }
}

/// Objects in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryBlob {
    objects: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl MemoryBlob {
    /// The object, if there is one.
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.objects().get(key).cloned()
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Blob for MemoryBlob {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "memory", detail: String::new() }
    }

    fn capabilities(&self) -> BlobCapabilities {
        BlobCapabilities { head_bytes_max: 4_096, signs_urls: false }
    }

    async fn put(&self, key: String, mut parts: BoxStream<'static, Result<BlobPart>>) -> Result<String> {
        let mut object = Vec::new();
        while let Some(part) = parts.next().await {
            match part? {
                BlobPart::Append(bytes) => object.extend_from_slice(&bytes),
                BlobPart::PatchHead(head) => {
                    let length = head.len().min(object.len());
                    object[..length].copy_from_slice(&head[..length]);
                }
            }
        }
        self.objects().insert(key.clone(), object);
        Ok(key)
    }

    async fn get_range(&self, key: String, offset: u64, length: u64) -> Result<BoxStream<'static, Result<Bytes>>> {
        let objects = self.objects();
        let object = objects
            .get(&key)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "blob.get_range", "there is no such object"))?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(object.len());
        let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(object.len());
        Ok(stream::iter([Ok(Bytes::copy_from_slice(&object[start..end]))]).boxed())
    }

    async fn length(&self, key: String) -> Result<u64> {
        let length = self.objects().get(&key).map(Vec::len);
        let length = length.and_then(|length| u64::try_from(length).ok());
        length.ok_or_else(|| Error::new(ErrorKind::NotFound, "blob.length", "there is no such object"))
    }

    async fn sign_url(&self, _key: String, _lifetime: Duration) -> Result<String> {
        Err(Error::unsupported("blob.sign_url", "signing a URL"))
    }

    async fn delete(&self, key: String) -> Result<()> {
        self.objects().remove(&key);
        Ok(())
    }
}
