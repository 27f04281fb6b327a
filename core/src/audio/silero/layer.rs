//! A matrix, and what it makes of columns of numbers.

use fearless_simd::f32x16;
use fearless_simd::prelude::*;

use super::super::simd::{Level, Simd, dispatch};

/// What the processor takes at once.
const VECTOR: usize = 16;

/// Rows that are summed up side by side: four vectors, which are as many additions as a processor has under way.
const PANEL: usize = 4 * VECTOR;

/// A matrix and what is added to its products.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    columns: usize,
    /// All columns of the first 64 rows, then those of the next.
    weights: Vec<Panel>,
    bias: Vec<Panel>,
}

/// A column of 64 rows.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Panel([[f32; VECTOR]; 4]);

/// Where columns stand in a slice, and where what becomes of them goes in another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    /// How many.
    pub(super) count: usize,
    /// Those of one lane stand at steps from each other, and lanes at greater ones.
    pub(super) per_lane: usize,
    pub(super) from: Place,
    pub(super) to: Place,
}

/// Where each column begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) first: usize,
    pub(super) lane: usize,
    pub(super) step: usize,
}

impl Layer {
    /// A layer of as many rows as `bias` has numbers, a multiple of 64; `weight` is asked for each row and column.
    pub(super) fn new(columns: usize, bias: &[f32], weight: impl Fn(usize, usize) -> f32) -> Self {
        let panel = |first: usize, of: &dyn Fn(usize) -> f32| {
            Panel(std::array::from_fn(|part| std::array::from_fn(|row| of(first + part * VECTOR + row))))
        };
        let firsts = (0..bias.len()).step_by(PANEL);
        let places = firsts.clone().flat_map(|first| (0..columns).map(move |column| (first, column)));
        Self {
            columns,
            weights: places.map(|(first, column)| panel(first, &|row| weight(row, column))).collect(),
            bias: firsts.map(|first| panel(first, &|row| bias[row])).collect(),
        }
    }

    /// Writes the products of all columns, none below `least`.
    pub(super) fn apply(&self, level: Level, input: &[f32], columns: Columns, output: &mut [f32], least: f32) {
        for (index, (weights, bias)) in self.weights.chunks_exact(self.columns).zip(&self.bias).enumerate() {
            let part = Part { weights, bias, least };
            let place = |place: Place, at: usize| {
                place.first + at / columns.per_lane * place.lane + at % columns.per_lane * place.step
            };
            let from = |at: usize| &input[place(columns.from, at)..][..self.columns];
            let to = |at: usize| place(columns.to, at) + index * PANEL;
            let mut at = 0;
            while at < columns.count {
                let left = columns.count - at;
                if left >= 4 {
                    let inputs = [from(at), from(at + 1), from(at + 2), from(at + 3)];
                    part.write(level, inputs, output, [to(at), to(at + 1), to(at + 2), to(at + 3)]);
                    at += 4;
                } else if left >= 2 {
                    part.write(level, [from(at), from(at + 1)], output, [to(at), to(at + 1)]);
                    at += 2;
                } else {
                    part.write(level, [from(at)], output, [to(at)]);
                    at += 1;
                }
            }
        }
    }
}

/// 64 rows of a layer.
#[derive(Clone, Copy)]
struct Part<'a> {
    weights: &'a [Panel],
    bias: &'a Panel,
    least: f32,
}

impl Part<'_> {
    /// Writes the products of `N` columns: they share the reading of the weights.
    fn write<const N: usize>(&self, level: Level, inputs: [&[f32]; N], output: &mut [f32], to: [usize; N]) {
        let sums = dispatch!(level, simd => self.products(simd, inputs));
        for (sums, to) in sums.iter().zip(to) {
            for (output, sums) in output[to..][..PANEL].chunks_exact_mut(VECTOR).zip(&sums.0) {
                output.copy_from_slice(sums);
            }
        }
    }

    #[inline(always)]
    fn products<S: Simd, const N: usize>(&self, simd: S, inputs: [&[f32]; N]) -> [Panel; N] {
        let mut products = [Panel([[0.0; VECTOR]; 4]); N];
        // As many sums as there are registers for: 32 of a whole vector, or 16 of half of one or less.
        if N == 1 || is_wide(simd.level()) {
            self.sum::<S, N, 4>(simd, inputs, 0, &mut products);
        } else {
            for first in 0..4 {
                self.sum::<S, N, 1>(simd, inputs, first, &mut products);
            }
        }
        products
    }

    #[inline(always)]
    fn sum<S: Simd, const N: usize, const G: usize>(
        &self,
        simd: S,
        mut inputs: [&[f32]; N],
        first: usize,
        products: &mut [Panel; N],
    ) {
        let mut sums = [[f32x16::splat(simd, 0.0); G]; N];
        for sums in &mut sums {
            for (group, sum) in sums.iter_mut().enumerate() {
                *sum = f32x16::load_array_ref(simd, &self.bias.0[first + group]);
            }
        }
        for input in &mut inputs {
            *input = &input[..self.weights.len()];
        }
        for (column, weights) in self.weights.iter().enumerate() {
            let Some(weights) = weights.0[first..].first_chunk::<G>() else { continue };
            for n in 0..N {
                let value = f32x16::splat(simd, inputs[n][column]);
                for group in 0..G {
                    sums[n][group] += f32x16::load_array_ref(simd, &weights[group]) * value;
                }
            }
        }
        let least = f32x16::splat(simd, self.least);
        for (product, sums) in products.iter_mut().zip(sums) {
            for (group, sum) in sums.into_iter().enumerate() {
                sum.max(least).store_array(&mut product.0[first + group]);
            }
        }
    }
}

/// Whether a register holds a whole vector.
#[inline(always)]
fn is_wide(level: Level) -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return matches!(level, Level::Avx512(_));
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    return false;
}
