//! Whether a region looks healthy on the known-good image.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    super::{
        Context, Round, sight, signed,
        state::{Confirm, MachinePhase, RegionPhase, RegionWork, Rollback},
        verdict::rests_on_metrics,
        watch as watching,
    },
    region::updating,
};
use crate::{
    model::{
        CheckStatus, HoldReason, Machine, MachineState, Policy, Tally, Verdict, reason::Unseen,
    },
    threshold::Finding,
};

/// Scrapes after which a region's pages count as unread.
const PAGE_STALE_AFTER: u32 = 5;
/// Confirm windows before a region that does not improve stops the rollback.
const CONFIRM_WINDOWS_MAX: u32 = 3;

/// Watches a region on the known-good image until it is confirmed, or clearly is not.
pub(super) fn confirming(
    rollback: &Rollback,
    work: &mut RegionWork,
    mut confirm: Confirm,
    proof: bool,
    cx: &mut Context<'_>,
    round: &Round<'_>,
) -> Option<HoldReason> {
    let unfinished =
        work.machines.values().any(|machine| matches!(machine.phase, MachinePhase::Todo));
    if unfinished {
        // A machine came back with the bad image: it is put right first.
        work.phase = RegionPhase::Updating;
        return updating(rollback, work, cx, round.machines);
    }
    let target = &rollback.target.digest;
    let here: Vec<&&Machine> = round
        .machines
        .iter()
        .filter(|m| m.region == work.region && m.digest() == Some(target))
        .collect();
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
        work.phase = RegionPhase::Confirming(confirm);
        return None;
    }
    let unseen = sight::unseen(cx, &rollback.evidence).or_else(|| {
        let fresh = signed(cx.policy.watch.scrape_every * PAGE_STALE_AFTER);
        let read = confirm.read_at.is_some_and(|at| cx.now.duration_since(at) <= fresh);
        let needed = rests_on_metrics(&rollback.evidence) && !here.is_empty();
        (needed && !read).then_some(Unseen::RegionsPages)
    });
    let look = match unseen {
        Some(what) => Look::NoEvidence(match what {
            Unseen::Platform => "the platform cannot be read".to_owned(),
            Unseen::Metrics => "the metrics cannot be read".to_owned(),
            Unseen::RegionsPages => "none of its pages can be read".to_owned(),
        }),
        None => judge_region(cx.policy, rollback, &confirm, &here),
    };
    let again = confirm.windows < CONFIRM_WINDOWS_MAX;
    match look {
        Look::Healthy(detail) => work.phase = RegionPhase::Confirmed { detail },
        // Only the first region has to prove that the rollback helps; a later one without
        // traffic is healthy as far as anybody can tell.
        Look::NoEvidence(detail) if !proof && unseen.is_none() => {
            work.phase = RegionPhase::Confirmed { detail };
        }
        Look::Unhealthy(_) | Look::NoEvidence(_) if again => {
            let windows = confirm.windows + 1;
            let mut next = begin_confirm(cx.now, windows);
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

pub(super) fn begin_confirm(now: Timestamp, windows: u32) -> Confirm {
    Confirm {
        since: now,
        windows,
        thresholds: BTreeMap::new(),
        crashes: BTreeMap::new(),
        absorbed: BTreeSet::new(),
        read_at: None,
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
    rollback: &Rollback,
    confirm: &Confirm,
    machines: &[&&Machine],
) -> Look {
    let down: Vec<&str> = machines
        .iter()
        .filter(|machine| {
            let tolerated = |name: &String| {
                rollback.tolerated.get(&machine.id).is_some_and(|names| names.contains(name))
            };
            let mut failing =
                machine.checks.iter().filter(|check| check.status == CheckStatus::Critical);
            machine.standing(false).is_down() || failing.any(|check| !tolerated(&check.name))
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
    for evidence in rollback.evidence.iter().filter(|e| e.verdict == Verdict::Breach) {
        let threshold = policy.thresholds.iter().find(|t| t.name == evidence.threshold);
        let Some(threshold) = threshold else { continue };
        let shown = confirm.thresholds.get(&threshold.name).copied().unwrap_or_default();
        let detail = |tally: Tally| {
            format!(
                "{} {:.1} % ({:.0} of {:.0})",
                threshold.name,
                100.0 * tally.k / tally.n,
                tally.k,
                tally.n
            )
        };
        match threshold.room().confirm(&shown) {
            Finding::Untold => {}
            Finding::Silent => {
                return Look::NoEvidence(format!("{} has no traffic", threshold.name));
            }
            Finding::Above(tally) => return Look::Unhealthy(detail(tally)),
            Finding::Within(tally) => details.push(detail(tally)),
        }
    }
    if details.is_empty() {
        details.push("up, checks pass".to_owned());
    }
    Look::Healthy(details.join(", "))
}
