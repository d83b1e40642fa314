//! What must hold of releases that degrade after they were trusted, read from how their images behave,
//! and the course of the histories in which they do.

use std::collections::BTreeMap;

use super::{
    mishaps::Mishap,
    stage::{BAD, GOOD, NEWER, OLD, WELL, image},
    world::{What, World},
};
use crate::{
    decide::Transition,
    model::{Event, EventKind, OnBreach, Policy, Reason, reason::Degradation},
    sim::{Behaviour, Rng},
};

/// One in so many histories is one of these.
const ONE_IN: u64 = 5;
/// What lasts for less than a minute is not told; looks are up to so much apart.
const LASTS_LEAST_MS: u64 = 45_000;
/// What was counted speaks for so long after it.
const SPEAKS_FOR_MS: u64 = 60_000;
/// What fails again within this time may be taken for one degradation.
const ANOTHER_MS: u64 = 90_000;
/// Undisturbed, a degradation is told of after so long at the latest.
const TOLD_AFTER_MS: u64 = 240_000;
/// It has to be well for so long before that is told, and seen well for so long to be trusted anew.
const CALM_LEAST_MS: u64 = 110_000;
const BAKE_LEAST_MS: u64 = 54_000;
/// So many apps have to be well.
const WELL_MIN: usize = 2;
/// A neighbour that began to fail this long ago may not be known to do so.
const NEIGHBOUR_KNOWN_MS: u64 = 60_000;

/// What an image did.
#[derive(Clone, Copy, Debug)]
struct Episode {
    from: u64,
    until: Option<u64>,
    /// When it began again, as far as that is one with what was before; and the end of what was before.
    again: u64,
    before: Option<u64>,
}

impl Episode {
    /// Since when it has been well, apart from a moment that is too short to be told of.
    fn well_since(&self, t: u64) -> Option<u64> {
        let moment = self.until.unwrap_or(t).saturating_sub(self.again) < LASTS_LEAST_MS;
        if moment { self.before.or(self.until) } else { self.until }
    }
}

/// What was told, and is not over.
#[derive(Clone, Debug)]
struct Open {
    digest: String,
    revoked: bool,
}

/// One app's part in it.
#[derive(Debug, Default)]
pub struct LateTruth {
    /// All that fails is known here: nothing else makes anything fail.
    known: bool,
    /// What fails, by its digest: the last time.
    failing: BTreeMap<String, Episode>,
    open: Option<Open>,
    recovered_at: Option<(String, u64)>,
    /// Releases that were told of as trusted, and the image that the one at work replaced.
    trusted_at: BTreeMap<String, u64>,
    replaced: Option<String>,
    /// It came longer ago than a late release is undone.
    old: bool,
    /// How often it was told in the last episode.
    told: usize,
    /// From when on nothing disturbs it.
    calm_at: Option<u64>,
}

impl LateTruth {
    /// An image begins to fail, or is well again.
    fn fails(&mut self, t: u64, digest: String, begins: bool) {
        if begins {
            // What failed a moment ago, and does again, is one.
            let last = self.failing.get(&digest);
            let goes_on = |one: &&Episode| one.until.is_some_and(|until| t < until + ANOTHER_MS);
            let from = last.filter(goes_on).map_or(t, |one| one.from);
            let before = last.and_then(|one| one.until);
            self.failing.insert(digest, Episode { from, until: None, again: t, before });
            self.told = 0;
        } else if let Some(episode) = self.failing.get_mut(&digest) {
            episode.until = Some(t);
        }
    }

    /// Whether anything of it is known to fail.
    fn is_failing(&self, t: u64) -> bool {
        self.failing
            .values()
            .any(|one| one.until.is_none() && t >= one.from.saturating_add(NEIGHBOUR_KNOWN_MS))
    }

    /// Whether anything of it fails, or did until now.
    fn fails_at_all(&self, t: u64) -> bool {
        let until = |one: &Episode| one.until.map_or(u64::MAX, |until| until + SPEAKS_FOR_MS);
        self.failing.values().any(|one| t < until(one))
    }

    /// Whether what was told of is over.
    pub fn is_over(&self) -> bool {
        self.open.is_none()
    }

    /// Takes in what a step told; what is wrong with it. `well` and `ill` are the other apps by what they do.
    pub fn decided(
        &mut self,
        t: u64,
        (well, ill): (usize, usize),
        (policy, done): (&Policy, &Transition),
    ) -> Result<(), String> {
        if !self.known {
            return Ok(());
        }
        for event in &done.events {
            let digest = event.release.as_ref().map(|release| release.digest.to_string());
            let digest = digest.unwrap_or_default();
            match (event.kind, &event.reason) {
                (EventKind::ReleaseDegraded, Some(Reason::DegradesLate { late })) => {
                    self.degrades(t, &digest, (late, ill))?;
                    if late.stays.is_none() {
                        self.may_be_undone(t, &digest, (policy, well))?;
                    }
                }
                (EventKind::ReleaseRecovered, Some(Reason::WellAgain { .. })) => {
                    self.recovers(t, &digest)?;
                }
                (EventKind::ReleaseTrusted, _) => self.is_trusted(t, &digest)?,
                (EventKind::ReleaseDetected | EventKind::RollbackCompleted, _) => {
                    self.open = None;
                    self.recovered_at = None;
                }
                _ => {}
            }
        }
        let memory = &done.state.memory;
        let runs = memory.current.as_ref().map(|current| current.digest.as_str());
        if let Some(problem) = self.overdue(t, runs) {
            return Err(problem);
        }
        let good = memory.known_good().map(|good| good.revision.digest.to_string());
        match &self.open {
            Some(open) if open.revoked && good.as_ref() == Some(&open.digest) => {
                Err("late: what degrades is what would be gone back to".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn degrades(
        &mut self,
        t: u64,
        digest: &str,
        (late, ill): (&Degradation, usize),
    ) -> Result<(), String> {
        if let Some(open) =
            self.open.replace(Open { digest: digest.to_owned(), revoked: late.revoked })
        {
            return Err(format!("late: {digest} is told of, and {} was not over", open.digest));
        }
        self.told += 1;
        let Some(episode) = self.failing.get(digest) else {
            return Err(format!("late: {digest} is told of and is well"));
        };
        if episode.until.is_some_and(|until| t >= until + SPEAKS_FOR_MS) {
            return Err(format!("late: {digest} is told of and was well again"));
        }
        if t < episode.from + LASTS_LEAST_MS {
            return Err(format!("late: {digest} is told of at once"));
        }
        if !late.revoked && ill < WELL_MIN {
            return Err(format!("late: {digest} keeps its trust"));
        }
        Ok(())
    }

    fn recovers(&mut self, t: u64, digest: &str) -> Result<(), String> {
        if self.open.take().is_none_or(|open| open.digest != digest) {
            return Err(format!("late: {digest} recovers, and was not told of"));
        }
        self.recovered_at = Some((digest.to_owned(), t));
        match self.failing.get(digest).and_then(|one| one.well_since(t)) {
            Some(until) if t >= until + CALM_LEAST_MS => Ok(()),
            until => Err(format!("late: {digest} recovers, and was well since {until:?}")),
        }
    }

    fn is_trusted(&mut self, t: u64, digest: &str) -> Result<(), String> {
        self.trusted_at.insert(digest.to_owned(), t);
        if self.open.as_ref().is_some_and(|open| open.digest == digest) {
            return Err(format!("late: {digest} is trusted and degrades"));
        }
        match &self.recovered_at {
            Some((of, at)) if of == digest && t < at + BAKE_LEAST_MS => {
                Err(format!("late: {digest} is trusted {} ms after it recovered", t - at))
            }
            _ => Ok(()),
        }
    }

    /// A rollback of what is told of as degraded begins, to that image; `None`: it is of another kind.
    pub fn undoes(
        &mut self,
        t: u64,
        event: &Event,
        (policy, well): (&Policy, usize),
    ) -> Option<Result<(), String>> {
        let release = event.release.as_ref()?;
        let digest = release.digest.to_string();
        self.open.as_ref().filter(|open| open.digest == digest)?;
        let to = event.known_good.as_ref().map(|good| good.digest.to_string());
        let right = if to == self.replaced {
            self.may_be_undone(t, &digest, (policy, well))
        } else {
            Err(format!("late: {digest} is rolled back to {to:?}, which it did not replace"))
        };
        self.open = None;
        Some(right)
    }

    fn may_be_undone(
        &self,
        t: u64,
        digest: &str,
        (policy, well): (&Policy, usize),
    ) -> Result<(), String> {
        let problem = if policy.watch.late == OnBreach::Alert {
            "the policy only alerts"
        } else if self.old {
            "it came more than a day ago"
        } else if self.replaced.is_none() {
            "it replaced nothing"
        } else if well < WELL_MIN {
            "no two apps beside it are well"
        } else if !self.fails_at_all(t) {
            "it is well"
        } else {
            return Ok(());
        };
        Err(format!("late: {digest} is to be undone, and {problem}"))
    }

    /// Whether it had to be told of by now: undisturbed since `calm_at` it fails for long.
    fn overdue(&self, t: u64, runs: Option<&str>) -> Option<String> {
        let (digest, episode) =
            self.failing.iter().find(|(digest, _)| runs == Some(digest.as_str()))?;
        let since = episode.from.max(self.calm_at?);
        let late = self.open.is_none()
            && episode.until.is_none()
            && t >= since.saturating_add(TOLD_AFTER_MS);
        (late && self.told == 0 && self.trusted_at.contains_key(digest))
            .then(|| format!("late: {digest} fails for {} ms and is not told of", t - since))
    }
}

/// What makes more fail than what is chosen here, or keeps it from being seen for long.
fn is_apart(mishap: &Mishap) -> bool {
    use Mishap::{Denied, Host, Outage, Skew};
    matches!(mishap, Skew { .. } | Host { .. } | Outage { .. } | Denied { .. })
}

/// How a history goes on in which what was trusted degrades.
#[derive(Clone, Debug)]
pub struct LatePlan {
    /// A second release earns trust first.
    second: bool,
    pub begun: bool,
    dice: Rng,
}

impl LatePlan {
    /// One of these histories, by its seed; it may ask for other apps and another policy.
    pub fn of(seed: u64, policy: &mut Policy) -> Option<Self> {
        if !seed.is_multiple_of(ONE_IN) {
            return None;
        }
        let mut dice = Rng::new(seed ^ 0x1A7E);
        let second = dice.roll(4) > 0;
        if dice.roll(3) > 0 {
            policy.watch.late = OnBreach::Rollback;
        }
        Some(Self { second, begun: false, dice })
    }

    /// Whether its fleet has all the apps.
    pub fn has_neighbours(seed: u64) -> bool {
        seed.is_multiple_of(ONE_IN) && Rng::new(seed ^ 0x1A7F).roll(3) > 0
    }
}

impl World {
    /// Ships a second release, where there is one.
    pub fn ship_second(&mut self) {
        let Some(late) = &mut self.late else { return };
        late.begun = true;
        if late.second {
            let ship = Mishap::Ship { tag: GOOD, at_once: false, region: None };
            self.plan(self.t + 5_000, What::Mishap(0, Box::new(ship)));
        }
    }

    /// Whether all that is to be trusted is; what degrades then.
    pub fn is_second_trusted(&self) -> bool {
        let Some(late) = &self.late else { return true };
        let digest = self.digest(0, if late.second { GOOD } else { OLD });
        let memory = &self.courses[0].state.memory;
        let trusted = memory.newest_trusted().map(|one| one.revision.digest.to_string());
        trusted == Some(digest) && memory.vigil.watch().is_some()
    }

    fn digest(&self, of: usize, tag: &str) -> String {
        let image = image(self.courses[of].app.as_str(), tag);
        self.sim.digest(&image).unwrap()
    }

    /// Chooses what degrades from now on, and what disturbs that; when it is over.
    pub fn plan_late(&mut self) -> u64 {
        let Some(mut late) = self.late.take() else { return self.t };
        let tag = if late.second { GOOD } else { OLD };
        let (old, good) = (self.digest(0, OLD), self.digest(0, GOOD));
        for course in &mut self.courses {
            course.truth.late.known = true;
        }
        let course = &mut self.courses[0];
        if late.second {
            course.truth.late.replaced = Some(old.clone());
        }
        course.truth.late.trusted_at.entry(if late.second { good } else { old }).or_insert(self.t);
        if late.dice.roll(6) == 0 {
            // It came yesterday.
            course.truth.late.old = true;
            let yesterday = jiff::SignedDuration::from_hours(25);
            let since = course.state.memory.current_since.map(|at| at - yesterday);
            course.state.memory.current_since = since;
        }
        let all = late.dice.roll(5) == 0;
        let mut at = self.t + 5_000;
        for _ in 0..1 + late.dice.roll(3) {
            let percent = [30, 60, 100][usize::try_from(late.dice.roll(3)).unwrap()];
            let lasts = match late.dice.roll(4) {
                0 => 20_000,
                _ => 100_000 + late.dice.roll(300_000),
            };
            let of =
                |begins| Mishap::Degrades { tag, percent: if begins { percent } else { 0 }, all };
            self.plan(at, What::Mishap(0, Box::new(of(true))));
            self.plan(at + lasts, What::Mishap(0, Box::new(of(false))));
            at += lasts + 30_000 + late.dice.roll(300_000);
        }
        let mut calm_at = self.t;
        // One image of a history is the bad one: what is undone late is it.
        let only_alerts = self.policy.watch.late == OnBreach::Alert;
        let ships = late.dice.roll(6) == 0 && only_alerts;
        if ships {
            let tag = [BAD, NEWER][usize::try_from(late.dice.roll(2)).unwrap()];
            let when = self.t + late.dice.roll(at - self.t);
            let ship = Mishap::Ship { tag, at_once: late.dice.roll(2) == 0, region: None };
            self.plan(when, What::Mishap(0, Box::new(ship)));
            self.courses[0].truth.meddled = true;
        }
        for _ in 0..late.dice.roll(4) {
            let (mishap, end) = Mishap::any(&mut late.dice);
            if !mishap.is_passing() || is_apart(&mishap) {
                continue;
            }
            let when = self.t + late.dice.roll(at - self.t);
            calm_at = calm_at.max(when + mishap.lasts_ms());
            self.plan(when, What::Mishap(0, Box::new(mishap)));
            if let Some((later, end)) = end {
                calm_at = calm_at.max(when + later);
                self.plan(when + later, What::Mishap(0, Box::new(end)));
            }
        }
        self.courses[0].truth.late.calm_at = (!ships).then_some(calm_at + 60_000);
        calm_at.max(at) + 5_000
    }

    /// An image, or that of all apps, begins to fail or is well again.
    pub fn degrades(&mut self, tag: &str, percent: u32, all: bool) {
        for of in 0..self.courses.len() {
            let tags: &[&str] = match (of, all) {
                (0, _) => &[tag],
                (_, true) => &WELL,
                (_, false) => continue,
            };
            for tag in tags {
                let digest = self.digest(of, tag);
                let image = image(self.courses[of].app.as_str(), tag);
                let share = f64::from(percent) / 100.0;
                self.sim.set_behaviour(&image, Behaviour::errors(share)).unwrap();
                self.courses[of].truth.late.fails(self.t, digest, percent > 0);
            }
        }
    }

    /// How many other apps are well, and fail, by what their images do.
    pub fn beside(&self, of: usize) -> (usize, usize) {
        let others = self.courses.iter().enumerate().filter(|(number, _)| *number != of);
        let late = others.map(|(_, course)| &course.truth.late);
        let (failing, failed): (Vec<bool>, Vec<bool>) =
            late.map(|late| (late.is_failing(self.t), late.fails_at_all(self.t))).unzip();
        let well = failing.iter().filter(|failing| !**failing).count();
        (well, failed.iter().filter(|failed| **failed).count())
    }
}
