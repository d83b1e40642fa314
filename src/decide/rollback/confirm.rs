//! Whether a region looks healthy on the known-good image.
//!
//! Shares are told apart by statistics (`threshold/confirm.rs`). Either side has to win clearly; until
//! then more is looked at. A known-good release just within its limit so confirms, and bad luck never
//! ends a rollback.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    super::{
        Context, Round, sight, signed,
        state::{Confirm, RegionPhase, RegionWork, Rollback},
        verdict::rests_on_metrics,
        watch as watching,
    },
    region::Next,
};
use crate::{
    model::{
        CheckStatus, HoldReason, Machine, MachineId, MachineState, Unwell, Verdict, Wait,
        reason::Unseen,
    },
    threshold::Finding,
};

/// Scrapes after which a region's pages count as unread.
const PAGE_STALE_AFTER: u32 = 5;
/// Confirm windows before people are told that a region cannot be confirmed, and before little
/// evidence has to do.
const CONFIRM_WINDOWS_MAX: u32 = 3;
/// What a region shows on the known-good image.
enum Look {
    Healthy,
    /// It is as bad as before.
    NoBetter(Unwell),
    /// Machines are down, or fail their checks.
    Down(Unwell),
    /// Its machines went to rest, or are gone: nobody is served by it.
    AtRest,
    /// Nothing is seen to be up, or this threshold has no traffic.
    Silent {
        threshold: Option<String>,
    },
    /// The numbers so far decide nothing; whether they lean towards health.
    Undecided {
        leans_well: bool,
    },
}

/// Why a rollback is no help, or what comes next.
pub(super) type Judged = Result<Next, HoldReason>;

/// Watches a region on the known-good image until it is confirmed, or clearly is not. `proof`: it is
/// the first, which has to show that the rollback helps.
pub(super) fn confirming(
    rollback: &Rollback,
    work: &RegionWork,
    mut confirm: Box<Confirm>,
    proof: bool,
    cx: &Context<'_>,
    round: &Round<'_>,
) -> Judged {
    let target = &rollback.target.digest;
    let on_target = |m: &&&Machine| m.region == work.region && m.digest() == Some(target);
    let here: Vec<&&Machine> = round.machines.iter().filter(on_target).collect();
    for machine in &here {
        let count = confirm.crashes.entry(machine.id.clone()).or_default();
        count.count(machine, confirm.since);
        for sample in round.observation.samples.iter().filter(|s| s.machine == machine.id) {
            if sample.readings.is_ok() {
                confirm.read_at = Some(cx.now);
            }
            watching::absorb_confirm(&mut confirm, target, machine, sample);
        }
    }
    if cx.now.duration_since(confirm.since) < signed(cx.policy.rollback.confirm) {
        let wait = confirm.waits.clone();
        return Ok(stays(confirm, wait));
    }
    let region = work.region.clone();
    if work.unlisted_since.is_some() {
        return Ok(stays(confirm, Some(Wait::Unlisted { region })));
    }
    if let Some(what) = unseen(rollback, &confirm, &here, cx) {
        return Ok(stays(confirm, Some(Wait::NotSeen { region: Some(region), what })));
    }
    let patient = confirm.windows >= CONFIRM_WINDOWS_MAX;
    match judge(rollback, work, &confirm, &here, cx) {
        Look::Healthy => Ok(Next::Moves(RegionPhase::Confirmed)),
        Look::NoBetter(detail) if proof => Err(HoldReason::NoImprovement { region, detail }),
        Look::NoBetter(detail) => {
            Ok(again(confirm, cx.now, true, Some(Wait::Unhealthy { region, detail })))
        }
        Look::Down(detail) if proof && patient && tells_of_machines(rollback) => {
            Err(HoldReason::NoImprovement { region, detail })
        }
        Look::Down(detail) => {
            let wait = patient.then_some(Wait::Unhealthy { region, detail });
            Ok(again(confirm, cx.now, false, wait))
        }
        Look::AtRest if patient || !proof => Ok(Next::Rests),
        Look::AtRest => Ok(again(confirm, cx.now, false, None)),
        // Only the first region has to prove that the rollback helps; a later one without traffic
        // is healthy as far as anybody can tell.
        Look::Silent { .. } if !proof => Ok(Next::Moves(RegionPhase::Confirmed)),
        Look::Silent { threshold } => {
            let wait = patient.then_some(Wait::NoEvidence { region, threshold });
            Ok(again(confirm, cx.now, false, wait))
        }
        Look::Undecided { leans_well: true } if patient || !proof => {
            Ok(Next::Moves(RegionPhase::Confirmed))
        }
        Look::Undecided { .. } => {
            let wait = patient.then_some(Wait::NoEvidence { region, threshold: None });
            Ok(again(confirm, cx.now, false, wait))
        }
    }
}

fn stays(confirm: Box<Confirm>, wait: Option<Wait>) -> Next {
    Next::Stays(RegionPhase::Confirming(confirm), wait)
}

/// Another window. Crashes are counted anew; requests too when they have spoken.
fn again(mut confirm: Box<Confirm>, now: Timestamp, anew: bool, wait: Option<Wait>) -> Next {
    confirm.since = now;
    confirm.windows = confirm.windows.saturating_add(1);
    confirm.crashes.clear();
    confirm.waits.clone_from(&wait);
    if anew {
        confirm.thresholds.clear();
    }
    stays(confirm, wait)
}

pub(super) fn begin_confirm(now: Timestamp) -> Confirm {
    Confirm {
        since: now,
        windows: 1,
        thresholds: BTreeMap::new(),
        crashes: BTreeMap::new(),
        absorbed: BTreeSet::new(),
        read_at: None,
        waits: None,
    }
}

/// What cannot be seen of the region.
fn unseen(
    rollback: &Rollback,
    confirm: &Confirm,
    here: &[&&Machine],
    cx: &Context<'_>,
) -> Option<Unseen> {
    sight::unseen(cx, &rollback.evidence).or_else(|| {
        let fresh = signed(cx.policy.watch.scrape_every * PAGE_STALE_AFTER);
        let read = confirm.read_at.is_some_and(|at| cx.now.duration_since(at) <= fresh);
        // What is at rest has no page.
        let up = here.iter().any(|machine| !machine.state.is_at_rest());
        (rests_on_metrics(&rollback.evidence) && up && !read).then_some(Unseen::RegionsPages)
    })
}

/// Whether the breach was one of machines: checks or crashes, not requests.
fn tells_of_machines(rollback: &Rollback) -> bool {
    let mut breaching = rollback.evidence.iter().filter(|e| e.verdict == Verdict::Breach);
    breaching.any(|evidence| !rests_on_metrics(std::slice::from_ref(evidence)))
}

/// Whether all machines that were put right are seen at rest. A list that is late shows them as they
/// were before.
fn is_at_rest(work: &RegionWork, here: &[&&Machine]) -> bool {
    let put_right = work.machines.iter().filter(|(_, machine)| machine.is_on_target());
    let mut ids = put_right.map(|(id, _)| id);
    ids.all(|id| here.iter().any(|machine| machine.id == *id))
        && here.iter().all(|machine| machine.state.is_at_rest())
}

fn judge(
    rollback: &Rollback,
    work: &RegionWork,
    confirm: &Confirm,
    here: &[&&Machine],
    cx: &Context<'_>,
) -> Look {
    let down: Vec<MachineId> = here
        .iter()
        .filter(|machine| {
            let tolerated = |name: &String| {
                rollback.tolerated.get(&machine.id).is_some_and(|names| names.contains(name))
            };
            let mut failing =
                machine.checks.iter().filter(|check| check.status == CheckStatus::Critical);
            machine.activity(false).is_down() || failing.any(|check| !tolerated(&check.name))
        })
        .map(|machine| machine.id.clone())
        .collect();
    if !down.is_empty() {
        return Look::Down(Unwell::Down { machines: down });
    }
    let crashes: u32 = confirm.crashes.values().map(|count| count.exits).sum();
    if crashes > 0 {
        return Look::Down(Unwell::Crashes { exits: crashes });
    }
    if is_at_rest(work, here) {
        return Look::AtRest;
    }
    if !here.iter().any(|machine| matches!(machine.state, MachineState::Started)) {
        return Look::Silent { threshold: None };
    }
    let mut leaning = true;
    let mut decided = true;
    for evidence in rollback.evidence.iter().filter(|e| e.verdict == Verdict::Breach) {
        let threshold = cx.policy.thresholds.iter().find(|t| t.name == evidence.threshold);
        let Some(threshold) = threshold else { continue };
        let shown = confirm.thresholds.get(&threshold.name).copied().unwrap_or_default();
        match threshold.room().confirm(&shown, evidence) {
            Finding::Untold | Finding::Better(_) => {}
            Finding::Silent => return Look::Silent { threshold: Some(threshold.name.clone()) },
            Finding::NoBetter(tally) => {
                let threshold = evidence.threshold.clone();
                return Look::NoBetter(Unwell::NoBetter { threshold, tally });
            }
            Finding::Undecided { leans_well, .. } => {
                decided = false;
                leaning &= leans_well;
            }
        }
    }
    if decided { Look::Healthy } else { Look::Undecided { leans_well: leaning } }
}
