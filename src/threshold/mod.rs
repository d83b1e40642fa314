//! The kinds of thresholds, one room each.
//!
//! A kind's file holds all that the kind is: its keys in the configuration, what it wants from
//! which source, how it takes in a round, its evidence and verdict, how it confirms a region during
//! a rollback, and how it speaks. `counted` is the machinery that ratio and latency share, `detect`
//! the statistics, `speak` what the kinds' phrases have in common. Everything here is pure.
//!
//! [`room`] finds the room of a kind, and nothing outside tells the kinds apart. A new kind is a file
//! here, a variant each of `Kind` and `ThresholdKind` in `model/policy.rs`, and the lines of this
//! directory that the compiler then asks for; `tests/tidy` holds that it is named nowhere else.

mod apart;
mod beside;
pub mod blocks;
pub mod checks;
mod confirm;
pub mod counted;
pub mod crashes;
pub mod detect;
pub mod gauge;
pub mod keys;
pub mod latency;
mod onset;
mod places;
pub mod probe;
pub mod promql;
mod proof;
pub mod ratio;
pub mod relative;
pub mod seen;
mod series;
mod settings;
pub mod silent;
pub mod speak;
mod state;
pub mod unknown;
pub mod watched;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

pub use self::{
    crashes::CrashCount,
    onset::{Onset, is_bad},
    proof::Proof,
    seen::{MachineSeen, started},
    series::SERIES_PAST_MIN,
    settings::{MONTH, WATCH_HORIZON},
    speak::{ailment, limit, note, phrase, remark, value},
    state::{Confirming, Own, ThresholdState},
    watched::{Applies, not_fed},
};
use crate::model::{
    Belated, Evidence, Kind, Machine, NoData, Note, OnBreach, Origin, Policy, Readings, Relative,
    SourceName, Tally, Threshold, ThresholdKind, Unit, Verdict, Want, Wanted,
};

/// Data older than this many scrapes is no data.
const STALE_AFTER_SCRAPES: u32 = 5;
/// How long a threshold with `no_data = "breach"` may be without data.
const NO_DATA_BREACH_AFTER: SignedDuration = SignedDuration::from_secs(60);
impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Ratio,
        Self::Latency,
        Self::Gauge,
        Self::Promql,
        Self::Probe,
        Self::Checks,
        Self::Crashes,
    ];

    /// The configuration's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ratio => "ratio",
            Self::Latency => "latency",
            Self::Gauge => "gauge",
            Self::Promql => "promql",
            Self::Probe => "probe",
            Self::Checks => "checks",
            Self::Crashes => "crashes",
        }
    }

    /// Whether evidence of this kind is read from series, and not from the platform's list of
    /// machines.
    pub fn reads_series(self) -> bool {
        match self {
            Self::Ratio | Self::Latency | Self::Gauge | Self::Promql | Self::Probe => true,
            Self::Checks | Self::Crashes => false,
        }
    }

    /// Whether it counts events, which tell of a region by themselves.
    pub fn counts_events(self) -> bool {
        match self {
            Self::Ratio | Self::Latency | Self::Probe => true,
            Self::Gauge | Self::Promql | Self::Checks | Self::Crashes => false,
        }
    }

    /// Whether its events are what users asked for: enough of them say that a release is well.
    pub fn proves(self) -> bool {
        match self {
            Self::Ratio | Self::Latency => true,
            Self::Gauge | Self::Promql | Self::Probe | Self::Checks | Self::Crashes => false,
        }
    }

    /// Whether a breach with this share of bad counts means that the release hardly works at all.
    pub fn is_total(self, share: Option<f64>) -> bool {
        match self {
            Self::Ratio | Self::Probe => share.is_some_and(|share| share >= 0.5),
            Self::Checks | Self::Crashes => true,
            Self::Latency | Self::Gauge | Self::Promql => false,
        }
    }

    /// Whether nearly all of its counts being bad means that nothing works any more.
    pub fn tells_outages(self) -> bool {
        match self {
            Self::Ratio | Self::Probe | Self::Checks => true,
            Self::Latency | Self::Gauge | Self::Promql | Self::Crashes => false,
        }
    }
}

/// For what a promised rate of false alarms holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// A release, until it is trusted.
    Release,
    /// An app's month, whatever releases it has in it: what was trusted is watched on.
    Month,
}

/// What is the same for all thresholds of a watch in one round.
pub struct Round<'a> {
    pub policy: &'a Policy,
    pub now: Timestamp,
    pub span: Span,
    /// The release ran before us: nothing of its past is its evidence.
    pub learning: bool,
    /// Machines that run the release.
    pub on: &'a [Look<'a>],
    /// Machines that run the known-good release beside it.
    pub control: &'a [Look<'a>],
    /// What is told late of machines that ran the known-good release, and run another one now.
    pub belated: &'a [&'a BTreeMap<String, Belated>],
    /// When a machine of the known-good release was seen last.
    pub parted: Option<Timestamp>,
    /// Whether the threshold's source was heard at all: it may be down, or not have answered yet. What is missing
    /// then is not the release's silence.
    pub heard: bool,
}

/// One machine as a round saw it.
pub struct Look<'a> {
    pub machine: &'a Machine,
    /// What its sources said; `None`: nothing that may be judged.
    pub readings: Option<&'a Readings>,
    /// Whether what its process counted before the first look is the release's too.
    pub past_counts: bool,
    /// From when on its exits are the release's.
    pub exits_since: Timestamp,
}

/// A machine that is judged.
#[derive(Clone, Copy)]
pub struct Judged<'a> {
    pub machine: &'a Machine,
    /// What we saw of it.
    pub seen: &'a MachineSeen,
    /// Whether its group stayed up under the known-good release: it is no job.
    pub stays_up: bool,
}

/// What a threshold's round came to, as far as the watch wants to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Took {
    /// Events were counted.
    pub events: bool,
    /// A block of them was closed.
    pub closed: bool,
    /// An alarm was taken back, because its cause is clearly over.
    pub forgave: bool,
}

/// What a verdict is made of besides the threshold's own state.
pub struct Case<'a> {
    pub policy: &'a Policy,
    pub now: Timestamp,
    pub span: Span,
    /// When the watch began.
    pub since: Timestamp,
    /// The first look at the release: nobody is blamed by it alone.
    pub first_look: bool,
    /// Machines that run the release.
    pub on: &'a [Judged<'a>],
    /// Unplanned exits per machine that are usual under the known-good release.
    pub usual_exits: f64,
}

/// What a region shows of a breached threshold on the known-good image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finding {
    /// It does not tell by region.
    Untold,
    /// Nothing was counted yet.
    Silent,
    /// Clearly better than the bad release, and not clearly above the limit; the odds for that, as a
    /// natural logarithm.
    Better { tally: Tally, ln_odds: f64 },
    /// As bad as the bad release.
    NoBetter(Tally),
    /// Not enough to tell, or in between.
    Undecided { tally: Tally, leans_well: bool },
}

/// What every kind can do. Implemented by the kind's numbers in `model/policy.rs`.
pub trait Room {
    fn kind(&self) -> Kind;
    /// What it has to be told, and by which source.
    fn want(&self) -> Want;
    /// Whom it is read from; `None`: the platform's list of machines.
    fn origin(&self) -> Option<&Origin> {
        None
    }
    /// The share of bad events that it allows, and whether strictly; `None`: it counts no events.
    fn allowed_share(&self) -> Option<(f64, bool)> {
        None
    }
    /// How much worse than the known-good release it may be; `None`: that is not asked.
    fn relative(&self) -> Option<Relative> {
        None
    }
    /// Labels by which its counts are told apart as well.
    fn by(&self) -> &[String] {
        &[]
    }
    /// Its part of a watch that begins `now`.
    fn begin(&self, now: Timestamp) -> Own;
    /// Whether `own` was made for these numbers.
    fn fits(&self, own: &Own) -> bool;
    /// Takes in a round.
    fn absorb(&self, name: &str, own: &mut Own, round: &Round<'_>) -> Took;
    /// Fills in what it knows.
    fn judge(&self, own: &Own, case: &Case<'_>, evidence: &mut Evidence);
    /// Since when a breach of it is; most are of the release's own processes.
    fn onset(&self, _own: &Own, _case: &Case<'_>) -> Onset {
        Onset::Own
    }
    /// Limit, unit and what is looked at.
    fn terms(&self) -> (f64, Unit, String);
    /// How long it has to show before it counts, and the key that says so; `None`: it has no such
    /// time.
    fn must_last(&self) -> Option<(&'static str, std::time::Duration)> {
        None
    }
    /// Whether a round has anything of what it looks at on the platform's list of machines.
    fn sees(&self, _round: &Round<'_>) -> bool {
        false
    }
    /// For how long a machine that starts says nothing.
    fn starts_for(&self) -> Duration {
        std::time::Duration::ZERO
    }
    /// The same as it would be read from elsewhere, with a limit so many times as high; `None`: it is
    /// read from nothing that keeps its past.
    fn elsewhere(&self, _origin: &Origin, _times: f64) -> Option<ThresholdKind> {
        None
    }
    /// The limit in words, for those who check their configuration.
    fn describe(&self) -> String;
    /// What a region that confirms the known-good image shows of it, against the evidence by which
    /// the bad release was found.
    fn confirm(&self, confirming: &Confirming, breach: &Evidence) -> Finding {
        match self.allowed_share() {
            Some((limit, _)) => confirm::weigh(
                confirming.of(breach.series()),
                breach.limit.max(limit),
                breach.share_lately().unwrap_or(1.0),
            ),
            None => Finding::Untold,
        }
    }
}

/// The room of a kind.
pub fn room(kind: &ThresholdKind) -> &dyn Room {
    match kind {
        ThresholdKind::Ratio(ratio) => ratio,
        ThresholdKind::Latency(latency) => latency,
        ThresholdKind::Gauge(gauge) => gauge,
        ThresholdKind::Promql(promql) => promql,
        ThresholdKind::Probe(probe) => probe,
        ThresholdKind::Checks(checks) => checks,
        ThresholdKind::Crashes(crashes) => crashes,
    }
}

impl Threshold {
    pub fn room(&self) -> &dyn Room {
        room(&self.kind)
    }

    /// Whom it is read from; `None`: the platform's list of machines.
    pub fn source(&self) -> Option<&SourceName> {
        self.room().origin().map(|origin| &origin.source)
    }
}

impl Policy {
    /// What the thresholds want to be told by a source.
    pub fn wants(&self, source: &SourceName) -> Vec<Wanted> {
        let wanted = |threshold: &Threshold| match threshold.room().want() {
            Want::Series(from, selection) if from == *source => {
                let by = threshold.room().by().to_vec();
                Some(Wanted { threshold: threshold.name.clone(), selection, by })
            }
            Want::Series(..) | Want::Machines => None,
        };
        self.thresholds.iter().filter_map(wanted).collect()
    }

    /// Whom the thresholds are read from, besides the platform's list of machines.
    pub fn sources(&self) -> BTreeSet<SourceName> {
        self.thresholds.iter().filter_map(Threshold::source).cloned().collect()
    }

    /// Whether any threshold is read from metrics pages.
    pub fn wants_pages(&self) -> bool {
        self.sources().contains(&SourceName::Pages)
    }

    /// How often the server is read that tells of a threshold; 0: each look is a reading.
    pub fn read_every(&self, threshold: &str) -> std::time::Duration {
        let threshold = self.thresholds.iter().find(|one| one.name == threshold);
        threshold.and_then(|one| Some(one.room().origin()?.every)).unwrap_or_default()
    }

    /// Whom a threshold is read from, by its name.
    pub fn source_of(&self, threshold: &str) -> Option<&SourceName> {
        self.thresholds.iter().find(|one| one.name == threshold)?.source()
    }
}

/// Takes a round into a threshold's state.
pub fn absorb(threshold: &Threshold, state: &mut ThresholdState, round: &Round<'_>) -> Took {
    let room = threshold.room();
    if !room.fits(&state.own) {
        // The limit was changed: what was counted against the old one proves nothing.
        state.own = room.begin(round.now);
    }
    let want = room.want();
    state.sight.look(&threshold.name, &want, round);
    state.listen(round);
    state.notice(&threshold.name, want, round);
    if room.sees(round) {
        state.data_at = Some(round.now);
    }
    room.absorb(&threshold.name, &mut state.own, round)
}

/// The evidence of one threshold as of now.
pub fn judge(threshold: &Threshold, state: &ThresholdState, case: &Case<'_>) -> Evidence {
    let room = threshold.room();
    let (limit, unit, source) = room.terms();
    let mut evidence = Evidence {
        threshold: threshold.name.clone(),
        kind: room.kind(),
        verdict: Verdict::Inconclusive,
        value: None,
        limit,
        unit,
        source,
        bad: 0.0,
        total: 0.0,
        lately: None,
        ln_odds: None,
        ln_odds_needed: None,
        blocks: 0,
        last_blocks: Vec::new(),
        control: None,
        note: None,
        may_roll_back: threshold.on_breach == OnBreach::Rollback,
        applies: true,
        raised: None,
        unseen: state.unseen.is_some(),
    };
    room.judge(&state.own, case, &mut evidence);
    if let Some(odd) = &state.unseen {
        evidence.note = Some(Note::Odd(odd.clone()));
    }
    if let Applies::NotFed { why } = applies(threshold, state) {
        evidence.applies = false;
        evidence.verdict = Verdict::Inconclusive;
        evidence.note = Some(Note::NotFed(why));
        return evidence;
    }
    without_data(threshold, state, case, &mut evidence);
    if case.first_look && evidence.verdict == Verdict::Breach {
        evidence.verdict = Verdict::Inconclusive;
    }
    evidence
}

/// Since when the breach of a threshold is.
pub fn onset(threshold: &Threshold, state: &ThresholdState, case: &Case<'_>) -> Onset {
    threshold.room().onset(&state.own, case)
}

/// Applies the threshold's own meaning of "no data".
fn without_data(
    threshold: &Threshold,
    state: &ThresholdState,
    case: &Case<'_>,
    evidence: &mut Evidence,
) {
    let since = |at: Timestamp| case.now.duration_since(at);
    let stale_after = signed(case.policy.watch.scrape_every * STALE_AFTER_SCRAPES);
    let every = threshold.room().origin().map(|origin| origin.every);
    let stale_after = stale_after.max(signed(every.unwrap_or_default() * STALE_AFTER_SCRAPES));
    // What was counted stays counted, unless its absence is to count; what is shown as it is now has to
    // be of now.
    let of_now = threshold.room().allowed_share().is_none() || threshold.no_data == NoData::Breach;
    let stale_after = match threshold.room().allowed_share() {
        Some(_) => stale_after.max(NO_DATA_BREACH_AFTER),
        None => stale_after,
    };
    let stale = every.is_some()
        && of_now
        && evidence.verdict == Verdict::Pass
        && state.data_at.is_none_or(|at| since(at) > stale_after);
    if !stale && evidence.verdict != Verdict::Inconclusive {
        return;
    }
    evidence.verdict = Verdict::Inconclusive;
    if evidence.note.is_none() {
        evidence.note = Some(match state.data_at {
            _ if state.unmatched => Note::Unmatched,
            None => Note::NoDataYet,
            Some(at) => Note::NoDataFor { seconds: whole_seconds(since(at)) },
        });
    }
    match threshold.no_data {
        NoData::Hold => {}
        NoData::Ignore => evidence.let_pass(),
        // A night without requests is no degradation.
        NoData::Breach if case.span == Span::Month => {}
        NoData::Breach => {
            // What may not be judged yet is not missing.
            let first = case.policy.watch.warm_up.max(threshold.room().starts_for());
            let from = state.data_at.unwrap_or(case.since).max(later(case.since, first));
            // What could not be seen or heard was not silent.
            let from = state.hidden_at.map_or(from, |at| at.max(from));
            if since(from) >= NO_DATA_BREACH_AFTER {
                evidence.verdict = Verdict::Breach;
                let seconds = whole_seconds(NO_DATA_BREACH_AFTER);
                evidence.note = Some(Note::NoDataIsBreach { seconds });
            }
        }
    }
}

/// Whether a threshold says anything about the app it watches: a worker without requests cannot feed
/// a ratio of them.
pub fn applies(threshold: &Threshold, state: &ThresholdState) -> Applies {
    state.sight.applies(&threshold.room().want())
}

fn signed(duration: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

fn later(at: Timestamp, by: std::time::Duration) -> Timestamp {
    at.checked_add(signed(by)).unwrap_or(Timestamp::MAX)
}

fn whole_seconds(span: SignedDuration) -> u64 {
    u64::try_from(span.as_secs()).unwrap_or(0)
}

/// A number of machines as the number it is shown as.
fn machines(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
