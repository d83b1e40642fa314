//! Runs a family: so many lives on every core, and what they come to together.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use indicatif::ProgressBar;
use waveoff::decide::AppState;

use super::{
    dice::Dice,
    families::{Family, Nature},
    life::{self, ENDS, Lived},
    rules,
    scene::Scene,
};

/// How often the release before is learned anew: lives share what was learned.
const LEARNED: u32 = 8;

/// What one rule made of a family's lives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    pub rule: &'static str,
    /// Lives in which it undid the release: for a bad one only those after it became bad.
    pub undone: u32,
    /// Seconds from when it became bad until it was undone, in order.
    pub seconds: Vec<f64>,
    /// Lives in which it undid the release before that became bad.
    pub early: u32,
}

/// What came of a family's lives.
#[derive(Clone, Debug, Default)]
pub struct Result {
    pub name: &'static str,
    pub what: &'static str,
    pub nature: Option<Nature>,
    pub in_sample: bool,
    pub runs: u32,
    /// Waveoff first, then the usual rules.
    pub judged: Vec<Judged>,
    /// Lives in which Waveoff held, and in which it still did in the end.
    pub held: u32,
    pub held_in_the_end: u32,
    /// Lives in which it told of a degradation and undid nothing.
    pub told: u32,
    /// How long that took, in seconds.
    pub told_after: Vec<f64>,
    /// Lives in which the release was trusted after all.
    pub trusted: u32,
    /// Which of them Waveoff judged wrongly, counted from 0.
    pub wrong: Vec<u32>,
}

/// One life, as every rule judged it.
struct Life {
    began: Option<f64>,
    undone: Vec<Option<f64>>,
    held: bool,
    held_in_the_end: bool,
    told: Option<f64>,
    trusted: bool,
}

impl Life {
    /// Undone although it was well (yet), or not undone although it was bad.
    fn is_wrong(&self) -> bool {
        self.began
            .map_or(self.undone[0].is_some(), |began| self.undone[0].is_none_or(|at| at < began))
    }
}

pub fn family(family: &Family, runs: u32, seed: u64, bar: &ProgressBar) -> Result {
    let seed = seed_of(family, seed);
    let learned = parallel(LEARNED.min(runs.max(1)), |number| learned(family, seed, number));
    let lives = parallel(runs, |number| {
        let known = usize::try_from(number % LEARNED).unwrap_or(0);
        let life = one(family, seed, number, &learned[known]);
        bar.inc(1);
        life
    });
    sum_up(family, &lives)
}

/// One of a family's lives once more, and what befell it.
pub fn again(family: &Family, seed: u64, number: u32) -> (Scene, Lived) {
    let seed = seed_of(family, seed);
    live(family, seed, number, &learned(family, seed, number % LEARNED))
}

/// Families have traffic of their own.
fn seed_of(family: &Family, seed: u64) -> u64 {
    family
        .name
        .bytes()
        .fold(seed, |seed, byte| seed.wrapping_mul(1_099_511_628_211).wrapping_add(u64::from(byte)))
}

fn learned(family: &Family, seed: u64, number: u32) -> Vec<AppState> {
    let mut dice = Dice::new(seed ^ u64::from(number));
    life::learn(&(family.draw)(&mut dice), seed.wrapping_add(u64::from(number)))
}

fn live(family: &Family, seed: u64, number: u32, learned: &[AppState]) -> (Scene, Lived) {
    let seed = seed.wrapping_add(u64::from(number) << 20);
    let scene = (family.draw)(&mut Dice::new(seed));
    let lived = life::live(&scene, seed, learned);
    (scene, lived)
}

fn one(family: &Family, seed: u64, number: u32, learned: &[AppState]) -> Life {
    let (scene, lived) = live(family, seed, number, learned);
    let mut undone = vec![lived.undone];
    undone.extend(rules::judge(&lived.seconds));
    Life {
        began: scene.turns_bad(),
        undone,
        held: lived.held,
        held_in_the_end: lived.held_in_the_end,
        told: first_told(&lived, scene.turns_bad()),
        trusted: lived.trusted.is_some(),
    }
}

/// When people were told of one that was not undone; of a bad one, once it was bad.
fn first_told(lived: &Lived, bad: Option<f64>) -> Option<f64> {
    let told = lived.told.iter().filter(|_| lived.undone.is_none());
    told.copied().find(|at| bad.is_none_or(|bad| *at >= bad))
}

fn sum_up(family: &Family, lives: &[Life]) -> Result {
    let count = |is: &dyn Fn(&Life) -> bool| {
        u32::try_from(lives.iter().filter(|life| is(life)).count()).unwrap_or(u32::MAX)
    };
    let names = std::iter::once("Waveoff").chain(rules::NAMES);
    let judged = names.enumerate().map(|(number, rule)| {
        let mut judged = Judged { rule, ..Judged::default() };
        for life in lives {
            let Some(at) = life.undone[number] else { continue };
            match life.began {
                Some(began) if at < began => judged.early += 1,
                Some(began) => judged.seconds.push(at - began),
                None => judged.seconds.push(at),
            }
        }
        judged.undone = u32::try_from(judged.seconds.len()).unwrap_or(u32::MAX);
        judged.seconds.sort_by(f64::total_cmp);
        judged
    });
    Result {
        name: family.name,
        what: family.what,
        nature: Some(family.nature),
        in_sample: family.in_sample,
        runs: u32::try_from(lives.len()).unwrap_or(u32::MAX),
        judged: judged.collect(),
        held: count(&|life| life.held),
        held_in_the_end: count(&|life| life.held_in_the_end),
        told: count(&|life| life.told.is_some()),
        told_after: told_after(lives),
        trusted: count(&|life| life.trusted && life.undone[0].is_none()),
        wrong: (0..).zip(lives).filter(|(_, life)| life.is_wrong()).map(|(life, _)| life).collect(),
    }
}

/// Seconds until people were told of those that were not undone, in order.
fn told_after(lives: &[Life]) -> Vec<f64> {
    let after = lives.iter().filter_map(|life| Some(life.told? - life.began.unwrap_or(0.0)));
    let mut after: Vec<f64> = after.collect();
    after.sort_by(f64::total_cmp);
    after
}

/// Does it for 0, 1, 2… on every core; the answers in order.
fn parallel<T: Send>(count: u32, work: impl Fn(u32) -> T + Sync) -> Vec<T> {
    let next = AtomicU32::new(0);
    let done = Mutex::new(Vec::new());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let answer = work(number);
                    done.lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .push((number, answer));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, answer)| answer).collect()
}

/// The longest that a life is looked at, in minutes.
pub const LOOKED_AT_MIN: f64 = ENDS / 60.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families;

    /// Every family plays, and the plainest ones come out as they must.
    #[test]
    fn every_family_plays_and_the_plain_ones_come_out_right() {
        // Those that last a day take too long here.
        let lasts = |one: &Family| one.name.starts_with("day-") || one.name.starts_with("night-");
        for one in families::all().into_iter().filter(|one| !lasts(one)) {
            let runs = 2;
            let result = family(&one, runs, 1, &ProgressBar::hidden());
            assert_eq!(result.runs, runs, "{}", one.name);
            let undone = result.judged[0].undone;
            match one.name {
                "iid-10" | "iid-100" | "cold-start-100" | "shipped-deploy-outage-100" => {
                    assert_eq!(undone, 0, "{}", one.name);
                }
                "total-100" | "20%-100" | "checks-100" | "shipped-total-100" => {
                    assert_eq!(undone, runs, "{}", one.name);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn the_same_seed_is_the_same_result() {
        let bursts = families::all().into_iter().find(|one| one.name == "5%-late-10").unwrap();
        let judged = |seed| family(&bursts, 3, seed, &ProgressBar::hidden()).judged;
        assert_eq!(judged(5), judged(5));
        assert_ne!(judged(5), judged(6));
    }
}
