//! The phases of an app's life, each a function of its own data, the round's facts and the
//! context, to the next phase. Undoing has its own folder, `rollback/`.

mod counting_down;
mod held;
mod watching;

use std::ops::ControlFlow;

use jiff::SignedDuration;

pub(super) use counting_down::{Times, begin_countdown, cancel_countdown, tell_cancelled};
pub(super) use held::{clear_hold, hold};
use watching::watching;

use super::{
    Context, Round, arrivals, distress, fleet, late, rollback, setup, sight, silence,
    state::{Phase, Watch},
    verdict, watch,
};
use crate::model::{EventKind, HoldReason, Reason, Verdict};

/// How long no machine may run a watched release before its watch ends: an update in progress
/// shows the new image at once, so this is not a deploy.
const GONE_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// Moves the phase as far as this round's facts carry it.
pub(super) fn advance(phase: Phase, cx: &mut Context<'_>, round: &Round<'_>) -> Phase {
    match phase {
        Phase::Unseen => Phase::Unseen,
        Phase::Steady => late::steady(cx, round),
        Phase::Watching(watch) => match runs_still(watch, cx, round, None) {
            ControlFlow::Continue(watch) if watch.late.is_some() => {
                late::watching(watch, cx, round)
            }
            ControlFlow::Continue(watch) => watching(watch, cx, round),
            ControlFlow::Break(next) => next,
        },
        Phase::CountingDown { watch, until, for_approval, if_vouched } => {
            let times = Times { until, for_approval, if_vouched };
            match runs_still(watch, cx, round, Some(EventKind::RollbackStopped)) {
                ControlFlow::Continue(watch) => {
                    counting_down::counting_down(watch, times, cx, round)
                }
                ControlFlow::Break(next) => next,
            }
        }
        Phase::Held { watch, reason, since } => {
            match runs_still(watch, cx, round, Some(EventKind::HoldCleared)) {
                ControlFlow::Continue(watch) => held::held(watch, reason, since, cx, round),
                ControlFlow::Break(next) => next,
            }
        }
        Phase::CheckingImage { mut watch, target, by_hand } => {
            look_again(&mut watch, cx, round);
            Phase::CheckingImage { watch, target, by_hand }
        }
        Phase::RollingBack(work) => rollback::rolling_back(work, cx, round),
        Phase::RolledBack(work) => match rollback::mopping_up(work, cx, round) {
            Phase::RolledBack(work) => match rollback::look_on_where_left_alone(work, cx, round) {
                Phase::RolledBack(work) => late::rolled_back(work, cx, round),
                other => other,
            },
            other => other,
        },
        Phase::Stopped { rollback, reason, since } => {
            held::stopped(rollback, reason, since, cx, round)
        }
    }
}

/// Ends a watch whose release no machine runs any more (somebody put another image on the machines
/// without making a release of it, or a canary was taken away): then the phase that follows, and what ends
/// is told as `ends`.
fn runs_still(
    mut watch: Box<Watch>,
    cx: &mut Context<'_>,
    round: &Round<'_>,
    ends: Option<EventKind>,
) -> ControlFlow<Phase, Box<Watch>> {
    let machines = round.machines;
    let gone = !machines.is_empty()
        && !machines.iter().any(|machine| machine.digest() == Some(&watch.revision.digest));
    if !gone {
        watch.gone_since = None;
        return ControlFlow::Continue(watch);
    }
    if cx.now.duration_since(*watch.gone_since.get_or_insert(cx.now)) < GONE_AFTER {
        return ControlFlow::Continue(watch);
    }
    if let Some(kind) = ends {
        cx.tell(kind, &watch, Reason::NobodyRunsIt);
    }
    ControlFlow::Break(match fleet::most_common(machines) {
        Some(runs) if cx.is_trusted(&runs) => {
            fleet::make_current(&mut cx.memory, runs, cx.now);
            Phase::Steady
        }
        Some(runs) if fleet::is_part(&cx.memory, machines, &runs) => {
            arrivals::runs_again(cx, round, runs)
        }
        Some(_) | None => Phase::Steady,
    })
}

/// Takes a round into a watch.
pub(super) fn look_again(watch: &mut Watch, cx: &Context<'_>, round: &Round<'_>) {
    let breached = verdict::breaches(&watch.evidence).map(|one| one.threshold.clone()).collect();
    let known_good = cx.memory.known_good_for(&watch.groups);
    let known = watch::Known { known_good, measured: known_good, past: &cx.memory.past };
    watch::absorb(cx.policy, watch, round, known, cx.now);
    verdict::refresh(cx.policy, watch, known_good, round.machines, cx.now);
    silence::judge(cx.policy, &cx.memory.silence, &cx.memory.org, watch, cx.now);
    sight::notes_hidden(watch, &breached, cx);
    if verdict::overall(&watch.evidence) == Verdict::Breach {
        setup::look(watch, &cx.memory, round.machines);
    }
    distress::suspect(watch, cx.now);
    late::forget_before(watch);
}

/// No policy names the app any more: what was begun ends here, and people are told.
pub(super) fn unwatched(phase: Phase, cx: &mut Context<'_>) -> Phase {
    match phase {
        Phase::CountingDown { watch, .. } | Phase::CheckingImage { watch, .. } => {
            cancel_countdown(watch, cx, HoldReason::NotWatched.into())
        }
        Phase::RollingBack(rollback) => rollback::stop(rollback, cx, HoldReason::NotWatched),
        phase @ (Phase::Unseen
        | Phase::Watching(_)
        | Phase::Steady
        | Phase::RolledBack(_)
        | Phase::Held { .. }
        | Phase::Stopped { .. }) => phase,
    }
}
