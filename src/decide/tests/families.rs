//! Families of traffic, many seeds each: what becomes of healthy releases while something else goes
//! wrong, and how soon a bad one is undone. Requests are dice, seeded; everything else is the real thing.

use super::{
    stage::{Stage, put, ratio},
    *,
};
use crate::model::Well;

/// A small generator of one's own: the same numbers on every machine.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5EED)
    }

    /// From 0 to 1.
    pub(super) fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(self.0 >> 33).unwrap()) / f64::from(1_u32 << 31)
    }

    /// How many of the requests that come at this rate come in 2 s, and how many of them fail.
    pub(super) fn requests(&mut self, rate: f64, share: f64) -> (f64, f64) {
        let (mut n, mut k) = (0.0, 0.0);
        let mut time = -self.roll().max(1e-9).ln() / rate;
        while time < 2.0 {
            n += 1.0;
            k += f64::from(u8::from(self.roll() < share));
            time -= self.roll().max(1e-9).ln() / rate;
        }
        (n, k)
    }
}

pub(super) const MACHINES: [&str; 4] = ["m1", "m2", "m3", "m4"];

/// What a family does: requests a second of the whole app, how long its deploy takes, and what share
/// of the requests fails at which second since the deploy began, on the old release and the new one.
pub(super) struct Family<'a> {
    pub(super) rate: f64,
    pub(super) deploy: i64,
    pub(super) lasts: i64,
    pub(super) share: &'a dyn Fn(i64, bool) -> f64,
    /// Whether two apps that nobody deployed serve well all the while.
    pub(super) neighbours: bool,
}

/// What became of a release.
#[derive(Debug, PartialEq)]
pub(super) struct Became {
    /// When its rollback began, in seconds since the deploy did.
    pub(super) undone: Option<i64>,
    pub(super) holds: usize,
    pub(super) trusted: bool,
}

impl Family<'_> {
    pub(super) fn play(&self, seed: u64) -> Became {
        self.play_with(seed, |_| {})
    }

    pub(super) fn play_with(&self, seed: u64, set: impl Fn(&mut Stage)) -> Became {
        let mut dice = Dice::new(seed);
        let mut stage = Stage::trusted(&MACHINES);
        stage.policy.thresholds = vec![ratio()];
        stage.policy.watch.bake = Duration::from_secs(600);
        set(&mut stage);
        for _ in 0..45 {
            self.look(&mut stage, &mut dice, -1);
        }
        let began = stage.second;
        stage.announce(2, "sha256:2");
        let running = crate::model::ReleaseStatus::Running;
        stage.ledger.as_mut().unwrap()[0].status = running;
        let mut left: Vec<&str> = MACHINES.to_vec();
        let each = self.deploy / 4;
        while stage.second < began + self.lasts {
            let since = stage.second - began;
            while !left.is_empty() && since >= each * (4 - i64::try_from(left.len()).unwrap()) {
                let id = left.remove(0);
                let now = at(stage.second);
                put(stage.machine(id), 2, "sha256:2", now);
            }
            if left.is_empty() {
                stage.ledger.as_mut().unwrap()[0].status = crate::model::ReleaseStatus::Complete;
            }
            self.look(&mut stage, &mut dice, since);
            if matches!(stage.state.phase, Phase::RollingBack(_)) {
                break;
            }
        }
        let undone = matches!(stage.state.phase, Phase::RollingBack(_));
        Became {
            undone: undone.then_some(stage.second - began),
            holds: stage.told(EventKind::HoldPlaced).len(),
            trusted: stage.told(EventKind::ReleaseTrusted).len() > 1,
        }
    }

    fn look(&self, stage: &mut Stage, dice: &mut Dice, since: i64) {
        let new = |id: &str| {
            let machine = stage.machines.iter().find(|machine| machine.id.as_str() == id);
            machine.unwrap().release == Some(ReleaseVersion(2))
        };
        stage.serves = MACHINES
            .iter()
            .map(|id| {
                let (n, k) = dice.requests(self.rate / 4.0, (self.share)(since, new(id)));
                (*id, n, k)
            })
            .collect();
        let seen = at(stage.second - 2);
        if self.neighbours {
            let well = Well { since: [("iad".into(), seen)].into() };
            stage.org.well = ["shop", "blog"].map(|app| (AppName::new(app), well.clone())).into();
        }
        stage.look();
    }

    /// Of how many of `runs` runs this is so.
    pub(super) fn count(&self, runs: u64, is: impl Fn(&Became) -> bool) -> usize {
        (0..runs).filter(|seed| is(&self.play(*seed))).count()
    }

    /// Median and 95th percentile of the seconds from `from` until it is undone, and how many are.
    pub(super) fn delays(&self, runs: u64, from: i64) -> (usize, i64, i64) {
        let mut found: Vec<i64> =
            (0..runs).filter_map(|seed| Some(self.play(seed).undone? - from)).collect();
        found.sort_unstable();
        let at = |part: usize| found.get(found.len() * part / 100).copied().unwrap_or(-1);
        (found.len(), at(50), at(95))
    }
}

fn outage(from: i64, seconds: i64, share: f64) -> impl Fn(i64, bool) -> f64 {
    move |second, _| if (from..from + seconds).contains(&second) { share } else { 0.003 }
}

fn undone(became: &Became) -> bool {
    became.undone.is_some()
}

/// Whatever all of the app's requests fail for: nothing else was there to be compared with.
#[test]
fn half_a_minute_of_outage_after_the_deploy_undoes_no_healthy_release() {
    for share in [0.3, 1.0] {
        let share = outage(120, 30, share);
        let family =
            Family { rate: 20.0, deploy: 60, lasts: 300, share: &share, neighbours: false };
        assert_eq!(family.count(40, undone), 0);
    }
}

#[test]
fn what_is_bad_from_the_start_needs_no_countdown_after_a_past_that_was_well() {
    let share = |_, new| if new { 0.3 } else { 0.003 };
    let family = Family { rate: 100.0, deploy: 0, lasts: 300, share: &share, neighbours: false };
    let (found, median, slowest) = family.delays(40, 0);
    assert!(found == 40 && median <= 20 && slowest <= 24, "{found}: {median} s, {slowest} s");
}

#[test]
fn what_breaks_late_is_undone_at_once_where_neighbours_are_well_and_after_the_countdown_elsewhere() {
    let share = |second, new| if new && second >= 120 { 0.3 } else { 0.003 };
    for (neighbours, least, most) in [(true, 15, 32), (false, 45, 62)] {
        let family = Family { rate: 100.0, deploy: 60, lasts: 300, share: &share, neighbours };
        let (found, median, slowest) = family.delays(40, 120);
        assert!(found == 40 && median >= least && slowest <= most, "{neighbours}: {median} {slowest}");
    }
}

#[test]
#[ignore = "figures"]
fn figures() {
    for (name, deploy, from) in [("in the deploy", 60, 25), ("after it", 60, 120), ("all at once", 0, 120)] {
        for share in [0.1, 0.3, 1.0] {
            for rate in [2.0, 20.0, 200.0] {
            let wrong = outage(from, 30, share);
            let family = Family { rate, deploy, lasts: from + 180, share: &wrong, neighbours: false };
            let runs = 60;
            println!("30 s outage {name}, {share}, {rate}/s: {} of {runs}", family.count(runs, undone));
            }
        }
    }
}
