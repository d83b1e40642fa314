//! `GET /api/v1/apps/{app}/explain`: how a release came to its verdict.
//!
//! Of a release that is being dealt with the daemon shows what it holds now; of one before that what
//! the journal kept of it. Both are bounded: the last blocks of a threshold, and so many events.

mod promise;
mod silence;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::{
    promise::{Promise, PromisedPer, Promises},
    silence::SilenceView,
};
use super::view::{Counts, EvidenceView};
use crate::{
    model::{
        AppName, Block, Event, EventKind, Evidence, MachineId, Region, ReleaseVersion, Tally,
        event::ReleaseInfo,
        name::{Named, Unresolved, resolve},
    },
    store::HistoryEntry,
    threshold::{self, detect::Dispersion},
};

/// Events of an app that are looked through, and of a release that are shown.
pub(super) const LOOKED_THROUGH: u32 = 200;
const EVENTS_SHOWN: usize = 20;

/// How far a release's counts spread, from minute to minute.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DispersionView {
    /// How many times the variance of failures that come one by one, at least 1: so many of them count as
    /// one.
    pub phi: f64,
    /// Minutes with events in which it was measured.
    pub minutes: u32,
    pub at: Timestamp,
}

impl From<Dispersion> for DispersionView {
    fn from(Dispersion { phi, minutes, at }: Dispersion) -> Self {
        Self { phi, minutes, at }
    }
}

/// One closed block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Block)]
pub struct BlockView {
    /// When it was closed.
    pub at: Timestamp,
    pub counts: Counts,
    /// Natural logarithm of the odds against the release after it; `null` if it is no number.
    pub ln_odds: Option<f64>,
    /// What the known-good release's machines counted meanwhile; `null`: nothing.
    pub control: Option<Counts>,
}

/// What was counted in a region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RegionCounts {
    pub region: Region,
    pub counts: Counts,
    /// Of that, the last two minutes.
    pub lately: Option<Counts>,
}

/// What was counted of one series, where they are judged one by one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = SeriesCounts)]
pub struct SeriesView {
    /// Its labels, such as `path="/checkout"`.
    pub series: String,
    pub counts: Counts,
    /// Natural logarithm of the odds against the release by it alone; `null`: no block of it is over.
    pub ln_odds: Option<f64>,
}

/// Another app that may bear witness.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Neighbour)]
pub struct NeighbourView {
    pub app: AppName,
    /// Since when it degrades; `null`: it serves its requests.
    pub degraded_since: Option<Timestamp>,
    /// A release of its own is being watched or undone.
    pub deployed: bool,
    pub regions: Vec<Region>,
}

/// One threshold's numbers, and how it came to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Threshold)]
pub struct ThresholdView {
    #[serde(flatten)]
    pub evidence: EvidenceView,
    /// The same in words.
    pub text: String,
    /// The last blocks of its detector, the oldest first; empty where it counts no events.
    pub blocks: Vec<BlockView>,
    pub regions: Vec<RegionCounts>,
    /// So many failures count as one where it matters how many there were; `null`: it counts no events, or
    /// the numbers are not of now.
    #[serde(default)]
    pub phi: Option<f64>,
    /// How far the known-good release's counts spread, which says that; `null`: that was not measured yet,
    /// and 20 is assumed.
    #[serde(default)]
    pub dispersion: Option<DispersionView>,
    /// The worst of the series that are judged one by one, the worst first.
    #[serde(default)]
    pub series: Vec<SeriesView>,
    /// Requests that are missing until they say that the release is well; `null`: none are, they do
    /// not speak for it, or they need not.
    #[serde(default)]
    pub missing: Option<f64>,
}

/// A machine of the app, as it was listed last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ListedMachine)]
pub struct MachineView {
    pub machine: MachineId,
    pub region: Region,
    pub state: String,
    /// Whether it runs the release.
    pub on: bool,
    pub version: Option<ReleaseVersion>,
    /// Unplanned ends of its process since it was given what it runs.
    pub exits: u32,
    /// Checks that do not pass.
    pub failing: Vec<String>,
}

/// What is held of a release that is being dealt with.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    pub release: ReleaseInfo,
    pub known_good: Option<ReleaseInfo>,
    pub thresholds: Vec<ThresholdView>,
    pub promises: Promises,
    pub machines: Vec<MachineView>,
    pub neighbours: Vec<NeighbourView>,
    /// Whether it would be found that the app answers nothing any more.
    pub silence: SilenceView,
}

/// What was told of a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Told)]
pub struct ToldView {
    pub at: Timestamp,
    pub event: EventKind,
    pub text: String,
}

/// How a release came to its verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Explanation)]
pub struct ExplainView {
    pub app: AppName,
    pub release: ReleaseInfo,
    pub known_good: Option<ReleaseInfo>,
    /// When the numbers were so.
    pub at: Timestamp,
    /// Whether they are those of now; otherwise of the event that told most of it.
    pub live: bool,
    /// What was told of it, the oldest first.
    pub told: Vec<ToldView>,
    pub thresholds: Vec<ThresholdView>,
    /// How often a breach of these thresholds may be false; `null` without thresholds.
    #[serde(default)]
    pub promise: Option<Promise>,
    /// Empty where the numbers are not of now.
    pub machines: Vec<MachineView>,
    /// Apps that may bear witness; empty where the numbers are not of now.
    #[serde(default)]
    pub neighbours: Vec<NeighbourView>,
    /// Whether it would be found that the app answers nothing any more; `null` where the numbers are not of
    /// now.
    #[serde(default)]
    pub silence: Option<SilenceView>,
}

fn counts(tally: Tally) -> Counts {
    let finite = |number: f64| if number.is_finite() { number } else { 0.0 };
    Counts { bad: finite(tally.k), total: finite(tally.n) }
}

impl From<&Block> for BlockView {
    fn from(block: &Block) -> Self {
        Self {
            at: block.at,
            counts: counts(block.tally),
            ln_odds: Some(block.ln_odds).filter(|odds| odds.is_finite()),
            control: Some(block.control).filter(|one| one.n > 0.0).map(counts),
        }
    }
}

impl RegionCounts {
    pub fn new(region: &Region, all: Tally, lately: Option<Tally>) -> Self {
        Self { region: region.clone(), counts: counts(all), lately: lately.map(counts) }
    }
}

impl SeriesView {
    pub fn new((series, all, ln_odds): (String, Tally, Option<f64>)) -> Self {
        let ln_odds = ln_odds.filter(|odds| odds.is_finite());
        Self { series, counts: counts(all), ln_odds }
    }
}

impl ThresholdView {
    /// `control`: what the known-good release is called.
    pub fn new(evidence: &Evidence, control: &str, blocks: &[Block]) -> Self {
        Self {
            evidence: EvidenceView::from(evidence),
            text: threshold::phrase(evidence, control),
            blocks: blocks.iter().map(BlockView::from).collect(),
            regions: Vec::new(),
            phi: None,
            dispersion: None,
            series: Vec::new(),
            missing: None,
        }
    }
}

/// Why there is no answer.
pub(super) enum Unexplained {
    /// The app has no release to be explained.
    Nothing,
    Unnamed(Unresolved),
}

/// Puts together what is held and what was told of the release that is called `name`, or else of the
/// one that is being dealt with, or of the newest. `entries`: the app's newest events first.
pub(super) fn explain(
    app: &AppName,
    name: Option<&str>,
    held: Option<Explained>,
    entries: &[HistoryEntry],
    (now, sentence): (Timestamp, fn(&Event) -> String),
) -> Result<ExplainView, Unexplained> {
    let events = || entries.iter().map(|entry| &entry.event);
    let of_history = events().filter_map(|event| event.release.as_ref());
    let known = held.iter().map(|held| &held.release).chain(of_history);
    let known: Vec<Named> =
        known.map(|release| Named { release: release.clone(), image: None }).collect();
    let release = match name {
        Some(name) => resolve(name, &known).map_err(Unexplained::Unnamed)?,
        None => known.first().ok_or(Unexplained::Nothing)?,
    };
    let release = release.release.clone();
    let is_it = |one: &ReleaseInfo| one.digest == release.digest && one.version == release.version;
    let about: Vec<&Event> =
        events().filter(|event| event.release.as_ref().is_some_and(is_it)).collect();
    let told =
        |event: &&&Event| ToldView { at: event.at, event: event.kind, text: sentence(event) };
    let mut view = ExplainView {
        app: app.clone(),
        known_good: about.iter().find_map(|event| event.known_good.clone()),
        at: now,
        live: true,
        told: about.iter().take(EVENTS_SHOWN).rev().map(|event| told(&event)).collect(),
        thresholds: Vec::new(),
        promise: None,
        machines: Vec::new(),
        neighbours: Vec::new(),
        silence: None,
        release: release.clone(),
    };
    if let Some(held) = held.filter(|held| is_it(&held.release)) {
        view.release = held.release;
        view.known_good = held.known_good.or(view.known_good);
        view.promise = Some(promise::of(Some(held.promises), &about));
        view.thresholds = held.thresholds;
        view.machines = held.machines;
        view.neighbours = held.neighbours;
        view.silence = Some(held.silence);
    } else if let Some(event) = most_telling(&about) {
        let control = event.known_good.as_ref().map_or_else(String::new, ReleaseInfo::label);
        view.live = false;
        view.at = event.at;
        view.thresholds = event
            .evidence
            .iter()
            .map(|one| ThresholdView::new(one, &control, &one.last_blocks))
            .collect();
        view.promise = Some(promise::of(None, &about));
    } else {
        view.live = false;
    }
    Ok(view)
}

/// The newest event with blocks in it, or else with numbers.
fn most_telling<'a>(about: &[&'a Event]) -> Option<&'a Event> {
    let has_blocks = |event: &&&Event| event.evidence.iter().any(|one| !one.last_blocks.is_empty());
    let has_numbers = |event: &&&Event| !event.evidence.is_empty();
    about.iter().find(has_blocks).or_else(|| about.iter().find(has_numbers)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, Reason, Unit, Verdict, reason::Degradation};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn release(version: u64) -> ReleaseInfo {
        let digest = format!("sha256:{version:064}");
        ReleaseInfo {
            version: Some(ReleaseVersion(version)),
            tag: None,
            digest: digest.as_str().into(),
            author: None,
            created_at: None,
        }
    }

    fn evidence(bad: f64, blocks: usize) -> Evidence {
        let tally = Tally { n: 10.0, k: bad };
        let block = Block { at: at(1), tally, ln_odds: 7.0, control: Tally::default() };
        Evidence {
            threshold: "5xx".to_owned(),
            kind: Kind::Ratio,
            verdict: Verdict::Breach,
            value: Some(bad / 10.0),
            limit: 0.02,
            unit: Unit::Requests,
            source: "requests".to_owned(),
            bad,
            total: 10.0,
            lately: None,
            ln_odds: Some(7.0),
            ln_odds_needed: Some(6.9),
            blocks: 3,
            last_blocks: vec![block; blocks],
            control: None,
            note: None,
            may_roll_back: true,
            applies: true,
            raised: None,
            unseen: false,
        }
    }

    fn entry(second: i64, kind: EventKind, version: u64, evidence: Vec<Evidence>) -> HistoryEntry {
        let mut event = Event::new(kind, at(second), Some("api".into()));
        event.release = Some(release(version));
        event.known_good = Some(release(41));
        event.evidence = evidence;
        HistoryEntry { sequence: second, message_id: second.to_string(), event }
    }

    const PROMISES: Promises =
        Promises { false_rollbacks: 0.001, false_late_alarms: 0.002, span: None };

    fn held(version: u64) -> Explained {
        Explained {
            release: release(version),
            known_good: None,
            thresholds: vec![ThresholdView::new(&evidence(9.0, 2), "v41", &[])],
            promises: PROMISES,
            machines: Vec::new(),
            neighbours: Vec::new(),
            silence: SilenceView { found_after_s: Some(60), text: "it would be found".to_owned() },
        }
    }

    fn asked(name: Option<&str>, held: Option<Explained>, entries: &[HistoryEntry]) -> ExplainView {
        let sentence = |event: &Event| event.kind.as_str().to_owned();
        match explain(&"api".into(), name, held, entries, (at(100), sentence)) {
            Ok(view) => view,
            Err(_) => panic!("nothing is explained"),
        }
    }

    /// The newest first, as the journal has it.
    fn story() -> Vec<HistoryEntry> {
        vec![
            entry(9, EventKind::ReleaseDetected, 43, Vec::new()),
            entry(8, EventKind::RollbackCompleted, 42, vec![evidence(3.0, 0)]),
            entry(7, EventKind::ReleaseDegraded, 42, vec![evidence(2.0, 4)]),
            entry(6, EventKind::ReleaseDetected, 42, Vec::new()),
        ]
    }

    #[test]
    fn what_is_dealt_with_is_explained_by_what_is_held_now() {
        let view = asked(None, Some(held(43)), &story());
        assert_eq!((view.live, view.at, &view.release), (true, at(100), &release(43)));
        assert_eq!(view.thresholds.len(), 1);
        assert_eq!(view.known_good, Some(release(41)), "as its events say");
        assert_eq!(view.told.len(), 1);
        assert_eq!(view.silence.and_then(|silence| silence.found_after_s), Some(60));
    }

    #[test]
    fn what_is_promised_is_said_for_what_the_release_was_watched_for() {
        let late = |mut story: Vec<HistoryEntry>| {
            let late = Degradation {
                since: at(1),
                changes: Vec::new(),
                with: Vec::new(),
                well: 0,
                revoked: true,
                stays: None,
            };
            story[2].event.reason = Some(Reason::DegradesLate { late: Box::new(late) });
            story
        };
        let of = |false_alarms, per| Some(Promise { false_alarms, per });
        let (fresh, month) = (PromisedPer::Release, PromisedPer::Month);
        let with = |span| {
            let held = held(43);
            Some(Explained { promises: Promises { span, ..held.promises }, ..held })
        };
        let watched = |span| asked(None, with(Some(span)), &story()).promise;
        assert_eq!(watched(threshold::Span::Release), of(Some(0.001), fresh));
        assert_eq!(watched(threshold::Span::Month), of(Some(0.002), month));
        // One that is being undone, and one of the past, by what was told of it.
        let undone = |story: &[HistoryEntry]| {
            let held = Explained { release: release(42), ..held(43) };
            asked(Some("v42"), Some(held), story).promise
        };
        assert_eq!(undone(&story()), of(Some(0.001), fresh));
        assert_eq!(undone(&late(story())), of(Some(0.002), month));
        let past = |story: &[HistoryEntry]| asked(Some("v42"), None, story).promise;
        assert_eq!(past(&story()), of(None, fresh));
        assert_eq!(past(&late(story())), of(None, month));
        assert_eq!(asked(None, None, &story()).promise, None, "it has no numbers");
    }

    #[test]
    fn an_older_release_is_explained_by_the_event_that_has_its_blocks() {
        let view = asked(Some("v42"), Some(held(43)), &story());
        assert_eq!((view.live, view.at), (false, at(7)));
        assert_eq!(view.thresholds[0].blocks.len(), 4);
        let told: Vec<EventKind> = view.told.iter().map(|told| told.event).collect();
        assert_eq!(
            told,
            [EventKind::ReleaseDetected, EventKind::ReleaseDegraded, EventKind::RollbackCompleted]
        );
        assert!(view.machines.is_empty() && view.silence.is_none());
    }

    #[test]
    fn without_blocks_the_newest_numbers_do_and_without_numbers_what_was_told() {
        let mut story = story();
        story[2].event.evidence[0].last_blocks.clear();
        assert_eq!(asked(Some("42"), None, &story).at, at(8));
        let view = asked(None, None, &story);
        assert_eq!((view.release, view.thresholds.len()), (release(43), 0), "the newest");
        assert!(!view.live);
    }

    #[test]
    fn a_name_that_fits_nothing_is_answered_with_what_there_is() {
        let sentence = |_: &Event| String::new();
        let none = explain(&"api".into(), None, None, &[], (at(1), sentence));
        assert!(matches!(none, Err(Unexplained::Nothing)));
        let unknown = explain(&"api".into(), Some("v7"), None, &story(), (at(1), sentence));
        assert!(matches!(unknown, Err(Unexplained::Unnamed(Unresolved::Unknown { .. }))));
    }

    #[test]
    fn as_many_events_are_shown_as_fit() {
        let many: Vec<_> = (0..100)
            .rev()
            .map(|second| entry(second, EventKind::HoldPlaced, 42, Vec::new()))
            .collect();
        let told = asked(None, None, &many).told;
        assert_eq!(told.len(), EVENTS_SHOWN);
        assert_eq!(told.last().map(|told| told.at), Some(at(99)), "the newest at the end");
    }
}
