//! Which regions may be worked on: the first alone until it is confirmed, then more and more at once.
//!
//! The first region is the proof that going back helps: nothing follows before it is confirmed. After
//! it a step begins when the machines of the one before are updated, the first of each region are
//! back and nothing speaks against going on; that step is confirmed meanwhile.

use super::super::state::{MachineWork, RegionPhase, RegionWork, Rollback};
use crate::model::{Policy, RegionsAtOnce};

/// The regions to be worked on now, as places in the rollback's list: those whose turn it is, and those
/// with a machine that may be down because of us, which has a place that others need.
pub(super) fn at_work(policy: &Policy, rollback: &Rollback) -> Vec<usize> {
    let mut at_work = whose_turn_it_is(policy, rollback);
    for (index, work) in rollback.regions.iter().enumerate() {
        let mut machines = work.machines.values();
        let owes = machines.any(|machine| machine.is_open() && machine.down_since.is_some());
        if work.is_open() && owes && !at_work.contains(&index) {
            at_work.push(index);
        }
    }
    at_work
}

fn whose_turn_it_is(policy: &Policy, rollback: &Rollback) -> Vec<usize> {
    let is_open = |index: &usize| rollback.regions.get(*index).is_some_and(RegionWork::is_open);
    let all: Vec<usize> = (0..rollback.regions.len()).collect();
    let proof = rollback.regions.iter().position(RegionWork::has_proved);
    if rollback.escalated && (rollback.proven || proof.is_some()) {
        return all.into_iter().filter(is_open).collect();
    }
    let Some(proof) = proof else { return rollback.active().into_iter().collect() };

    let follow: Vec<usize> = all
        .into_iter()
        .filter(|index| *index != proof)
        .filter(|index| rollback.regions.get(*index).is_some_and(|work| !work.is_left_alone()))
        .collect();
    let mut at_work = Vec::new();
    for step in steps(policy.rollback.regions_at_once, &follow) {
        at_work.extend(step.iter().copied().filter(is_open));
        let mut regions = step.iter().filter_map(|index| rollback.regions.get(*index));
        if !regions.all(|work| lets_follow(work, policy.rollback.overlap)) {
            break;
        }
    }
    at_work
}

/// The regions after the first one, step by step.
fn steps(at_once: RegionsAtOnce, mut follow: &[usize]) -> Vec<&[usize]> {
    let mut steps = Vec::new();
    let mut size = match at_once {
        RegionsAtOnce::Doubling => 1,
        RegionsAtOnce::Count(count) => usize::try_from(count).unwrap_or(usize::MAX).max(1),
        RegionsAtOnce::All => usize::MAX,
    };
    while !follow.is_empty() {
        let (step, rest) = follow.split_at(size.min(follow.len()));
        steps.push(step);
        follow = rest;
        if at_once == RegionsAtOnce::Doubling {
            size = size.saturating_mul(2);
        }
    }
    steps
}

/// Whether the step after this region's may begin, as far as this region is concerned.
fn lets_follow(work: &RegionWork, overlap: bool) -> bool {
    match &work.phase {
        RegionPhase::Confirmed | RegionPhase::Skipped(_) => true,
        RegionPhase::Waiting => false,
        // Some of it is back and well, and the rest does not serve the bad image any more.
        RegionPhase::Updating => {
            let counted = work.counted.as_ref();
            let against = counted.is_none_or(|confirm| confirm.speaks_against);
            overlap && !against && !work.machines.values().any(MachineWork::is_to_be_written)
        }
        RegionPhase::Confirming(confirm) => overlap && !confirm.speaks_against,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_follow_in_growing_steps_in_chunks_or_all_at_once() {
        let follow: Vec<usize> = (1..12).collect();
        let sizes = |at_once| -> Vec<usize> {
            steps(at_once, &follow).iter().map(|step| step.len()).collect()
        };
        assert_eq!(sizes(RegionsAtOnce::Doubling), [1, 2, 4, 4]);
        assert_eq!(sizes(RegionsAtOnce::Count(3)), [3, 3, 3, 2]);
        assert_eq!(sizes(RegionsAtOnce::Count(1)).len(), 11);
        assert_eq!(sizes(RegionsAtOnce::All), [11]);
        assert!(steps(RegionsAtOnce::Doubling, &[]).is_empty());
    }
}
