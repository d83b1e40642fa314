//! Undoing a release: region by region, a few machines at a time, each region confirmed before the
//! next is touched.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{
    Command, CommandId, PutImage, PutOutcome, Step, fleet, later, signed,
    state::{
        Confirm, HoldReason, LedgerEntry, MachinePhase, MachineWork, Phase, RegionPhase,
        RegionWork, Revision, Rollback, Watch,
    },
    watch as watching,
    watch::allowed_share,
};
use crate::model::{
    CheckStatus, Digest, Event, EventKind, Evidence, HostStatus, Machine, MachineId, MachineState,
    MaxUnavailable, Observation, Policy, Region, RegionOrder, RegionReport, ReleaseVersion,
    Strategy, Verdict,
};

/// Attempts per machine before it is given up and named.
const ATTEMPTS_MAX: u32 = 5;
/// Pause after a failed attempt, times the attempts so far.
const RETRY_AFTER: Duration = Duration::from_secs(3);
/// Pause before a leased machine is tried again: a deploy that ends frees it any second.
const LEASE_RETRY_AFTER: Duration = Duration::from_secs(2);
/// Confirm windows before a region that does not improve stops the rollback.
const CONFIRM_WINDOWS_MAX: u32 = 3;
/// Machines at rest that are updated at once: nobody is served by them.
const AT_REST_AT_ONCE: usize = 4;
/// A share of bad events from which on there is nothing left to protect.
const TOTAL_OUTAGE: f64 = 0.9;
/// Rollbacks remembered for the daily budget.
const BUDGET_MEMORY: usize = 20;

/// The regions of a watch in the order in which they would be rolled back.
fn order(policy: &Policy, watch: &Watch) -> Vec<Region> {
    let badness = |region: &Region| -> f64 {
        let breaching = watch.evidence.iter().filter(|e| e.verdict == Verdict::Breach);
        let tallies = watch.regions.get(region);
        breaching
            .filter_map(|e| tallies.and_then(|t| t.get(&e.threshold)))
            .filter(|tally| tally.n > 0.0)
            // One bad request of one is no proof: the count weighs in.
            .map(|tally| (tally.k / tally.n) * (tally.n / (tally.n + 10.0)))
            .fold(0.0, f64::max)
    };
    let mut regions: Vec<Region> = watch.regions.keys().cloned().collect();
    regions.sort_by(|a, b| badness(b).total_cmp(&badness(a)).then_with(|| a.cmp(b)));
    let RegionOrder::Listed(list) = &policy.rollback.order else { return regions };
    let named = |region: &Region| list.iter().any(|entry| entry.as_ref() == Some(region));
    let mut ordered: Vec<Region> = Vec::new();
    for entry in list {
        match entry {
            Some(region) if regions.contains(region) => ordered.push(region.clone()),
            Some(_) => {}
            None => ordered.extend(regions.iter().filter(|r| !named(r)).cloned()),
        }
    }
    let rest: Vec<Region> = regions.into_iter().filter(|r| !ordered.contains(r)).collect();
    ordered.extend(rest);
    ordered
}

/// The plan, for `rollback.planned`.
pub(super) fn preview(policy: &Policy, watch: &Watch) -> Vec<RegionReport> {
    order(policy, watch)
        .into_iter()
        .map(|region| RegionReport {
            region,
            phase: "waiting".to_owned(),
            machines: BTreeMap::new(),
        })
        .collect()
}

/// Whether a region shows the breach itself.
fn is_breaching(watch: &Watch, region: &Region) -> bool {
    let mut from_counts = false;
    for evidence in watch.evidence.iter().filter(|e| e.verdict == Verdict::Breach) {
        if !matches!(evidence.kind.as_str(), "ratio" | "latency") {
            // Checks, crashes and gauges are told by machine: no region is ruled out by them.
            return true;
        }
        let tally = watch.regions.get(region).and_then(|t| t.get(&evidence.threshold));
        from_counts |= tally.is_some_and(|t| t.n > 0.0 && t.k / t.n > evidence.limit);
    }
    from_counts
}

fn is_total_outage(evidence: &[Evidence]) -> bool {
    evidence.iter().filter(|e| e.verdict == Verdict::Breach).any(|e| {
        matches!(e.kind.as_str(), "ratio" | "checks")
            && e.share().is_some_and(|share| share >= TOTAL_OUTAGE)
    })
}

impl Step<'_> {
    /// The image is there: write down the rollback, and its entry in the ledger first.
    pub(super) fn start_rollback(&mut self, watch: &Watch, target: Revision) -> Phase {
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
            ledger: LedgerEntry::Opening,
            completed_at: None,
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

    pub(super) fn ledger_refused(&mut self, reason: &str) {
        if let Phase::RollingBack(rollback) = &mut self.state.phase {
            if rollback.ledger == LedgerEntry::Opening {
                rollback.ledger = LedgerEntry::Refused { reason: reason.to_owned() };
            }
        }
    }

    /// One round of a rollback.
    pub(super) fn rolling_back(
        &mut self,
        mut rollback: Box<Rollback>,
        machines: &[&Machine],
        observation: &Observation,
    ) -> Phase {
        if rollback.ledger == LedgerEntry::Opening {
            return Phase::RollingBack(rollback);
        }
        rescan(&mut rollback, machines, &self.state.own_releases);
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

    /// Orders the next machines of a region, or moves on to confirming it.
    fn updating(
        &mut self,
        rollback: &Rollback,
        work: &mut RegionWork,
        machines: &[&Machine],
    ) -> Option<HoldReason> {
        let open = work.machines.values().any(|machine| match machine.phase {
            MachinePhase::Todo | MachinePhase::InFlight { .. } | MachinePhase::Leased { .. } => {
                true
            }
            MachinePhase::OnTarget
            | MachinePhase::HostDown
            | MachinePhase::Gone
            | MachinePhase::Failed { .. } => false,
        });
        if open {
            self.order_machines(rollback, work, machines);
            return None;
        }
        let failures: Vec<String> = work
            .machines
            .iter()
            .filter_map(|(id, machine)| match &machine.phase {
                MachinePhase::Failed { reason } => Some(format!("{id}: {reason}")),
                _ => None,
            })
            .collect();
        let any_up = work.machines.values().any(|m| m.running && m.phase == MachinePhase::OnTarget);
        if !failures.is_empty() && !any_up {
            return Some(HoldReason::RegionFailed {
                region: work.region.clone(),
                detail: failures.join("; "),
            });
        }
        if any_up {
            work.phase = RegionPhase::Confirming(begin_confirm(self.now, 1));
        } else {
            let detail = "nothing runs here".to_owned();
            work.phase = RegionPhase::Confirmed { detail };
        }
        None
    }

    fn order_machines(
        &mut self,
        rollback: &Rollback,
        work: &mut RegionWork,
        machines: &[&Machine],
    ) {
        let in_flight = |running: bool| {
            work.machines
                .values()
                .filter(|m| m.running == running)
                .filter(|m| matches!(m.phase, MachinePhase::InFlight { .. }))
                .count()
        };
        let (flying, flying_at_rest) = (in_flight(true), in_flight(false));
        let mut free = pool(self.policy, rollback, work, machines).saturating_sub(flying);
        let mut free_at_rest = AT_REST_AT_ONCE.saturating_sub(flying_at_rest);
        let now = self.now;
        let ready: Vec<MachineId> = work
            .machines
            .iter()
            .filter(|(_, m)| {
                matches!(m.phase, MachinePhase::Todo | MachinePhase::Leased { .. })
                    && m.retry_at.is_none_or(|at| at <= now)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in ready {
            let Some(machine) = work.machines.get_mut(&id) else { continue };
            let slot = if machine.running { &mut free } else { &mut free_at_rest };
            if *slot == 0 {
                continue;
            }
            *slot -= 1;
            let command = self.put_image(rollback, &id, &work.region);
            machine.phase = MachinePhase::InFlight { command };
        }
    }

    fn put_image(
        &mut self,
        rollback: &Rollback,
        machine: &MachineId,
        region: &Region,
    ) -> CommandId {
        let (release, release_id) = match &rollback.ledger {
            LedgerEntry::Open { id, version } => (Some(*version), Some(id.clone())),
            LedgerEntry::Opening | LedgerEntry::Refused { .. } => (rollback.target.version, None),
        };
        self.command(Command::PutImage(Box::new(PutImage {
            machine: machine.clone(),
            region: region.clone(),
            target: rollback.target.image.clone(),
            bad: rollback.bad.digest.clone(),
            release,
            release_id,
            after: rollback.bad.version.unwrap_or(self.state.seen_version),
            rollback: rollback.id.clone(),
            ready_timeout: self.policy.rollback.ready_timeout,
        })))
    }

    pub(super) fn put_finished(&mut self, command: &Command, outcome: &PutOutcome) {
        let Command::PutImage(put) = command else { return };
        let now = self.now;
        let phase = std::mem::replace(&mut self.state.phase, Phase::Unseen);
        self.state.phase = match phase {
            Phase::RollingBack(mut rollback) if rollback.id == put.rollback => {
                if let PutOutcome::Superseded { what } = outcome {
                    note_put(&mut rollback, put, &MachinePhase::Gone, now);
                    self.stop_for_rival(rollback, what)
                } else {
                    note_outcome(&mut rollback, put, outcome, now);
                    Phase::RollingBack(rollback)
                }
            }
            Phase::RolledBack(mut rollback) if rollback.id == put.rollback => {
                note_outcome(&mut rollback, put, outcome, now);
                Phase::RolledBack(rollback)
            }
            other => other,
        };
    }

    /// Watches a region on the known-good image until it is confirmed, or clearly is not.
    fn confirming(
        &mut self,
        rollback: &Rollback,
        work: &mut RegionWork,
        mut confirm: Confirm,
        proof: bool,
        machines: &[&Machine],
        observation: &Observation,
    ) -> Option<HoldReason> {
        let unfinished =
            work.machines.values().any(|machine| matches!(machine.phase, MachinePhase::Todo));
        if unfinished {
            // A machine came back with the bad image: it is put right first.
            return self.updating(rollback, work, machines);
        }
        let target = &rollback.target.digest;
        let here: Vec<&&Machine> = machines
            .iter()
            .filter(|m| m.region == work.region && m.digest() == Some(target))
            .collect();
        for machine in &here {
            let count = confirm.crashes.entry(machine.id.clone()).or_default();
            watching::count_crashes(count, machine, confirm.since);
            for sample in observation.samples.iter().filter(|s| s.machine == machine.id) {
                watching::absorb_confirm(&mut confirm, target, machine, sample);
            }
        }
        if self.now.duration_since(confirm.since) < signed(self.policy.rollback.confirm) {
            work.phase = RegionPhase::Confirming(confirm);
            return None;
        }
        let look = judge_region(self.policy, &rollback.evidence, &confirm, &here);
        let again = confirm.windows < CONFIRM_WINDOWS_MAX;
        match look {
            Look::Healthy(detail) => work.phase = RegionPhase::Confirmed { detail },
            // Only the first region has to prove that the rollback helps; a later one without
            // traffic is healthy as far as anybody can tell.
            Look::NoEvidence(detail) if !proof => work.phase = RegionPhase::Confirmed { detail },
            Look::Unhealthy(_) | Look::NoEvidence(_) if again => {
                let windows = confirm.windows + 1;
                let mut next = begin_confirm(self.now, windows);
                next.absorbed = confirm.absorbed;
                work.phase = RegionPhase::Confirming(next);
            }
            Look::Unhealthy(detail) => {
                work.phase = RegionPhase::Confirming(confirm);
                let region = work.region.clone();
                return Some(HoldReason::NoImprovement { region, detail });
            }
            Look::NoEvidence(detail) => {
                work.phase = RegionPhase::Confirming(confirm);
                let region = work.region.clone();
                return Some(HoldReason::CannotConfirm { region, detail });
            }
        }
        None
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
    fn stop(&mut self, rollback: Box<Rollback>, reason: HoldReason) -> Phase {
        self.close_ledger(&rollback, false);
        self.drop_unstarted(&rollback);
        let kind = match reason {
            HoldReason::RegionFailed { .. } => EventKind::RollbackFailed,
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
            Phase::RollingBack(rollback) => self.stop_for_rival(rollback, newer),
            other => other,
        };
    }

    fn stop_for_rival(&mut self, rollback: Box<Rollback>, newer: &str) -> Phase {
        self.close_ledger(&rollback, false);
        self.drop_unstarted(&rollback);
        let mut event = self.rollback_event(EventKind::RollbackStopped, &rollback);
        event.reason = Some(format!("a newer release wins: {newer}"));
        self.events.push(event);
        // Whatever is newer shows up on the machines and is watched from then on.
        Phase::Steady
    }

    fn close_ledger(&mut self, rollback: &Rollback, complete: bool) {
        if let LedgerEntry::Open { id, .. } = &rollback.ledger {
            self.command(Command::CloseRelease { id: id.clone(), complete });
        }
    }

    /// Forgets commands of a rollback that ended: none of them may begin now.
    fn drop_unstarted(&mut self, rollback: &Rollback) {
        self.state.pending.retain(|_, command| match command {
            Command::PutImage(put) => put.rollback != rollback.id,
            Command::CheckImage { .. }
            | Command::OpenRelease { .. }
            | Command::CloseRelease { .. } => true,
        });
    }

    /// After a rollback: machines that come back with the bad image are put right, one at a time
    /// per region.
    pub(super) fn mopping_up(
        &mut self,
        mut rollback: Box<Rollback>,
        machines: &[&Machine],
    ) -> Phase {
        rescan(&mut rollback, machines, &self.state.own_releases);
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
            let Some(id) = next.map(|(id, _)| id.clone()) else { continue };
            let command = self.put_image(&rollback, &id, &work.region);
            if let Some(machine) = work.machines.get_mut(&id) {
                machine.phase = MachinePhase::InFlight { command };
            }
        }
        rollback.regions = regions;
        Phase::RolledBack(rollback)
    }

    fn rollback_event(&self, kind: EventKind, rollback: &Rollback) -> Event {
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

fn begin_confirm(now: Timestamp, windows: u32) -> Confirm {
    Confirm {
        since: now,
        windows,
        tallies: BTreeMap::new(),
        crashes: BTreeMap::new(),
        absorbed: std::collections::BTreeSet::new(),
    }
}

/// How many running machines of a region may be down at once because of us.
fn pool(policy: &Policy, rollback: &Rollback, work: &RegionWork, machines: &[&Machine]) -> usize {
    let up = machines
        .iter()
        .filter(|m| m.region == work.region && matches!(m.state, MachineState::Started))
        .count()
        .max(work.machines.values().filter(|m| m.running).count());
    if rollback.escalated || policy.rollback.strategy == Strategy::Immediate {
        return up.max(1);
    }
    let proven = work.machines.values().any(|m| m.running && m.phase == MachinePhase::OnTarget);
    if !proven {
        // The first machine goes alone.
        return 1;
    }
    let machines_at_once = match policy.rollback.max_unavailable {
        MaxUnavailable::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
        MaxUnavailable::Share(share) => {
            let up = f64::from(u32::try_from(up).unwrap_or(u32::MAX));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of at most one of a machine count, rounded up"
            )]
            let count = (up * share.clamp(0.0, 1.0)).ceil() as usize;
            count
        }
    };
    machines_at_once.max(1)
}

/// Brings the work list in line with what the machines run now.
fn rescan(rollback: &mut Rollback, machines: &[&Machine], own: &[ReleaseVersion]) {
    let bad_version = rollback.bad.version;
    for machine in machines {
        let known = rollback.regions.iter().any(|work| work.region == machine.region);
        let is_bad = machine.digest() == Some(&rollback.bad.digest)
            && machine.release.is_none_or(|version| {
                bad_version.is_none_or(|bad| version <= bad) || own.contains(&version)
            });
        if !known && is_bad {
            rollback.regions.push(RegionWork {
                region: machine.region.clone(),
                phase: RegionPhase::Waiting,
                machines: BTreeMap::new(),
            });
        }
        let Some(work) = rollback.regions.iter_mut().find(|work| work.region == machine.region)
        else {
            continue;
        };
        let over = rollback.completed_at.is_some();
        rescan_machine(work, machine, is_bad, over);
    }
    let seen: std::collections::BTreeSet<&MachineId> = machines.iter().map(|m| &m.id).collect();
    for work in &mut rollback.regions {
        for (id, machine) in &mut work.machines {
            if !seen.contains(id) && !matches!(machine.phase, MachinePhase::InFlight { .. }) {
                machine.phase = MachinePhase::Gone;
            }
        }
    }
}

fn rescan_machine(work: &mut RegionWork, machine: &Machine, is_bad: bool, over: bool) {
    let reachable = machine.host == HostStatus::Ok;
    let known = work.machines.get_mut(&machine.id);
    let Some(entry) = known else {
        if is_bad {
            let phase = if reachable { MachinePhase::Todo } else { MachinePhase::HostDown };
            // What crashed to a stop is to be up again; what was stopped on purpose is not.
            let running = !machine.state.is_at_rest() || crashed_to_a_stop(machine);
            let entry = MachineWork { phase, attempts: 0, retry_at: None, running };
            work.machines.insert(machine.id.clone(), entry);
            if let RegionPhase::Confirmed { .. } = work.phase {
                if !over {
                    work.phase = RegionPhase::Updating;
                }
            }
        }
        return;
    };
    match &entry.phase {
        MachinePhase::InFlight { .. } => {}
        MachinePhase::Todo | MachinePhase::Leased { .. } if !is_bad => {
            entry.phase = MachinePhase::OnTarget;
        }
        MachinePhase::Todo | MachinePhase::Leased { .. } if !reachable => {
            entry.phase = MachinePhase::HostDown;
        }
        MachinePhase::Todo | MachinePhase::Leased { .. } => {}
        MachinePhase::HostDown if reachable && is_bad => entry.phase = MachinePhase::Todo,
        MachinePhase::HostDown if reachable => entry.phase = MachinePhase::OnTarget,
        MachinePhase::OnTarget | MachinePhase::Gone if is_bad && reachable => {
            // Reverted by the platform, or back from the dead.
            entry.attempts += 1;
            entry.phase = if entry.attempts >= ATTEMPTS_MAX {
                MachinePhase::Failed { reason: "it keeps going back to the bad image".to_owned() }
            } else {
                MachinePhase::Todo
            };
            if let RegionPhase::Confirmed { .. } = work.phase {
                if !over {
                    work.phase = RegionPhase::Updating;
                }
            }
        }
        MachinePhase::HostDown
        | MachinePhase::OnTarget
        | MachinePhase::Gone
        | MachinePhase::Failed { .. } => {}
    }
}

/// Whether the machine rests because it crashed, not because somebody or autostop stopped it.
pub fn crashed_to_a_stop(machine: &Machine) -> bool {
    matches!(machine.state, MachineState::Stopped | MachineState::Failed)
        && machine.exits.first().is_some_and(|exit| !exit.requested_stop)
}

fn note_put(rollback: &mut Rollback, put: &PutImage, phase: &MachinePhase, retry_at: Timestamp) {
    for work in rollback.regions.iter_mut().filter(|work| work.region == put.region) {
        if let Some(machine) = work.machines.get_mut(&put.machine) {
            machine.phase = phase.clone();
            machine.retry_at = Some(retry_at);
        }
    }
}

fn note_outcome(rollback: &mut Rollback, put: &PutImage, outcome: &PutOutcome, now: Timestamp) {
    match outcome {
        PutOutcome::Updated | PutOutcome::AlreadyOnTarget => {
            note_put(rollback, put, &MachinePhase::OnTarget, now);
        }
        PutOutcome::Superseded { .. } | PutOutcome::Gone => {
            note_put(rollback, put, &MachinePhase::Gone, now);
        }
        PutOutcome::HostDown { .. } => note_put(rollback, put, &MachinePhase::HostDown, now),
        PutOutcome::LeaseHeld { owner } => {
            let phase = MachinePhase::Leased { owner: owner.clone() };
            note_put(rollback, put, &phase, later(now, LEASE_RETRY_AFTER));
        }
        PutOutcome::Failed { reason } => {
            let mut attempts = 0;
            for work in &mut rollback.regions {
                if let Some(machine) = work.machines.get_mut(&put.machine) {
                    machine.attempts += 1;
                    attempts = machine.attempts;
                }
            }
            let phase = if attempts >= ATTEMPTS_MAX {
                MachinePhase::Failed { reason: reason.clone() }
            } else {
                MachinePhase::Todo
            };
            note_put(rollback, put, &phase, later(now, RETRY_AFTER * attempts));
        }
    }
}

/// What a region shows on the known-good image.
enum Look {
    Healthy(String),
    Unhealthy(String),
    NoEvidence(String),
}

fn judge_region(
    policy: &Policy,
    breach: &[Evidence],
    confirm: &Confirm,
    machines: &[&&Machine],
) -> Look {
    let down: Vec<&str> = machines
        .iter()
        .filter(|machine| {
            crashed_to_a_stop(machine)
                || machine.checks.iter().any(|check| check.status == CheckStatus::Critical)
        })
        .map(|machine| machine.id.as_str())
        .collect();
    if !down.is_empty() {
        return Look::Unhealthy(format!("{} down or failing its checks", down.join(", ")));
    }
    let crashes: u32 = confirm.crashes.values().map(|count| count.exits).sum();
    if crashes > 0 {
        return Look::Unhealthy(format!("{crashes} crashes since"));
    }
    if !machines.iter().any(|machine| matches!(machine.state, MachineState::Started)) {
        return Look::NoEvidence("no machine is started".to_owned());
    }
    let mut details = Vec::new();
    for evidence in breach.iter().filter(|e| e.verdict == Verdict::Breach) {
        let threshold = policy.thresholds.iter().find(|t| t.name == evidence.threshold);
        let Some((limit, _)) = threshold.and_then(|t| allowed_share(&t.kind)) else { continue };
        let Some(tally) = confirm.tallies.get(&evidence.threshold).filter(|t| t.n > 0.0) else {
            return Look::NoEvidence(format!("{} has no traffic", evidence.threshold));
        };
        let detail = format!(
            "{} {:.1} % ({:.0} of {:.0})",
            evidence.threshold,
            100.0 * tally.k / tally.n,
            tally.k,
            tally.n
        );
        // A single bad event among few is no share yet.
        if tally.k > 1.0 && tally.k / tally.n > limit {
            return Look::Unhealthy(detail);
        }
        details.push(detail);
    }
    if details.is_empty() {
        details.push("up, checks pass".to_owned());
    }
    Look::Healthy(details.join(", "))
}

/// Machines that still run the bad image when a rollback ends, by name.
fn left_behind(rollback: &Rollback, machines: &[&Machine]) -> Option<String> {
    let bad: &Digest = &rollback.bad.digest;
    let left: Vec<String> = machines
        .iter()
        .filter(|machine| machine.digest() == Some(bad))
        .map(|machine| {
            let why = rollback
                .regions
                .iter()
                .filter_map(|work| work.machines.get(&machine.id))
                .map(describe_machine)
                .next()
                .unwrap_or_else(|| "its region was left alone".to_owned());
            format!("{} in {}: {why}", machine.id, machine.region)
        })
        .collect();
    (!left.is_empty()).then(|| format!("still on the bad image: {}", left.join("; ")))
}

fn describe_machine(machine: &MachineWork) -> String {
    match &machine.phase {
        MachinePhase::Todo => "waiting".to_owned(),
        MachinePhase::InFlight { .. } => "being updated".to_owned(),
        MachinePhase::OnTarget if machine.running => "on target".to_owned(),
        MachinePhase::OnTarget => "on target, at rest".to_owned(),
        MachinePhase::Leased { owner } => format!("leased by {owner}"),
        MachinePhase::HostDown => "host unreachable".to_owned(),
        MachinePhase::Gone => "gone".to_owned(),
        MachinePhase::Failed { reason } => format!("failed: {reason}"),
    }
}

/// Region by region, for people.
pub fn report(rollback: &Rollback) -> Vec<RegionReport> {
    rollback
        .regions
        .iter()
        .map(|work| RegionReport {
            region: work.region.clone(),
            phase: match work.phase {
                RegionPhase::Waiting => "waiting",
                RegionPhase::Updating => "rolling_back",
                RegionPhase::Confirming(_) => "confirming",
                RegionPhase::Confirmed { .. } => "confirmed",
                RegionPhase::Skipped => "skipped",
            }
            .to_owned(),
            machines: work
                .machines
                .iter()
                .map(|(id, machine)| (id.clone(), describe_machine(machine)))
                .collect(),
        })
        .collect()
}
