//! A machine that fails alone while its equals serve is told of, once, with what to run: it is left out
//! of what is judged (`threshold/apart`), and nothing is undone for it.

use super::{Context, state::Watch};
use crate::model::{Alone, EventKind, Reason};

/// Tells of machines that were set apart since the last round.
pub(super) fn tell(cx: &mut Context<'_>, watch: &mut Watch) {
    let alone: Vec<(String, Alone)> = watch
        .thresholds
        .iter()
        .filter_map(|(name, state)| Some((name.clone(), state.alone()?.clone())))
        .collect();
    watch.apart.retain(|id| alone.iter().any(|(_, one)| one.machine == *id));
    for (threshold, alone) in alone {
        if watch.apart.insert(alone.machine.clone()) {
            cx.tell(EventKind::MachineSuspect, watch, Reason::FailsAlone { threshold, alone });
        }
    }
}

/// Why a breach is none any more: it was one machine's, or it is over.
pub(super) fn why_well(watch: &Watch) -> Reason {
    let mut apart = watch.thresholds.iter().filter_map(|(name, state)| {
        let alone = state.alone()?.clone();
        Some(Reason::FailsAlone { threshold: name.clone(), alone })
    });
    apart.next().unwrap_or(Reason::Recovered)
}
