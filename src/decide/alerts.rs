//! Breaches that may not cause a rollback: told once for each spell, and its end, whatever phase the app is
//! in. A leak, or the age of a queue, shows hours after a release was trusted.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Context, late, later, state::Watch};
use crate::{
    model::{Digest, EventKind, Evidence, Mode, OnBreach, Reason, Threshold, Verdict},
    threshold::ThresholdState,
};

/// A spell that ended so long ago does not count any more.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// What is known of a threshold that only alerts, and breached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The image it was seen on: another release that breaches is told of by itself.
    pub of: Digest,
    /// Since when it breaches; `None`: it does not.
    pub since: Option<Timestamp>,
    /// People know that it breaches, and not that it is over.
    pub is_told: bool,
    /// Since when it shows nothing of it any more, while people do not know.
    pub well_since: Option<Timestamp>,
    /// Spells that were told of, and when the last one ended: what flaps has to be well for longer each time.
    pub spells: u32,
    pub ended_at: Option<Timestamp>,
}

impl Alert {
    fn new(of: Digest) -> Self {
        Self { of, since: None, is_told: false, well_since: None, spells: 0, ended_at: None }
    }

    /// Takes in what it shows now; whether that is news, and since when it was what it is no more.
    fn look(&mut self, shows: Shows, tells_at_once: bool, cx: &Context<'_>) -> Option<News> {
        let now = cx.now;
        match shows {
            Shows::Breach => {
                let since = *self.since.get_or_insert(now);
                self.well_since = None;
                let lasts = tells_at_once || late::lasts_since(cx.policy, since, now);
                if self.is_told || !lasts {
                    return None;
                }
                self.is_told = true;
                self.spells = self.spells.saturating_add(1);
                Some(News::Breaches)
            }
            // What passed before it was told is nothing.
            Shows::Well if !self.is_told => {
                self.since = None;
                None
            }
            Shows::Well => {
                let well_since = *self.well_since.get_or_insert(now);
                if now < later(well_since, late::calm(self.spells)) {
                    return None;
                }
                let since = self.since.take().unwrap_or(well_since);
                (self.is_told, self.well_since, self.ended_at) = (false, None, Some(now));
                Some(News::Over { after_s: well_since.duration_since(since).as_secs_f64() })
            }
            Shows::Nothing => {
                self.well_since = None;
                None
            }
        }
    }

    /// Whether nothing of it has to be remembered.
    fn is_past(&self, now: Timestamp) -> bool {
        let is_long_ago = |at: Timestamp| now.duration_since(at) >= FORGOTTEN_AFTER;
        self.since.is_none() && self.ended_at.is_none_or(is_long_ago)
    }
}

enum News {
    Breaches,
    Over { after_s: f64 },
}

#[derive(Clone, Copy)]
enum Shows {
    Breach,
    Well,
    /// It cannot be told.
    Nothing,
}

fn shows(evidence: &Evidence, watch: &Watch) -> Shows {
    let proof = watch.thresholds.get(&evidence.threshold).and_then(ThresholdState::proof);
    match evidence.verdict {
        Verdict::Breach => Shows::Breach,
        Verdict::Pass if !proof.is_some_and(|proof| proof.lately_above) => Shows::Well,
        Verdict::Pass | Verdict::Inconclusive => Shows::Nothing,
    }
}

/// Tells what began to breach and may not cause a rollback, and what does so no more.
pub(super) fn tell(cx: &mut Context<'_>, watch: &mut Watch) {
    let mut alerts = std::mem::take(&mut cx.memory.alerts);
    let of = watch.revision.digest.clone();
    let only_alerts = |name: &String| {
        let alerts = |one: &Threshold| one.name == *name && one.on_breach == OnBreach::Alert;
        cx.policy.thresholds.iter().any(alerts)
    };
    // What was told of the release before is over when this one shows nothing of it.
    alerts.retain(|_, one| (one.of == of || one.is_told) && !one.is_past(cx.now));
    let mut gone = Vec::new();
    alerts.retain(|name, one| {
        let is_there = only_alerts(name);
        if !is_there && one.is_told {
            gone.push(name.clone());
        }
        is_there
    });
    // As an older version noted it.
    for name in std::mem::take(&mut watch.alerted) {
        let alert = alerts.entry(name).or_insert_with(|| Alert::new(of.clone()));
        alert.since.get_or_insert(cx.now);
        alert.is_told = true;
    }
    // What was trusted is not told of for what passes by itself within moments.
    let at_once = !watch.is_vigil && watch.late.is_none();
    let (mut breaching, mut over) = (Vec::new(), Vec::new());
    let mut longest = 0.0_f64;
    for evidence in watch.evidence.iter().filter(|one| !one.may_roll_back) {
        let name = &evidence.threshold;
        let source = cx.policy.source_of(name);
        let is_blind = source.is_some_and(|source| cx.memory.blind.contains_key(source));
        let shows =
            if is_blind || evidence.unseen { Shows::Nothing } else { shows(evidence, watch) };
        if !matches!(shows, Shows::Breach) && !alerts.contains_key(name) {
            continue;
        }
        let alert = alerts.entry(name.clone()).or_insert_with(|| Alert::new(of.clone()));
        if alert.of != of && matches!(shows, Shows::Breach) {
            *alert = Alert::new(of.clone());
        }
        match alert.look(shows, at_once, cx) {
            Some(News::Breaches) => breaching.push(name.clone()),
            Some(News::Over { after_s }) => {
                longest = longest.max(after_s);
                over.push(name.clone());
            }
            None => {}
        }
    }
    cx.memory.alerts = alerts;
    if !breaching.is_empty() {
        let mut event = cx.event_about(EventKind::ReleaseDegraded, watch);
        event.mode = Some(Mode::Observe);
        event.reason = Some(Reason::OnlyAlerts { thresholds: breaching });
        cx.events.push(event);
    }
    if !over.is_empty() {
        let reason = Reason::AlertsOver { thresholds: over, after_s: longest };
        cx.tell(EventKind::ReleaseRecovered, watch, reason);
    }
    if !gone.is_empty() {
        cx.tell(EventKind::ReleaseRecovered, watch, Reason::AlertsGone { thresholds: gone });
    }
}
