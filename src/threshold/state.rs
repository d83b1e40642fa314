//! What is remembered of one threshold: in a watch, and while a region is confirmed.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Round, checks::ChecksState, counted::Counted, crashes::CrashesState, detect::Dispersion,
    gauge::GaugeState, proof::Proof, silent::Answered, watched::Sight,
};
use crate::model::{
    Alone, Block, Count, MachineId, Oddity, Raised, Readings, Region, Selection, Tally, Threshold,
    Want,
};

/// With so much between two rounds nobody listened.
const UNHEARD_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// One threshold's part of a watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdState {
    /// When it last had data.
    pub data_at: Option<Timestamp>,
    /// Its selector matched nothing on any page of the last round.
    pub unmatched: bool,
    /// Rounds in which pages were read.
    pub rounds: u32,
    /// Since when it matches nothing.
    #[serde(default)]
    pub unmatched_since: Option<Timestamp>,
    /// When its source was heard last, if it was in the round before.
    #[serde(default)]
    pub heard_at: Option<Timestamp>,
    /// When something last hid it on a machine, or nothing was heard of it until then; and what hides it wherever
    /// it was looked for just now.
    #[serde(default)]
    pub hidden_at: Option<Timestamp>,
    #[serde(default)]
    pub unseen: Option<Oddity>,
    /// How much of it was seen, and where.
    pub sight: Sight,
    pub own: Own,
}

/// What only one kind remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Own {
    Counted(Box<Counted>),
    Gauge(GaugeState),
    Checks(ChecksState),
    Crashes(CrashesState),
}

/// What hides a threshold's numbers on a machine.
fn hides<'a>(readings: &'a Readings, name: &str) -> Option<&'a Oddity> {
    readings.oddities.get(name).filter(|oddity| oddity.hides())
}

impl ThresholdState {
    pub fn begin(threshold: &Threshold, now: Timestamp) -> Self {
        Self {
            data_at: None,
            unmatched: false,
            rounds: 0,
            unmatched_since: None,
            heard_at: Some(now),
            hidden_at: None,
            unseen: None,
            sight: Sight::default(),
            own: threshold.room().begin(now),
        }
    }

    /// Notes whether its source was heard, without a break: only then is it silent where it says nothing.
    pub(super) fn listen(&mut self, round: &Round<'_>) {
        let since = |at: Timestamp| round.now.duration_since(at);
        let goes_on = self.heard_at.is_some_and(|at| since(at) <= UNHEARD_AFTER);
        self.heard_at = round.heard.then_some(round.now);
        if !goes_on {
            self.hidden_at = Some(round.now);
        }
    }

    /// Notes whether its sources said anything.
    pub(super) fn notice(&mut self, name: &str, want: Want, round: &Round<'_>) {
        let Want::Series(_, selection) = want else { return };
        let mut read = round.on.iter().filter_map(|look| look.readings).peekable();
        if read.peek().is_none() {
            return;
        }
        self.rounds = self.rounds.saturating_add(1);
        self.unmatched = read.clone().all(|readings| readings.unmatched.contains(name));
        self.unmatched_since = self.unmatched_since.filter(|_| self.unmatched);
        if self.unmatched {
            self.unmatched_since.get_or_insert(round.now);
        }
        let mut hiding = read.clone().filter_map(|readings| hides(readings, name));
        self.unseen = hiding.next().cloned();
        if self.unseen.is_some() {
            self.hidden_at = Some(round.now);
        }
        // What other machines show is seen.
        let shows = |readings: &Readings| {
            let has = readings.counts.contains_key(name) || readings.gauges.contains_key(name);
            has && hides(readings, name).is_none()
        };
        if read.clone().any(shows) {
            self.unseen = None;
        }
        let has_data = match selection {
            Selection::Share { .. } | Selection::Slow { .. } | Selection::Answer(_) => {
                read.any(|readings| {
                    readings.counts.get(name).is_some_and(|count: &Count| count.n > 0.0)
                })
            }
            Selection::Largest { .. } | Selection::Value { .. } => {
                read.any(|readings| readings.gauges.contains_key(name))
            }
        };
        if has_data {
            self.data_at = Some(round.now);
        }
    }

    /// What each machine answered before the release came, where it counts requests.
    pub fn expect(&mut self, usual: &BTreeMap<MachineId, Answered>) {
        if let Own::Counted(counted) = &mut self.own {
            counted.expect(usual);
        }
    }

    /// What each machine answers.
    pub fn usual(&self, now: Timestamp) -> BTreeMap<MachineId, Answered> {
        match &self.own {
            Own::Counted(counted) => counted.usual(now),
            Own::Gauge(_) | Own::Checks(_) | Own::Crashes(_) => BTreeMap::new(),
        }
    }

    /// Sets the limit in force, where it counts events: the written one, or one that was raised from it.
    pub fn raise(&mut self, raised: Option<&Raised>, written: Option<(f64, bool)>, now: Timestamp) {
        if let (Own::Counted(counted), Some((limit, _))) = (&mut self.own, written) {
            counted.raise(raised.filter(|one| one.from.to_bits() == limit.to_bits()), limit, now);
        }
    }

    /// Takes how far the known-good release's counts spread.
    pub fn measured(&mut self, measured: Option<Dispersion>) {
        if let Own::Counted(counted) = &mut self.own {
            counted.measured(measured);
        }
    }

    /// How many failures count as one, and where that was measured (`None`: it is assumed); `None`: it
    /// counts no events.
    pub fn bundles(&self) -> Option<(f64, Option<Dispersion>)> {
        match &self.own {
            Own::Counted(counted) => Some(counted.bundles()),
            Own::Gauge(_) | Own::Checks(_) | Own::Crashes(_) => None,
        }
    }

    /// How far its own counts spread; `None`: too little was counted to tell.
    pub fn dispersion(&self, now: Timestamp) -> Option<Dispersion> {
        match &self.own {
            Own::Counted(counted) => counted.dispersion(now),
            Own::Gauge(_) | Own::Checks(_) | Own::Crashes(_) => None,
        }
    }

    /// What its series were under what ran before.
    pub fn remember_series(&mut self, past: Option<&BTreeMap<String, Tally>>) {
        if let (Own::Counted(counted), Some(past)) = (&mut self.own, past) {
            counted.remember_series(past);
        }
    }

    /// What was counted in a region.
    pub fn region(&self, region: &Region) -> Option<Tally> {
        self.own.regions()?.get(region).copied()
    }

    /// The last blocks of its detector, the oldest first; none where it has no detector.
    pub fn blocks(&self) -> Vec<Block> {
        match &self.own {
            Own::Counted(counted) => counted.blocks().iter().copied().collect(),
            Own::Gauge(_) | Own::Checks(_) | Own::Crashes(_) => Vec::new(),
        }
    }

    /// What was counted of the series that are judged one by one, the worst first, with ln E of each.
    pub fn worst_series(&self) -> Vec<(String, Tally, Option<f64>)> {
        match &self.own {
            Own::Counted(counted) => counted.worst_series(),
            Own::Gauge(_) | Own::Checks(_) | Own::Crashes(_) => Vec::new(),
        }
    }

    /// What was counted, region by region.
    pub fn regions(&self) -> impl Iterator<Item = (&Region, Tally)> {
        self.own.regions().into_iter().flatten().map(|(region, tally)| (region, *tally))
    }

    /// What was counted until now says nothing of what comes.
    pub fn begin_anew(&mut self, now: Timestamp) {
        if let Own::Counted(counted) = &mut self.own {
            counted.go_on(now);
        }
    }

    /// Whether the last moments lean towards a breach, though far from certain.
    pub fn leans(&self) -> bool {
        match &self.own {
            Own::Counted(counted) => counted.leans(),
            Own::Gauge(_) | Own::Checks(_) | Own::Crashes(_) => false,
        }
    }

    /// After a while in which nothing was seen, an alarm of before says nothing of now.
    pub fn forget_alarms(&mut self, now: Timestamp) {
        if let Own::Counted(counted) = &mut self.own {
            counted.forget_alarms(now);
        }
    }

    /// Whether its newest counts look like a breach, before that is certain.
    pub fn is_suspicious(&self) -> bool {
        match &self.own {
            Own::Counted(counted) => counted.is_suspicious(),
            Own::Gauge(_) | Own::Checks(_) | Own::Crashes(_) => false,
        }
    }

    /// When that began, as far as it can be told.
    pub fn rose_at(&self) -> Option<Timestamp> {
        match &self.own {
            Own::Counted(counted) => counted.rose_at(),
            Own::Gauge(_) | Own::Checks(_) | Own::Crashes(_) => None,
        }
    }

    /// Whether what breaches is far less than it was.
    pub fn is_easing(&self) -> bool {
        match &self.own {
            Own::Counted(counted) => counted.is_easing(),
            Own::Gauge(_) | Own::Checks(_) | Own::Crashes(_) => false,
        }
    }

    /// Whether the known-good release beside it was well at `from` and later.
    pub fn control_is_well(&self, from: Timestamp) -> bool {
        match &self.own {
            Own::Counted(counted) => counted.control_is_well(),
            Own::Checks(checks) => checks.control_is_well(from),
            Own::Gauge(_) | Own::Crashes(_) => false,
        }
    }

    /// The machine that fails alone and is left out of what is judged.
    pub fn alone(&self) -> Option<&Alone> {
        match &self.own {
            Own::Counted(counted) => counted.alone(),
            Own::Gauge(_) | Own::Checks(_) | Own::Crashes(_) => None,
        }
    }

    /// What its requests say for the release; `None`: it counts none.
    pub fn proof(&self) -> Option<Proof> {
        match &self.own {
            Own::Counted(counted) => Some(counted.proof()),
            Own::Gauge(_) | Own::Checks(_) | Own::Crashes(_) => None,
        }
    }

    /// Unplanned exits per machine; `None`: it counts none.
    pub fn exits_per_machine(&self) -> Option<f64> {
        match &self.own {
            Own::Crashes(crashes) => Some(crashes.per_machine()),
            Own::Counted(_) | Own::Gauge(_) | Own::Checks(_) => None,
        }
    }

    /// What the known-good release beside it shows of the same breach, where it fails as well.
    pub fn control_alike(&self) -> Option<Tally> {
        match &self.own {
            Own::Counted(counted) => counted.control_alike(),
            Own::Gauge(gauge) => gauge.control_alike(),
            Own::Checks(checks) => checks.control_alike(),
            Own::Crashes(_) => None,
        }
    }
}

impl Own {
    pub(super) fn regions(&self) -> Option<&BTreeMap<Region, Tally>> {
        match self {
            Self::Counted(counted) => Some(counted.regions()),
            Self::Gauge(_) | Self::Checks(_) | Self::Crashes(_) => None,
        }
    }
}

/// One threshold's part of a region's confirmation: what was counted there on the known-good image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Confirming {
    pub tally: Tally,
    /// The same series by series, where that is asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub series: BTreeMap<String, Tally>,
}

/// Series followed while a region is confirmed.
const CONFIRMING_SERIES_MAX: usize = 250;

impl Confirming {
    pub fn add(&mut self, count: &Count, series: Option<&BTreeMap<String, Tally>>) {
        self.tally.add(count.n, count.k.min(count.n));
        for (name, tally) in series.into_iter().flatten() {
            if self.series.len() < CONFIRMING_SERIES_MAX || self.series.contains_key(name) {
                let one = self.series.entry(name.clone()).or_default();
                one.add(tally.n, tally.k.min(tally.n));
            }
        }
    }

    /// What was counted of what breached: all of it, or one series.
    pub fn of(&self, series: Option<&str>) -> Tally {
        series.map_or(self.tally, |name| self.series.get(name).copied().unwrap_or_default())
    }
}
