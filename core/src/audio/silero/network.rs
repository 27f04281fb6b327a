//! The layers, written out.

use super::super::simd::{Level, dispatch, level};
use super::gate::Gate;
use super::layer::{Columns, Layer, Place};
use super::math::{sigmoid, tanh};
use super::spectrum::{FRAMES, Spectrum};
use super::{SileroStream, SileroWindow};

/// Windows that are judged at once.
pub(super) const LANES_MAX: usize = 16;

/// Numbers that the LSTM keeps, and as many cells.
pub(super) const HIDDEN: usize = 128;

/// Numbers of the LSTM's four gates.
pub(super) const GATES: usize = 4 * HIDDEN;

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
    /// What the encoder's output does to the input, forget, cell and output gates, and what the hidden numbers do.
    input: Layer,
    hidden: Layer,
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
        let rows =
            |weights: &[f32], bias: &[f32]| Layer::new(HIDDEN, bias, |row, column| weights[row * HIDDEN + column]);
        Ok(Self {
            level: level(),
            // The third layer's one column has nothing before it, the fourth's nothing on either side.
            encoder: [convolution(0, 0..3), convolution(1, 0..3), convolution(2, 1..3), convolution(3, 1..2)],
            input: rows(tensors.input.0, &bias),
            hidden: rows(tensors.hidden.0, &[0.0; GATES]),
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
        let mut looked_at = [0; LANES_MAX];
        let mut count = 0;
        for (lane, window) in windows.iter_mut().enumerate() {
            let SileroStream { gate, probability, lane: memory, .. } = window.stream;
            scratch.hidden[lane * HIDDEN..][..HIDDEN].copy_from_slice(&memory.hidden);
            if let Some(gate) = gate {
                gate.push(window.samples, *probability);
                if gate.silence().is_some() {
                    self.skip(memory, window.samples);
                    continue;
                }
            }
            looked_at[count] = lane;
            count += 1;
        }
        let looked_at = &looked_at[..count];
        self.take(scratch, windows, looked_at);
        self.encode(scratch, count);
        let step = |numbers| Columns::lanes(windows.len(), numbers, GATES);
        self.hidden.apply(self.level, &scratch.hidden, step(HIDDEN), &mut scratch.gates, f32::MIN);
        let (inputs, _) = scratch.inputs.as_chunks::<GATES>();
        let mut inputs = looked_at.iter().zip(inputs).peekable();
        let (gates, _) = scratch.gates.as_chunks::<GATES>();
        for ((lane, window), gates) in windows.iter_mut().enumerate().zip(gates) {
            let SileroStream { gate, probability, lane: memory, .. } = window.stream;
            let silence = gate.as_ref().and_then(Gate::silence);
            let seen = inputs.next_if(|(looked_at, _)| **looked_at == lane).map(|(_, input)| input);
            let Some(input) = seen.or(silence) else { continue };
            *probability = self.decide(memory, input, gates);
            window.probability = *probability;
            if let (Some(gate), Some(seen)) = (gate, seen) {
                gate.learn(seen);
            }
        }
    }

    /// From the spectra of so many windows to what they do to the gates.
    fn encode(&self, scratch: &mut Scratch, lanes: usize) {
        let Scratch { spectrum, first, second, third, encoded, inputs, .. } = scratch;
        let (level, bins) = (self.level, self.spectrum.bins());
        let [one, two, three, four] = &self.encoder;
        let place = |lane, step| Place { first: 0, lane, step };
        let columns = |per_lane, from, to| Columns { count: lanes * per_lane, per_lane, from, to };
        // A column of nothing comes first in the second layer's input.
        let padded = Place { first: ROWS[0], ..place((FRAMES + 1) * ROWS[0], ROWS[0]) };
        one.apply(level, spectrum, columns(FRAMES, place((FRAMES + 2) * bins, bins), padded), first, 0.0);
        let from = place((FRAMES + 1) * ROWS[0], 2 * ROWS[0]);
        two.apply(level, first, columns(2, from, place(2 * ROWS[1], ROWS[1])), second, 0.0);
        three.apply(level, second, Columns::lanes(lanes, 2 * ROWS[1], ROWS[2]), third, 0.0);
        four.apply(level, third, Columns::lanes(lanes, ROWS[2], HIDDEN), encoded, 0.0);
        self.input.apply(level, encoded, Columns::lanes(lanes, HIDDEN, GATES), inputs, f32::MIN);
    }

    /// Remembers of a window that is not looked at what the next one begins with.
    fn skip(&self, memory: &mut Lane, samples: &[i16]) {
        let context = self.spectrum.length() / 4;
        for (to, sample) in memory.context[..context].iter_mut().zip(&samples[samples.len() - context..]) {
            *to = f32::from(*sample) / FULL_SCALE;
        }
    }

    /// The spectra of the windows in those lanes, and what their streams remember of them.
    fn take(&self, scratch: &mut Scratch, windows: &mut [SileroWindow<'_>], looked_at: &[usize]) {
        let (length, bins) = (self.spectrum.length(), self.spectrum.bins());
        // Context, window, and as much as the context once more in reverse.
        let (context, total) = (length / 4, 2 * length + length / 2);
        let lanes = looked_at.len();
        for (lane, index) in looked_at.iter().enumerate() {
            let window = &mut windows[*index];
            let memory = &mut window.stream.lane.context[..context];
            let sound = &mut scratch.sound[lane * total..][..total];
            sound[..context].copy_from_slice(memory);
            for (to, sample) in sound[context..].iter_mut().zip(window.samples) {
                *to = f32::from(*sample) / FULL_SCALE;
            }
            let end = context + window.samples.len();
            for index in 0..context {
                sound[end + index] = sound[end - 2 - index];
            }
            memory.copy_from_slice(&sound[end - context..end]);
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
    fn decide(&self, memory: &mut Lane, input: &[f32; GATES], hidden: &[f32; GATES]) -> f32 {
        let mut gates = [[0.0; HIDDEN]; 4];
        dispatch!(self.level, _simd => {
            for ((gate, input), hidden) in gates.as_flattened_mut().iter_mut().zip(input).zip(hidden) {
                *gate = input + hidden;
            }
            remember(&gates, memory);
        });
        let mut sum = self.decoder_bias;
        for (hidden, weight) in memory.hidden.iter().zip(&self.decoder) {
            sum += hidden.max(0.0) * weight;
        }
        sigmoid(sum)
    }
}

/// The step of the LSTM.
#[inline(always)]
fn remember([input, forget, cell, output]: &[[f32; HIDDEN]; 4], Lane { cells, hidden, .. }: &mut Lane) {
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
    encoded: Vec<f32>,
    inputs: Vec<f32>,
    hidden: Vec<f32>,
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
            encoded: zeros(HIDDEN),
            inputs: zeros(GATES),
            hidden: zeros(HIDDEN),
            gates: zeros(GATES),
        }
    }

    pub(super) fn lanes(&self) -> usize {
        self.lanes
    }
}
