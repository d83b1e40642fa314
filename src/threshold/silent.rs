//! A release that hangs: it answers nothing while the one before it serves. Counters of answered requests
//! cannot show that by themselves, so the arms are swapped: what each machine of the release is due is
//! what it answered under the release before, and the machines that still run that one say whether
//! requests come at all.
//!
//! Only machines that are in service are compared, whose checks pass, and of which it is known what
//! they answered. A deploy that puts its new machines to work later blames none of them.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Look, Round,
    detect::{
        control::{Arms, ControlDetector, ControlSettings},
        ratio::{RatioDetector, RatioSettings},
    },
    signed,
};
use crate::model::{CheckStatus, Count, Machine, MachineId, Origin, Since, Tally};

/// A release that answers a fifth of what is due is no hang.
const LEAST: f64 = 5.0;
/// Machines of which is known what they answer, and seconds that say so.
const MACHINES_MAX: usize = 500;
const KNOWN_AFTER_S: f64 = 4.0;
/// How long a machine is in service before it is asked for anything.
const IN_SERVICE_FOR: SignedDuration = SignedDuration::from_secs(3);
/// What a metrics server tells of a machine begins with what lies between its first two readings of it,
/// and is late by this.
const LATE: SignedDuration = SignedDuration::from_secs(60);
const READINGS_UNTIL_TOLD: u32 = 2;
/// Two looks further apart than this are not compared.
const APART_MAX: SignedDuration = SignedDuration::from_secs(60);
/// Requests after which one that was silent serves again.
const SERVES_MIN: f64 = 10.0;

/// What each machine answers under the release before, and what is missed since.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Silent {
    usual: BTreeMap<MachineId, Answered>,
    misses: ControlDetector,
    /// The open block: when it began; what was due on either side, and answered.
    opened_at: Option<Timestamp>,
    due: Tally,
    beside: Tally,
    last: Option<Timestamp>,
    /// All of it so far, and what the release answered in the last block and since.
    whole: (Tally, Tally),
    lately: f64,
    since: f64,
}

/// What a machine answered, in so many seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    pub seconds: f64,
    pub n: f64,
}

impl Answered {
    fn rate(self) -> Option<f64> {
        (self.seconds >= KNOWN_AFTER_S && self.n > 0.0).then(|| self.n / self.seconds)
    }
}

/// What a machine answered since the last look; `None`: it was not read, or takes no requests.
fn answered(look: &Look<'_>, name: &str) -> Option<f64> {
    let count: &Count = look.readings?.counts.get(name)?;
    (count.since == Since::LastScrape).then_some(count.n)
}

/// For how long a machine has to be in service until what it answers must be known.
fn known_after(origin: &Origin) -> SignedDuration {
    if origin.every.is_zero() {
        return IN_SERVICE_FOR;
    }
    signed(origin.every * READINGS_UNTIL_TOLD).saturating_add(LATE)
}

/// Whether requests can be expected of a machine by now, which is in service for so long.
fn is_in_service(machine: &Machine, since: SignedDuration, now: Timestamp) -> bool {
    let ripe = |at: Timestamp| now.duration_since(at) >= since;
    let passes = machine
        .checks
        .iter()
        .all(|check| check.status == CheckStatus::Passing && check.changed_at.is_none_or(ripe));
    let checked = machine.checks_configured == 0 || !machine.checks.is_empty();
    !machine.cordoned && passes && checked && machine.started_at.is_some_and(ripe)
}

impl Silent {
    /// What each machine answered before the release came.
    pub fn expect(&mut self, usual: &BTreeMap<MachineId, Answered>) {
        self.usual.clone_from(usual);
    }

    /// Takes in a round of what is read from `origin`.
    pub fn add(
        &mut self,
        (name, origin): (&str, &Origin),
        round: &Round<'_>,
        settings: &RatioSettings,
    ) {
        let Some(before) = self.last.replace(round.now) else { return };
        let apart = round.now.duration_since(before);
        if round.control.is_empty() || apart > APART_MAX || apart <= SignedDuration::ZERO {
            self.opened_at = None;
            (self.due, self.beside) = (Tally::default(), Tally::default());
            return;
        }
        let seconds = apart.as_secs_f64();
        let mut beside = Tally::default();
        for look in round.control {
            let Some(n) = answered(look, name) else { continue };
            let id = &look.machine.id;
            if let Some(rate) = self.usual.get(id).copied().and_then(Answered::rate) {
                beside.add(rate * seconds, n);
            }
            if self.usual.contains_key(id) || self.usual.len() < MACHINES_MAX {
                let known = self.usual.entry(id.clone()).or_default();
                known.seconds += seconds;
                known.n += n;
            }
        }
        let mut due = Tally::default();
        let since = known_after(origin);
        for look in round.on.iter().filter(|look| is_in_service(look.machine, since, round.now)) {
            let rate = self.usual.get(&look.machine.id).copied().and_then(Answered::rate);
            if let Some((n, rate)) = answered(look, name).zip(rate) {
                due.add(rate * seconds, n);
            }
        }
        self.since += due.k;
        if due.n > 0.0 && beside.n > 0.0 {
            self.opened_at.get_or_insert(before);
            self.due.add(due.n, due.k);
            self.beside.add(beside.n, beside.k);
        }
        self.close(round.now, settings);
    }

    fn close(&mut self, now: Timestamp, settings: &RatioSettings) {
        let Some(opened) = self.opened_at else { return };
        let Ok(age) = Duration::try_from(now.duration_since(opened)) else {
            // The clock went back.
            self.opened_at = None;
            return;
        };
        if !settings.is_over(age) {
            return;
        }
        self.opened_at = None;
        let (due, beside) = (std::mem::take(&mut self.due), std::mem::take(&mut self.beside));
        let how = ControlSettings { alpha: settings.alpha, rho: LEAST, watch: settings.watch };
        self.misses.step(&[Arms { release: beside, control: due }], age, &how);
        self.whole.0.add(due.n, due.k);
        self.whole.1.add(beside.n, beside.k);
        self.lately = due.k;
        self.since = due.k;
    }

    /// ln E of its answering less than a fifth of what is due.
    pub fn ln_odds(&self) -> Option<f64> {
        self.misses.ln_odds()
    }

    /// Whether it answers nothing where that is sure not to be chance.
    pub fn is_found(&self, settings: &RatioSettings) -> bool {
        let sure = self.ln_odds().is_some_and(|odds| odds >= RatioDetector::needed(settings.alpha));
        sure && self.lately <= 0.0 && self.since <= 0.0
    }

    /// What was due of the release and what it answered; what was due and answered beside it.
    pub fn counted(&self) -> (Tally, Tally) {
        self.whole
    }

    /// Whether one that was silent serves.
    pub fn serves(&self) -> bool {
        self.since >= SERVES_MIN
    }

    /// What comes now is compared anew; what machines usually answer stays known.
    pub fn begin_anew(&mut self) {
        *self = Self { usual: std::mem::take(&mut self.usual), ..Self::default() };
    }
}
