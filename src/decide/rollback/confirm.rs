//! Whether a region looks healthy on the known-good image.
//!
//! Shares are told apart by statistics (`threshold/confirm.rs`). Either side has to win clearly; until
//! then more is looked at. A known-good release just within its limit so confirms, and bad luck never
//! ends a rollback.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    super::{
        Context, Round, sight, signed,
        state::{Confirm, MachineWork, RegionPhase, RegionWork, Rollback},
        verdict::{self, rests_on},
        watch as watching,
    },
    region::Next,
    work::Skip,
};
use crate::{
    model::{
        CheckStatus, Evidence, HoldReason, HostStatus, Machine, MachineId, MachineState, Oddity,
        Policy, Readings, Shown, SourceName, Unwell, Verdict, Wait, reason::Unseen,
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
    /// What requests say of it; `None`: only checks and exits do.
    Healthy { shown: Option<Shown> },
    /// It is as bad as before.
    NoBetter(Unwell),
    /// Machines are down, or fail their checks.
    Down(Unwell),
    /// Its machines went to rest, or are gone: nobody is served by it.
    AtRest,
    /// Nothing is seen to be up, or this threshold has no traffic.
    Silent { threshold: Option<String> },
    /// The numbers so far decide nothing; whether they lean towards health.
    Undecided { leans_well: bool },
}

/// Why a rollback is no help, or what comes next.
pub(super) type Judged = Result<Next, HoldReason>;

/// Takes in what a region shows on the known-good image, from its first machine that is back: once a
/// round, since it counts.
pub(super) fn collect(
    rollback: &Rollback,
    work: &RegionWork,
    confirm: &mut Confirm,
    cx: &Context<'_>,
    round: &Round<'_>,
) {
    let target = &rollback.target.digest;
    let sources = rests_on(cx.policy, &rollback.evidence);
    // What is not answered of what breached is not read.
    let shows = |readings: &Readings| {
        let mut breaching = verdict::breaches(&rollback.evidence);
        let hides =
            |one: &Evidence| readings.oddities.get(&one.threshold).is_some_and(Oddity::hides);
        sources.is_empty() || !breaching.all(hides)
    };
    for machine in here(rollback, work, round) {
        let count = confirm.crashes.entry(machine.id.clone()).or_default();
        let back = work.machines.get(&machine.id).and_then(|work| work.verified_at);
        count.count(machine, back.map_or(confirm.since, |at| at.max(confirm.since)));
        for sample in round.observation.samples.iter().filter(|s| s.machine == machine.id) {
            let tells = sources.is_empty() || sources.contains(&sample.source);
            if tells && sample.readings.as_ref().is_ok_and(shows) {
                confirm.read_at = Some(cx.now);
            }
            watching::absorb_confirm(confirm, target, rollback.started_at, machine, sample);
        }
    }
    let look = judge(rollback, work, confirm, &here(rollback, work, round), cx);
    confirm.speaks_against = matches!(look, Look::NoBetter(_) | Look::Down(_));
}

/// A region's machines on the known-good image: those that we put there, and those that were never
/// off it.
fn here<'a>(rollback: &Rollback, work: &RegionWork, round: &Round<'a>) -> Vec<&'a Machine> {
    let target = Some(&rollback.target.digest);
    let machines = round.machines.iter().copied();
    machines
        .filter(|machine| machine.region == work.region && machine.digest() == target)
        .filter(|machine| work.machines.get(&machine.id).is_none_or(MachineWork::is_on_target))
        .collect()
}

/// Whether a machine that is back already proves that going back helps: in a total outage one is
/// enough, and checks that pass there are a proof as well.
pub(super) fn proves(
    rollback: &Rollback,
    work: &RegionWork,
    confirm: &Confirm,
    cx: &Context<'_>,
    round: &Round<'_>,
) -> bool {
    let enough =
        cx.now.duration_since(confirm.since) >= signed(cx.policy.rollback.confirm.at_least);
    let look = || judge(rollback, work, confirm, &here(rollback, work, round), cx);
    enough && matches!(look(), Look::Healthy { .. })
}

/// How long a region is watched at most before checks and exits decide. Where nobody said it, and a server
/// that is read seldom is what counted against the release: until it can have told of the region.
pub fn at_most(policy: &Policy, rollback: &Rollback) -> Duration {
    let breaching = rollback.evidence.iter().filter(|one| one.verdict == Verdict::Breach);
    policy.confirms_within(breaching.map(|one| one.threshold.as_str()))
}

/// Watches a region on the known-good image until it is confirmed, or clearly is not. `proof`: it is
/// the first, which has to show that the rollback helps.
pub(super) fn confirming(
    rollback: &Rollback,
    work: &RegionWork,
    confirm: Box<Confirm>,
    proof: bool,
    cx: &Context<'_>,
    round: &Round<'_>,
) -> Judged {
    let here = here(rollback, work, round);
    let times = cx.policy.rollback.confirm;
    let watched = cx.now.duration_since(confirm.since);
    let wait = confirm.waits.clone();
    let well = |shown| Next::Confirmed(shown, watched.as_secs_f64());
    if watched < signed(times.at_least) {
        return Ok(stays(confirm, wait));
    }
    let hidden = hidden(rollback, work, &confirm, &here, cx);
    if watched < signed(at_most(cx.policy, rollback)) {
        // Good news is taken at once, when requests bring it; for bad news all the time is used.
        return Ok(match judge(rollback, work, &confirm, &here, cx) {
            Look::Healthy { shown: Some(shown) } if hidden.is_none() => well(Some(shown)),
            _ => stays(confirm, wait),
        });
    }
    if let Some(wait) = hidden {
        // That may last for days: what proves anything is the next region.
        return Ok(match is_lost(work, round) {
            true => Next::Moves(RegionPhase::Skipped(Skip::Unreachable)),
            false => stays(confirm, Some(wait)),
        });
    }
    let region = work.region.clone();
    let patient = confirm.windows >= CONFIRM_WINDOWS_MAX;
    match judge(rollback, work, &confirm, &here, cx) {
        Look::Healthy { shown } => Ok(well(shown)),
        Look::NoBetter(_) if rollback.insisted.is_some() => Ok(well(None)),
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
        Look::Silent { .. } if !proof => Ok(well(None)),
        Look::Silent { threshold } => {
            let wait = patient.then_some(Wait::NoEvidence { region, threshold });
            Ok(again(confirm, cx.now, false, wait))
        }
        Look::Undecided { leans_well: true } if patient || !proof => Ok(well(None)),
        Look::Undecided { .. } => {
            let wait = patient.then_some(Wait::NoEvidence { region, threshold: None });
            Ok(again(confirm, cx.now, false, wait))
        }
    }
}

/// Whether no host answers any more of the machines that were put right. A list that is behind shows
/// them as they were, and says nothing of that.
fn is_lost(work: &RegionWork, round: &Round<'_>) -> bool {
    let ours =
        work.machines.iter().filter(|(_, machine)| machine.running && machine.is_on_target());
    let mut ours = ours.map(|(id, _)| round.machines.iter().find(|machine| machine.id == *id));
    !work.machines.is_empty()
        && ours.all(|machine| machine.is_some_and(|machine| machine.host != HostStatus::Ok))
}

/// What keeps a region from being seen.
fn hidden(
    rollback: &Rollback,
    work: &RegionWork,
    confirm: &Confirm,
    here: &[&Machine],
    cx: &Context<'_>,
) -> Option<Wait> {
    let region = work.region.clone();
    if work.unlisted_since.is_some() {
        return Some(Wait::Unlisted { region });
    }
    let what = unseen(rollback, confirm, here, cx)?;
    Some(Wait::NotSeen { region: Some(region), what })
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
        speaks_against: false,
    }
}

/// What cannot be seen of the region.
fn unseen(
    rollback: &Rollback,
    confirm: &Confirm,
    here: &[&Machine],
    cx: &Context<'_>,
) -> Option<Unseen> {
    sight::unseen(cx, &rollback.evidence).or_else(|| {
        let fresh = signed(cx.policy.watch.scrape_every * PAGE_STALE_AFTER);
        let read = confirm.read_at.is_some_and(|at| cx.now.duration_since(at) <= fresh);
        // What is at rest has no page.
        let up = here.iter().any(|machine| !machine.state.is_at_rest());
        let sources = rests_on(cx.policy, &rollback.evidence);
        let what = match sources.contains(&SourceName::Pages) {
            true => Unseen::RegionsPages,
            false => Unseen::Metrics,
        };
        (!sources.is_empty() && up && !read).then_some(what)
    })
}

/// Whether the breach was one of machines: checks or crashes, not requests.
fn tells_of_machines(rollback: &Rollback) -> bool {
    let mut breaching = rollback.evidence.iter().filter(|e| e.verdict == Verdict::Breach);
    breaching.any(|evidence| !evidence.kind.reads_series())
}

/// Whether all machines that were put right are seen at rest. A list that is late shows them as they
/// were before.
fn is_at_rest(work: &RegionWork, here: &[&Machine]) -> bool {
    let put_right = work.machines.iter().filter(|(_, machine)| machine.is_on_target());
    let mut ids = put_right.map(|(id, _)| id);
    ids.all(|id| here.iter().any(|machine| machine.id == *id))
        && here.iter().all(|machine| machine.state.is_at_rest())
}

fn judge(
    rollback: &Rollback,
    work: &RegionWork,
    confirm: &Confirm,
    here: &[&Machine],
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
    let mut best = None;
    let mut silent = None;
    for evidence in rollback.evidence.iter().filter(|e| e.verdict == Verdict::Breach) {
        let threshold = cx.policy.thresholds.iter().find(|t| t.name == evidence.threshold);
        let Some(threshold) = threshold else { continue };
        let shown = confirm.thresholds.get(&threshold.name).cloned().unwrap_or_default();
        match threshold.room().confirm(&shown, evidence) {
            Finding::Untold => {}
            Finding::Better { tally, ln_odds } => {
                let threshold = threshold.name.clone();
                best.get_or_insert(Shown { threshold, tally, ln_odds });
            }
            Finding::Silent => {
                silent.get_or_insert(threshold.name.clone());
            }
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
    // What is rarely asked for says nothing for long, where another one says that it helps.
    if silent.is_some() && best.is_none() {
        return Look::Silent { threshold: silent };
    }
    if decided && silent.is_none() {
        return Look::Healthy { shown: best };
    }
    Look::Undecided { leans_well: leaning }
}
