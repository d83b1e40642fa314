//! A machine that fails alone while its equals serve is told of, once, with what to run: it is left out
//! of what is judged (`threshold/apart`), and nothing is undone for it.

use super::{Context, state::Watch};
use crate::model::{Alone, EventKind, Note, Reason};

/// Machines that fail alone, by threshold.
fn alone(watch: &Watch) -> impl Iterator<Item = (String, Alone)> {
    watch.evidence.iter().filter_map(|evidence| {
        let counted = watch.thresholds.get(&evidence.threshold).and_then(|state| state.alone());
        let alone = match &evidence.note {
            Some(Note::Apart(alone)) => Some(alone),
            _ => counted,
        };
        Some((evidence.threshold.clone(), alone?.clone()))
    })
}

/// Those of them of which people are told. Where all machines are looked at, whichever image each runs, one that
/// fails alone is no equal of the rest, and its host is not to blame.
pub fn shown(watch: &Watch) -> impl Iterator<Item = (String, Alone)> {
    alone(watch).filter(|_| !watch.of_all)
}

/// Whether a machine is left out of what is judged.
pub(super) fn is_any_apart(watch: &Watch) -> bool {
    alone(watch).next().is_some()
}

/// Tells of machines that were set apart since the last round.
pub(super) fn tell(cx: &mut Context<'_>, watch: &mut Watch) {
    let alone: Vec<(String, Alone)> = alone(watch).collect();
    watch.apart.retain(|id| alone.iter().any(|(_, one)| one.machine == *id));
    for (threshold, alone) in alone {
        if watch.apart.insert(alone.machine.clone()) {
            cx.tell(EventKind::MachineSuspect, watch, Reason::FailsAlone { threshold, alone });
        }
    }
}

/// Why a breach is none any more: it was one machine's, or it is over.
pub(super) fn why_well(watch: &Watch) -> Reason {
    let mut apart = alone(watch);
    apart
        .next()
        .map_or(Reason::Recovered, |(threshold, alone)| Reason::FailsAlone { threshold, alone })
}
