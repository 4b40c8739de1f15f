//! Chance, for delays that must not be the same on every node: a seam, so that tests know it.

use std::hash::{BuildHasher as _, RandomState};

/// Numbers from 0 to 1. Nothing secret depends on them.
#[derive(Debug)]
pub(super) enum Chance {
    /// `SplitMix64` (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators").
    Random(u64),
    /// The same number each time.
    #[cfg(test)]
    Always(f64),
}

impl Default for Chance {
    /// Seeded by the system.
    fn default() -> Self {
        Self::Random(RandomState::new().hash_one(()))
    }
}

impl Chance {
    /// The next number, from 0 up to and without 1.
    pub(super) fn next(&mut self) -> f64 {
        let state = match self {
            Self::Random(state) => state,
            #[cfg(test)]
            Self::Always(number) => return *number,
        };
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let [high, low, ..] = (mixed ^ (mixed >> 31)).to_be_bytes();
        let [.., third, fourth] = mixed.to_le_bytes();
        f64::from(u32::from_be_bytes([high, low, third, fourth])) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_evenly_from_0_to_1() {
        let mut chance = Chance::Random(7);
        let mut tenths = [0_u32; 10];
        for _ in 0..100_000 {
            let number = chance.next();
            assert!((0.0..1.0).contains(&number));
            let tenth = (0..10).rfind(|tenth| number >= f64::from(*tenth) / 10.0).unwrap();
            tenths[usize::try_from(tenth).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (9_500..10_500).contains(count)), "{tenths:?}");
    }

    #[test]
    fn two_agents_do_not_draw_the_same() {
        assert_ne!(Chance::default().next().to_bits(), Chance::default().next().to_bits());
    }
}
