//! Speech or silence by the Silero VAD (v5 and v6), computed here: no inference runtime is needed.
//!
//! The network takes 32 ms of sound at 8 or 16 kHz and the state that the window before left, and yields the probability
//! of speech. It is always the same five layers, so that they are written out: the magnitudes of four short spectra, four
//! convolutions, an LSTM and a weighted sum. Weights come as the bytes of the `.onnx` file that the PyPI package
//! `silero-vad` ships; see <https://github.com/snakers4/silero-vad> (MIT).
//!
//! Windows of several calls may be judged at once, which spares reading the 0.9 MB of weights for each.

mod gate;
mod layer;
mod math;
mod network;
mod onnx;
mod spectrum;
mod vad;

use std::sync::Arc;

use self::gate::Gate;
use self::network::{LANES_MAX, Lane, Network, Scratch};
pub use self::vad::SileroVad;
use crate::error::{Error, ErrorKind, Result};

/// Length of a window, in milliseconds.
pub const WINDOW_MS: u32 = 32;

/// The model, for any number of streams; a clone shares the weights.
#[derive(Clone)]
pub struct Silero {
    networks: Arc<[Network]>,
}

impl Silero {
    /// Reads the weights from the bytes of `silero_vad.onnx`, or of a file for one of its rates.
    ///
    /// `ConfigInvalid` if that is no ONNX file, or holds another network or weights that are no numbers.
    pub fn from_onnx(bytes: &[u8]) -> Result<Self> {
        let networks =
            onnx::networks(bytes).map_err(|message| Error::new(ErrorKind::ConfigInvalid, OPERATION, message))?;
        Ok(Self { networks: networks.into() })
    }

    /// The memory of one stream at `rate_hz`, 8000 or 16000; `Unsupported` for another rate.
    pub fn stream(&self, rate_hz: u32) -> Result<SileroStream> {
        let Some((index, network)) = self.networks.iter().enumerate().find(|(_, network)| network.rate_hz() == rate_hz)
        else {
            return Err(Error::unsupported(OPERATION, "speech detection at that rate"));
        };
        let window = network.window();
        Ok(SileroStream { network: index, rate_hz, window, lane: Lane::default(), probability: 0.0, gate: None })
    }

    /// The room to judge windows in, for up to 16 at once; more are judged in turns. It serves any number of streams.
    pub fn workspace(&self, windows: usize) -> SileroWorkspace {
        SileroWorkspace { scratch: Scratch::new(windows.clamp(1, LANES_MAX)), room: [0; WINDOW_MAX] }
    }

    /// Judges each of `windows` and writes its probability.
    ///
    /// `ConfigInvalid` if one has another length than [`SileroStream::window`]; then nothing was judged.
    pub fn judge(&self, workspace: &mut SileroWorkspace, windows: &mut [SileroWindow<'_>]) -> Result<()> {
        let fits = |window: &SileroWindow<'_>| {
            window.samples.len() == window.stream.window && window.stream.network < self.networks.len()
        };
        if !windows.iter().all(fits) {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                OPERATION,
                "a window has another length than its stream's",
            ));
        }
        let SileroWorkspace { scratch, room } = workspace;
        let mut picked = Picked { lanes: [0; LANES_MAX], count: 0 };
        for index in 0..windows.len() {
            let window = &mut windows[index];
            let network = &self.networks[window.stream.network];
            if !window.stream.is_open(network, window.samples, scratch, room) {
                window.probability = window.stream.probability;
                continue;
            }
            let next = window.stream.network;
            let is_other = picked.count > 0 && windows[picked.lanes[0]].stream.network != next;
            if is_other || picked.count == scratch.lanes() {
                self.judge_picked(scratch, windows, &mut picked);
            }
            picked.lanes[picked.count] = index;
            picked.count += 1;
        }
        self.judge_picked(scratch, windows, &mut picked);
        Ok(())
    }

    fn judge_picked(&self, scratch: &mut Scratch, windows: &mut [SileroWindow<'_>], picked: &mut Picked) {
        let lanes = &picked.lanes[..std::mem::take(&mut picked.count)];
        if let Some(first) = lanes.first() {
            self.networks[windows[*first].stream.network].judge(scratch, windows, lanes);
        }
    }
}

/// Which windows are judged at once.
struct Picked {
    lanes: [usize; LANES_MAX],
    count: usize,
}

impl std::fmt::Debug for Silero {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Silero").finish_non_exhaustive()
    }
}

/// What is remembered of one stream: 1.3 KB, and the last windows if it is [gated](SileroStream::gated).
#[derive(Clone, Debug)]
pub struct SileroStream {
    network: usize,
    rate_hz: u32,
    window: usize,
    lane: Lane,
    /// Of the last window that was judged.
    probability: f32,
    gate: Option<Gate>,
}

impl SileroStream {
    /// Spares the network windows that are plainly silent: a window that is not judged has the probability of the last
    /// one that was, which is below 0.1. What is speech is found all the same.
    #[must_use]
    pub fn gated(mut self) -> Self {
        self.gate = Some(Gate::new(self.rate_hz, self.window));
        self
    }

    /// Samples in a window: 256 at 8 kHz, 512 at 16 kHz.
    pub fn window(&self) -> usize {
        self.window
    }

    /// Windows that the network was spared.
    pub fn windows_spared(&self) -> u64 {
        self.gate.as_ref().map_or(0, |gate| gate.spared)
    }

    /// Forgets all that was heard.
    pub fn reset(&mut self) {
        (self.lane, self.probability) = (Lane::default(), 0.0);
        if self.gate.is_some() {
            self.gate = Some(Gate::new(self.rate_hz, self.window));
        }
    }

    /// Whether the window is to be judged; then the network has heard what it missed.
    fn is_open(&mut self, network: &Network, samples: &[i16], scratch: &mut Scratch, room: &mut [i16]) -> bool {
        let Some(mut gate) = self.gate.take() else { return true };
        let is_open = gate.is_open(samples, self.probability);
        while is_open {
            let Some(samples) = gate.next_missed(room) else { break };
            let mut missed = [SileroWindow { stream: self, samples, probability: 0.0 }];
            network.judge(scratch, &mut missed, &[0]);
            gate.spared -= 1;
        }
        self.gate = Some(gate);
        is_open
    }
}

/// A window of a stream, and what is thought of it.
#[derive(Debug)]
pub struct SileroWindow<'a> {
    /// The stream that it belongs to; one stream's windows come in their order.
    pub stream: &'a mut SileroStream,
    /// [`SileroStream::window`] samples.
    pub samples: &'a [i16],
    /// That somebody speaks, 0 to 1.
    pub probability: f32,
}

/// Where windows are judged. It holds nothing from one time to the next.
#[derive(Debug)]
pub struct SileroWorkspace {
    scratch: Scratch,
    room: [i16; WINDOW_MAX],
}

/// Samples in the longest window.
const WINDOW_MAX: usize = 512;
const OPERATION: &str = "audio.silero";

#[cfg(test)]
mod tests;
