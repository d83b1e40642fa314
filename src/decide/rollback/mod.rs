//! Undoing a release: region by region, a few machines at a time, the first region confirmed before
//! any other is touched.
//!
//! `order` says which region comes first and `steps` which follow together, `region` orders the
//! machines of one within what `capacity` leaves, `progress` brings the work list (`work`) in line with what machines really run, `outcome` with
//! what came of each attempt, `confirm`
//! judges a region on the known-good image, `pause` is about the time in which nothing comes further,
//! `ledger` keeps the entry in the release ledger, `mop_up` puts right what comes back afterwards,
//! `left_alone` looks on where it leaves the release, `left_down` starts again what was taken down and left so, `ending` says how it ends, `report` tells all of it to people.

mod capacity;
mod confirm;
mod ending;
mod ledger;
mod left_alone;
pub mod left_down;
mod mop_up;
mod order;
mod outcome;
pub mod pause;
mod progress;
mod region;
mod report;
mod steps;
pub mod work;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{
    Command, Context, PutImage, PutOutcome, Round, door, fleet, groups, hands, setup,
    state::{ByHand, LedgerEntry, Phase, RegionPhase, RegionWork, Revision, Rollback, Watch},
};
use crate::model::{
    BUDGET_MAX, Event, EventKind, HoldReason, Machine, Mode, Policy, Reason, Region, Release, Wait,
};
pub use confirm::at_most as confirms_within;
use ending::{finish, nothing_left};
pub(super) use ending::{open_again, stop, stop_for_order, stop_for_rival};
pub(super) use ledger::{
    close_what_was_left_open, ledger_refused, release_closed, release_left_open, release_opened,
};
pub(super) use left_alone::look_on as look_on_where_left_alone;
pub(super) use left_down::{start_finished, start_what_was_left_down};
pub(super) use mop_up::mopping_up;
pub(super) use order::preview;
use order::{is_breaching, is_total_outage, order};
use outcome::note_outcome;
pub(super) use pause::not_seen;
use progress::rescan;
use region::{Next, failing, order_machines, updating};
pub use report::{can_pin, report};
use work::{Listed, MachinePhase, Skip};

/// Rollbacks remembered for the daily budgets: as many as one can allow.
const BUDGET_MEMORY: usize = BUDGET_MAX as usize;
/// What a round saw of the machines is good for ordering others for so long.
const LISTED_FOR: SignedDuration = SignedDuration::from_secs(10);

/// Writes the rollback down, and its entry in the ledger first. Only the door calls this.
pub(super) fn begin(
    watch: &Watch,
    target: &Revision,
    by_hand: Option<ByHand>,
    cx: &mut Context<'_>,
) -> Phase {
    let bad = watch.revision.clone();
    let regions = order(cx.policy, watch, cx.now)
        .into_iter()
        .map(|region| {
            let skip = left_alone((cx.policy, cx.now), watch, by_hand.as_ref(), &region);
            let phase = skip.map_or(RegionPhase::Waiting, RegionPhase::Skipped);
            RegionWork::new(region, phase)
        })
        .collect();
    let trusted = cx.memory.trusted.iter().find(|old| old.revision.digest == target.digest);
    let rollback = Rollback {
        id: format!("{}-{}-{}", cx.memory.app, bad.label(), cx.now.as_second()),
        regions,
        proven: false,
        listed: Vec::new(),
        escalated: cx.policy.rollback.escalate
            && by_hand.is_none()
            && is_total_outage(&watch.evidence),
        evidence: watch.evidence.clone(),
        started_at: cx.now,
        progress_at: cx.now,
        looked_at: cx.now,
        awake_since: cx.now,
        ledger: LedgerEntry::Opening,
        tolerated: trusted.map(|trusted| trusted.failing.clone()).unwrap_or_default(),
        completed_at: None,
        waits_for: None,
        ledger_seen: Vec::new(),
        pause: None,
        stall_told: false,
        setup: watch.setup.clone(),
        drift: setup::drift(cx.policy, &cx.memory, target, watch),
        put_back: setup::put_back(cx.policy, &cx.memory, target),
        target: target.clone(),
        bad: bad.clone(),
        leaves: match &by_hand {
            Some(by_hand) if by_hand.force => BTreeSet::new(),
            _ => groups::left_by(&cx.memory, &target.digest),
        },
        by_hand,
        insisted: None,
        stopped: None,
        left_alone: None,
        after: cx.memory.seen_version.max(bad.version.unwrap_or_default()),
    };
    match &rollback.by_hand {
        None => {
            if rollback.keeps_the_image() {
                setup::note_undone(cx, &bad);
            } else if !groups::is_good_elsewhere(&cx.memory, &bad.digest, &watch.groups) {
                cx.quarantine(&bad, &watch.groups);
                // What was trusted once is not any more.
                cx.memory.trusted.retain(|one| one.revision.digest != bad.digest);
            }
            remember_for_the_budget(cx);
        }
        Some(by_hand) => hands::note_begun(cx, by_hand, watch, target),
    }
    cx.command(Command::OpenRelease {
        image: target.image.reference(),
        after: rollback.after,
        since: cx.now,
    });
    let mut event = event(cx, EventKind::RollbackStarted, &rollback);
    event.after_s = Some(cx.now.duration_since(watch.since).as_secs_f64());
    event.reason = match &rollback.by_hand {
        Some(by_hand) => Some(Reason::OrderedBy { by: by_hand.signed.clone() }),
        None => watch.approved.clone().map(|by| Reason::ApprovedBy { by }),
    };
    cx.events.push(event);
    Phase::RollingBack(Box::new(rollback))
}

/// Why a region is not touched, if it is not.
fn left_alone(
    (policy, now): (&Policy, Timestamp),
    watch: &Watch,
    by_hand: Option<&ByHand>,
    region: &Region,
) -> Option<Skip> {
    match by_hand {
        Some(by_hand) => {
            let asked = by_hand.regions.is_empty() || by_hand.regions.contains(region);
            (!asked).then_some(Skip::NotAsked)
        }
        None => {
            let limited = policy.rollback.only_breaching_regions;
            (limited && !is_breaching(watch, region, now)).then_some(Skip::NotBreaching)
        }
    }
}

fn remember_for_the_budget(cx: &mut Context<'_>) {
    let now = cx.now;
    let rollbacks = &mut cx.memory.rollbacks;
    rollbacks.push(now);
    let day_ago = now.checked_sub(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MIN);
    rollbacks.retain(|at| *at > day_ago);
    let excess = rollbacks.len().saturating_sub(BUDGET_MEMORY);
    rollbacks.drain(..excess);
}

/// One round of a rollback.
pub(super) fn rolling_back(
    mut rollback: Box<Rollback>,
    cx: &mut Context<'_>,
    round: &Round<'_>,
) -> Phase {
    if cx.policy.mode == Mode::Observe && !rollback.is_wanted_by_hand() {
        return stop(rollback, cx, HoldReason::ObserveMode);
    }
    pause::note_absence(&mut rollback, cx.now);
    if rollback.ledger == LedgerEntry::Opening {
        return Phase::RollingBack(rollback);
    }
    rescan(&mut rollback, cx, round);
    if is_void(&rollback) {
        return nothing_left(&rollback, cx, round.machines);
    }
    let gate = pause::gate(&mut rollback, cx, round);
    let wait = match work_on(&mut rollback, cx, round, gate.as_ref()) {
        // A region that is confirmed needs no machine to be begun.
        Ok(Some(wait)) => match gate {
            Some(Wait::FreshBreach | Wait::NotSeen { .. }) if rollback.is_confirming() => {
                wait.or(gate)
            }
            gate => gate.or(wait),
        },
        Ok(None) => return finish(rollback, cx, round.machines),
        Err(reason) => return stop(rollback, cx, reason),
    };
    pause::note(&mut rollback, cx, wait);
    Phase::RollingBack(rollback)
}

/// Moves the regions as far as this round's facts carry them. `None`: all that can be done is done;
/// else what is waited for, if anything.
#[expect(clippy::option_option, reason = "whether it is over, and what is waited for if not")]
fn work_on(
    rollback: &mut Rollback,
    cx: &mut Context<'_>,
    round: &Round<'_>,
    gate: Option<&Wait>,
) -> Result<Option<Option<Wait>>, HoldReason> {
    take_in(rollback, cx, round);
    loop {
        let at_work = steps::at_work(cx.policy, rollback);
        if at_work.is_empty() {
            order_again(rollback, cx, gate);
            // A machine that serves the bad image is no end.
            return Ok(
                is_served(rollback, round.machines).then(|| failing(rollback.regions.iter()))
            );
        }
        if gate.is_none() {
            order_at(rollback, cx, &at_work);
        }
        let mut waits = None;
        let mut came_further = false;
        for index in at_work {
            match look_at(rollback, index, cx, round)? {
                Next::Stays(phase, wait) => {
                    let Some(work) = rollback.regions.get_mut(index) else { continue };
                    work.phase = phase;
                    waits = waits.or(wait);
                }
                Next::Moves(phase) => {
                    came_further = true;
                    moves(rollback, index, phase, None, cx);
                }
                Next::Rests => {
                    came_further = true;
                    if let Some(work) = rollback.regions.get_mut(index) {
                        work.go_to_rest();
                    }
                    let Some(work) = rollback.regions.get(index) else { continue };
                    let why = Reason::RegionRests { region: work.region.clone() };
                    moves(rollback, index, RegionPhase::Confirmed, Some(why), cx);
                }
                Next::Confirmed(shown, watched_s) => {
                    came_further = true;
                    let Some(work) = rollback.regions.get(index) else { continue };
                    let region = work.region.clone();
                    let why = report::well(rollback, region, shown, watched_s);
                    moves(rollback, index, RegionPhase::Confirmed, Some(why), cx);
                }
            }
        }
        if !came_further {
            order_again(rollback, cx, gate);
            return Ok(Some(waits.or_else(|| region::no_place(rollback, cx.now))));
        }
        // What follows begins in this very round.
    }
}

/// Counts what regions show on the known-good image, also while others of their machines are updated.
fn take_in(rollback: &mut Rollback, cx: &Context<'_>, round: &Round<'_>) {
    rollback.listed = Listed::all(round.machines, cx.now);
    for index in 0..rollback.regions.len() {
        let Some(work) = rollback.regions.get(index) else { continue };
        if let RegionPhase::Confirming(mut confirm) = work.phase.clone() {
            confirm::collect(rollback, work, &mut confirm, cx, round);
            if let Some(work) = rollback.regions.get_mut(index) {
                work.phase = RegionPhase::Confirming(confirm);
            }
            continue;
        }
        if work.phase != RegionPhase::Updating {
            continue;
        }
        if !work.is_back() {
            continue;
        }
        // A region that is worked on again is watched anew, however long its machines are back.
        let counted = work.counted.clone();
        let mut counted = counted.unwrap_or_else(|| Box::new(confirm::begin_confirm(cx.now)));
        confirm::collect(rollback, work, &mut counted, cx, round);
        let proves = rollback.escalated && confirm::proves(rollback, work, &counted, cx, round);
        rollback.proven |= proves;
        if let Some(work) = rollback.regions.get_mut(index) {
            work.counted = Some(counted);
        }
    }
}

/// Orders what is due in these regions.
fn order_at(rollback: &mut Rollback, cx: &mut Context<'_>, at_work: &[usize]) {
    let regions = at_work.iter().filter_map(|index| rollback.regions.get(*index));
    let regions: BTreeSet<Region> = regions.map(|work| work.region.clone()).collect();
    order_machines(rollback, cx, |work| regions.contains(&work.region));
}

/// Where a region that is worked on stands.
fn look_at(
    rollback: &Rollback,
    index: usize,
    cx: &Context<'_>,
    round: &Round<'_>,
) -> Result<Next, HoldReason> {
    // In a total outage the one machine that came back well was the proof.
    let proof = !rollback.proven && !rollback.regions.iter().any(RegionWork::has_proved);
    let Some(work) = rollback.regions.get(index) else {
        return Ok(Next::Stays(RegionPhase::Waiting, None));
    };
    // What `updating` waits for as well: else the region would go to and fro between the two for ever.
    let unfinished = work.awaited().next().is_some();
    match work.phase.clone() {
        RegionPhase::Confirming(confirm) if !unfinished => {
            confirm::confirming(rollback, work, confirm, proof, cx, round)
        }
        _ => Ok(updating(work, cx.now)),
    }
}

/// A region came further.
fn moves(
    rollback: &mut Rollback,
    index: usize,
    phase: RegionPhase,
    why: Option<Reason>,
    cx: &mut Context<'_>,
) {
    let Some(work) = rollback.regions.get_mut(index) else { return };
    work.phase = phase;
    // It is told by its phase from here on, or begins anew.
    work.counted = None;
    let is_confirmed = work.phase == RegionPhase::Confirmed;
    rollback.progress_at = cx.now;
    if is_confirmed {
        let mut event = event(cx, EventKind::RollbackRegionConfirmed, rollback);
        event.reason = why;
        cx.events.push(event);
    }
}

/// An outcome frees places: what is due is ordered at once, unless something has to be asked first.
fn order_next(rollback: &mut Rollback, cx: &mut Context<'_>) {
    let seen_lately = cx.now.duration_since(rollback.looked_at) < LISTED_FOR;
    let may = rollback.pause.is_none()
        && rollback.waits_for.is_none()
        && seen_lately
        && !rollback.listed.is_empty()
        && door::resume(cx, rollback).is_none();
    if may {
        let at_work = steps::at_work(cx.policy, rollback);
        order_at(rollback, cx, &at_work);
    }
}

/// Machines of regions that are done with, and that could not be put right: again.
fn order_again(rollback: &mut Rollback, cx: &mut Context<'_>, gate: Option<&Wait>) {
    if gate.is_none() {
        let is_done = |work: &RegionWork| match work.phase {
            RegionPhase::Confirming(_) | RegionPhase::Confirmed => true,
            RegionPhase::Skipped(_) => !work.is_left_alone(),
            RegionPhase::Waiting | RegionPhase::Updating => false,
        };
        order_machines(rollback, cx, is_done);
    }
}

/// Whether a machine that could not be put right still serves the bad image, or is just tried.
pub(super) fn is_served(rollback: &Rollback, machines: &[&Machine]) -> bool {
    let ours = rollback.regions.iter().filter(|work| !work.is_left_alone());
    ours.flat_map(|work| &work.machines).any(|(id, machine)| {
        let listed = machines.iter().find(|listed| listed.id == *id);
        let rests = listed.is_some_and(|listed| listed.state.is_at_rest());
        match machine.phase {
            MachinePhase::InFlight { .. } => true,
            MachinePhase::Todo | MachinePhase::Failed { .. } => !rests,
            MachinePhase::OnTarget
            | MachinePhase::HostDown
            | MachinePhase::Gone
            | MachinePhase::OtherImage { .. }
            | MachinePhase::SetByHand { .. } => false,
        }
    })
}

/// Whether no machine runs the bad image, and none was touched: somebody was faster.
fn is_void(rollback: &Rollback) -> bool {
    let nothing = rollback.regions.iter().all(|work| {
        let left = work.is_left_alone();
        left || (work.machines.is_empty() && work.unlisted_since.is_none())
    });
    nothing && rollback.progress_at == rollback.started_at
}

/// Yields to a release that machines run already, and waits for one that is only announced.
pub(super) fn mind_rivals(
    phase: Phase,
    cx: &mut Context<'_>,
    machines: &[&Machine],
    ledger: Option<&[Release]>,
) -> Phase {
    let Phase::RollingBack(mut rollback) = phase else { return phase };
    if let Some(newer) = fleet::rival(&cx.memory, &rollback, machines, cx.now) {
        return stop_for_rival(cx, &rollback, &newer.to_string());
    }
    if let Some(ledger) = ledger {
        rollback.waits_for = fleet::announced(&cx.memory, &rollback, ledger, cx.now);
    }
    Phase::RollingBack(rollback)
}

/// The daemon begins anew while commands are pending: what they did before it ended is not known.
pub(super) fn restarted(phase: Phase, now: Timestamp) -> Phase {
    match phase {
        Phase::RollingBack(mut rollback) => {
            note_interrupted(&mut rollback, now);
            Phase::RollingBack(rollback)
        }
        Phase::RolledBack(mut rollback) => {
            note_interrupted(&mut rollback, now);
            Phase::RolledBack(rollback)
        }
        other => other,
    }
}

fn note_interrupted(rollback: &mut Rollback, now: Timestamp) {
    for machine in rollback.regions.iter_mut().flat_map(|work| work.machines.values_mut()) {
        if machine.is_in_flight() && machine.running {
            machine.down_since = Some(now);
        }
    }
}

/// What came of putting the image on one machine.
pub(super) fn put_finished(
    phase: Phase,
    cx: &mut Context<'_>,
    command: &Command,
    outcome: &PutOutcome,
) -> Phase {
    let Command::PutImage(put) = command else { return phase };
    match phase {
        Phase::RollingBack(mut rollback) if rollback.id == put.rollback => {
            note(&mut rollback, cx, put, outcome);
            if let PutOutcome::NewerRelease { version, .. } = outcome {
                return stop_for_rival(cx, &rollback, &version.to_string());
            }
            order_next(&mut rollback, cx);
            Phase::RollingBack(rollback)
        }
        Phase::RolledBack(mut rollback) if rollback.id == put.rollback => {
            note(&mut rollback, cx, put, outcome);
            Phase::RolledBack(rollback)
        }
        other => other,
    }
}

/// Takes an outcome in. A machine that is given up is named, once.
fn note(rollback: &mut Rollback, cx: &mut Context<'_>, put: &PutImage, outcome: &PutOutcome) {
    if !note_outcome(rollback, put, outcome, cx.now) {
        return;
    }
    let failure = rollback.machine(&put.machine).and_then(|machine| machine.given_up.clone());
    let Some(failure) = failure else { return };
    let mut event = event(cx, EventKind::RollbackFailed, rollback);
    let (machine, region) = (put.machine.clone(), put.region.clone());
    event.reason = Some(Reason::MachineFailed { machine, region, failure });
    cx.events.push(event);
}

/// An event about a rollback, with its regions and machines.
pub(super) fn event(cx: &Context<'_>, kind: EventKind, rollback: &Rollback) -> Event {
    let mut event = Event::new(kind, cx.now, Some(cx.memory.app.clone()));
    event.release = Some(rollback.bad.info());
    event.known_good = Some(rollback.target.info());
    event.mode = Some(mode(cx.policy, rollback));
    event.evidence = rollback.evidence.clone();
    event.regions = report(rollback);
    event.drift = rollback.drift.clone();
    event.can_pin = can_pin(&cx.memory, rollback);
    event.after_s = Some(cx.now.duration_since(rollback.started_at).as_secs_f64());
    event
}

/// In which mode what is told of a rollback was done. It was begun, so that nothing of it was only
/// observed, whatever the policy says by now; and what a person ordered waited for nobody's yes.
fn mode(policy: &Policy, rollback: &Rollback) -> Mode {
    match policy.mode {
        Mode::Approve if !rollback.is_wanted_by_hand() => Mode::Approve,
        Mode::Approve | Mode::Rollback | Mode::Observe => Mode::Rollback,
    }
}
