//! What takes days to happen, or needs a state that is hard to come by, step by step.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::model::{
    AppName, Checks, Digest, HoldReason, HostStatus, ImageRef, Machine, MachineState, Mode, NoData,
    OnBreach, OrgContext, Policy, ReleaseVersion, RollbackPolicy, Threshold, ThresholdKind,
    WatchPolicy,
};

mod wake;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

pub(super) fn policy(mode: Mode) -> Policy {
    let kind = ThresholdKind::Checks(Checks { failing: 0.3, consecutive: 3 });
    Policy {
        name: "test".to_owned(),
        mode,
        watch: WatchPolicy { bake: Duration::from_secs(60), ..WatchPolicy::default() },
        thresholds: vec![Threshold {
            name: "checks".to_owned(),
            kind,
            no_data: NoData::Hold,
            on_breach: OnBreach::Rollback,
        }],
        rollback: RollbackPolicy::default(),
        freezes: Vec::new(),
        per_organization_max: 20,
        metrics_port: None,
        metrics_path: None,
        metrics_https: None,
    }
}

fn machine(version: u64, digest: &str) -> Machine {
    Machine {
        app: AppName::new("api"),
        id: "m1".into(),
        instance: "i1".into(),
        region: "iad".into(),
        group: "app".into(),
        state: MachineState::Started,
        host: HostStatus::Ok,
        image: ImageRef {
            registry: "registry.fly.io".to_owned(),
            repository: "api".to_owned(),
            tag: None,
            digest: Some(Digest::new(digest)),
        },
        release: Some(ReleaseVersion(version)),
        metadata: std::collections::BTreeMap::new(),
        config: None,
        checks: Vec::new(),
        checks_configured: 0,
        exits: Vec::new(),
        started_at: Some(at(0)),
        placed_at: None,
        updated_at: at(0),
        private_ip: None,
        metrics: None,
        lease: None,
        cordoned: false,
        standby: false,
        has_services: false,
        service_port: None,
        own_schedule: false,
        restart: None,
    }
}

fn seen(machines: Vec<Machine>, now: Timestamp) -> Input {
    Input::Observed(Observation {
        began: now,
        machines: Ok(machines),
        ledger: None,
        secrets: None,
        samples: Vec::new(),
        blind: std::collections::BTreeMap::new(),
        org: OrgContext::default(),
    })
}

/// Steps through rounds every 15 s until `until`, finding every image that is looked for in the
/// state that `answer` says. The events, in order.
fn live(
    mut state: AppState,
    machine: &Machine,
    until: i64,
    answer: &Outcome,
) -> (AppState, Vec<Event>) {
    let policy = policy(Mode::Rollback);
    let mut events = Vec::new();
    for second in (0..until).step_by(15) {
        let now = at(second);
        let done = step(&policy, state, &seen(vec![machine.clone()], now), now);
        events.extend(done.events);
        state = done.state;
        for id in done.commands {
            let input = Input::Finished { command: id, outcome: answer.clone() };
            let done = step(&policy, state, &input, now);
            events.extend(done.events);
            state = done.state;
        }
    }
    (state, events)
}

/// A pruned image is told once, however often it is looked for.
#[test]
fn a_missing_image_is_told_once() {
    let (state, _) =
        live(AppState::new("api".into()), &machine(1, "sha256:1"), 90, &Outcome::ImagePresent);
    assert_eq!(state.memory.trusted.len(), 1);
    let week = 7 * 24 * 3600;
    let (state, events) = live(state, &machine(1, "sha256:1"), week, &Outcome::ImageMissing);
    let told = events.iter().filter(|event| event.kind == EventKind::ImageMissing).count();
    assert_eq!(told, 1, "{events:?}");
    assert!(state.memory.known_good().is_none());
    // It may come back, too.
    let (state, _) = live(state, &machine(1, "sha256:1"), 2 * week, &Outcome::ImagePresent);
    assert!(state.memory.known_good().is_some());
}

/// A registry that does not answer is asked again tomorrow, not every second.
#[test]
fn a_silent_registry_is_not_hammered() {
    let (state, _) =
        live(AppState::new("api".into()), &machine(1, "sha256:1"), 90, &Outcome::ImagePresent);
    let before = state.memory.next_command;
    let silence = Outcome::ImageUnknown { reason: "503".to_owned() };
    let (state, _) = live(state, &machine(1, "sha256:1"), 7 * 24 * 3600, &silence);
    assert!(
        state.memory.next_command - before <= 8,
        "{} look-ups in a week",
        state.memory.next_command - before
    );
}

fn watch_of(version: u64, digest: &str) -> Watch {
    let machine = machine(version, digest);
    let revision = Revision {
        version: machine.release,
        digest: Digest::new(digest),
        image: machine.image,
        author: None,
        created_at: None,
        has_release_command: Some(false),
    };
    let mut watch = watch::begin(revision, at(0), false);
    watch.in_ledger = true;
    watch
}

fn refused(policy: &Policy, state: &AppState, watch: &Watch) -> Option<HoldReason> {
    let memory = &state.memory;
    super::guards::refusal(&super::guards::Asked { policy, memory, watch, now: at(100) })
}

/// Promise 1: a release that was rolled back is not rolled back again, whatever the state has
/// forgotten otherwise.
#[test]
fn a_release_is_rolled_back_once() {
    let (mut state, _) =
        live(AppState::new("api".into()), &machine(1, "sha256:1"), 90, &Outcome::ImagePresent);
    let policy = policy(Mode::Rollback);
    let watch = watch_of(2, "sha256:2");
    assert_eq!(refused(&policy, &state, &watch), None);
    state.memory.quarantined.push(Quarantined {
        digest: Digest::new("sha256:2"),
        version: Some(ReleaseVersion(2)),
        at: at(50),
        unfinished: false,
        image: None,
        groups: std::collections::BTreeSet::new(),
    });
    assert_eq!(refused(&policy, &state, &watch), Some(HoldReason::AlreadyRolledBack));
    // The same image as a release of its own is another matter.
    assert_eq!(refused(&policy, &state, &watch_of(3, "sha256:2")), None);
    // Under a number of ours somebody put it back by hand, and nobody's hand is fought.
    state.memory.own_releases = vec![ReleaseVersion(3)];
    let by_hand = refused(&policy, &state, &watch_of(3, "sha256:2"));
    assert_eq!(by_hand, Some(HoldReason::AlreadyRolledBack));
    state.memory.quarantined[0].unfinished = true;
    assert_eq!(refused(&policy, &state, &watch_of(3, "sha256:2")), None);
}

/// Promise 2: what ran before is a target only while nothing was ever trusted, and never when it
/// was rolled back or seen degrading itself.
#[test]
fn what_ran_before_is_a_target_only_for_want_of_a_trusted_one() {
    let mut policy = policy(Mode::Rollback);
    policy.rollback.first_target_previous = true;
    let watch = watch_of(2, "sha256:2");
    let mut state = AppState::new("api".into());
    state.memory.previous = Some(watch_of(1, "sha256:1").revision);
    assert_eq!(refused(&policy, &state, &watch), None);

    let mut suspect = state.clone();
    suspect.memory.suspects.push(Digest::new("sha256:1"));
    assert_eq!(refused(&policy, &suspect, &watch), Some(HoldReason::NothingTrusted));

    let mut quarantined = state.clone();
    let digest = Digest::new("sha256:1");
    quarantined.memory.quarantined.push(Quarantined {
        digest,
        version: None,
        at: at(0),
        unfinished: false,
        image: None,
        groups: std::collections::BTreeSet::new(),
    });
    assert_eq!(refused(&policy, &quarantined, &watch), Some(HoldReason::NothingTrusted));

    // Something was trusted once, and its image is gone: what ran before did not earn it.
    let (mut trusted, _) =
        live(AppState::new("api".into()), &machine(9, "sha256:9"), 90, &Outcome::ImagePresent);
    trusted.memory.previous = state.memory.previous;
    trusted.memory.trusted[0].image_missing = true;
    assert_eq!(refused(&policy, &trusted, &watch), Some(HoldReason::ImagesMissing));
}

/// The budget counts the last 24 hours, and frees itself.
#[test]
fn the_daily_budget_is_that_of_the_last_24_hours() {
    let (mut state, _) =
        live(AppState::new("api".into()), &machine(1, "sha256:1"), 90, &Outcome::ImagePresent);
    let policy = policy(Mode::Rollback);
    let watch = watch_of(2, "sha256:2");
    let hours_ago = |hours| at(100).checked_sub(SignedDuration::from_hours(hours)).unwrap();
    state.memory.rollbacks = vec![hours_ago(1), hours_ago(2), hours_ago(25)];
    assert_eq!(refused(&policy, &state, &watch), None);
    state.memory.rollbacks.push(hours_ago(3));
    assert_eq!(refused(&policy, &state, &watch), Some(HoldReason::DailyBudget { max: 3 }));
}

/// What the platform says of machines may come from a clock that is five minutes ahead, whatever its
/// answers are dated: our own looks count then, and neither grace nor a run of failures waits for it.
#[test]
fn times_of_machines_in_the_future_delay_no_verdict() {
    let policy = policy(Mode::Rollback);
    let mut sick = machine(1, "sha256:1");
    sick.started_at = Some(at(300));
    sick.updated_at = at(300);
    sick.checks_configured = 1;
    sick.checks = vec![crate::model::Check {
        name: "http".to_owned(),
        status: crate::model::CheckStatus::Critical,
        output: String::new(),
        changed_at: Some(at(305)),
        interval: Some(Duration::from_secs(5)),
        grace: None,
    }];
    let mut state = AppState::new("api".into());
    let mut degraded_at = None;
    for second in (0..60).step_by(2) {
        let transition = step(&policy, state, &seen(vec![sick.clone()], at(second)), at(second));
        state = transition.state;
        if transition.events.iter().any(|event| event.kind == EventKind::ReleaseDegraded) {
            degraded_at.get_or_insert(second);
        }
    }
    let took = degraded_at.expect("it is found out");
    assert!((10..=30).contains(&took), "after {took} s");
}

/// A daemon that was away for most of a minute did not see it, and neither did one whose clock leapt.
#[test]
fn a_gap_between_two_looks_earns_no_bake() {
    let policy = policy(Mode::Rollback);
    let mut state = AppState::new("api".into());
    let mut trusted_at = None;
    // Looks every 2 s, but for 45 s of which nothing was seen.
    for second in (0..20).step_by(2).chain((65..200).step_by(2)) {
        let machine = machine(1, "sha256:1");
        let transition = step(&policy, state, &seen(vec![machine], at(second)), at(second));
        state = transition.state;
        if transition.events.iter().any(|event| event.kind == EventKind::ReleaseTrusted) {
            trusted_at.get_or_insert(second);
        }
    }
    let trusted_at = trusted_at.expect("it is trusted in the end");
    assert!(trusted_at >= 105, "trusted after {trusted_at} s, of which 45 were not seen");
}

mod after_rollback;
mod aftermath;
mod alerts;
mod arrivals;
mod audit;
mod beginning;
mod belated;
mod by_hand;
mod capacity;
mod changes;
mod confirming;
mod control;
mod copies;
mod credentials;
mod dispersions;
mod door;
mod easing;
mod endpoints;
mod families;
mod floors;
mod given_up;
mod gone;
mod groups;
mod guards;
mod hands;
mod holds;
mod images;
mod jobs;
mod late;
mod ledger;
mod left_alone;
mod left_down;
mod left_overs;
mod mop_up;
mod names;
mod neighbours;
mod news;
mod numberless;
mod outcomes;
mod own_images;
mod pauses;
mod phases;
mod places;
mod regions;
mod relative;
mod servers;
mod set_by_hand;
mod setups;
mod sight;
mod silence;
pub(super) mod stage;
mod steps;
mod suspects;
mod trusting;
mod unanswered;
mod unknowns;
mod vouchers;
mod vouching;
mod watching;
mod work_list;
