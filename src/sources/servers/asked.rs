//! What is looked for at a server, by whom, and what a round is told of it.

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    NOTHING_FOR,
    askers::Askers,
    tracks::{Counted, Listed, Tracks},
    trouble::Trouble,
    values::Values,
};
use crate::model::{AppName, Machine, Oddity, Readings, Selection, Wanted};

/// What is looked for, and by whom.
pub(super) struct Asked {
    pub(super) selection: Selection,
    /// Labels by which its counts are told apart.
    pub(super) by: Vec<String>,
    pub(super) apps: Askers,
    pub(super) tracks: Tracks,
    /// Where an expression is looked for.
    pub(super) values: Values,
    /// Why the server does not take the query.
    pub(super) refused: Option<String>,
    /// Why it does not answer it.
    pub(super) trouble: Trouble,
}

impl Asked {
    pub(super) fn new(wanted: &Wanted) -> Self {
        Self {
            selection: wanted.selection.clone(),
            by: wanted.by.clone(),
            apps: Askers::default(),
            tracks: Tracks::default(),
            values: Values::default(),
            refused: None,
            trouble: Trouble::default(),
        }
    }

    /// What is known of one machine, as it was `listed`, for every threshold that wants it.
    pub(super) fn tell(
        &mut self,
        (app, machine): (&AppName, &Machine),
        (listed, until): (Timestamp, Timestamp),
        now: Instant,
        thresholds: &[&Wanted],
        told: &mut Readings,
    ) {
        if let Some(detail) = self.trouble.told() {
            // What waits is told when the rest of it is there as well.
            for one in thresholds {
                let oddity = Oddity::Unanswered { detail: detail.to_owned() };
                told.oddities.insert(one.threshold.clone(), oddity);
            }
            return;
        }
        let (id, began) = (machine.id.as_str(), began(machine));
        let (mut counted, mut gauge, mut whole_app) = (None, None, false);
        match &self.selection {
            Selection::Share { .. } | Selection::Slow { .. } => {
                let instance = machine.instance.clone();
                let listed = Listed { instance, started: began, at: listed };
                counted = self.tracks.count(app, id, &listed, until);
            }
            Selection::Largest { .. } => gauge = self.tracks.gauge(app, id, began),
            Selection::Answer(_) => {}
            Selection::Value { .. } => {
                let told = self.values.tell(app, id);
                whole_app = told.is_some_and(|told| told.whole_app);
                gauge = told.map(|told| told.value);
            }
        }
        let refused = self.refused.as_deref().or_else(|| self.values.refused(app));
        let refused = refused.map(|detail| Oddity::Refused { detail: detail.to_owned() });
        let oddity = refused.or_else(|| self.tracks.oddity(app).cloned());
        // A machine without requests has no series; one that no app has is a wrong name.
        let nothing = self.tracks.nothing_for(now).is_some_and(|time| time >= NOTHING_FOR);
        for one in thresholds {
            let name = || one.threshold.clone();
            if let Some(Counted { count, series, belated }) = &counted {
                told.counts.extend(count.map(|count| (name(), count)));
                if !series.is_empty() {
                    told.series.insert(name(), series.clone());
                }
                told.belated.extend(belated.clone().map(|belated| (name(), belated)));
            }
            if let Some(value) = gauge {
                told.gauges.insert(name(), value);
            }
            if nothing {
                told.unmatched.insert(name());
            }
            if whole_app {
                told.whole_app.insert(name());
            }
            if let Some(oddity) = &oddity {
                told.oddities.insert(name(), oddity.clone());
            }
        }
    }
}

/// When what a machine runs began, as the platform tells it.
pub(super) fn began(machine: &Machine) -> Timestamp {
    machine.started_at.unwrap_or(machine.updated_at)
}

/// Its name among what is looked for: two that want the same have the same.
pub(super) fn key(wanted: &Wanted) -> String {
    format!("{} by {}", wanted.selection, wanted.by.join(","))
}
