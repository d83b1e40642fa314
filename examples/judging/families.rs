//! Families of traffic: each a name, what it is in words, and scenes drawn by a seed.

use super::{bad, dice::Dice, healthy, scene::Scene};

/// What is expected of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// Nothing is wrong with the release.
    Healthy,
    /// Nothing is wrong with it, and counts alone cannot tell: it is shown, and not summed up.
    Exempt,
    Bad,
}

#[derive(Clone, Copy)]
pub struct Family {
    pub name: &'static str,
    pub nature: Nature,
    pub what: &'static str,
    /// The judging was tuned with scenes like these in sight; others are a check on it.
    pub in_sample: bool,
    pub draw: fn(&mut Dice) -> Scene,
}

/// Every family, the healthy ones first.
pub fn all() -> Vec<Family> {
    [healthy::FAMILIES, bad::FAMILIES].concat()
}

/// A moment at which something begins late: after the release settled, and within its bake.
pub fn late(dice: &mut Dice) -> f64 {
    dice.between(70.0, 600.0)
}

/// Any moment of half an hour.
pub fn any_moment(dice: &mut Dice) -> f64 {
    dice.between(0.0, 1800.0)
}
