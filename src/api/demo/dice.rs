//! Numbers that look random but depend only on the place for which they are asked. The same seed therefore makes the
//! same words, whatever the size of the batches. Secrets are never made from these numbers.

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Dice(u64);

impl Dice {
    /// The dice of a place. A place is a list of numbers, such as a seed, a tenant and a row.
    pub fn at(place: &[u64]) -> Self {
        let mut dice = Self(0);
        for part in place {
            dice.0 = dice.next() ^ part;
        }
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `end`, exclusive.
    pub fn below(&mut self, end: i64) -> i64 {
        let end = end.max(1).unsigned_abs();
        (self.next() % end).cast_signed()
    }

    pub fn percent(&mut self, chance: i64) -> bool {
        self.below(100) < chance
    }

    /// One element of a list, which must not be empty.
    pub fn one<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.next() % list.len() as u64).unwrap_or_default()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_its_numbers_and_keeps_them() {
        let rolls = |place: &[u64]| {
            let mut dice = Dice::at(place);
            (0..20).map(|_| dice.below(6)).collect::<Vec<_>>()
        };
        assert_eq!(rolls(&[1, 2, 3]), rolls(&[1, 2, 3]));
        let places = [rolls(&[1, 2, 3]), rolls(&[1, 3, 2]), rolls(&[2, 2, 3]), rolls(&[1, 2, 4]), rolls(&[1, 2])];
        assert!((1..places.len()).all(|n| !places[..n].contains(&places[n])), "{places:?}");
        assert!(places.concat().iter().all(|roll| (0..6).contains(roll)));
        assert!((0..6).all(|side| places.concat().contains(&side)));
    }
}
