//! The layers, written out.

use super::super::simd::{Level, dispatch, level};
use super::SileroWindow;
use super::layer::{Columns, Layer, Place};
use super::math::{sigmoid, tanh};
use super::spectrum::{FRAMES, Spectrum};

/// Windows that are judged at once.
pub(super) const LANES_MAX: usize = 16;

/// Numbers that the LSTM keeps, and as many cells.
pub(super) const HIDDEN: usize = 128;

/// Samples of the window before that a window begins with, at most.
const CONTEXT_MAX: usize = 64;

/// Rows of each layer.
const ROWS: [usize; 4] = [128, 64, 64, HIDDEN];

const FULL_SCALE: f32 = 32_768.0;

/// The weights for one rate.
#[derive(Clone, Debug)]
pub(super) struct Network {
    level: Level,
    spectrum: Spectrum,
    /// The convolutions; those whose input is shorter than the kernel keep only what meets it.
    encoder: [Layer; 4],
    /// Input, forget, cell and output gates of the input and the hidden numbers.
    gates: Layer,
    decoder: [f32; HIDDEN],
    decoder_bias: f32,
}

/// What is remembered of one stream.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    context: [f32; CONTEXT_MAX],
    hidden: [f32; HIDDEN],
    cells: [f32; HIDDEN],
}

impl Default for Lane {
    fn default() -> Self {
        Self { context: [0.0; CONTEXT_MAX], hidden: [0.0; HIDDEN], cells: [0.0; HIDDEN] }
    }
}

/// Tensors in the order of their file: outer dimensions first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tensors<'a> {
    pub(super) basis: &'a [f32],
    /// Weights `[rows][channels][3]` and biases.
    pub(super) encoder: [(&'a [f32], &'a [f32]); 4],
    pub(super) input: (&'a [f32], &'a [f32]),
    pub(super) hidden: (&'a [f32], &'a [f32]),
    pub(super) decoder: (&'a [f32], &'a [f32]),
}

impl Network {
    /// A network of frames of `length` samples, 128 or 256; says what is wrong with the tensors.
    pub(super) fn new(length: usize, tensors: &Tensors<'_>) -> Result<Self, &'static str> {
        let spectrum = Spectrum::new(length);
        let bins = spectrum.bins();
        let channels = [bins, ROWS[0], ROWS[1], ROWS[2]];
        let all = [tensors.input, tensors.hidden, tensors.decoder, (tensors.basis, &[])];
        let numbers = tensors.encoder.iter().chain(&all).flat_map(|(weights, bias)| weights.iter().chain(bias.iter()));
        if !numbers.into_iter().all(|number| number.abs() <= WEIGHT_MAX) {
            return Err("a weight is no number or out of all proportion");
        }
        let is_shaped = |(weights, bias): (&[f32], &[f32]), rows: usize, columns: usize| {
            weights.len() == rows * columns && bias.len() == rows
        };
        let encoder = tensors.encoder.iter().zip(ROWS).zip(channels);
        if !encoder.into_iter().all(|((layer, rows), channels)| is_shaped(*layer, rows, channels * KERNEL))
            || !is_shaped(tensors.input, 4 * HIDDEN, HIDDEN)
            || !is_shaped(tensors.hidden, 4 * HIDDEN, HIDDEN)
            || !is_shaped(tensors.decoder, 1, HIDDEN)
            || tensors.basis.len() != 2 * bins * length
        {
            return Err("a layer has another shape");
        }
        if spectrum.distance(tensors.basis) > BASIS_TOLERANCE {
            return Err("the spectrum is not that of a Hann window");
        }
        let convolution = |index: usize, taps: std::ops::Range<usize>| {
            let ((weights, bias), channels) = (tensors.encoder[index], channels[index]);
            Layer::new(taps.len() * channels, bias, |row, column| {
                weights[(row * channels + column % channels) * KERNEL + taps.start + column / channels]
            })
        };
        let bias: Vec<f32> = tensors.input.1.iter().zip(tensors.hidden.1).map(|(one, other)| one + other).collect();
        let gates = Layer::new(2 * HIDDEN, &bias, |row, column| {
            let of = if column < HIDDEN { tensors.input.0 } else { tensors.hidden.0 };
            of[row * HIDDEN + column % HIDDEN]
        });
        Ok(Self {
            level: level(),
            // The third layer's one column has nothing before it, the fourth's nothing on either side.
            encoder: [convolution(0, 0..3), convolution(1, 0..3), convolution(2, 1..3), convolution(3, 1..2)],
            gates,
            decoder: std::array::from_fn(|index| tensors.decoder.0[index]),
            decoder_bias: tensors.decoder.1[0],
            spectrum,
        })
    }

    #[cfg(test)]
    pub(super) fn at(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    pub(super) fn rate_hz(&self) -> u32 {
        if self.spectrum.length() == 256 { 16_000 } else { 8_000 }
    }

    /// Samples in a window.
    pub(super) fn window(&self) -> usize {
        2 * self.spectrum.length()
    }

    /// Judges windows of that length, no more than the scratch has lanes.
    pub(super) fn judge(&self, scratch: &mut Scratch, windows: &mut [SileroWindow<'_>]) {
        let lanes = windows.len();
        self.take(scratch, windows);
        let Scratch { spectrum, first, second, third, joined, gates, .. } = scratch;
        let (level, bins) = (self.level, self.spectrum.bins());
        let [one, two, three, four] = &self.encoder;
        let place = |lane, step| Place { first: 0, lane, step };
        let columns = |per_lane, from, to| Columns { count: lanes * per_lane, per_lane, from, to };
        // A column of nothing comes first in the second layer's input.
        let padded = Place { first: ROWS[0], ..place((FRAMES + 1) * ROWS[0], ROWS[0]) };
        one.apply(level, spectrum, columns(FRAMES, place((FRAMES + 2) * bins, bins), padded), first, 0.0);
        let from = place((FRAMES + 1) * ROWS[0], 2 * ROWS[0]);
        two.apply(level, first, columns(2, from, place(2 * ROWS[1], ROWS[1])), second, 0.0);
        three.apply(level, second, columns(1, place(2 * ROWS[1], 0), place(ROWS[2], 0)), third, 0.0);
        four.apply(level, third, columns(1, place(ROWS[2], 0), place(2 * HIDDEN, 0)), joined, 0.0);
        let columns = columns(1, place(2 * HIDDEN, 0), place(4 * HIDDEN, 0));
        self.gates.apply(level, joined, columns, gates, f32::MIN);
        let (gates, _) = gates.as_chunks::<HIDDEN>();
        for (window, gates) in windows.iter_mut().zip(gates.chunks_exact(4)) {
            window.probability = self.decide(&mut window.stream.lane, gates);
        }
    }

    /// The spectra of the windows, and what the streams remember.
    fn take(&self, scratch: &mut Scratch, windows: &mut [SileroWindow<'_>]) {
        let (length, bins) = (self.spectrum.length(), self.spectrum.bins());
        // Context, window, and as much as the context once more in reverse.
        let (context, total) = (length / 4, 2 * length + length / 2);
        let lanes = windows.len();
        for (lane, window) in windows.iter_mut().enumerate() {
            let sound = &mut scratch.sound[lane * total..][..total];
            sound[..context].copy_from_slice(&window.stream.lane.context[..context]);
            for (to, sample) in sound[context..].iter_mut().zip(window.samples) {
                *to = f32::from(*sample) / FULL_SCALE;
            }
            let end = context + window.samples.len();
            for index in 0..context {
                sound[end + index] = sound[end - 2 - index];
            }
            window.stream.lane.context[..context].copy_from_slice(&sound[end - context..end]);
            scratch.joined[lane * 2 * HIDDEN + HIDDEN..][..HIDDEN].copy_from_slice(&window.stream.lane.hidden);
        }
        // The columns before the first and after the last frame are nothing.
        for lane in scratch.spectrum.chunks_exact_mut((FRAMES + 2) * bins).take(lanes) {
            lane[..bins].fill(0.0);
            lane[(FRAMES + 1) * bins..].fill(0.0);
        }
        let mut lane = 0;
        while lane < lanes {
            let frame = |at: usize| (lane + at / FRAMES) * total + at % FRAMES * (length / 2);
            let bin = |at: usize| ((lane + at / FRAMES) * (FRAMES + 2) + at % FRAMES + 1) * bins;
            let (sound, spectrum) = (&scratch.sound, &mut scratch.spectrum);
            if lane + 4 <= lanes {
                self.spectrum.magnitudes::<{ 4 * FRAMES }>(self.level, sound, frame, spectrum, bin);
                lane += 4;
            } else {
                self.spectrum.magnitudes::<FRAMES>(self.level, sound, frame, spectrum, bin);
                lane += 1;
            }
        }
    }

    /// Moves a stream's memory on and yields the probability.
    fn decide(&self, lane: &mut Lane, gates: &[[f32; HIDDEN]]) -> f32 {
        let Lane { hidden, cells, .. } = lane;
        let [input, forget, cell, output] = gates else { return 0.0 };
        dispatch!(self.level, _simd => remember([input, forget, cell, output], cells, hidden));
        let mut sum = self.decoder_bias;
        for (hidden, weight) in hidden.iter().zip(&self.decoder) {
            sum += hidden.max(0.0) * weight;
        }
        sigmoid(sum)
    }
}

/// The step of the LSTM.
#[inline(always)]
fn remember(gates: [&[f32; HIDDEN]; 4], cells: &mut [f32; HIDDEN], hidden: &mut [f32; HIDDEN]) {
    let [input, forget, cell, output] = gates;
    for index in 0..HIDDEN {
        let state = sigmoid(forget[index]) * cells[index] + sigmoid(input[index]) * tanh(cell[index]);
        cells[index] = state;
        hidden[index] = sigmoid(output[index]) * tanh(state);
    }
}

/// Taps of a convolution.
const KERNEL: usize = 3;

/// No sum of five layers of weights up to this leaves the range of numbers.
const WEIGHT_MAX: f32 = 1e4;

/// How far the file's cosines may be from those computed here.
const BASIS_TOLERANCE: f32 = 1e-5;

/// What the windows become on their way, lane after lane.
#[derive(Debug)]
pub(super) struct Scratch {
    lanes: usize,
    sound: Vec<f32>,
    spectrum: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    third: Vec<f32>,
    /// What the encoder found, then the hidden numbers.
    joined: Vec<f32>,
    gates: Vec<f32>,
}

impl Scratch {
    pub(super) fn new(lanes: usize) -> Self {
        let zeros = |length: usize| vec![0.0; lanes * length];
        Self {
            lanes,
            sound: zeros(640),
            spectrum: zeros((FRAMES + 2) * 129),
            first: zeros((FRAMES + 1) * ROWS[0]),
            second: zeros(2 * ROWS[1]),
            third: zeros(ROWS[2]),
            joined: zeros(2 * HIDDEN),
            gates: zeros(4 * HIDDEN),
        }
    }

    pub(super) fn lanes(&self) -> usize {
        self.lanes
    }
}
