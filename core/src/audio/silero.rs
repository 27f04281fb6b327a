//! Speech or silence by the Silero VAD (v5 and v6), computed here: no inference runtime is needed.
//!
//! The network takes 32 ms of sound at 8 or 16 kHz and the state that the window before left, and yields the probability
//! of speech. It is always the same five layers, so that they are written out: the magnitudes of four short spectra, four
//! convolutions, an LSTM and a weighted sum. Weights come as the bytes of the `.onnx` file that the PyPI package
//! `silero-vad` ships; see <https://github.com/snakers4/silero-vad> (MIT).
//!
//! Windows of several calls may be judged at once, which spares reading the 0.9 MB of weights for each.

mod layer;
mod math;
mod network;
mod onnx;
mod spectrum;

use std::sync::Arc;

use self::network::{LANES_MAX, Lane, Network, Scratch};
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
        Ok(SileroStream { network: index, window: network.window(), lane: Lane::default() })
    }

    /// The room to judge windows in, for up to 16 at once; more are judged in turns. It serves any number of streams.
    pub fn workspace(&self, windows: usize) -> SileroWorkspace {
        SileroWorkspace { scratch: Scratch::new(windows.clamp(1, LANES_MAX)) }
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
        let lanes = workspace.scratch.lanes();
        for group in windows.chunk_by_mut(|one, next| one.stream.network == next.stream.network) {
            for group in group.chunks_mut(lanes) {
                let Some(first) = group.first() else { continue };
                self.networks[first.stream.network].judge(&mut workspace.scratch, group);
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Silero {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Silero").finish_non_exhaustive()
    }
}

/// What the network remembers of one stream: 1.3 KB.
#[derive(Clone, Debug)]
pub struct SileroStream {
    network: usize,
    window: usize,
    lane: Lane,
}

impl SileroStream {
    /// Samples in a window: 256 at 8 kHz, 512 at 16 kHz.
    pub fn window(&self) -> usize {
        self.window
    }

    /// Forgets all that was heard.
    pub fn reset(&mut self) {
        self.lane = Lane::default();
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
}

const OPERATION: &str = "audio.silero";

#[cfg(test)]
mod tests;
