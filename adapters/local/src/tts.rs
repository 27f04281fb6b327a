//! `TextToSpeech` by Pico: a few threads with engines of their own serve all calls, sentence by sentence.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;

use async_channel::{Receiver, Sender, TrySendError};
use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use offhook::audio::Resampler;
use offhook::error::{Error, ErrorKind, Result};
use offhook::provider::ProviderInfo;
use offhook::provider::tts::{TextToSpeech, TtsCapabilities, TtsEvent, TtsEvents, TtsInput, TtsOptions};

use crate::pico::{self, Pico};
use crate::text::Sentences;
use crate::voice::Voice;
use crate::weights::Models;

/// Threads that speak. One is 100 times faster than real time; the second keeps a long sentence from delaying a short one.
const THREADS: usize = 2;
/// Sentences of all calls that wait for a thread; more wait in their calls.
const JOBS_MAX: usize = 64;
/// Pieces of one sentence that wait to be taken, 64 ms each: more than any sentence has, so that no thread ever waits for a
/// slow call.
const PIECES_MAX: usize = 4_096;
const PIECE_SAMPLES: usize = 1_024;
/// Below this a sample of Pico's is silence.
const SILENCE_MAX: u16 = 64;
/// The pause after a sentence: 160 ms. Whoever answers an agent does not wait longer.
const PAUSE_SAMPLES: usize = pico::RATE_HZ as usize * 160 / 1_000;
/// Text that waits in one call before no more of it is taken in.
const TEXT_BYTES_MAX: usize = 16_384;
const OPERATION: &str = "local.synthesize";

/// SVOX Pico in six languages, on threads of its own. Cloning shares them; they end with the last clone.
#[derive(Clone, Debug)]
pub struct LocalTextToSpeech {
    jobs: Sender<Job>,
    /// Speaks what no voice is for.
    stand_in: Option<Voice>,
}

impl LocalTextToSpeech {
    /// Starts the threads. Voices are loaded when they are first used, in some milliseconds.
    pub fn new(models: &Models) -> Result<Self> {
        let (jobs, queue) = async_channel::bounded(JOBS_MAX);
        let models = Arc::new(models.clone());
        for _ in 0..THREADS {
            let (models, queue) = (Arc::clone(&models), queue.clone());
            let started = thread::Builder::new().name("offhook-tts".into()).spawn(move || work(&models, &queue));
            started.map_err(|error| {
                Error::new(ErrorKind::Unavailable, OPERATION, "a thread cannot be started").with_source(error)
            })?;
        }
        Ok(Self { jobs, stand_in: None })
    }

    /// Lets `voice` speak what there is no voice for: languages, and names of other makers' voices. It sounds foreign, and
    /// is better than silence.
    #[must_use]
    pub fn with_stand_in(mut self, voice: Voice) -> Self {
        self.stand_in = Some(voice);
        self
    }

    fn voice(&self, options: &TtsOptions) -> Result<Voice> {
        let spoken = || Voice::speaking(&options.language);
        match (&options.voice, self.stand_in) {
            (Some(name), None) => Voice::named(name),
            (Some(name), Some(stand_in)) => Ok(Voice::named(name).or_else(|_| spoken()).unwrap_or(stand_in)),
            (None, None) => spoken(),
            (None, Some(stand_in)) => Ok(spoken().unwrap_or(stand_in)),
        }
    }
}

#[async_trait]
impl TextToSpeech for LocalTextToSpeech {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "local", detail: "SVOX Pico".to_owned() }
    }

    fn capabilities(&self) -> TtsCapabilities {
        TtsCapabilities {
            alignment: false,
            rates_hz: vec![pico::RATE_HZ, 8_000],
            voices: Voice::ALL.map(|voice| voice.as_str().to_owned()).to_vec(),
        }
    }

    async fn synthesize(&self, options: TtsOptions, input: BoxStream<'static, TtsInput>) -> Result<TtsEvents> {
        let voice = self.voice(&options)?;
        if !self.capabilities().rates_hz.contains(&options.rate_hz) {
            return Err(Error::unsupported(OPERATION, "a rate other than 16000 or 8000 Hz"));
        }
        let speaking = Speaking {
            voice,
            jobs: self.jobs.clone(),
            input: Some(input),
            sentences: Sentences::default(),
            resampler: Resampler::new(pico::RATE_HZ, options.rate_hz)?.aligned(),
            current: None,
        };
        Ok(stream::unfold(Some(speaking), |speaking| async move { Speaking::next(speaking?).await }).boxed())
    }
}

/// A sentence for a thread.
struct Job {
    voice: Voice,
    text: String,
    pieces: Sender<Piece>,
}

enum Piece {
    Audio(Vec<i16>),
    Failed(Error),
    Whole,
}

/// One call's speech.
struct Speaking {
    voice: Voice,
    jobs: Sender<Job>,
    /// `None` once it has ended.
    input: Option<BoxStream<'static, TtsInput>>,
    sentences: Sentences,
    resampler: Resampler,
    current: Option<Current>,
}

/// The sentence that is being spoken.
struct Current {
    characters: u64,
    pieces: Pin<Box<Receiver<Piece>>>,
}

impl Speaking {
    /// The next event; after an error there is none.
    async fn next(mut self) -> Option<(Result<TtsEvent>, Option<Self>)> {
        match self.advance().await {
            Ok(Some(event)) => Some((Ok(event), Some(self))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    }

    async fn advance(&mut self) -> Result<Option<TtsEvent>> {
        loop {
            let Some(mut current) = self.current.take() else {
                if let Some(text) = self.sentences.next() {
                    self.begin(text).await?;
                } else if self.input.is_some() {
                    poll_fn(|context| self.poll_input(context)).await;
                } else {
                    return Ok(self.rest());
                }
                continue;
            };
            let next = poll_fn(|context| {
                // Text is taken in while speech is made, so that whoever writes it is not held up.
                while self.wants_text() && self.poll_input(context).is_ready() {}
                current.pieces.poll_next_unpin(context)
            });
            match next.await {
                Some(Piece::Audio(samples)) => {
                    self.current = Some(current);
                    let mut output = Vec::with_capacity(samples.len());
                    self.resampler.process(&samples, &mut output);
                    if !output.is_empty() {
                        return Ok(Some(TtsEvent::Audio(output)));
                    }
                }
                Some(Piece::Failed(error)) => return Err(error),
                Some(Piece::Whole) => return Ok(Some(TtsEvent::Characters(current.characters))),
                None => return Err(Error::new(ErrorKind::Unavailable, OPERATION, "the voice's thread has ended")),
            }
        }
    }

    async fn begin(&mut self, text: String) -> Result<()> {
        let (sender, pieces) = async_channel::bounded(PIECES_MAX);
        let characters = text.chars().count() as u64;
        let job = Job { voice: self.voice, text, pieces: sender };
        let gone = |_| Error::new(ErrorKind::Unavailable, OPERATION, "the voice's threads have ended");
        self.jobs.send(job).await.map_err(gone)?;
        self.current = Some(Current { characters, pieces: Box::pin(pieces) });
        Ok(())
    }

    fn wants_text(&self) -> bool {
        self.input.is_some() && self.sentences.len() < TEXT_BYTES_MAX
    }

    /// Takes in the next piece of text; at the end of the text, all of it is released.
    fn poll_input(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(input) = &mut self.input else { return Poll::Ready(()) };
        match input.poll_next_unpin(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(TtsInput::Text(text))) => self.sentences.push(&text),
            Poll::Ready(Some(TtsInput::Flush)) => self.sentences.flush(),
            Poll::Ready(Some(_)) => {}
            Poll::Ready(None) => {
                self.sentences.flush();
                self.input = None;
            }
        }
        Poll::Ready(())
    }

    /// What the resampler still holds, once.
    fn rest(&mut self) -> Option<TtsEvent> {
        let mut output = Vec::new();
        self.resampler.flush(&mut output);
        (!output.is_empty()).then_some(TtsEvent::Audio(output))
    }
}

/// A thread's life: sentence after sentence, each voice loaded once.
fn work(models: &Models, queue: &Receiver<Job>) {
    let mut voices = BTreeMap::new();
    while let Ok(job) = queue.recv_blocking() {
        if job.pieces.is_closed() {
            continue;
        }
        // The binding asserts what it believes of the engine. A failed assertion costs this sentence and this engine only.
        let spoken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| speak(models, &mut voices, &job)));
        let outcome = match spoken {
            Ok(Ok(())) => Piece::Whole,
            Ok(Err(error)) => Piece::Failed(error),
            Err(_) => Piece::Failed(Error::new(ErrorKind::Unexpected, OPERATION, "Pico broke its contract")),
        };
        if matches!(outcome, Piece::Failed(_)) {
            voices.remove(&job.voice);
        }
        // A call that has hung up does not care.
        let _ = job.pieces.try_send(outcome);
    }
}

fn speak(models: &Models, voices: &mut BTreeMap<Voice, Pico>, job: &Job) -> Result<()> {
    let voice = match voices.entry(job.voice) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(Pico::load(models, job.voice)?),
    };
    let mut mouth =
        Mouth { pieces: &job.pieces, gathered: Vec::with_capacity(PIECE_SAMPLES), quiet: Vec::new(), is_full: false };
    voice.speak(&job.text, &mut |samples| samples.iter().all(|&sample| mouth.utter(sample)))?;
    mouth.close();
    match mouth.is_full {
        true => Err(Error::new(ErrorKind::Unexpected, OPERATION, "one sentence gave too much audio")),
        false => Ok(()),
    }
}

/// Gathers samples into pieces, and shortens the half second of silence that Pico puts after every sentence.
struct Mouth<'a> {
    pieces: &'a Sender<Piece>,
    gathered: Vec<i16>,
    /// Samples held back since the last sound.
    quiet: Vec<i16>,
    is_full: bool,
}

impl Mouth<'_> {
    /// Takes one sample; `false` if no more is wanted.
    fn utter(&mut self, sample: i16) -> bool {
        if sample.unsigned_abs() < SILENCE_MAX {
            self.quiet.push(sample);
            return true;
        }
        self.let_out() && self.push(sample)
    }

    fn close(&mut self) {
        self.quiet.truncate(PAUSE_SAMPLES);
        if self.let_out() && !self.gathered.is_empty() {
            self.send();
        }
    }

    fn let_out(&mut self) -> bool {
        let quiet = std::mem::take(&mut self.quiet);
        quiet.into_iter().all(|sample| self.push(sample))
    }

    fn push(&mut self, sample: i16) -> bool {
        self.gathered.push(sample);
        self.gathered.len() < PIECE_SAMPLES || self.send()
    }

    fn send(&mut self) -> bool {
        let piece = std::mem::replace(&mut self.gathered, Vec::with_capacity(PIECE_SAMPLES));
        match self.pieces.try_send(Piece::Audio(piece)) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(_)) => {
                self.is_full = true;
                false
            }
        }
    }
}
