//! Undoing a release: region by region, a few machines at a time, each region confirmed before the
//! next is touched.
//!
//! `order` says which region comes first, `region` orders the machines of one, `progress` brings
//! the work list (`work`) in line with what machines really run, `confirm` judges a region on the
//! known-good image, `report` tells all of it to people.

mod confirm;
mod order;
mod progress;
mod region;
mod report;
pub mod work;

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{
    Command, PutImage, PutOutcome, Step, fleet, later,
    state::{
        HoldReason, LedgerEntry, MachinePhase, Phase, RegionPhase, RegionWork, Revision, Rollback,
        Unclosed, Watch,
    },
};
use crate::model::{Event, EventKind, Machine, Mode, Observation, Release, ReleaseVersion};
pub(super) use order::preview;
use order::{is_breaching, is_total_outage, order};
pub use progress::crashed_to_a_stop;
use progress::{Seen, note_outcome, note_put, rescan};
use report::left_behind;
pub use report::report;

/// Pause before a ledger entry is closed again, times the tries so far; and how many there are:
/// about a day.
const CLOSE_RETRY_AFTER: Duration = Duration::from_secs(60);
const CLOSE_TRIES_MAX: u32 = 50;
/// Rollbacks remembered for the daily budget.
const BUDGET_MEMORY: usize = 20;

impl Step<'_> {
    /// The image is there: write down the rollback, and its entry in the ledger first.
    pub(super) fn start_rollback(&mut self, watch: &Watch, target: &Revision) -> Phase {
        let bad = watch.revision.clone();
        let regions = order(self.policy, watch)
            .into_iter()
            .map(|region| RegionWork {
                phase: if self.policy.rollback.only_breaching_regions
                    && !is_breaching(watch, &region)
                {
                    RegionPhase::Skipped
                } else {
                    RegionPhase::Waiting
                },
                region,
                machines: BTreeMap::new(),
            })
            .collect();
        let rollback = Rollback {
            id: format!("{}-{}-{}", self.state.app, bad.label(), self.now.as_second()),
            regions,
            escalated: self.policy.rollback.escalate && is_total_outage(&watch.evidence),
            evidence: watch.evidence.clone(),
            started_at: self.now,
            progress_at: self.now,
            ledger: LedgerEntry::Opening,
            tolerated: self
                .state
                .trusted
                .iter()
                .find(|trusted| trusted.revision.digest == target.digest)
                .map(|trusted| trusted.failing.clone())
                .unwrap_or_default(),
            completed_at: None,
            waits_for: None,
            target: target.clone(),
            bad: bad.clone(),
        };
        self.quarantine(&bad);
        self.state.rollbacks.push(self.now);
        let day_ago = self.now.checked_sub(SignedDuration::from_hours(24));
        let day_ago = day_ago.unwrap_or(Timestamp::MIN);
        self.state.rollbacks.retain(|at| *at > day_ago);
        let excess = self.state.rollbacks.len().saturating_sub(BUDGET_MEMORY);
        self.state.rollbacks.drain(..excess);
        self.command(Command::OpenRelease {
            image: target.image.reference(),
            after: bad.version.unwrap_or_default(),
            since: self.now,
        });
        let mut event = self.rollback_event(EventKind::RollbackStarted, &rollback);
        event.after_s = Some(self.now.duration_since(watch.since).as_secs_f64());
        self.events.push(event);
        Phase::RollingBack(Box::new(rollback))
    }

    pub(super) fn release_opened(&mut self, id: &str, version: ReleaseVersion) {
        fleet::make_own(&mut self.state, version);
        if let Phase::RollingBack(rollback) = &mut self.state.phase {
            rollback.ledger = LedgerEntry::Open { id: id.to_owned(), version };
        } else {
            // The rollback was stopped meanwhile; its entry must not stay open.
            self.command(Command::CloseRelease { id: id.to_owned(), complete: false });
        }
    }

    pub(super) fn release_closed(&mut self, command: &Command) {
        if let Command::CloseRelease { id, .. } = command {
            self.state.unclosed.remove(id);
        }
    }

    /// A release that stays `running` makes other tools wait for ever: it is tried for a day.
    pub(super) fn release_left_open(&mut self, command: &Command) {
        let Command::CloseRelease { id, complete } = command else { return };
        let tries = self.state.unclosed.get(id).map_or(0, |open| open.tries) + 1;
        if tries > CLOSE_TRIES_MAX {
            self.state.unclosed.remove(id);
            let reason =
                format!("our release {id} cannot be closed in the ledger: close it by hand");
            self.say(EventKind::MonitorBlind, reason);
            return;
        }
        let next = later(self.now, CLOSE_RETRY_AFTER * tries);
        self.state.unclosed.insert(id.clone(), Unclosed { complete: *complete, tries, next });
    }

    pub(super) fn closes_what_was_left_open(&mut self) {
        let now = self.now;
        let due: Vec<(String, bool)> = self
            .state
            .unclosed
            .iter()
            .filter(|(_, open)| open.next <= now)
            .map(|(id, open)| (id.clone(), open.complete))
            .collect();
        for (id, complete) in due {
            let under_way = self.state.pending.values().any(|command| {
                matches!(command, Command::CloseRelease { id: pending, .. } if *pending == id)
            });
            if !under_way {
                self.command(Command::CloseRelease { id, complete });
            }
        }
    }

    pub(super) fn ledger_refused(&mut self, reason: &str) {
        if let Phase::RollingBack(rollback) = &mut self.state.phase
            && rollback.ledger == LedgerEntry::Opening
        {
            rollback.ledger = LedgerEntry::Refused { reason: reason.to_owned() };
        }
    }

    /// One round of a rollback.
    pub(super) fn rolling_back(
        &mut self,
        mut rollback: Box<Rollback>,
        machines: &[&Machine],
        observation: &Observation,
    ) -> Phase {
        if self.policy.mode != Mode::Rollback {
            return self.stop(rollback, HoldReason::ObserveMode);
        }
        if rollback.ledger == LedgerEntry::Opening {
            return Phase::RollingBack(rollback);
        }
        let seen = Seen {
            machines,
            own: &self.state.own_releases,
            quarantined: &self.state.quarantined,
            began: observation.began,
        };
        rescan(&mut rollback, &seen, self.now);
        let Some(index) = rollback.regions.iter().position(|work| match work.phase {
            RegionPhase::Waiting | RegionPhase::Updating | RegionPhase::Confirming(_) => true,
            RegionPhase::Confirmed { .. } | RegionPhase::Skipped => false,
        }) else {
            return self.finish(rollback, machines);
        };
        let proof = !rollback.regions.iter().any(|work| {
            matches!(work.phase, RegionPhase::Confirmed { .. })
                && work.machines.values().any(|m| m.phase == MachinePhase::OnTarget && m.running)
        });
        let Some(mut work) = rollback.regions.get(index).cloned() else {
            return Phase::RollingBack(rollback);
        };
        let phase = std::mem::replace(&mut work.phase, RegionPhase::Updating);
        let stopped = match phase {
            RegionPhase::Confirming(confirm) => {
                self.confirming(&rollback, &mut work, confirm, proof, machines, observation)
            }
            RegionPhase::Waiting | RegionPhase::Updating => {
                self.updating(&rollback, &mut work, machines)
            }
            RegionPhase::Confirmed { .. } | RegionPhase::Skipped => {
                work.phase = phase;
                None
            }
        };
        let confirmed = matches!(work.phase, RegionPhase::Confirmed { .. });
        if let Some(slot) = rollback.regions.get_mut(index) {
            if std::mem::discriminant(&slot.phase) != std::mem::discriminant(&work.phase) {
                rollback.progress_at = self.now;
            }
            *slot = work;
        }
        if let Some(reason) = stopped {
            return self.stop(rollback, reason);
        }
        if confirmed {
            let event = self.rollback_event(EventKind::RollbackRegionConfirmed, &rollback);
            self.events.push(event);
            // The next region begins in this very round.
            return self.rolling_back(rollback, machines, observation);
        }
        Phase::RollingBack(rollback)
    }

    /// Yields to a release that machines run already, and waits for one that is only announced.
    pub(super) fn minds_rivals(&mut self, machines: &[&Machine], ledger: Option<&[Release]>) {
        let Phase::RollingBack(rollback) = &self.state.phase else { return };
        if let Some(newer) = fleet::rival(&self.state, rollback, machines, self.now) {
            return self.yield_to(&newer.to_string());
        }
        let Some(ledger) = ledger else { return };
        let waits_for = fleet::announced(&self.state, rollback, ledger, self.now);
        if let Phase::RollingBack(rollback) = &mut self.state.phase {
            rollback.waits_for = waits_for;
        }
    }

    pub(super) fn put_finished(&mut self, command: &Command, outcome: &PutOutcome) {
        let Command::PutImage(put) = command else { return };
        let now = self.now;
        let phase = std::mem::replace(&mut self.state.phase, Phase::Unseen);
        self.state.phase = match phase {
            Phase::RollingBack(mut rollback) if rollback.id == put.rollback => {
                if let PutOutcome::NewerRelease { version, .. } = outcome {
                    note_put(&mut rollback, put, &MachinePhase::Gone, now, Duration::ZERO);
                    self.stop_for_rival(&rollback, &version.to_string())
                } else {
                    note_outcome(&mut rollback, put, outcome, now);
                    Phase::RollingBack(rollback)
                }
            }
            Phase::RolledBack(mut rollback) if rollback.id == put.rollback => {
                note_outcome(&mut rollback, put, outcome, now);
                self.tell_of_failure(&rollback, put);
                Phase::RolledBack(rollback)
            }
            other => other,
        };
    }

    /// A machine that comes back after a rollback and cannot be put right is named.
    fn tell_of_failure(&mut self, rollback: &Rollback, put: &PutImage) {
        let failed =
            rollback.regions.iter().filter_map(|work| work.machines.get(&put.machine)).find_map(
                |machine| match &machine.phase {
                    MachinePhase::Failed { reason } => Some(reason.clone()),
                    _ => None,
                },
            );
        if let Some(reason) = failed {
            let mut event = self.rollback_event(EventKind::RollbackFailed, rollback);
            event.reason = Some(format!("{} in {}: {reason}", put.machine, put.region));
            self.events.push(event);
        }
    }

    fn finish(&mut self, mut rollback: Box<Rollback>, machines: &[&Machine]) -> Phase {
        rollback.completed_at = Some(self.now);
        let current = Revision {
            version: match &rollback.ledger {
                LedgerEntry::Open { version, .. } => Some(*version),
                LedgerEntry::Opening | LedgerEntry::Refused { .. } => rollback.target.version,
            },
            ..rollback.target.clone()
        };
        fleet::make_current(&mut self.state, current, self.now);
        self.close_ledger(&rollback, true);
        let mut event = self.rollback_event(EventKind::RollbackCompleted, &rollback);
        event.after_s = Some(self.now.duration_since(rollback.started_at).as_secs_f64());
        event.reason = left_behind(&rollback, machines);
        self.events.push(event);
        Phase::RolledBack(rollback)
    }

    /// Stops half way and pages.
    pub(super) fn stop(&mut self, rollback: Box<Rollback>, reason: HoldReason) -> Phase {
        self.close_ledger(&rollback, false);
        self.drop_unstarted(&rollback);
        let kind = match reason {
            HoldReason::RegionFailed { .. } | HoldReason::Stalled { .. } => {
                EventKind::RollbackFailed
            }
            _ => EventKind::RollbackStopped,
        };
        for kind in [kind, EventKind::HoldPlaced] {
            let mut event = self.rollback_event(kind, &rollback);
            event.reason = Some(reason.to_string());
            self.events.push(event);
        }
        Phase::Stopped { rollback, reason, since: self.now }
    }

    /// A newer release wins: the rollback ends where it is.
    pub(super) fn yield_to(&mut self, newer: &str) {
        let phase = std::mem::replace(&mut self.state.phase, Phase::Unseen);
        self.state.phase = match phase {
            Phase::RollingBack(rollback) => self.stop_for_rival(&rollback, newer),
            other => other,
        };
    }

    pub(super) fn stop_for_rival(&mut self, rollback: &Rollback, newer: &str) -> Phase {
        self.close_ledger(rollback, false);
        self.drop_unstarted(rollback);
        let mut event = self.rollback_event(EventKind::RollbackStopped, rollback);
        event.reason = Some(format!("a newer release wins: {newer}"));
        self.events.push(event);
        // Whatever is newer shows up on the machines and is watched from then on.
        Phase::Steady
    }

    fn close_ledger(&mut self, rollback: &Rollback, complete: bool) {
        match &rollback.ledger {
            LedgerEntry::Open { id, .. } => {
                self.command(Command::CloseRelease { id: id.clone(), complete });
            }
            // It may have been made all the same: then other tools wait for it.
            LedgerEntry::Refused { .. } => {
                self.command(Command::CloseStray {
                    image: rollback.target.image.reference(),
                    after: rollback.bad.version.unwrap_or_default(),
                    since: rollback.started_at,
                    complete,
                });
            }
            // Its outcome comes when the rollback is over, and closes it then.
            LedgerEntry::Opening => {}
        }
    }

    /// Forgets commands of a rollback that ended: none of them may begin now.
    fn drop_unstarted(&mut self, rollback: &Rollback) {
        self.state.pending.retain(|_, command| match command {
            Command::PutImage(put) => put.rollback != rollback.id,
            Command::CheckImage { .. }
            | Command::OpenRelease { .. }
            | Command::StartMachine(_)
            | Command::CloseStray { .. }
            | Command::CloseRelease { .. } => true,
        });
    }

    /// After a rollback: machines that come back with the bad image are put right, one at a time
    /// per region.
    pub(super) fn mopping_up(
        &mut self,
        mut rollback: Box<Rollback>,
        machines: &[&Machine],
        began: Timestamp,
    ) -> Phase {
        if self.policy.mode != Mode::Rollback {
            return Phase::RolledBack(rollback);
        }
        let seen = Seen {
            machines,
            own: &self.state.own_releases,
            quarantined: &self.state.quarantined,
            began,
        };
        let returned = rescan(&mut rollback, &seen, self.now);
        if !returned.is_empty() {
            let names: Vec<String> = returned.iter().map(ToString::to_string).collect();
            let mut event = self.rollback_event(EventKind::ImageMixed, &rollback);
            event.reason = Some(format!(
                "the image that was rolled back runs again on {}: it is put right",
                names.join(", ")
            ));
            self.events.push(event);
        }
        let mut regions = std::mem::take(&mut rollback.regions);
        for work in &mut regions {
            let skipped = matches!(work.phase, RegionPhase::Skipped);
            let busy = work
                .machines
                .values()
                .any(|machine| matches!(machine.phase, MachinePhase::InFlight { .. }));
            if skipped || busy {
                continue;
            }
            let now = self.now;
            let next = work.machines.iter().find(|(_, machine)| {
                matches!(machine.phase, MachinePhase::Todo | MachinePhase::Leased { .. })
                    && machine.retry_at.is_none_or(|at| at <= now)
            });
            let Some((id, machine)) = next.map(|(id, machine)| (id.clone(), machine.clone()))
            else {
                continue;
            };
            let command = self.put_image(&rollback, &id, &work.region, &machine);
            if let Some(machine) = work.machines.get_mut(&id) {
                machine.phase = MachinePhase::InFlight { command };
            }
        }
        rollback.regions = regions;
        Phase::RolledBack(rollback)
    }

    pub(super) fn rollback_event(&self, kind: EventKind, rollback: &Rollback) -> Event {
        let mut event = Event::new(kind, self.now, Some(self.state.app.clone()));
        event.release = Some(rollback.bad.info());
        event.known_good = Some(rollback.target.info());
        event.mode = Some(self.policy.mode);
        event.evidence = rollback.evidence.clone();
        event.regions = report(rollback);
        event.after_s = Some(self.now.duration_since(rollback.started_at).as_secs_f64());
        event
    }
}
