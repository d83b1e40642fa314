//! Rollbacks that a person orders.

use std::collections::BTreeSet;

use super::{
    stage::{Stage, fail_checks, opened, put, put_on},
    *,
};
use crate::model::{
    Act, Effect, OperatorHold, Plan, Refusal, Region, Reply, Strategy, Verdict, Wish,
    event::ReleaseInfo,
};

/// v1 and v2 earned trust, v2 runs.
fn two_trusted(ids: &[&str]) -> Stage {
    let mut stage = Stage::trusted(ids);
    stage.ship(2, "sha256:2");
    stage.pass(90);
    assert_eq!(stage.state.memory.trusted.len(), 2, "{:?}", stage.events);
    stage
}

fn wish(change: impl FnOnce(&mut Wish)) -> Act {
    let mut wish = Wish::default();
    change(&mut wish);
    Act::Rollback(wish)
}

fn to(release: &str) -> Act {
    wish(|wish| wish.to = Some(release.to_owned()))
}

fn begun(reply: Reply) -> Plan {
    match reply {
        Reply::Done(Effect::Begun { plan }) => plan,
        other => panic!("{other:?}"),
    }
}

fn refused(reply: Reply) -> Refusal {
    match reply {
        Reply::Refused(refusal) => refusal,
        Reply::Done(effect) => panic!("{effect:?}"),
    }
}

/// Rounds in which the platform does what is ordered.
fn obey(stage: &mut Stage, seconds: i64) {
    let until = stage.second + seconds;
    while stage.second < until {
        stage.look();
        stage.put_right_now();
    }
}

fn runs(stage: &Stage, digest: &str) -> bool {
    let digest = Digest::new(digest);
    stage.machines.iter().all(|machine| machine.digest() == Some(&digest))
}

#[test]
fn a_healthy_release_is_left_for_the_trusted_one_before_it_and_counts_as_rolled_back() {
    let mut stage = two_trusted(&["m1", "m2", "m3"]);
    let plan = begun(stage.order(wish(|_| {})));
    assert_eq!((plan.from.label(), plan.to.label()), ("v2".to_owned(), "v1".to_owned()));
    assert_eq!(plan.regions[0].machines.len(), 3);
    assert!(plan.was_healthy);
    obey(&mut stage, 60);
    assert!(runs(&stage, "sha256:1"));
    let started = stage.told(EventKind::RollbackStarted)[0];
    assert!(matches!(&started.reason, Some(Reason::OrderedBy { by }) if by.reason == "the sale"));
    assert_eq!(stage.told(EventKind::RollbackCompleted).len(), 1);
    assert!(matches!(stage.state.phase, Phase::RolledBack(_)));
    // What was left is not gone back to, and a person's orders use up no budget.
    assert_eq!(stage.state.memory.newest_trusted().unwrap().revision.label(), "v1");
    assert_eq!(stage.state.memory.quarantined[0].digest, Digest::new("sha256:2"));
    assert_eq!(stage.state.memory.rollbacks, []);
}

/// The mode only says what the daemon does by itself.
#[test]
fn a_person_may_in_observe_mode_what_the_daemon_may_not() {
    let mut stage = two_trusted(&["m1", "m2"]);
    stage.policy.mode = Mode::Observe;
    begun(stage.order(wish(|_| {})));
    obey(&mut stage, 60);
    assert!(runs(&stage, "sha256:1"));
    // It was done, and is told so.
    let kinds = [
        EventKind::RollbackStarted,
        EventKind::RollbackRegionConfirmed,
        EventKind::RollbackCompleted,
    ];
    for event in kinds.into_iter().flat_map(|kind| stage.told(kind)) {
        assert_eq!(event.mode, Some(Mode::Rollback), "{event:?}");
    }
    // A clone of what was left is put right as well.
    let now = at(stage.second);
    let mut clone = stage.machine("m1").clone();
    clone.id = "m9".into();
    put(&mut clone, 2, "sha256:2", now);
    stage.machines.push(clone);
    obey(&mut stage, 20);
    assert!(runs(&stage, "sha256:1"));
}

#[test]
fn a_dry_run_changes_nothing() {
    let mut stage = two_trusted(&["m1", "m2"]);
    let before = stage.state.clone();
    let reply = stage.order(wish(|wish| {
        wish.dry_run = true;
        wish.strategy = Some(Strategy::Immediate);
    }));
    let Reply::Done(Effect::Planned { plan }) = reply else { panic!("{reply:?}") };
    assert_eq!(plan.strategy, Strategy::Immediate);
    assert_eq!(stage.state, before);
    assert_eq!(stage.told(EventKind::RollbackStarted).len(), 0);
}

#[test]
fn what_stands_against_it_is_said() {
    let mut stage = two_trusted(&["m1"]);
    let none = Input::Operator {
        order: crate::model::Order::Act { act: to("v1"), signed: stage::signed(0) },
        machines: Vec::new(),
    };
    let done = step(&stage.policy, stage.state.clone(), &none, at(stage.second));
    assert_eq!(done.reply, Some(Reply::Refused(Refusal::NotLookedAt)));
    assert_eq!(done.state, stage.state);

    assert!(
        matches!(refused(stage.order(to("v7"))), Refusal::NoSuchRelease { name, .. } if name == "v7")
    );
    assert!(matches!(refused(stage.order(to("v2"))), Refusal::RunsEverywhere { .. }));
    let mars = wish(|wish| wish.regions = BTreeSet::from([Region::new("mars")]));
    assert!(
        matches!(refused(stage.order(mars)), Refusal::NoMachineIn { has, .. } if has.len() == 1)
    );
    stage.state.memory.migrated.insert(ReleaseVersion(2));
    let migration = refused(stage.order(to("v1")));
    assert!(matches!(migration, Refusal::Migration { version: ReleaseVersion(2), .. }));
    stage.policy.rollback.despite_migrations = true;
    assert_eq!(
        refused(stage.order(Act::Rollback(Wish {
            to: Some("v1".into()),
            regions: BTreeSet::from([Region::new("")]),
            ..Wish::default()
        }))),
        Refusal::NoMachineIn {
            region: Region::new(""),
            has: vec![stage.machines[0].region.clone()]
        }
    );
    stage.unreadable = Some("503".to_owned());
    stage.look();
    assert!(matches!(refused(stage.order(to("v1"))), Refusal::Blind { detail } if detail == "503"));
    stage.unreadable = None;
    stage.look();
    let hold = OperatorHold { by: "zoe".into(), reason: "wait".into(), since: at(0), until: None };
    stage.state.memory.operator_hold = Some(hold.clone());
    assert_eq!(refused(stage.order(to("v1"))), Refusal::Held { hold });
}

#[test]
fn force_goes_across_a_migration_and_to_what_was_never_seen_healthy() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.ship(2, "sha256:2");
    stage.pass(4);
    stage.ship(3, "sha256:3");
    stage.pass(4);
    assert!(matches!(refused(stage.order(to("v2"))), Refusal::NeverHealthy { .. }));
    stage.state.memory.migrated.insert(ReleaseVersion(3));
    let force = wish(|wish| {
        wish.to = Some("v2".to_owned());
        wish.force = true;
    });
    stage.opens = Some(opened(4));
    let plan = begun(stage.order(force));
    assert_eq!(plan.migration, Some(ReleaseVersion(3)));
    assert!(!plan.was_healthy);
    obey(&mut stage, 60);
    assert!(runs(&stage, "sha256:2"));
    // It is watched, and left to the person who wanted it.
    assert!(matches!(&stage.state.phase, Phase::Watching(watch) if watch.vetoed.is_some()));
    stage.machines.iter_mut().for_each(fail_checks);
    assert_eq!(put_on(&stage.pass(60)), [""; 0]);
    assert_eq!(stage.told(EventKind::ReleaseDegraded).len(), 1, "people know");
    assert!(matches!(&stage.state.phase, Phase::Held { reason: HoldReason::PutByHand { .. }, .. }));
}

#[test]
fn nothing_healthy_to_go_back_to_is_said_with_what_is_known_besides_what_runs() {
    let mut stage = Stage::trusted(&["m1"]);
    let known = |refusal| match refusal {
        Refusal::NothingToGoBackTo { known } => {
            known.iter().map(ReleaseInfo::label).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(known(refused(stage.order(wish(|_| {})))), [""; 0], "v1 runs");
    // v2 was never seen healthy, and v1 is back
    stage.ship(2, "sha256:2");
    stage.pass(4);
    stage.ship(3, "sha256:1");
    stage.pass(4);
    assert_eq!(known(refused(stage.order(wish(|_| {})))), ["v2"]);
}

/// v2 was undone, and a person wants it back.
#[test]
fn what_was_undone_can_be_put_back_and_is_left_to_them() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.undo();
    stage.opens = Some(opened(4));
    let plan = begun(stage.order(to("v2")));
    assert_eq!((plan.from.label(), plan.to.label()), ("v3".to_owned(), "v2".to_owned()));
    obey(&mut stage, 90);
    assert!(runs(&stage, "sha256:2"), "{:?}", stage.events);
    assert_eq!(stage.state.memory.quarantined, [], "v1 is not bad, and v2 is what they want");
    assert_eq!(stage.state.memory.newest_trusted().unwrap().revision.label(), "v1");
    stage.machines.iter_mut().for_each(fail_checks);
    assert_eq!(put_on(&stage.pass(120)), [""; 0], "never fought over");
}

/// The same in the middle of the rollback: it ends where it is.
#[test]
fn a_person_turns_a_rollback_round() {
    let mut stage = Stage::rolling_back(&["m1", "m2", "m3"]);
    stage.look();
    stage.put_right_now();
    stage.pass(4);
    assert!(matches!(refused(stage.order(to("v1"))), Refusal::SamePlan { .. }));
    stage.opens = Some(opened(4));
    begun(stage.order(to("v2")));
    assert!(!stage.state.memory.pending.values().any(|one| matches!(one, Command::PutImage(_))));
    assert!(matches!(
        stage.told(EventKind::RollbackStopped)[0].reason,
        Some(Reason::OrderedBy { .. })
    ));
    obey(&mut stage, 90);
    assert!(runs(&stage, "sha256:2"), "{:?}", stage.events);
}

/// Two regions; only one is to go back.
#[test]
fn one_region_alone_says_nothing_of_the_release() {
    let mut stage = two_trusted(&["m1", "m2"]);
    stage.machine("m2").region = Region::new("syd");
    stage.pass(4);
    let plan = begun(stage.order(wish(|wish| {
        wish.regions = BTreeSet::from([Region::new("syd")]);
    })));
    assert_eq!(plan.regions.len(), 1);
    obey(&mut stage, 60);
    let of = |stage: &mut Stage, id: &str| stage.machine(id).digest().unwrap().to_string();
    assert_eq!(
        (of(&mut stage, "m1"), of(&mut stage, "m2")),
        ("sha256:2".into(), "sha256:1".into())
    );
    assert_eq!(stage.state.phase, Phase::Steady);
    assert_eq!(stage.state.memory.quarantined, []);
    assert_eq!(stage.state.memory.current.as_ref().unwrap().label(), "v2");
    assert_eq!(put_on(&stage.pass(300)), [""; 0]);
}

#[test]
fn an_image_that_is_gone_or_cannot_be_looked_up_is_no_rollback_unless_somebody_insists() {
    for (registry, insists) in
        [(Outcome::ImageMissing, true), (Outcome::ImageUnknown { reason: "503".into() }, false)]
    {
        let mut stage = two_trusted(&["m1"]);
        stage.registry = registry;
        begun(stage.order(wish(|wish| wish.force = insists)));
        assert_eq!(put_on(&stage.pass(30)), [""; 0]);
        assert_eq!(stage.told(EventKind::RollbackStopped).len(), 1);
        assert_eq!(stage.state.phase, Phase::Steady);
    }
    let mut stage = two_trusted(&["m1"]);
    stage.registry = Outcome::ImageUnknown { reason: "503".into() };
    begun(stage.order(wish(|wish| wish.force = true)));
    obey(&mut stage, 60);
    assert!(runs(&stage, "sha256:1"));
}

/// A hold comes between the order and the first machine, and later in the middle.
#[test]
fn a_hold_stops_a_person_s_rollback_too() {
    let mut stage = two_trusted(&["m1", "m2", "m3"]);
    begun(stage.order(wish(|_| {})));
    let hold = OperatorHold { by: "zoe".into(), reason: "wait".into(), since: at(0), until: None };
    stage.state.memory.operator_hold = Some(hold.clone());
    assert_eq!(put_on(&stage.pass(30)), [""; 0]);
    assert_eq!(stage.state.phase, Phase::Steady);

    stage.state.memory.operator_hold = None;
    begun(stage.order(wish(|_| {})));
    stage.look();
    assert_eq!(put_on(&stage.look()), ["m1"]);
    stage.state.memory.operator_hold = Some(hold);
    stage.put_right_now();
    assert_eq!(put_on(&stage.pass(120)), [""; 0]);
    stage.state.memory.operator_hold = None;
    obey(&mut stage, 90);
    assert!(runs(&stage, "sha256:1"));
}

/// Somebody deploys meanwhile.
#[test]
fn a_newer_release_wins_over_a_person_s_rollback() {
    let mut stage = two_trusted(&["m1", "m2"]);
    begun(stage.order(wish(|_| {})));
    stage.look();
    stage.ship(4, "sha256:4");
    stage.pass(10);
    assert!(matches!(&stage.state.phase, Phase::Watching(watch) if watch.revision.label() == "v4"));
    let why = &stage.told(EventKind::RollbackStopped)[0].reason;
    assert!(matches!(why, Some(Reason::NewerRelease { .. })), "{why:?}");
}

/// A release that degrades and is held: what was seen of it stands in the rollback's messages.
#[test]
fn a_held_release_is_undone_by_hand_with_what_was_seen_of_it() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.policy.mode = Mode::Observe;
    stage.ship(2, "sha256:2");
    stage.machines.iter_mut().for_each(fail_checks);
    stage.pass(60);
    begun(stage.order(wish(|_| {})));
    assert!(matches!(stage.told(EventKind::HoldCleared)[0].reason, Some(Reason::OrderedBy { .. })));
    obey(&mut stage, 90);
    let started = stage.told(EventKind::RollbackStarted)[0];
    assert_eq!(verdict::overall(&started.evidence), Verdict::Breach);
    assert!(runs(&stage, "sha256:1"));
}

/// Three images side by side, as after a deploy to one region.
#[test]
fn every_machine_that_is_not_on_the_target_is_moved() {
    let mut stage = two_trusted(&["m1", "m2", "m3"]);
    let now = at(stage.second);
    put(stage.machine("m3"), 2, "sha256:9", now);
    stage.pass(4);
    begun(stage.order(to("v1")));
    obey(&mut stage, 90);
    assert!(runs(&stage, "sha256:1"), "{:?}", stage.machines);
}

#[test]
fn immediate_takes_them_together_and_rolling_the_first_alone() {
    let first = |strategy| {
        let mut stage = two_trusted(&["m1", "m2", "m3"]);
        begun(stage.order(wish(|wish| wish.strategy = Some(strategy))));
        stage.look();
        put_on(&stage.look()).len()
    };
    assert_eq!(first(Strategy::Rolling), 1);
    assert_eq!(first(Strategy::Immediate), 3);
}

/// A deploy was under way, and has brought what the person wants to every machine by itself.
#[test]
fn what_came_everywhere_by_itself_is_watched_like_what_a_person_put_back() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    let now = at(stage.second);
    put(stage.machine("m1"), 2, "sha256:2", now);
    stage.announce(2, "sha256:2");
    stage.pass(4);
    stage.opens = Some(opened(3));
    let force = wish(|wish| {
        wish.to = Some("v2".to_owned());
        wish.force = true;
    });
    begun(stage.order(force));
    put(stage.machine("m2"), 2, "sha256:2", now);
    stage.pass(6);
    assert_eq!(stage.told(EventKind::RollbackStopped).len(), 1);
    assert!(
        matches!(&stage.state.phase, Phase::Watching(watch) if watch.vetoed.is_some()),
        "{:?}",
        stage.state.phase
    );
}

/// Somebody keeps a lease for a quarter of an hour; nothing breaches, and nothing has to.
#[test]
fn a_long_pause_of_a_person_s_rollback_wants_no_breach() {
    let mut stage = two_trusted(&["m1", "m2"]);
    begun(stage.order(wish(|_| {})));
    assert_eq!(distress::of(&stage.state), None, "to go back from what is well is no distress");
    stage.pass(4);
    assert!(matches!(stage.state.phase, Phase::RollingBack(_)));
    assert_eq!(distress::of(&stage.state), None);
    let until = stage.second + 900;
    while stage.second < until {
        let owner = "ci@example.com".to_owned();
        let leased = PutOutcome::LeaseHeld { owner, description: String::new() };
        if stage.pending(|one| matches!(one, Command::PutImage(_))).is_some() {
            stage.answer(|one| matches!(one, Command::PutImage(_)), Outcome::Put(leased));
        }
        stage.look();
    }
    stage.opens = Some(opened(4));
    obey(&mut stage, 90);
    assert!(runs(&stage, "sha256:1"), "{:?}", stage.state.phase);
}

/// A release from before the daemon's time, which the ledger and the registry told of.
#[test]
fn a_release_that_was_never_seen_here_is_gone_to_and_is_nobodys_newer_one() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    let mut image = stage.machines[0].image.clone();
    image.digest = Some(Digest::new("sha256:0"));
    let release = ReleaseInfo {
        version: Some(ReleaseVersion(0)),
        tag: None,
        digest: Digest::new("sha256:0"),
        author: None,
        created_at: None,
    };
    let in_ledger = Some(Box::new(name::Named { release, image: Some(image) }));
    let old = |force| Wish {
        to: Some("v0".to_owned()),
        force,
        in_ledger: in_ledger.clone(),
        ..Wish::default()
    };
    assert!(matches!(
        refused(stage.order(Act::Rollback(old(false)))),
        Refusal::NeverHealthy { .. }
    ));
    begun(stage.order(Act::Rollback(old(true))));
    stage.opens = Some(opened(2));
    obey(&mut stage, 120);
    assert!(runs(&stage, "sha256:0"), "{:?}", stage.events);
    assert_eq!(stage.told(EventKind::RollbackStopped), Vec::<&Event>::new());
    assert_eq!(stage.told(EventKind::RollbackCompleted).len(), 1);
}

/// v1 and v2 earned trust, v3 failed its checks and was undone.
fn v3_was_undone() -> Stage {
    let mut stage = two_trusted(&["m1", "m2"]);
    stage.ship(3, "sha256:3");
    stage.machines.iter_mut().for_each(fail_checks);
    stage.opens = Some(opened(4));
    stage.begin();
    stage.undo();
    stage
}

#[test]
fn what_an_order_leaves_behind_on_a_machine_is_replaced_by_the_next_one() {
    // Given a release that was undone before the one that runs, and an order to go back to it that is at work on a machine
    let mut stage = v3_was_undone();
    stage.ship(5, "sha256:5");
    stage.machines.iter_mut().for_each(|machine| machine.checks.clear());
    stage.pass(90);
    assert_eq!(stage.state.phase.word(), "steady", "{:?}", stage.events);
    stage.opens = Some(opened(6));
    begun(stage.order(to("v3")));
    while stage.pending(|one| matches!(one, Command::PutImage(_))).is_none() {
        stage.look();
    }

    // When another one is ordered, and the machine comes up on the old one under the entry of the first
    stage.opens = Some(opened(7));
    begun(stage.order(to("v1")));
    let now = at(stage.second);
    put(stage.machine("m1"), 6, "sha256:3", now);
    stage.events.clear();
    obey(&mut stage, 300);

    // Then no newer release wins, and all of them run what was wanted last
    assert!(runs(&stage, "sha256:1"), "{:?}", stage.events);
    assert!(stage.told(EventKind::RollbackStopped).is_empty(), "{:?}", stage.events);
    assert!(stage.told(EventKind::ReleaseDetected).is_empty(), "{:?}", stage.events);
}

#[test]
fn what_a_person_puts_back_that_was_not_healthy_is_no_veto() {
    let mut stage = v3_was_undone();
    stage.opens = Some(opened(9));
    begun(stage.order(to("v3")));
    obey(&mut stage, 60);
    assert!(runs(&stage, "sha256:3"));
    stage.machines.iter_mut().for_each(fail_checks);
    stage.events.clear();
    stage.pass(60);
    let held = stage.told(EventKind::HoldPlaced)[0].clone();
    let why = &held.reason;
    assert!(matches!(why, Some(Reason::Held { hold: HoldReason::PutByHand { .. } })), "{why:?}");
    let release = held.release.unwrap();
    assert_eq!(stage.order(Act::Resume), Reply::Done(Effect::Resumed { release }));
    assert_ne!(stage.state.phase.word(), "held");
}
