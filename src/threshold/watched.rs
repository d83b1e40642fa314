//! What trust may be built on: which thresholds apply, and whether a region is sick by itself.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Round, detect::recent::at_most};
use crate::model::{Count, MachineState, NotFed, Region, Since, SourceName, Tally, Want};

/// A threshold that cannot be fed is found out over at least so many rounds with readings.
const ROUNDS_MIN: u32 = 10;
/// How long a region's last requests are remembered, and how few of them say nothing.
const LATELY: SignedDuration = SignedDuration::from_secs(120);
const SICK_MIN: f64 = 10.0;
/// A region of which at least this share fails is sick, whatever the limit on the whole.
const SICK_SHARE: f64 = 0.5;

/// How seldom a region may look well although it fails as the others do.
const BY_CHANCE: f64 = 0.01;

/// Whether a threshold says anything about an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    Yes,
    NotFed { why: NotFed },
}

/// What was seen of what a threshold needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sight {
    /// Rounds with anything to read, and whether any had what is looked for.
    rounds: u32,
    fed: bool,
    has_services: bool,
    has_page: bool,
    /// The last requests of each region.
    regions: BTreeMap<Region, Lately>,
}

/// A region's requests of the last minutes, in two halves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Lately {
    from: Option<Timestamp>,
    before: Tally,
    now: Tally,
}

impl Lately {
    fn add(&mut self, n: f64, k: f64, now: Timestamp) {
        let from = *self.from.get_or_insert(now);
        let age = now.duration_since(from);
        if age >= LATELY / 2 {
            self.before = if age < LATELY { self.now } else { Tally::default() };
            self.now = Tally::default();
            self.from = Some(now);
        }
        self.now.add(n, k.min(n));
    }

    fn tally(&self, now: Timestamp) -> Tally {
        let fresh = self.from.is_some_and(|from| now.duration_since(from) < LATELY);
        if !fresh {
            return Tally::default();
        }
        Tally { n: self.before.n + self.now.n, k: self.before.k + self.now.k }
    }
}

/// Why nothing that is read from `source` is known of an app of which no machine takes requests.
pub fn not_fed(source: &SourceName, has_page: bool) -> NotFed {
    match source {
        SourceName::Pages if !has_page => NotFed::NoPage,
        _ => NotFed::NoSeries,
    }
}

impl Sight {
    /// Takes in a round of a threshold of this name and want.
    pub(super) fn look(&mut self, name: &str, want: &Want, round: &Round<'_>) {
        let mut started =
            round.on.iter().filter(|look| look.machine.state == MachineState::Started);
        self.has_services |= started.any(|look| look.machine.has_services);
        // One that failed has its page all the same.
        self.has_page |= round.on.iter().any(|look| look.machine.metrics.is_some())
            || round.policy.metrics_port.is_some();
        if let Want::Series(..) = want {
            let read: Vec<_> = round.on.iter().filter_map(|look| look.readings).collect();
            self.rounds = self.rounds.saturating_add(u32::from(!read.is_empty()));
            self.fed |= read.iter().any(|readings| {
                readings.counts.contains_key(name)
                    || readings.gauges.contains_key(name)
                    || readings.oddities.contains_key(name)
            });
        }
        for look in round.on {
            let count = look.readings.and_then(|readings| readings.counts.get(name));
            // What a process counted before anybody looked is not of the last minutes.
            let is_new = |count: &&Count| count.since == Since::LastScrape || look.past_counts;
            if let Some(count) = count.filter(is_new) {
                let region = self.regions.entry(look.machine.region.clone()).or_default();
                region.add(count.n, count.k, round.now);
            }
        }
    }

    /// Whether the threshold says anything about the app.
    pub fn applies(&self, want: &Want) -> Applies {
        let why = match want {
            Want::Machines => return Applies::Yes,
            Want::Series(..) if self.fed || self.has_services => return Applies::Yes,
            Want::Series(source, _) => match not_fed(source, self.has_page) {
                NotFed::NoSeries if self.rounds < ROUNDS_MIN => return Applies::Yes,
                why => why,
            },
        };
        Applies::NotFed { why }
    }

    /// What was counted in a region in the last two minutes.
    pub fn lately(&self, region: &Region, now: Timestamp) -> Option<Tally> {
        self.regions.get(region).map(|lately| lately.tally(now))
    }

    /// Whether some of these regions failed lately, and all others clearly did not.
    pub fn is_regional(&self, all: &BTreeSet<Region>, limit: f64, now: Timestamp) -> bool {
        let lately = |region| self.lately(region, now).unwrap_or_default();
        let (mut failing, mut others) = (Tally::default(), Vec::new());
        for Tally { n, k } in all.iter().map(lately) {
            if k > limit * n {
                failing.add(n, k);
            } else {
                others.push(Tally { n, k });
            }
        }
        let Some(share) = failing.share() else { return false };
        let is_well = |one: &Tally| at_most(one.k, one.n * share) < BY_CHANCE;
        !others.is_empty() && others.iter().all(is_well)
    }

    /// A region of which half of the requests and more failed lately, though the whole is within its
    /// limit.
    pub fn sick_region(&self, now: Timestamp) -> Option<(&Region, Tally)> {
        self.regions
            .iter()
            .map(|(region, lately)| (region, lately.tally(now)))
            .filter(|(_, tally)| tally.n >= SICK_MIN && tally.k >= SICK_SHARE * tally.n)
            .max_by(|(_, a), (_, b)| a.k.total_cmp(&b.k))
    }
}
