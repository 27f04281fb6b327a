//! Several voices as one.

use super::simd::{Level, Simd, dispatch, level};

/// Adds `other` to `sound`, as far as both reach; what is too loud clips.
pub fn add(sound: &mut [i16], other: &[i16]) {
    dispatch!(level(), simd => add_at(simd, sound, other));
}

/// Adds up the voices of a frame, and gives each party all of them but its own.
#[derive(Clone, Debug)]
pub struct Mixer {
    sums: Vec<i32>,
    level: Level,
}

impl Mixer {
    /// For frames of `samples`.
    pub fn new(samples: usize) -> Self {
        Self { sums: vec![0; samples], level: level() }
    }

    /// Begins a frame.
    pub fn clear(&mut self) {
        self.sums.fill(0);
    }

    /// Adds a voice; what is longer than the frame is left out. 65,536 voices fit.
    pub fn add(&mut self, voice: &[i16]) {
        dispatch!(self.level, simd => sum_at(simd, &mut self.sums, voice));
    }

    /// Writes the sum of all voices; what is too loud clips. Samples after the frame are silent.
    pub fn all(&self, out: &mut [i16]) {
        self.all_but(&[], out);
    }

    /// Writes the sum of all voices without `own`, one of those that were added.
    pub fn all_but(&self, own: &[i16], out: &mut [i16]) {
        dispatch!(self.level, simd => without_at(simd, &self.sums, own, out));
    }
}

#[inline(always)]
fn add_at<S: Simd>(_simd: S, sound: &mut [i16], other: &[i16]) {
    for (sample, other) in sound.iter_mut().zip(other) {
        *sample = sample.saturating_add(*other);
    }
}

#[inline(always)]
fn sum_at<S: Simd>(_simd: S, sums: &mut [i32], voice: &[i16]) {
    for (sum, sample) in sums.iter_mut().zip(voice) {
        *sum = sum.wrapping_add(i32::from(*sample));
    }
}

#[inline(always)]
fn without_at<S: Simd>(_simd: S, sums: &[i32], own: &[i16], out: &mut [i16]) {
    let length = sums.len().min(out.len());
    let (mixed, rest) = out.split_at_mut(length);
    rest.fill(0);
    let both = own.len().min(length);
    for ((sample, sum), own) in mixed.iter_mut().zip(sums).zip(own) {
        *sample = clip(sum.wrapping_sub(i32::from(*own)));
    }
    for (sample, sum) in mixed[both..].iter_mut().zip(&sums[both..]) {
        *sample = clip(*sum);
    }
}

#[inline(always)]
fn clip(sum: i32) -> i16 {
    sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::simd::levels;
    use super::*;

    #[test]
    fn each_party_hears_the_others() {
        let (a, b, c) = ([100, 200, 300], [-1, -2, -3], [30_000, 30_000, 30_000]);
        let mut mixer = Mixer::new(3);
        for _ in 0..2 {
            mixer.clear();
            [a, b, c].iter().for_each(|voice| mixer.add(voice));
            let mut heard = [7; 4];
            mixer.all_but(&c, &mut heard);
            assert_eq!(heard, [99, 198, 297, 0]);
            mixer.add(&c);
            mixer.all(&mut heard);
            assert_eq!(heard, [i16::MAX, i16::MAX, i16::MAX, 0]);
        }
    }

    proptest! {
        #[test]
        fn every_level_of_vectors_adds_alike(
            voices in prop::collection::vec(prop::collection::vec(any::<i16>(), 0..200), 1..5),
            frame in 0_usize..200,
        ) {
            let at = |voice: &[i16], n: usize| i32::from(voice.get(n).copied().unwrap_or(0));
            let limit = |sum: i32| sum.clamp(-32_768, 32_767) as i16;
            for level in levels() {
                let mut mixer = Mixer { level, ..Mixer::new(frame) };
                voices.iter().for_each(|voice| mixer.add(voice));
                let mut out = vec![1; frame];
                mixer.all_but(&voices[0], &mut out);
                for (n, sample) in out.iter().enumerate() {
                    prop_assert_eq!(*sample, limit(voices[1..].iter().map(|voice| at(voice, n)).sum()));
                }
                let mut sound = voices[0].clone();
                dispatch!(level, simd => add_at(simd, &mut sound, &voices[voices.len() - 1]));
                for (n, sample) in sound.iter().enumerate() {
                    prop_assert_eq!(*sample, limit(at(&voices[0], n) + at(&voices[voices.len() - 1], n)));
                }
            }
        }
    }
}
