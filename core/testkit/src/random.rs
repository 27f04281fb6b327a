//! Randomness that depends on nothing but its names: the same seed and the same path give the same number, in whatever
//! order they are asked for.

use std::time::Duration;

/// The step of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output function of SplitMix64.
pub(crate) fn mix(state: u64) -> u64 {
    let mut mixed = state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A place in the tree of all random numbers of a seed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Dice(u64);

impl Dice {
    /// The root of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed ^ GOLDEN))
    }

    /// The branch of that number.
    #[must_use]
    pub fn at(self, branch: u64) -> Self {
        Self(mix(self.0.wrapping_add(branch.wrapping_add(1).wrapping_mul(GOLDEN))))
    }

    /// This place's number.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The number of a branch, in `0..end`.
    pub fn below(self, branch: u64, end: u64) -> u64 {
        self.at(branch).0 % end.max(1)
    }

    /// Whether a branch's chance of so many in a thousand comes true.
    pub fn chance(self, branch: u64, per_mille: u64) -> bool {
        self.below(branch, 1_000) < per_mille
    }

    /// A duration of a branch, in whole milliseconds from `least` to `most`.
    pub fn millis(self, branch: u64, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(branch, most.saturating_sub(least) + 1))
    }

    /// One of `items`, which must not be empty.
    pub fn pick<T: Copy>(self, branch: u64, items: &[T]) -> T {
        let index = self.below(branch, items.len() as u64);
        items[usize::try_from(index).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_number() {
        let dice = Dice::new(7);
        assert_eq!(dice.at(1).at(2), Dice::new(7).at(1).at(2));
        assert_ne!(dice.at(1).at(2), dice.at(2).at(1));
        assert_ne!(dice.at(0), Dice::new(8).at(0));
        let hits = (0..10_000).filter(|branch| dice.chance(*branch, 250)).count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
        assert!((0..1_000).all(|branch| (5..=9).contains(&(dice.millis(branch, 5, 9).as_millis()))));
    }
}
