//! Magnitudes of the spectra of several frames at once: a Fourier transform of real samples whose every number is a vector,
//! one element a frame.

use std::f64::consts::TAU;

use super::super::simd::{Level, dispatch};

/// Frames in a window.
pub(super) const FRAMES: usize = 4;

/// The largest transform: complex numbers for 256 real samples.
const POINTS_MAX: usize = 128;

/// One number of each of `L` frames.
type Vector<const L: usize> = [f32; L];

/// Of Hann windows of so many samples.
#[derive(Clone, Debug)]
pub(super) struct Spectrum {
    /// The window, sample by sample.
    hann: Vec<f32>,
    /// `e^(-2 pi i k / length)` for `k` up to half the length.
    roots: Vec<(f32, f32)>,
    /// Where each complex number goes before the first stage.
    order: Vec<usize>,
}

impl Spectrum {
    /// For frames of `length` samples, a power of two up to 256.
    pub(super) fn new(length: usize) -> Self {
        let points = length / 2;
        let bits = points.trailing_zeros();
        let angle = |index: usize| TAU * index as f64 / length as f64;
        Self {
            hann: (0..length).map(|index| (0.5 - 0.5 * angle(index).cos()) as f32).collect(),
            roots: (0..=points).map(|index| (angle(index).cos() as f32, -angle(index).sin() as f32)).collect(),
            order: (0..points).map(|index| index.reverse_bits() >> (usize::BITS - bits)).collect(),
        }
    }

    /// Samples in a frame; the next begins half a frame later.
    pub(super) fn length(&self) -> usize {
        self.hann.len()
    }

    /// Numbers in a spectrum.
    pub(super) fn bins(&self) -> usize {
        self.length() / 2 + 1
    }

    /// The largest difference between a row of `basis`, cosines first and then negative sines, and what is computed here.
    pub(super) fn distance(&self, basis: &[f32]) -> f32 {
        let length = self.length();
        let mut largest = 0.0_f32;
        for (row, basis) in basis.chunks_exact(length).enumerate() {
            let bin = row % self.bins();
            for (index, (value, hann)) in basis.iter().zip(&self.hann).enumerate() {
                let (sin, cos) = (TAU * ((bin * index) % length) as f64 / length as f64).sin_cos();
                let expected = f64::from(*hann) * if row < self.bins() { cos } else { -sin };
                largest = largest.max((f64::from(*value) - expected).abs() as f32);
            }
        }
        largest
    }

    /// Writes the magnitudes of `L` frames; `frame` says where each begins in `samples`, `bin` where its spectrum goes.
    pub(super) fn magnitudes<const L: usize>(
        &self,
        level: Level,
        samples: &[f32],
        frame: impl Fn(usize) -> usize,
        magnitudes: &mut [f32],
        bin: impl Fn(usize) -> usize,
    ) {
        let points = self.order.len();
        let (mut re, mut im) = ([[0.0; L]; POINTS_MAX], [[0.0; L]; POINTS_MAX]);
        for lane in 0..L {
            let frame = &samples[frame(lane)..][..self.length()];
            for ((pair, hann), to) in frame.chunks_exact(2).zip(self.hann.chunks_exact(2)).zip(&self.order) {
                re[*to][lane] = pair[0] * hann[0];
                im[*to][lane] = pair[1] * hann[1];
            }
        }
        let mut spectrum = [[0.0; L]; POINTS_MAX + 1];
        dispatch!(level, _simd => {
            self.transform(&mut re[..points], &mut im[..points]);
            self.join(&re[..points], &im[..points], &mut spectrum);
        });
        for lane in 0..L {
            let magnitudes = &mut magnitudes[bin(lane)..][..points + 1];
            for (to, value) in magnitudes.iter_mut().zip(&spectrum) {
                *to = value[lane];
            }
        }
    }

    /// In place, in the order of [`Spectrum::order`].
    #[inline(always)]
    fn transform<const L: usize>(&self, re: &mut [Vector<L>], im: &mut [Vector<L>]) {
        let points = re.len();
        let mut half = 1;
        while half < points {
            let stride = self.length() / (2 * half);
            let groups = re.chunks_exact_mut(2 * half).zip(im.chunks_exact_mut(2 * half));
            for (re, im) in groups {
                let ((re, re_high), (im, im_high)) = (re.split_at_mut(half), im.split_at_mut(half));
                let (low, high) = (re.iter_mut().zip(im), re_high.iter_mut().zip(im_high));
                for ((low, high), root) in low.zip(high).zip(self.roots.iter().step_by(stride)) {
                    butterfly(low, high, *root);
                }
            }
            half *= 2;
        }
    }

    /// The magnitudes of real samples, of the transform that took even samples for real and odd ones for imaginary parts.
    #[inline(always)]
    fn join<const L: usize>(&self, re: &[Vector<L>], im: &[Vector<L>], spectrum: &mut [Vector<L>]) {
        let points = re.len();
        for (index, (bin, (cos, sin))) in spectrum.iter_mut().zip(&self.roots).enumerate() {
            let (low, high) = (index % points, (points - index) % points);
            let (low, high) = ((&re[low], &im[low]), (&re[high], &im[high]));
            for lane in 0..L {
                let even = (low.0[lane] + high.0[lane], low.1[lane] - high.1[lane]);
                let odd = (low.1[lane] + high.1[lane], high.0[lane] - low.0[lane]);
                let re = even.0 + (odd.0 * cos - odd.1 * sin);
                let im = even.1 + (odd.0 * sin + odd.1 * cos);
                bin[lane] = 0.5 * (re * re + im * im).sqrt();
            }
        }
    }
}

#[inline(always)]
fn butterfly<const L: usize>(
    low: (&mut Vector<L>, &mut Vector<L>),
    high: (&mut Vector<L>, &mut Vector<L>),
    (cos, sin): (f32, f32),
) {
    for lane in 0..L {
        let (re, im) = (high.0[lane], high.1[lane]);
        let turned = (re * cos - im * sin, re * sin + im * cos);
        (high.0[lane], high.1[lane]) = (low.0[lane] - turned.0, low.1[lane] - turned.1);
        (low.0[lane], low.1[lane]) = (low.0[lane] + turned.0, low.1[lane] + turned.1);
    }
}
