//! How far the known-good release's counts spread, measured while it serves and recorded with it: so
//! much less is each failure of the next release worth as evidence.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::{
    Context,
    state::{Phase, Watch},
};
use crate::threshold::detect::Dispersion;

/// A release of which so many minutes were measured is judged by itself; until then it spreads at least
/// as far as the one before.
const MINUTES_ENOUGH: u32 = 30;
/// What is measured on is recorded so often.
const RECORDED_EVERY: SignedDuration = SignedDuration::from_mins(10);

/// What a release that becomes known-good takes along, by threshold.
pub(super) fn of(cx: &Context<'_>, watch: &Watch) -> BTreeMap<String, Dispersion> {
    let before = cx.memory.known_good().map(|trusted| &trusted.dispersions);
    let names = cx.policy.thresholds.iter().map(|threshold| &threshold.name);
    let measured = names.filter_map(|name| {
        let own = watch.thresholds.get(name).and_then(|state| state.dispersion(cx.now));
        let before = before.and_then(|all| all.get(name)).copied();
        Some((name.clone(), either(own, before)?))
    });
    measured.collect()
}

fn either(own: Option<Dispersion>, before: Option<Dispersion>) -> Option<Dispersion> {
    let careful = |own: &Dispersion| {
        own.minutes >= MINUTES_ENOUGH || before.is_none_or(|before| own.phi >= before.phi)
    };
    own.filter(careful).or(before)
}

/// Goes on measuring what runs steadily.
pub(super) fn keep(cx: &mut Context<'_>, phase: &Phase) {
    let (Phase::Steady, Some(watch)) = (phase, cx.memory.vigil.watch()) else { return };
    let digest = &watch.revision.digest;
    let trusted = cx.memory.trusted.iter().find(|one| one.revision.digest == *digest);
    let Some(trusted) = trusted else { return };
    let now = cx.now;
    let mut news = Vec::new();
    for threshold in &cx.policy.thresholds {
        let held = trusted.dispersions.get(&threshold.name).copied();
        if held.is_some_and(|held| now.duration_since(held.at) < RECORDED_EVERY) {
            continue;
        }
        let state = watch.thresholds.get(&threshold.name);
        let own = state.and_then(|state| state.dispersion(now));
        if let Some(measured) = either(own, held).filter(|measured| Some(*measured) != held) {
            news.push((threshold.name.clone(), measured));
        }
    }
    if news.is_empty() {
        return;
    }
    let digest = digest.clone();
    for trusted in &mut cx.memory.trusted {
        if trusted.revision.digest == digest {
            trusted.dispersions.extend(news);
            trusted
                .dispersions
                .retain(|name, _| cx.policy.thresholds.iter().any(|one| one.name == *name));
            return;
        }
    }
}
