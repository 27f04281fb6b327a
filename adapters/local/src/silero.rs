//! Voice activity by Silero v6 on `rten`: the probability of speech in each 32 ms, by the model's own 8 or 16 kHz branch.

use std::sync::Arc;

use offhook::error::{Error, ErrorKind, Result};
use rten::{Model, NodeId, RunOptions, Value, ValueView};

use crate::moonshine::{load_model, node, one_thread};
use crate::weights::Models;

/// Length of the window that one probability speaks of.
pub const WINDOW_MS: u32 = 32;

const STATE_SHAPE: [usize; 3] = [2, 1, 128];
const STATE_LEN: usize = 256;
const OPERATION: &str = "local.detect_speech";

/// The model, shared by all detectors.
#[derive(Clone)]
pub struct Silero {
    graph: Arc<Graph>,
    options: RunOptions,
}

struct Graph {
    model: Model,
    input: NodeId,
    state: NodeId,
    rate: NodeId,
    probability: NodeId,
    next_state: NodeId,
}

impl Silero {
    /// Loads the model from `models`.
    pub fn load(models: &Models) -> Result<Self> {
        let model = load_model(&models.silero())?;
        let graph = Graph {
            input: node(&model, "input")?,
            state: node(&model, "state")?,
            rate: node(&model, "sr")?,
            probability: node(&model, "output")?,
            next_state: node(&model, "stateN")?,
            model,
        };
        Ok(Self { graph: Arc::new(graph), options: one_thread() })
    }

    /// A detector for one stream of audio at 8000 or 16000 Hz; other rates are `Unsupported`.
    pub fn detector(&self, rate_hz: u32) -> Result<Detector> {
        let (window, context) = match rate_hz {
            8_000 => (256, 32),
            16_000 => (512, 64),
            _ => return Err(Error::unsupported(OPERATION, "a rate other than 8000 or 16000 Hz")),
        };
        Ok(Detector {
            silero: self.clone(),
            rate_hz,
            window,
            context,
            input: vec![0.0; context + window],
            state: vec![0.0; STATE_LEN],
        })
    }
}

impl std::fmt::Debug for Silero {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Silero").finish_non_exhaustive()
    }
}

/// Hears one stream, window by window, and remembers what came before.
#[derive(Debug)]
pub struct Detector {
    silero: Silero,
    rate_hz: u32,
    window: usize,
    context: usize,
    /// The end of the last window, then the present one.
    input: Vec<f32>,
    state: Vec<f32>,
}

impl Detector {
    /// Samples that [`detect`](Self::detect) takes: 32 ms.
    pub fn window(&self) -> usize {
        self.window
    }

    /// The probability that `window` (-1 to 1) holds speech. `ConfigInvalid` unless it has [`window`](Self::window) samples.
    pub fn detect(&mut self, window: &[f32]) -> Result<f32> {
        if window.len() != self.window {
            return Err(Error::new(ErrorKind::ConfigInvalid, OPERATION, "a window has a wrong length"));
        }
        self.input.copy_within(self.window.., 0);
        self.input[self.context..].copy_from_slice(window);
        let graph = &*self.silero.graph;
        let rate = self.rate_hz as i32;
        let inputs = vec![
            (graph.input, ValueView::from_shape([1, self.input.len()], &self.input).map_err(broken)?.into()),
            (graph.state, ValueView::from_shape(STATE_SHAPE, &self.state).map_err(broken)?.into()),
            (graph.rate, Value::from_shape([], vec![rate]).map_err(broken)?.into()),
        ];
        let outputs = [graph.probability, graph.next_state];
        let [probability, state] =
            graph.model.run_n(inputs, outputs, Some(self.silero.options.clone())).map_err(broken)?;
        let (_, state) = state.into_shape_vec::<f32, 3>().map_err(broken)?;
        let (_, probability) = probability.into_shape_vec::<f32, 2>().map_err(broken)?;
        let (Some(&probability), STATE_LEN) = (probability.first(), state.len()) else {
            return Err(Error::new(ErrorKind::Unexpected, OPERATION, "the model's output has an unknown shape"));
        };
        self.state = state;
        Ok(probability)
    }
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unexpected, OPERATION, "inference failed").with_source(error)
}
