//! An app's state as the API shows it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    decide::{
        AppState, bake_ends,
        rollback::report,
        state::{Memory, Phase, RegionPhase, Revision},
    },
    model::{Policy, SourceName, event::ReleaseInfo},
    notify::text::hold,
    web::{AppView, Phase as Shown, view::EvidenceView},
};

/// What the API says of an app.
pub(super) fn app_view(state: &AppState, policy: &Policy) -> AppView {
    let memory = &state.memory;
    let mut view = AppView {
        app: memory.app.clone(),
        policy: policy.name.clone(),
        mode: policy.mode,
        phase: shown(state),
        since: memory.current_since.unwrap_or(Timestamp::UNIX_EPOCH),
        release: memory.current.as_ref().map(Revision::info),
        known_good: known_good(memory),
        operator_hold: memory.operator_hold.clone(),
        hold: None,
        blind: blind(memory),
        unread: BTreeMap::new(),
        evidence: Vec::new(),
        regions: Vec::new(),
        next_deadline: None,
    };
    match &state.phase {
        Phase::Unseen => {}
        Phase::Steady => {
            view.since = memory.trusted.first().map_or(view.since, |trusted| trusted.at);
        }
        Phase::Watching(watch) => {
            view.since = watch.settled_at.unwrap_or(watch.since);
            view.evidence = watch.evidence.iter().map(EvidenceView::from).collect();
            view.release = Some(watch.revision.info());
            view.next_deadline = bake_ends(policy, watch);
        }
        Phase::CountingDown { watch, until } => {
            view.evidence = watch.evidence.iter().map(EvidenceView::from).collect();
            view.release = Some(watch.revision.info());
            view.next_deadline = Some(*until);
        }
        Phase::CheckingImage { watch, .. } => {
            view.evidence = watch.evidence.iter().map(EvidenceView::from).collect();
            view.release = Some(watch.revision.info());
        }
        Phase::Held { watch, reason, since } => {
            view.since = *since;
            view.hold = Some(hold(reason));
            view.evidence = watch.evidence.iter().map(EvidenceView::from).collect();
            view.release = Some(watch.revision.info());
        }
        Phase::RollingBack(rollback) | Phase::RolledBack(rollback) => {
            view.since = rollback.completed_at.unwrap_or(rollback.started_at);
            view.evidence = rollback.evidence.iter().map(EvidenceView::from).collect();
            view.release = Some(rollback.bad.info());
            view.regions = report(rollback);
            view.next_deadline = rollback.active_region().and_then(|work| match &work.phase {
                RegionPhase::Confirming(confirm) => {
                    Some(plus(confirm.since, policy.rollback.confirm))
                }
                RegionPhase::Waiting
                | RegionPhase::Updating
                | RegionPhase::Confirmed { .. }
                | RegionPhase::Skipped => None,
            });
        }
        Phase::Stopped { rollback, reason, since } => {
            view.since = *since;
            view.hold = Some(hold(reason));
            view.evidence = rollback.evidence.iter().map(EvidenceView::from).collect();
            view.release = Some(rollback.bad.info());
            view.regions = report(rollback);
        }
    }
    view
}

fn shown(state: &AppState) -> Shown {
    let word = state.phase.word();
    Shown::ALL.into_iter().find(|phase| phase.as_str() == word).unwrap_or(Shown::Learning)
}

fn known_good(memory: &Memory) -> Option<ReleaseInfo> {
    memory.known_good().map(|trusted| trusted.revision.info())
}

fn blind(memory: &Memory) -> Option<String> {
    let platform = memory.platform_blind.iter().map(|blind| ("platform", blind));
    let sources = memory.blind.iter().map(|(source, blind)| match source {
        SourceName::Pages => ("metrics", blind),
    });
    let parts: Vec<String> =
        platform.chain(sources).map(|(what, blind)| format!("{what}: {}", blind.reason)).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn plus(at: Timestamp, by: std::time::Duration) -> Timestamp {
    jiff::SignedDuration::try_from(by)
        .ok()
        .and_then(|by| at.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}
