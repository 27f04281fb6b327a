//! Speech recognition by Moonshine (English) on `rten`: encoder once, decoder token by token with its key-value cache.
//!
//! Weights and graph are those of Useful Sensors' npm package: `encoder_model.onnx` takes raw 16 kHz samples,
//! `decoder_model_merged.onnx` holds two branches, chosen by `use_cache_branch`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use offhook::error::{Error, ErrorKind, Result};
use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueOrView};

use crate::tokenizer::Vocabulary;
use crate::weights::{Models, Size};

/// The sample rate that Moonshine hears.
pub const RATE_HZ: u32 = 16_000;
/// The longest audio taken by one [`Recognizer::transcribe`] call.
pub const AUDIO_SECS_MAX: usize = 30;

/// Below this the encoder's convolutions have nothing to work on.
const SAMPLES_MIN: usize = RATE_HZ as usize / 20;
const SAMPLES_MAX: usize = RATE_HZ as usize * AUDIO_SECS_MAX;
const TOKEN_START: i32 = 1;
const TOKEN_END: u32 = 2;
/// Speech does not run faster; a decoder that does is repeating itself. Half tokens per second.
const TOKENS_PER_2_SECS_MAX: usize = 13;
const OPERATION: &str = "local.recognize";

/// A Moonshine model, ready to hear. Cloning shares the weights.
#[derive(Clone)]
pub struct Recognizer {
    weights: Arc<Weights>,
    options: RunOptions,
}

impl Recognizer {
    /// Loads the weights of one size from `models`; about a third of a second.
    pub fn load(models: &Models, size: Size) -> Result<Self> {
        let weights = Weights {
            encoder: Encoder::load(&models.moonshine_encoder(size))?,
            decoder: Decoder::load(&models.moonshine_decoder(size))?,
            vocabulary: Vocabulary::load(&models.tokenizer())?,
        };
        Ok(Self { weights: Arc::new(weights), options: one_thread() })
    }

    /// Another recogniser over the same weights with a thread of its own, so that both can hear at once.
    pub fn fork(&self) -> Self {
        Self { weights: Arc::clone(&self.weights), options: one_thread() }
    }

    /// What is said in `samples` (mono, 16 kHz, -1 to 1); empty if there is too little of it.
    ///
    /// `ConfigInvalid` above [`AUDIO_SECS_MAX`]. Runs for about 2 to 5 % of the audio's length.
    pub fn transcribe(&self, samples: &[f32]) -> Result<String> {
        self.transcribe_while(samples, &|| true)
    }

    /// As [`transcribe`](Self::transcribe), but stops at the next token once `wanted` says no.
    pub fn transcribe_while(&self, samples: &[f32], wanted: &dyn Fn() -> bool) -> Result<String> {
        if samples.len() < SAMPLES_MIN {
            return Ok(String::new());
        }
        if samples.len() > SAMPLES_MAX {
            let message = format!("more than {AUDIO_SECS_MAX} s of audio in one piece");
            return Err(Error::new(ErrorKind::ConfigInvalid, OPERATION, message));
        }
        let hidden = self.weights.encoder.run(samples, &self.options)?;
        let tokens_max = (samples.len() * TOKENS_PER_2_SECS_MAX).div_ceil(2 * RATE_HZ as usize);
        let tokens = self.weights.decoder.run(&hidden, tokens_max, wanted, &self.options)?;
        Ok(self.weights.vocabulary.detokenize(&tokens))
    }
}

impl std::fmt::Debug for Recognizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recognizer").finish_non_exhaustive()
    }
}

struct Weights {
    encoder: Encoder,
    decoder: Decoder,
    vocabulary: Vocabulary,
}

struct Encoder {
    model: Model,
    input: NodeId,
    output: NodeId,
}

impl Encoder {
    fn load(path: &Path) -> Result<Self> {
        let model = load_model(path)?;
        Ok(Self { input: node(&model, "input_values")?, output: node(&model, "last_hidden_state")?, model })
    }

    fn run(&self, samples: &[f32], options: &RunOptions) -> Result<Value> {
        let view = rten::ValueView::from_shape([1, samples.len()], samples).map_err(broken)?;
        let outputs = self.model.run(vec![(self.input, view.into())], &[self.output], Some(options.clone()));
        first(outputs.map_err(broken)?)
    }
}

struct Decoder {
    model: Model,
    tokens: NodeId,
    hidden: NodeId,
    cached: NodeId,
    logits: NodeId,
    caches: Vec<Cache>,
}

/// One of the `past_key_values.*` inputs with the `present.*` output that feeds it.
struct Cache {
    input: NodeId,
    output: NodeId,
    /// Keys and values of the encoder's output do not change after the first step.
    constant: bool,
    /// Shape before the first step: heads and head size are the model's, the rest is empty.
    heads: usize,
    head_size: usize,
}

impl Decoder {
    fn load(path: &Path) -> Result<Self> {
        let model = load_model(path)?;
        let mut caches = BTreeMap::new();
        for (index, &input) in model.input_ids().iter().enumerate() {
            let info = model.node_info(input);
            let name = info.as_ref().and_then(|info| info.name()).unwrap_or_default().to_owned();
            let Some(rest) = name.strip_prefix("past_key_values.") else { continue };
            let output = node(&model, &format!("present.{rest}"))?;
            let shape = model.input_shape(index).unwrap_or_default();
            let [_, rten::Dimension::Fixed(heads), _, rten::Dimension::Fixed(head_size)] = shape[..] else {
                return Err(Error::new(
                    ErrorKind::ConfigInvalid,
                    OPERATION,
                    "the decoder's cache has an unknown shape",
                ));
            };
            let constant = rest.contains(".encoder.");
            caches.insert(name, Cache { input, output, constant, heads, head_size });
        }
        Ok(Self {
            tokens: node(&model, "input_ids")?,
            hidden: node(&model, "encoder_hidden_states")?,
            cached: node(&model, "use_cache_branch")?,
            logits: node(&model, "logits")?,
            caches: caches.into_values().collect(),
            model,
        })
    }

    /// Greedy decoding: the likeliest token at each step until the end token or `tokens_max`.
    fn run(
        &self,
        hidden: &Value,
        tokens_max: usize,
        wanted: &dyn Fn() -> bool,
        options: &RunOptions,
    ) -> Result<Vec<u32>> {
        let mut tokens = Vec::with_capacity(tokens_max);
        let mut past = Vec::with_capacity(self.caches.len());
        for cache in &self.caches {
            let shape = [0, cache.heads, 1, cache.head_size];
            past.push(Value::from_shape(shape, Vec::<f32>::new()).map_err(broken)?);
        }
        let mut last = TOKEN_START;
        while tokens.len() < tokens_max && wanted() {
            let is_first = tokens.is_empty();
            let logits = self.step(hidden, last, is_first, &mut past, options)?;
            // These weights sometimes end before they begin on short or quiet speech, so the end may not come first.
            let Some(token) = likeliest(&logits, is_first.then_some(TOKEN_END)) else { break };
            if token == TOKEN_END {
                break;
            }
            tokens.push(token);
            last = token as i32;
        }
        Ok(tokens)
    }

    fn step(
        &self,
        hidden: &Value,
        token: i32,
        is_first: bool,
        past: &mut [Value],
        options: &RunOptions,
    ) -> Result<Vec<f32>> {
        let mut inputs: Vec<(NodeId, ValueOrView)> = Vec::with_capacity(3 + self.caches.len());
        inputs.push((self.tokens, Value::from_shape([1, 1], vec![token]).map_err(broken)?.into()));
        inputs.push((self.hidden, hidden.into()));
        inputs.push((self.cached, Value::from_shape([1], vec![i32::from(!is_first)]).map_err(broken)?.into()));
        let mut outputs = vec![self.logits];
        let mut constants = Vec::new();
        let mut updated = Vec::new();
        for (cache, value) in self.caches.iter().zip(past.iter_mut()) {
            if cache.constant && !is_first {
                constants.push((cache.input, &*value));
                continue;
            }
            let empty = Value::from_shape([0], Vec::<f32>::new()).map_err(broken)?;
            inputs.push((cache.input, std::mem::replace(value, empty).into()));
            outputs.push(cache.output);
            updated.push(value);
        }
        inputs.extend(constants.into_iter().map(|(id, value)| (id, value.into())));
        let mut results = self.model.run(inputs, &outputs, Some(options.clone())).map_err(broken)?.into_iter();
        let logits = results.next().and_then(|value| value.into_tensor::<f32>());
        for (slot, value) in updated.into_iter().zip(results) {
            *slot = value;
        }
        let Some(logits) = logits else {
            return Err(Error::new(ErrorKind::Unexpected, OPERATION, "the decoder gave no logits"));
        };
        Ok(logits.into_data())
    }
}

fn likeliest(logits: &[f32], forbidden: Option<u32>) -> Option<u32> {
    let scored = (0u32..).zip(logits).filter(|(token, _)| Some(*token) != forbidden);
    scored.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(token, _)| token)
}

/// One thread an inference: calls are many and cores are few, and a parallel inference would take them all.
pub(crate) fn one_thread() -> RunOptions {
    RunOptions::default().with_thread_pool(Some(Arc::new(ThreadPool::with_num_threads(1))))
}

pub(crate) fn load_model(path: &Path) -> Result<Model> {
    ModelOptions::with_all_ops().prepack_weights(true).load_file(path).map_err(|error| {
        Error::new(ErrorKind::ConfigInvalid, "local.load_model", "a model file cannot be loaded").with_source(error)
    })
}

pub(crate) fn node(model: &Model, name: &str) -> Result<NodeId> {
    model.node_id(name).map_err(|error| {
        Error::new(ErrorKind::ConfigInvalid, "local.load_model", format!("the model has no {name}")).with_source(error)
    })
}

fn first(values: Vec<Value>) -> Result<Value> {
    let none = || Error::new(ErrorKind::Unexpected, OPERATION, "the encoder gave nothing");
    values.into_iter().next().ok_or_else(none)
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unexpected, OPERATION, "inference failed").with_source(error)
}
