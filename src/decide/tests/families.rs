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
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
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

/// Seeds that each family is played with.
fn runs(least: u64) -> u64 {
    let told = std::env::var("WAVEOFF_FAMILIES").ok();
    told.and_then(|told| told.parse().ok()).unwrap_or(least)
}

/// Whatever all of the app's requests fail for, in the deploy or after it, in some second of it.
#[test]
fn outages_undo_no_healthy_release() {
    // Where nothing else was there to see it, it is outlived by the countdown; the longer ones begin
    // while a machine still runs the release before.
    for (rate, lasting, latest) in [(1.0, 30, 60), (20.0, 30, 60), (100.0, 60, 40), (20.0, 600, 40)]
    {
        let mut wrong = 0;
        for seed in 0..runs(24) {
            let from = i64::try_from(seed * 7 % 60).unwrap() * latest / 60;
            let share = outage(from, lasting, [0.3, 1.0][usize::try_from(seed % 2).unwrap()]);
            let family = Family { rate, deploy: 60, lasts: 240, share: &share, neighbours: false };
            wrong += usize::from(undone(&family.play(seed)));
        }
        println!("outage of {lasting} s in the deploy, {rate}/s: {wrong} of {}", runs(24));
        assert!(wrong * 20 <= usize::try_from(runs(24)).unwrap(), "{rate}/s, {lasting} s: {wrong}");
    }
    for (share, rate) in [(0.3, 20.0), (1.0, 2.0), (1.0, 100.0)] {
        let outage = outage(120, 30, share);
        let family = Family { rate, deploy: 60, lasts: 260, share: &outage, neighbours: false };
        let wrong = family.count(runs(16), undone);
        println!("outage of 30 s after it, {share}, {rate}/s: {wrong} of {}", runs(16));
        assert!(wrong * 20 <= usize::try_from(runs(16)).unwrap(), "{share} {rate}/s: {wrong}");
    }
}

/// From when it is bad, what share of its requests fails then, and how fast they come; the seconds in
/// which half, and nearly all, of the releases are undone.
#[test]
fn bad_releases_are_undone_within_seconds() {
    let families = [
        // From the start, beside the one before.
        (0, 1.0, 100.0, 60, false, (18, 20)),
        (0, 0.2, 100.0, 60, false, (30, 40)),
        (0, 1.0, 1.0, 60, false, (50, 70)),
        // From the start, everywhere at once.
        (0, 1.0, 100.0, 0, false, (18, 20)),
        (0, 0.2, 100.0, 0, false, (26, 30)),
        // In the middle of the deploy, and after it.
        (30, 1.0, 100.0, 120, false, (26, 30)),
        (30, 0.2, 100.0, 120, false, (40, 46)),
        (120, 1.0, 100.0, 60, true, (24, 26)),
        (120, 0.2, 100.0, 60, true, (30, 36)),
        (120, 1.0, 100.0, 60, false, (54, 56)),
    ];
    for (from, bad, rate, deploy, neighbours, (half, most)) in families {
        let share = |second, new| if new && second >= from { bad } else { 0.003 };
        let lasts = from + 300;
        let family = Family { rate, deploy, lasts, share: &share, neighbours };
        let (found, median, slowest) = family.delays(runs(12), from);
        let which =
            format!("{bad} from {from} s on, {rate}/s, deploy {deploy} s, neighbours {neighbours}");
        println!("{which}: {found} of {}, {median} s, {slowest} s", runs(12));
        assert_eq!(found, usize::try_from(runs(12)).unwrap(), "{which}");
        assert!(median <= half && slowest <= most, "{which}: {median} s, {slowest} s");
    }
}
