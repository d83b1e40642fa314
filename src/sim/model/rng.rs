//! A small seeded generator (`SplitMix64`, Steele et al. 2014): the same fleet behaves the same way
//! on every run.

use jiff::Timestamp;

/// Crockford's base 32, in which ULIDs are written.
const BASE32: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Numbers that look random and are the same for the same seed.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(in crate::sim) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to `sides` - 1; 0 when there are no sides.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.next().checked_rem(sides).unwrap_or(0)
    }

    /// Uniform in [0, 1).
    fn unit(&mut self) -> f64 {
        let high = u32::try_from(self.next() >> 32).unwrap_or(0);
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }

    /// How many of `n` events happen, each with probability `p`.
    pub(in crate::sim) fn binomial(&mut self, n: u64, p: f64) -> u64 {
        if p <= 0.0 || n == 0 {
            return 0;
        }
        if p >= 1.0 {
            return n;
        }
        let drawn = n.min(Self::DRAWN_MAX);
        let hits = (0..drawn).filter(|_| self.unit() < p).count();
        let hits = u64::try_from(hits).unwrap_or(0);
        // Beyond that many the share found stands for the rest.
        hits * n / drawn
    }

    const DRAWN_MAX: u64 = 5_000;

    /// A ULID: 26 characters, the first ten of which tell the time.
    pub(in crate::sim) fn ulid(&mut self, at: Timestamp) -> String {
        let time = u128::from(u64::try_from(at.as_millisecond()).unwrap_or(0)) << 80;
        let random = (u128::from(self.next()) << 64 | u128::from(self.next())) & ((1 << 80) - 1);
        let value = time | random;
        (0..26_u32)
            .rev()
            .map(|place| {
                let index = usize::try_from((value >> (place * 5)) & 31).unwrap_or(0);
                char::from(BASE32.get(index).copied().unwrap_or(b'0'))
            })
            .collect()
    }

    /// So many hex digits.
    pub(in crate::sim) fn hex(&mut self, digits: usize) -> String {
        let mut text = format!("{:016x}", self.next());
        text.truncate(digits);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_many_events_is_about_that_share_and_the_same_every_time() {
        let mut rng = Rng::new(7);
        let hits = rng.binomial(100_000, 0.2);
        assert!((19_000..21_000).contains(&hits), "{hits}");
        assert_eq!(Rng::new(7).binomial(100_000, 0.2), hits);
        assert_eq!((rng.binomial(5, 0.0), rng.binomial(5, 1.0)), (0, 5));
    }

    #[test]
    fn ulids_have_26_characters_and_sort_by_time() {
        let mut rng = Rng::new(1);
        let early = rng.ulid(Timestamp::from_millisecond(1_700_000_000_000).unwrap());
        let late = rng.ulid(Timestamp::from_millisecond(1_700_000_001_000).unwrap());
        assert_eq!(early.len(), 26);
        assert!(early < late);
    }
}
