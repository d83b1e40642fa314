//! Seeded random numbers: the same seed is the same traffic.

use std::f64::consts::TAU;

/// `SplitMix64` (Steele et al. 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut dice = Self(seed);
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in (0, 1).
    pub fn unit(&mut self) -> f64 {
        let high = u32::try_from(self.next() >> 32).unwrap_or(0);
        (f64::from(high) + 0.5) / (f64::from(u32::MAX) + 1.0)
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// One of `sides`, from 0 on.
    pub fn roll(&mut self, sides: usize) -> usize {
        let sides = u64::try_from(sides.max(1)).unwrap_or(1);
        usize::try_from(self.next() % sides).unwrap_or(0)
    }

    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (TAU * self.unit()).cos()
    }

    /// Exponential with this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.unit().ln()
    }

    /// How many events come where `mean` are expected.
    pub fn poisson(&mut self, mean: f64) -> f64 {
        if mean <= 0.0 {
            return 0.0;
        }
        if mean > 50.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let (floor, mut product, mut count) = ((-mean).exp(), self.unit(), 0.0);
        while product > floor {
            product *= self.unit();
            count += 1.0;
        }
        count
    }

    /// How many of `n` events happen, each with probability `p`.
    pub fn binomial(&mut self, n: f64, p: f64) -> f64 {
        if p <= 0.0 || n <= 0.0 {
            return 0.0;
        }
        if p > 0.5 {
            return if p >= 1.0 { n } else { n - self.binomial(n, 1.0 - p) };
        }
        if n * p > 30.0 {
            let spread = (n * p * (1.0 - p)).sqrt();
            return (n * p + spread * self.normal()).round().clamp(0.0, n);
        }
        // From one success to the next.
        let per_step = (1.0 - p).ln();
        let (mut at, mut count) = (0.0, 0.0);
        loop {
            at += (self.unit().ln() / per_step).floor() + 1.0;
            if at > n {
                return count;
            }
            count += 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_means_are_those_asked_for() {
        let mut dice = Dice::new(7);
        for (n, p) in [(10.0, 0.02), (400.0, 0.3), (50.0, 0.9), (3.0, 1.0)] {
            let mean = (0..4000).map(|_| dice.binomial(n, p)).sum::<f64>() / 4000.0;
            assert!((mean - n * p).abs() < 0.05 * (n * p) + 0.02, "{n} {p}: {mean}");
        }
        for mean in [0.1, 5.0, 300.0] {
            let drawn = (0..4000).map(|_| dice.poisson(mean)).sum::<f64>() / 4000.0;
            assert!((drawn - mean).abs() < 0.05 * mean + 0.02, "{mean}: {drawn}");
        }
    }
}
