//! What is held of the release that is being dealt with, for those who ask how it came to its verdict.

use jiff::Timestamp;

use crate::{
    decide::{
        AppState, distress,
        state::{Phase, Revision, Watch},
    },
    model::{CheckStatus, Evidence, Machine, OrgContext, Policy, event::ReleaseInfo},
    threshold::Span,
    web::explain::{
        Explained, MachineView, NeighbourView, Promises, RegionCounts, SeriesView, ThresholdView,
    },
};

/// Apps beside it that are shown.
const NEIGHBOURS_SHOWN: usize = 20;

/// `None`: nothing is being dealt with.
pub(super) fn explained<'a>(
    state: &'a AppState,
    machines: &[Machine],
    (policy, now): (&Policy, Timestamp),
) -> Option<Explained> {
    // A rollback has its own: whatever was trusted since is not what it went to.
    let good = || Some(&state.memory.known_good()?.revision);
    let known_good = state.phase.target().or_else(good).map(Revision::info);
    let control = known_good.as_ref().map_or_else(String::new, ReleaseInfo::label);
    // What is looked at on.
    let of_vigil = |watch: &'a Watch| -> (&'a Revision, Option<Span>, Vec<ThresholdView>) {
        let all = watch.evidence.iter().map(|one| of_watch(watch, one, &control, now));
        (&watch.revision, Some(watch.span()), all.collect())
    };
    let (release, span, thresholds) = match &state.phase {
        Phase::Watching(watch)
        | Phase::CountingDown { watch, .. }
        | Phase::CheckingImage { watch, .. }
        | Phase::Held { watch, .. } => {
            let all = watch.evidence.iter().map(|one| of_watch(watch, one, &control, now));
            (&watch.revision, Some(watch.span()), all.collect())
        }
        Phase::Stopped { .. } if state.memory.vigil.watch().is_some() => {
            of_vigil(state.memory.vigil.watch()?)
        }
        Phase::RollingBack(rollback)
        | Phase::RolledBack(rollback)
        | Phase::Stopped { rollback, .. } => {
            let of_breach = |one: &Evidence| ThresholdView::new(one, &control, &one.last_blocks);
            (&rollback.bad, None, rollback.evidence.iter().map(of_breach).collect())
        }
        Phase::Steady => of_vigil(state.memory.vigil.watch()?),
        Phase::Unseen => return None,
    };
    let machines = machines.iter().map(|machine| view(machine, release)).collect();
    // Those that are well are asked for while the app itself is not.
    let asks = distress::of(state).is_some();
    let neighbours = if asks { neighbours(&state.memory.org) } else { Vec::new() };
    let promises = Promises {
        false_rollbacks: policy.watch.false_rollbacks,
        false_late_alarms: policy.watch.false_late_alarms,
        span,
    };
    let silence = state.memory.silence.ear(policy, now).into();
    let release = release.info();
    Some(Explained { release, known_good, thresholds, promises, machines, neighbours, silence })
}

fn of_watch(watch: &Watch, evidence: &Evidence, control: &str, now: Timestamp) -> ThresholdView {
    let Some(state) = watch.thresholds.get(&evidence.threshold) else {
        return ThresholdView::new(evidence, control, &[]);
    };
    let mut view = ThresholdView::new(evidence, control, &state.blocks());
    let regions = state.regions();
    view.regions = regions
        .map(|(region, tally)| RegionCounts::new(region, tally, state.sight.lately(region, now)))
        .collect();
    let proof = state.proof().filter(|_| evidence.kind.proves() && evidence.applies);
    view.missing = proof.and_then(|proof| proof.missing).filter(|missing| *missing > 0.0);
    if let Some((phi, measured)) = state.bundles() {
        (view.phi, view.dispersion) = (Some(phi), measured.map(Into::into));
    }
    view.series = state.worst_series().into_iter().map(SeriesView::new).collect();
    view
}

/// What the other apps that were asked for say.
fn neighbours(org: &OrgContext) -> Vec<NeighbourView> {
    let troubled = org.neighbours.iter().map(|(app, distress)| NeighbourView {
        app: app.clone(),
        degraded_since: Some(distress.since),
        deployed: distress.deployed,
        regions: distress.regions.iter().cloned().collect(),
    });
    let well = org.well.iter().filter(|(app, _)| !org.neighbours.contains_key(*app));
    let well = well.map(|(app, well)| NeighbourView {
        app: app.clone(),
        degraded_since: None,
        deployed: false,
        regions: well.since.keys().cloned().collect(),
    });
    troubled.chain(well).take(NEIGHBOURS_SHOWN).collect()
}

fn view(machine: &Machine, release: &Revision) -> MachineView {
    let placed = machine.placed_at.unwrap_or(Timestamp::MIN);
    let exits = machine.crashes_since(placed).count();
    let failing = machine.checks.iter().filter(|check| check.status != CheckStatus::Passing);
    MachineView {
        machine: machine.id.clone(),
        region: machine.region.clone(),
        state: machine.state.to_string(),
        on: machine.digest() == Some(&release.digest) && machine.release == release.version,
        version: machine.release,
        exits: u32::try_from(exits).unwrap_or(u32::MAX),
        failing: failing.map(|check| check.name.clone()).collect(),
    }
}
