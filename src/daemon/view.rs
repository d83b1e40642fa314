//! An app's state as the API shows it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    decide::{
        self, AppState, bake_ends, ran_before,
        rollback::{can_pin, confirms_within, report},
        sight::unknown,
        state::{
            Memory, Phase, Pinned, Quarantined, RegionPhase, Revision, Rollback, Trusted, Watch,
        },
    },
    model::{
        Alone, AppName, Event, EventKind, HoldReason, MachineId, Mode, Obstacle, Policy, Reason,
        SourceName, Unknown, event::ReleaseInfo, freeze,
    },
    notify::text::{self, Purpose, hold, obstacle, reason},
    web::{
        AppView, Phase as Shown,
        view::{
            CommandView, DispersionView, EvidenceView, MirrorState, MirrorView, PinnedView,
            Protection, ProtectionLevel, QuarantinedView, RunningView, SuspectView, UnknownView,
        },
    },
};

/// Quarantined images shown, the newest ones.
const QUARANTINED_SHOWN: usize = 5;

/// How far the known-good release's counts spread.
fn dispersions(memory: &Memory) -> BTreeMap<String, DispersionView> {
    let measured = memory.known_good().into_iter().flat_map(|good| &good.dispersions);
    measured.map(|(threshold, one)| (threshold.clone(), (*one).into())).collect()
}

/// What the API says of an app.
pub(super) fn app_view(state: &AppState, policy: &Policy, now: Timestamp) -> AppView {
    let memory = &state.memory;
    let mut view = AppView {
        app: memory.app.clone(),
        policy: policy.name.clone(),
        mode: policy.mode,
        phase: shown(state),
        since: memory.current_since.unwrap_or(Timestamp::UNIX_EPOCH),
        release: memory.current.as_ref().map(Revision::info),
        running: running(state),
        target: None,
        known_good: known_good(memory),
        dispersions: dispersions(memory),
        protection: protection(state, policy, now),
        quarantined: memory.quarantined.iter().take(QUARANTINED_SHOWN).map(quarantined).collect(),
        vetoed: None,
        pinned: memory.pinned.as_ref().map(|pinned| pinned_view(memory, pinned)),
        mirror: memory.trusted.iter().filter_map(mirrored).collect(),
        operator_hold: memory.operator_hold.clone(),
        hold: None,
        blind: blind(memory),
        unknown: not_known(state, policy, now),
        unread: BTreeMap::new(),
        suspects: suspects(state, now),
        evidence: Vec::new(),
        commands: Vec::new(),
        regions: Vec::new(),
        next_deadline: None,
    };
    match &state.phase {
        Phase::Unseen => {}
        Phase::Steady => {
            view.since = memory.trusted.first().map_or(view.since, |trusted| trusted.at);
        }
        Phase::Watching(watch) => {
            view.since = degraded_since(watch).or(watch.settled_at).unwrap_or(watch.since);
            view.evidence = watch.evidence.iter().map(EvidenceView::from).collect();
            view.release = Some(watch.revision.info());
            view.next_deadline = bake_ends(policy, watch, now);
            view.vetoed.clone_from(&watch.vetoed);
        }
        Phase::CountingDown { watch, until, .. } => {
            view.since = watch.suspicion.as_ref().map_or(view.since, |one| one.since);
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
            view.vetoed.clone_from(&watch.vetoed);
            view.evidence = watch.evidence.iter().map(EvidenceView::from).collect();
            view.release = Some(watch.revision.info());
        }
        Phase::RollingBack(rollback) | Phase::RolledBack(rollback) => {
            of_rollback(&mut view, rollback);
            view.next_deadline = rollback.active_region().and_then(|work| match &work.phase {
                RegionPhase::Confirming(confirm) => {
                    Some(plus(confirm.since, confirms_within(policy, rollback)))
                }
                RegionPhase::Waiting
                | RegionPhase::Updating
                | RegionPhase::Confirmed
                | RegionPhase::Skipped(_) => None,
            });
        }
        Phase::Stopped { rollback, reason, since } => {
            of_rollback(&mut view, rollback);
            view.since = *since;
            view.hold = Some(stopped(&view, rollback, reason));
            // What runs is looked at on.
            if let Some(watch) = memory.vigil.watch() {
                view.evidence = watch.evidence.iter().map(EvidenceView::from).collect();
            }
        }
    }
    view.commands = commands(state, now);
    view
}

/// Since when what was trusted degrades.
fn degraded_since(watch: &Watch) -> Option<Timestamp> {
    watch.late.as_ref().filter(|late| !late.is_over).map(|late| late.since)
}

/// How far a rollback came that stopped, why, and how what runs is since then.
fn stopped(view: &AppView, rollback: &Rollback, reason: &HoldReason) -> String {
    let done = text::done(&view.regions)
        .map_or_else(String::new, |done| format!("the rollback stopped {done}: "));
    let after = rollback.stopped.as_deref();
    let since = match after {
        Some(after) if after.is_well => {
            format!("; what runs is well since {}", after.since.strftime("%H:%M UTC"))
        }
        Some(_) | None => String::new(),
    };
    format!("{done}{}{since}", hold(reason))
}

fn of_rollback(view: &mut AppView, rollback: &Rollback) {
    view.since = rollback.completed_at.unwrap_or(rollback.started_at);
    view.evidence = rollback.evidence.iter().map(EvidenceView::from).collect();
    view.release = Some(rollback.bad.info());
    view.target = Some(rollback.target.info());
    view.regions = report(rollback);
}

/// What a person can do about it: what the message said that told how it is.
fn commands(state: &AppState, now: Timestamp) -> Vec<CommandView> {
    let memory = &state.memory;
    let tells = |kind| {
        let mut event = Event::new(kind, now, Some(memory.app.clone()));
        event.release = state.phase.dealing().map(Revision::info);
        event.known_good = known_good(memory);
        event
    };
    let about = |kind, rollback: &Rollback| {
        let mut event = tells(kind);
        event.known_good = Some(rollback.target.info());
        event.drift.clone_from(&rollback.drift);
        event.can_pin = can_pin(memory, rollback);
        event
    };
    let event = match &state.phase {
        Phase::CountingDown { until, for_approval: true, .. } => Event {
            mode: Some(Mode::Approve),
            reason: Some(Reason::AwaitsApproval { until: *until }),
            ..tells(EventKind::RollbackPlanned)
        },
        Phase::CountingDown { until, .. } => {
            let seconds = u64::try_from(until.duration_since(now).as_secs()).unwrap_or(0);
            let (together, unvouched, passed_before) = (Vec::new(), false, false);
            let counts = Reason::CountsDown { seconds, together, unvouched, passed_before };
            Event {
                mode: Some(Mode::Rollback),
                reason: Some(counts),
                ..tells(EventKind::RollbackPlanned)
            }
        }
        Phase::Held { watch, reason, .. } => Event {
            // As the message says it: of several groups, one's image is nothing for another.
            previous: (*reason == HoldReason::NothingTrusted)
                .then(|| ran_before(memory, &watch.revision.digest))
                .flatten(),
            reason: Some(reason.clone().into()),
            ..tells(EventKind::HoldPlaced)
        },
        Phase::Stopped { rollback, reason, .. } => Event {
            reason: Some(reason.clone().into()),
            ..about(EventKind::RollbackStopped, rollback)
        },
        Phase::RollingBack(rollback) => match rollback.told_pause() {
            Some(wait) => Event {
                reason: Some(Reason::Waits { wait: wait.clone() }),
                ..about(EventKind::RollbackPaused, rollback)
            },
            None => about(EventKind::RollbackStarted, rollback),
        },
        Phase::RolledBack(rollback) => about(EventKind::RollbackCompleted, rollback),
        Phase::Unseen | Phase::Steady | Phase::Watching(_) | Phase::CheckingImage { .. } => {
            return Vec::new();
        }
    };
    text::commands(&event).into_iter().map(|(purpose, text)| command(purpose, text)).collect()
}

fn command(purpose: Purpose, command: String) -> CommandView {
    CommandView { purpose: purpose.word().to_owned(), command }
}

/// What is looked at now.
fn judged(state: &AppState) -> Option<&Watch> {
    match &state.phase {
        Phase::Watching(watch)
        | Phase::CountingDown { watch, .. }
        | Phase::CheckingImage { watch, .. }
        | Phase::Held { watch, .. } => Some(watch),
        Phase::Steady | Phase::Stopped { .. } => state.memory.vigil.watch(),
        Phase::Unseen | Phase::RollingBack(_) | Phase::RolledBack(_) => None,
    }
}

/// Machines that fail alone, each once.
fn suspects(state: &AppState, now: Timestamp) -> Vec<SuspectView> {
    let Some(watch) = judged(state) else { return Vec::new() };
    let mut all: BTreeMap<MachineId, SuspectView> = BTreeMap::new();
    for (threshold, alone) in decide::suspects::shown(watch) {
        let view = || suspect(&state.memory.app, &threshold, &alone, now);
        all.entry(alone.machine.clone()).or_insert_with(view);
    }
    all.into_values().collect()
}

/// What was told of a machine that fails alone.
fn suspect(app: &AppName, threshold: &str, alone: &Alone, now: Timestamp) -> SuspectView {
    let fails = Reason::FailsAlone { threshold: threshold.to_owned(), alone: alone.clone() };
    let mut event = Event::new(EventKind::MachineSuspect, now, Some(app.clone()));
    let text = reason(&fails);
    event.reason = Some(fails);
    let commands = text::commands(&event).into_iter();
    SuspectView {
        machine: alone.machine.clone(),
        text,
        commands: commands.map(|(purpose, text)| command(purpose, text)).collect(),
    }
}

/// What is not known of what the thresholds look at.
fn not_known(state: &AppState, policy: &Policy, now: Timestamp) -> Vec<UnknownView> {
    let all =
        judged(state).map(|watch| unknown(policy, &state.memory, watch, now)).unwrap_or_default();
    let view = |(threshold, unknown): (String, Unknown)| UnknownView {
        threshold,
        why: unknown.as_str().to_owned(),
        text: text::unknown(&unknown),
    };
    all.into_iter().map(view).collect()
}

fn pinned_view(memory: &Memory, pinned: &Pinned) -> PinnedView {
    let mut trusted = memory.trusted.iter();
    let release = trusted.find(|one| one.revision.digest == pinned.digest);
    PinnedView {
        digest: pinned.digest.clone(),
        version: release.and_then(|one| one.revision.version),
        signed: pinned.signed.clone(),
    }
}

fn mirrored(trusted: &Trusted) -> Option<MirrorView> {
    let mirror = trusted.mirror.as_ref()?;
    let (is_there, trouble) = (mirror.there_since.is_some(), mirror.trouble);
    let state = match trouble {
        _ if is_there => MirrorState::Copied,
        Some(_) => MirrorState::Failed,
        None => MirrorState::Waiting,
    };
    let why = trouble.map(|trouble| {
        let (mirror, detail) = (mirror.image.reference(), mirror.detail.clone());
        reason(&Reason::NotMirrored { mirror, trouble, detail })
    });
    Some(MirrorView {
        release: trusted.revision.info(),
        image: mirror.image.reference(),
        reference: Some(mirror.image.clone()),
        state,
        done: None,
        of: None,
        next: why.is_some().then_some(mirror.next),
        why,
        only_copy: trusted.image_missing && is_there,
    })
}

fn quarantined(old: &Quarantined) -> QuarantinedView {
    let tag = old.image.as_ref().and_then(|image| image.tag.clone());
    QuarantinedView { digest: old.digest.clone(), version: old.version, tag, at: old.at }
}

/// What a bad release would be undone with, and what stands against it.
fn protection(state: &AppState, policy: &Policy, now: Timestamp) -> Protection {
    let memory = &state.memory;
    let trusted = memory.newest_trusted();
    let baked = memory.newest_baked();
    let (level, good) = match (trusted, baked) {
        (Some(trusted), _) => (ProtectionLevel::Trusted, Some(trusted)),
        (None, Some(baked)) => (ProtectionLevel::Baked, Some(baked)),
        (None, None) => (ProtectionLevel::None, None),
    };
    let migrates = good.is_some_and(|good| good.revision.has_release_command == Some(true))
        && !policy.rollback.despite_migrations;
    let braked = memory.operator_hold.as_ref().filter(|hold| hold.is_on(now));
    let held = match &state.phase {
        Phase::Held { reason, .. } => Some(hold(reason)),
        Phase::Watching(watch) => {
            let by = watch.vetoed.clone().filter(|_| !watch.put_by_hand);
            by.map(|by| hold(&HoldReason::Vetoed { by }))
        }
        _ => None,
    };
    let blind = memory.platform_blind.as_ref().filter(|blind| blind.lasts(now));
    let brake = if let Some(braked) = braked {
        Some(hold(&HoldReason::Operator { hold: braked.clone() }))
    } else if policy.mode == Mode::Observe {
        Some(hold(&HoldReason::ObserveMode))
    } else if let Some((reason, until)) = freeze::on(&policy.freezes, now) {
        Some(hold(&HoldReason::Frozen { reason: reason.to_owned(), until }))
    } else if let Some(blind) = blind {
        Some(reason(&Reason::PlatformUnreadable { detail: blind.reason.clone() }))
    } else if held.is_some() {
        held
    } else if migrates {
        Some("its releases run a release_command (migrations), which always holds".to_owned())
    } else {
        None
    };
    let braked = brake.is_some();
    let why_not = brake.or_else(|| match level {
        ProtectionLevel::Trusted => None,
        ProtectionLevel::Baked => {
            Some("only against a failure of everything: its requests said too little".to_owned())
        }
        ProtectionLevel::None => Some(nothing_yet(state, policy)),
    });
    let against = good.map(|good| good.revision.info());
    Protection { level, against, why_not, braked }
}

fn nothing_yet(state: &AppState, policy: &Policy) -> String {
    let Phase::Watching(watch) = &state.phase else {
        return "no release is baked or trusted yet".to_owned();
    };
    if degraded_since(watch).is_some() {
        return "what was trusted degrades, and has to earn its trust anew".to_owned();
    }
    let waits = watch.obstacle.clone().unwrap_or(Obstacle::NotSeenLongEnough {
        seen_s: watch.seen_s,
        bake_s: policy.watch.bake.as_secs_f64(),
    });
    format!("no release is baked or trusted yet: {}", obstacle(&waits))
}

fn shown(state: &AppState) -> Shown {
    let word = state.phase.word();
    Shown::ALL.into_iter().find(|phase| phase.as_str() == word).unwrap_or(Shown::Learning)
}

/// What machines run, with the release whose image that is.
fn running(state: &AppState) -> Vec<RunningView> {
    let target = state.phase.target();
    let view = |one: &Revision| {
        // A person may go to a release that earned nothing, and that is remembered nowhere else.
        let same = target.filter(|target| target.digest == one.digest);
        let made_as = same.map_or_else(|| state.memory.made_as(one), |target| target.version);
        RunningView {
            release: one.info(),
            image_of: made_as.filter(|version| Some(*version) != one.version),
        }
    };
    state.phase.runs(&state.memory).iter().map(view).collect()
}

fn known_good(memory: &Memory) -> Option<ReleaseInfo> {
    memory.known_good().map(|trusted| trusted.revision.info())
}

fn blind(memory: &Memory) -> Option<String> {
    let platform = memory.platform_blind.iter().map(|blind| ("platform", blind));
    let sources = memory.blind.iter().map(|(source, blind)| match source {
        SourceName::Pages => ("metrics", blind),
        SourceName::Probes => ("probes", blind),
        SourceName::Server(name) => (name.as_str(), blind),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Ailment, Tally};

    #[test]
    fn a_machine_that_fails_alone_is_shown_with_what_puts_it_right() {
        let alone = Alone {
            machine: "148e".into(),
            region: "iad".into(),
            counted: Tally { n: 1000.0, k: 310.0 },
            beside: 5.0,
            rest: Tally { n: 5000.0, k: 25.0 },
            ailment: Ailment::Counts,
        };
        let view = suspect(&"api".into(), "5xx", &alone, Timestamp::UNIX_EPOCH);
        assert!(view.text.starts_with("148e in iad: 5xx 31.0 % (310 of 1000)"), "{}", view.text);
        let commands: Vec<&str> = view.commands.iter().map(|one| one.command.as_str()).collect();
        assert_eq!(commands[0], "fly machine restart 148e --app api");
        assert!(commands[1].starts_with("fly machine clone 148e --region iad"), "{commands:?}");
    }
}
