//! Counted events: what ratio and latency have in common.

mod moments;
mod own;
mod reconcile;
mod verdict;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(super) use self::own::{absorb, failures, fits, judge, onset};
use super::{
    Round, Took,
    apart::Apart,
    beside::{Beside, is_read},
    blocks::Blocks,
    detect::{
        dispersion::{Dispersion, Minutes},
        ratio::{DEFAULT_PHI, RatioDetector, RatioSettings},
        recent::Recent,
    },
    onset::First,
    places::{Found, Places},
    probe::Failures,
    proof::Proof,
    series::{self, Series},
    signed,
    silent::{Answered, Silent},
};
use crate::model::{Alone, Belated, MachineId, Oddity, Origin, Raised, Region, Since, Tally};

/// A counting threshold's part of a watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// What is looked for: another question has other answers.
    question: String,
    detector: RatioDetector,
    /// What it counts minute by minute, which says how far its own counts spread.
    #[serde(default)]
    minutes: Minutes,
    /// How far those of the known-good release do.
    #[serde(default)]
    measured: Option<Dispersion>,
    /// The same region by region, and where a breach was found.
    #[serde(default)]
    places: Places,
    /// The same series by series, where that is asked for.
    #[serde(default)]
    series: Series,
    #[serde(default)]
    found: Option<Found>,
    /// The limit in force is not the written one.
    #[serde(default)]
    raised: Option<Raised>,
    /// All events so far, as the pages have them, and those that wait for what they are among.
    raw: Tally,
    waiting: Tally,
    /// There are more bad events than events: nothing is decided until they add up.
    inconsistent: bool,
    /// Why the last round's pages could not be judged.
    odd: Option<Oddity>,
    /// When the detector began anew (see `renew`).
    detecting_since: Timestamp,
    /// What lies before it is judged no more: detectors that begin later spread no stakes over it.
    #[serde(default)]
    anew_at: Option<Timestamp>,
    /// The release's first moments.
    #[serde(default)]
    first: First,
    /// The last rounds.
    recent: Recent,
    regions: BTreeMap<Region, Tally>,
    /// Machines that run the known-good release meanwhile.
    control: Tally,
    #[serde(default)]
    beside: Beside,
    /// Machines one by one, and the one that fails alone.
    #[serde(default)]
    apart: Apart,
    /// What it does not answer.
    #[serde(default)]
    silent: Silent,
    /// When the share rose above its limit, as the alarm saw it.
    #[serde(default)]
    risen_at: Option<Timestamp>,
    /// The last blocks, for people.
    #[serde(default)]
    blocks: Blocks,
    /// Why probes failed.
    #[serde(default)]
    failures: Failures,
}

impl Counted {
    pub fn new(question: String, (share, strict): (f64, bool), now: Timestamp) -> Self {
        Self {
            question,
            raw: Tally::default(),
            waiting: Tally::default(),
            inconsistent: false,
            odd: None,
            detector: RatioDetector::new(share, strict),
            minutes: Minutes::default(),
            measured: None,
            places: Places::default(),
            series: Series::default(),
            found: None,
            raised: None,
            detecting_since: now,
            anew_at: None,
            first: First::default(),
            recent: Recent::default(),
            regions: BTreeMap::new(),
            control: Tally::default(),
            beside: Beside::default(),
            apart: Apart::default(),
            silent: Silent::default(),
            risen_at: None,
            blocks: Blocks::default(),
            failures: Failures::default(),
        }
    }

    /// The limit in force, where `written` is what was written.
    fn limit(&self, written: f64) -> f64 {
        let raised = self.raised.as_ref().filter(|one| one.from.to_bits() == written.to_bits());
        raised.map_or(written, |raised| raised.to)
    }

    pub(super) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    pub(super) fn regions(&self) -> &BTreeMap<Region, Tally> {
        &self.regions
    }

    /// Whether the newest counts are clearly above the limit.
    pub(super) fn is_suspicious(&self) -> bool {
        self.recent.is_above(self.detector.p0())
    }

    /// What its requests say for it.
    pub(super) fn proof(&self) -> Proof {
        let (n, k) = self.detector.totals();
        Proof::of(Tally { n, k }, &self.recent, self.detector.p0())
    }

    /// When what is clearly above the limit now rose above it.
    pub(super) fn rose_at(&self) -> Option<Timestamp> {
        let is = self.found.is_some() || self.is_suspicious();
        self.accused().1.rose_at(self.detector.p0()).filter(|_| is)
    }

    /// Whether the breach is far less than it was.
    pub(super) fn is_easing(&self) -> bool {
        self.risen_at.is_some_and(|at| self.accused().1.is_easing(at))
    }

    /// What each machine answered before the release came.
    pub(super) fn expect(&mut self, usual: &BTreeMap<MachineId, Answered>) {
        self.silent.expect(usual);
    }

    /// What each machine answers.
    pub(super) fn usual(&self, now: Timestamp) -> BTreeMap<MachineId, Answered> {
        self.apart.usual(now)
    }

    /// The machine that fails alone, and is left out.
    pub(super) fn alone(&self) -> Option<&Alone> {
        self.apart.alone()
    }

    /// What the known-good release beside it shows of the same breach, where it fails as well.
    pub(super) fn control_alike(&self) -> Option<Tally> {
        self.beside.alike(self.detector.p0(), self.risen_at?)
    }

    /// Detects anew from now on; what was seen of the last rounds stays known.
    pub(super) fn go_on(&mut self, now: Timestamp) {
        self.begin_anew(now);
        self.detecting_since = now;
    }

    /// Whether the last half minute is above the limit by more than usual chance.
    pub(super) fn leans(&self) -> bool {
        self.recent.leans_above(self.detector.p0())
    }

    pub(super) fn forget_alarms(&mut self, now: Timestamp) {
        // What leans against it would be an alarm with the next block, however well it is by then.
        let leans = self.ln_odds().is_some_and(|odds| odds > 0.0);
        if self.found.is_some() || leans {
            self.begin_anew(now);
        }
        self.recent = Recent::default();
    }

    /// Judges by another limit from now on, where it is another.
    pub(super) fn raise(&mut self, raised: Option<&Raised>, written: f64, now: Timestamp) {
        if self.raised.as_ref() == raised {
            return;
        }
        self.raised = raised.cloned();
        let limit = raised.map_or(written, |raised| raised.to);
        let has_begun = self.detector.is_started();
        self.detector =
            RatioDetector::new(limit, self.detector.is_strict()).with_phi(self.detector.phi());
        if has_begun {
            self.begin_anew(now);
        }
    }

    /// Takes what was measured of the known-good release; a detector that has begun keeps what it
    /// began with.
    pub(super) fn measured(&mut self, measured: Option<Dispersion>) {
        self.measured = measured.or(self.measured);
        if !self.detector.is_started() {
            self.detector = self.detector.anew().with_phi(self.phi());
        }
    }

    fn phi(&self) -> f64 {
        self.measured.map_or(DEFAULT_PHI, |measured| measured.phi)
    }

    /// How many failures count as one, and where that was measured.
    pub(super) fn bundles(&self) -> (f64, Option<Dispersion>) {
        (self.detector.phi(), self.measured)
    }

    /// How far its own counts spread.
    pub(super) fn dispersion(&self, now: Timestamp) -> Option<Dispersion> {
        self.minutes.dispersion(now)
    }

    /// ln E of the whole and its regions together.
    fn ln_odds(&self) -> Option<f64> {
        self.detector.ln_odds().map(|whole| self.places.with(whole))
    }

    /// The counts, and the last rounds, of what breaches: a region, where only that does.
    fn accused(&self) -> (&RatioDetector, &Recent) {
        match &self.found {
            Some(Found::In(region)) => self
                .places
                .get(region)
                .map_or((&self.detector, &self.recent), |one| (&one.detector, &one.recent)),
            Some(Found::Alone(series)) => self
                .series
                .get(series)
                .map_or((&self.detector, &self.recent), |one| (&one.detector, &one.recent)),
            Some(Found::Whole | Found::Silent) | None => (&self.detector, &self.recent),
        }
    }

    fn begin_anew(&mut self, now: Timestamp) {
        self.anew_at = Some(now);
        self.detector = self.detector.anew().with_phi(self.phi());
        self.detector.start(now);
        self.places.begin_anew();
        self.series.begin_anew();
        self.found = None;
        self.first.is_over();
        self.beside.begin_anew();
        self.silent.begin_anew();
        self.risen_at = None;
        self.failures = Failures::default();
    }

    fn absorb(
        &mut self,
        name: &str,
        round: &Round<'_>,
        (origin, by): (&Origin, &[String]),
    ) -> Took {
        let mut took = Took::default();
        let mut release = Tally::default();
        let pages = round.on.iter().filter_map(|look| look.readings);
        self.odd = pages.filter_map(|page| page.oddities.get(name)).next().cloned();
        self.apart.look(round.on, self.detector.p0());
        for look in round.on {
            let Some(count) = look.readings.and_then(|readings| readings.counts.get(name)) else {
                continue;
            };
            if count.since == Since::ProcessStart && !look.past_counts {
                continue;
            }
            self.apart.add(look.machine, round.now, count.n, count.k.min(count.n));
            if self.apart.has(look.machine) {
                continue;
            }
            let started = look.machine.started_at.unwrap_or(look.machine.updated_at);
            let began = self.began(started, round);
            let Some(fed) = self.reconcile(count) else { continue };
            self.detector.start(began);
            let young = !round.learning && moments::is_young(started, origin, round.now);
            if young {
                self.detector.add_young(fed.n, fed.k);
            } else {
                self.detector.add(fed.n, fed.k);
            }
            let failure = look.readings.and_then(|readings| readings.failures.get(name));
            if let Some(failure) = failure {
                self.failures.note(*failure);
            }
            let region = &look.machine.region;
            self.regions.entry(region.clone()).or_default().add(fed.n, fed.k);
            self.places.add(region, (began, round.now), (fed, young), &self.detector);
            if let Some(parts) = series::of(look, name).filter(|_| !by.is_empty()) {
                self.series.add((parts, young), round.now, &self.detector);
            }
            if count.since == Since::LastScrape {
                release.add(fed.n, fed.k);
            }
            if fed.n > 0.0 {
                took.events = true;
                self.recent.add(round.now, fed.n, fed.k);
                self.minutes.add(round.now, fed.n, fed.k);
                self.first.add(round.now, fed.n, fed.k, signed(origin.every));
            }
        }
        let control = beside_it(round, name);
        let mut settings = round.policy.settings_for(round.span, origin);
        let each = (!by.is_empty()).then_some(settings);
        if each.is_some() {
            settings = series::of_whole(&settings);
        }
        let compared = is_read(round.on) && round.has_control(origin);
        if compared {
            self.series.compare(name, round);
        }
        self.compare(round, &settings, compared.then_some((release, control)));
        self.silent.add((name, origin), round, &settings);
        self.renew(&settings, round.now);
        // Before this round's alarm: that has to be seen first.
        took.forgave = self.forgive(round);
        // Its first block begins with its first process, not with the first look.
        took.closed = self.detector.is_started() && self.close_if_due(&settings, round.now);
        if let Some(each) = each {
            self.series.close(round.now, &each);
            self.found = self.found.take().or_else(|| self.series.found(&each).map(Found::Alone));
        }
        if took.closed
            && matches!(self.found, Some(Found::Whole | Found::In(_)))
            && self.apart.set(round.on, self.detector.p0(), round.now)
        {
            // It is judged without that machine, as if it had never been.
            self.begin_anew(round.now);
        }
        if self.found.is_none() && self.silent.is_found(&settings) {
            self.found = Some(Found::Silent);
        }
        if self.found.is_some() && self.risen_at.is_none() {
            let (_, recent) = self.accused();
            self.risen_at = recent.rose_at(self.detector.p0()).or(Some(round.now));
        }
        took
    }

    /// Whether it is a breach by now, and of what.
    fn find(&mut self, settings: &RatioSettings) {
        let needed = RatioDetector::needed(settings.alpha);
        let (Some(whole), None) = (self.detector.ln_odds(), &self.found) else { return };
        let together = self.places.with(whole) >= needed && self.detector.has_blocks_enough();
        if together {
            self.found = Some(self.places.found(whole, needed));
        }
    }

    fn close_if_due(&mut self, settings: &RatioSettings, now: Timestamp) -> bool {
        let (n, k) = self.detector.totals();
        let Some(whole) = self.detector.close_if_due(now, settings) else { return false };
        self.places.close(now, settings);
        self.find(settings);
        let (all, bad) = self.detector.totals();
        let ln_odds = self.places.with(whole);
        self.blocks.close(now, Tally { n: all - n, k: bad - k }, ln_odds, self.control);
        true
    }

    /// Compares the release with the known-good one beside it, where both were told of.
    fn compare(
        &mut self,
        round: &Round<'_>,
        settings: &RatioSettings,
        both: Option<(Tally, Tally)>,
    ) {
        if let Some((release, control)) = both {
            self.control.add(control.n, control.k);
            self.beside.add(round.now, round.policy.watch.scrape_every, release, control);
            self.beside.close_if_due(round.now, settings);
        } else {
            self.beside.interrupt(round.now, settings);
        }
    }

    /// Its series, the worst first.
    pub(super) fn worst_series(&self) -> Vec<(String, Tally, Option<f64>)> {
        self.series.worst()
    }

    /// What its series were under what ran before.
    pub(super) fn remember_series(&mut self, past: &BTreeMap<String, Tally>) {
        self.series.remember(past);
    }

    /// A detector's stakes are spread over one horizon; a release that is still watched after it,
    /// for want of traffic or of a trustworthy verdict, is judged anew from then on. The promised
    /// rate of false rollbacks holds for each of these spans.
    fn renew(&mut self, settings: &RatioSettings, now: Timestamp) {
        if now.duration_since(self.detecting_since) < signed(settings.watch) {
            return;
        }
        self.detecting_since = now;
        if self.found.is_none() && self.detector.is_started() {
            self.begin_anew(now);
        } else if !self.detector.is_started() {
            // Nothing was counted so far, and the first block does not hold all that time.
            self.anew_at = Some(now);
        }
    }

    /// An alarm whose cause is clearly over is taken back: the detector begins anew.
    fn forgive(&mut self, round: &Round<'_>) -> bool {
        let now = round.now;
        match &self.found {
            None => return false,
            Some(Found::Silent) if !self.silent.serves() => return false,
            Some(Found::Silent) => {
                self.begin_anew(now);
                return true;
            }
            // It shows by now that it always was so, or is so beside it.
            Some(Found::Alone(series)) if self.series.excuses(series) => {
                self.begin_anew(now);
                return true;
            }
            // The release has gone from there, and runs on elsewhere.
            Some(Found::In(region)) if !round.is_in(region) => {
                self.begin_anew(now);
                return true;
            }
            Some(Found::Whole | Found::In(_) | Found::Alone(_)) => {}
        }
        let (detector, recent) = self.accused();
        let (n, k) = detector.totals();
        let p0 = self.detector.p0();
        // A regression that came late is diluted by what was well before it: that asks for more.
        let then = (k / n.max(1.0)).max(1.5 * p0);
        let over = recent.is_within(p0, then);
        if over {
            self.begin_anew(now);
        }
        over
    }
}

/// What the known-good release's machines counted, as far as it was not told before.
fn beside_it(round: &Round<'_>, name: &str) -> Tally {
    let mut control = Tally::default();
    for look in round.control {
        let count = look.readings.and_then(|readings| readings.counts.get(name));
        let count = count.filter(|count| count.since == Since::LastScrape && count.k <= count.n);
        if let Some(count) = count {
            control.add(count.n, count.k);
        }
    }
    for Belated { tally, .. } in belated(round, name) {
        control.add(tally.n, tally.k);
    }
    control
}

/// What is told late of the known-good release.
pub(super) fn belated<'a>(round: &Round<'a>, name: &str) -> impl Iterator<Item = &'a Belated> {
    let all = round.belated.iter().filter_map(move |all| all.get(name));
    all.filter(|one| one.tally.k <= one.tally.n)
}

#[cfg(test)]
mod tests;
