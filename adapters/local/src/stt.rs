//! `SpeechToText` by Silero and Moonshine: one thread hears all calls, others write down what was said.

mod lane;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use async_channel::{Receiver, Sender};
use async_trait::async_trait;
use futures_util::future::{self, Either};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use offhook::audio::silero::Silero;
use offhook::error::{Error, ErrorKind, Result};
use offhook::provider::ProviderInfo;
use offhook::provider::stt::{SpeechToText, SttCapabilities, SttEvent, SttEvents, SttInput, SttOptions};

use self::lane::{Job, Lane, Message};
use crate::ear::Ear;
use crate::moonshine::Recognizer;
use crate::silero;
use crate::weights::{Models, Size};

/// Jobs of all calls that wait for the hearing thread; more wait in their calls.
const JOBS_MAX: usize = 256;
/// Events of one call that wait to be taken. A call that takes none also feeds none, so few ever wait.
const MESSAGES_MAX: usize = 64;
/// Audio is handed over in parts of at most a fifth of a second, so that no call holds up the others.
const PARTS_PER_SECOND: usize = 5;
const THREADS_MAX: usize = 16;
const OPERATION: &str = "local.transcribe";

/// How [`LocalSpeechToText`] works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SttConfig {
    /// Which Moonshine model transcribes.
    pub size: Size,
    /// Threads that transcribe, 1 to 16. Each takes a core while it works: 3 to 5 % of the length of the speech.
    pub threads: usize,
}

impl Default for SttConfig {
    /// The base model, and a thread for each core but one.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { size: Size::default(), threads: (cores - 1).clamp(1, THREADS_MAX) }
    }
}

/// English recognition on the CPU, with speech detection of its own. Threads end with the last call and the last clone.
#[derive(Clone, Debug)]
pub struct LocalSpeechToText {
    /// Whether every language is taken for English.
    hears_english: bool,
    jobs: Sender<Job>,
    silero: Silero,
    size: Size,
}

impl LocalSpeechToText {
    /// Loads the models, in about half a second, and starts the threads.
    pub fn new(models: &Models, config: SttConfig) -> Result<Self> {
        if !(1..=THREADS_MAX).contains(&config.threads) {
            let message = format!("recognition takes 1 to {THREADS_MAX} threads");
            return Err(Error::new(ErrorKind::ConfigInvalid, OPERATION, message));
        }
        let silero = silero::load(models)?;
        let recognizer = Recognizer::load(models, config.size)?;
        let (jobs, queue) = async_channel::bounded(JOBS_MAX);
        let (tasks, waiting) = async_channel::bounded(config.threads);
        for _ in 0..config.threads {
            // Weak, so that the hearing thread and these do not keep each other alive.
            let (waiting, done, recognizer) = (waiting.clone(), jobs.downgrade(), recognizer.fork());
            start("offhook-stt", move || lane::transcribe(&waiting, &done, &recognizer))?;
        }
        let lane = Lane::new(tasks, config.threads);
        start("offhook-ear", move || lane.run(&queue))?;
        Ok(Self { hears_english: false, jobs, silero, size: config.size })
    }

    /// Takes every language for English: it detects speech all the same, and understands what is English.
    #[must_use]
    pub fn hearing_english(mut self) -> Self {
        self.hears_english = true;
        self
    }
}

#[async_trait]
impl SpeechToText for LocalSpeechToText {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "local", detail: format!("Moonshine {}", self.size.as_str()) }
    }

    fn capabilities(&self) -> SttCapabilities {
        SttCapabilities {
            detects_speech: true,
            interim: false,
            languages: vec!["en".to_owned()],
            rates_hz: vec![16_000, 8_000],
        }
    }

    async fn transcribe(&self, options: SttOptions, input: BoxStream<'static, SttInput>) -> Result<SttEvents> {
        let language = options.language.split('-').next().unwrap_or_default();
        if !self.hears_english && !language.eq_ignore_ascii_case("en") {
            return Err(Error::unsupported(OPERATION, "a language other than English"));
        }
        let ear = Ear::new(&self.silero, options.rate_hz)?;
        let (sender, messages) = async_channel::bounded(MESSAGES_MAX);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        send(&self.jobs, Job::Open { id, ear: Box::new(ear), messages: sender }).await?;
        let line = Line { id, jobs: self.jobs.clone(), messages: Box::pin(messages), input: Some(input) };
        let part_samples = options.rate_hz as usize / PARTS_PER_SECOND;
        let events = stream::unfold(Some(line), move |line| async move {
            let mut line = line?;
            match line.next(part_samples).await? {
                Ok(event) => Some((Ok(event), Some(line))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(events.boxed())
    }
}

/// Ids tell the calls in a lane apart and mean nothing beyond.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// One call's end of the lane.
struct Line {
    id: u64,
    jobs: Sender<Job>,
    messages: std::pin::Pin<Box<Receiver<Message>>>,
    /// `None` once it has ended.
    input: Option<BoxStream<'static, SttInput>>,
}

impl Line {
    /// Feeds the lane until it answers; `None` when all is said.
    async fn next(&mut self, part_samples: usize) -> Option<Result<SttEvent>> {
        loop {
            let message = match &mut self.input {
                None => self.messages.next().await,
                Some(input) => match future::select(self.messages.next(), input.next()).await {
                    Either::Left((message, _)) => message,
                    Either::Right((item, _)) => match self.feed(item, part_samples).await {
                        Ok(()) => continue,
                        Err(error) => return Some(Err(error)),
                    },
                },
            };
            return match message {
                Some(Message::Event(event)) => Some(Ok(event)),
                Some(Message::Failed(error)) => Some(Err(error)),
                Some(Message::End) => None,
                None => Some(Err(gone())),
            };
        }
    }

    async fn feed(&mut self, item: Option<SttInput>, part_samples: usize) -> Result<()> {
        let id = self.id;
        match item {
            Some(SttInput::Audio(samples)) if samples.len() <= part_samples => {
                send(&self.jobs, Job::Audio { id, samples }).await
            }
            Some(SttInput::Audio(samples)) => {
                for part in samples.chunks(part_samples) {
                    send(&self.jobs, Job::Audio { id, samples: part.to_vec() }).await?;
                }
                Ok(())
            }
            Some(SttInput::Finalize) => send(&self.jobs, Job::Finalize { id }).await,
            Some(_) => Ok(()),
            None => {
                self.input = None;
                send(&self.jobs, Job::Close { id }).await
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // If the lane is too busy to be told now, it notices when the next call opens.
        let _ = self.jobs.try_send(Job::Forget { id: self.id });
    }
}

async fn send(jobs: &Sender<Job>, job: Job) -> Result<()> {
    jobs.send(job).await.map_err(|_| gone())
}

fn gone() -> Error {
    Error::new(ErrorKind::Unavailable, OPERATION, "the hearing thread has ended")
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    started
        .map(drop)
        .map_err(|error| Error::new(ErrorKind::Unavailable, OPERATION, "a thread cannot be started").with_source(error))
}
