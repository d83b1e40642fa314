//! Regions that a rollback leaves alone, since the bad release shows nothing bad there (`only_breaching_regions`):
//! it runs on in them, and is judged on. What it shows there later is undone there.

use super::{
    super::{
        Context, Round,
        phases::look_again,
        sight,
        state::{Phase, RegionPhase, RegionWork, Rollback},
        verdict,
    },
    ending::leave_unfinished,
    pause,
    work::Skip,
};
use crate::model::{Machine, Verdict};

/// Looks at what a rollback that is over left alone; where it breaches, it is dealt with like any release.
pub(in crate::decide) fn look_on(
    mut rollback: Box<Rollback>,
    cx: &mut Context<'_>,
    round: &Round<'_>,
) -> Phase {
    if !round.machines.iter().any(|machine| is_left(&rollback, machine)) {
        rollback.left_alone = None;
        return Phase::RolledBack(rollback);
    }
    let mut watch = rollback.left_alone.take().unwrap_or_else(|| {
        let mut watch = pause::anew(&rollback, cx.now);
        watch.no_mercy = true;
        // In some regions only it is no deploy, and nothing to go back to, however well it is there.
        watch.numbered = false;
        Box::new(watch)
    });
    look_again(&mut watch, cx, round);
    let breaches = verdict::overall(&watch.evidence) == Verdict::Breach
        && sight::unseen(cx, &watch.evidence).is_none()
        && !cx.memory.org.listening;
    if breaches {
        leave_unfinished(cx, &rollback);
        return Phase::Watching(watch);
    }
    rollback.left_alone = Some(watch);
    Phase::RolledBack(rollback)
}

/// Whether a machine serves the bad release where that was left.
fn is_left(rollback: &Rollback, machine: &Machine) -> bool {
    let left = |work: &RegionWork| {
        work.region == machine.region && work.phase == RegionPhase::Skipped(Skip::NotBreaching)
    };
    !machine.state.is_at_rest()
        && machine.digest() == Some(&rollback.bad.digest)
        && rollback.regions.iter().any(left)
}
