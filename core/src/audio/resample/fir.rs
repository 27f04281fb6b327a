//! Between rates of a small ratio, such as those of telephony: a polyphase filter of finite length.
//!
//! The filter is a sinc in a Kaiser window, a Nyquist filter: of every so many weights all but one are zero, so that
//! up-sampling passes the samples that it was given as they are. Outputs of one phase are neighbours in a vector, which
//! adds up the weighted inputs in the same order whatever its width.

use std::f64::consts::PI;

use fearless_simd::prelude::*;

use super::super::simd::{Level, Simd, dispatch, level};

/// Greatest numerator or denominator of a ratio that is filtered so.
const FACTOR_MAX: usize = 6;
/// Groups of input worked off at once: 20 ms between 24 and 48 kHz.
const GROUPS_MAX: usize = 480;
/// Vectors of sums that are kept in registers.
const SUMS: usize = 10;
/// Samples of the widest vector, times [`SUMS`]: how far a read may pass the last group.
const SLACK: usize = 16 * SUMS;
/// Zero crossings of the sinc on each side, so that it falls by [`STOP_DB`] between 85 % and 115 % of the lower rate's
/// band (3.4 to 4.6 kHz at 8 kHz); even, so that the delay is a whole number of samples.
const CROSSINGS: usize = 24;
/// The same for the stage at the higher rate of two: its band begins to fold only far above what the other one leaves.
const CROSSINGS_RELAXED: usize = 10;
/// How far what is out of band is let down.
const STOP_DB: f64 = 110.0;

/// A stream from one rate to another in one or two stages.
#[derive(Debug)]
pub(super) struct Fir {
    first: Stage,
    second: Option<Stage>,
    between: Vec<f32>,
}

impl Fir {
    /// `None` when the ratio is not small.
    pub(super) fn new(from_hz: u32, to_hz: u32) -> Option<Self> {
        let divisor = common_divisor(from_hz, to_hz);
        let (up, down) = ((to_hz / divisor) as usize, (from_hz / divisor) as usize);
        if up.max(down) > FACTOR_MAX {
            return None;
        }
        let (first, second) = match (up, down) {
            (1, 4 | 6) => (Stage::new(1, down / 2, CROSSINGS_RELAXED), Some(Stage::new(1, 2, CROSSINGS))),
            (4 | 6, 1) => (Stage::new(2, 1, CROSSINGS), Some(Stage::new(up / 2, 1, CROSSINGS_RELAXED))),
            _ => (Stage::new(up, down, CROSSINGS), None),
        };
        let between = if second.is_some() { Vec::with_capacity(GROUPS_MAX * first.up) } else { Vec::new() };
        Some(Self { first, second, between })
    }

    /// In output samples.
    pub(super) fn delay(&self) -> usize {
        self.second
            .as_ref()
            .map_or(self.first.delay(), |second| self.first.delay() * second.up / second.down + second.delay())
    }

    pub(super) fn reset(&mut self) {
        self.first.reset();
        if let Some(second) = &mut self.second {
            second.reset();
        }
    }

    pub(super) fn process(&mut self, mut input: &[i16], output: &mut Vec<i16>) {
        while !input.is_empty() {
            let Some(second) = &mut self.second else {
                self.first.take(&mut input, output);
                continue;
            };
            self.between.clear();
            self.first.take(&mut input, &mut self.between);
            let mut between = &self.between[..];
            while !between.is_empty() {
                second.take(&mut between, output);
            }
        }
    }
}

/// What goes into a stage or comes out of it.
trait Sample: Copy + Default + Into<f32> {
    fn of(value: f32) -> Self;
}

impl Sample for i16 {
    #[inline(always)]
    fn of(value: f32) -> Self {
        super::sample_from(value)
    }
}

impl Sample for f32 {
    #[inline(always)]
    fn of(value: f32) -> Self {
        value
    }
}

/// Makes `up` samples of every `down`, which are a group.
#[derive(Debug)]
struct Stage {
    up: usize,
    down: usize,
    /// Weights on each side of the middle one, at `up` times the input's rate.
    reach: usize,
    /// Groups kept from before.
    history: usize,
    /// The input by its place in a group: `down` planes of `stride` samples.
    planes: Vec<f32>,
    stride: usize,
    /// Samples of a group that is not complete.
    begun: usize,
    /// The weights of each of the `up` phases.
    phases: Vec<Vec<Tap>>,
    /// The output by phase: `up` planes of `GROUPS_MAX + SLACK` samples.
    sums: Vec<f32>,
    level: Level,
}

/// One weight, and where its sample for the first new group stands in the planes.
#[derive(Clone, Copy, Debug)]
struct Tap {
    at: usize,
    weight: f32,
}

impl Stage {
    fn new(up: usize, down: usize, crossings: usize) -> Self {
        let period = up.max(down);
        let reach = crossings * period;
        let history = (2 * reach).div_ceil(up * down) + 1;
        let stride = history + GROUPS_MAX + SLACK;
        let scale = up as f64 / period as f64;
        let window = Kaiser::new(STOP_DB);
        let taps = |phase: usize| {
            let (oldest, newest) = ((phase * down) as i64 - 2 * reach as i64, (phase * down) as i64);
            let inputs = oldest.div_euclid(up as i64)..=newest.div_euclid(up as i64);
            let mut taps: Vec<Tap> = inputs
                .filter_map(|input| {
                    let distance = newest - reach as i64 - input * up as i64;
                    let weight = scale * sinc(distance, period) * window.at(distance as f64 / reach as f64);
                    let group = history.checked_add_signed(isize::try_from(input.div_euclid(down as i64)).ok()?)?;
                    let plane = input.rem_euclid(down as i64) as usize;
                    (weight != 0.0).then_some(Tap { at: plane * stride + group, weight: weight as f32 })
                })
                .collect();
            taps.sort_by_key(|tap| tap.at);
            taps
        };
        Self {
            up,
            down,
            reach,
            history,
            planes: vec![0.0; down * stride],
            stride,
            begun: 0,
            phases: (0..up).map(taps).collect(),
            sums: vec![0.0; up * (GROUPS_MAX + SLACK)],
            level: level(),
        }
    }

    fn delay(&self) -> usize {
        self.reach / self.down
    }

    fn reset(&mut self) {
        self.planes.fill(0.0);
        self.begun = 0;
    }

    /// Takes as much of the front of `input` as there is room for, and appends what it completes to `output`.
    fn take<A: Sample, B: Sample>(&mut self, input: &mut &[A], output: &mut Vec<B>) {
        let (head, tail) = input.split_at(input.len().min(GROUPS_MAX * self.down - self.begun));
        *input = tail;
        let groups = (self.begun + head.len()) / self.down;
        let start = output.len();
        output.resize(start + groups * self.up, B::default());
        let output = &mut output[start..];
        dispatch!(self.level, simd => self.work_off(simd, head, groups, output));
    }

    #[inline(always)]
    fn work_off<S: Simd, A: Sample, B: Sample>(&mut self, simd: S, input: &[A], groups: usize, output: &mut [B]) {
        self.load(input);
        for (taps, sums) in self.phases.iter().zip(self.sums.chunks_exact_mut(GROUPS_MAX + SLACK)) {
            convolve(simd, &self.planes, taps, groups, sums);
        }
        match self.up {
            1 => interleave::<1, B>(&self.sums, output),
            2 => interleave::<2, B>(&self.sums, output),
            3 => interleave::<3, B>(&self.sums, output),
            5 => interleave::<5, B>(&self.sums, output),
            _ => (),
        }
        self.forget(groups);
    }

    /// Puts `input` behind the history.
    #[inline(always)]
    fn load<A: Sample>(&mut self, input: &[A]) {
        let completing = (self.down - self.begun) % self.down;
        let (completing, whole) = input.split_at(completing.min(input.len()));
        for sample in completing {
            self.planes[self.begun * self.stride + self.history] = (*sample).into();
            self.begun += 1;
        }
        let first = self.history + usize::from(self.begun > 0);
        let planes = &mut self.planes[first..];
        match self.down {
            1 => deinterleave::<1, A>(whole, planes, self.stride),
            2 => deinterleave::<2, A>(whole, planes, self.stride),
            3 => deinterleave::<3, A>(whole, planes, self.stride),
            5 => deinterleave::<5, A>(whole, planes, self.stride),
            _ => (),
        }
        self.begun = (self.begun + whole.len()) % self.down;
    }

    /// Moves the last groups, and one that is not complete, to the front.
    #[inline(always)]
    fn forget(&mut self, groups: usize) {
        for plane in self.planes.chunks_exact_mut(self.stride) {
            plane.copy_within(groups..=groups + self.history, 0);
        }
    }
}

/// One phase of the output of `groups` groups; what follows in `sums` is of no use.
#[inline(always)]
fn convolve<S: Simd>(simd: S, planes: &[f32], taps: &[Tap], groups: usize, sums: &mut [f32]) {
    let lanes = S::f32s::LEN;
    let mut group = 0;
    while group < groups {
        if groups - group > lanes * SUMS / 2 {
            block::<S, SUMS>(simd, planes, taps, group, sums);
            group += lanes * SUMS;
        } else {
            block::<S, 1>(simd, planes, taps, group, sums);
            group += lanes;
        }
    }
}

#[inline(always)]
fn block<S: Simd, const N: usize>(simd: S, planes: &[f32], taps: &[Tap], group: usize, sums: &mut [f32]) {
    let lanes = S::f32s::LEN;
    let mut totals = [S::f32s::splat(simd, 0.0); N];
    for tap in taps {
        let weight = S::f32s::splat(simd, tap.weight);
        let window = &planes[tap.at + group..][..N * lanes];
        for (n, total) in totals.iter_mut().enumerate() {
            *total += S::f32s::from_slice(simd, &window[n * lanes..][..lanes]) * weight;
        }
    }
    let sums = &mut sums[group..][..N * lanes];
    for (n, total) in totals.iter().enumerate() {
        total.store_slice(&mut sums[n * lanes..][..lanes]);
    }
}

#[inline(always)]
fn deinterleave<const DOWN: usize, A: Sample>(input: &[A], planes: &mut [f32], stride: usize) {
    let (groups, rest) = input.as_chunks::<DOWN>();
    for place in 0..DOWN {
        let plane = &mut planes[place * stride..][..groups.len() + usize::from(place < rest.len())];
        for (slot, group) in plane.iter_mut().zip(groups) {
            *slot = group[place].into();
        }
        if let (Some(sample), Some(slot)) = (rest.get(place), plane.last_mut()) {
            *slot = (*sample).into();
        }
    }
}

#[inline(always)]
fn interleave<const UP: usize, B: Sample>(sums: &[f32], output: &mut [B]) {
    let groups = output.as_chunks_mut::<UP>().0;
    let planes: [&[f32]; UP] = std::array::from_fn(|phase| &sums[phase * (GROUPS_MAX + SLACK)..][..groups.len()]);
    for (n, group) in groups.iter_mut().enumerate() {
        for phase in 0..UP {
            group[phase] = B::of(planes[phase][n]);
        }
    }
}

/// Exactly zero at the crossings.
fn sinc(distance: i64, period: usize) -> f64 {
    if distance == 0 {
        return 1.0;
    }
    if distance % period as i64 == 0 {
        return 0.0;
    }
    let angle = PI * distance as f64 / period as f64;
    angle.sin() / angle
}

/// The window of Kaiser and Schafer (1980), by the attenuation that it gives.
struct Kaiser {
    beta: f64,
}

impl Kaiser {
    fn new(stop_db: f64) -> Self {
        Self { beta: 0.1102 * (stop_db - 8.7) }
    }

    /// From -1 to 1.
    fn at(&self, place: f64) -> f64 {
        if place.abs() > 1.0 {
            return 0.0;
        }
        bessel_i0(self.beta * (1.0 - place * place).sqrt()) / bessel_i0(self.beta)
    }
}

/// The modified Bessel function of the first kind and order zero, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for n in 1..=40 {
        term *= (x / 2.0 / f64::from(n)).powi(2);
        sum += term;
    }
    sum
}

fn common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::simd::levels;
    use super::*;

    #[test]
    fn small_ratios_have_a_filter_and_others_do_not() {
        for (from_hz, to_hz) in [(8_000, 48_000), (48_000, 8_000), (16_000, 24_000), (8_000, 40_000), (32_000, 8_000)] {
            assert!(Fir::new(from_hz, to_hz).is_some(), "{from_hz} -> {to_hz}");
        }
        assert!(Fir::new(44_100, 8_000).is_none() && Fir::new(8_000, 56_000).is_none());
    }

    #[test]
    fn up_sampling_passes_what_it_was_given() {
        let input: Vec<i16> = (0..1_000).map(|n| (n * 7_919 % 65_536 - 32_768) as i16).collect();
        for to_hz in [16_000, 24_000, 48_000] {
            let (mut fir, mut output) = (Fir::new(8_000, to_hz).unwrap(), Vec::new());
            fir.process(&input, &mut output);
            let up = to_hz as usize / 8_000;
            let passed: Vec<_> = output[fir.delay()..].iter().step_by(up).copied().collect();
            assert_eq!(passed, input[..passed.len()], "to {to_hz}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Bit for bit: the sums of plain loops over single samples, in the order of the weights.
        #[test]
        fn every_level_of_vectors_gives_the_same_bits(
            samples in prop::collection::vec(any::<i16>(), 0..1_500),
            (up, down) in prop::sample::select(vec![(1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2), (1, 5), (5, 3)]),
        ) {
            let expected = plainly(&mut Stage::new(up, down, CROSSINGS), &samples);
            for level in levels() {
                let mut stage = Stage { level, ..Stage::new(up, down, CROSSINGS) };
                let (mut input, mut output) = (&samples[..], Vec::<f32>::new());
                while !input.is_empty() {
                    stage.take(&mut input, &mut output);
                }
                prop_assert!(output == expected, "{:?}", level);
            }
        }
    }

    fn plainly(stage: &mut Stage, samples: &[i16]) -> Vec<f32> {
        let groups = samples.len() / stage.down;
        let mut output = Vec::new();
        for group in 0..groups {
            for taps in &stage.phases {
                let mut total = 0.0_f32;
                for tap in taps {
                    let (plane, at) = (tap.at / stage.stride, tap.at % stage.stride);
                    let sample = (group + at).checked_sub(stage.history).map(|group| group * stage.down + plane);
                    let sample = sample.and_then(|sample| samples.get(sample)).copied().unwrap_or(0);
                    total += f32::from(sample) * tap.weight;
                }
                output.push(total);
            }
        }
        output
    }
}
